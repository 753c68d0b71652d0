//! Bytes of the file that are not what was written.

use std::time::Duration;

use herdless::ClientExt;
use herdless::server::{BindError, Server, StoreError};

use super::history;
use crate::support::{Dice, FakeDisk, connector};

const CHANGES: usize = 60;
const SAMPLES: usize = 600;

/// What a server leaves that ends in order, and what one leaves that is killed.
async fn images() -> [Vec<u8>; 2] {
    let disk = FakeDisk::new();
    let server = Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    history::begin(&client).await.unwrap();
    for last in 0..CHANGES {
        history::go_on(&client, last, 1, |_| {}).await.unwrap();
    }
    let killed = disk.synced_only();
    drop(client);
    server.shutdown().await;
    [disk.synced_only(), killed]
}

/// Cuts, zeroes or flips something where there is something.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) -> String {
    let at = loop {
        let at = dice.within(0..bytes.len());
        // Most of the file is room that nothing was ever written to.
        if bytes[at / 16 * 16..][..16].iter().any(|byte| *byte != 0) {
            break at;
        }
    };
    match dice.within(0..4) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            let start = at / 512 * 512;
            bytes[start..start + 512].fill(0);
            format!("zeros from {start}")
        }
        2 => {
            bytes[at] ^= 1 << dice.within(0..8);
            format!("a bit of {at}")
        }
        _ => {
            let end = bytes.len().min(at + 16);
            bytes[at..end].fill_with(|| dice.number() as u8);
            format!("garbage at {at}")
        }
    }
}

/// It is refused in so many words, or what is served is what there was at some time, and goes on as such.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_or_recovered_and_never_served_wrong() {
    let images = images().await;
    let mut dice = Dice::new();
    let (mut refused, mut recovered, mut ended) = (0, 0, 0);
    for sample in 0..SAMPLES {
        let mut bytes = images[sample % 2].clone();
        let what = damage(&mut bytes, &mut dice);
        let disk = FakeDisk::of(bytes);
        let server = match Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await {
            Ok(server) => server,
            Err(BindError::Store(StoreError::Damaged(_) | StoreError::Io(_))) => {
                refused += 1;
                continue;
            }
            // What is left of it may say that it is of another time.
            Err(BindError::Store(StoreError::NewerFormat { .. })) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let connector = connector(&server.address().to_string()).connect_within(Duration::from_millis(500));
        let Ok(client) = connector.connect().await else {
            ended += 1;
            assert!(server.shutdown().await.is_some(), "{what}");
            continue;
        };
        let last = history::last(&client).await.unwrap_or_else(|| panic!("{what}: nothing is there"));
        // The last commit may be gone with its damage, and the one before it is whole.
        assert!((CHANGES - 2..=CHANGES).contains(&last), "{what}: {last}");
        let gone_on = history::go_on(&client, last, 3, |_| {}).await;
        drop(client);
        if let (Ok(last), None) = (gone_on, server.shutdown().await) {
            recovered += 1;
            let again = Server::builder().disk(FakeDisk::of(disk.synced_only())).bind("127.0.0.1:0").await;
            let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
            let client = crate::support::connector(&again.address().to_string()).connect().await.unwrap();
            assert_eq!(history::last(&client).await, Some(last), "{what}");
            client.close().await.unwrap();
        } else {
            ended += 1;
        }
    }
    println!("{refused} refused, {recovered} recovered, {ended} ended when they wrote");
    assert!(refused > 50 && recovered > 50);
}
