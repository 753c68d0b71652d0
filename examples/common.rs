//! What the examples share: a server, copies of the program as processes, a picture while they run, and a summary that
//! can fail.
//!
//! The *parent* opens a [`Stage`]: it starts the embedded server, or connects to the one that it is told, and starts
//! *workers*: copies of itself, each a process with a session of its own. They talk to the parent in lines, a word and
//! numbers. No worker outlives the parent, however that ends: it notices the end of its standard input.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, value_parser};
use herdless::server::Server;
use herdless::{Client, ClientExt, Connector, CreateMode, Error, NodePath, Refusal, TokioClient, Version};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Interval;

/// Whatever went wrong, to be shown to a person.
pub type AnyError = Box<dyn std::error::Error>;

/// How often the parent draws.
const TICK: Duration = Duration::from_millis(50);
/// Where there is no terminal, one line in so many ticks.
const TICKS_PER_LINE: u32 = 10;

/// The options of every example.
#[derive(Args, Debug)]
pub struct Shared {
    /// A ZooKeeper server, HOST:PORT [default: an embedded one]
    #[arg(long)]
    connect: Option<String>,
    /// How long the server waits for a sign of life; a ZooKeeper server may insist on more
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u64).range(500..=60_000))]
    session_timeout_ms: u64,
    /// The node that has all of the run
    #[arg(long, hide = true, value_parser = NodePath::parse)]
    path: Option<NodePath>,
    /// The number of this process, which is a worker
    #[arg(long, hide = true)]
    worker: Option<u32>,
}

/// Microseconds since 1970: unlike `Instant`, the same for all processes of a machine.
#[expect(clippy::disallowed_methods, reason = "to measure is to read the clock")]
pub fn micros() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since_1970.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}

/// Runs this process as what it is, a worker or the parent. It ends with status 0 only if all went well.
pub async fn run(
    shared: &Shared,
    work: impl AsyncFnOnce(Worker) -> Result<(), AnyError>,
    supervise: impl AsyncFnOnce(&mut Stage) -> Result<bool, AnyError>,
) {
    // The end of the runtime would wait for the read of standard input, which cannot be called off.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(101);
    }));
    let (name, outcome) = match shared.worker {
        Some(number) => (format!("process {number}"), run_worker(number, shared, work).await),
        None => (program(), run_parent(shared, supervise).await),
    };
    let is_fine = outcome.unwrap_or_else(|error| {
        eprintln!("{name}: {error}");
        false
    });
    std::process::exit(i32::from(!is_fine));
}

async fn run_worker(
    number: u32,
    shared: &Shared,
    work: impl AsyncFnOnce(Worker) -> Result<(), AnyError>,
) -> Result<bool, AnyError> {
    let worker = Worker::open(shared, number).await?;
    let client = worker.client.clone();
    work(worker).await.map_err(|error| explain(error, shared))?;
    client.close().await?;
    Ok(true)
}

async fn run_parent(
    shared: &Shared,
    supervise: impl AsyncFnOnce(&mut Stage) -> Result<bool, AnyError>,
) -> Result<bool, AnyError> {
    let mut stage = Stage::open(shared).await?;
    let outcome = supervise(&mut stage).await;
    stage.close().await;
    outcome
}

fn program() -> String {
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    program.unwrap_or_else(|| "example".into())
}

/// What a worker is a copy of. Where a build replaces the file meanwhile, its path is nobody's any more, or another
/// program's; Linux has a name for the one that runs.
fn own_program() -> io::Result<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok(PathBuf::from("/proc/self/exe")),
        false => std::env::current_exe(),
    }
}

/// The error, and what a person can do about it.
fn explain(error: AnyError, shared: &Shared) -> AnyError {
    match error.downcast_ref() {
        Some(Error::SessionExpired) => {
            let asked = Duration::from_millis(shared.session_timeout_ms);
            let advice = "a machine that is too busy for that needs a greater --session-timeout-ms";
            format!("{error}: no sign of life got through in time, {asked:?} if the server agreed; {advice}").into()
        }
        _ => error,
    }
}

/// Asks again where the connection was lost, until there is an answer. Only for what may as well happen twice: a request
/// that was lost may have happened.
pub async fn until_answered<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        match ask().await {
            Err(Error::ConnectionLost) => {}
            outcome => return outcome,
        }
    }
}

async fn connect(address: &str, session_timeout: Duration) -> Result<TokioClient, AnyError> {
    let connector = Connector::new(address)?.session_timeout(session_timeout);
    Ok(connector.connect_within(Duration::from_secs(5)).connect().await?)
}

// ----- The worker

/// This process, where it is a worker.
#[derive(Debug)]
pub struct Worker {
    /// From 1; one that is started later has a greater one.
    pub number: u32,
    /// A session of its own.
    pub client: TokioClient,
    /// The node that has all of the run.
    pub path: NodePath,
    answers: UnboundedReceiver<String>,
}

impl Worker {
    async fn open(shared: &Shared, number: u32) -> Result<Self, AnyError> {
        let (sender, answers) = unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = sender.send(line);
            }
            // The parent is gone, however it went.
            std::process::exit(1);
        });
        let address = shared.connect.as_deref().ok_or("no server given")?;
        let path = shared.path.clone().ok_or("no path given")?;
        let client = connect(address, Duration::from_millis(shared.session_timeout_ms)).await?;
        Ok(Self { number, client, path, answers })
    }

    /// A word to the parent.
    pub fn tell(&self, word: &str, numbers: &[i64]) -> io::Result<()> {
        let numbers: String = numbers.iter().map(|number| format!(" {number}")).collect();
        let mut out = io::stdout().lock();
        writeln!(out, "{word}{numbers}")?;
        out.flush()
    }

    /// The parent's next word. It may never come: then this process has been killed.
    pub async fn hear(&mut self) -> String {
        match self.answers.recv().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    /// A question to the parent, and its answer.
    pub async fn ask(&mut self, word: &str, numbers: &[i64]) -> io::Result<String> {
        self.tell(word, numbers)?;
        Ok(self.hear().await)
    }

    /// What people will read in this worker's nodes.
    pub fn name(&self) -> String {
        format!("process {} (pid {})", self.number, std::process::id())
    }
}

// ----- The parent

/// What happens on the stage.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "nothing else happens")]
pub enum Event {
    /// Time to draw.
    Tick,
    /// A worker, by its index, has said something.
    Said(usize, String, Vec<i64>),
    /// A worker has ended, by itself or killed.
    Ended(usize),
}

/// The parent's: the server, the workers, and their picture.
pub struct Stage {
    /// The parent's own session.
    pub client: TokioClient,
    /// The node that has all of the run.
    pub path: NodePath,
    address: String,
    _server: Option<Server>,
    workers: Vec<Process>,
    sender: UnboundedSender<(usize, Option<String>)>,
    lines: UnboundedReceiver<(usize, Option<String>)>,
    interrupt: Pin<Box<dyn Future<Output = io::Result<()>>>>,
    ticks: Interval,
    ticks_since_word: u32,
    ticks_since_line: u32,
    rows: MultiProgress,
    started: i64,
}

struct Process {
    child: Child,
    answers: ChildStdin,
    row: ProgressBar,
    is_running: bool,
    is_killed: bool,
}

impl Stage {
    async fn open(shared: &Shared) -> Result<Self, AnyError> {
        let timeout = Duration::from_millis(shared.session_timeout_ms);
        let server = match &shared.connect {
            Some(_) => None,
            None => Some(Server::builder().session_timeouts(timeout..=timeout).bind("127.0.0.1:0").await?),
        };
        let embedded = server.as_ref().map(|server| server.address().to_string());
        let address = embedded.or_else(|| shared.connect.clone()).ok_or("no server given")?;
        // First alone: a server that is not there makes one message then, not one from each worker.
        let client = connect(&address, timeout).await?;
        let herdless = NodePath::parse("/herdless")?;
        match client.create(&herdless, "", CreateMode::Container).await {
            Ok(_) | Err(Error::Refused(Refusal::NodeExists)) => {}
            Err(error) => return Err(error.into()),
        }
        let path = herdless.child(&format!("{}-{}", program(), micros()))?;
        client.create(&path, "", CreateMode::Persistent).await?;
        println!("server   {address}{}", if server.is_some() { ", embedded" } else { "" });
        println!("node     {path}");
        let (sender, lines) = unbounded_channel();
        Ok(Self {
            client,
            path,
            address,
            _server: server,
            workers: Vec::new(),
            sender,
            lines,
            interrupt: Box::pin(tokio::signal::ctrl_c()),
            ticks: tokio::time::interval(TICK),
            ticks_since_word: 0,
            ticks_since_line: TICKS_PER_LINE,
            rows: MultiProgress::new(),
            started: micros(),
        })
    }

    /// Starts one more worker, with the parent's arguments and these; its row counts up to `length`. Its index, from 0.
    pub fn start(&mut self, arguments: &[&str], length: u32) -> io::Result<usize> {
        let (index, number) = (self.workers.len(), self.workers.len() + 1);
        let mut child = Command::new(own_program()?)
            .args(std::env::args_os().skip(1))
            .args(["--worker", &number.to_string(), "--connect", &self.address, "--path", self.path.as_str()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let sender = self.sender.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // Nobody listens any more when the run is given up.
                let _ = sender.send((index, Some(line)));
            }
            let _ = sender.send((index, None));
        });
        let row = self.rows.add(ProgressBar::new(length.into())).with_prefix(format!("process {number}"));
        let answers = child.stdin.take().expect("it was asked for");
        self.workers.push(Process { child, answers, row, is_running: true, is_killed: false });
        Ok(index)
    }

    /// What happens next; `None` when all workers have ended.
    ///
    /// # Errors
    ///
    /// A worker has failed, somebody has interrupted the program, or nothing has happened for much longer than all that
    /// is meant to happen.
    pub async fn next(&mut self) -> Result<Option<Event>, AnyError> {
        if !self.workers.iter().any(|worker| worker.is_running) {
            return Ok(None);
        }
        tokio::select! {
            biased;
            _ = &mut self.interrupt => Err("interrupted".into()),
            _ = self.ticks.tick() => {
                self.ticks_since_word += 1;
                self.ticks_since_line += 1;
                let patience = self.session_timeout() * 3 + Duration::from_secs(20);
                match self.ticks_since_word * TICK > patience {
                    true => Err(format!("nothing has happened for {patience:?}").into()),
                    false => Ok(Some(Event::Tick)),
                }
            }
            Some((index, line)) = self.lines.recv() => {
                self.ticks_since_word = 0;
                match line {
                    Some(line) => said(index, &line).map(Some),
                    None => self.ended(index).await.map(Some),
                }
            }
        }
    }

    async fn ended(&mut self, index: usize) -> Result<Event, AnyError> {
        let worker = &mut self.workers[index];
        let (status, mut complaint) = (worker.child.wait().await?, String::new());
        if let Some(mut stderr) = worker.child.stderr.take() {
            stderr.read_to_string(&mut complaint).await?;
        }
        worker.is_running = false;
        match status.success() || worker.is_killed {
            true => Ok(Event::Ended(index)),
            false => Err(format!("a process has failed, {status}\n{}", complaint.trim_end()).into()),
        }
    }

    /// Answers a worker.
    pub async fn answer(&mut self, index: usize, line: &str) {
        // One that has died meanwhile is found by its exit status.
        let _ = self.workers[index].answers.write_all(format!("{line}\n").as_bytes()).await;
    }

    /// Kills a worker, as `kill -9` does: its session goes on until the server misses it. When, by [`micros`].
    pub async fn kill(&mut self, index: usize) -> Result<i64, AnyError> {
        let worker = &mut self.workers[index];
        worker.is_killed = true;
        worker.child.kill().await?;
        Ok(micros())
    }

    /// What the server has granted, which may be more than was asked for.
    pub fn session_timeout(&self) -> Duration {
        self.client.session().timeout()
    }

    /// Draws a worker's row.
    pub fn paint(&self, index: usize, position: usize, color: &str, text: impl Display) {
        let template = format!("{{prefix:10}} {{bar:20}} {{pos:>4}}/{{len}} {{msg:.{color}}}");
        let row = &self.workers[index].row;
        row.set_style(ProgressStyle::with_template(&template).expect("it is well-formed"));
        row.set_position(position as u64);
        row.set_message(text.to_string());
    }

    /// Prints a line above the rows.
    pub fn say(&self, line: impl Display) {
        self.rows.suspend(|| println!("{line}"));
    }

    /// Where there is no terminal, prints a line instead of the rows; but not at every tick.
    pub fn plain(&mut self, line: impl FnOnce() -> String) {
        if self.rows.is_hidden() && self.ticks_since_line >= TICKS_PER_LINE {
            self.ticks_since_line = 0;
            println!("  {}", line());
        }
    }

    /// Begins the summary: the picture stays as it is.
    pub fn summary(&self, title: impl Display) -> Summary {
        self.workers.iter().for_each(|worker| worker.row.abandon());
        println!("\n{title} in {:.1} s", (micros() - self.started) as f64 / 1e6);
        Summary { is_fine: true }
    }

    /// Ends what still runs, and leaves no node behind.
    async fn close(mut self) {
        for worker in self.workers.drain(..).filter(|worker| worker.is_running) {
            let mut child = worker.child;
            let _ = child.kill().await;
        }
        let tidy = async {
            // The server removes the empty container above.
            remove(&self.client, &self.path).await;
            let _ = self.client.close().await;
        };
        // A server that is gone does not keep us.
        let _ = tokio::time::timeout(Duration::from_secs(5), tidy).await;
    }
}

fn said(index: usize, line: &str) -> Result<Event, AnyError> {
    let mut parts = line.split(' ');
    let word = parts.next().unwrap_or_default().to_owned();
    let numbers: Result<_, _> = parts.map(str::parse).collect();
    Ok(Event::Said(index, word, numbers.map_err(|_| format!("process {} says {line:?}", index + 1))?))
}

/// A node and everything below it. What is in use or gone already is left alone.
async fn remove(client: &TokioClient, path: &NodePath) {
    if let Ok((names, _)) = client.children(path).await {
        for child in names.iter().filter_map(|name| path.child(name).ok()) {
            Box::pin(remove(client, &child)).await;
        }
    }
    let _ = client.delete(path, Version::ANY).await;
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("address", &self.address).field("path", &self.path).finish_non_exhaustive()
    }
}

/// Figures, some of which say whether all went well.
#[derive(Debug)]
#[must_use = "it says whether all went well"]
pub struct Summary {
    is_fine: bool,
}

impl Summary {
    /// A figure that is right or wrong.
    pub fn check(&mut self, what: &str, value: impl Display, remark: impl Display, is_right: bool) {
        let verdict = if is_right { "" } else { "  <- WRONG" };
        println!("  {what:<17} {value:>8}  {remark}{verdict}");
        self.is_fine &= is_right;
    }

    /// A figure that is right if it is zero.
    pub fn zero(&mut self, what: &str, count: usize, remark: impl Display) {
        self.check(what, count, remark, count == 0);
    }

    /// A figure to look at.
    pub fn show(&mut self, what: &str, value: impl Display, remark: impl Display) {
        self.check(what, value, remark, true);
    }

    /// Times in microseconds, shown in milliseconds.
    pub fn times(&mut self, what: &str, mut times: Vec<i64>, remark: impl Display) {
        times.sort_unstable();
        let Some(last) = times.len().checked_sub(1) else { return };
        let [p50, p99, max] = [50, 99, 100].map(|percent| times[(last * percent).div_ceil(100)] as f64 / 1e3);
        self.show(what, format!("{p50:.2}"), format!("ms, p50 (p99 {p99:.2}, greatest {max:.2}) {remark}"));
    }

    /// Whether all went well.
    pub fn is_fine(self) -> bool {
        self.is_fine
    }
}
