//! Many peers that do not behave, beside one that does.

use std::time::Duration;

use herdless::server::Limits;
use herdless::{Client, ClientExt, CreateMode, NodePath};

use crate::bystander::{Bystander, serve};
use crate::support::{Dice, GENEROUS, Raw, connector, is_pending, until};

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];

/// Connections with a session, and how many were closed instead.
async fn flood(source: [u8; 4], address: &str, count: usize) -> (Vec<Raw>, usize) {
    let mut inside = Vec::new();
    for _ in 0..count {
        let mut raw = Raw::dial_from(source, address).await;
        if raw.greet(30_000, 0, &[0; 16]).await.is_some() {
            inside.push(raw);
        }
    }
    let outside = count - inside.len();
    (inside, outside)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_from_one_address() {
    let limits = Limits { connections_per_loopback_address: 5, ..Limits::default() };
    let (server, address) = serve(limits).await;
    let bystander = Bystander::start(&address).await;
    let (mut inside, outside) = flood(HERE, &address, 300).await;
    assert_eq!((inside.len(), outside), (4, 296));
    let usage = server.usage();
    assert_eq!((usage.connections, usage.refused.address, usage.refused.total()), (5, 296, 296));
    assert_eq!(usage.sessions, 5, "who is not let in has no session");
    // Others are somewhere else.
    let (there, outside) = flood(THERE, &address, 3).await;
    assert_eq!((there.len(), outside), (3, 0));
    // One that ends makes room for one.
    drop(inside.pop());
    until("room", async || (server.usage().connections == 7).then_some(())).await;
    let (again, outside) = flood(HERE, &address, 2).await;
    assert_eq!((again.len(), outside), (1, 1));
    bystander.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_in_all() {
    let (server, address) = serve(Limits { connections: 20, ..Limits::default() }).await;
    let bystander = Bystander::start(&address).await;
    let (mut inside, outside) = flood(HERE, &address, 150).await;
    assert_eq!((inside.len(), outside), (19, 131));
    let (there, _) = flood(THERE, &address, 50).await;
    assert!(there.is_empty());
    assert_eq!((server.usage().connections, server.usage().refused.connections), (20, 181));
    // A client of ours tries again, and is in as soon as there is room.
    let mut connect = Box::pin(connector(&address).connect());
    assert!(is_pending(&mut connect).await);
    until("its first attempt", async || {
        assert!(is_pending(&mut connect).await);
        (server.usage().refused.connections > 181).then_some(())
    })
    .await;
    drop(inside.pop());
    connect.await.unwrap().exists(&NodePath::root()).await.unwrap();
    bystander.unharmed().await;
}

/// What a connection leaves behind is its session, for as long as that lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions() {
    let (server, address) = serve(Limits { sessions: 10, ..Limits::default() }).await;
    let bystander = Bystander::start(&address).await;
    let (mut last, mut inside) = (None, 0);
    for _ in 0..200 {
        let mut raw = Raw::dial(&address).await;
        if let Some(greeting) = raw.greet(40_000, 0, &[0; 16]).await {
            (last, inside) = (Some(greeting), inside + 1);
        }
    }
    assert_eq!(inside, 9);
    until("the end of the connections", async || (server.usage().connections == 1).then_some(())).await;
    assert_eq!((server.usage().sessions, server.usage().refused.sessions), (10, 191));
    let mut connect = Box::pin(connector(&address).connect());
    until("a first attempt", async || {
        assert!(is_pending(&mut connect).await);
        (server.usage().refused.sessions > 191).then_some(())
    })
    .await;
    // Whoever has one may come back to it, and close it, which makes room.
    let last = last.expect("nine were let in");
    let mut raw = Raw::dial(&address).await;
    let back = raw.greet(40_000, last.session, &last.password).await.unwrap();
    assert_eq!(back.session, last.session);
    assert_eq!(raw.request(-11, &[]).await, 0);
    connect.await.unwrap().exists(&NodePath::root()).await.unwrap();
    bystander.unharmed().await;
}

/// A thousand who send a byte at a time, for as long as they are let.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_of_a_byte_at_a_time() {
    let limits = Limits { connections: 1_100, handshake: Duration::from_millis(500), ..Limits::default() };
    let (server, address) = serve(limits).await;
    let bystander = Bystander::start(&address).await;
    let count = sockets(1_000);
    let mut slow = Vec::new();
    for _ in 0..count {
        slow.push(Raw::dial(&address).await);
    }
    let drip = async {
        let mut bytes = [0, 0, 0, 45].into_iter().chain(std::iter::repeat(0));
        while server.usage().connections > 1 {
            let byte = bytes.next().expect("they never end");
            for raw in &mut slow {
                raw.send_bytes(&[byte]).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(GENEROUS, drip).await.expect("they are let go");
    for raw in &mut slow {
        assert!(raw.receive().await.is_none());
    }
    assert_eq!(server.usage().refused.handshakes, count as u64);
    assert_eq!(server.usage().sessions, 1);
    bystander.unharmed().await;
}

/// This many, unless so many files may not be open here; both ends of each are in this process.
fn sockets(count: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(1_024);
    count.min((most - 200) / 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_no_frame_has() {
    let (server, address) = serve(Limits::default()).await;
    let bystander = Bystander::start(&address).await;
    let mut dice = Dice::new();
    for round in 0..300 {
        let is_greeted = round % 2 == 0;
        let mut raw = match is_greeted {
            true => Raw::open(&address, 4_000).await.0,
            false => Raw::dial(&address).await,
        };
        let largest = if is_greeted { 0xf_ffff } else { 8 * 1024 };
        let length = match dice.within(0..3) {
            0 => -1 - (dice.number() >> 33) as i32,
            1 => largest + 1 + dice.within(0..10) as i32,
            _ => largest + 1 + (dice.number() >> 34) as i32,
        };
        // A four-letter word is no length.
        if !is_greeted && length.to_be_bytes().is_ascii() {
            continue;
        }
        raw.send_bytes(&length.to_be_bytes()).await;
        raw.send_bytes(&[7; 100]).await;
        assert!(raw.receive().await.is_none(), "{length}");
    }
    until("their end", async || (server.usage().connections == 1).then_some(())).await;
    assert!(server.usage().most_buffered < 1 << 20, "nothing is kept for a frame before it has come");
    bystander.unharmed().await;
}

/// Whole frames of anything, so that it is read and not only its length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes() {
    let (server, address) = serve(Limits::default()).await;
    let bystander = Bystander::start(&address).await;
    let mut dice = Dice::new();
    for round in 0..400 {
        let mut raw = match round % 4 {
            0 => Raw::dial(&address).await,
            _ => Raw::open(&address, 4_000).await.0,
        };
        for _ in 0..20 {
            let mut frame: Vec<u8> = (0..dice.within(0..200)).map(|_| dice.number() as u8).collect();
            if frame.len() > 12 {
                // An operation that there is, with whatever for its arguments.
                frame[4..8].copy_from_slice(&(dice.within(0..23) as i32).to_be_bytes());
                // A vector or a string that is not far from fitting.
                frame[8..12].copy_from_slice(&(dice.within(0..200) as i32 - 2).to_be_bytes());
            }
            raw.send(&frame).await;
        }
        let rest: Vec<u8> = (0..dice.within(0..2_000)).map(|_| dice.number() as u8).collect();
        raw.send_bytes(&rest).await;
    }
    until("their end", async || (server.usage().connections == 1).then_some(())).await;
    assert!(server.usage().most_buffered < 1 << 20);
    bystander.unharmed().await;
}

/// A live session, and somebody who tries to guess its password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords() {
    let tries = if std::env::var_os("CI").is_some() { 100_000 } else { 10_000 };
    let (server, address) = serve(Limits::default()).await;
    let bystander = Bystander::start(&address).await;
    let client = connector(&address).connect().await.unwrap();
    let node = NodePath::parse("/victim").unwrap();
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    let (_, mut watch) = client.get_and_watch(&node).await.unwrap();
    let id = client.session().id().0;
    let mut dice = Dice::new();
    let began = tokio::time::Instant::now();
    let mut told = 0;
    for number in 0..tries {
        let mut raw = Raw::dial_from(HERE, &address).await;
        let password: Vec<u8> = (0..16).map(|_| dice.number() as u8).collect();
        if let Some(greeting) = raw.greet(4_000, id, &password).await {
            assert_eq!((greeting.timeout_ms, greeting.session), (0, 0), "try {number}");
            told += 1;
        }
    }
    // Five in each second that has begun.
    let seconds = began.elapsed().as_secs() + 2;
    assert!((5..=5 * seconds).contains(&told), "{told} in {seconds} s");
    assert_eq!(server.usage().refused.passwords, tries - told);
    // Another address has its own patience.
    let mut there = Raw::dial_from(THERE, &address).await;
    assert_eq!(there.greet(4_000, id, &[7; 16]).await.unwrap().timeout_ms, 0);
    assert!(is_pending(&mut Box::pin(&mut watch)).await);
    assert_eq!(client.counters().connects, 1, "nobody was moved aside");
    client.set(&node, "", herdless::Version::ANY).await.unwrap();
    watch.await.unwrap();
    bystander.unharmed().await;
}

/// Who is cut off comes back to his session, whatever else comes from his address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_lock_nobody_out() {
    let (_server, address) = serve(Limits::default()).await;
    let (raw, victim) = Raw::open(&address, 30_000).await;
    drop(raw);
    let guess = async || {
        let mut raw = Raw::dial(&address).await;
        raw.greet(30_000, victim.session, &[7; 16]).await
    };
    for _ in 0..100 {
        assert_eq!(guess().await.expect("nobody is heard from, so it is looked at").timeout_ms, 0);
    }
    let mut raw = Raw::dial(&address).await;
    let back = raw.greet(30_000, victim.session, &victim.password).await.expect("it is looked at");
    assert_eq!(back.session, victim.session);
    // From then on it is heard from, and those are too many.
    assert!(guess().await.is_none());
    assert_eq!(raw.create(b"/mine", 1).await, 0);
}
