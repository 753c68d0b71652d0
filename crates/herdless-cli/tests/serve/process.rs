//! A process that runs the program, and what it says.

use std::net::SocketAddr;
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_herdless"));
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "RUST_LOG", "JOURNAL_STREAM"] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
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
        let number = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &number]).status().await.unwrap();
        assert!(sent.success());
    }

    /// How it ends.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
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
