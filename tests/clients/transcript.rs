//! What a client prints on the embedded server, beside what it prints on Apache ZooKeeper.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use herdless::server::{Builder, FourLetterWord, Server};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{GENEROUS, NO_ZOOKEEPER, Scratch, ZooKeeper, skipped};

/// An embedded server set up as `tests/support` sets Apache ZooKeeper up.
pub(crate) async fn embedded() -> Server {
    options().bind("127.0.0.1:0").await.unwrap()
}

/// The same that keeps what it has in this directory.
pub(crate) async fn on_disk(directory: PathBuf, address: &str) -> Server {
    options().data_dir(directory).bind(address).await.unwrap()
}

fn options() -> Builder {
    Server::builder()
        .session_timeouts(Duration::from_secs(1)..=Duration::from_secs(40))
        .allow_ttl(true)
        .four_letter_words(FourLetterWord::ALL)
}

/// What the program prints, which is to end well, once it has read the input.
pub(crate) async fn printed(mut program: Command, input: &str) -> String {
    let program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = program.spawn().unwrap();
    process.stdin.take().expect("a pipe").write_all(input.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(3 * GENEROUS, process.wait_with_output());
    let output = ended.await.expect("the client hangs").unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    said.into_owned()
}

/// Runs the program, which is made for an address, on a new server of each kind (in memory, on disk, Apache ZooKeeper), and
/// checks that it prints the same, as far as `lines` leaves it.
pub(crate) async fn compare(
    name: &str,
    input: &str,
    program: impl Fn(&str) -> Command,
    lines: impl Fn(&str) -> Vec<String>,
) {
    let run = async |address: &str| lines(&printed(program(address), input).await);
    let server = embedded().await;
    let in_memory = run(&server.address().to_string()).await;
    server.shutdown().await;
    let scratch = Scratch::new(&format!("{name}-disk"));
    let server = on_disk(scratch.file("data"), "127.0.0.1:0").await;
    let kept = run(&server.address().to_string()).await;
    server.shutdown().await;
    same("on disk and in memory", &kept, &in_memory);
    let Some(zookeeper) = ZooKeeper::start(name, &[]).await else {
        skipped(NO_ZOOKEEPER);
        return;
    };
    same("here and on Apache ZooKeeper", &in_memory, &run(&zookeeper.address).await);
    println!("{} lines, no difference", in_memory.len());
}

fn same(where_they_are: &str, one: &[String], other: &[String]) {
    for (number, (one, other)) in one.iter().zip(other).enumerate() {
        assert_eq!(one, other, "{where_they_are}: line {}", number + 1);
    }
    assert_eq!(one.len(), other.len(), "{where_they_are}: lines");
}

/// All of it.
pub(crate) fn whole(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
