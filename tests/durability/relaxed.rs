//! A server that acknowledges at once, and loses little.

use std::time::Duration;

use herdless::server::{Durability, Server};
use herdless::{ClientExt, CreateMode, NodePath};

use super::history;
use crate::support::raw::{OK, PING_XID};
use crate::support::{Dice, FakeDisk, Raw, connector, until};

fn every(time: Duration) -> Durability {
    Durability::Relaxed { every: time }
}

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

/// After a crash the zxids go on beyond all that were told, so that no client is ahead and no fencing token comes twice; after
/// a clean end there is nothing to skip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zxids_that_were_told_are_never_given_again() {
    let disk = FakeDisk::new();
    let relaxed = every(Duration::from_secs(3600));
    let server = Server::builder().disk(disk.clone()).durability(relaxed).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    let told = client.create(&path("/a"), "", CreateMode::Persistent).await.unwrap().stat.czxid;
    // The first commit is at once and the second in half an hour: most of these are told and not kept.
    history::begin(&client).await.unwrap();
    history::go_on(&client, 0, 50, |_| {}).await.unwrap();
    let (_, stat) = client.get(&path("/history")).await.unwrap();
    let crashed = FakeDisk::of(disk.synced_only());

    for durability in [Durability::Durable, relaxed] {
        let disk = FakeDisk::of(crashed.bytes());
        let server = Server::builder().disk(disk.clone()).durability(durability).bind("127.0.0.1:0").await.unwrap();
        let client = connector(&server.address().to_string()).connect().await.unwrap();
        let next = client.create(&path("/next"), "", CreateMode::Persistent).await.unwrap().stat.czxid;
        assert!(next.0 > stat.mzxid.0 + (1 << 31) && next > told, "{next:?} after {stat:?}");
        server.shutdown().await;
        // It ended in order.
        let server = Server::builder().disk(disk).bind("127.0.0.1:0").await.unwrap();
        let client = connector(&server.address().to_string()).connect().await.unwrap();
        let last = client.create(&path("/last"), "", CreateMode::Persistent).await.unwrap().stat.czxid;
        assert!(last.0 < next.0 + 100, "{last:?} after {next:?}");
    }
}

/// What is there after a power loss is what there was at some time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_was_once_there() {
    let disk = FakeDisk::new();
    let relaxed = every(Duration::from_millis(10));
    let server = Server::builder().disk(disk.clone()).durability(relaxed).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    history::begin(&client).await.unwrap();
    for round in 0..20 {
        history::go_on(&client, round * 20, 20, |_| {}).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(server.shutdown().await.is_none());
    let mut dice = Dice::new();
    let end = disk.operations();
    for cut in 0..50 {
        let disk = FakeDisk::of(disk.after_power_loss(end / 2 + end / 2 * cut / 49, &mut dice));
        let server = Server::builder().disk(disk).bind("127.0.0.1:0").await.unwrap();
        let client = connector(&server.address().to_string()).connect().await.unwrap();
        let last = history::last(&client).await;
        assert!(cut < 49 || last == Some(400), "a shutdown writes all: {last:?}");
    }
}

/// Once what was acknowledged is older than it may be, nothing more is, until the disk has caught up.
#[tokio::test]
async fn the_bound_holds_on_a_disk_that_takes_its_time() {
    let disk = FakeDisk::new();
    let relaxed = every(Duration::from_millis(300));
    let server = Server::builder().disk(disk.clone()).durability(relaxed).bind("127.0.0.1:0").await.unwrap();
    let (mut raw, _) = Raw::open(&server.address().to_string(), 10_000).await;
    until("the first commit", async || (raw.create(b"/warm", 0).await == OK).then_some(())).await;
    disk.let_syncs_wait(true);
    assert_eq!(raw.create(b"/a", 0).await, OK, "it is acknowledged at once");
    until("the sync", async || (disk.syncs_waiting() > 0).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let xid = raw.ask(1, &Raw::create_body(b"/b", 0)).await;
    raw.ping().await;
    assert_eq!(raw.header().await.unwrap().0, PING_XID, "it waits");
    disk.let_syncs_wait(false);
    assert_eq!(raw.header().await.unwrap().0, xid);
}
