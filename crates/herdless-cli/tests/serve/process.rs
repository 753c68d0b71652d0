//! A process that runs the program, and what it says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

/// More than anything here takes on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, with these arguments.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    alone(command)
}

/// The same, with files of at most so many KiB.
pub(crate) fn confined(kib: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    // Without the trap the limit would be a signal and not an error.
    let script = format!("trap '' XFSZ && ulimit -S -f {kib} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, PROGRAM]).args(arguments);
    alone(command)
}

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_herdless");

/// Without what the surroundings may say to it.
pub(crate) fn alone(mut command: Command) -> Command {
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "RUST_LOG", "JOURNAL_STREAM"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What is left of it when it has ended by itself.
pub(crate) async fn run(arguments: &[&str]) -> Output {
    timeout(PATIENCE, program(arguments).output()).await.expect("it ends").unwrap()
}

/// What it said on the way to its end.
pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        Self { child, log }
    }

    /// A server on a free port, with these arguments beside; where it listens.
    pub(crate) async fn serve(arguments: &[&str]) -> (Self, SocketAddr) {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut process = Self::start(program(&arguments));
        let address = process.told("ready").await;
        (process, address)
    }

    /// The address in the next line that has this in it.
    pub(crate) async fn told(&mut self, what: &str) -> SocketAddr {
        let line = self.line(what).await;
        let address = line.split(' ').find_map(|field| field.strip_prefix("address="));
        address.unwrap_or_else(|| panic!("no address in {line}")).parse().unwrap()
    }

    /// The next line of the log that has this in it.
    pub(crate) async fn line(&mut self, what: &str) -> String {
        let mut before = Vec::new();
        loop {
            let line = timeout(PATIENCE, self.log.next_line()).await;
            match line.unwrap_or_else(|_| panic!("no {what:?} behind {before:#?}")).unwrap() {
                Some(line) if line.contains(what) => return line,
                Some(line) => before.push(line),
                None => panic!("the log ends without {what:?}: {before:#?}"),
            }
        }
    }

    pub(crate) async fn signal(&self, name: &str) {
        self.act("kill", &[&format!("-{name}")]).await;
    }

    /// Lifts the limit of a confined one.
    pub(crate) async fn give_room(&self) {
        self.act("prlimit", &["--fsize=unlimited:", "--pid"]).await;
    }

    async fn act(&self, program: &str, arguments: &[&str]) {
        let number = self.child.id().expect("it runs").to_string();
        let done = Command::new(program).args(arguments).arg(number).status().await.unwrap();
        assert!(done.success());
    }

    /// How it ends.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
    }
}

/// A directory that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory.
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What HTTP says to a request: the status and the body.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
