//! What a client prints on the embedded server, beside what it prints on Apache ZooKeeper.

use std::process::Stdio;
use std::time::Duration;

use herdless::server::FourLetterWord;
use herdless::server::Server;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{GENEROUS, NO_ZOOKEEPER, ZooKeeper, skipped};

/// An embedded server set up as `tests/support` sets Apache ZooKeeper up.
pub(crate) async fn embedded() -> Server {
    Server::builder()
        .session_timeouts(Duration::from_secs(1)..=Duration::from_secs(40))
        .allow_ttl(true)
        .four_letter_words(FourLetterWord::ALL)
        .bind("127.0.0.1:0")
        .await
        .unwrap()
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

/// Runs the program, which is made for an address, on a new server of each kind, and checks that it prints the same, as
/// far as `lines` leaves it.
pub(crate) async fn compare(
    name: &str,
    input: &str,
    program: impl Fn(&str) -> Command,
    lines: impl Fn(&str) -> Vec<String>,
) {
    let server = embedded().await;
    let ours = lines(&printed(program(&server.address().to_string()), input).await);
    server.shutdown().await;
    let Some(zookeeper) = ZooKeeper::start(name, &[]).await else {
        skipped(NO_ZOOKEEPER);
        return;
    };
    let theirs = lines(&printed(program(&zookeeper.address), input).await);
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "line {}", number + 1);
    }
    assert_eq!(ours.len(), theirs.len(), "lines");
    println!("{} lines, no difference", ours.len());
}

/// All of it.
pub(crate) fn whole(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
