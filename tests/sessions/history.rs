//! Servers that have forgotten, and servers that say nothing.

use std::time::Duration;

use herdless::{Client, ClientExt, CreateMode, Error, Lock, NodePath, SessionState, Zxid};
use tokio::time::Instant;

use crate::scripted::{EXISTS, Hello, STAT, Served, listen};
use crate::support::{NO_ZOOKEEPER, World, ZooKeeper, connector, scenarios, skipped, until};

scenarios! {
    a_session_that_no_server_answers_for_is_lost_at_its_deadline
}

/// ZOOKEEPER-4508: a client that is told `ConnectionLoss` for ever learns that its session is over from no server, because
/// there is none.
async fn a_session_that_no_server_answers_for_is_lost_at_its_deadline(world: &World) {
    for hangs in [false, true] {
        let proxy = world.proxy().await;
        let start = Instant::now();
        let client = proxy.short_session().connect().await.unwrap();
        let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
        let session = client.session();
        if hangs {
            proxy.pause();
        } else {
            proxy.down();
        }
        guard.lost().await;
        assert!(start.elapsed() >= session.timeout(), "some server may still keep it");
        assert!(!guard.is_valid());
        assert_eq!((session.state(), client.counters().connects), (SessionState::Lost, 1), "and no server was reached");
        assert_eq!(guard.multi(Vec::new()).await, Err(Error::SessionExpired));
        proxy.resume();
        proxy.up();
        proxy.cut();
        drop(guard);
        until("the next session", async || (client.session().state() == SessionState::Connected).then_some(())).await;
        assert_ne!(client.session().id(), session.id());
    }
}

#[tokio::test]
async fn an_answer_from_before_what_was_seen_ends_the_session() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let mut hellos = Vec::new();
        for (session, zxids) in [(5, &[10, 9][..]), (6, &[3, 3])] {
            let (mut served, hello) = Served::accept(&listener).await.unwrap();
            hellos.push(hello);
            served.greet(session, false).await;
            for zxid in zxids {
                let (xid, operation) = served.next().await.unwrap();
                assert_eq!(operation, EXISTS);
                served.reply(xid, *zxid, 0, &STAT).await;
            }
        }
        hellos
    });
    let client = connector(&address).connect().await.unwrap();
    let session = client.session();
    let root = NodePath::root();
    client.exists(&root).await.unwrap();
    assert!(session.is_valid());
    let error = client.exists(&root).await.unwrap_err();
    assert_eq!(error, Error::HistoryLost { seen: Zxid(10), answered: Zxid(9) });
    assert!(!session.is_valid(), "before anybody hears of the error");
    // The next session has seen nothing, and what it sees is no step back.
    client.exists(&root).await.unwrap();
    client.exists(&root).await.unwrap();
    assert_eq!(client.session().id().0, 6);
    let connect = |session, last_zxid| Hello::Connect { last_zxid, session, read_only: false };
    assert_eq!(server.await.unwrap(), [connect(0, 0), connect(0, 0)]);
}

/// ZOOKEEPER-832: a server that comes back without its data turns the client away for having seen the future.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_data_has_another_session_for_the_client_in_the_end() {
    let Some(mut server) = ZooKeeper::start("forgets", &[]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let client = connector(&server.address).session_timeout(Duration::from_secs(4)).connect().await.unwrap();
    let (path, session) = (NodePath::parse("/lock").unwrap(), client.session());
    let guard = Lock::new(client.clone(), path.clone()).acquire().await.unwrap();
    server.kill().await;
    server.forget();
    server.start_again().await;
    session.lost().await;
    assert!(!guard.is_valid());
    until("the next session", async || (client.session().state() == SessionState::Connected).then_some(())).await;
    assert_ne!(client.session().id(), session.id());
    assert_eq!(client.exists(&path).await, Ok(None), "nothing is left");
    client.create(&path, "", CreateMode::Ephemeral).await.unwrap();
}
