//! What shows a change leaves the server once the change is on disk, and not before.

use std::sync::Arc;
use std::time::Duration;

use herdless::server::{Limits, Server};

use crate::support::raw::{EVENT_XID, OK, PING_XID};
use crate::support::{FakeDisk, GENEROUS, Raw, let_pass, until};

const EXISTS: i32 = 3;
const CREATE: i32 = 1;

async fn server() -> (Server, Arc<FakeDisk>) {
    let disk = FakeDisk::new();
    (Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await.unwrap(), disk)
}

/// The next thing that comes is the answer to a ping: whatever was asked before is held back.
async fn nothing_comes_but_pings(raw: &mut Raw) {
    raw.ping().await;
    let header = tokio::time::timeout(GENEROUS, raw.header()).await.expect("an answer to the ping");
    assert_eq!(header.unwrap().0, PING_XID);
}

#[tokio::test]
async fn a_reply_waits_for_its_commit() {
    let (server, disk) = server().await;
    let (mut raw, _) = Raw::open(&server.address().to_string(), 10_000).await;
    disk.let_syncs_wait(true);
    let xid = raw.ask(CREATE, &Raw::create_body(b"/a", 0)).await;
    // Also once the change has come as far as it can.
    until("the sync", async || (disk.syncs_waiting() > 0).then_some(())).await;
    nothing_comes_but_pings(&mut raw).await;
    disk.let_syncs_wait(false);
    let (answered, zxid, code) = raw.header().await.unwrap();
    assert_eq!((answered, code), (xid, OK));
    raw.ping().await;
    assert_eq!(raw.header().await.unwrap(), (PING_XID, zxid, OK));
}

#[tokio::test]
async fn a_refused_change_waits_too() {
    let (server, disk) = server().await;
    let (mut raw, _) = Raw::open(&server.address().to_string(), 10_000).await;
    disk.let_syncs_wait(true);
    let xid = raw.ask(CREATE, &Raw::create_body(b"/no/such", 0)).await;
    // It takes a zxid, which the reply tells, and which a client must never be ahead with.
    nothing_comes_but_pings(&mut raw).await;
    disk.let_syncs_wait(false);
    let (answered, _, code) = raw.header().await.unwrap();
    assert_eq!((answered, code), (xid, -101));
}

#[tokio::test]
async fn others_see_nothing_of_it_before() {
    let (server, disk) = server().await;
    let address = server.address().to_string();
    let (mut writer, _) = Raw::open(&address, 10_000).await;
    let (mut watcher, _) = Raw::open(&address, 10_000).await;
    let (mut reader, _) = Raw::open(&address, 10_000).await;
    assert_eq!(watcher.request(EXISTS, &Raw::exists_body(b"/a", true)).await, -101);
    disk.let_syncs_wait(true);
    writer.ask(CREATE, &Raw::create_body(b"/a", 0)).await;
    nothing_comes_but_pings(&mut writer).await;
    let xid = reader.ask(EXISTS, &Raw::exists_body(b"/a", false)).await;
    nothing_comes_but_pings(&mut reader).await;
    nothing_comes_but_pings(&mut watcher).await;
    disk.let_syncs_wait(false);
    assert_eq!(watcher.header().await.unwrap().0, EVENT_XID);
    let (answered, _, code) = reader.header().await.unwrap();
    assert_eq!((answered, code), (xid, OK));
}

#[tokio::test]
async fn a_session_is_told_once_it_is_kept() {
    let (server, disk) = server().await;
    disk.let_syncs_wait(true);
    let mut raw = Raw::dial(&server.address().to_string()).await;
    let mut greeting = Box::pin(raw.greet(10_000, 0, &[0; 16]));
    let waiting = async { until("the sync", async || (disk.syncs_waiting() > 0).then_some(())).await };
    tokio::select! {
        _ = &mut greeting => panic!("told before"),
        () = waiting => {}
    }
    disk.let_syncs_wait(false);
    assert!(greeting.await.unwrap().session != 0);
}

/// The disk takes longer than a session may be silent; what is asked meanwhile is answered in order, once it is done.
#[tokio::test]
async fn a_slow_disk_ends_no_session() {
    let disk = FakeDisk::new();
    let timeouts = Duration::from_millis(200)..=Duration::from_secs(10);
    let server = Server::builder().session_timeouts(timeouts).disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let (mut raw, _) = Raw::open(&server.address().to_string(), 400).await;
    disk.let_syncs_wait(true);
    let first = raw.ask(CREATE, &Raw::create_body(b"/a", 1)).await;
    // Three timeouts, with a sign of life now and then.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        nothing_comes_but_pings(&mut raw).await;
    }
    let second = raw.ask(EXISTS, &Raw::exists_body(b"/a", false)).await;
    disk.let_syncs_wait(false);
    assert_eq!(raw.header().await.unwrap().0, first);
    let (answered, _, code) = raw.header().await.unwrap();
    assert_eq!((answered, code), (second, OK), "the session's own node is there");
}

/// The disk takes longer than a session may be silent, and so many replies wait for it that no sign of life is read.
#[tokio::test]
async fn a_slow_disk_ends_no_session_that_is_not_listened_to() {
    let disk = FakeDisk::new();
    let timeouts = Duration::from_millis(200)..=Duration::from_secs(10);
    let limits = Limits { outstanding_per_connection: 2, ..Limits::default() };
    let builder = Server::builder().session_timeouts(timeouts).limits(limits).disk(disk.clone());
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let (mut raw, _) = Raw::open(&server.address().to_string(), 400).await;
    disk.let_syncs_wait(true);
    let first = raw.ask(CREATE, &Raw::create_body(b"/a", 1)).await;
    for _ in 0..12 {
        raw.ask(EXISTS, &Raw::exists_body(b"/a", false)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    disk.let_syncs_wait(false);
    for xid in first..=first + 12 {
        let (answered, _, code) = raw.header().await.expect("the session goes on");
        assert_eq!((answered, code), (xid, OK));
    }
}

/// Its client may have heard of the session only now, and could not say anything in it.
#[tokio::test]
async fn a_session_that_is_told_late_has_its_time() {
    let (server, disk) = server().await;
    disk.let_syncs_wait(true);
    let mut raw = Raw::dial(&server.address().to_string()).await;
    let mut greeting = Box::pin(raw.greet(30_000, 0, &[0; 16]));
    let waiting = async { until("the sync", async || (disk.syncs_waiting() > 0).then_some(())).await };
    tokio::select! {
        _ = &mut greeting => panic!("told before"),
        () = waiting => {}
    }
    let_pass(Duration::from_secs(25)).await;
    disk.let_syncs_wait(false);
    assert!(greeting.await.unwrap().session != 0);
    let_pass(Duration::from_secs(10)).await;
    assert_eq!(raw.create(b"/a", 1).await, OK, "thirty seconds since the handshake, but ten since its answer");
}

/// A connection whose replies wait is read up to a bound, and goes on from there.
#[tokio::test]
async fn what_is_held_is_bounded() {
    const REQUESTS: usize = 1_000_000;
    let (server, disk) = server().await;
    let (mut raw, _) = Raw::open(&server.address().to_string(), 10_000).await;
    disk.let_syncs_wait(true);
    let first = raw.ask(CREATE, &Raw::create_body(b"/a", 0)).await;
    let mut frames = Vec::new();
    let body = Raw::exists_body(b"/a", false);
    for xid in first + 1..=first + REQUESTS as i32 {
        frames.extend((8 + body.len() as u32).to_be_bytes());
        frames.extend(xid.to_be_bytes());
        frames.extend(EXISTS.to_be_bytes());
        frames.extend(&body);
    }
    // What the sockets take on top of the server's bound is far less.
    let held = tokio::select! {
        () = raw.send_bytes(&frames) => panic!("it took all of it"),
        held = no_more_received(&server) => held,
    };
    disk.let_syncs_wait(false);
    let limit = Limits::default().outstanding_per_connection;
    // And the questions how many there are.
    assert!((limit..limit + 9_000).contains(&held), "{held}");
    for xid in first..first + 2 * limit as i32 {
        assert_eq!(raw.header().await.unwrap().0, xid);
    }
}

/// How many requests the server has read, once it reads no more.
async fn no_more_received(server: &Server) -> usize {
    let mut last = (0, 0);
    until("the bound", async || {
        let received = received(server).await;
        // The question is one too.
        last = if received <= last.0 + 1 { (received, last.1 + 1) } else { (received, 0) };
        (last.1 == 20).then_some(received)
    })
    .await
}

/// What the server says to `srvr`, which no disk holds up.
async fn received(server: &Server) -> usize {
    let mut raw = Raw::dial(&server.address().to_string()).await;
    raw.send_bytes(b"srvr").await;
    let text = raw.text().await;
    let received = text.lines().find_map(|line| line.strip_prefix("Received: ")).unwrap();
    received.parse().unwrap()
}
