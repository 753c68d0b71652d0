//! Faults that the server injects, and how clients and recipes recover from them.

use std::time::Duration;

use herdless::core::{Request, SessionId};
use herdless::server::{Faults, Server};
use herdless::{
    Acl, Client, ClientExt, CreateMode, Election, Error, Lock, NodePath, Permissions, SessionState, TokioClient,
    Version,
};
use tokio::time::Instant;

use crate::support::{GENEROUS, Raw, connector, is_pending, until, until_suspended, until_watching};

/// A server and its faults.
struct Scene {
    server: Server,
    faults: Faults,
}

impl Scene {
    async fn new() -> Self {
        let bounds = Duration::from_millis(200)..=Duration::from_secs(40);
        let server = Server::builder().session_timeouts(bounds).bind("127.0.0.1:0").await.unwrap();
        let faults = server.faults();
        Self { server, faults }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    async fn connect(&self) -> TokioClient {
        connector(&self.address()).connect().await.unwrap()
    }

    async fn raw(&self, timeout_ms: i32) -> (Raw, SessionId) {
        let (raw, greeting) = Raw::open(&self.address(), timeout_ms).await;
        (raw, SessionId(greeting.session))
    }
}

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

fn id(client: &TokioClient) -> SessionId {
    client.session().id()
}

/// The frame of a request that creates a node for anyone.
fn creation(xid: i32, path: &str) -> Vec<u8> {
    let mut body = [xid.to_be_bytes(), 1i32.to_be_bytes()].concat();
    let mut buffer = |bytes: &[u8]| {
        body.extend((bytes.len() as i32).to_be_bytes());
        body.extend(bytes);
    };
    buffer(path.as_bytes());
    buffer(b"");
    body.extend([1i32.to_be_bytes(), 31i32.to_be_bytes()].concat());
    for text in ["world", "anyone"] {
        body.extend((text.len() as i32).to_be_bytes());
        body.extend(text.as_bytes());
    }
    body.extend(0i32.to_be_bytes());
    [&(body.len() as i32).to_be_bytes()[..], &body].concat()
}

/// The number and the code of a reply.
fn header(reply: &[u8]) -> (i32, i32) {
    let int = |at: usize| i32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
    (int(0), int(12))
}

async fn exists(client: &TokioClient, node: &str) -> bool {
    client.exists(&path(node)).await.unwrap().is_some()
}

#[tokio::test]
async fn who_holds_a_lock_in_a_session_that_expires_is_told_and_the_next_one_has_it() {
    let scene = Scene::new().await;
    let (first, second) = (scene.connect().await, scene.connect().await);
    let mut ids = [id(&first), id(&second)];
    ids.sort();
    assert_eq!(scene.faults.sessions(), ids);
    let guard = Lock::new(first.clone(), path("/lock")).acquire().await.unwrap();
    let lock = Lock::new(second.clone(), path("/lock"));
    let mut wait = Box::pin(lock.acquire());
    until_watching(&second, &mut wait).await;
    let session = first.session();
    assert!(scene.faults.expire(session.id()));
    assert_eq!(scene.faults.sessions(), [id(&second)], "as soon as it is said");
    session.lost().await;
    assert!(!guard.is_valid());
    let next = wait.await.unwrap();
    assert!(next.token() > guard.token());
    // The first one goes on in another session.
    until("another session", async || (id(&first) != session.id()).then_some(())).await;
    first.exists(&path("/lock")).await.unwrap();
    assert!(!scene.faults.expire(session.id()), "there is none any more");
    assert!(!scene.faults.disconnect(session.id()) && !scene.faults.freeze(session.id()));
}

#[tokio::test]
async fn a_leader_whose_session_expires_is_followed_by_another() {
    let scene = Scene::new().await;
    let (first, second) = (scene.connect().await, scene.connect().await);
    let leader = Election::new(first.clone(), path("/leader")).campaign().await.unwrap();
    let election = Election::new(second.clone(), path("/leader"));
    let mut wait = Box::pin(election.campaign());
    until_watching(&second, &mut wait).await;
    scene.faults.expire(id(&first));
    let next = wait.await.unwrap();
    assert!(next.term() > leader.term());
    until("the first to know", async || (!leader.is_valid()).then_some(())).await;
    // A connection that is cut costs nobody anything.
    assert!(scene.faults.disconnect(id(&second)));
    next.proclaim("here").await.unwrap_or_else(|error| assert_eq!(error, Error::ConnectionLost));
    second.sync(&path("/leader")).await.unwrap();
    assert!(next.is_valid());
    assert_eq!(second.counters().connects, 2);
}

#[tokio::test]
async fn what_comes_behind_a_cut_is_never_carried_out() {
    let scene = Scene::new().await;
    let witness = scene.connect().await;
    let (mut raw, session) = scene.raw(30_000).await;
    assert!(scene.faults.is_connected(session));
    raw.send_bytes(&creation(1, "/before")).await;
    assert_eq!(header(&raw.receive().await.unwrap()), (1, 0));
    assert!(scene.faults.disconnect(session));
    assert!(!scene.faults.is_connected(session), "as soon as it is said");
    raw.send_bytes(&creation(2, "/behind")).await;
    assert!(raw.receive().await.is_none());
    assert!(exists(&witness, "/before").await && !exists(&witness, "/behind").await);
    assert!(scene.faults.sessions().contains(&session), "the session lives on");
}

#[tokio::test]
async fn all_connections_are_cut_and_nobody_is_let_in() {
    let scene = Scene::new().await;
    let clients = [scene.connect().await, scene.connect().await];
    let guard = Lock::new(clients[0].clone(), path("/lock")).acquire().await.unwrap();
    let (_, watch) = clients[1].exists_and_watch(&path("/later")).await.unwrap();
    let mut undecided = Raw::dial(&scene.address()).await;
    until("its connection", async || (scene.server.faults().sessions().len() == 2).then_some(())).await;
    scene.faults.refuse_connections();
    // A connection of before does not help.
    assert!(undecided.greet(30_000, 0, &[0; 16]).await.is_none());
    assert!(scene.faults.disconnect_all() >= 2);
    for client in &clients {
        assert!(!scene.faults.is_connected(id(client)));
        until_suspended(client).await;
    }
    let mut refused = Raw::dial(&scene.address()).await;
    assert!(refused.receive().await.is_none());
    assert_eq!(scene.faults.sessions().len(), 2, "no session is opened, and none is lost");
    scene.faults.accept_connections();
    for client in &clients {
        client.sync(&NodePath::root()).await.unwrap();
        assert_eq!(client.session().state(), SessionState::Connected);
    }
    assert!(guard.is_valid());
    clients[0].create(&path("/later"), "", CreateMode::Persistent).await.unwrap();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_frozen_connection_is_neither_read_nor_written() {
    let scene = Scene::new().await;
    let witness = scene.connect().await;
    witness.create(&path("/seen"), "", CreateMode::Persistent).await.unwrap();
    let client = scene.connect().await;
    let (_, watch) = client.exists_and_watch(&path("/seen")).await.unwrap();
    let mut watch = Box::pin(watch);
    assert!(scene.faults.freeze(id(&client)));
    let mut created = Box::pin(client.create(&path("/frozen"), "", CreateMode::Persistent));
    witness.set(&path("/seen"), "", Version::ANY).await.unwrap();
    for _ in 0..20 {
        assert!(is_pending(&mut created).await && is_pending(&mut watch).await);
        assert!(!exists(&witness, "/frozen").await);
    }
    scene.faults.thaw(id(&client));
    created.await.unwrap();
    watch.await.unwrap();
    assert!(exists(&witness, "/frozen").await);
    assert_eq!(client.counters().connects, 1);
}

#[tokio::test]
async fn a_frozen_connection_is_no_sign_of_life() {
    let scene = Scene::new().await;
    let (mut raw, session) = scene.raw(400).await;
    scene.faults.freeze(session);
    raw.send_bytes(&creation(1, "/frozen")).await;
    until("the end of the session", async || scene.faults.sessions().is_empty().then_some(())).await;
    // Not even the end arrives.
    let mut end = Box::pin(raw.receive());
    for _ in 0..20 {
        assert!(is_pending(&mut end).await);
        tokio::task::yield_now().await;
    }
    scene.faults.thaw(session);
    assert!(end.await.is_none());
    assert!(!exists(&scene.connect().await, "/frozen").await);
}

/// While a test stops a server that runs on a thread of its own, that may be anywhere: behind the reading, too.
#[tokio::test]
async fn nothing_is_carried_out_once_a_freeze_has_begun_and_all_of_it_after_the_thaw() {
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let faults = server.faults();
    let address = server.address().to_string();
    let witness = connector(&address).connect().await.unwrap();
    let (mut raw, greeting) = Raw::open(&address, 30_000).await;
    let session = SessionId(greeting.session);
    for xid in 1..=300 {
        let node = format!("/n{xid}");
        raw.send_bytes(&creation(xid, &node)).await;
        for _ in 0..xid * 50 {
            std::hint::spin_loop();
        }
        assert!(faults.freeze(session));
        let is_there = exists(&witness, &node).await;
        assert_eq!(exists(&witness, &node).await, is_there);
        faults.thaw(session);
        let reply = tokio::time::timeout(GENEROUS, raw.receive()).await.expect("it is carried out after all");
        assert_eq!(header(&reply.unwrap()), (xid, 0));
    }
}

#[tokio::test]
async fn a_server_that_is_frozen_is_silent_to_those_who_come_as_well() {
    let scene = Scene::new().await;
    let client = scene.connect().await;
    scene.faults.freeze_all();
    let mut read = Box::pin(async { client.exists(&NodePath::root()).await });
    let mut newcomer = Raw::dial(&scene.address()).await;
    let mut greeting = Box::pin(newcomer.greet(30_000, 0, &[0; 16]));
    for _ in 0..50 {
        assert!(is_pending(&mut read).await && is_pending(&mut greeting).await);
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.faults.sessions(), [id(&client)]);
    scene.faults.thaw_all();
    read.await.unwrap();
    greeting.await.unwrap();
    assert_eq!(scene.faults.sessions().len(), 2);
    // An end waits for no thaw: what has arrived is carried out and answered.
    scene.faults.freeze_all();
    newcomer.send_bytes(&creation(1, "/last")).await;
    let answered = async {
        assert_eq!(header(&newcomer.receive().await.unwrap()), (1, 0));
        assert!(newcomer.receive().await.is_none());
        drop(newcomer);
    };
    tokio::join!(scene.server.shutdown(), answered);
}

#[tokio::test]
async fn replies_are_late_and_in_order() {
    let scene = Scene::new().await;
    let client = scene.connect().await;
    let delay = Duration::from_millis(120);
    scene.faults.delay_replies(delay);
    let begun = Instant::now();
    exists(&client, "/a").await;
    assert!(begun.elapsed() >= delay);
    let (mut raw, _) = scene.raw(30_000).await;
    assert!(begun.elapsed() >= 2 * delay);

    // A delay that nobody waits for to its end.
    let far = Duration::MAX;
    scene.faults.delay_replies(far);
    raw.send_bytes(&[creation(1, "/a"), creation(2, "/a"), creation(3, "/b")].concat()).await;
    let mut reply = Box::pin(raw.receive());
    let mut read = Box::pin(async { client.exists(&path("/a")).await });
    for _ in 0..50 {
        assert!(is_pending(&mut reply).await && is_pending(&mut read).await);
        tokio::task::yield_now().await;
    }
    scene.faults.delay_replies(Duration::ZERO);
    assert_eq!(header(&reply.await.unwrap()), (1, 0));
    assert_eq!(header(&raw.receive().await.unwrap()), (2, -110));
    assert_eq!(header(&raw.receive().await.unwrap()), (3, 0));
    read.await.unwrap();
    assert_eq!(client.counters().connects, 1);
}

#[tokio::test]
async fn what_is_answered_late_is_carried_out_at_once() {
    let scene = Scene::new().await;
    let (mut raw, session) = scene.raw(30_000).await;
    scene.faults.delay_replies(Duration::MAX);
    // To close the session.
    raw.send(&[1i32.to_be_bytes(), (-11i32).to_be_bytes()].concat()).await;
    until("the end of the session", async || scene.faults.sessions().is_empty().then_some(())).await;
    assert!(!scene.faults.is_connected(session));
    let mut reply = Box::pin(raw.receive());
    assert!(is_pending(&mut reply).await);
    scene.faults.heal();
    assert_eq!(header(&reply.await.unwrap()), (1, 0));
    assert!(raw.receive().await.is_none());
    // An end sends what there is, at once.
    let (mut raw, _) = scene.raw(30_000).await;
    scene.faults.delay_replies(Duration::MAX);
    raw.send(&[1i32.to_be_bytes(), (-11i32).to_be_bytes()].concat()).await;
    until("the end of the session", async || scene.faults.sessions().is_empty().then_some(())).await;
    scene.server.shutdown().await;
    assert!(raw.receive().await.is_none_or(|reply| header(&reply) == (1, 0)));
}

#[tokio::test]
async fn a_lost_reply_and_a_lost_request_look_alike() {
    let scene = Scene::new().await;
    let witness = scene.connect().await;
    for is_carried_out in [true, false] {
        let (node, behind) = (format!("/node-{is_carried_out}"), format!("/behind-{is_carried_out}"));
        let before = format!("/before-{is_carried_out}");
        let client = scene.connect().await;
        let is_meant = {
            let node = path(&node);
            move |request: &Request| matches!(request, Request::Create(create) if create.path == node)
        };
        assert!(if is_carried_out {
            scene.faults.lose_reply(id(&client), is_meant)
        } else {
            scene.faults.lose_request(id(&client), is_meant)
        });
        // In one write, most likely.
        let [before_it, it, behind_it] =
            [&before, &node, &behind].map(|node| client.create(&path(node), "", CreateMode::Persistent));
        before_it.await.unwrap();
        assert_eq!(it.await.unwrap_err(), Error::ConnectionLost);
        let _ = behind_it.await;
        assert_eq!(exists(&witness, &node).await, is_carried_out);
        assert!(exists(&client, &before).await);
        assert_eq!(client.counters().connects, 2);
        // Once.
        client.create(&path(&format!("{before}/again")), "", CreateMode::Persistent).await.unwrap();
    }
    assert!(!scene.faults.lose_reply(SessionId(7), |_| true), "there is no such session");
}

/// Both sides of the one that is lost, in one write.
#[tokio::test]
async fn what_is_before_a_lost_reply_is_answered_and_what_is_behind_is_not_carried_out() {
    let scene = Scene::new().await;
    let witness = scene.connect().await;
    let (mut raw, session) = scene.raw(30_000).await;
    let mut count = 0;
    scene.faults.lose_reply(session, move |_| {
        count += 1;
        count == 2
    });
    raw.send_bytes(&[creation(1, "/a"), creation(2, "/b"), creation(3, "/c")].concat()).await;
    assert_eq!(header(&raw.receive().await.unwrap()), (1, 0));
    assert!(raw.receive().await.is_none());
    assert!(exists(&witness, "/a").await && exists(&witness, "/b").await && !exists(&witness, "/c").await);
    assert!(!scene.faults.is_connected(session) && scene.faults.sessions().contains(&session));
}

#[tokio::test]
async fn who_loses_a_reply_was_still_who_he_is() {
    let scene = Scene::new().await;
    let client = scene.connect().await;
    client.authenticate("digest", "us:secret").await.unwrap();
    let own = [Acl::creator(Permissions::ALL)];
    client.create_with_acl(&path("/ours"), "", CreateMode::Persistent, own).await.unwrap();
    scene.faults.lose_reply(id(&client), |request| matches!(request, Request::SetData(_)));
    client.set(&path("/ours"), "x", Version::ANY).await.unwrap_err();
    assert_eq!(client.get(&path("/ours")).await.unwrap().0, "x");
}

#[tokio::test]
async fn recipes_recover_from_every_loss() {
    let scene = Scene::new().await;
    let witness = scene.connect().await;
    for at in 0..6 {
        for is_carried_out in [true, false] {
            let client = scene.connect().await;
            let mut left = at;
            let is_meant = move |_: &Request| {
                left -= 1;
                left < 0
            };
            if is_carried_out {
                scene.faults.lose_reply(id(&client), is_meant);
            } else {
                scene.faults.lose_request(id(&client), is_meant);
            }
            let lock = Lock::new(client.clone(), path("/lock"));
            let guard = tokio::time::timeout(GENEROUS, lock.acquire()).await.expect("it is had").unwrap();
            assert_eq!(lock.contenders().await.unwrap().len(), 1, "it is in line once");
            guard.release().await.unwrap_or_else(|error| assert_eq!(error, Error::ConnectionLost));
            until("an empty line", async || {
                witness.children(&path("/lock")).await.map_or(true, |(names, _)| names.is_empty()).then_some(())
            })
            .await;
        }
    }
}
