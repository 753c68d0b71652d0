//! Clients that do not take what they are sent.

use std::time::Duration;

use herdless::server::Limits;
use herdless::{ClientExt, CreateMode, NodePath, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bystander::{Bystander, resident, serve};
use crate::support::{Raw, buffer, connector, let_pass, until};

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

/// The arguments of a read.
fn read(node: &NodePath) -> Vec<u8> {
    let mut body = Vec::new();
    buffer(&mut body, node.as_str().as_bytes());
    body.push(0);
    body
}

const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
/// As large a node as there may be, nearly.
const LARGE: usize = 1_000_000;

/// One read of 16 KiB holds requests for hundreds of megabytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_replies_that_nobody_takes() {
    const MOST: usize = 8 << 20;
    const DEAF: usize = 30;
    let (server, address) = serve(Limits { buffered: MOST, ..Limits::default() }).await;
    let client = connector(&address).connect().await.unwrap();
    let node = path("/large");
    client.create(&node, vec![7; LARGE], CreateMode::Persistent).await.unwrap();
    let bystander = Bystander::start(&address).await;
    let before = resident();
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let mut raw = Raw::dial_narrow(&address).await;
        raw.greet(30_000, 0, &[0; 16]).await.unwrap();
        let mut asked = Vec::new();
        for xid in 0..100 {
            let mut frame = i32::to_be_bytes(xid).to_vec();
            frame.extend(GET_DATA.to_be_bytes());
            frame.extend(read(&node));
            buffer(&mut asked, &frame);
        }
        raw.send_bytes(&asked).await;
        deaf.push(raw);
    }
    until("some that are let go", async || (server.usage().refused.slow > 0).then_some(())).await;
    // Who takes what he asked for gets it beside them.
    for _ in 0..20 {
        assert_eq!(client.get(&node).await.unwrap().0.len(), LARGE);
    }
    assert_eq!(client.counters().connects, 1);
    // Beside the limit: what two threads have just made and not tried to send yet.
    let usage = server.usage();
    assert!(usage.most_buffered < MOST + 2 * (LARGE + (1 << 20)), "{usage:?}");
    assert!(usage.connections > 2, "those who hold little stay");
    assert!(resident().saturating_sub(before) < 200 << 20, "{} more bytes in memory", resident() - before);
    drop(deaf);
    until("their end", async || (server.usage().connections == 2).then_some(())).await;
    bystander.unharmed().await;
    until("nothing that is held for them", async || (server.usage().buffered == 0).then_some(())).await;
}

/// Events cannot be held back: who takes none is let go when too many wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_nobody_takes() {
    const MOST: usize = 256 << 10;
    const DEAF: usize = 5;
    let (server, address) = serve(Limits { unsent: MOST, ..Limits::default() }).await;
    let client = connector(&address).connect().await.unwrap();
    let bystander = Bystander::start(&address).await;
    let parent = path(&format!("/{}", "long".repeat(200)));
    client.create(&parent, "", CreateMode::Persistent).await.unwrap();
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let mut raw = Raw::dial_narrow(&address).await;
        let greeting = raw.greet(40_000, 0, &[0; 16]).await.unwrap();
        let mut body = Vec::new();
        buffer(&mut body, parent.as_str().as_bytes());
        body.extend(1i32.to_be_bytes()); // recursive
        assert_eq!(raw.request(106, &body).await, 0);
        deaf.push((raw, greeting));
    }
    // What the system holds on the way is not ours to count.
    until("their end", async || {
        let sets = (0..200).map(|_| client.set(&parent, "", Version::ANY));
        futures::future::try_join_all(sets).await.unwrap();
        (server.usage().connections == 2).then_some(())
    })
    .await;
    let usage = server.usage();
    assert_eq!((usage.refused.slow, usage.watches), (DEAF as u64, 0));
    assert!(usage.buffered < 1 << 10, "nothing is held for them: {usage:?}");
    assert!(usage.most_buffered < (DEAF + 1) * MOST, "{usage:?}");
    // Their sessions live on: they may come back, and are told then what they have missed.
    for (_, greeting) in &deaf {
        let mut raw = Raw::dial(&address).await;
        let back = raw.greet(40_000, greeting.session, &greeting.password).await.unwrap();
        assert_eq!(back.session, greeting.session);
    }
    bystander.unharmed().await;
}

/// It asks, is answered until nothing more fits on the way, and is read from again when it has listened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_whose_replies_nobody_takes() {
    const REQUESTS: i32 = 20_000;
    let (server, address) = serve(Limits::default()).await;
    let client = connector(&address).connect().await.unwrap();
    // So long that neither the requests nor the replies fit into the system's buffers.
    let node = path(&format!("/{}", "long".repeat(250)));
    client.create(&node, vec![7; 1_000], CreateMode::Persistent).await.unwrap();
    let bystander = Bystander::start(&address).await;
    let mut deaf = Raw::dial_narrow(&address).await;
    deaf.greet(40_000, 0, &[0; 16]).await.unwrap();
    let (mut listens, mut asks) = deaf.into_stream().into_split();
    let asking = tokio::spawn(async move {
        let mut bytes = Vec::new();
        for xid in 0..REQUESTS {
            let mut frame = xid.to_be_bytes().to_vec();
            frame.extend(GET_DATA.to_be_bytes());
            frame.extend(read(&node));
            buffer(&mut bytes, &frame);
        }
        asks.write_all(&bytes).await.unwrap();
        asks
    });
    // It is not read from any more, with most of it still to come, and others are.
    until("a client that is held back", async || {
        let before = server.usage().buffered;
        bystander.goes_on().await;
        (before > 0 && server.usage().buffered == before).then_some(())
    })
    .await;
    assert!(!asking.is_finished());
    for xid in 0..REQUESTS {
        let length = listens.read_u32().await.expect("it is not let go for being slow");
        let mut reply = vec![0; length as usize];
        listens.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..4], xid.to_be_bytes());
    }
    asking.await.unwrap();
    assert!(server.usage().most_buffered < 1 << 20, "{:?}", server.usage());
    bystander.unharmed().await;
}

/// Nobody reads from who takes nothing, so its session ends; its connection has to end by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_for_too_long() {
    let (server, address) = serve(Limits { stall: Duration::from_millis(300), ..Limits::default() }).await;
    let client = connector(&address).connect().await.unwrap();
    let node = path("/large");
    client.create(&node, vec![7; LARGE], CreateMode::Persistent).await.unwrap();
    let bystander = Bystander::start(&address).await;
    let mut deaf = Raw::dial_narrow(&address).await;
    deaf.greet(40_000, 0, &[0; 16]).await.unwrap();
    // More than fits into all buffers on the way.
    for _ in 0..40 {
        deaf.ask(GET_DATA, &read(&node)).await;
    }
    until("its end", async || (server.usage().refused.slow == 1).then_some(())).await;
    until("its end", async || (server.usage().connections == 2).then_some(())).await;
    assert_eq!(server.usage().sessions, 3, "its session has its time");
    bystander.unharmed().await;
}

/// Whoever takes a little from time to time stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_slow_but_reads() {
    let (server, address) = serve(Limits { stall: Duration::from_secs(2), ..Limits::default() }).await;
    let client = connector(&address).connect().await.unwrap();
    let node = path("/large");
    client.create(&node, vec![7; LARGE], CreateMode::Persistent).await.unwrap();
    let mut slow = Raw::dial_narrow(&address).await;
    slow.greet(40_000, 0, &[0; 16]).await.unwrap();
    for _ in 0..40 {
        slow.ask(GET_DATA, &read(&node)).await;
    }
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(slow.receive().await.expect("it stays").len() > LARGE);
    }
    assert_eq!(server.usage().refused.total(), 0);
}

/// Nothing is read from it while a reply is on its way, so that no ping is seen. What it takes is a sign of life, too.
#[tokio::test]
async fn a_client_that_reads_slowly_keeps_its_session() {
    // More than the system takes on the way (4 MiB), so that the server sends some of it each time.
    const EACH_TIME: usize = 8 << 20;
    let (_server, address) = serve(Limits { request: 64 << 20, ..Limits::default() }).await;
    let (mut writer, _) = Raw::open(&address, 30_000).await;
    assert_eq!(writer.create(b"/large", 0).await, 0);
    let mut body = Vec::new();
    buffer(&mut body, b"/large");
    buffer(&mut body, &vec![7; 6 * EACH_TIME]);
    body.extend((-1i32).to_be_bytes()); // whatever its version
    assert_eq!(writer.request(SET_DATA, &body).await, 0);
    drop(writer);
    let mut slow = Raw::dial_narrow(&address).await;
    slow.greet(30_000, 0, &[0; 16]).await.unwrap();
    slow.ask(GET_DATA, &read(&path("/large"))).await;
    let mut stream = slow.into_stream();
    let mut part = vec![0; EACH_TIME];
    for _ in 0..5 {
        // Three of these are more than its timeout.
        let_pass(Duration::from_secs(12)).await;
        stream.read_exact(&mut part).await.expect("its session is there");
    }
    // The rest of the reply with its length, header, length of the data and Stat, and the answer to a ping.
    let mut rest = vec![0; EACH_TIME + 4 + 16 + 4 + 68 + 20];
    stream.write_all(&[0, 0, 0, 8, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 11]).await.unwrap();
    stream.read_exact(&mut rest).await.expect("its session is there");
}
