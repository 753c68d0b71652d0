//! What is kept in a directory.

use std::net::SocketAddr;
use std::time::Duration;

use herdless_server::Server;
use tokio::io::AsyncWriteExt;

use crate::process::{Process, Scratch, ask, complaint, confined, run};
use crate::wire::{codes, create, exists, frame, session};

const NODES: i32 = 1_000;
const NO_NODE: i32 = -101;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_signal() {
    // Of the second nothing would be on disk for half a minute.
    for relaxed in [&[][..], &["--relaxed", "60000"]] {
        let scratch = Scratch::new(&format!("signal-{}", relaxed.len()));
        let data = scratch.file("data");
        let arguments = [&["--data", data.to_str().unwrap()], relaxed].concat();
        let (mut process, address) = Process::serve(&arguments).await;
        let mut stream = session(address).await;
        let creates: Vec<_> = (1..=NODES).flat_map(|xid| create(xid, &format!("node-{xid}"), b"x")).collect();
        stream.write_all(&creates).await.unwrap();
        process.signal("TERM").await;
        let mut acknowledged = 0;
        while let Some(reply) = frame(&mut stream).await {
            acknowledged += 1;
            assert_eq!(reply[..4], i32::to_be_bytes(acknowledged));
            assert_eq!(reply[12..16], [0; 4], "it was created");
        }
        assert_eq!(acknowledged, NODES, "all had arrived");
        drop(stream);
        assert_eq!(process.end().await.code(), Some(0));

        let (_process, address) = Process::serve(&arguments).await;
        let reads: Vec<_> = (1..=NODES).map(|xid| exists(xid, &format!("node-{xid}"))).collect();
        let codes = codes(&mut session(address).await, &reads).await;
        assert!(codes.iter().all(|code| *code == 0), "{} are lost", codes.iter().filter(|code| **code != 0).count());
    }
}

#[tokio::test]
async fn a_directory_has_one_server() {
    let scratch = Scratch::new("two");
    let data = scratch.file("data");
    let data = data.to_str().unwrap();
    let (mut process, _) = Process::serve(&["--data", data]).await;
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data", data]).await;
    assert!(complaint(&output).contains(&format!("herdless: {data} is locked")), "{}", complaint(&output));
    assert_eq!(output.status.code(), Some(1));
    // The first did not notice.
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));
}

/// What `/health` says once it has this status, soon behind the line in the log.
async fn until(monitor: SocketAddr, status: u16) -> String {
    let asked = async {
        loop {
            let (said, words) = ask(monitor, "GET", "/health").await;
            if said == status {
                return words;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.expect("it says so")
}

/// The disk is a limit on the size of files, which says much the same.
#[tokio::test]
async fn a_full_disk_is_told_until_there_is_room() {
    let scratch = Scratch::new("full");
    let data = scratch.file("data");
    let arguments = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let mut process = Process::start(confined(4_096, &[&["serve"], &arguments[..]].concat()));
    let monitor = process.told("metrics and health").await;
    let address = process.told("ready").await;
    assert_eq!(ask(monitor, "GET", "/health").await.0, 200);

    // More than fits. Who waits for what finds no room loses the connection, as it may never be.
    let large: Vec<_> = (1..=40).flat_map(|xid| create(xid, &format!("large-{xid}"), &[7; 200_000])).collect();
    let mut stream = session(address).await;
    let _ = stream.write_all(&large).await;
    while frame(&mut stream).await.is_some() {}
    process.line("changes are refused until there is room").await;
    assert_eq!(until(monitor, 503).await, "read-only: the disk is full\n");
    assert!(ask(monitor, "GET", "/metrics").await.1.contains("\nherdless_server_read_only 1\n"));

    process.give_room().await;
    process.line("there is room again").await;
    until(monitor, 200).await;
    let mut stream = session(address).await;
    assert_eq!(codes(&mut stream, &[create(1, "small", b"")]).await, [0]);
    drop(stream);
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_backup_becomes_a_directory_to_serve() {
    let scratch = Scratch::new("restore");
    let (backup, data) = (scratch.file("backup"), scratch.file("data"));
    let server = Server::builder().data_dir(scratch.file("old")).bind("127.0.0.1:0").await.unwrap();
    let mut stream = session(server.address()).await;
    assert_eq!(codes(&mut stream, &[create(1, "kept", b"")]).await, [0]);
    server.backup(&backup).await.unwrap();
    assert_eq!(codes(&mut stream, &[create(1, "later", b"")]).await, [0]);
    drop(stream);
    assert!(server.shutdown().await.is_none());

    let arguments = ["restore", "--from", backup.to_str().unwrap(), "--to", data.to_str().unwrap()];
    let output = run(&arguments).await;
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let (mut process, address) = Process::serve(&["--data", data.to_str().unwrap()]).await;
    assert_eq!(codes(&mut session(address).await, &[exists(1, "kept"), exists(2, "later")]).await, [0, NO_NODE]);
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));

    // What is there is not overwritten.
    let output = run(&arguments).await;
    assert!(complaint(&output).contains("is not empty"), "{}", complaint(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_directory_is_backed_up_once_its_server_has_ended() {
    let scratch = Scratch::new("backup");
    let path = |name: &str| scratch.file(name).to_str().unwrap().to_owned();
    let (data, file, restored) = (path("data"), path("file"), path("restored"));
    let backup = ["backup", "--data", &data, "--to", &file];
    let refused = async |arguments: &[&str], reason: &str| {
        let output = run(arguments).await;
        assert!(complaint(&output).contains(reason), "{}", complaint(&output));
        assert_eq!(output.status.code(), Some(1));
    };
    refused(&backup, "No such file").await;
    assert!(!scratch.file("data").exists());

    let (mut process, address) = Process::serve(&["--data", &data]).await;
    assert_eq!(codes(&mut session(address).await, &[create(1, "kept", b"")]).await, [0]);
    refused(&backup, "another server is running on it").await;
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));
    let output = run(&backup).await;
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    refused(&backup, "exists").await;

    let output = run(&["restore", "--from", &file, "--to", &restored]).await;
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    // What was backed up is there still.
    for data in [&data, &restored] {
        let (_process, address) = Process::serve(&["--data", data]).await;
        assert_eq!(codes(&mut session(address).await, &[exists(1, "kept")]).await, [0], "{data}");
    }
}

#[tokio::test]
async fn a_server_that_runs_is_backed_up_at_a_signal() {
    let scratch = Scratch::new("running");
    let path = |name: &str| scratch.file(name).to_str().unwrap().to_owned();
    let (data, backups) = (path("data"), path("backups"));
    let (mut process, address) = Process::serve(&["--data", &data, "--backups", &backups]).await;
    let mut stream = session(address).await;
    assert_eq!(codes(&mut stream, &[create(1, "kept", b"")]).await, [0]);
    // It is said why not, and the server goes on.
    process.signal("USR1").await;
    assert!(process.line("not backed up").await.contains("No such file"));
    std::fs::create_dir(&backups).unwrap();
    process.signal("USR1").await;
    let line = process.line("backed up").await;
    let file = line.split(' ').find_map(|field| field.strip_prefix("backup=")).unwrap();
    assert_eq!(codes(&mut stream, &[create(1, "later", b"")]).await, [0]);
    process.signal("USR1").await;
    assert!(!process.line("backed up").await.contains(file), "each has a file of its own");

    let restored = path("restored");
    let output = run(&["restore", "--from", file, "--to", &restored]).await;
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let (_process, address) = Process::serve(&["--data", &restored]).await;
    assert_eq!(codes(&mut session(address).await, &[exists(1, "kept"), exists(2, "later")]).await, [0, NO_NODE]);
}
