//! The power goes.

use std::sync::Mutex;

use herdless::server::Server;

use super::history;
use crate::support::{Dice, FakeDisk, connector};

/// Where the power may have gone.
const CUTS: usize = 400;
const CHANGES: usize = 300;

/// At any point of a run: what was acknowledged before is there, and what is there is what there was at some time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let disk = FakeDisk::new();
    let server = Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    history::begin(&client).await.unwrap();
    let begun = disk.operations();
    // How much the disk had done when each change was acknowledged.
    let acknowledged = Mutex::new(vec![begun]);
    let note = |_| acknowledged.lock().unwrap().push(disk.operations());
    history::go_on(&client, 0, CHANGES, note).await.unwrap();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert_eq!(acknowledged.len(), CHANGES + 1);
    let end = disk.operations();
    drop((client, server));
    let mut dice = Dice::new();
    for cut in 0..CUTS {
        let operations = begun + (end - begun) * cut / CUTS;
        let disk = FakeDisk::of(disk.after_power_loss(operations, &mut dice));
        let server = Server::builder().disk(disk).bind("127.0.0.1:0").await.unwrap();
        let client = connector(&server.address().to_string()).connect().await.unwrap();
        let last = history::last(&client).await.expect("it was begun");
        let told = acknowledged.iter().filter(|done| **done <= operations).count() - 1;
        assert!(last >= told, "cut at {operations}: {told} changes were acknowledged and {last} are there");
        drop(client);
        server.shutdown().await;
    }
}
