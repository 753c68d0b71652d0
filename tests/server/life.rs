//! Starting, stopping, and what lives and dies in between.

use std::time::Duration;

use herdless::server::{BindError, Server};
use herdless::{Client, ClientExt, CreateMode, Lock, MultiOp, NodePath, SessionState};
use tokio::net::{TcpListener, TcpSocket};

use crate::support::{Raw, World, connector, until, until_suspended};

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

#[tokio::test]
async fn it_answers_as_soon_as_it_is_bound() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    // The first attempt is the one that has to do: there is no patience for a second.
    let client = connector(&address).connect().await.unwrap();
    assert_eq!(client.counters().connects, 1);
    let (names, _) = client.children(&NodePath::root()).await.unwrap();
    assert!(names.iter().all(|name| name == "zookeeper"), "{names:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn it_listens_on_this_machine_alone_unless_told_otherwise() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = Server::bind(address).await.unwrap_err();
        assert!(matches!(refused, BindError::NotLoopback(_)), "{refused}");
        assert!(refused.to_string().contains("insecure_allow_remote"), "{refused}");
    }
    let server = Server::builder().insecure_allow_remote().bind("0.0.0.0:0").await.unwrap();
    let here = format!("127.0.0.1:{}", server.address().port());
    connector(&here).connect().await.unwrap();
}

#[tokio::test]
async fn session_timeouts_that_begin_above_their_end_are_said_to_be() {
    let [shortest, longest] = [5, 4].map(Duration::from_secs);
    let error = Server::builder().session_timeouts(shortest..=longest).bind("127.0.0.1:0").await.unwrap_err();
    assert_eq!(error.to_string(), "session timeouts cannot be of 5s at least and 4s at most");
    assert!(matches!(error, BindError::SessionTimeouts { .. }), "{error}");
    let equal = Server::builder().session_timeouts(longest..=longest).bind("127.0.0.1:0").await.unwrap();
    connector(&equal.address().to_string()).connect().await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_to_be() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let error = Server::bind(address).await.unwrap_err();
    assert!(matches!(error, BindError::Io { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_shutdown_closes_connections_and_frees_the_port() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let client = connector(&address.to_string()).connect().await.unwrap();
    let mut silent = Raw::dial(&address.to_string()).await;
    let (mut raw, _) = Raw::open(&address.to_string(), 4_000).await;
    let created = client.create(&path("/last"), "", CreateMode::Persistent);
    created.await.unwrap();
    server.shutdown().await;
    assert!(silent.receive().await.is_none());
    assert!(raw.receive().await.is_none());
    until_suspended(&client).await;
    TcpListener::bind(address).await.unwrap();
}

/// Requests of a connection, one behind another: reads of this node's data.
fn reads(path: &str, numbers: std::ops::RangeInclusive<i32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for xid in numbers {
        bytes.extend((8 + 4 + path.len() as i32 + 1).to_be_bytes());
        bytes.extend(xid.to_be_bytes());
        bytes.extend(4i32.to_be_bytes()); // getData
        bytes.extend((path.len() as i32).to_be_bytes());
        bytes.extend(path.as_bytes());
        bytes.push(0); // no watch
    }
    bytes
}

fn number(reply: &[u8]) -> i32 {
    i32::from_be_bytes(reply[..4].try_into().unwrap())
}

#[tokio::test]
async fn what_has_arrived_is_answered_before_the_end() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let (mut raw, _) = Raw::open(&server.address().to_string(), 4_000).await;
    // More than is read at a time, and on one thread: the server has read none of it when it is told to end.
    raw.send_bytes(&reads("/", 1..=3_000)).await;
    let ended = tokio::spawn(server.shutdown());
    for expected in 1..=3_000 {
        let reply = raw.receive().await.unwrap_or_else(|| panic!("no reply to {expected}"));
        assert_eq!(number(&reply), expected);
    }
    assert!(raw.receive().await.is_none());
    drop(raw);
    ended.await.unwrap();
}

/// A socket that is closed with something unread is reset, and the replies that are still on their way are lost with it.
#[tokio::test]
async fn replies_arrive_although_the_client_goes_on_asking() {
    const LARGE: i32 = 20;
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    let client = connector(&address).connect().await.unwrap();
    client.create(&path("/large"), vec![0; 500_000], CreateMode::Persistent).await.unwrap();
    drop(client);
    // It has little room, so that most of what the server has sent is still on its way when the server is done.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut raw = Raw::over(socket.connect(server.address()).await.unwrap());
    raw.greet(4_000, 0, &[0; 16]).await.unwrap();
    raw.send_bytes(&reads("/large", 1..=LARGE)).await;
    let ended = tokio::spawn(server.shutdown());
    for expected in 1..=LARGE {
        let reply = raw.receive().await.unwrap_or_else(|| panic!("no reply to {expected}"));
        assert_eq!(number(&reply), expected);
        raw.send_bytes(&reads("/", LARGE + expected..=LARGE + expected)).await;
    }
    drop(raw);
    ended.await.unwrap();
}

#[tokio::test]
async fn a_dropped_server_ends() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let (mut raw, _) = Raw::open(&address.to_string(), 4_000).await;
    drop(server);
    assert!(raw.receive().await.is_none());
    until("the port", async || TcpListener::bind(address).await.ok()).await;
}

/// Its memory is all it has, so every session is gone; but clients that were there before find their way.
#[tokio::test]
async fn clients_come_back_to_a_server_that_is_started_again_at_once() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let client = connector(&address.to_string()).session_timeout(Duration::from_secs(4)).connect().await.unwrap();
    let lock = Lock::new(client.clone(), path("/lock"));
    let before = lock.acquire().await.unwrap();
    let session = client.session();
    for _ in 0..20 {
        let created = client.create(&path("/n-"), "", CreateMode::PersistentSequential);
        created.await.unwrap();
    }
    server.shutdown().await;
    let server = Server::bind(address).await.unwrap();
    session.lost().await;
    assert!(!before.is_valid());
    let after = tokio::time::timeout(Duration::from_secs(20), lock.acquire())
        .await
        .expect("the new server takes the client in")
        .unwrap();
    assert!(after.is_valid());
    assert!(after.token() > before.token(), "tokens go on to increase: {} after {}", after.token(), before.token());
    assert_eq!(client.session().state(), SessionState::Connected);
    server.shutdown().await;
}

#[tokio::test]
async fn sessions_that_are_silent_expire_and_others_do_not() {
    let world = World::embedded("expiry").await;
    let (mut raw, greeting) = Raw::open(&world.address, 400).await;
    assert_eq!(greeting.timeout_ms, 400);
    let node = world.beside("node");
    assert_eq!(raw.create(node.as_str().as_bytes(), 1).await, 0);
    let client = world.connect().await;
    let mine = world.beside("mine");
    client.create(&mine, "", CreateMode::Ephemeral).await.unwrap();
    let (stat, watch) = client.exists_and_watch(&node).await.unwrap();
    assert_eq!(stat.unwrap().ephemeral_owner, greeting.session);
    // Its connection stays open, and that is no sign of life.
    watch.await.unwrap();
    assert!(client.exists(&node).await.unwrap().is_none());
    assert!(client.exists(&mine).await.unwrap().is_some());
    assert!(raw.receive().await.is_none(), "hung up on");
    let mut again = Raw::dial(&world.address).await;
    let gone = again.greet(400, greeting.session, &greeting.password).await.unwrap();
    assert_eq!(gone.timeout_ms, 0, "that session is no more");
}

#[tokio::test]
async fn session_timeouts_are_held_within_bounds() {
    let server = Server::builder()
        .session_timeouts(Duration::from_secs(3)..=Duration::from_secs(5))
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let address = server.address().to_string();
    for (asked, given) in [(0, 3_000), (-1, 3_000), (1, 3_000), (4_321, 4_321), (i32::MAX, 5_000)] {
        let (_, greeting) = Raw::open(&address, asked).await;
        assert_eq!(greeting.timeout_ms, given, "asked for {asked}");
    }
}

/// What removes the directories of locks that nobody uses any more. It takes a minute, so time is made to pass.
#[tokio::test]
async fn the_empty_directories_of_locks_are_removed() {
    let world = World::embedded("containers").await;
    let client = world.connect().await;
    let deep = path("/containers/a/b");
    let used = path("/containers/used");
    let lock = Lock::new(client.clone(), deep.clone());
    lock.acquire().await.unwrap().release().await.unwrap();
    let guard = Lock::new(client.clone(), used.clone()).acquire().await.unwrap();
    let plain = path("/plain");
    client
        .multi(vec![
            MultiOp::create(&plain, "", CreateMode::Persistent),
            MultiOp::create(&path("/plain/n"), "", CreateMode::Persistent),
            MultiOp::delete(&path("/plain/n"), herdless::Version::ANY),
        ])
        .await
        .unwrap();
    // In steps, since whoever says nothing for too long has no session any more. One round takes the lowest level.
    let mut steps = 0..3 * 12;
    while client.exists(&path("/containers/a")).await.unwrap().is_some() {
        steps.next().expect("three minutes are enough");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::time::resume();
    }
    assert!(client.exists(&deep).await.unwrap().is_none());
    assert!(client.exists(&used).await.unwrap().is_some(), "in use");
    assert!(client.exists(&plain).await.unwrap().is_some(), "no container");
    guard.release().await.unwrap();
    // Whoever comes next makes them again.
    lock.acquire().await.unwrap().release().await.unwrap();
}
