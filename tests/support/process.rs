//! Other programs: a ZooKeeper of one's own, and Java.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Raw, until};

/// A directory that goes with the test.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory.
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        // What a killed run has left, under the same number.
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
        // Whoever is to see it has seen it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A program that dies with whoever holds it, and with the thread that started it where that is killed outright.
pub(super) fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).kill_on_drop(true);
    command
}

/// A ZooKeeper of the test's own, which may be killed.
#[derive(Debug)]
pub(crate) struct ZooKeeper {
    /// `HOST:PORT`.
    pub(crate) address: String,
    classpath: String,
    options: Vec<String>,
    config: PathBuf,
    process: Option<Child>,
    _scratch: Scratch,
}

impl ZooKeeper {
    /// Starts one like that of `.ci/zookeeper`, if there is that one, with further options for Java.
    pub(crate) async fn start(name: &str, options: &[&str]) -> Option<Self> {
        let shared = std::env::var("HERDLESS_ZOOKEEPER_CONFIG").ok()?;
        let classpath = std::env::var("HERDLESS_ZOOKEEPER_CLASSPATH").ok()?;
        let scratch = Scratch::new(name);
        let port = free_port().await;
        let settings: Vec<_> = std::fs::read_to_string(shared)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with("dataDir=") && !line.starts_with("clientPort="))
            .map(str::to_owned)
            .chain([format!("dataDir={}", scratch.file("data").display()), format!("clientPort={port}")])
            .collect();
        let config = scratch.file("zoo.cfg");
        std::fs::write(&config, settings.join("\n")).unwrap();
        let mut server = Self {
            address: format!("127.0.0.1:{port}"),
            classpath,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            config,
            process: None,
            _scratch: scratch,
        };
        server.start_again().await;
        Some(server)
    }

    /// Starts it again on the data it has left, and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        // What is killed is the process and not the machine, so nothing has to reach a disk.
        let mut java = mortal("java");
        java.args(["-Xmx256m", "-Dzookeeper.forceSync=no", "-Dzookeeper.extendedTypesEnabled=true"])
            .args(&self.options)
            .args(["-Dzookeeper.jmx.log4j.disable=true", "-cp", &self.classpath])
            .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.process = Some(java.spawn().unwrap());
        until("an answer of ZooKeeper", async || {
            let stream = TcpStream::connect(&self.address).await.ok()?;
            // It listens before it serves, and whoever greets it too early may wait for ever.
            let greeting = async { Raw::over(stream).greet(4_000, 0, &[0; 16]).await };
            tokio::time::timeout(Duration::from_secs(1), greeting).await.ok().flatten().map(drop)
        })
        .await;
    }

    /// Kills it, as `kill -9` does.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.unwrap();
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Java, and the compiled classes of one source file.
#[derive(Debug)]
pub(crate) struct Java {
    classpath: String,
    main: String,
}

/// Where Debian puts its jars; each one's manifest names the others it needs.
const JARS: &str = "/usr/share/java";

impl Java {
    /// Compiles a source file against these jars, unless an earlier run has done so. `None` where Java or a jar is
    /// missing.
    pub(crate) async fn compile(source: &Path, jars: &[&str]) -> Option<Self> {
        let jars: Vec<_> = jars.iter().map(|jar| format!("{JARS}/{jar}")).collect();
        if !jars.iter().all(|jar| Path::new(jar).exists()) {
            return None;
        }
        let main = source.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut hasher = DefaultHasher::new();
        std::fs::read(source).unwrap().hash(&mut hasher);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{main}-{:016x}", hasher.finish()));
        if !kept.exists() {
            let scratch = Scratch::new(&main);
            let mut javac = mortal("javac");
            javac.arg("-d").arg(&scratch.0).args(["-cp", &jars.join(":")]).arg(source);
            let compiled = javac.output().await.unwrap();
            let said = String::from_utf8_lossy(&compiled.stderr);
            if said.contains("failed to execute") {
                return None;
            }
            assert!(compiled.status.success(), "javac: {said}");
            // In one step, so that nobody finds half of them. Another run may have been first with the same.
            if let Err(error) = std::fs::rename(&scratch.0, &kept) {
                assert!(kept.exists(), "{error}");
            }
        }
        Some(Self { classpath: format!("{}:{}", kept.display(), jars.join(":")), main })
    }

    /// The compiled program, to be started.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut java = mortal("java");
        java.args(["-Xmx128m", "-cp", &self.classpath, &self.main]).args(arguments);
        java
    }
}

/// A process that runs one test of this program which is otherwise ignored, as a client with a life of its own. It is
/// talked to by lines, and killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Itself {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What a line of such a process begins with, beside what the test harness prints.
pub(crate) const SAID: &str = "> ";

impl Itself {
    /// Starts it, with its task in the variable of this name.
    pub(crate) fn start(test: &str, variable: &str, task: &str) -> Self {
        let mut program = mortal(std::env::current_exe().unwrap().to_str().unwrap());
        program.args([test, "--exact", "--ignored", "--nocapture"]).env(variable, task);
        let (process, input, output) = spoken_to(program);
        Self { process, input, output }
    }

    /// The next thing that it says.
    pub(crate) async fn hear(&mut self) -> String {
        loop {
            let line = self.output.next_line().await.unwrap().expect("it says more");
            if let Some(said) = line.strip_prefix(SAID) {
                return said.to_owned();
            }
        }
    }

    /// Says something to it.
    pub(crate) async fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Kills it, as `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Stops it, as a machine does that is paused.
    pub(crate) async fn stop(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on.
    pub(crate) async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let number = self.process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &number]).status().await.unwrap();
        assert!(sent.success());
    }
}

/// Starts a program that is talked to by lines.
pub(super) fn spoken_to(mut program: Command) -> (Child, ChildStdin, Lines<BufReader<ChildStdout>>) {
    let mut process = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (input, output) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
    (process, input, BufReader::new(output).lines())
}
