//! Backups of a running server.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use herdless::server::{Server, StoreError, restore};
use herdless::{ClientExt, CreateMode, NodePath};

use super::history;
use crate::support::process::Scratch;
use crate::support::{FakeDisk, GENEROUS, connector, until};

/// A server with more on this disk than its database keeps in memory: a backup has to read it.
async fn server(disk: &Arc<FakeDisk>) -> Server {
    let server = Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    for number in 0..24 {
        let path = NodePath::parse(&format!("/large{number}")).unwrap();
        client.create(&path, vec![b'x'; 900_000], CreateMode::Persistent).await.unwrap();
    }
    server
}

/// Begins a backup that comes no further than to its first read, and does not wait for it.
async fn begin(server: &Server, disk: &Arc<FakeDisk>, file: &Path) {
    disk.let_reads_wait(true);
    tokio::select! {
        written = server.backup(file) => panic!("{written:?} without a read"),
        () = until("the read", async || (disk.reads_waiting() > 0).then_some(())) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_one_consistent_state_and_holds_what_was_acknowledged_before() {
    let scratch = Scratch::new("backup");
    let server = Server::builder().data_dir(scratch.file("data")).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    history::begin(&client).await.unwrap();
    let mut last = history::go_on(&client, 0, 100, |_| {}).await.unwrap();
    for round in 0..3 {
        let (file, before) = (scratch.file(&format!("backup{round}")), last);
        // It is made while the server is at work.
        let (written, gone_on) = tokio::join!(server.backup(&file), history::go_on(&client, last, 300, |_| {}));
        written.unwrap();
        last = gone_on.unwrap();
        let directory = scratch.file(&format!("restored{round}"));
        restore(&file, &directory).unwrap();
        let restored = Server::builder().data_dir(&directory).bind("127.0.0.1:0").await.unwrap();
        let client = connector(&restored.address().to_string()).connect().await.unwrap();
        let there = history::last(&client).await.unwrap();
        assert!((before..=last).contains(&there), "{there} of {before} to {last}");
        // Nobody who has seen what came after the backup is ahead.
        let path = NodePath::parse("/after").unwrap();
        let zxid = client.create(&path, "", CreateMode::Persistent).await.unwrap().stat.czxid;
        let (_, stat) = client.get(&NodePath::parse("/history").unwrap()).await.unwrap();
        assert!(zxid.0 > stat.mzxid.0 + (1 << 31));
    }
    let taken = server.backup(scratch.file("backup0")).await.unwrap_err();
    assert!(matches!(taken, StoreError::Directory { .. }), "{taken}");
}

#[tokio::test]
async fn a_backup_is_restored_to_where_there_is_nothing_and_only_if_it_is_whole() {
    let scratch = Scratch::new("restore");
    let (data, file) = (scratch.file("data"), scratch.file("backup"));
    let server = Server::builder().data_dir(&data).bind("127.0.0.1:0").await.unwrap();
    server.backup(&file).await.unwrap();
    let locked = restore(&file, &data).unwrap_err();
    assert!(matches!(locked, StoreError::Locked(_)), "{locked}");
    server.shutdown().await;
    let full = restore(&file, &data).unwrap_err();
    assert!(matches!(full, StoreError::NotEmpty(_)), "{full}");

    let bytes = fs::read(&file).unwrap();
    for (what, damaged) in
        [("cut", bytes[..bytes.len() / 2].to_vec()), ("empty", Vec::new()), ("text", b"text".to_vec())]
    {
        let (damaged_file, target) = (scratch.file(what), scratch.file(&format!("of-{what}")));
        fs::write(&damaged_file, damaged).unwrap();
        let error = restore(&damaged_file, &target).unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_) | StoreError::Io(_)), "{what}: {error}");
        // It is as good a place for another backup as before.
        restore(&file, &target).unwrap();
    }
    let missing = restore(scratch.file("missing"), scratch.file("of-missing")).unwrap_err();
    assert!(matches!(missing, StoreError::Directory { .. }), "{missing}");

    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let nothing = server.backup(scratch.file("nothing")).await.unwrap_err();
    assert!(nothing.to_string().contains("keeps nothing on disk"), "{nothing}");
}

/// Whoever is started on the disk after a shutdown has it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_ended_has_no_backup_left_at_its_disk() {
    let (scratch, disk) = (Scratch::new("backup-at-the-end"), FakeDisk::new());
    let server = server(&disk).await;
    let file = scratch.file("backup");
    begin(&server, &disk, &file).await;
    let mut ending = tokio::spawn(server.shutdown());
    let early = tokio::time::timeout(Duration::from_millis(200), &mut ending).await;
    assert!(early.is_err(), "it has ended, and its disk is being read");
    disk.let_reads_wait(false);
    assert!(ending.await.unwrap().is_none());
    assert_eq!(Arc::strong_count(&disk), 1, "somebody has the disk");
    // The backup was whole, or is no more.
    assert!(!scratch.file("backup.unfinished").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_a_backup_is_written_to_is_not_taken_for_another() {
    let (scratch, disk) = (Scratch::new("backup-twice"), FakeDisk::new());
    let server = server(&disk).await;
    let file = scratch.file("backup");
    begin(&server, &disk, &file).await;
    let second = tokio::time::timeout(GENEROUS, server.backup(&file)).await.expect("an answer").unwrap_err();
    assert!(second.to_string().contains("another backup is being written"), "{second}");
    disk.let_reads_wait(false);
    until("the backup", async || file.exists().then_some(())).await;
    restore(&file, scratch.file("restored")).unwrap();
}
