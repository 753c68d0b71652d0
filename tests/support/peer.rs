//! Processes of other libraries that contend with us, as `tests/interop` has them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{OnceCell, mpsc, oneshot};

use super::process::{Java, mortal, spoken_to};
use super::{World, skipped};

/// Curator's jars that are named; `slf4j-nop.jar` keeps its log away.
const JARS: [&str; 3] = ["curator-recipes.jar", "curator-framework.jar", "slf4j-nop.jar"];

/// A process that carries out commands on the server of a world. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    asked: mpsc::UnboundedSender<Question>,
    process: Child,
}

#[derive(Debug)]
struct Question {
    command: String,
    answer: oneshot::Sender<String>,
}

impl Peer {
    /// Apache Curator: `CuratorPeer.java`, where the commands are listed. `None` where there is none.
    pub(crate) async fn curator(world: &World) -> Option<Self> {
        static COMPILED: OnceCell<Option<Java>> = OnceCell::const_new();
        let compile = async || Java::compile(&source("CuratorPeer.java"), &JARS).await;
        let Some(java) = COMPILED.get_or_init(compile).await else {
            skipped("skipped: no Curator; install Debian's `libcurator-recipes-java` and a JDK");
            return None;
        };
        Some(Self::start(java.program(&[&world.address])))
    }

    /// kazoo: `kazoo_peer.py`, where the commands are listed. `None` where there is none.
    pub(crate) async fn kazoo(world: &World) -> Option<Self> {
        static IMPORTED: OnceCell<bool> = OnceCell::const_new();
        let import = async || {
            let output = mortal("python3").args(["-c", "import kazoo"]).output().await;
            output.is_ok_and(|output| output.status.success())
        };
        if !*IMPORTED.get_or_init(import).await {
            skipped("skipped: no kazoo; install it for `python3`, with pip or as Debian's `python3-kazoo`");
            return None;
        }
        let mut python = mortal("python3");
        python.arg(source("kazoo_peer.py")).arg(&world.address);
        Some(Self::start(python))
    }

    fn start(program: Command) -> Self {
        let (process, input, output) = spoken_to(program);
        let (asked, questions) = mpsc::unbounded_channel();
        tokio::spawn(converse(questions, input, output));
        Self { asked, process }
    }

    /// The answer to a command. Commands are sent in the order of these calls, before the answer is awaited, and
    /// answered in any order.
    ///
    /// # Panics
    ///
    /// When the process ends without an answer.
    pub(crate) fn ask(&self, command: &str) -> impl Future<Output = String> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let command = command.to_owned();
        // Where the process has ended, the question is dropped, and with it the answer.
        let _ = self.asked.send(Question { command: command.clone(), answer });
        async move {
            match answered.await {
                Ok(answer) => answer,
                Err(_) => panic!("no answer to {command:?}"),
            }
        }
    }

    /// Ends its session and waits for its end, which is to be a good one.
    pub(crate) async fn quit(mut self) {
        assert_eq!(self.ask("quit").await, "ok");
        assert!(self.process.wait().await.unwrap().success());
    }
}

/// A program of `tests/interop`.
pub(crate) fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(file)
}

/// Passes commands and answers on, until nobody asks any more or nobody answers.
async fn converse(
    mut questions: mpsc::UnboundedReceiver<Question>,
    mut input: ChildStdin,
    mut output: Lines<BufReader<ChildStdout>>,
) {
    let mut waiting = BTreeMap::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some(Question { command, answer }) = question else {
                    return;
                };
                number += 1;
                waiting.insert(number.to_string(), answer);
                let line = format!("{number} {command}\n");
                if input.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
            line = output.next_line() => {
                let Ok(Some(line)) = line else {
                    return;
                };
                let (number, answer) = line.split_once(' ').expect("a number and an answer");
                // Who asked may have gone.
                let _ = waiting.remove(number).expect("an answer to a question").send(answer.to_owned());
            }
        }
    }
}
