//! The lock over the in-memory backend: what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures::FutureExt;
use herdless_core::{
    Client, ClientExt, CreateMode, Error, MultiOp, NodePath, Refusal, Request, Response, Session, Version,
};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_recipes::Lock;

mod support;

use support::{Counting, poll};

fn path() -> NodePath {
    NodePath::parse("/locks/orders").unwrap()
}

async fn used(server: &MemoryServer) -> (Counting, Lock<Counting>) {
    let client = Counting::new(server);
    let lock = Lock::new(client.clone(), path());
    drop(lock.acquire().await.unwrap());
    client.requests();
    (client, lock)
}

#[tokio::test]
async fn a_free_lock_costs_one_round_trip() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let guard = lock.acquire().await.unwrap();
    // Both leave before either is awaited: one round trip.
    assert_eq!(client.requests(), ["create", "exists"]);
    drop(guard);
    assert_eq!(client.requests(), ["release"]);
}

#[tokio::test]
async fn missing_parents_cost_one_more() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let guard = Lock::new(client.clone(), path()).acquire().await.unwrap();
    let requests = client.requests();
    assert_eq!(requests, ["create", "exists", "create", "create", "create", "exists"]);
    guard.release().await.unwrap();
    server.reap_containers();
    assert_eq!(client.exists(&path()).await.unwrap(), None, "the parents are containers");
}

#[tokio::test]
async fn waiting_costs_two_round_trips_and_a_hand_over_none() {
    let server = MemoryServer::new();
    let (_, holder) = used(&server).await;
    let (client, lock) = used(&server).await;
    let guard = holder.acquire().await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.requests(), ["create", "exists", "get_data"]);
    drop(guard);
    let granted = poll(&mut waiting);
    assert!(granted.is_ready());
    assert_eq!(client.requests(), [] as [&str; 0], "nothing is read");
    assert_eq!(server.wake_ups(), 1);
}

#[tokio::test]
async fn who_had_to_wait_expects_others_until_there_are_none() {
    let server = MemoryServer::new();
    let (_, holder) = used(&server).await;
    let (client, lock) = used(&server).await;
    let guard = holder.acquire().await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    drop(guard);
    drop(waiting.await.unwrap());
    client.requests();

    let guard = holder.acquire().await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.requests(), ["create", "get_data"], "it does not ask whether it is alone");
    drop(guard);
    drop(waiting.await.unwrap());
    client.requests();

    drop(lock.acquire().await.unwrap());
    assert_eq!(client.requests(), ["create", "get_data", "get_children", "release"], "a wrong guess");
    drop(lock.acquire().await.unwrap());
    assert_eq!(client.requests(), ["create", "exists", "release"]);
}

#[tokio::test]
async fn a_taken_lock_costs_try_acquire_one_read() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let guard = lock.acquire().await.unwrap();
    client.requests();
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert_eq!(client.requests(), ["exists"]);
    drop(guard);
    client.requests();
    assert!(lock.try_acquire().await.unwrap().is_some());
    assert_eq!(client.requests(), ["exists", "create", "exists", "release"]);
}

#[tokio::test]
async fn one_leaves_and_one_wakes_however_many_wait() {
    let server = MemoryServer::new();
    let lock = Lock::new(server.connect(), path());
    let mut line = Vec::new();
    for _ in 0..50 {
        let mut waiting = lock.acquire().boxed();
        if let Poll::Ready(guard) = poll(&mut waiting) {
            line.push(async { guard }.boxed());
        } else {
            line.push(waiting);
        }
    }
    let mut last = None;
    for (place, waiting) in line.into_iter().enumerate() {
        assert_eq!(server.wake_ups(), place as u64);
        let guard = waiting.await.unwrap();
        assert!(Some(guard.token()) > last, "in the order of asking");
        last = Some(guard.token());
    }
}

#[tokio::test]
async fn a_foreign_child_does_not_count() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let foreign = path().child("config").unwrap();
    client.create(&foreign, "", CreateMode::Persistent).await.unwrap();
    client.requests();
    let guard = lock.acquire().await.unwrap();
    // It costs a look at the one before by its number, and a list.
    assert_eq!(client.requests(), ["create", "exists", "get_data", "get_children"]);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_contender_with_curators_name_is_waited_for() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let name = path().child("_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-lock-").unwrap();
    let curator = server.connect();
    let theirs = curator.create(&name, "10.0.0.1", CreateMode::EphemeralSequential).await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(lock.holders().await.unwrap()[0].owner, "10.0.0.1");
    curator.delete(&theirs.path, Version::ANY).await.unwrap();
    assert!(waiting.await.unwrap().is_valid());
    drop(client);
}

#[tokio::test]
async fn people_can_read_who_holds_and_who_waits() {
    let server = MemoryServer::new();
    let lock = |owner: &str| Lock::builder(server.connect(), path()).owner(owner).build();
    let (first, second) = (lock("first"), lock("second\nof two"));
    assert_eq!(first.holders().await.unwrap(), []);
    let guard = first.acquire().await.unwrap();
    let ticket = second.enqueue().await.unwrap();
    assert_eq!(ticket.ahead(), 1);
    let holder = first.holders().await.unwrap().remove(0);
    assert_eq!((holder.owner.as_str(), holder.token), ("first", guard.token()));
    assert_eq!(holder.session, guard.session().id());
    let waiters = first.waiters().await.unwrap();
    assert_eq!(waiters.len(), 1);
    assert_eq!((waiters[0].owner.as_str(), waiters[0].token), ("second\nof two", ticket.token()));
    assert_eq!(waiters[0].path, *ticket.path());
}

#[tokio::test]
async fn a_ticket_that_is_dropped_leaves_the_line() {
    let server = MemoryServer::new();
    let lock = Lock::new(server.connect(), path());
    let guard = lock.acquire().await.unwrap();
    let (middle, last) = (lock.enqueue().await.unwrap(), lock.enqueue().await.unwrap());
    let mut last = last.wait().boxed();
    assert!(poll(&mut last).is_pending());
    drop(middle);
    assert!(poll(&mut last).is_pending(), "a waiter that gives up hands nothing over");
    drop(guard);
    assert!(poll(&mut last).is_ready());
}

#[tokio::test]
async fn a_guarded_write_needs_the_very_node_of_the_guard() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let state = NodePath::parse("/state").unwrap();
    client.create(&state, "", CreateMode::Persistent).await.unwrap();
    let guard = lock.acquire().await.unwrap();
    let write = || vec![MultiOp::set(&state, "x", Version::ANY)];
    client.requests();
    guard.multi(write()).await.unwrap();
    guard.multi(write()).await.unwrap();
    assert_eq!(client.requests(), ["get_data", "multi", "multi"]);
    let wrong = guard.multi(vec![MultiOp::check(&state, Version(2)), MultiOp::check(&state, Version(7))]);
    let refused = Error::MultiRefused { index: 1, refusal: Refusal::BadVersion };
    assert_eq!(wrong.await, Err(refused), "the index is the caller's");

    // The same name, made again by somebody else.
    let other = server.connect();
    other.delete(guard.path(), Version::ANY).await.unwrap();
    other.create(guard.path(), "", CreateMode::Ephemeral).await.unwrap();
    assert_eq!(guard.multi(write()).await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(guard.multi(write()).await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(client.get(&state).await.unwrap().1.version, 2, "nothing was written");
    assert_eq!(guard.release().await, Err(Error::Refused(Refusal::NoNode)));
    assert!(other.exists(&lock.contenders().await.unwrap()[0].path).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lost_session_is_told_to_its_guard() {
    let server = MemoryServer::new();
    let client = server.connect();
    let lock = Lock::new(client.clone(), path());
    let guard = lock.acquire().await.unwrap();
    let mut lost = guard.lost();
    assert!(poll(&mut lost).is_pending() && guard.is_valid());
    server.expire(&client);
    assert!(poll(&mut lost).is_ready() && !guard.is_valid());
    assert_eq!(guard.release().await, Err(Error::SessionExpired));
    assert!(lock.acquire().await.unwrap().is_valid(), "the client goes on with a new session");
}

#[tokio::test]
async fn a_place_that_ended_with_its_session_is_not_waited_for() {
    let server = MemoryServer::new();
    let _guard = Lock::new(server.connect(), path()).acquire().await.unwrap();
    let client = server.connect();
    let ticket = Lock::new(client.clone(), path()).enqueue().await.unwrap();
    server.expire(&client);
    // The holder stays: nothing wakes who does not see it by itself.
    let mut waiting = ticket.wait().boxed();
    assert!(matches!(poll(&mut waiting), Poll::Ready(Err(Error::SessionExpired))));
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let server = MemoryServer::new();
    let client = server.connect();
    let lock = Lock::new(client.clone(), path());
    let guard = lock.acquire().await.unwrap();
    let mut waiting = lock.acquire().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.close().await.unwrap();
    assert_eq!(waiting.await.unwrap_err(), Error::Closed);
    assert_eq!(lock.acquire().await.unwrap_err(), Error::Closed);
    assert!(!guard.is_valid());
}

#[tokio::test]
async fn a_removed_place_is_an_error_and_not_a_wait_for_ever() {
    let server = MemoryServer::new();
    let lock = Lock::new(server.connect(), path());
    let guard = lock.acquire().await.unwrap();
    let ticket = lock.enqueue().await.unwrap();
    let own = ticket.path().clone();
    let mut waiting = ticket.wait().boxed();
    assert!(poll(&mut waiting).is_pending());
    let other = server.connect();
    other.delete(&own, Version::ANY).await.unwrap();
    other.delete(guard.path(), Version::ANY).await.unwrap();
    assert_eq!(waiting.await.unwrap_err(), Error::Refused(Refusal::NoNode));
}

/// The reply to its first multi is lost, and what that changes is agreed on with the next write, whatever is read until then.
#[derive(Clone)]
struct Slow {
    client: MemoryClient,
    under_way: Arc<Mutex<Option<Request>>>,
    has_lost: Arc<Mutex<bool>>,
}

impl Client for Slow {
    fn submit(&self, request: Request) -> Response {
        if matches!(request, Request::Multi(_)) {
            if !std::mem::replace(&mut *self.has_lost.lock().unwrap(), true) {
                *self.under_way.lock().unwrap() = Some(request);
                return Response::ready(Err(Error::ConnectionLost));
            }
            if let Some(first) = self.under_way.lock().unwrap().take() {
                drop(self.client.submit(first));
            }
        }
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn who_removes_a_holder_knows_it_though_the_reply_is_lost() {
    let server = MemoryServer::new();
    let guard = Lock::new(server.connect(), path()).acquire().await.unwrap();
    let client = Slow { client: server.connect(), under_way: Arc::default(), has_lost: Arc::default() };
    let broken = Lock::new(client.clone(), path()).break_holder().await.unwrap();
    assert_eq!(broken.map(|holder| holder.token), Some(guard.token()));
    assert!(*client.has_lost.lock().unwrap() && client.under_way.lock().unwrap().is_none());
    assert_eq!(guard.release().await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(server.inspect(|tree| tree.stat(&path()).unwrap().num_children), 0);
}

#[tokio::test]
async fn a_lock_that_nobody_may_make_is_refused() {
    use herdless_core::{Acl, Permissions};
    let server = MemoryServer::new();
    let acl = [Acl { permissions: Permissions::ALL, scheme: "digest".into(), id: "x".into() }];
    let lock = Lock::builder(server.connect(), path()).acl(acl).build();
    assert_eq!(lock.acquire().await.unwrap_err(), Error::Refused(Refusal::InvalidAcl));
}
