//! Every fault, and that it happens to what it is meant for and to nothing else.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use herdless_core::{
    AddWatchMode, Client, ClientExt, CreateMode, Error, FindOwn, MultiOp, NodePath, Refusal, Release, Request, Version,
};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_wrappers::{Faulty, Rule};

fn path(path: &str) -> NodePath {
    NodePath::parse_sequential(path).unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn world() -> (MemoryServer, Faulty<MemoryClient>) {
    let server = MemoryServer::new();
    let client = Faulty::new(server.connect());
    (server, client)
}

fn has(server: &MemoryServer, node: &str) -> bool {
    server.inspect(|tree| tree.paths().any(|path| path.as_str() == node))
}

#[tokio::test]
async fn a_lost_request_is_not_carried_out() {
    let (server, client) = world();
    let lost = client.inject(Rule::lose_request().kind("create"));
    assert_eq!(client.create(&path("/a"), "", CreateMode::Persistent).await, Err(Error::ConnectionLost));
    drop(client.create(&path("/b"), "", CreateMode::Persistent));
    assert_eq!((lost.hits(), has(&server, "/a"), has(&server, "/b")), (2, false, false));
    lost.lift();
    client.create(&path("/a"), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(lost.hits(), 2);
}

#[tokio::test]
async fn a_lost_reply_is_that_of_a_request_that_was_carried_out() {
    let (server, client) = world();
    let lost = client.inject(Rule::lose_reply().kind("create"));
    assert_eq!(client.create(&path("/a"), "", CreateMode::Persistent).await, Err(Error::ConnectionLost));
    // Nobody knows that it was refused.
    assert_eq!(client.create(&path("/a"), "", CreateMode::Persistent).await, Err(Error::ConnectionLost));
    assert_eq!((lost.hits(), has(&server, "/a")), (2, true));
    // What the client knows without a server is not lost.
    client.close().await.unwrap();
    assert_eq!(client.create(&path("/a"), "", CreateMode::Persistent).await, Err(Error::Closed));
}

#[tokio::test]
async fn watches_go_with_the_reply() {
    let (server, client) = world();
    let lost = client.inject(Rule::lose_reply());
    assert_eq!(client.exists_and_watch(&path("/a")).await.unwrap_err(), Error::ConnectionLost);
    assert!(client.add_watch(&path("/b"), AddWatchMode::Persistent).await.is_err());
    assert_eq!(lost.hits(), 2);
    server.connect().create(&path("/a"), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(server.wake_ups(), 0, "somebody waits for it still");
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn a_refusal_changes_nothing() {
    let (server, client) = world();
    let refused = client.inject(Rule::refuse(Refusal::QuotaExceeded));
    assert_eq!(
        client.create(&path("/a"), "", CreateMode::Persistent).await,
        Err(Error::Refused(Refusal::QuotaExceeded))
    );
    let create = vec![MultiOp::create(&path("/a"), "", CreateMode::Persistent)];
    let expected = Error::MultiRefused { index: 0, refusal: Refusal::QuotaExceeded };
    assert_eq!(client.multi(create).await, Err(expected));
    assert_eq!((refused.hits(), has(&server, "/a")), (2, false));
}

#[tokio::test]
async fn what_survives_a_lost_connection_is_carried_out_and_answered() {
    for rule in [Rule::lose_request, Rule::lose_reply] {
        let (server, client) = world();
        let node = client.create(&path("/n-"), "mine", CreateMode::EphemeralSequential).await.unwrap();
        let lost = client.inject(rule());
        let find = FindOwn { prefix: path("/n-"), data: "mine".into() };
        assert_eq!(client.call(find).await, Ok(Some(node.clone())));
        let session = client.session().id();
        let release = Release { path: node.path, czxid: node.stat.czxid, session, hand_over: true, may_be_gone: false };
        assert_eq!(client.call(release).await, Ok(true));
        client.authenticate("digest", "user:password").await.unwrap();
        client.close().await.unwrap();
        assert_eq!((lost.hits(), server.inspect(|tree| tree.paths().count())), (4, 1));
    }
}

/// As of a connection: see the conformance suite's `an_undo_is_told_that_the_reply_is_lost`.
#[test]
fn an_undo_is_told_what_a_caller_would_be() {
    let refuse = || Rule::refuse(Refusal::NoAuth);
    let rules = [Rule::lose_request as fn() -> Rule, Rule::lose_reply, refuse];
    let expected = [(false, Error::ConnectionLost), (true, Error::ConnectionLost), (false, Refusal::NoAuth.into())];
    for (rule, (is_carried_out, error)) in rules.into_iter().zip(expected) {
        for is_late in [false, true] {
            let (server, client) = world();
            if is_late {
                server.delay_replies(client.inner());
            }
            let told = Arc::new(Mutex::new(Vec::new()));
            let teller = told.clone();
            let injected = client.inject(rule());
            let create = client.create(&path("/a"), "", CreateMode::Persistent);
            drop(create.on_abandon(move |outcome| teller.lock().unwrap().push(outcome.map(drop))));
            assert_eq!(*told.lock().unwrap(), [Err(error.clone())]);
            assert_eq!((injected.hits(), has(&server, "/a")), (1, is_carried_out));
        }
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_reply_is_held_until_it_is_let_go() {
    let (server, client) = world();
    let held = client.inject(Rule::hold_reply().kind("create"));
    let mut create = client.create(&path("/a"), "", CreateMode::Persistent);
    assert!(has(&server, "/a"), "it has its place, and what is asked later sees it");
    assert!(poll(&mut client.exists(&path("/a"))).is_ready());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    for _ in 0..3 {
        assert!(pin!(&mut create).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let undo = told.clone();
    let other = client.create(&path("/a"), "", CreateMode::Persistent);
    drop(other.on_abandon(move |outcome| undo.lock().unwrap().push(outcome.map(drop))));
    drop(client.create(&path("/b"), "", CreateMode::Persistent));
    assert_eq!((held.hits(), told.lock().unwrap().len(), woken.0.load(Ordering::Relaxed)), (3, 0, 0));
    held.lift();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(matches!(poll(&mut create), Poll::Ready(Ok(_))));
    assert_eq!(*told.lock().unwrap(), [Err(Refusal::NodeExists.into())]);
    // From now on nothing is.
    assert!(poll(&mut client.create(&path("/c"), "", CreateMode::Persistent)).is_ready());
    assert_eq!(held.hits(), 3);
}

/// An undo may come back to the client that it is called by.
#[test]
fn an_undo_may_submit() {
    let (server, client) = world();
    let held = client.inject(Rule::hold_reply().kind("create"));
    let undo = client.clone();
    let create = client.create(&path("/a"), "", CreateMode::Persistent);
    drop(create.on_abandon(move |created| {
        drop(undo.delete(&created.unwrap().path, Version::ANY));
        drop(undo.inject(Rule::lose_reply()));
    }));
    assert!(has(&server, "/a"));
    held.lift();
    assert!(!has(&server, "/a"));
}

#[tokio::test]
async fn a_rule_is_for_what_it_says() {
    let (server, client) = world();
    let multi = |node: &str| vec![MultiOp::create(&path(node), "", CreateMode::Persistent)];
    let below = client.inject(Rule::lose_request().path_prefix("/a/"));
    let second_read = client.inject(Rule::lose_request().kind("get_data").nth(2));
    let large = client.inject(Rule::refuse(Refusal::QuotaExceeded).when(|request| match request {
        Request::Create(create) => create.data.len() > 3,
        _ => false,
    }));
    client.create(&path("/a"), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(client.create(&path("/a/b"), "", CreateMode::Persistent).await, Err(Error::ConnectionLost));
    assert_eq!(client.multi(multi("/a/b")).await, Err(Error::ConnectionLost));
    client.multi(multi("/b")).await.unwrap();
    client.who_am_i().await.unwrap();
    assert_eq!(below.hits(), 2);

    client.get(&path("/a")).await.unwrap();
    assert_eq!(second_read.hits(), 0);
    assert_eq!(client.clone().get(&path("/a")).await, Err(Error::ConnectionLost));
    client.get(&path("/a")).await.unwrap();
    assert_eq!(second_read.hits(), 1);

    client.create(&path("/c"), "123", CreateMode::Persistent).await.unwrap();
    let refused = client.create(&path("/d"), "1234", CreateMode::Persistent).await;
    assert_eq!((refused, large.hits()), (Err(Refusal::QuotaExceeded.into()), 1));
    assert!(has(&server, "/b") && has(&server, "/c") && !has(&server, "/a/b"));
}

/// Two rules for one request: the first happens, and both have counted it.
#[tokio::test]
async fn the_first_rule_that_is_due_happens() {
    let (_server, client) = world();
    let refused = client.inject(Rule::refuse(Refusal::NoAuth).nth(1));
    let lost = client.inject(Rule::lose_request().nth(2));
    let never = client.inject(Rule::lose_request().nth(1));
    assert_eq!(client.exists(&path("/a")).await, Err(Refusal::NoAuth.into()));
    assert_eq!(client.exists(&path("/a")).await, Err(Error::ConnectionLost));
    assert_eq!(client.exists(&path("/a")).await, Ok(None));
    assert_eq!([refused.hits(), lost.hits(), never.hits()], [1, 1, 0]);
}
