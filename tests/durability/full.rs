//! The disk is full.

use std::time::Duration;

use herdless::server::{Durability, Server, StoreError};
use herdless::{Client, ClientExt, CreateMode, Error, NodePath, Refusal, TokioClient, Version};

use super::history;
use crate::support::process::Scratch;
use crate::support::{FakeDisk, Raw, connector, until};

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

/// Writes until there is no room; how many of the changes were acknowledged.
async fn fill(client: &TokioClient) -> usize {
    for number in 0.. {
        let node = path(&format!("/filler{number}"));
        match client.create(&node, vec![b'x'; 50_000], CreateMode::Persistent).await {
            Ok(_) => {}
            Err(Error::ConnectionLost | Error::Refused(Refusal::NotReadOnly)) => return number,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

async fn fillers(client: &TokioClient) -> usize {
    let (names, _) = client.children(&NodePath::root()).await.unwrap();
    names.iter().filter(|name| name.starts_with("filler")).count()
}

async fn until_read_only(client: &TokioClient) {
    until("the refusal", async || match client.set(&path("/"), "", Version::ANY).await {
        Err(Error::Refused(Refusal::NotReadOnly)) => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_refused_until_there_is_room() {
    let disk = FakeDisk::new();
    let server = Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    let client = connector(&address).connect().await.unwrap();
    history::begin(&client).await.unwrap();
    history::go_on(&client, 0, 50, |_| {}).await.unwrap();
    client.create(&path("/mine"), "", CreateMode::Ephemeral).await.unwrap();
    let session = client.session().id();
    disk.fill_up();
    let told = fill(&client).await;
    until_read_only(&client).await;

    // All that was acknowledged can be read, and nothing else is there.
    assert_eq!(client.session().id(), session);
    assert_eq!(history::last(&client).await, Some(50));
    assert_eq!(fillers(&client).await, told);
    assert_eq!(client.ephemerals(&path("/mine")).await.unwrap().len(), 1);
    let mut stranger = Raw::dial(&address).await;
    assert!(stranger.greet(10_000, 0, &[0; 16]).await.is_none(), "there is no room for a session");

    disk.empty_out();
    until("room", async || client.set(&path("/history"), "50", Version::ANY).await.is_ok().then_some(())).await;
    client.set(&path("/history"), "50", Version::ANY).await.unwrap();
    connector(&address).connect().await.unwrap();
    assert!(server.shutdown().await.is_none());
    // And all of it is there after a start.
    let server = Server::builder().disk(FakeDisk::of(disk.synced_only())).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    let (_, stat) = client.get(&path("/history")).await.unwrap();
    assert!(stat.version >= 52);
}

/// All that was acknowledged is on disk, so there is nothing to complain of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_full_ends_in_order() {
    let disk = FakeDisk::new();
    let server = Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    history::begin(&client).await.unwrap();
    disk.fill_up();
    let told = fill(&client).await;
    until_read_only(&client).await;
    // A handle that has failed is not one whose store is damaged.
    let scratch = Scratch::new("full");
    if let Err(error) = server.backup(scratch.file("backup")).await {
        assert!(matches!(error, StoreError::Io(_) | StoreError::Full(_)), "{error}");
    }
    let failure = server.shutdown().await;
    assert!(failure.is_none(), "{failure:?}");
    let server = Server::builder().disk(FakeDisk::of(disk.synced_only())).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    assert_eq!(fillers(&client).await, told);
}

/// Once it serves what is on disk, it only looks for room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_is_not_read_again_at_each_look_for_room() {
    let disk = FakeDisk::new();
    let server = Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    // More than the database keeps in memory.
    for number in 0..24 {
        let node = path(&format!("/large{number}"));
        client.create(&node, vec![b'x'; 900_000], CreateMode::Persistent).await.unwrap();
    }
    disk.fill_up();
    fill(&client).await;
    // That of the commit, and of two looks.
    let read = until("two looks", async || Some(disk.read_before_refusals()).filter(|read| read.len() > 2)).await;
    assert!(read[2] + 8_000_000 < read[1], "{read:?}");
}

/// It has told of its changes, so it keeps them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relaxed_server_keeps_what_it_has_acknowledged() {
    let disk = FakeDisk::new();
    let relaxed = Durability::Relaxed { every: Duration::from_millis(20) };
    let server = Server::builder().disk(disk.clone()).durability(relaxed).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    let session = client.session().id();
    disk.fill_up();
    let told = fill(&client).await;
    until_read_only(&client).await;
    // One that was not acknowledged in time may be among them.
    let there = fillers(&client).await;
    assert!((told..=told + 1).contains(&there), "{told} of {there}");
    disk.empty_out();
    until("room", async || client.create(&path("/last"), "", CreateMode::Persistent).await.is_ok().then_some(())).await;
    assert_eq!(client.session().id(), session);
    assert!(server.shutdown().await.is_none());
    let server = Server::builder().disk(FakeDisk::of(disk.synced_only())).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    assert_eq!(fillers(&client).await, there);
    assert!(client.exists(&path("/last")).await.unwrap().is_some());
}
