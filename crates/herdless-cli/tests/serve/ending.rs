//! Being told to end.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::process::{PROGRAM, Process, alone};
use crate::wire::{create, frame, session};

#[tokio::test]
async fn a_signal_ends_it_in_order() {
    for name in ["TERM", "INT", "HUP"] {
        let (mut process, address) = Process::serve(&["--in-memory"]).await;
        let idle = session(address).await;
        drop(idle);
        process.signal(name).await;
        process.line("ending").await;
        process.line("ended").await;
        assert_eq!(process.end().await.code(), Some(0), "{name}");
        TcpListener::bind(address).await.unwrap();
    }
}

#[tokio::test]
async fn what_has_arrived_is_answered_before_the_end() {
    let (mut process, address) = Process::serve(&["--in-memory"]).await;
    let mut stream = session(address).await;
    let requests: Vec<_> = (1..=1_000).flat_map(|xid| create(xid, &format!("node-{xid}"), b"")).collect();
    stream.write_all(&requests).await.unwrap();
    process.signal("TERM").await;
    for expected in 1..=1_000i32 {
        let reply = frame(&mut stream).await.unwrap_or_else(|| panic!("no reply to {expected}"));
        assert_eq!(reply[..4], expected.to_be_bytes());
        assert_eq!(reply[12..16], [0; 4], "it was created");
    }
    assert!(frame(&mut stream).await.is_none());
    drop(stream);
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut process, address) = Process::serve(&["--in-memory"]).await;
    // It neither asks nor leaves, so that an end in order takes a second.
    let _idle = session(address).await;
    // Stopped, it finds both when it goes on.
    process.signal("STOP").await;
    process.signal("TERM").await;
    process.signal("INT").await;
    process.signal("CONT").await;
    process.line("while the server was ending").await;
    assert_eq!(process.end().await.code(), Some(1));
}

/// A shell that loses its terminal tells its jobs too, beside the system.
#[tokio::test]
async fn a_terminal_that_is_closed_ends_it_in_order_however_often_it_says_so() {
    let (mut process, address) = Process::serve(&["--in-memory"]).await;
    // It neither asks nor leaves, so that an end in order takes a second.
    let _idle = session(address).await;
    process.signal("HUP").await;
    process.line("ending").await;
    process.signal("HUP").await;
    process.line("ended").await;
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_terminal_that_is_closed_does_not_end_what_was_started_to_stay() {
    let mut command = tokio::process::Command::new("nohup");
    command.args([PROGRAM, "serve", "--listen", "127.0.0.1:0", "--in-memory"]);
    let mut process = Process::start(alone(command));
    let address = process.told("ready").await;
    process.signal("HUP").await;
    drop(session(address).await);
    process.signal("TERM").await;
    assert!(process.line("ending").await.contains("SIGTERM"));
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_signal_for_a_backup_that_has_no_place_changes_nothing() {
    let (mut process, address) = Process::serve(&["--in-memory"]).await;
    process.signal("USR1").await;
    assert!(process.line("no backup").await.contains("--backups"));
    let mut stream = session(address).await;
    stream.write_all(&create(1, "node", b"")).await.unwrap();
    assert!(frame(&mut stream).await.is_some());
}
