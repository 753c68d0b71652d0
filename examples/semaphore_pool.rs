//! A pool of licences that processes share, some of which need several at once; and the pool changes its size meanwhile.
//!
//! ```text
//! cargo run --example semaphore_pool
//! cargo run --example semaphore_pool -- --connect localhost:2181 --processes 9 --licences 12
//! ```
//!
//! The parent is the one who is paid for licences: whoever uses some says so first, and says when it has done. It counts
//! what is in use, and compares it with the size of the pool at the moment of the last grant. The number of that moment
//! is known exactly: grants and changes of the size are all in the server's one order, by their zxids.
//!
//! How the semaphore is used is all in [`work`]; the parent changes its size in [`resize`].

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Parser, value_parser};
use herdless::{ClientExt, Semaphore, TokioClient};
use herdless_examples::{AnyError, Event, Shared, Stage, Worker, micros, run, until_answered};

/// The most that a process needs at once.
const HEAVIEST: u32 = 3;

/// Processes share a pool of licences, some of them several at once
#[derive(Parser)]
#[command(args_override_self = true)] // A worker gets the parent's arguments, and what is different for it.
struct Arguments {
    /// How many licences there are at first; later there are half as many, and then half as many again
    #[arg(long, default_value_t = 6, value_parser = value_parser!(u32).range(4..=1_000))]
    licences: u32,
    /// How many processes use them: 1, 2 or 3 at once
    #[arg(long, default_value_t = 6, value_parser = value_parser!(u32).range(3..=99))]
    processes: u32,
    /// How often each uses them
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u32).range(10..=100_000))]
    uses: u32,
    /// How long each use takes, so that there is something to see
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(..=10_000))]
    pause_ms: u64,
    #[command(flatten)]
    shared: Shared,
}

impl Arguments {
    /// The sizes of the pool, one after the other.
    fn sizes(&self) -> [u32; 3] {
        [self.licences, (self.licences / 2).max(HEAVIEST), self.licences + self.licences / 2]
    }
}

/// How many licences a process needs at once.
fn weight(number: u32) -> u32 {
    (number - 1) % HEAVIEST + 1
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let work = async |worker| work(worker, &arguments).await;
    run(&arguments.shared, work, async |stage| supervise(stage, &arguments).await).await;
}

// ----- The worker

async fn work(mut worker: Worker, arguments: &Arguments) -> Result<(), AnyError> {
    // The size is in a node. What a process says here is only written where there is none yet.
    let pool = Semaphore::builder(worker.client.clone(), worker.path.child("pool")?, arguments.licences)
        .shared()
        .owner(worker.name())
        .build()?;
    let weight = weight(worker.number);
    for round in 0..arguments.uses {
        worker.tell("waits", &[i64::from(weight)])?;
        let since = micros();
        let permit = pool.acquire(weight).await?;
        let waited = micros() - since;

        // When it was granted, in the server's order. The token says when it was asked for.
        let stat = until_answered(|| worker.client.exists(permit.path())).await?.ok_or("a permit without a node")?;
        let (asked, granted) = (permit.token().0.0, stat.czxid.0);
        worker.ask("uses", &[asked, granted, permit.weight().into(), waited]).await?;
        tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
        worker.ask("has_used", &[asked]).await?;

        if round % 2 == 0 {
            // A release that is sent and not waited for ..
            drop(permit);
        } else {
            // .. and one that is, and says so if the permit had been lost.
            permit.release().await?;
        }
    }
    Ok(())
}

// ----- The parent

/// Makes the pool as large as this, for all processes, and says by which change.
async fn resize(pool: &Semaphore<TokioClient>, client: &TokioClient, size: u32) -> Result<i64, AnyError> {
    pool.set_permits(size).await?;
    let path = pool.path().child("permits")?;
    let number = until_answered(|| client.exists(&path)).await?;
    Ok(number.ok_or("a number without a node")?.mzxid.0)
}

/// Some licences, granted.
struct Grant {
    who: usize,
    asked: i64,
    granted: i64,
    weight: u32,
    waited: i64,
}

/// What is in use, and what was. Times are in microseconds.
struct Ledger {
    /// The sizes of the pool, and the changes that they came with.
    sizes: Vec<(i64, u32)>,
    grants: Vec<Grant>,
    /// Those of them that are in use, by the moment of the grant.
    in_use: BTreeMap<i64, usize>,
    /// The most that was in use, for each size.
    peaks: Vec<u32>,
    excesses: usize,
    /// Uses of what was not granted, or was given back.
    unlicensed: usize,
    /// What was used and what there was, each times how long.
    busy: (i64, i64),
    counted: i64,
}

impl Ledger {
    fn total(&self) -> u32 {
        self.in_use.values().map(|index| self.grants[*index].weight).sum()
    }

    /// Counts the time since the last count.
    fn count(&mut self) {
        let (now, (_, size)) = (micros(), self.sizes[self.sizes.len() - 1]);
        let time = now - self.counted;
        self.busy = (self.busy.0 + time * i64::from(self.total()), self.busy.1 + time * i64::from(size));
        self.counted = now;
    }

    fn begin(&mut self, grant: Grant) {
        self.unlicensed += usize::from(self.grants.iter().any(|other| other.asked == grant.asked));
        self.in_use.insert(grant.granted, self.grants.len());
        self.grants.push(grant);
        // All that are in use now were held together in the moment of the last grant among them.
        let last = self.in_use.last_key_value().map_or(0, |(granted, _)| *granted);
        let phase = self.sizes.iter().rposition(|(since, _)| *since < last).unwrap_or(0);
        self.excesses += usize::from(self.total() > self.sizes[phase].1);
        self.peaks[phase] = self.peaks[phase].max(self.total());
    }

    fn end(&mut self, asked: i64) {
        let before = self.in_use.len();
        self.in_use.retain(|_, index| self.grants[*index].asked != asked);
        self.unlicensed += usize::from(self.in_use.len() + 1 != before);
    }
}

/// Starts everything, listens until all have ended, and sums up. Whether all went well.
async fn supervise(stage: &mut Stage, arguments: &Arguments) -> Result<bool, AnyError> {
    let (processes, sizes) = (arguments.processes as usize, arguments.sizes());
    println!("workers  {processes} of {} uses each", arguments.uses);
    let pool = Semaphore::builder(stage.client.clone(), stage.path.child("pool")?, sizes[0]).shared().build()?;
    let mut ledger = Ledger {
        sizes: vec![(resize(&pool, &stage.client, sizes[0]).await?, sizes[0])],
        grants: Vec::new(),
        in_use: BTreeMap::new(),
        peaks: vec![0; sizes.len()],
        excesses: 0,
        unlicensed: 0,
        busy: (0, 0),
        counted: micros(),
    };
    for _ in 0..processes {
        stage.start(&[], arguments.uses)?;
    }
    let all = processes * arguments.uses as usize;
    let mut waits = vec![None; processes];
    while let Some(event) = stage.next().await? {
        let Event::Said(who, word, numbers) = event else {
            draw(stage, &ledger, &waits);
            continue;
        };
        ledger.count();
        match (word.as_str(), &numbers[..]) {
            ("waits", &[weight]) => waits[who] = Some(weight),
            ("uses", &[asked, granted, weight, waited]) => {
                waits[who] = None;
                ledger.begin(Grant { who, asked, granted, weight: u32::try_from(weight)?, waited });
                stage.answer(who, "noted").await;
            }
            ("has_used", &[asked]) => {
                ledger.end(asked);
                // Only with the answer it gives them back: what is in use here is held there.
                stage.answer(who, "noted").await;
            }
            _ => return Err(format!("process {} says {word} {numbers:?}", who + 1).into()),
        }
        let phase = ledger.sizes.len();
        if phase < sizes.len() && ledger.grants.len() >= all * phase / sizes.len() {
            let (used, size) = (ledger.total(), sizes[phase]);
            stage.say(format!("from now on there are {size} licences; {used} are in use"));
            ledger.sizes.push((resize(&pool, &stage.client, size).await?, size));
        }
    }
    draw(stage, &ledger, &waits);
    ledger.grants.sort_by_key(|grant| grant.granted);
    let overtaken = ledger.grants.windows(2).filter(|pair| pair[1].asked < pair[0].asked).count();
    let uses = |who| ledger.grants.iter().filter(|grant| grant.who == who).count();
    let unfinished = (0..processes).filter(|who| uses(*who) != arguments.uses as usize).count();

    let mut summary = stage.summary(format!("{} uses by {processes} processes", ledger.grants.len()));
    summary.zero("in excess", ledger.excesses, "uses when there were more in use than licences");
    summary.zero("unlicensed", ledger.unlicensed, "uses of what was used before, or is not in use");
    summary.zero("overtaken", overtaken, "granted before somebody who had asked earlier");
    summary.zero("unfinished", unfinished, "processes that did not get all their turns");
    summary.zero("still in use", ledger.in_use.len(), "in the end");
    for ((_, size), peak) in ledger.sizes.iter().zip(&ledger.peaks) {
        let remark = format!("in use at most, of {size}");
        summary.check("peak", peak, remark, (1..=*size).contains(peak));
    }
    // Where fewer are wanted than there are, more of them change nothing.
    let wanted: u32 = (1..=arguments.processes).map(weight).sum();
    let is_live = ledger.sizes.len() == sizes.len() && (ledger.peaks[2] > ledger.peaks[1] || wanted <= sizes[1]);
    summary.check("live", ledger.sizes.len(), "sizes, and the last one let in more than the one before", is_live);
    summary.show("busy", format!("{:.0}%", 100.0 * ledger.busy.0 as f64 / ledger.busy.1 as f64), "of all licences");
    for weight in 1..=HEAVIEST {
        let waits = ledger.grants.iter().filter(|grant| grant.weight == weight).map(|grant| grant.waited);
        summary.times(&format!("wait for {weight}"), waits.collect(), "from asking until they are granted");
    }
    Ok(summary.is_fine())
}

fn draw(stage: &mut Stage, ledger: &Ledger, waits: &[Option<i64>]) {
    for (who, wait) in waits.iter().enumerate() {
        let used = ledger.in_use.values().map(|index| &ledger.grants[*index]).find(|grant| grant.who == who);
        let (color, text) = match (used, wait) {
            (Some(grant), _) => ("green", format!("USES {}", "#".repeat(grant.weight as usize))),
            (None, Some(weight)) => ("yellow", format!("waits for {weight}")),
            (None, None) => ("dim", String::new()),
        };
        let uses = ledger.grants.iter().filter(|grant| grant.who == who).count();
        stage.paint(who, uses, color, text);
    }
    let size = ledger.sizes[ledger.sizes.len() - 1].1;
    let wait = waits.iter().flatten().count();
    stage.plain(|| format!("{} uses so far; {} of {size} in use, {wait} wait", ledger.grants.len(), ledger.total()));
}
