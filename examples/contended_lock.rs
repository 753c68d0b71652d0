//! Processes that share one lock, and the evidence that only one of them has it at a time.
//!
//! ```text
//! cargo run --example contended_lock
//! cargo run --example contended_lock -- --kill
//! cargo run --example contended_lock -- --connect localhost:2181 --processes 8 --rounds 50
//! ```
//!
//! Each worker takes the lock again and again, and does under it what goes wrong as soon as two do it at once: it adds
//! one to a number in a file (read, pause, write), and it writes to a store that refuses tokens older than one it has
//! seen. The store is another process: the parent. A journal has who entered and who left, and decides in the end.
//!
//! How the lock is used is all in [`work`]. The rest is the work that is locked, and those who watch it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, value_parser};
use herdless::{Lock, TokioClient};
use herdless_examples::{AnyError, Event, Shared, Stage, Worker, micros, run};

/// Processes take turns on one lock, around work that goes wrong when two do it at once
#[derive(Parser)]
#[command(args_override_self = true)] // A worker gets the parent's arguments, and what is different for it.
struct Arguments {
    /// How many processes want the lock
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=99))]
    processes: u32,
    /// How often each takes it
    #[arg(long, default_value_t = 25, value_parser = value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// How long each holds it, so that there is something to see
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(..=10_000))]
    pause_ms: u64,
    /// Kill the process that holds the lock, halfway
    #[arg(long)]
    kill: bool,
    /// The run's files
    #[arg(long, hide = true, default_value = ".")]
    directory: PathBuf,
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
    let lock = Lock::builder(worker.client.clone(), worker.path.child("lock")?).owner(worker.name()).build();
    let mut woken = 0;
    for round in 0..arguments.rounds {
        let since = micros();
        worker.tell("waits", &[since])?;
        let guard = lock.acquire().await?;
        let (held, token) = (micros(), guard.token().0.0);
        let wake_ups = worker.client.counters().watch_events - woken;
        woken += wake_ups;

        // Appended, one write a line: the lines are in the order in which they were written, whoever wrote them.
        let journal = arguments.directory.join("journal");
        let mut journal = OpenOptions::new().append(true).open(journal)?;
        journal.write_all(format!("enter {token} {since} {held} {wake_ups}\n").as_bytes())?;
        critical_section(&mut worker, arguments, token).await?;
        journal.write_all(format!("leave {token} {}\n", micros()).as_bytes())?;

        if round % 2 == 0 {
            // A release that is sent and not waited for ..
            drop(guard);
        } else {
            // .. and one that is, and says so if the lock had been lost.
            guard.release().await?;
        }
        worker.tell("released", &[token])?;
    }
    Ok(())
}

/// What only one process at a time may do. (Files as small as these do not hold up the runtime.)
async fn critical_section(worker: &mut Worker, arguments: &Arguments, token: i64) -> Result<(), AnyError> {
    let counter = arguments.directory.join("counter");
    let value: u64 = fs::read_to_string(&counter)?.parse().unwrap_or(0);

    // With `--kill` the answer may never come. So the parent knows that whoever it kills is right here.
    worker.ask("stores", &[token]).await?;

    tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
    // Unlike the store, a file takes what anybody writes.
    Ok(fs::write(&counter, (value + 1).to_string())?)
}

// ----- The parent

/// Starts everything, listens until all have ended, and sums up. Whether all went well.
async fn supervise(stage: &mut Stage, arguments: &Arguments) -> Result<bool, AnyError> {
    if arguments.kill && arguments.processes < 2 {
        return Err("--kill needs somebody to take over: at least 2 processes".into());
    }
    println!("workers  {} of {} rounds each", arguments.processes, arguments.rounds);
    let files = Files::new()?;
    let directory = files.0.to_str().ok_or("the directory of temporary files has no name in Unicode")?;
    let lock = Lock::new(stage.client.clone(), stage.path.child("lock")?);
    let mut run = Run { arguments, lock, workers: Vec::new(), newest: 0, refused: 0, doomed: None, killed: None };
    for _ in 0..arguments.processes {
        stage.start(&["--directory", directory], arguments.rounds)?;
        run.workers.push(State::default());
    }
    while let Some(event) = stage.next().await? {
        match event {
            Event::Tick => run.draw(stage),
            Event::Said(index, word, numbers) => run.hear(stage, index, &word, &numbers).await?,
            Event::Ended(_) => {}
        }
    }
    run.draw(stage);
    run.end(stage, &files.0)
}

/// The run's directory, which goes with this value.
struct Files(PathBuf);

impl Files {
    fn new() -> io::Result<Self> {
        let name = format!("herdless-contended-lock-{}-{}", std::process::id(), micros());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let files = Self(directory);
        fs::write(files.0.join("journal"), "")?;
        fs::write(files.0.join("counter"), "0")?;
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A run, as the parent knows it. Times are in microseconds.
struct Run<'a> {
    arguments: &'a Arguments,
    lock: Lock<TokioClient>,
    workers: Vec<State>,
    /// The store's: the newest token it has seen, and how many writes it refused.
    newest: i64,
    refused: usize,
    /// Whom the store lets wait for its answer, to be killed as soon as somebody else waits for the lock; and its token.
    doomed: Option<(usize, i64)>,
    killed: Option<Killed>,
}

/// What a worker is at.
#[derive(Default)]
struct State {
    rounds: u32,
    waits_since: Option<i64>,
    holds: Option<i64>,
    is_killed: bool,
}

#[derive(Clone, Copy)]
struct Killed {
    token: i64,
    at: i64,
}

impl Run<'_> {
    /// Takes note of what a worker says, and is the store.
    async fn hear(&mut self, stage: &mut Stage, index: usize, word: &str, numbers: &[i64]) -> Result<(), AnyError> {
        let worker = &mut self.workers[index];
        match (word, numbers) {
            ("waits", &[since]) => worker.waits_since = Some(since),
            ("stores", &[token]) => {
                (worker.waits_since, worker.holds) = (None, Some(token));
                let is_newer = token > self.newest;
                self.newest = self.newest.max(token);
                self.refused += usize::from(!is_newer);
                let done: u32 = self.workers.iter().map(|worker| worker.rounds).sum();
                let all = self.arguments.processes * self.arguments.rounds;
                if self.arguments.kill && self.doomed.is_none() && done >= (all - 1) / 2 {
                    self.doomed = Some((index, token));
                } else {
                    stage.answer(index, if is_newer { "stored" } else { "refused" }).await;
                }
            }
            ("released", &[_]) => {
                worker.holds = None;
                worker.rounds += 1;
            }
            _ => return Err(format!("process {} says {word} {numbers:?}", index + 1).into()),
        }
        let is_wanted = self.workers.iter().any(|worker| worker.waits_since.is_some());
        match self.doomed {
            Some((index, token)) if is_wanted && self.killed.is_none() => self.kill(stage, index, token).await,
            _ => Ok(()),
        }
    }

    /// Kills a worker that certainly holds the lock: it waits for the store's answer.
    async fn kill(&mut self, stage: &mut Stage, index: usize, token: i64) -> Result<(), AnyError> {
        self.killed = Some(Killed { token, at: stage.kill(index).await? });
        let worker = &mut self.workers[index];
        (worker.is_killed, worker.holds) = (true, None);
        // What the server thinks: the dead are first in line until their session ends.
        let line = self.lock.contenders().await?;
        let owners: Vec<_> = line.into_iter().map(|one| one.owner).collect();
        stage.say(format!("killed process {}; the server's line is: {}", index + 1, owners.join(", ")));
        Ok(())
    }

    /// A row for each worker; where there is no terminal, a line now and then.
    fn draw(&self, stage: &mut Stage) {
        let workers = || self.workers.iter().enumerate();
        let line: BTreeSet<_> = workers().filter_map(|(_, worker)| worker.waits_since).collect();
        // What two workers say comes in any order: the one with the lower token has released.
        let Some((holder, _)) = workers().max_by_key(|(_, worker)| worker.holds) else {
            return;
        };
        for (index, worker) in workers() {
            let (color, text) = match (worker.holds, worker.waits_since) {
                _ if worker.is_killed => ("red", "killed while it held the lock".into()),
                (Some(token), _) if index == holder => ("green.bold", format!("HOLDS the lock, token {token:#x}")),
                (_, Some(since)) => {
                    let place = line.range(..=since).count();
                    ("yellow", format!("waits, number {place} in line"))
                }
                _ => ("dim", String::new()),
            };
            stage.paint(index, worker.rounds as usize, color, text);
        }
        let done: u32 = workers().map(|(_, worker)| worker.rounds).sum();
        let all = self.arguments.processes * self.arguments.rounds;
        stage.plain(|| match self.workers[holder].holds {
            Some(_) => format!("{done:>4}/{all}  process {} has it, waiting: {}", holder + 1, line.len()),
            None => format!("{done:>4}/{all}  nobody has it, waiting: {}", line.len()),
        });
    }

    /// The summary. Whether all went well.
    fn end(&self, stage: &Stage, files: &Path) -> Result<bool, AnyError> {
        let is_unfinished = |worker: &&State| !worker.is_killed && worker.rounds != self.arguments.rounds;
        let unfinished = self.workers.iter().filter(is_unfinished).count();
        let journal = fs::read_to_string(files.join("journal"))?;
        let (stays, overlaps) = judge(&journal, self.killed)?;
        let left = stays.iter().filter(|stay| stay.left.is_some()).count();
        let counter: usize = fs::read_to_string(files.join("counter"))?.parse().unwrap_or(0);

        // A hand-over is a release that the next holder was waiting for already.
        let pairs = stays.iter().zip(stays.iter().skip(1));
        let hand_overs: Vec<i64> = (pairs.clone())
            .filter_map(|(last, next)| Some((last.left?, next)))
            .filter(|(left, next)| next.since < *left)
            .map(|(left, next)| next.held - left)
            .collect();
        let moved_on = self.killed.and_then(|killed| {
            let (_, next) = pairs.clone().find(|(last, _)| last.token == killed.token)?;
            Some((next.held - killed.at) as f64 / 1e6)
        });

        let mut summary = stage.summary(format!("{} acquisitions", stays.len()));
        if self.killed.is_some() {
            summary.show("without release", stays.len() - left, "of a process that was killed inside");
        }
        let lost = left.abs_diff(counter);
        for (what, count, remark) in [
            ("overlaps", overlaps, "entered while another was inside"),
            ("lost updates", lost, "of a file that nothing else protects"),
            ("refused writes", self.refused, "by a store that compares tokens"),
            ("unfinished", unfinished, "did not do all rounds"),
        ] {
            summary.zero(what, count, remark);
        }
        if !hand_overs.is_empty() {
            // The end of the killed one's session wakes somebody, too.
            let releases = hand_overs.len() + usize::from(moved_on.is_some());
            let wake_ups = stays.iter().map(|stay| stay.wake_ups).sum::<i64>() as f64;
            let each = wake_ups / releases as f64;
            let is_right = each <= 1.2 || self.arguments.kill;
            summary.times("hand-over", hand_overs, "where somebody was waiting");
            summary.check("wake-ups", format!("{each:.2}"), "per release with somebody waiting", is_right);
        }
        if self.arguments.kill {
            let timeout = stage.session_timeout();
            let remark = format!("s after the kill, to a greater token; the session timeout is {timeout:?}");
            let seconds = format!("{:.2}", moved_on.unwrap_or(f64::NAN));
            summary.check("moved on", seconds, remark, moved_on.is_some());
        }
        Ok(summary.is_fine())
    }
}

/// One stay inside, as the journal has it.
struct Stay {
    token: i64,
    since: i64,
    held: i64,
    wake_ups: i64,
    left: Option<i64>,
}

/// Who was inside when, in order; and how many entered while another was inside.
fn judge(journal: &str, killed: Option<Killed>) -> Result<(Vec<Stay>, usize), AnyError> {
    let (mut stays, mut inside, mut overlaps) = (Vec::<Stay>::new(), BTreeMap::new(), 0);
    for line in journal.lines() {
        let (word, numbers) = line.split_once(' ').unwrap_or((line, ""));
        let numbers: Result<Vec<i64>, _> = numbers.split(' ').map(str::parse).collect();
        match (word, &numbers?[..]) {
            ("enter", &[token, since, held, wake_ups]) => {
                // The killed one makes room, but only for a greater token, and only from the kill on.
                if let Some(killed) = killed.filter(|dead| token > dead.token && held > dead.at) {
                    inside.remove(&killed.token);
                }
                overlaps += usize::from(!inside.is_empty());
                inside.insert(token, stays.len());
                let left = None;
                stays.push(Stay { token, since, held, wake_ups, left });
            }
            ("leave", &[token, at]) => {
                let index = inside.remove(&token).ok_or("left without having entered")?;
                stays[index].left = Some(at);
            }
            _ => return Err(format!("the journal has {line:?}").into()),
        }
    }
    Ok((stays, overlaps))
}
