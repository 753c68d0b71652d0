//! Heat in a rod, computed by processes that each have a strip of it and go step by step together.
//!
//! ```text
//! cargo run --example double_barrier
//! cargo run --example double_barrier -- --kill
//! cargo run --example double_barrier -- --connect localhost:2181 --processes 8 --steps 100
//! ```
//!
//! A cell's next heat is the mean of its two neighbours', so a step needs the edges of the strips on both sides, as they
//! are in the same step. The strips are nodes, and a double barrier keeps the steps apart: nobody begins one before
//! every strip has somebody who computes it, and nobody ends one before all have written theirs, or died.
//!
//! With `--kill` a process is killed inside a step. Another takes its strip over and goes through the missing step
//! alone; the next one begins when it is there.
//!
//! How the barrier is used is all in [`work`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::{Parser, value_parser};
use herdless::{ClientExt, CreateMode, DoubleBarrier, NodePath, TokioClient, Version};
use herdless_examples::{AnyError, Event, Shared, Stage, Worker, micros, run, until_answered};

/// Cells of a strip.
const CELLS: usize = 10;
/// At both ends of the rod, always. It is 0 everywhere else in the beginning.
const HOT: f64 = 1000.0;

/// Processes compute heat in a rod, a strip each, step by step together
#[derive(Parser)]
#[command(args_override_self = true)] // A worker gets the parent's arguments, and what is different for it.
struct Arguments {
    /// How many processes compute, a strip each
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(2..=99))]
    processes: u32,
    /// How many steps
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(4..=100_000))]
    steps: u32,
    /// How long each step takes, so that there is something to see
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(..=10_000))]
    pause_ms: u64,
    /// Kill a process inside the step in the middle, and start another
    #[arg(long)]
    kill: bool,
    /// The strip of this process
    #[arg(long, hide = true, default_value_t = 0)]
    strip: usize,
    /// Whether this process goes on with a strip that another one has left
    #[arg(long, hide = true)]
    takes_over: bool,
    #[command(flatten)]
    shared: Shared,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let work = async |worker| work(worker, &arguments).await;
    run(&arguments.shared, work, async |stage| supervise(stage, &arguments).await).await;
}

// ----- The worker

async fn work(mut worker: Worker, arguments: &Arguments) -> Result<(), AnyError> {
    let barrier = DoubleBarrier::builder(worker.client.clone(), worker.path.child("barrier")?, arguments.processes)?
        .owner(worker.name())
        .build();
    let rod = Rod::new(&worker.client, &worker.path, arguments);
    let (own, mut step) = (arguments.strip, 0);
    if arguments.takes_over {
        // The others are in this step still, or wait for us at the beginning of the next.
        step = rod.read(own, 0).await?.0.max(rod.read(own, 1).await?.0);
        let (cells, mixed) = rod.compute(own, step).await?;
        rod.write(own, step + 1, &cells).await?;
        worker.tell("took_over", &[step, mixed])?;
        step += 1;
    }
    while step < i64::from(arguments.steps) {
        let came = micros();
        let round = barrier.enter().await?;
        let entered = micros();
        // Everybody in the round had written this step before it came, so all strips are there to be read.
        let (cells, mixed) = rod.compute(own, step).await?;
        if arguments.kill && !arguments.takes_over && own == 1 && step == i64::from(arguments.steps / 2) {
            // There is no answer: the parent knows that whoever it kills is inside, and has not written.
            worker.ask("inside", &[step]).await?;
        }
        tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
        rod.write(own, step + 1, &cells).await?;

        let (generation, leaving) = (round.generation().0.0, micros());
        round.leave().await?;
        let mut numbers = vec![step, generation, mixed, came, entered, leaving, micros()];
        numbers.extend(cells.iter().map(|heat| *heat as i64));
        worker.tell("done", &numbers)?;
        step += 1;
    }
    Ok(())
}

/// The heat. Each strip has two nodes, for even and for odd steps: what is written in a step is not what is read in it,
/// and what a process needs that comes late is still there.
struct Rod {
    client: TokioClient,
    path: NodePath,
    strips: usize,
}

impl Rod {
    fn new(client: &TokioClient, path: &NodePath, arguments: &Arguments) -> Self {
        Self { client: client.clone(), path: path.clone(), strips: arguments.processes as usize }
    }

    fn node(&self, strip: usize, step: i64) -> Result<NodePath, AnyError> {
        let parity = if step % 2 == 0 { "even" } else { "odd" };
        Ok(self.path.child(&format!("strip-{strip}-{parity}"))?)
    }

    /// The step that the node for `step` really has, and the cells.
    async fn read(&self, strip: usize, step: i64) -> Result<(i64, Vec<f64>), AnyError> {
        let node = self.node(strip, step)?;
        let (data, _) = until_answered(|| self.client.get(&node)).await?;
        let text = String::from_utf8_lossy(&data);
        let (step, cells) = text.split_once(':').ok_or("a strip without a step")?;
        let cells: Result<_, _> = cells.split_ascii_whitespace().map(str::parse).collect();
        Ok((step.parse()?, cells?))
    }

    async fn write(&self, strip: usize, step: i64, cells: &[f64]) -> Result<(), AnyError> {
        // Of a step it is always the same that is written, and whoever takes a strip over does so when its writer is dead.
        let (node, data) = (self.node(strip, step)?, encode(step, cells));
        until_answered(|| self.client.set(&node, data.clone(), Version::ANY)).await?;
        Ok(())
    }

    /// A strip's cells of the next step; and how much of what that takes was not of this step.
    async fn compute(&self, strip: usize, step: i64) -> Result<(Vec<f64>, i64), AnyError> {
        let (mut cells, mut mixed) = (vec![HOT], 0);
        for neighbour in strip.saturating_sub(1)..=(strip + 1).min(self.strips - 1) {
            let (found, values) = self.read(neighbour, step).await?;
            mixed += i64::from(found != step);
            cells.extend(values);
        }
        cells.push(HOT);
        let skipped = if strip == 0 { 0 } else { CELLS };
        Ok((next(&cells).into_iter().skip(skipped).take(CELLS).collect(), mixed))
    }
}

fn encode(step: i64, cells: &[f64]) -> String {
    // What is written of a number is enough to read the same number.
    let cells: Vec<_> = cells.iter().map(f64::to_string).collect();
    format!("{step}: {}", cells.join(" "))
}

/// All cells but the first and the last, one step later.
fn next(cells: &[f64]) -> Vec<f64> {
    cells.windows(3).map(|cells| (cells[0] + cells[2]) / 2.0).collect()
}

// ----- The parent

/// A step, as those who went through it told.
#[derive(Default)]
struct Step {
    generations: BTreeSet<i64>,
    /// When the last of them called, and the first of them was let through; each at both sides.
    came: i64,
    entered: Option<i64>,
    leaving: i64,
    left: Option<i64>,
    strips: usize,
}

/// Starts everything, listens until all have ended, and sums up. Whether all went well.
async fn supervise(stage: &mut Stage, arguments: &Arguments) -> Result<bool, AnyError> {
    let (strips, steps) = (arguments.processes as usize, i64::from(arguments.steps));
    println!("workers  {strips}, {CELLS} cells each, {steps} steps");
    let rod = Rod::new(&stage.client, &stage.path, arguments);
    for strip in 0..strips {
        for (step, data) in [(0, encode(0, &[0.0; CELLS])), (1, encode(-1, &[]))] {
            rod.client.create(&rod.node(strip, step)?, data, CreateMode::Persistent).await?;
        }
    }
    // Which strip each worker computes, and what it has said of it.
    let (mut strip_of, mut heat, mut at) = (Vec::new(), vec![vec![0; CELLS]; strips], vec![0; strips]);
    for strip in 0..strips {
        stage.start(&["--strip", &strip.to_string()], arguments.steps)?;
        strip_of.push(strip);
    }
    let mut history: BTreeMap<i64, Step> = BTreeMap::new();
    let (mut mixed, mut killed, mut taken_over) = (0, None, None);
    while let Some(event) = stage.next().await? {
        match event {
            Event::Tick => draw(stage, &strip_of, &heat, &at, killed),
            Event::Said(who, word, numbers) => match (word.as_str(), &numbers[..]) {
                ("inside", &[step]) => {
                    let at = stage.kill(who).await?;
                    stage.say(format!("killed process {} inside step {step}; another takes its strip over", who + 1));
                    killed = Some((who, at));
                    let strip = strip_of[who];
                    stage.start(&["--strip", &strip.to_string(), "--takes-over"], arguments.steps)?;
                    strip_of.push(strip);
                }
                ("took_over", &[step, found]) => {
                    mixed += found;
                    at[strip_of[who]] = step + 1;
                }
                ("done", &[step, generation, found, came, entered, leaving, left, ref cells @ ..]) => {
                    let strip = strip_of[who];
                    (heat[strip], at[strip]) = (cells.to_vec(), step + 1);
                    mixed += found;
                    if taken_over.is_none() && killed.is_some() && who >= strips {
                        taken_over = killed.map(|(_, at)| entered - at);
                    }
                    let step = history.entry(step).or_default();
                    step.strips += 1;
                    step.generations.insert(generation);
                    (step.came, step.leaving) = (step.came.max(came), step.leaving.max(leaving));
                    step.entered = Some(step.entered.map_or(entered, |first| first.min(entered)));
                    step.left = Some(step.left.map_or(left, |first| first.min(left)));
                }
                _ => return Err(format!("process {} says {word} {numbers:?}", who + 1).into()),
            },
            Event::Ended(_) => {}
        }
    }
    draw(stage, &strip_of, &heat, &at, killed);

    // What one process alone computes, step after step.
    let mut expected = vec![0.0; strips * CELLS];
    for _ in 0..steps {
        expected = next(&[&[HOT], &expected[..], &[HOT]].concat());
    }
    let mut wrong = 0;
    for (strip, cells) in expected.chunks(CELLS).enumerate() {
        let (step, found) = rod.read(strip, steps).await?;
        wrong += if step == steps { cells.iter().zip(&found).filter(|(a, b)| a != b).count() } else { CELLS };
    }
    let generations: Vec<_> = history.values().flat_map(|step| &step.generations).collect();
    let is_growing = generations.is_sorted_by(|one, next| one < next);
    let all = || history.values();
    let missing = strips * arguments.steps as usize - all().map(|step| step.strips).sum::<usize>();
    let early = all().filter(|step| step.entered.is_some_and(|first| first < step.came)).count();
    let forsaken = all().filter(|step| step.left.is_some_and(|first| first < step.leaving)).count();
    let begin = all().filter_map(|step| Some(step.entered? - step.came)).collect();
    let whole = all().filter(|step| step.strips == strips);
    let end = whole.filter_map(|step| Some(step.left? - step.leaving)).collect();

    let mut summary = stage.summary(format!("{steps} steps of {strips} strips"));
    summary.zero("mixed steps", mixed as usize, "values read that were of another step");
    summary.zero("wrong cells", wrong, "not exactly what one process alone computes");
    summary.zero("early", early, "steps that somebody entered before all had come");
    summary.zero("forsaken", forsaken, "steps that somebody left before all were done");
    let is_right = is_growing && generations.len() == history.len();
    summary.check("generations", generations.len(), "one for each step, and growing", is_right);
    let gone = usize::from(arguments.kill);
    summary.check("missing", missing, "computed outside of a step: where a process was killed", missing == gone);
    summary.times("begins", begin, "from when the last one comes until the first is inside");
    summary.times("ends", end, "from when the last one is done until the first is out");
    if arguments.kill {
        let timeout = stage.session_timeout();
        let remark = format!("s after the kill the next step began; the session timeout is {timeout:?}");
        let seconds = taken_over.map_or(f64::NAN, |time| time as f64 / 1e6);
        summary.check("taken over", format!("{seconds:.2}"), remark, taken_over.is_some());
    }
    Ok(summary.is_fine())
}

/// The heat of the rod, and how far each strip is.
fn draw(stage: &mut Stage, strip_of: &[usize], heat: &[Vec<i64>], at: &[i64], killed: Option<(usize, i64)>) {
    let shade = |cells: &Vec<i64>| -> String {
        cells.iter().map(|heat| [' ', '░', '▒', '▓', '█'][(*heat * 5 / HOT as i64).clamp(0, 4) as usize]).collect()
    };
    for (who, strip) in strip_of.iter().enumerate() {
        match killed {
            Some((dead, _)) if dead == who => stage.paint(who, at[*strip] as usize, "red", "killed inside the step"),
            _ => stage.paint(who, at[*strip] as usize, "yellow", shade(&heat[*strip])),
        }
    }
    stage.plain(|| {
        let rod: String = heat.iter().map(shade).collect();
        format!("step {:>4}  |{rod}|", at.iter().min().unwrap_or(&0))
    });
}
