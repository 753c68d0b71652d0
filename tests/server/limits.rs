//! What our own client sees at each limit: a typed error, nothing lost, and success once there is room.

use herdless::server::{Limits, Server};
use herdless::{AddWatchMode, ClientExt, CreateMode, Error, Lock, MultiOp, NodePath, Refusal, TokioClient, Version};

use crate::bystander::{Bystander, serve};
use crate::support::{Proxy, Raw, buffer, connector, until};

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

async fn client(limits: Limits) -> (Server, TokioClient, Bystander) {
    let (server, address) = serve(limits).await;
    let bystander = Bystander::start(&address).await;
    let client = connector(&address).connect().await.unwrap();
    (server, client, bystander)
}

fn expect_refused<T: std::fmt::Debug>(outcome: Result<T, Error>, refusal: Refusal) {
    match outcome {
        Err(Error::Refused(found)) => assert_eq!(found, refusal),
        other => panic!("{other:?} instead of {refusal}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_of_a_session() {
    let (server, client, bystander) = client(Limits { watches_per_session: 100, ..Limits::default() }).await;
    let node = |number: usize| path(&format!("/watched-{number}"));
    let mut watches = Vec::new();
    for number in 0..100 {
        watches.push(client.exists_and_watch(&node(number)).await.unwrap().1);
    }
    for number in 100..1_000 {
        expect_refused(client.exists_and_watch(&node(number)).await.map(|_| ()), Refusal::Throttled);
    }
    assert_eq!(server.usage().watches, 100);
    // Reads go on, and so do those who have watches of their own.
    client.exists(&node(100)).await.unwrap();
    let lock = Lock::new(connector(&server.address().to_string()).connect().await.unwrap(), path("/lock"));
    lock.acquire().await.unwrap().release().await.unwrap();
    // One that fires makes room for one.
    client.create(&node(0), "", CreateMode::Persistent).await.unwrap();
    watches.remove(0).await.unwrap();
    let (_, watch) = client.exists_and_watch(&node(100)).await.unwrap();
    client.create(&node(100), "", CreateMode::Persistent).await.unwrap();
    watch.await.unwrap();
    assert_eq!(client.counters().connects, 1);
    bystander.unharmed().await;
}

/// A lock that has nowhere to leave its watch says so, and leaves no place in line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_in_all() {
    let (server, client, bystander) = client(Limits { watches: 100, ..Limits::default() }).await;
    let holder = connector(&server.address().to_string()).connect().await.unwrap();
    let held = Lock::new(holder.clone(), path("/lock")).acquire().await.unwrap();
    let mut watches = Vec::new();
    while server.usage().watches < 100 {
        let node = path(&format!("/watched-{}", watches.len()));
        watches.push(client.exists_and_watch(&node).await.unwrap().1);
    }
    let other = connector(&server.address().to_string()).connect().await.unwrap();
    let waiting = Lock::new(other, path("/lock"));
    match waiting.acquire().await {
        Err(error) => assert!(format!("{error}").contains("throttled"), "{error}"),
        Ok(_) => panic!("it is held"),
    }
    until("the end of its place in line", async || {
        let (names, _) = client.children(&path("/lock")).await.unwrap();
        (names.len() == 1).then_some(())
    })
    .await;
    // With room for one it is as if nothing had been.
    client.create(&path("/watched-0"), "", CreateMode::Persistent).await.unwrap();
    let acquire = waiting.acquire();
    let release = async {
        until("the line", async || (holder.children(&path("/lock")).await.unwrap().0.len() == 2).then_some(())).await;
        held.release().await.unwrap();
    };
    let (acquired, ()) = tokio::join!(acquire, release);
    acquired.unwrap().release().await.unwrap();
    bystander.unharmed().await;
}

/// Whoever had as many as there may be has them again after a reconnect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_watches_as_there_may_be_survive_a_reconnect() {
    let (server, address) = serve(Limits { watches_per_session: 10, ..Limits::default() }).await;
    let bystander = Bystander::start(&address).await;
    let proxy = Proxy::to(&address).await;
    let client = connector(&proxy.address()).connect().await.unwrap();
    let (_, watch) = client.exists_and_watch(&path("/once")).await.unwrap();
    let mut others = Vec::new();
    for number in 0..6 {
        others.push(client.exists_and_watch(&path(&format!("/other-{number}"))).await.unwrap().1);
    }
    let _stays = client.add_watch(&path("/stays"), AddWatchMode::Persistent).await.unwrap();
    let _recursive = client.add_watch(&path("/recursive"), AddWatchMode::PersistentRecursive).await.unwrap();
    expect_refused(client.exists_and_watch(&path("/more")).await.map(|_| ()), Refusal::Throttled);
    proxy.cut();
    until("the watches", async || {
        let _ = client.exists(&NodePath::root()).await;
        (client.counters().connects == 2 && server.usage().watches == 10).then_some(())
    })
    .await;
    client.create(&path("/once"), "", CreateMode::Persistent).await.unwrap();
    watch.await.unwrap();
    assert_eq!(server.usage().refused.total(), 0);
    bystander.unharmed().await;
}

/// Nobody looks at the reply to a SetWatches: who has too many is let go, and does not believe that he has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_watches_to_rearm() {
    let (server, address) = serve(Limits { watches_per_session: 10, ..Limits::default() }).await;
    let bystander = Bystander::start(&address).await;
    let (mut raw, greeting) = Raw::open(&address, 30_000).await;
    let mut body = i64::MAX.to_be_bytes().to_vec();
    body.extend(0i32.to_be_bytes()); // on data
    body.extend(11i32.to_be_bytes()); // on what is not there
    for number in 0..11 {
        buffer(&mut body, format!("/missing-{number}").as_bytes());
    }
    body.extend(0i32.to_be_bytes()); // on children
    raw.ask(101, &body).await;
    assert!(raw.receive().await.is_none());
    until("its end", async || (server.usage().connections == 1).then_some(())).await;
    assert_eq!((server.usage().watches, server.usage().refused.watches), (0, 1));
    let mut raw = Raw::dial(&address).await;
    let again = raw.greet(30_000, greeting.session, &greeting.password).await.unwrap();
    assert_eq!(again.session, greeting.session, "its session is still there");
    bystander.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemeral_nodes() {
    let (_server, client, bystander) = client(Limits { ephemerals_per_session: 50, ..Limits::default() }).await;
    let node = path("/node-");
    let mut made = Vec::new();
    for _ in 0..50 {
        made.push(client.create(&node, "", CreateMode::EphemeralSequential).await.unwrap().path);
    }
    for _ in 0..500 {
        let refused = client.create(&node, "", CreateMode::EphemeralSequential).await;
        expect_refused(refused, Refusal::QuotaExceeded);
    }
    client.create(&path("/lasting"), "", CreateMode::Persistent).await.unwrap();
    // What was refused has not used a number up.
    client.delete(&made[0], Version::ANY).await.unwrap();
    let next = client.create(&node, "", CreateMode::EphemeralSequential).await.unwrap().path;
    assert!(made[49] < next && client.exists(&next).await.unwrap().is_some());
    bystander.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes() {
    let (server, client, bystander) = client(Limits { nodes: 100, ..Limits::default() }).await;
    let mut made = 0;
    while server.usage().nodes < 100 {
        client.create(&path(&format!("/node-{made}")), "", CreateMode::Persistent).await.unwrap();
        made += 1;
    }
    for number in 0..500 {
        let refused = client.create(&path(&format!("/more-{number}")), "", CreateMode::Persistent).await;
        expect_refused(refused, Refusal::QuotaExceeded);
    }
    // All of a multi or nothing, and it says which was too much.
    let swap = |more: &[&str]| {
        let creates = more.iter().map(|name| MultiOp::create(&path(name), "", CreateMode::Persistent));
        std::iter::once(MultiOp::delete(&path("/node-0"), Version::ANY)).chain(creates).collect::<Vec<_>>()
    };
    match client.multi(swap(&["/new", "/too-many"])).await {
        Err(Error::MultiRefused { index: 2, refusal: Refusal::QuotaExceeded }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(server.usage().nodes, 100);
    client.multi(swap(&["/new"])).await.unwrap();
    assert_eq!(server.usage().nodes, 100);
    bystander.unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes() {
    const MOST: usize = 1 << 20;
    let (server, client, bystander) = client(Limits { bytes: MOST, ..Limits::default() }).await;
    let mut made = Vec::new();
    let refused = loop {
        let node = path(&format!("/node-{}", made.len()));
        match client.create(&node, vec![7; 100_000], CreateMode::Persistent).await {
            Ok(_) => made.push(node),
            Err(error) => break error,
        }
    };
    expect_refused(Err::<(), _>(refused), Refusal::QuotaExceeded);
    assert_eq!(made.len(), 10);
    for node in &made {
        expect_refused(client.set(node, vec![7; 200_000], Version::ANY).await, Refusal::QuotaExceeded);
        // As much as before is not more.
        client.set(node, vec![8; 100_000], Version::ANY).await.unwrap();
    }
    assert!(server.usage().bytes <= MOST);
    client.delete(&made[0], Version::ANY).await.unwrap();
    client.set(&made[1], vec![7; 120_000], Version::ANY).await.unwrap();
    bystander.unharmed().await;
}
