//! The queue over the in-memory backend: what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use herdless_core::{Client, ClientExt, CreateMode, Error, NodePath, Refusal, Request, Response, Session, Version};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_recipes::{Consumer, PriorityQueue, Queue};

/// Notes the name of every request, and lists of the items' directories by the name `list_of_items`.
#[derive(Clone)]
struct Counting {
    client: MemoryClient,
    log: Arc<Mutex<Vec<&'static str>>>,
}

impl Counting {
    fn new(server: &MemoryServer) -> Self {
        Self { client: server.connect(), log: Arc::default() }
    }

    fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Client for Counting {
    fn submit(&self, request: Request) -> Response {
        let name = match &request {
            Request::GetChildren(list) if list.path.name().starts_with("items") => "list_of_items",
            request => request.name(),
        };
        self.log.lock().unwrap().push(name);
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A queue whose directories are there.
async fn used(server: &MemoryServer) -> (Counting, Queue<Counting>) {
    let client = Counting::new(server);
    let queue = Queue::new(client.clone(), path("/jobs"));
    queue.put("warm").await.unwrap();
    queue.consumer().build().take().await.unwrap().ack().await.unwrap();
    client.requests();
    (client, queue)
}

async fn take<C: Client + Clone + 'static>(consumer: &mut Consumer<C>) -> String {
    let delivery = consumer.take().await.unwrap();
    let text = String::from_utf8(delivery.data().to_vec()).unwrap();
    delivery.ack().await.unwrap();
    text
}

/// What is left below the queue, directories and dead letters aside.
fn leftovers(server: &MemoryServer) -> Vec<String> {
    server.inspect(|tree| {
        let below = tree.paths().filter_map(|path| path.as_str().strip_prefix("/jobs/"));
        below.filter(|path| path.contains('/') && !path.starts_with("dead")).map(str::to_owned).collect()
    })
}

#[tokio::test]
async fn a_put_costs_one_request() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    let (first, second) = (queue.put("a"), queue.put("b"));
    assert_eq!(client.requests(), ["create", "create"], "both are on their way");
    second.await.unwrap();
    first.await.unwrap();
    assert_eq!(queue.len().await.unwrap(), 2);
    assert_eq!(queue.peek().await.unwrap().unwrap(), "a", "in the order of the calls");
}

#[tokio::test]
async fn the_first_put_makes_the_directories_in_the_same_round_trip() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let queue = Queue::new(client.clone(), path("/a/jobs"));
    let put = queue.put("x");
    let sent = client.requests();
    assert_eq!(sent, ["create"; 9], "two levels, six directories, the item");
    put.await.unwrap();
    assert_eq!(client.requests(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_claim_costs_three_round_trips_and_an_ack_one() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    let items = (0..100).map(|number| number.to_string());
    queue.put_all(items).await.unwrap();
    assert_eq!(client.requests(), ["multi"], "a hundred in one transaction");
    let mut consumer = queue.consumer().prefetch(100).build();
    let first = consumer.take().await.unwrap();
    let sent = client.requests();
    // The place in line, and everything that its holder has to know; the items; the claim. Each group leaves together.
    assert_eq!(sent[..5], ["create", "exists", "get_data", "get_children", "get_children"]);
    assert_eq!(sent[5..105], ["get_data"; 100]);
    assert_eq!(sent[105..], ["multi"]);
    let mut deliveries = vec![first];
    for _ in 1..100 {
        deliveries.push(consumer.take().await.unwrap());
    }
    assert_eq!(client.requests(), [] as [&str; 0], "the others are handed out from memory");
    let acks: Vec<_> = deliveries.into_iter().map(|delivery| delivery.ack()).collect();
    assert_eq!(client.requests(), ["multi"; 100], "all are on their way");
    for ack in acks {
        ack.await.unwrap();
    }
    assert_eq!(client.requests(), [] as [&str; 0]);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn one_put_wakes_one_of_fifty() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    let mut consumers: Vec<_> = (0..50).map(|_| queue.consumer().build()).collect();
    let mut waiting: Vec<_> = consumers.iter_mut().map(|consumer| consumer.take().boxed()).collect();
    for take in &mut waiting {
        assert!(poll(take).is_pending());
    }
    let before = server.wake_ups();
    queue.put("x").await.unwrap();
    assert_eq!(server.wake_ups() - before, 1);
    let delivery = waiting.remove(0).await.unwrap();
    assert_eq!(delivery.data(), "x");
    assert_eq!(server.wake_ups() - before, 2, "the next one is the first in line now");
}

#[tokio::test]
async fn the_items_are_never_listed() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    let bounded = Queue::builder(client.clone(), path("/jobs")).capacity(10).build();
    queue.put_all(["a", "b", "c"]).await.unwrap();
    queue.put_once("id", "d").await.unwrap();
    bounded.put("e").await.unwrap();
    assert!(bounded.try_put("f").await.unwrap());
    queue.peek().await.unwrap();
    queue.len().await.unwrap();
    let mut consumer = queue.consumer().build();
    consumer.take().await.unwrap().nack().await.unwrap();
    for expected in ["a", "b", "c", "d", "e"] {
        assert_eq!(take(&mut consumer).await, expected);
    }
    assert_eq!(queue.at_most_once(4).take().await.unwrap().data, "f");
    assert!(poll(&mut consumer.take().boxed()).is_pending());
    assert!(!client.requests().contains(&"list_of_items"));
}

#[tokio::test]
async fn an_item_that_is_given_back_keeps_its_attempts() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    queue.put_all(["a", "b"]).await.unwrap();
    let mut consumer = queue.consumer().prefetch(2).build();
    let (first, second) = (consumer.take().await.unwrap(), consumer.take().await.unwrap());
    let number = first.number();
    first.nack().await.unwrap();
    let again = consumer.take().await.unwrap();
    assert_eq!((again.data(), again.number(), again.attempts()), (&"a".into(), number, 2));
    drop(again);
    let again = consumer.take().await.unwrap();
    assert_eq!(again.attempts(), 3, "a dropped one comes back, too");
    again.ack().await.unwrap();
    second.ack().await.unwrap();
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_dropped_consumer_gives_back_what_it_has_not_handed_out() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    queue.put_all(["a", "b", "c"]).await.unwrap();
    let mut consumer = queue.consumer().prefetch(3).build();
    let first = consumer.take().await.unwrap();
    drop(consumer);
    let mut other = queue.consumer().prefetch(3).build();
    let second = other.take().await.unwrap();
    assert_eq!((second.data(), second.attempts()), (&"b".into(), 1), "that was no attempt");
    first.ack().await.unwrap();
    second.ack().await.unwrap();
    assert_eq!(take(&mut other).await, "c");
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn the_items_of_a_dead_consumer_come_back() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    queue.put_all(["a", "b", "c"]).await.unwrap();
    let dying = server.connect();
    let mut consumer = Queue::new(dying.clone(), path("/jobs")).consumer().prefetch(3).build();
    consumer.take().await.unwrap().ack().await.unwrap();
    let paused = consumer.take().await.unwrap();
    let mut other = queue.consumer().prefetch(3).build();
    let mut waiting = other.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    server.expire(&dying);
    let again = waiting.await.unwrap();
    assert_eq!((again.data(), again.attempts()), (&"b".into(), 2));
    assert!(!paused.is_valid());
    assert_eq!(paused.ack().await, Err(Error::SessionExpired));
    again.ack().await.unwrap();
    assert_eq!(take(&mut other).await, "c");
    // What it had claimed and not handed out is not its own any more either.
    assert!(poll(&mut consumer.take().boxed()).is_pending());
    drop(consumer);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn an_item_of_too_many_attempts_is_a_dead_letter() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    assert!(queue.put_once("id", "poison").await.unwrap());
    queue.put("good").await.unwrap();
    let mut consumer = queue.consumer().max_attempts(2).build();
    consumer.take().await.unwrap().nack().await.unwrap();
    consumer.take().await.unwrap().nack().await.unwrap();
    assert_eq!(take(&mut consumer).await, "good");
    let letters = queue.dead_letters().await.unwrap();
    assert_eq!((letters[0].data.as_ref(), letters[0].id.as_deref()), (&b"poison"[..], Some("id")));
    assert!(!queue.put_once("id", "again").await.unwrap(), "a dead letter keeps its id");
    assert!(queue.requeue(&letters[0]).await.unwrap());
    assert!(!queue.requeue(&letters[0]).await.unwrap());
    let delivery = consumer.take().await.unwrap();
    assert_eq!((delivery.id(), delivery.attempts()), (Some("id"), 1));
    delivery.ack().await.unwrap();
    assert!(queue.put_once("id", "poison").await.unwrap(), "an acknowledged item frees its id");
    drop(consumer.take().await.unwrap());
    drop(consumer.take().await.unwrap());
    assert!(poll(&mut consumer.take().boxed()).is_pending());
    let letters = queue.dead_letters().await.unwrap();
    assert!(queue.discard(&letters[0]).await.unwrap());
    assert!(!queue.discard(&letters[0]).await.unwrap());
    assert!(queue.put_once("id", "x").await.unwrap(), "and so does a discarded one");
}

#[tokio::test]
async fn what_is_no_item_is_put_aside() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    let foreign = path("/jobs/items/item-");
    for garbage in ["garbage", ""] {
        client.create(&foreign, garbage, CreateMode::PersistentSequential).await.unwrap();
    }
    client.create(&path("/jobs/items/config"), "", CreateMode::Persistent).await.unwrap();
    client.create(&path("/jobs/batches/000-x"), "garbage", CreateMode::Persistent).await.unwrap();
    client.create(&path("/jobs/batches/x"), "", CreateMode::Persistent).await.unwrap();
    queue.put("good").await.unwrap();
    let mut consumer = queue.consumer().prefetch(10).build();
    assert_eq!(take(&mut consumer).await, "good");
    assert!(poll(&mut consumer.take().boxed()).is_pending());
    client.create(&foreign, "more", CreateMode::PersistentSequential).await.unwrap();
    queue.put("once").await.unwrap();
    assert_eq!(queue.at_most_once(10).take().await.unwrap().data, "once");
    let letters: Vec<_> = queue.dead_letters().await.unwrap().into_iter().map(|letter| letter.data).collect();
    assert_eq!(letters, ["garbage", "", "more"]);
}

#[tokio::test]
async fn a_cursor_that_is_none_is_an_error() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    let items = path("/jobs/items");
    client.set(&items, "garbage", Version::ANY).await.unwrap();
    let error = queue.consumer().build().take().await.unwrap_err();
    assert_eq!(error, Error::Malformed { path: items, expected: "the number of an item" });
    assert!(matches!(queue.peek().await, Err(Error::Malformed { .. })));
    assert_eq!(leftovers(&server), [] as [&str; 0], "it has left the line");
}

#[tokio::test]
async fn numbers_whose_items_are_gone_are_passed_over() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    queue.put_all(["a", "b", "c"]).await.unwrap();
    client.delete(&path("/jobs/items/item-0000000001"), Version::ANY).await.unwrap();
    client.delete(&path("/jobs/items/item-0000000002"), Version::ANY).await.unwrap();
    assert_eq!(queue.peek().await.unwrap().unwrap(), "c");
    assert_eq!(take(&mut queue.consumer().build()).await, "c");
    assert_eq!(queue.peek().await.unwrap(), None);
}

#[tokio::test]
async fn an_item_that_somebody_removed_is_told_by_its_ack() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    queue.put_all(["a", "b"]).await.unwrap();
    let mut consumer = queue.consumer().prefetch(2).build();
    let (first, second) = (consumer.take().await.unwrap(), consumer.take().await.unwrap());
    client.delete(&path("/jobs/items/item-0000000001"), Version::ANY).await.unwrap();
    let (first, second) = (first.ack(), second.ack());
    assert_eq!(first.await, Err(Error::Refused(Refusal::NoNode)));
    second.await.unwrap();
    assert!(poll(&mut consumer.take().boxed()).is_pending());
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_marker_that_somebody_removed_keeps_nobody() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    for id in ["a", "b", "c"] {
        queue.put_once(id, id).await.unwrap();
        client.delete(&path("/jobs/ids").child(id).unwrap(), Version::ANY).await.unwrap();
    }
    assert_eq!(take(&mut queue.consumer().build()).await, "a");
    let mut consumer = queue.at_most_once(2);
    assert_eq!(consumer.take().await.unwrap().data, "b");
    assert_eq!(consumer.take().await.unwrap().data, "c");
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn at_most_once_removes_items_in_the_change_that_takes_them() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    queue.put_all(["a", "b"]).await.unwrap();
    queue.put_once("id", "c").await.unwrap();
    client.requests();
    let mut consumer = queue.at_most_once(3);
    let first = consumer.take().await.unwrap();
    assert_eq!((first.data.as_ref(), first.id, first.number), (&b"a"[..], None, 1));
    let sent = client.requests();
    assert_eq!(sent[5..], ["get_data", "get_data", "get_data", "multi"]);
    assert!(queue.is_empty().await.unwrap());
    assert_eq!(consumer.take().await.unwrap().data, "b");
    assert_eq!(consumer.take().await.unwrap().id.as_deref(), Some("id"));
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

/// Its session ends with each transaction, once it was asked for: before it is carried out, or before its answer.
#[derive(Clone)]
struct Unlucky {
    client: MemoryClient,
    server: MemoryServer,
    is_carried_out: bool,
}

impl Client for Unlucky {
    fn submit(&self, request: Request) -> Response {
        if !matches!(request, Request::Multi(_)) {
            return self.client.submit(request);
        }
        let carried_out = self.is_carried_out.then(|| self.client.submit(request.clone()));
        self.server.expire(&self.client);
        match carried_out {
            Some(response) => response.map(|_| Err(Error::SessionExpired)),
            None => self.client.submit(request),
        }
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn a_put_whose_session_has_just_ended_leaves_no_receipt() {
    // It is put in the next session, or known by its item.
    for is_carried_out in [false, true] {
        let server = MemoryServer::new();
        Queue::new(server.connect(), path("/q")).put_all(Vec::<&str>::new()).await.unwrap();
        let client = Unlucky { client: server.connect(), server: server.clone(), is_carried_out };
        assert_eq!(Queue::new(client, path("/q")).put_once("id", "a").await, Ok(true));
        let receipts = NodePath::parse("/q/receipts").unwrap();
        assert_eq!(server.connect().children(&receipts).await.unwrap().0, Vec::<String>::new());
        assert_eq!(Queue::new(server.connect(), path("/q")).len().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_id_is_put_once_until_it_is_done() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    assert!(queue.put_once("order-7", "a").await.unwrap());
    assert_eq!(client.requests(), ["multi", "release"], "one round trip; the receipt goes unseen");
    assert!(!queue.put_once("order-7", "b").await.unwrap());
    let delivery = queue.consumer().build().take().await.unwrap();
    assert!(!queue.put_once("order-7", "b").await.unwrap(), "it is being worked on");
    delivery.ack().await.unwrap();
    assert!(queue.put_once("order-7", "b").await.unwrap());
    for bad in ["", "a/b", ".", "\0"] {
        assert!(matches!(queue.put_once(bad, "x").await, Err(Error::Invalid(_))), "{bad:?}");
    }
    assert!(matches!(queue.put_once(&"x".repeat(256), "x").await, Err(Error::Invalid(_))));
    assert_eq!(queue.len().await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_too_large_is_not_put() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    let refused = Err(Error::TooLarge { what: "request", length: 1_000_001, limit: 1_000_000 });
    assert_eq!(queue.put(vec![0; 1_000_001]).await, refused);
    assert_eq!(queue.put_all([vec![0; 1], vec![0; 1_000_001]]).await, refused);
    assert!(queue.is_empty().await.unwrap());
    queue.put(vec![0; 1_000_000]).await.unwrap();
}

#[tokio::test]
async fn put_all_keeps_transactions_small() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    queue.put_all(vec![vec![7; 100 * 1024]; 5]).await.unwrap();
    assert_eq!(client.requests(), ["multi"; 3], "at most 256 KiB each");
    queue.put_all(vec!["x"; 2000]).await.unwrap();
    assert!(client.requests().len() > 1, "nor too many operations");
    queue.put_all(Vec::<&str>::new()).await.unwrap();
    assert_eq!(client.requests(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_claim_is_bounded_by_bytes() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    for _ in 0..4 {
        queue.put(vec![7; 400_000]).await.unwrap();
    }
    let mut consumer = queue.consumer().prefetch(4).build();
    let _first = consumer.take().await.unwrap();
    let other = queue.consumer().build().take().await.unwrap();
    assert_eq!(other.number(), 3, "two of them are 1 MiB at most");
}

#[tokio::test]
async fn a_full_queue_refuses_or_lets_wait() {
    let server = MemoryServer::new();
    let (client, unbounded) = used(&server).await;
    let queue = Queue::builder(client.clone(), path("/jobs")).capacity(2).build();
    queue.put("a").await.unwrap();
    assert!(queue.put_once("id", "b").await.unwrap());
    assert!(!queue.try_put("c").await.unwrap());
    client.requests();
    assert!(!queue.try_put("c").await.unwrap());
    assert_eq!(client.requests(), ["exists", "exists"], "no write");
    let (mut third, mut fourth) = (queue.put("c").boxed(), queue.put("d").boxed());
    assert!(poll(&mut third).is_pending() && poll(&mut fourth).is_pending());
    let mut consumer = unbounded.consumer().build();
    let delivery = consumer.take().await.unwrap();
    assert!(poll(&mut third).is_pending(), "what is claimed counts");
    delivery.ack().await.unwrap();
    assert!(!queue.try_put("x").await.unwrap(), "it does not overtake who waits");
    assert!(poll(&mut third).is_ready());
    assert!(poll(&mut fourth).is_pending());
    assert_eq!(unbounded.at_most_once(1).take().await.unwrap().data, "b");
    assert!(poll(&mut fourth).is_ready(), "a removal makes room, too");
    assert_eq!(queue.len().await.unwrap(), 2);
    assert!(queue.put_once("id", "b").now_or_never().is_none(), "full again");
    assert_eq!(take(&mut consumer).await, "c");
    assert_eq!(take(&mut consumer).await, "d");
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_producer_that_gives_up_leaves_the_line() {
    let server = MemoryServer::new();
    let (client, unbounded) = used(&server).await;
    let queue = Queue::builder(client, path("/jobs")).capacity(1).build();
    queue.put("a").await.unwrap();
    let (mut second, mut third) = (queue.put("b").boxed(), queue.put("c").boxed());
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    drop(second);
    assert!(poll(&mut third).is_pending());
    assert_eq!(take(&mut unbounded.consumer().build()).await, "a");
    third.await.unwrap();
    assert_eq!(queue.peek().await.unwrap().unwrap(), "c");
}

#[tokio::test]
async fn a_take_that_is_given_up_leaves_the_line() {
    let server = MemoryServer::new();
    let (_, queue) = used(&server).await;
    let (mut first, mut second) = (queue.consumer().build(), queue.consumer().build());
    let mut waiting = first.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    let mut behind = second.take().boxed();
    assert!(poll(&mut behind).is_pending());
    drop(waiting);
    assert!(poll(&mut behind).is_pending());
    queue.put("x").await.unwrap();
    assert_eq!(behind.await.unwrap().data(), "x");
}

#[tokio::test]
async fn a_queue_that_is_removed_is_an_error_for_who_waits() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    let mut consumer = queue.consumer().build();
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    let children = client.children(&path("/jobs/takers")).await.unwrap().0;
    client.delete(&path("/jobs/takers").child(&children[0]).unwrap(), Version::ANY).await.unwrap();
    for name in ["takers", "items", "batches", "claims", "dead", "ids", "receipts"] {
        client.delete(&path("/jobs").child(name).unwrap(), Version::ANY).await.unwrap();
    }
    client.delete(&path("/jobs"), Version::ANY).await.unwrap();
    // It is made again, and the wait goes on in the new one.
    assert!(poll(&mut waiting).is_pending());
    queue.put("x").await.unwrap();
    assert_eq!(waiting.await.unwrap().data(), "x");
}

#[tokio::test]
async fn a_put_makes_a_queue_that_was_removed_again() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    client.delete(&path("/jobs/items"), Version::ANY).await.unwrap();
    queue.put("x").await.unwrap();
    assert!(queue.put_once("id", "y").await.unwrap());
    assert_eq!(queue.len().await.unwrap(), 2);
}

#[tokio::test]
async fn many_put_make_a_queue_that_was_removed_again() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    client.delete(&path("/jobs/items"), Version::ANY).await.unwrap();
    queue.put_all(["x", "y"]).await.unwrap();
    queue.at_most_once(2).take().await.unwrap();
    client.delete(&path("/jobs/items"), Version::ANY).await.unwrap();
    assert!(queue.try_put("z").await.unwrap());
    assert_eq!(queue.len().await.unwrap(), 1);
}

#[tokio::test]
async fn why_its_directories_cannot_be_made_is_told() {
    let server = MemoryServer::new();
    let client = server.connect();
    client.create(&path("/mine"), "", CreateMode::Ephemeral).await.unwrap();
    let queue = Queue::new(client, path("/mine/jobs"));
    let why = Error::Refused(Refusal::NoChildrenForEphemerals);
    assert_eq!(queue.put("x").await, Err(why.clone()));
    assert_eq!(queue.put_once("id", "x").await, Err(why.clone()));
    assert_eq!(queue.put_all(["x"]).await, Err(why.clone()));
    assert_eq!(queue.try_put("x").await, Err(why.clone()));
    assert_eq!(queue.consumer().build().take().await.map(drop), Err(why));
}

/// Loses the first three creations of each directory on their way to the server.
#[derive(Clone)]
struct Losing {
    client: MemoryClient,
    lost: Arc<Mutex<BTreeMap<NodePath, u32>>>,
}

impl Client for Losing {
    fn submit(&self, request: Request) -> Response {
        if let Request::Create(create) = &request
            && create.mode == CreateMode::Persistent
        {
            let mut lost = self.lost.lock().unwrap();
            let lost = lost.entry(create.path.clone()).or_default();
            if *lost < 3 {
                *lost += 1;
                return Response::ready(Err(Error::ConnectionLost));
            }
        }
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[tokio::test]
async fn directories_whose_making_is_lost_are_made_however_often() {
    let server = MemoryServer::new();
    let client = Losing { client: server.connect(), lost: Arc::default() };
    let queue = |name| Queue::new(client.clone(), path("/a/b").child(name).unwrap());
    assert!(queue("once").put_once("id", "x").await.unwrap());
    queue("one").put("x").await.unwrap();
    queue("many").put_all(["x"]).await.unwrap();
    let taken = queue("taken");
    let mut consumer = taken.consumer().build();
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    taken.put("x").await.unwrap();
    assert_eq!(waiting.await.unwrap().data(), "x");
}

#[tokio::test]
async fn a_lost_reply_to_put_is_told_and_to_put_once_found_out() {
    let server = MemoryServer::new();
    let client = server.connect();
    let queue = Queue::new(client.clone(), path("/jobs"));
    queue.put("warm").await.unwrap();
    server.lose_reply_after(&client, 0);
    assert_eq!(queue.put("a").await, Err(Error::ConnectionLost));
    server.lose_reply_after(&client, 0);
    assert!(queue.put_once("id", "b").await.unwrap());
    assert_eq!(queue.len().await.unwrap(), 3);
    server.inspect(|tree| assert!(!tree.paths().any(|path| path.as_str().contains("receipts/"))));
}

#[tokio::test]
async fn a_closed_client_says_so() {
    let server = MemoryServer::new();
    let client = server.connect();
    let queue = Queue::new(client.clone(), path("/jobs"));
    let mut consumer = queue.consumer().build();
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.close().await.unwrap();
    assert_eq!(waiting.await.unwrap_err(), Error::Closed);
    assert_eq!(queue.put("x").await, Err(Error::Closed));
    assert_eq!(queue.len().await, Err(Error::Closed));
}

#[tokio::test]
async fn two_hundred_thousand_items() {
    let server = MemoryServer::new();
    let (client, queue) = used(&server).await;
    queue.put_all((0..200_000_u32).map(|number| number.to_be_bytes().to_vec())).await.unwrap();
    assert_eq!(queue.len().await.unwrap(), 200_000);
    client.requests();
    let mut consumer = queue.consumer().prefetch(500).build();
    let mut sent = 0;
    for number in 0..200_000_u32 {
        let delivery = consumer.take().await.unwrap();
        assert_eq!(delivery.data().as_ref(), number.to_be_bytes());
        delivery.ack().await.unwrap();
        sent += client.requests().len();
    }
    assert!(queue.is_empty().await.unwrap());
    assert!(sent < 2 * 200_000 + 10_000, "{sent} requests: a read and an acknowledgement each, and little else");
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn the_more_urgent_items_come_first() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let queue = PriorityQueue::new(client.clone(), path("/jobs"), 3).unwrap();
    for (priority, data) in [(2, "e"), (1, "c"), (0, "a"), (1, "d"), (0, "b")] {
        queue.put(priority, data).await.unwrap();
    }
    assert_eq!(queue.peek().await.unwrap().unwrap(), "a");
    let mut consumer = queue.consumer().build();
    assert_eq!(take(&mut consumer).await, "a");
    let second = consumer.take().await.unwrap();
    let third = consumer.take().await.unwrap();
    assert_eq!((second.data(), third.data()), (&"b".into(), &"c".into()));
    third.nack().await.unwrap();
    queue.put(0, "urgent").await.unwrap();
    for expected in ["urgent", "c", "d", "e"] {
        assert_eq!(take(&mut consumer).await, expected, "what came back is first in its priority");
    }
    second.ack().await.unwrap();
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    queue.put(2, "late").await.unwrap();
    waiting.await.unwrap().ack().await.unwrap();
    assert!(!client.requests().contains(&"list_of_items"));
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_priority_that_there_is_not_is_refused() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    assert!(matches!(PriorityQueue::new(client.clone(), path("/jobs"), 0), Err(Error::Invalid(_))));
    let queue = PriorityQueue::new(client.clone(), path("/jobs"), 2).unwrap();
    assert!(matches!(queue.put(2, "x").await, Err(Error::Invalid(_))));
    assert!(matches!(queue.put_once(2, "id", "x").await, Err(Error::Invalid(_))));
    assert!(matches!(queue.try_put(2, "x").await, Err(Error::Invalid(_))));
    assert_eq!(client.requests(), [] as [&str; 0], "nothing is sent");
}

#[tokio::test]
async fn acknowledgements_on_their_way_together_survive_a_lost_reply() {
    for k in 0..16 {
        let server = MemoryServer::new();
        let (_, queue) = used(&server).await;
        queue.put_all(["a", "b", "c"]).await.unwrap();
        let client = server.connect();
        let mut consumer = Queue::new(client.clone(), path("/jobs")).consumer().prefetch(3).build();
        server.lose_reply_after(&client, k);
        let mut acks = Vec::new();
        for expected in ["a", "b", "c"] {
            let delivery = consumer.take().await.unwrap();
            assert_eq!(delivery.data(), expected);
            acks.push(delivery.ack());
        }
        for ack in acks {
            ack.await.unwrap();
        }
        drop(consumer);
        assert!(queue.is_empty().await.unwrap());
        assert_eq!(leftovers(&server), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_producer_that_has_left_with_an_answer_that_was_lost_does_not_leave_again() {
    let mut found = 0;
    for replies in 0..8 {
        let server = MemoryServer::new();
        let (client, _) = used(&server).await;
        let queue = Queue::builder(client.clone(), path("/jobs")).capacity(10).build();
        queue.put("first").await.unwrap();
        client.requests();
        server.lose_reply_after(&client.client, replies);
        queue.put("a").await.unwrap();
        let requests = client.requests();
        // The put, and one that waits for it to be over.
        if requests.iter().filter(|name| **name == "multi").count() == 2 {
            found += 1;
            assert!(!requests.contains(&"release"), "{replies}: {requests:?}");
        }
    }
    assert_eq!(found, 1);
}
