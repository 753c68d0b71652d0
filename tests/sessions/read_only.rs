//! A server without a majority, and the search for one that has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use herdless::{Client, ClientExt, ConnectError, CreateMode, Error, Refusal, SessionState};
use tokio::net::TcpListener;

use crate::scripted::{EXISTS, Hello, NO_NODE, NOT_READ_ONLY, Served, listen};
use crate::support::{World, connector, until};

const LOCAL: i64 = 0x77;

/// Serves whoever does with a read-only server.
async fn read_only(listener: TcpListener) {
    while let Some(accepted) = Served::accept(&listener).await {
        tokio::spawn(async move {
            let (mut served, hello) = accepted;
            match hello {
                Hello::Isro => return served.word(b"ro").await,
                Hello::Connect { read_only: false, .. } => return,
                Hello::Connect { .. } => served.greet(LOCAL, true).await,
            }
            while let Some((xid, operation)) = served.next().await {
                let code = if operation == EXISTS { NO_NODE } else { NOT_READ_ONLY };
                served.reply(xid, 1, code, &[]).await;
            }
        });
    }
}

/// How often a server without a majority is asked before it has one.
const QUESTIONS: usize = 3;

/// Has nothing to say until it has been asked often enough; then it is the world's server.
async fn in_the_end_read_write(listener: TcpListener, server: String, asked: Arc<AtomicUsize>) {
    while let Some((served, hello)) = Served::accept(&listener).await {
        let is_read_write = asked.load(Ordering::SeqCst) >= QUESTIONS;
        match hello {
            Hello::Isro => {
                asked.fetch_add(1, Ordering::SeqCst);
                // As a server says it that is not ready yet, and one that has a majority.
                served.word(if is_read_write { b"rw" } else { b"null" }).await;
            }
            Hello::Connect { session, read_only, .. } if is_read_write => {
                assert_eq!((session, read_only), (0, true), "no other server knows the session of the first");
                let server = server.clone();
                tokio::spawn(async move { served.pass_on(&server).await });
            }
            Hello::Connect { .. } => drop(served),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_write_server_is_searched_for_and_gone_to() {
    let world = World::embedded("read_only").await;
    let ((first, ro), (second, rw)) = (listen().await, listen().await);
    let asked = Arc::new(AtomicUsize::new(0));
    let servers = [
        tokio::spawn(read_only(first)),
        tokio::spawn(in_the_end_read_write(second, world.address.clone(), asked.clone())),
    ];
    let client = connector(&format!("{ro},{rw}")).read_only(true).connect().await.unwrap();
    let local = client.session();
    assert_eq!((local.state(), local.id().0), (SessionState::ReadOnly, LOCAL));
    assert!(local.is_valid());
    assert_eq!(client.credentials(), None);
    let node = world.beside("node");
    assert_eq!(client.exists(&node).await, Ok(None));
    let refused = client.create(&node, "", CreateMode::Ephemeral).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::NotReadOnly))), "{refused:?}");

    until("a server with a majority", async || (client.session().state() == SessionState::Connected).then_some(()))
        .await;
    assert_eq!(local.state(), SessionState::Lost);
    assert!(!local.is_valid());
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), QUESTIONS + 1, "it was asked until it said so");
    client.close().await.unwrap();
    servers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_does_not_ask_for_it_gets_no_read_only_server() {
    let (listener, address) = listen().await;
    // One that does not look at what it is asked.
    let server = tokio::spawn(async move {
        while let Some((mut served, hello)) = Served::accept(&listener).await {
            assert!(matches!(hello, Hello::Connect { read_only: false, .. }), "{hello:?}");
            served.greet(LOCAL, true).await;
            while served.next().await.is_some() {}
        }
    });
    let error = connector(&address).connect_within(Duration::from_millis(500)).connect().await.unwrap_err();
    let ConnectError::Unreachable { last, .. } = error else {
        panic!("{error}");
    };
    assert!(last.contains("read-only"), "{last}");
    assert!(!server.is_finished(), "it panicked");
    server.abort();
}
