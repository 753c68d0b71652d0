//! What is asked again, when, and what never is.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use herdless_core::{
    AddWatch, AddWatchMode, Auth, CheckWatches, Client, ClientExt, Create, CreateMode, Delete, Error, EventKind,
    Exists, FindOwn, GetAcl, GetAllChildrenNumber, GetChildren, GetConfig, GetData, GetEphemerals, Multi, MultiOp,
    MultiRead, NodePath, Notice, ReadOp, Reconfig, Refusal, Release, RemoveWatches, Request, Response, SessionState,
    SetAcl, SetData, Sync, Version, WatcherType, WhoAmI,
};
use herdless_memory::{ManualTime, MemoryClient, MemoryServer};
use herdless_wrappers::{Backoff, Faulty, History, Injected, Retrying, Rule};

fn path(path: &str) -> NodePath {
    NodePath::parse_sequential(path).unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A client whose requests are known and can be made to fail, below one that repeats them.
struct World {
    server: MemoryServer,
    bare: MemoryClient,
    faulty: Faulty<herdless_wrappers::Recorder<MemoryClient>>,
    history: History,
    time: ManualTime,
    client: Retrying<Faulty<herdless_wrappers::Recorder<MemoryClient>>>,
}

impl World {
    /// At most so many repetitions, each after a second.
    fn new(repetitions: u32) -> Self {
        Self::with_pauses(move |repetition| (repetition <= repetitions).then_some(Duration::from_secs(1)))
    }

    fn without_pauses() -> Self {
        Self::with_pauses(|repetition| (repetition <= 10).then_some(Duration::ZERO))
    }

    fn with_pauses(pause: impl Fn(u32) -> Option<Duration> + Send + std::marker::Sync + 'static) -> Self {
        let (server, history, time) = (MemoryServer::new(), History::new(10_000), ManualTime::new());
        let bare = server.connect();
        let faulty = Faulty::new(history.record(bare.clone()));
        let policy = move |repetition: u32, _: &Request, _: &Error| pause(repetition);
        let client = Retrying::new(faulty.clone(), policy, Arc::new(time.clone()));
        Self { server, bare, faulty, history, time, client }
    }

    /// Loses the n-th request, or the reply to it, of this kind.
    fn lose(&self, kind: &str, n: u64) -> Injected {
        self.faulty.inject(Rule::lose_reply().kind(kind).nth(n))
    }

    /// How many requests have reached the server.
    fn carried_out(&self) -> usize {
        self.history.entries().count()
    }
}

/// One of each kind, and whether it is repeated.
fn of_each_kind(world: &World) -> Vec<(Request, bool)> {
    let (path, session) = (path("/a"), world.bare.session().id());
    let check = MultiOp::check(&path, Version::ANY);
    let multi = |operations| Request::Multi(Multi { operations, session: None });
    vec![
        (Request::Exists(Exists { path: path.clone(), watch: false }), true),
        (Request::Exists(Exists { path: path.clone(), watch: true }), true),
        (Request::GetData(GetData { path: path.clone(), watch: true }), true),
        (Request::GetChildren(GetChildren { path: path.clone(), watch: true }), true),
        (Request::GetEphemerals(GetEphemerals { prefix: path.clone() }), true),
        (Request::AddWatch(AddWatch { path: path.clone(), mode: AddWatchMode::Persistent }), true),
        (Request::CheckWatches(CheckWatches { path: path.clone(), kind: WatcherType::Any }), true),
        (Request::GetAllChildrenNumber(GetAllChildrenNumber { path: path.clone() }), true),
        (Request::GetAcl(GetAcl { path: path.clone() }), true),
        (Request::Sync(Sync { path: path.clone() }), true),
        (Request::MultiRead(MultiRead { operations: vec![ReadOp::GetData(path.clone())] }), true),
        (Request::WhoAmI(WhoAmI), true),
        (Request::GetConfig(GetConfig), true),
        (Request::FindOwn(FindOwn { prefix: path.clone(), data: "".into() }), true),
        (multi(vec![check.clone()]), true),
        (multi(vec![check.clone(), MultiOp::set(&path, "y", Version::ANY)]), false),
        (multi(vec![check, MultiOp::delete(&path, Version::ANY)]), false),
        (multi(vec![MultiOp::create(&path, "", CreateMode::Persistent)]), false),
        (Request::SetData(SetData { path: path.clone(), data: "y".into(), version: Version(0) }), false),
        (Request::SetAcl(SetAcl { path: path.clone(), acl: herdless_core::Acl::open(), version: Version(0) }), false),
        (Request::RemoveWatches(RemoveWatches { path: path.clone(), kind: WatcherType::Any }), false),
        (Request::Reconfig(Reconfig::default()), false),
        (
            Request::Release(Release {
                path: path.clone(),
                czxid: herdless_core::Zxid(1),
                session,
                hand_over: false,
                may_be_gone: false,
            }),
            false,
        ),
        (Request::Delete(Delete { path: path.clone(), version: Version::ANY }), false),
        (
            Request::Create(Create {
                path,
                data: "".into(),
                acl: herdless_core::Acl::open(),
                mode: CreateMode::Persistent,
            }),
            false,
        ),
        (Request::Auth(Auth { scheme: "digest".into(), credentials: "user:password".into() }), false),
        (Request::CloseSession, false),
    ]
}

#[tokio::test]
async fn only_what_may_be_carried_out_twice_is() {
    let world = World::without_pauses();
    let kinds = of_each_kind(&world);
    let mut names: Vec<_> = kinds.iter().map(|(request, _)| request.name()).collect();
    names.dedup();
    println!("{} requests, of {names:?}", kinds.len());
    for (request, is_repeated) in kinds {
        let world = World::without_pauses();
        world.bare.create(&path("/a"), "x", CreateMode::Persistent).await.unwrap();
        let name = format!("{request:?}");
        assert_eq!(request.is_repeatable(), is_repeated, "{name}");
        let survives = request.is_clean_up() || matches!(request, Request::Auth(_));
        let lost = world.faulty.inject(Rule::lose_reply().nth(1));
        let outcome = world.client.submit(request).await.map(drop);
        assert_eq!(lost.hits(), 1, "{name}");
        let expected = if is_repeated && !survives { 2 } else { 1 };
        assert_eq!(world.carried_out(), expected, "{name}");
        let is_lost = outcome == Err(Error::ConnectionLost);
        assert_eq!(is_lost, !is_repeated && !survives, "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn it_gives_up_when_the_policy_does() {
    let world = World::with_pauses(|repetition| (repetition <= 3).then_some(Duration::ZERO));
    let lost = world.faulty.inject(Rule::lose_reply().kind("get_data"));
    assert_eq!(world.client.get(&path("/a")).await, Err(Error::ConnectionLost));
    assert_eq!((lost.hits(), world.carried_out()), (4, 4));
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let world = World::without_pauses();
    let refused = world.faulty.inject(Rule::refuse(Refusal::Throttled));
    assert_eq!(world.client.get(&path("/a")).await, Err(Refusal::Throttled.into()));
    assert_eq!(refused.hits(), 1);
}

#[test]
fn the_pause_is_waited_for() {
    let world = World::new(2);
    let lost = world.lose("exists", 1);
    let mut read = world.client.exists(&path("/a"));
    for (waited, reads) in [(0, 1), (900, 1), (100, 2)] {
        world.time.advance(Duration::from_millis(waited));
        assert_eq!(poll(&mut read).is_ready(), reads == 2, "after {waited} ms more");
        assert_eq!(world.carried_out(), reads);
    }
    assert_eq!(lost.hits(), 1);
}

/// The pause begins when the connection is there again, and nothing is asked before.
#[test]
fn it_waits_for_the_connection_first() {
    let world = World::new(2);
    let lost = world.lose("exists", 1);
    let mut read = world.client.exists(&path("/a"));
    world.server.disconnect(&world.bare);
    for _ in 0..3 {
        world.time.advance(Duration::from_secs(60));
        assert!(poll(&mut read).is_pending());
        assert_eq!((world.carried_out(), world.time.sleepers()), (1, 0));
    }
    world.server.reconnect(&world.bare);
    assert!(poll(&mut read).is_pending());
    assert_eq!((world.carried_out(), world.time.sleepers()), (1, 1));
    // Gone again before the pause is over.
    world.server.disconnect(&world.bare);
    world.time.advance(Duration::from_secs(60));
    assert!(poll(&mut read).is_pending());
    assert_eq!(world.carried_out(), 1);
    world.server.reconnect(&world.bare);
    assert_eq!(poll(&mut read), Poll::Ready(Ok(None)));
    assert_eq!((world.carried_out(), lost.hits()), (2, 1));
}

/// Who sleeps is woken by the connection, by the clock, and by the end of the session.
#[tokio::test]
async fn whoever_waits_is_woken() {
    let world = World::new(3);
    let lost = world.faulty.inject(Rule::lose_reply().kind("exists"));
    let told = Arc::new(Mutex::new(None));
    let (teller, client) = (told.clone(), world.client.clone());
    let read = tokio::spawn(async move {
        let outcome = client.exists(&path("/a")).await;
        *teller.lock().unwrap() = Some(outcome);
    });
    let settle = async || {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    settle().await;
    assert_eq!((world.time.sleepers(), lost.hits()), (1, 1));
    world.server.disconnect(&world.bare);
    world.time.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(lost.hits(), 1);
    world.server.reconnect(&world.bare);
    settle().await;
    assert_eq!(lost.hits(), 2);
    world.server.expire(&world.bare);
    settle().await;
    assert_eq!(*told.lock().unwrap(), Some(Err(Error::SessionExpired)));
    read.await.unwrap();
}

#[test]
fn nothing_is_repeated_in_another_session() {
    for ends_while_disconnected in [false, true] {
        let world = World::new(3);
        let lost = world.lose("exists", 1);
        let session = world.client.session();
        let mut read = world.client.exists(&path("/a"));
        assert!(poll(&mut read).is_pending());
        if ends_while_disconnected {
            world.server.disconnect(&world.bare);
            assert!(poll(&mut read).is_pending());
        }
        world.server.expire(&world.bare);
        assert_ne!(world.client.session().id(), session.id());
        assert_eq!(poll(&mut read), Poll::Ready(Err(Error::SessionExpired)));
        assert_eq!((world.carried_out(), lost.hits()), (1, 1));
    }
}

/// The session ends while something is submitted: it was carried out in another one than was thought.
#[tokio::test]
async fn what_fell_into_another_session_is_neither_repeated_nor_believed() {
    struct Ending {
        server: MemoryServer,
        bare: MemoryClient,
        at: u32,
        submitted: AtomicU32,
    }
    impl Client for Ending {
        fn submit(&self, request: Request) -> Response {
            if self.submitted.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
                self.server.expire(&self.bare);
            }
            self.bare.submit(request)
        }

        fn session(&self) -> herdless_core::Session {
            self.bare.session()
        }
    }
    // The first attempt, which is lost, is told as it is; the second, which is answered, is not.
    for (at, error) in [(1, Error::ConnectionLost), (2, Error::SessionExpired)] {
        let server = MemoryServer::new();
        let bare = server.connect();
        server.lose_reply_after(&bare, 0);
        let ending = Arc::new(Ending { server, bare, at, submitted: AtomicU32::new(0) });
        let client = Retrying::new(ending.clone(), Backoff::new(3).first(Duration::ZERO), Arc::new(ManualTime::new()));
        assert_eq!(client.exists(&path("/a")).await, Err(error));
        assert_eq!(ending.submitted.load(Ordering::Relaxed), at);
    }
}

#[tokio::test]
async fn the_order_of_the_calls_is_kept() {
    let world = World::without_pauses();
    let (a, b) = (path("/a"), path("/b"));
    world.bare.create(&a, "old", CreateMode::Persistent).await.unwrap();
    // A read, and a write behind it: repeated, the read would see what was written after it.
    let lost = world.lose("get_data", 1);
    let (read, write) = (world.client.get(&a), world.client.set(&a, "new", Version::ANY));
    assert_eq!(read.await, Err(Error::ConnectionLost));
    write.await.unwrap();
    assert_eq!(lost.hits(), 1);
    // "Is it ready?", and what is ready then: repeated, the answer to the first would be newer than the second.
    let (lost, hidden) = (world.lose("exists", 1), world.lose("exists", 2));
    let (ready, read) = (world.client.exists(&b), world.client.get(&a));
    world.bare.set(&a, "newer", Version::ANY).await.unwrap();
    world.bare.create(&b, "", CreateMode::Persistent).await.unwrap();
    assert_eq!(ready.await, Err(Error::ConnectionLost));
    assert_eq!(read.await.unwrap().0, "new");
    assert_eq!((lost.hits(), hidden.hits()), (1, 0));
    // The last of several is repeated, also by another clone's count.
    let lost = world.faulty.inject(Rule::lose_reply().kind("get_data").when(|_| true).nth(1));
    let sync = world.client.clone().sync(&a);
    assert_eq!(world.client.clone().get(&a).await.unwrap().0, "newer");
    sync.await.unwrap();
    assert_eq!(lost.hits(), 1);
}

#[tokio::test]
async fn out_of_order_repeats_what_has_something_behind_it() {
    let world = World::without_pauses();
    let a = path("/a");
    world.bare.create(&a, "old", CreateMode::Persistent).await.unwrap();
    let lost = world.lose("get_data", 1);
    let client = world.client.clone().out_of_order();
    let (read, write) = (client.get(&a), client.set(&a, "new", Version::ANY));
    assert_eq!(read.await.unwrap().0, "new", "as its name says");
    write.await.unwrap();
    assert_eq!(lost.hits(), 1);
}

/// Something is submitted by another thread while the repetition is: either may be the first.
#[tokio::test]
async fn a_repetition_that_something_overtook_is_not_believed() {
    struct Overtaking {
        bare: MemoryClient,
        outer: Mutex<Option<Retrying<Arc<Self>>>>,
        submitted: Mutex<Vec<&'static str>>,
    }
    impl Client for Overtaking {
        fn submit(&self, request: Request) -> Response {
            let number = {
                let mut submitted = self.submitted.lock().unwrap();
                submitted.push(request.name());
                submitted.len()
            };
            if number == 2 {
                let outer = self.outer.lock().unwrap().take().unwrap();
                drop(outer.submit(Request::Sync(Sync { path: path("/a") })));
            }
            self.bare.submit(request)
        }

        fn session(&self) -> herdless_core::Session {
            self.bare.session()
        }
    }
    let server = MemoryServer::new();
    let bare = server.connect();
    server.lose_reply_after(&bare, 0);
    let inner = Arc::new(Overtaking { bare, outer: Mutex::new(None), submitted: Mutex::default() });
    let client = Retrying::new(inner.clone(), Backoff::new(3).first(Duration::ZERO), Arc::new(ManualTime::new()));
    *inner.outer.lock().unwrap() = Some(client.clone());
    assert_eq!(client.exists(&path("/a")).await, Err(Error::ConnectionLost));
    assert_eq!(*inner.submitted.lock().unwrap(), ["exists", "exists", "sync"]);
}

#[tokio::test]
async fn a_watch_of_the_repetition_is_the_watch() {
    let world = World::without_pauses();
    let a = path("/a");
    let lost = [world.lose("exists", 1), world.lose("add_watch", 1)];
    let (found, watch) = world.client.exists_and_watch(&a).await.unwrap();
    let mut stream = pin!(world.client.add_watch(&a, AddWatchMode::Persistent).await.unwrap());
    assert_eq!(found, None);
    world.server.connect().create(&a, "", CreateMode::Persistent).await.unwrap();
    assert_eq!(watch.await.unwrap().kind, EventKind::Created);
    let next = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await.unwrap().unwrap();
    assert!(matches!(next, Notice::Event(event) if event.kind == EventKind::Created));
    assert!(lost.iter().all(|lost| lost.hits() == 1));
}

#[test]
fn a_dropped_response_is_not_repeated() {
    let world = World::new(3);
    let lost = world.lose("exists", 1);
    let mut read = world.client.exists(&path("/a"));
    assert!(poll(&mut read).is_pending());
    drop(read);
    assert_eq!(world.time.sleepers(), 0);
    world.time.advance(Duration::from_secs(60));
    assert_eq!((world.carried_out(), lost.hits()), (1, 1));
}

/// At each stage of a repetition.
#[test]
fn an_undo_is_told_of_the_last_attempt() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let read = |world: &World| {
        let told = told.clone();
        world.client.exists(&path("/a")).on_abandon(move |outcome| told.lock().unwrap().push(outcome))
    };
    let take = || std::mem::take(&mut *told.lock().unwrap());

    // Before anybody has asked for the outcome, which is there.
    let world = World::new(3);
    drop(read(&world));
    assert_eq!(take(), [Ok(None)]);
    // .. and is that the reply is lost.
    let lost = world.lose("exists", 1);
    drop(read(&world));
    assert_eq!((take(), lost.hits()), (vec![Err(Error::ConnectionLost)], 1));
    // In the pause.
    let lost = world.lose("exists", 1);
    let mut pausing = read(&world);
    assert!(poll(&mut pausing).is_pending());
    drop(pausing);
    assert_eq!((take(), lost.hits()), (vec![Err(Error::ConnectionLost)], 1));
    // With the repetition under way: when its answer comes.
    let lost = world.lose("exists", 1);
    let mut repeated = read(&world);
    assert!(poll(&mut repeated).is_pending());
    let held = world.faulty.inject(Rule::hold_reply().kind("exists").nth(1));
    world.time.advance(Duration::from_secs(1));
    assert!(poll(&mut repeated).is_pending());
    drop(repeated);
    assert_eq!((take(), lost.hits(), held.hits()), (vec![], 1, 1));
    held.lift();
    assert_eq!(take(), [Ok(None)]);
    // After the end it is not told anything.
    let mut answered = read(&world);
    assert!(poll(&mut answered).is_ready());
    drop(answered);
    assert_eq!(take(), []);
}

#[test]
fn a_closed_client_ends_it() {
    let world = World::new(3);
    let lost = world.lose("exists", 1);
    let mut read = world.client.exists(&path("/a"));
    assert!(poll(&mut read).is_pending());
    let mut close = pin!(world.client.close());
    assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(world.client.session().state(), SessionState::Lost);
    assert_eq!(poll(&mut read), Poll::Ready(Err(Error::SessionExpired)));
    assert_eq!(lost.hits(), 1);
}
