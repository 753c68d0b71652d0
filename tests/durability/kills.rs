//! Servers that are killed while they write.

use std::time::Duration;

use herdless::server::Server;

use super::history;
use crate::support::process::Scratch;
use crate::support::raw::OK;
use crate::support::{Dice, Itself, Raw, connector, free_port};

/// How the process that serves is told where: its address and its data directory.
const TASK: &str = "HERDLESS_SERVER";
const CYCLES: usize = 300;
const NODE_EXISTS: i32 = -110;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a process that the other tests here start"]
async fn server() {
    let task = std::env::var(TASK).unwrap();
    let (address, directory) = task.split_once(' ').unwrap();
    let _server = Server::builder().data_dir(directory).bind(address).await.unwrap();
    println!("\n> ready");
    std::future::pending().await
}

/// One history over all of them: what was acknowledged is there each time, nothing was left half done, and a session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_servers_are_killed() {
    let scratch = Scratch::new("kills");
    let address = format!("127.0.0.1:{}", free_port());
    let task = format!("{address} {}", scratch.file("data").display());
    let mut dice = Dice::new();
    let mut process = started(&task).await;
    let (mut owner, session) = Raw::open(&address, 40_000).await;
    assert_eq!(owner.create(b"/mine", 1).await, OK);
    history::begin(&connector(&address).connect().await.unwrap()).await.unwrap();
    let (mut acknowledged, mut sent) = (0, 0);
    for cycle in 0..CYCLES {
        let client = connector(&address).connect().await.unwrap();
        let last = history::last(&client).await.expect("it was begun");
        assert!((acknowledged..=sent).contains(&last), "{acknowledged} acknowledged, {sent} sent, {last} there");
        owner = Raw::dial(&address).await;
        let greeting = owner.greet(40_000, session.session, &session.password).await.unwrap();
        assert_eq!(greeting.session, session.session);
        assert_eq!(owner.create(b"/mine", 1).await, NODE_EXISTS, "it is there as long as its session");

        (acknowledged, sent) = (last, last + 100_000);
        let mut writing = Box::pin(history::go_on(&client, last, 100_000, |number| acknowledged = number));
        let time = Duration::from_micros(dice.within(0..40_000) as u64);
        let is_cut = tokio::time::timeout(time, &mut writing).await.is_err();
        process.kill().await;
        if is_cut {
            // What the server had sent before. What the client has not sent yet would wait for the next server.
            let _ = tokio::time::timeout(Duration::from_millis(500), writing).await;
        } else {
            drop(writing);
        }
        drop(client);
        if cycle % 5 == 0 {
            // While it starts.
            let starting = Itself::start("kills::server", TASK, &task);
            tokio::time::sleep(Duration::from_millis(dice.within(0..30) as u64)).await;
            starting.kill().await;
        }
        process = started(&task).await;
    }
    println!("{CYCLES} kills, {acknowledged} changes acknowledged, none lost");
    process.kill().await;
}

async fn started(task: &str) -> Itself {
    let mut process = Itself::start("kills::server", TASK, task);
    assert_eq!(process.hear().await, "ready");
    process
}
