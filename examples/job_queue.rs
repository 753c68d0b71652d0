//! Jobs in a queue, done by processes that are killed at their work; and a ledger that says that none was lost.
//!
//! ```text
//! cargo run --example job_queue
//! cargo run --example job_queue -- --connect localhost:2181 --consumers 8 --kills 6
//! ```
//!
//! Producers put jobs, consumers do them and acknowledge them. The parent keeps the ledger of what was done, and kills
//! consumers there: some with a job in hand that is not done, some with one that is done but not acknowledged. Such a job
//! is handed out again, so it is done twice; that is what *at least once* means. The ledger knows the jobs and
//! counts each only once. A few jobs fail whenever somebody tries them: those are put aside, as dead letters.
//!
//! How the queue is used is all in [`produce`] and [`consume`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::{Parser, value_parser};
use herdless::{Error, Queue, TokioClient};
use herdless_examples::{AnyError, Event, Shared, Stage, Worker, micros, run};

/// How many jobs a consumer claims at once.
const PREFETCH: usize = 4;

/// Producers put jobs, and consumers do them, as long as they live
#[derive(Parser)]
#[command(args_override_self = true)] // A worker gets the parent's arguments, and what is different for it.
struct Arguments {
    /// How many processes put jobs
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=50))]
    producers: u32,
    /// How many processes do them, at any time
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=50))]
    consumers: u32,
    /// How many jobs each producer puts
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u32).range(10..=100_000))]
    jobs: u32,
    /// How many consumers are killed
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(..=1_000))]
    kills: u32,
    /// How long a job takes, so that there is something to see
    #[arg(long, default_value_t = 25, value_parser = value_parser!(u64).range(..=10_000))]
    pause_ms: u64,
    #[command(flatten)]
    shared: Shared,
}

impl Arguments {
    fn all_jobs(&self) -> i64 {
        i64::from(self.producers) * i64::from(self.jobs)
    }

    /// How often a job is tried before it is put aside. A job that was claimed by one who was killed has been tried.
    fn attempts(&self) -> u32 {
        self.kills + 2
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(self.pause_ms)).await;
    }
}

/// Whether the job fails whenever it is tried.
fn is_bad(job: i64) -> bool {
    job % 50 == 17
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let work = async |worker: Worker| {
        let queue = Queue::new(worker.client.clone(), worker.path.child("jobs")?);
        match worker.number <= arguments.producers {
            true => produce(&worker, &queue, &arguments).await,
            false => consume(worker, &queue, &arguments).await,
        }
    };
    run(&arguments.shared, work, async |stage| supervise(stage, &arguments).await).await;
}

// ----- The workers

async fn produce(worker: &Worker, queue: &Queue<TokioClient>, arguments: &Arguments) -> Result<(), AnyError> {
    for round in 0..arguments.jobs {
        let job = i64::from(round * arguments.producers + worker.number - 1);
        let since = micros();
        // Should the connection be lost just then: it is found out whether the job was put.
        queue.put_once(&format!("job-{job}"), job.to_string()).await?;
        worker.tell("puts", &[job, since])?;
        arguments.pause().await;
    }
    Ok(())
}

async fn consume(mut worker: Worker, queue: &Queue<TokioClient>, arguments: &Arguments) -> Result<(), AnyError> {
    let mut consumer = queue.consumer().prefetch(PREFETCH).max_attempts(arguments.attempts()).build();
    loop {
        let delivery = tokio::select! {
            delivery = consumer.take() => delivery?,
            // All is done. The dropped take leaves the line by itself.
            _ = worker.hear() => return Ok(()),
        };
        let job: i64 = std::str::from_utf8(delivery.data())?.parse()?;
        worker.ask("takes", &[job, delivery.number().into(), delivery.attempts().into()]).await?;
        arguments.pause().await;
        if is_bad(job) {
            worker.tell("fails", &[job])?;
            delivery.nack().await?;
            continue;
        }
        worker.ask("does", &[job]).await?;
        match delivery.ack().await {
            Ok(()) => worker.tell("acknowledged", &[job])?,
            // The job is somebody else's now, and is done again.
            Err(Error::SessionExpired) => worker.tell("expired", &[job])?,
            Err(error) => return Err(error.into()),
        }
    }
}

// ----- The parent

/// What is known of the jobs. Times are in microseconds.
#[derive(Default)]
struct Ledger {
    put: BTreeMap<i64, i64>,
    /// When each was done for the first time.
    done: BTreeMap<i64, i64>,
    /// Each job's number in the queue.
    numbers: BTreeMap<i64, i64>,
    /// The number that each consumer was handed last, for the first time.
    last_new: BTreeMap<usize, i64>,
    acknowledged: Vec<i64>,
    attempts: usize,
    most_attempts: i64,
    failures: usize,
    done_again: usize,
    /// Consumers that were not heard any more between doing a job and its acknowledgement.
    silenced: usize,
    backwards: usize,
    /// When which job was taken from one who was killed.
    taken_away: Vec<(i64, i64)>,
    came_back: Vec<i64>,
    kills: u32,
    /// What each worker is at.
    at: Vec<At>,
}

#[derive(Clone, Copy)]
enum At {
    Idle,
    Job(i64, i64),
    Killed,
}

impl Ledger {
    fn take(&mut self, who: usize, job: i64, number: i64, attempt: i64) {
        self.at[who] = At::Job(job, attempt);
        self.attempts += 1;
        self.most_attempts = self.most_attempts.max(attempt);
        self.numbers.insert(job, number);
        if attempt == 1 {
            let last = self.last_new.insert(who, number);
            self.backwards += usize::from(last.is_some_and(|last| last > number));
        }
        if let Some(index) = self.taken_away.iter().position(|(one, _)| *one == job) {
            self.came_back.push(micros() - self.taken_away.swap_remove(index).1);
        }
    }

    /// Whether it is time to kill whoever has just done or taken a job; half of them before, half after.
    fn is_due(&self, is_done: bool, arguments: &Arguments) -> bool {
        let due = self.done.len() as i64 * i64::from(arguments.kills + 1) / arguments.all_jobs();
        i64::from(self.kills) < due.min(arguments.kills.into()) && is_done == (self.kills % 2 == 1)
    }
}

/// Starts everything, listens until all have ended, and sums up. Whether all went well.
async fn supervise(stage: &mut Stage, arguments: &Arguments) -> Result<bool, AnyError> {
    println!("workers  {} producers, {} consumers", arguments.producers, arguments.consumers);
    let queue = Queue::new(stage.client.clone(), stage.path.child("jobs")?);
    let (all, mut ledger) = (arguments.all_jobs(), Ledger::default());
    for number in 1..=arguments.producers + arguments.consumers {
        stage.start(&[], if number <= arguments.producers { arguments.jobs } else { all as u32 })?;
        ledger.at.push(At::Idle);
    }
    let (bad, mut is_over) = ((0..all).filter(|job| is_bad(*job)).count(), false);
    let mut done_by: BTreeMap<usize, usize> = BTreeMap::new();
    while let Some(event) = stage.next().await? {
        let Event::Said(who, word, numbers) = event else {
            draw(stage, &ledger, &done_by, arguments);
            if !is_over && ledger.put.len() as i64 == all && queue.is_empty().await? {
                is_over = true;
                for consumer in arguments.producers as usize..ledger.at.len() {
                    stage.answer(consumer, "end").await;
                }
            }
            continue;
        };
        let mut is_doomed = false;
        match (word.as_str(), &numbers[..]) {
            ("puts", &[job, since]) => drop(ledger.put.insert(job, since)),
            ("takes", &[job, number, attempt]) => {
                ledger.take(who, job, number, attempt);
                is_doomed = !is_bad(job) && ledger.is_due(false, arguments);
            }
            ("does", &[job]) => {
                let is_first = !ledger.done.contains_key(&job);
                ledger.done_again += usize::from(!is_first);
                ledger.done.entry(job).or_insert_with(micros);
                *done_by.entry(who).or_default() += usize::from(is_first);
                is_doomed = ledger.is_due(true, arguments);
                ledger.silenced += usize::from(is_doomed);
            }
            ("fails", &[_]) => {
                ledger.failures += 1;
                ledger.at[who] = At::Idle;
            }
            ("acknowledged", &[job]) => {
                ledger.acknowledged.push(job);
                ledger.at[who] = At::Idle;
            }
            ("expired", &[_]) => ledger.silenced += 1,
            _ => return Err(format!("process {} says {word} {numbers:?}", who + 1).into()),
        }
        if is_doomed {
            // It waits for our answer, so the job is in its hands.
            let at = stage.kill(who).await?;
            let when = if word == "does" { "done and not acknowledged" } else { "not done" };
            stage.say(format!("killed process {}; job {} is {when}", who + 1, numbers[0]));
            ledger.taken_away.push((numbers[0], at));
            (ledger.kills, ledger.at[who]) = (ledger.kills + 1, At::Killed);
            stage.start(&[], all as u32)?;
            ledger.at.push(At::Idle);
        } else if word == "takes" || word == "does" {
            stage.answer(who, "noted").await;
        }
    }
    draw(stage, &ledger, &done_by, arguments);

    let letters = queue.dead_letters().await?;
    let dead: BTreeSet<i64> =
        letters.iter().filter_map(|letter| std::str::from_utf8(&letter.data).ok()?.parse().ok()).collect();
    let lost = (0..all).filter(|job| !is_bad(*job) && !ledger.done.contains_key(job)).count();
    let wrongly_dead = dead.iter().filter(|job| !is_bad(**job)).count() + letters.len() - dead.len();
    let unique: BTreeSet<_> = ledger.acknowledged.iter().collect();
    let twice = ledger.acknowledged.len() - unique.len();
    // Jobs of one producer are in the queue in the order in which it put them.
    let producers = i64::from(arguments.producers);
    let number = |job: i64| ledger.numbers.get(&job);
    let is_swapped = |job: &i64| number(*job).zip(number(*job + producers)).is_some_and(|(one, next)| next < one);
    let swapped = (0..all).filter(is_swapped).count();
    let unexplained = ledger.done_again.saturating_sub(ledger.silenced);
    let durations = ledger.done.iter().filter_map(|(job, at)| Some(at - ledger.put.get(job)?)).collect();

    let mut summary = stage.summary(format!("{} jobs, {} attempts", ledger.put.len(), ledger.attempts));
    summary.zero("lost", lost, "jobs put and not done");
    let is_right = unique.len() + bad == all as usize;
    summary.check("acknowledged", unique.len(), format!("of {} that can be done", all as usize - bad), is_right);
    summary.zero("twice", twice, "jobs acknowledged more than once");
    summary.check("killed", ledger.kills, "consumers with a job in hand", ledger.kills == arguments.kills);
    summary.show("done again", ledger.done_again, "jobs; the ledger counts each once");
    let remark = "done again, though nobody was killed before acknowledging";
    summary.zero("unexplained", unexplained, remark);
    summary.check("dead letters", dead.len(), format!("of {bad} that always fail"), dead.len() == bad);
    summary.zero("wrongly dead", wrongly_dead, "put aside, though they can be done");
    let is_right = ledger.most_attempts == i64::from(arguments.attempts());
    summary.check("most attempts", ledger.most_attempts, "of a job that always fails", is_right || bad == 0);
    summary.show("failures", ledger.failures, "of jobs that always fail");
    summary.zero("swapped", swapped, "jobs of one producer queued in another order than it put them");
    summary.zero("backwards", ledger.backwards, "new jobs handed to a consumer after later ones");
    summary.zero("not back", ledger.taken_away.len(), "jobs of killed consumers that nobody else was handed");
    let remark = format!(
        "from the kill until the job is handed out again; the session timeout is {:?}",
        stage.session_timeout()
    );
    summary.times("comes back", ledger.came_back, remark);
    summary.times("takes", durations, "from putting a job until it is done");
    Ok(summary.is_fine())
}

fn draw(stage: &mut Stage, ledger: &Ledger, done_by: &BTreeMap<usize, usize>, arguments: &Arguments) {
    let producers = arguments.producers as usize;
    for (who, at) in ledger.at.iter().enumerate() {
        let (color, text) = match at {
            _ if who < producers => ("cyan", "puts".into()),
            At::Idle => ("dim", "takes".into()),
            At::Job(job, 1) => ("green", format!("does job {job}")),
            At::Job(job, attempt) => ("yellow", format!("does job {job}, attempt {attempt}")),
            At::Killed => ("red", "killed at its work".into()),
        };
        let is_own = |job: &&i64| **job as usize % producers == who;
        let count = match who < producers {
            true => ledger.put.keys().filter(is_own).count(),
            false => done_by.get(&who).copied().unwrap_or(0),
        };
        stage.paint(who, count, color, text);
    }
    let (put, done, again) = (ledger.put.len(), ledger.done.len(), ledger.done_again);
    stage.plain(|| format!("{put} put, {done} done, {again} of them again, {} failures", ledger.failures));
}
