//! Servers that are killed while they write.

use std::time::Duration;

use herdless::server::Server;
use herdless::{Client, ClientExt, CreateMode, NodePath, TokioClient};

use super::history;
use crate::support::process::Scratch;
use crate::support::{Dice, Itself, connector, free_port, until};

/// How the process that serves is told where: its address and its data directory.
const TASK: &str = "HERDLESS_SERVER";
const CYCLES: usize = 300;
/// A session that outlives a server which is away for as long as a busy machine takes to start another.
const SESSION: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a process that the other tests here start"]
async fn server() {
    let task = std::env::var(TASK).unwrap();
    let (address, directory) = task.split_once(' ').unwrap();
    let _server = Server::builder().data_dir(directory).bind(address).await.unwrap();
    println!("\n> ready");
    std::future::pending().await
}

/// One history over all of them: what was acknowledged is there each time, nothing was left half done, and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_servers_are_killed() {
    let scratch = Scratch::new("kills");
    let address = format!("127.0.0.1:{}", free_port());
    let task = format!("{address} {}", scratch.file("data").display());
    let mut dice = Dice::new();
    let mut process = Itself::start("kills::server", TASK, &task);
    process.hear().await;
    let client =
        connector(&address).session_timeout(SESSION).max_backoff(Duration::from_millis(10)).connect().await.unwrap();
    let session = client.session().id();
    let mine = NodePath::parse("/mine").unwrap();
    client.create(&mine, "", CreateMode::Ephemeral).await.unwrap();
    history::begin(&client).await.unwrap();
    let (mut acknowledged, mut sent) = (0, 0);
    for cycle in 0..CYCLES {
        let last = there(&client).await;
        assert!((acknowledged..=sent).contains(&last), "{acknowledged} acknowledged, {sent} sent, {last} there");
        (acknowledged, sent) = (last, last + 100_000);
        let mut writing = Box::pin(history::go_on(&client, last, 100_000, |number| acknowledged = number));
        let time = Duration::from_micros(dice.within(0..40_000) as u64);
        assert!(tokio::time::timeout(time, &mut writing).await.is_err(), "it goes on until it is stopped");
        process.kill().await;
        // What the server had sent before.
        writing.await.unwrap_err();
        process = Itself::start("kills::server", TASK, &task);
        if cycle % 5 == 0 {
            // While it starts.
            tokio::time::sleep(Duration::from_millis(dice.within(0..30) as u64)).await;
            process.kill().await;
            process = Itself::start("kills::server", TASK, &task);
        }
    }
    assert!(there(&client).await >= acknowledged);
    assert_eq!(client.session().id(), session);
    assert!(client.exists(&mine).await.unwrap().is_some());
    println!("{CYCLES} kills, {acknowledged} changes acknowledged, none lost");
    process.kill().await;
}

/// How much of the history is there, once the server is.
async fn there(client: &TokioClient) -> usize {
    until("the history", async || history::try_last(client).await.ok()).await.expect("it was begun")
}
