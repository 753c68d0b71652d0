//! All wrappers on top of each other, in any order.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use herdless_core::{Chroot, Client, ClientExt, CreateMode, Error, NodePath, Reply, Version};
use herdless_memory::{ManualTime, MemoryClient, MemoryServer};
use herdless_recipes::Lock;
use herdless_wrappers::{Backoff, Entry, Faulty, History, Metered, Recorder, Retrying, Rule};

type Stack = Metered<Retrying<Faulty<Recorder<Chroot<MemoryClient>>>>>;

/// Wrappers around a client, in some order.
type Wrap = fn(Arc<dyn Client>, &History) -> Arc<dyn Client>;

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

fn retrying<C: Client + 'static>(client: C) -> Retrying<C> {
    Retrying::new(client, Backoff::new(3).first(Duration::ZERO), Arc::new(ManualTime::new()))
}

fn metered<C: Client>(client: C) -> Metered<C> {
    Metered::new(client, "stack", Arc::new(ManualTime::new()))
}

async fn server() -> MemoryServer {
    let server = MemoryServer::new();
    server.connect().create(&path("/app"), "", CreateMode::Persistent).await.unwrap();
    server
}

#[tokio::test]
async fn every_wrapper_does_its_part() {
    let (server, history) = (server().await, History::new(100));
    let chroot = Chroot::new(server.connect(), path("/app"));
    let client: Stack = metered(retrying(Faulty::new(history.record(chroot))));
    let faulty = client.inner().inner();
    let lost = [
        faulty.inject(Rule::lose_reply().kind("get_data").nth(1)),
        faulty.inject(Rule::lose_request().kind("get_data").nth(2)),
        faulty.inject(Rule::lose_reply().kind("set_data").nth(1)),
    ];
    client.create(&path("/a"), "x", CreateMode::Persistent).await.unwrap();
    let ((data, _), watch) = client.get_and_watch(&path("/a")).await.unwrap();
    assert_eq!(data, "x");
    assert_eq!(client.set(&path("/a"), "y", Version::ANY).await, Err(Error::ConnectionLost));
    // The path of the event is that of the subtree, through all of them.
    assert_eq!(watch.await.unwrap().path, path("/a"));
    assert!(lost.iter().all(|lost| lost.hits() == 1));
    // The second read was lost before it came to the recorder.
    let requests: Vec<_> = history.drain().map(|entry| entry.to_string()).collect();
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert!(server.inspect(|tree| tree.paths().any(|node| *node == path("/app/a"))));
}

/// The same undo through each order, and through objects.
#[tokio::test]
async fn an_undo_passes_through_any_order() {
    let orders: [Wrap; 4] = [
        |client, history| Arc::new(metered(retrying(Faulty::new(history.record(client))))),
        |client, history| Arc::new(history.record(Faulty::new(retrying(metered(client))))),
        |client, history| Arc::new(retrying(history.record(metered(Faulty::new(client))))),
        |client, history| Arc::new(Faulty::new(metered(history.record(retrying(client))))),
    ];
    for order in orders {
        let server = server().await;
        let bare = server.connect();
        server.delay_replies(&bare);
        let history = History::new(100);
        let client = order(Arc::new(Chroot::new(bare, path("/app"))), &history);
        let told = Arc::new(Mutex::new(Vec::new()));
        for node in ["/a", "/a", "/b"] {
            let (undo, teller) = (client.clone(), told.clone());
            let created = client.create(&path(node), "", CreateMode::Persistent);
            drop(created.on_abandon(move |created| {
                let created = created.map(|created| created.path);
                created.iter().for_each(|path| drop(undo.delete(path, Version::ANY)));
                teller.lock().unwrap().push(created);
            }));
        }
        assert_eq!(*told.lock().unwrap(), [Ok(path("/a")), Ok(path("/a")), Ok(path("/b"))]);
        assert_eq!(server.inspect(|tree| tree.paths().count()), 2, "the root and /app");
        let created = history.drain().filter(|entry| match entry {
            Entry::Invocation(invocation) => {
                matches!(invocation.returned.as_ref().map(|returned| &returned.outcome), Some(Ok(Reply::Created(_))))
            }
            Entry::Overflow(_) => false,
        });
        assert_eq!(created.count(), 3);
    }
}

/// What a recipe is to hold through whatever happens to it: a client that contends, and what came before it in line.
async fn contend(rule: impl Fn() -> Rule) -> u64 {
    let server = server().await;
    let (one, two) = (server.connect(), server.connect());
    let faulty = Faulty::new(Chroot::new(one.clone(), path("/app")));
    let client = metered(retrying(faulty.clone()));
    let fault = faulty.inject(rule());
    let (mine, theirs) = (Lock::new(client, path("/lock")), Lock::new(Chroot::new(two, path("/app")), path("/lock")));
    let nodes = || server.inspect(|tree| tree.paths().filter(|node| node.is_below(&path("/app/lock"))).count());

    // Alone.
    let guard = mine.acquire().await.unwrap();
    assert!(guard.is_valid() && theirs.try_acquire().await.unwrap().is_none());
    let first = guard.token();
    guard.release().await.unwrap();
    assert_eq!(nodes(), 0);
    // Behind somebody.
    let held = theirs.acquire().await.unwrap();
    let mut waiting = Box::pin(mine.acquire());
    assert!(futures::poll!(&mut waiting).is_pending());
    assert!(held.token() > first);
    drop(held);
    let guard = waiting.await.unwrap();
    assert!(guard.is_valid() && theirs.try_acquire().await.unwrap().is_none());
    // Given up while waiting, by another future of the same client.
    let mut given_up = Box::pin(mine.acquire());
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    // Released by dropping it.
    let second = guard.token();
    drop(guard);
    assert_eq!(nodes(), 0);
    let next = theirs.try_acquire().await.unwrap().unwrap();
    assert!(next.token() > second && second > first);
    fault.hits()
}

/// Every request of a lock is lost, one after the other, before and after it has taken effect.
#[tokio::test]
async fn a_lock_holds_whichever_request_is_lost() {
    for (name, fault) in [("before", Rule::lose_request as fn() -> Rule), ("after", Rule::lose_reply)] {
        let mut requests = 0;
        while contend(|| fault().nth(requests + 1)).await == 1 {
            requests += 1;
        }
        println!("{requests} requests, each lost {name} it took effect");
        assert!(requests > 10);
    }
}

/// The same with two in a row.
#[tokio::test]
async fn a_lock_holds_whichever_two_requests_are_lost() {
    for fault in [Rule::lose_request as fn() -> Rule, Rule::lose_reply] {
        let mut requests = 0;
        loop {
            let seen = std::sync::atomic::AtomicU64::new(0);
            let is_one_of_two = move |_: &_| {
                let number = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                (requests..requests + 2).contains(&number)
            };
            let is_one_of_two = Mutex::new(Some(is_one_of_two));
            if contend(|| fault().when(is_one_of_two.lock().unwrap().take().unwrap())).await < 2 {
                break;
            }
            requests += 1;
        }
        assert!(requests > 10);
    }
}
