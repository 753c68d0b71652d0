//! Servers of Apache ZooKeeper that a test starts for itself, and may kill.

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;

use super::process::{Scratch, mortal};
use super::until;

/// One server process and what it is started from: a directory with its configuration, its data and its log. It is
/// killed when this is dropped, or when the thread that has started it ends.
#[derive(Debug)]
pub(crate) struct ZooKeeperProcess {
    address: String,
    classpath: String,
    options: Vec<String>,
    directory: PathBuf,
    process: Option<Child>,
    /// How much had been logged before this life.
    logged: usize,
}

/// A port that the server was to have is somebody else's.
#[derive(Debug)]
pub(crate) struct PortTaken;

impl ZooKeeperProcess {
    /// A server that is not started yet; `None` where there is no ZooKeeper to start. The settings are lines of its
    /// `zoo.cfg`, which win over those that every server here has. The options are Java's. With lines `server.N` the
    /// server is one of an ensemble; its number goes into the file `data/myid`.
    pub(crate) fn new(directory: PathBuf, port: u16, settings: &[String], options: &[String]) -> Option<Self> {
        let classpath = std::env::var("HERDLESS_ZOOKEEPER_CLASSPATH").ok()?;
        let mut lines = Vec::from(
            [
                "tickTime=2000",
                "minSessionTimeout=1000",
                "maxClientCnxns=0",
                "admin.enableServer=false",
                "4lw.commands.whitelist=*",
                "clientPortAddress=127.0.0.1",
            ]
            .map(str::to_owned),
        );
        lines.push(format!("clientPort={port}"));
        lines.push(format!("dataDir={}", directory.join("data").display()));
        lines.extend_from_slice(settings);
        std::fs::create_dir_all(directory.join("data")).unwrap();
        std::fs::write(directory.join("zoo.cfg"), lines.join("\n")).unwrap();
        let address = format!("127.0.0.1:{port}");
        Some(Self { address, classpath, options: options.to_vec(), directory, process: None, logged: 0 })
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The number of the process, where it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// What it has logged so far, over all its lives.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    /// Starts it, on the data it has left where it ran before. It serves some time later.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs");
        self.logged = self.log().len();
        let log = OpenOptions::new().create(true).append(true).open(self.directory.join("log")).unwrap();
        // What is killed is the process and not the machine, so nothing has to reach a disk.
        let mut java = mortal("java");
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dzookeeper.forceSync=no", "-Dzookeeper.extendedTypesEnabled=true"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .args(&self.options)
            .args(["-Dzookeeper.jmx.log4j.disable=true", "-cp", &self.classpath])
            // Without lines `server.N` this one serves alone, as `ZooKeeperServerMain` does.
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(self.directory.join("zoo.cfg"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.process = Some(java.spawn().unwrap());
    }

    /// Waits until it serves, also if it only reads; what it serves as: see [`mode`](Self::mode).
    ///
    /// # Panics
    ///
    /// When it ends instead, for another reason than a port.
    pub(crate) async fn until_serving(&mut self) -> Result<String, PortTaken> {
        let address = self.address.clone();
        let mode = until("ZooKeeper to serve", async || {
            if let Some(mode) = mode(&address).await {
                return Some(Ok(mode));
            }
            // One of an ensemble that cannot have its port as the leader tries again for ever.
            if self.log()[self.logged..].contains("BindException") {
                return Some(Err(PortTaken));
            }
            let ended = self.process.as_mut().expect("it was started").try_wait().unwrap();
            assert!(ended.is_none(), "ZooKeeper has ended:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        })
        .await;
        if mode.is_err() {
            self.kill().await;
        }
        mode
    }

    /// `leader`, `follower`, `standalone` or `read-only`; `None` where it does not serve.
    pub(crate) async fn mode(&self) -> Option<String> {
        mode(&self.address).await
    }

    /// Starts it again where it has ended by itself, as whoever runs servers does: 3.8.0 ends at times when a leader is lost.
    pub(crate) fn revive(&mut self) {
        if self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_some()) {
            self.process = None;
            self.spawn();
        }
    }

    /// Kills it, as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.unwrap();
    }
}

/// What the server at this address says it is: it may say that it does not serve, or nothing.
async fn mode(address: &str) -> Option<String> {
    let answer = four_letter_word(address, "srvr").await?;
    answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
}

/// What a server answers to one of its commands, if it answers at once.
pub(crate) async fn four_letter_word(address: &str, word: &str) -> Option<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(word.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(Duration::from_secs(1), asked).await.ok().flatten()
}

/// A port of the loopback interface that nobody listens on, another one each time. It is below those of outgoing
/// connections, so that none of them takes it while a server is down.
pub(crate) fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one("port") >> 1));
    loop {
        let port = (20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// How often other ports are tried before something else must be wrong.
pub(super) const ATTEMPTS: usize = 10;

/// A ZooKeeper of the test's own that stands alone.
#[derive(Debug)]
pub(crate) struct ZooKeeper {
    /// `HOST:PORT`.
    pub(crate) address: String,
    process: ZooKeeperProcess,
    _scratch: Scratch,
}

impl ZooKeeper {
    /// Starts one like that of `.ci/zookeeper`, if there is that one, with further options for Java.
    pub(crate) async fn start(name: &str, options: &[&str]) -> Option<Self> {
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        Self::start_with(name, &options, Vec::new).await
    }

    /// The same with further settings, as [`ZooKeeperProcess::new`] has them. They are asked for again where a port was
    /// somebody else's, so that other ports can be named.
    pub(crate) async fn start_with(
        name: &str,
        options: &[String],
        mut settings: impl FnMut() -> Vec<String>,
    ) -> Option<Self> {
        for _ in 0..ATTEMPTS {
            let scratch = Scratch::new(name);
            let mut process = ZooKeeperProcess::new(scratch.file("server"), free_port(), &settings(), options)?;
            process.spawn();
            if process.until_serving().await.is_ok() {
                return Some(Self { address: process.address().to_owned(), process, _scratch: scratch });
            }
        }
        panic!("no free port");
    }

    /// Starts it again on the data it has left, and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        self.process.spawn();
        self.process.until_serving().await.expect("nobody takes the port meanwhile");
    }

    /// Kills it, as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Takes its data away while it does not run, as where a machine comes back without its disk.
    pub(crate) fn forget(&self) {
        assert_eq!(self.process.id(), None, "it runs");
        std::fs::remove_dir_all(self.process.directory().join("data")).unwrap();
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.process.directory().join("data")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}
