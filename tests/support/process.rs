//! Other programs: Java, and this one once more.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

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
pub(crate) fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).kill_on_drop(true);
    command
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
    /// Compiles a source file, and those beside it that it names, against these jars, unless an earlier run has done so.
    /// `None` where Java or a jar is missing.
    pub(crate) async fn compile(source: &Path, jars: &[&str]) -> Option<Self> {
        let jars: Vec<_> = jars.iter().map(|jar| format!("{JARS}/{jar}")).collect();
        if !jars.iter().all(|jar| Path::new(jar).exists()) {
            return None;
        }
        let main = source.file_stem().unwrap().to_str().unwrap().to_owned();
        let beside = source.parent().unwrap();
        let mut hasher = DefaultHasher::new();
        for file in java_files(beside) {
            std::fs::read(file).unwrap().hash(&mut hasher);
        }
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{main}-{:016x}", hasher.finish()));
        if !kept.exists() {
            let scratch = Scratch::new(&main);
            let mut javac = mortal("javac");
            javac.arg("-d").arg(&scratch.0).arg("-sourcepath").arg(beside).args(["-cp", &jars.join(":")]).arg(source);
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

/// In the order of their names.
fn java_files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|file| file.extension().is_some_and(|kind| kind == "java")).collect();
    files.sort();
    files
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
        Self::run(mortal(&Self::path()), test, variable, task)
    }

    /// Starts it so that it may have only this many files open.
    pub(crate) fn start_with_few_files(test: &str, variable: &str, task: &str, files: usize) -> Self {
        let mut program = mortal("sh");
        program.args(["-c", &format!("ulimit -n {files} && exec \"$@\""), "sh", &Self::path()]);
        Self::run(program, test, variable, task)
    }

    fn path() -> String {
        std::env::current_exe().unwrap().to_str().unwrap().to_owned()
    }

    fn run(mut program: Command, test: &str, variable: &str, task: &str) -> Self {
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
