//! A server whose process may open no more files.

use herdless::server::Server;
use herdless::{ClientExt, NodePath};

use crate::support::{GENEROUS, Itself, Raw, connector, until};

/// How the other process is told what it is for.
const TASK: &str = "HERDLESS_FEW_DESCRIPTORS";
/// How many files it may have open.
const FEW: usize = 60;

#[tokio::test]
#[ignore = "a process that the other test here starts"]
async fn server_with_few_descriptors() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    println!("\n> {}", server.address());
    let asked = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().unwrap().unwrap());
    assert_eq!(asked.await.unwrap(), "refused?");
    println!("\n> {}", server.usage().refused.descriptors);
    std::future::pending().await
}

/// Those who are in stay; who comes is told to go at once, instead of waiting until somebody leaves.
#[tokio::test]
async fn without_descriptors_connections_are_closed_at_once() {
    let mut process = Itself::start_with_few_files("descriptors::server_with_few_descriptors", TASK, "serve", FEW);
    let address = process.hear().await;
    let client = connector(&address).connect().await.unwrap();
    let (mut inside, mut outside) = (Vec::new(), 0);
    for _ in 0..2 * FEW {
        let mut raw = Raw::dial(&address).await;
        let greeted = tokio::time::timeout(GENEROUS, raw.greet(30_000, 0, &[0; 16])).await;
        match greeted.expect("in or out") {
            Some(_) => inside.push(raw),
            None => outside += 1,
        }
    }
    assert!(inside.len() < FEW && outside > FEW, "{} inside, {outside} outside", inside.len());
    client.exists(&NodePath::root()).await.unwrap().expect("it is served");
    for raw in &mut inside {
        assert_eq!(raw.create(b"/", 0).await, -110, "so are they");
    }
    process.tell("refused?").await;
    assert_eq!(process.hear().await, outside.to_string());
    // One that leaves makes room for one.
    drop(inside.pop());
    until("room", async || Raw::dial(&address).await.greet(30_000, 0, &[0; 16]).await).await;
    assert_eq!(client.counters().connects, 1);
}
