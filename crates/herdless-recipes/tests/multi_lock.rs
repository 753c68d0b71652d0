//! Several locks as one, over the in-memory backend: what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use herdless_core::{
    Client, ClientExt, CreateMode, Error, MultiOp, NodePath, Refusal, Request, Response, Session, Version,
};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_recipes::{Layout, Lock, MultiLock};

mod support;

use support::{Counting, poll};

fn paths() -> [NodePath; 3] {
    ["/locks/c", "/locks/a", "/locks/b"].map(|path| NodePath::parse(path).unwrap())
}

/// The locks on the three paths, used before: their directories are there.
async fn used(server: &MemoryServer) -> (Counting, MultiLock<Counting>) {
    let client = Counting::new(server);
    let locks = MultiLock::new(client.clone(), paths()).unwrap();
    drop(locks.acquire().await.unwrap());
    client.requests();
    (client, locks)
}

fn places(server: &MemoryServer) -> usize {
    server.inspect(|tree| tree.paths().filter(|path| path.as_str().contains("lock-")).count())
}

#[tokio::test]
async fn free_locks_cost_one_round_trip_each_and_are_taken_in_the_order_of_their_paths() {
    let server = MemoryServer::new();
    let (client, locks) = used(&server).await;
    let before = client.round_trips();
    let guard = locks.acquire().await.unwrap();
    assert_eq!(client.round_trips() - before, 3);
    assert_eq!(client.requests(), ["create", "exists", "create", "exists", "create", "exists"]);
    let order: Vec<_> = guard.tokens().map(|(path, _)| path.to_string()).collect();
    assert_eq!(order, ["/locks/a", "/locks/b", "/locks/c"]);
    assert!(guard.tokens().map(|(_, token)| token).is_sorted());
    assert_eq!(guard.token(&paths()[0]), guard.tokens().last().map(|(_, token)| token));
    assert_eq!(guard.token(&NodePath::root()), None);
    assert_eq!(places(&server), 3);
    guard.release().await.unwrap();
    assert_eq!(client.round_trips() - before, 4, "all leave together");
    assert_eq!(client.requests(), ["release"; 3]);
    assert_eq!(places(&server), 0);
}

#[tokio::test]
async fn a_free_try_costs_three_round_trips() {
    let server = MemoryServer::new();
    let (client, locks) = used(&server).await;
    let before = client.round_trips();
    let guard = locks.try_acquire().await.unwrap().unwrap();
    assert_eq!(client.round_trips() - before, 3);
    let looks = ["exists"; 3];
    assert_eq!(client.requests(), [&looks[..], &["multi", "exists"], &looks].concat());
    assert!(guard.is_valid());
    for (path, token) in guard.tokens() {
        let holder = Lock::new(client.clone(), path).holders().await.unwrap().remove(0);
        assert_eq!((holder.token, holder.session), (token, guard.session().id()));
    }
    client.requests();
    drop(guard);
    assert_eq!(client.requests(), ["release"; 3]);
    assert_eq!(places(&server), 0);
}

/// Its looks at its own node end with these errors, the last one first.
#[derive(Clone)]
struct Unseen {
    client: MemoryClient,
    errors: Arc<Mutex<Vec<Error>>>,
}

impl Client for Unseen {
    fn submit(&self, request: Request) -> Response {
        let own = matches!(&request, Request::Exists(exists) if exists.path.as_str().contains("lock-"));
        match own.then(|| self.errors.lock().unwrap().pop()).flatten() {
            Some(error) => Response::ready(Err(error)),
            None => self.client.submit(request),
        }
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn a_try_that_cannot_look_at_its_own_node_leaves_none() {
    for error in [Error::Overloaded, Error::NotSent, Error::TIMED_OUT] {
        for errors in [vec![error.clone()], vec![error.clone(), Error::ConnectionLost]] {
            let server = MemoryServer::new();
            let client = Unseen { client: server.connect(), errors: Arc::new(Mutex::new(errors)) };
            let locks = MultiLock::new(client.clone(), paths()).unwrap();
            assert_eq!(locks.try_acquire().await.unwrap_err(), error);
            assert_eq!(places(&server), 0, "after {error:?}");
            assert!(locks.try_acquire().await.unwrap().is_some());
        }
    }
}

/// Somebody else removes its first node as soon as it is made.
#[derive(Clone)]
struct Robbed(MemoryClient);

impl Client for Robbed {
    fn submit(&self, request: Request) -> Response {
        if let Request::Exists(own) = &request
            && own.path.as_str().contains("lock-")
        {
            assert!(self.0.delete(&own.path, Version::ANY).now_or_never().is_some_and(|gone| gone.is_ok()));
        }
        self.0.submit(request)
    }

    fn session(&self) -> Session {
        self.0.session()
    }
}

#[tokio::test]
async fn a_try_whose_first_node_is_removed_by_hand_leaves_no_other() {
    let server = MemoryServer::new();
    let locks = MultiLock::new(Robbed(server.connect()), paths()).unwrap();
    assert_eq!(locks.try_acquire().await.unwrap_err(), Error::Refused(Refusal::NoNode));
    assert_eq!(places(&server), 0);
}

#[tokio::test]
async fn a_taken_lock_costs_try_acquire_reads_only() {
    let server = MemoryServer::new();
    let (client, locks) = used(&server).await;
    let taken = Lock::new(server.connect(), paths()[2].clone()).acquire().await.unwrap();
    let before = client.round_trips();
    assert!(locks.try_acquire().await.unwrap().is_none());
    assert_eq!((client.requests(), client.round_trips() - before), (vec!["exists"; 3], 1));
    drop(taken);
    assert!(locks.try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn missing_directories_are_made() {
    let server = MemoryServer::new();
    let locks = MultiLock::new(server.connect(), paths()).unwrap();
    let guard = locks.try_acquire().await.unwrap().unwrap();
    guard.release().await.unwrap();
    for _ in 0..2 {
        server.reap_containers();
    }
    assert_eq!(server.inspect(|tree| tree.paths().count()), 1, "they are containers");
    assert!(locks.acquire().await.unwrap().is_valid());
}

#[tokio::test]
async fn plain_locks_and_other_sets_on_the_same_paths_are_excluded() {
    let server = MemoryServer::new();
    let (_, locks) = used(&server).await;
    let [c, a, b] = paths();
    let plain = Lock::new(server.connect(), b.clone());
    let held = plain.acquire().await.unwrap();
    let mut waiting = locks.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(Lock::new(server.connect(), a.clone()).holders().await.unwrap().len(), 1, "it holds what it has");
    assert!(
        Lock::new(server.connect(), c.clone()).try_acquire().await.unwrap().is_some(),
        "and has not asked for the rest"
    );
    drop(held);
    let guard = waiting.await.unwrap();
    let other = MultiLock::new(server.connect(), [c, b]).unwrap();
    assert!(other.try_acquire().await.unwrap().is_none() && plain.try_acquire().await.unwrap().is_none());
    drop(guard);
    assert!(other.try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn a_dropped_acquire_gives_back_what_it_has() {
    let server = MemoryServer::new();
    let (_, locks) = used(&server).await;
    let held = Lock::new(server.connect(), paths()[2].clone()).acquire().await.unwrap();
    let mut waiting = locks.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(places(&server), 3, "one holds, two are ours");
    drop(waiting);
    assert_eq!(places(&server), 1);
    drop(held);
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn a_session_that_ends_in_between_starts_it_again() {
    let server = MemoryServer::new();
    let (client, locks) = used(&server).await;
    let held = Lock::new(server.connect(), paths()[2].clone()).acquire().await.unwrap();
    let mut waiting = locks.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    server.expire(&client.client);
    assert!(poll(&mut waiting).is_pending());
    drop(held);
    let guard = waiting.await.unwrap();
    assert!(guard.is_valid());
    assert_eq!(guard.session().id(), client.session().id());
    assert_eq!(places(&server), 3);
    server.expire(&client.client);
    assert!(poll(&mut guard.lost()).is_ready() && !guard.is_valid());
    assert_eq!(guard.release().await, Err(Error::SessionExpired));
}

#[tokio::test]
async fn a_path_that_is_named_twice_counts_once_and_none_is_invalid() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let [c, a, _] = paths();
    let locks = MultiLock::new(client.clone(), [c.clone(), a.clone(), c.clone()]).unwrap();
    assert_eq!(locks.paths().collect::<Vec<_>>(), [&a, &c]);
    assert_eq!(locks.acquire().await.unwrap().tokens().count(), 2);
    client.requests();
    assert_eq!(MultiLock::new(client.clone(), []).unwrap_err(), Error::invalid("a lock on nothing"));
    assert_eq!(client.requests(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_guarded_write_needs_every_lock() {
    let server = MemoryServer::new();
    let (client, locks) = used(&server).await;
    let state = NodePath::parse("/state").unwrap();
    client.create(&state, "", CreateMode::Persistent).await.unwrap();
    let guard = locks.acquire().await.unwrap();
    let write = || vec![MultiOp::set(&state, "x", Version::ANY)];
    client.requests();
    let before = client.round_trips();
    assert_eq!(guard.multi(write()).await.unwrap().len(), 1);
    assert_eq!(client.round_trips() - before, 2, "the reads leave together");
    guard.multi(write()).await.unwrap();
    assert_eq!(client.round_trips() - before, 3);
    assert_eq!(client.requests(), ["get_data", "get_data", "get_data", "multi", "multi"]);
    let wrong = guard.multi(vec![MultiOp::check(&state, Version(2)), MultiOp::check(&state, Version(7))]);
    assert_eq!(wrong.await, Err(Error::MultiRefused { index: 1, refusal: Refusal::BadVersion }));
    let last = Lock::new(server.connect(), paths()[0].clone()).holders().await.unwrap().remove(0);
    server.connect().delete(&last.path, Version::ANY).await.unwrap();
    assert_eq!(guard.multi(write()).await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(client.get(&state).await.unwrap().1.version, 2, "nothing was written");
    assert_eq!(guard.release().await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(places(&server), 0, "the others are released");
}

#[tokio::test]
async fn options_are_those_of_each_lock() {
    let server = MemoryServer::new();
    let locks = MultiLock::builder(server.connect(), paths()).owner("mover").layout(Layout::Kazoo).build().unwrap();
    let guard = locks.acquire().await.unwrap();
    let kazoo = Lock::builder(server.connect(), paths()[0].clone()).layout(Layout::Kazoo).build();
    let holder = kazoo.holders().await.unwrap().remove(0);
    assert_eq!((holder.owner.as_str(), Some(holder.token)), ("mover", guard.token(&paths()[0])));
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let server = MemoryServer::new();
    let (client, locks) = used(&server).await;
    client.close().await.unwrap();
    assert_eq!(locks.acquire().await.unwrap_err(), Error::Closed);
    assert_eq!(locks.try_acquire().await.unwrap_err(), Error::Closed);
}
