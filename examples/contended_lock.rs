//! Processes that share one lock, and the evidence that only one of them has it at a time.
//!
//! ```text
//! cargo run --example contended_lock
//! cargo run --example contended_lock -- --kill
//! cargo run --example contended_lock -- --connect localhost:2181 --processes 8 --rounds 50
//! ```
//!
//! The parent starts the embedded server and copies of itself. Each copy, a *worker*, is a process with a session of
//! its own. It takes the lock again and again, and does under it what goes wrong as soon as two do it at once: it adds
//! one to a number in a file (read, pause, write), and it writes to a store that refuses tokens older than one it has
//! seen. The store is another process: the parent. A journal has who entered and who left, and decides in the end.
//!
//! How the lock is used is all in [`work`]. The rest is the work that is locked, and those who watch it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, value_parser};
use herdless::server::Server;
use herdless::{Client, ClientExt, Connector, Lock, NodePath, TokioClient};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type AnyError = Box<dyn std::error::Error>;
/// The store's answers to a worker, a line each.
type Answers = Lines<BufReader<Stdin>>;

/// How often the parent draws.
const TICK: Duration = Duration::from_millis(50);

/// Processes take turns on one lock, around work that goes wrong when two do it at once
#[derive(Parser)]
#[command(args_override_self = true)] // A worker gets the parent's arguments, and what is different for it.
struct Arguments {
    /// A ZooKeeper server, HOST:PORT [default: an embedded one]
    #[arg(long)]
    connect: Option<String>,
    /// How many processes want the lock
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=99))]
    processes: u32,
    /// How often each takes it
    #[arg(long, default_value_t = 25, value_parser = value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// How long each holds it, so that there is something to see
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(..=10_000))]
    pause_ms: u64,
    /// The lock's node; each run adds a number of its own
    #[arg(long, default_value = "/herdless/contended-lock", value_parser = NodePath::parse)]
    path: NodePath,
    /// Kill the process that holds the lock, halfway
    #[arg(long)]
    kill: bool,
    /// How long the server waits for a sign of life; a ZooKeeper server may insist on more
    #[arg(long, default_value_t = 4_000, value_parser = value_parser!(u64).range(500..=60_000))]
    session_timeout_ms: u64,
    /// The number of this process, which is a worker
    #[arg(long, hide = true)]
    worker: Option<u32>,
    /// The run's files
    #[arg(long, hide = true, default_value = ".")]
    directory: PathBuf,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let (name, outcome) = match arguments.worker {
        Some(number) => (format!("process {number}"), work(number, &arguments).await.map(|()| true)),
        None => ("contended_lock".into(), supervise(&arguments).await),
    };
    let is_fine = outcome.unwrap_or_else(|error| {
        eprintln!("{name}: {error}");
        false
    });
    // Returning would wait for the read of standard input, which cannot be called off.
    std::process::exit(i32::from(!is_fine));
}

async fn connect(address: &str, arguments: &Arguments) -> Result<TokioClient, AnyError> {
    Ok(Connector::new(address)?
        .session_timeout(Duration::from_millis(arguments.session_timeout_ms))
        .connect_within(Duration::from_secs(5))
        .connect()
        .await?)
}

/// Microseconds since 1970: unlike `Instant`, the same for all processes of a machine.
#[expect(clippy::disallowed_methods, reason = "to measure is to read the clock")]
fn micros() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since_1970.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}

// ----- The worker

async fn work(number: u32, arguments: &Arguments) -> Result<(), AnyError> {
    let address = arguments.connect.as_deref().ok_or("no server given")?;
    let client = connect(address, arguments).await?;
    let lock = Lock::builder(client.clone(), arguments.path.clone())
        .owner(format!("process {number} (pid {})", std::process::id()))
        .build();
    let mut answers = BufReader::new(tokio::io::stdin()).lines();
    let mut woken = 0;
    for round in 0..arguments.rounds {
        let since = micros();
        tell("waits", since)?;
        let guard = tokio::select! {
            guard = lock.acquire() => guard?,
            // Nothing was asked, so this is the parent's end. The dropped acquire leaves the line by itself.
            _ = answers.next_line() => return Err("the parent is gone".into()),
        };
        let (held, token) = (micros(), guard.token().0.0);
        let wake_ups = client.counters().watch_events - woken;
        woken += wake_ups;

        // Appended, one write a line: the lines are in the order in which they were written, whoever wrote them.
        let journal = arguments.directory.join("journal");
        let mut journal = OpenOptions::new().append(true).open(journal)?;
        journal.write_all(format!("enter {token} {since} {held} {wake_ups}\n").as_bytes())?;
        critical_section(arguments, token, &mut answers).await?;
        journal.write_all(format!("leave {token} {}\n", micros()).as_bytes())?;

        if round % 2 == 0 {
            // A release that is sent and not waited for ..
            drop(guard);
        } else {
            // .. and one that is, and says so if the lock had been lost.
            guard.release().await?;
        }
        tell("released", token)?;
    }
    Ok(client.close().await?)
}

/// What only one process at a time may do. (Files as small as these do not hold up the runtime.)
async fn critical_section(arguments: &Arguments, token: i64, answers: &mut Answers) -> Result<(), AnyError> {
    let counter = arguments.directory.join("counter");
    let value: u64 = fs::read_to_string(&counter)?.parse().unwrap_or(0);

    // With `--kill` the answer may never come. So the parent knows that whoever it kills is right here.
    tell("stores", token)?;
    answers.next_line().await?.ok_or("the parent is gone")?;

    tokio::time::sleep(Duration::from_millis(arguments.pause_ms)).await;
    // Unlike the store, a file takes what anybody writes.
    Ok(fs::write(&counter, (value + 1).to_string())?)
}

/// A worker's word to its parent: one line.
fn tell(word: &str, number: i64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{word} {number}")?;
    out.flush()
}

// ----- The parent

/// Starts everything, listens until all have ended, and sums up. Whether all went well.
async fn supervise(arguments: &Arguments) -> Result<bool, AnyError> {
    if arguments.kill && arguments.processes < 2 {
        return Err("--kill needs somebody to take over: at least 2 processes".into());
    }
    let (server, address) = match &arguments.connect {
        Some(address) => (None, address.clone()),
        None => {
            let timeout = Duration::from_millis(arguments.session_timeout_ms);
            let options = Server::builder().session_timeouts(timeout..=timeout);
            let server = options.bind("127.0.0.1:0").await?;
            let address = server.address().to_string();
            (Some(server), address)
        }
    };
    // First alone: a server that is not there makes one message then, not one from each worker.
    let client = connect(&address, arguments).await?;
    let path = NodePath::parse(&format!("{}-{}", arguments.path, micros()))?;
    println!("server   {address}{}", if server.is_some() { ", embedded" } else { "" });
    println!("lock     {path}");
    println!("workers  {} of {} rounds each", arguments.processes, arguments.rounds);

    let files = Files::new()?;
    let (sender, mut words) = unbounded_channel();
    let mut run = Run {
        arguments,
        lock: Lock::new(client.clone(), path.clone()),
        session_timeout: client.session().timeout(),
        started: micros(),
        workers: Vec::new(),
        newest: 0,
        refused: 0,
        doomed: None,
        killed: None,
        rows: MultiProgress::new(),
        next_line: 0,
    };
    for _ in 0..arguments.processes {
        run.start_worker(&address, &files.0, sender.clone())?;
    }
    drop(sender);

    // Much longer than all that is meant to happen: a bug is to end in a message, too.
    let patience = run.session_timeout * 3 + Duration::from_secs(20);
    let (mut ticks, mut ticks_since_word) = (tokio::time::interval(TICK), 0);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    while ticks_since_word * TICK < patience {
        tokio::select! {
            biased;
            _ = &mut interrupt => return Err("interrupted".into()),
            _ = ticks.tick() => {
                ticks_since_word += 1;
                run.draw();
            }
            word = words.recv() => match word {
                Some((index, line)) => {
                    ticks_since_word = 0;
                    run.hear(index, &line).await?;
                }
                None => {
                    // All workers have ended.
                    let is_fine = run.end(&files.0).await?;
                    client.close().await?;
                    return Ok(is_fine);
                }
            },
        }
    }
    Err(format!("nothing has happened for {patience:?}").into())
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
    session_timeout: Duration,
    started: i64,
    workers: Vec<Worker>,
    /// The store's: the newest token it has seen, and how many writes it refused.
    newest: i64,
    refused: usize,
    /// Whom the store lets wait for its answer, to be killed as soon as somebody else waits for the lock; and its token.
    doomed: Option<(usize, i64)>,
    killed: Option<Killed>,
    rows: MultiProgress,
    /// Where there is no terminal: after how many rounds the next line is due.
    next_line: u32,
}

struct Worker {
    child: Child,
    answers: ChildStdin,
    row: ProgressBar,
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
    /// Starts one more; what it says is sent to `words`.
    fn start_worker(&mut self, address: &str, files: &Path, words: UnboundedSender<(usize, String)>) -> io::Result<()> {
        let (index, number) = (self.workers.len(), self.workers.len() + 1);
        let mut child = Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .args(["--worker", &number.to_string(), "--connect", address, "--path", self.lock.path().as_str()])
            .arg("--directory")
            .arg(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // Nobody listens any more when the run is given up.
                let _ = words.send((index, line));
            }
        });
        let row = self.rows.add(ProgressBar::new(self.arguments.rounds.into()));
        self.workers.push(Worker {
            answers: child.stdin.take().expect("it was asked for"),
            child,
            row: row.with_prefix(format!("process {number}")),
            rounds: 0,
            waits_since: None,
            holds: None,
            is_killed: false,
        });
        Ok(())
    }

    /// Takes note of what a worker says, and is the store.
    async fn hear(&mut self, index: usize, line: &str) -> Result<(), AnyError> {
        let (word, number) = line.split_once(' ').unwrap_or((line, ""));
        let number = number.parse()?;
        let worker = &mut self.workers[index];
        match word {
            "waits" => worker.waits_since = Some(number),
            "stores" => {
                (worker.waits_since, worker.holds) = (None, Some(number));
                let is_newer = number > self.newest;
                self.newest = self.newest.max(number);
                self.refused += usize::from(!is_newer);
                let done: u32 = self.workers.iter().map(|worker| worker.rounds).sum();
                let all = self.arguments.processes * self.arguments.rounds;
                if self.arguments.kill && self.doomed.is_none() && done >= (all - 1) / 2 {
                    self.doomed = Some((index, number));
                } else {
                    let answer: &[u8] = if is_newer { b"stored\n" } else { b"refused\n" };
                    // A worker that has died meanwhile is found by its exit status.
                    let _ = self.workers[index].answers.write_all(answer).await;
                }
            }
            "released" => {
                worker.holds = None;
                worker.rounds += 1;
            }
            _ => return Err(format!("process {} says {line:?}", index + 1).into()),
        }
        let is_wanted = self.workers.iter().any(|worker| worker.waits_since.is_some());
        match self.doomed {
            Some((index, token)) if is_wanted && self.killed.is_none() => self.kill(index, token).await,
            _ => Ok(()),
        }
    }

    /// Kills a worker that certainly holds the lock: it waits for the store's answer.
    async fn kill(&mut self, index: usize, token: i64) -> Result<(), AnyError> {
        let worker = &mut self.workers[index];
        worker.child.kill().await?;
        self.killed = Some(Killed { token, at: micros() });
        (worker.is_killed, worker.holds) = (true, None);
        // What the server thinks: the dead are first in line until their session ends.
        let line = self.lock.contenders().await?;
        let owners: Vec<_> = line.into_iter().map(|one| one.owner).collect();
        let text = format!("killed process {}; the server's line is: {}", index + 1, owners.join(", "));
        self.rows.suspend(|| println!("{text}"));
        Ok(())
    }

    /// A row for each worker; where there is no terminal, a line now and then.
    fn draw(&mut self) {
        let workers = || self.workers.iter().enumerate();
        let line: BTreeSet<_> = workers().filter_map(|(_, worker)| worker.waits_since).collect();
        // What two workers say comes in any order: the one with the lower token has released.
        let Some((holder, _)) = workers().max_by_key(|(_, worker)| worker.holds) else {
            return;
        };
        let done: u32 = workers().map(|(_, worker)| worker.rounds).sum();
        let all = self.arguments.processes * self.arguments.rounds;
        if self.rows.is_hidden() && done >= self.next_line && self.workers[holder].holds.is_some() {
            println!("{done:>6}/{all}  process {} has it, waiting: {}", holder + 1, line.len());
            self.next_line += all.div_ceil(20);
        }
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
            let row = format!("{{prefix:10}} {{bar:25}} {{pos:>3}}/{{len}} {{msg:.{color}}}");
            let style = ProgressStyle::with_template(&row).expect("it is well-formed");
            worker.row.set_style(style);
            worker.row.set_position(worker.rounds.into());
            worker.row.set_message(text);
        }
    }

    /// The summary. Whether all went well.
    async fn end(&mut self, files: &Path) -> Result<bool, AnyError> {
        self.draw();
        let mut unfinished = 0;
        for worker in self.workers.drain(..) {
            worker.row.abandon(); // Its last state stays to be seen.
            let output = worker.child.wait_with_output().await?;
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            let is_done = output.status.success() && worker.rounds == self.arguments.rounds;
            unfinished += usize::from(!is_done && !worker.is_killed);
        }
        let journal = fs::read_to_string(files.join("journal"))?;
        let (stays, overlaps) = judge(&journal, self.killed)?;
        let left = stays.iter().filter(|stay| stay.left.is_some()).count();
        let counter: usize = fs::read_to_string(files.join("counter"))?.parse().unwrap_or(0);

        // A hand-over is a release that the next holder was waiting for already.
        let pairs = stays.iter().zip(stays.iter().skip(1));
        let mut hand_overs: Vec<f64> = (pairs.clone())
            .filter_map(|(last, next)| Some((last.left?, next)))
            .filter(|(left, next)| next.since < *left)
            .map(|(left, next)| (next.held - left) as f64 / 1e3)
            .collect();
        hand_overs.sort_by(f64::total_cmp);
        let moved_on = self.killed.and_then(|killed| {
            let (_, next) = pairs.clone().find(|(last, _)| last.token == killed.token)?;
            Some((next.held - killed.at) as f64 / 1e6)
        });

        let seconds = (micros() - self.started) as f64 / 1e6;
        println!("\n{} acquisitions in {seconds:.1} s", stays.len());
        if self.killed.is_some() {
            println!("one of them without a release: its process was killed inside");
        }
        let mut is_fine = true;
        let mut row = |what, is_right, value: String, remark: &str| {
            let verdict = if is_right { "" } else { "  <- WRONG" };
            println!("  {what:<15} {value:>6}  {remark}{verdict}");
            is_fine &= is_right;
        };
        let lost = left.abs_diff(counter);
        for (what, count, remark) in [
            ("overlaps", overlaps, "entered while another was inside"),
            ("lost updates", lost, "of a file that nothing else protects"),
            ("refused writes", self.refused, "by a store that compares tokens"),
            ("unfinished", unfinished, "failed, or did not do all rounds"),
        ] {
            row(what, count == 0, count.to_string(), remark);
        }
        if !hand_overs.is_empty() {
            let ms = |percent| format!("{:.2}", hand_overs[(hand_overs.len() - 1) * percent / 100]);
            row("hand-over p50", true, ms(50), "ms, where somebody was waiting");
            row("hand-over p99", true, ms(99), "ms");
            // The end of the killed one's session wakes somebody, too.
            let releases = hand_overs.len() + usize::from(moved_on.is_some());
            let wake_ups = stays.iter().map(|stay| stay.wake_ups).sum::<i64>() as f64;
            let each = wake_ups / releases as f64;
            let is_right = each <= 1.2 || self.arguments.kill;
            row("wake-ups", is_right, format!("{each:.2}"), "per release with somebody waiting");
        }
        if self.arguments.kill {
            let timeout = self.session_timeout;
            let remark = format!("s after the kill, to a greater token; the session timeout is {timeout:?}");
            row("moved on", moved_on.is_some(), format!("{:.2}", moved_on.unwrap_or(f64::NAN)), &remark);
        }
        Ok(is_fine)
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
