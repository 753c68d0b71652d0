//! Queues of others over the in-memory backend: what is written, what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use herdless_core::{
    Acl, Bytes, Client, ClientExt, CreateMode, Error, NodePath, Permissions, Refusal, Request, Response, Session,
    Version,
};
use herdless_memory::{MemoryClient, MemoryServer};
use herdless_recipes::ForeignQueueLayout::{self, Curator, CuratorSimple, Kazoo};
use herdless_recipes::{ForeignItem, ForeignQueue};

/// Notes the name of every request, and refuses what it is told to.
#[derive(Clone)]
struct Counting {
    client: MemoryClient,
    log: Arc<Mutex<Vec<&'static str>>>,
    refuse: Arc<Mutex<Option<(&'static str, Error)>>>,
}

impl Counting {
    fn new(server: &MemoryServer) -> Self {
        Self { client: server.connect(), log: Arc::default(), refuse: Arc::default() }
    }

    fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn refuse(&self, name: &'static str, error: Error) {
        *self.refuse.lock().unwrap() = Some((name, error));
    }
}

impl Client for Counting {
    fn submit(&self, request: Request) -> Response {
        self.log.lock().unwrap().push(request.name());
        if let Some((_, error)) = self.refuse.lock().unwrap().take_if(|(name, _)| *name == request.name()) {
            return Response::ready(Err(error));
        }
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

const TOO_LARGE: Error = Error::TooLarge { what: "reply", length: 1_048_600, limit: 1_048_575 };

fn path() -> NodePath {
    NodePath::parse("/queue").unwrap()
}

fn node(name: &str) -> NodePath {
    path().child(name).unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A queue whose directories are there.
async fn queue(server: &MemoryServer, layout: ForeignQueueLayout) -> (Counting, ForeignQueue<Counting>) {
    let client = Counting::new(server);
    let mut queue = ForeignQueue::new(client.clone(), path(), layout);
    queue.put("first of all").await.unwrap();
    queue.take().await.unwrap().unwrap();
    client.requests();
    (client, queue.clone())
}

async fn put(client: &impl Client, name: &str, data: impl Into<Bytes>) {
    client.create(&node(name), data, CreateMode::Persistent).await.unwrap();
}

fn data(item: Option<ForeignItem>) -> Vec<Bytes> {
    item.unwrap().data
}

/// Every path but those that are there in any case.
fn leftovers(server: &MemoryServer) -> Vec<String> {
    let usual = ["/", "/queue", "/queue-receipts"];
    server.inspect(|tree| {
        let paths = tree.paths().map(|path| path.as_str().to_owned());
        paths.filter(|path| !usual.contains(&path.as_str()) && !path.starts_with("/zookeeper")).collect()
    })
}

#[tokio::test]
async fn items_are_named_and_written_as_their_owners_do() {
    for (layout, name, written) in [
        // `SimpleDistributedQueue.offer`.
        (CuratorSimple, "qn-0000000000", &b"hi"[..]),
        // `DistributedQueue.makeItemPath` and `ItemSerializer.serialize`.
        (Curator, "queue-0000000000", &[0, 1, 0, 1, 1, 0, 0, 0, 2, b'h', b'i', 2]),
        // `kazoo.recipe.queue.Queue.put`.
        (Kazoo, "entry-100-0000000000", b"hi"),
    ] {
        let server = MemoryServer::new();
        let mut queue = ForeignQueue::new(server.connect(), path(), layout);
        queue.put("hi").await.unwrap();
        assert_eq!(leftovers(&server), [node(name).as_str()]);
        let (bytes, stat) = server.connect().get(&node(name)).await.unwrap();
        assert_eq!((&*bytes, stat.ephemeral_owner), (written, 0));
        let item = queue.take().await.unwrap();
        assert_eq!(item.as_ref().unwrap().path, node(name));
        assert_eq!(data(item), ["hi"]);
        assert_eq!(leftovers(&server), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn several_items_in_one_node_are_taken_together() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, Curator).await;
    queue.put_many(["a".into(), "".into(), "c".into()]).await.unwrap();
    assert_eq!(client.requests(), ["multi", "release"]);
    assert_eq!(data(queue.peek().await.unwrap()), ["a", "", "c"]);
    assert_eq!(data(queue.take().await.unwrap()), ["a", "", "c"]);
    assert!(queue.take().await.unwrap().is_none());
    // As Curator writes a `MultiItem` that has nothing.
    put(&client, "queue-0000000007", &[0, 1, 0, 1, 2][..]).await;
    assert!(data(queue.take().await.unwrap()).is_empty());
}

#[tokio::test]
async fn a_put_costs_one_round_trip() {
    let server = MemoryServer::new();
    let (client, queue) = queue(&server, CuratorSimple).await;
    queue.put("a").await.unwrap();
    // Nobody waits for the receipt to go.
    assert_eq!(client.requests(), ["multi", "release"]);
}

#[tokio::test]
async fn missing_nodes_are_made_once() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let path = NodePath::parse("/apps/orders").unwrap();
    let queue = ForeignQueue::builder(client.clone(), path.clone(), Kazoo)
        .receipts(NodePath::parse("/receipts/orders").unwrap())
        .build();
    queue.put("a").await.unwrap();
    let made = ["multi", "create", "create", "multi", "create", "create", "multi", "release"];
    assert_eq!(client.requests(), made);
    server.reap_containers();
    assert!(client.exists(&NodePath::parse("/receipts/orders").unwrap()).await.unwrap().is_none(), "it is empty");
    assert_eq!(queue.len().await.unwrap(), 1);
    client.requests();
    queue.put("b").await.unwrap();
    assert_eq!(client.requests(), ["multi", "create", "create", "multi", "release"]);
}

#[tokio::test]
async fn a_list_and_reads_are_shared_by_many_takes() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, CuratorSimple).await;
    for number in 0..40 {
        queue.put(number.to_string()).await.unwrap();
    }
    client.requests();
    for number in 0..40 {
        assert_eq!(data(queue.take().await.unwrap()), [number.to_string()]);
    }
    let requests = client.requests();
    let count = |name| requests.iter().filter(|request| **request == name).count();
    assert_eq!((count("get_children"), count("multi"), count("release")), (1, 40, 40));
    // One for each item, and one for the queue's node.
    assert_eq!((count("get_data"), requests.len()), (41, 122));
    // The reads of 16 leave together.
    assert_eq!(requests[..2], ["get_data", "get_children"]);
    assert!(requests[2..18].iter().all(|request| *request == "get_data") && requests[18] == "multi");

    assert!(queue.take().await.unwrap().is_none());
    assert_eq!(client.requests(), ["get_children"], "an empty queue costs a read");
}

#[tokio::test]
async fn peek_and_len_leave_the_queue_as_it_is() {
    let server = MemoryServer::new();
    let (client, queue) = queue(&server, Kazoo).await;
    assert_eq!((queue.peek().await.unwrap(), queue.len().await.unwrap()), (None, 0));
    queue.put("a").await.unwrap();
    client.requests();
    assert_eq!(data(queue.peek().await.unwrap()), ["a"]);
    assert_eq!(client.requests(), ["get_children", "get_data"]);
    assert_eq!(queue.len().await.unwrap(), 1);
    assert_eq!(client.requests(), ["exists"]);
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_empty() {
    let server = MemoryServer::new();
    let mut queue = ForeignQueue::new(server.connect(), path(), CuratorSimple);
    assert_eq!((queue.take().await.unwrap(), queue.peek().await.unwrap()), (None, None));
    assert_eq!(queue.len().await.unwrap(), 0);
    assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
}

#[tokio::test]
async fn kazoos_priorities_come_first() {
    let server = MemoryServer::new();
    let (_, mut queue) = queue(&server, Kazoo).await;
    queue.put("usual").await.unwrap();
    queue.put_with_priority("late", 999).await.unwrap();
    queue.put_with_priority("early", 0).await.unwrap();
    for (expected, priority) in [("early", 0), ("usual", 100), ("late", 999)] {
        let item = queue.take().await.unwrap().unwrap();
        assert_eq!((item.priority, item.data), (Some(priority), vec![expected.into()]));
    }
}

#[tokio::test]
async fn numbers_that_ran_over_come_last() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, CuratorSimple).await;
    for name in ["qn--2147483647", "qn--2147483648", "qn-2147483647", "qn-2147483646"] {
        put(&client, name, name).await;
    }
    for expected in ["qn-2147483646", "qn-2147483647", "qn--2147483648", "qn--2147483647"] {
        assert_eq!(data(queue.take().await.unwrap()), [expected]);
    }
}

#[tokio::test]
async fn foreign_children_are_not_items() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, Curator).await;
    for name in ["config", "queue-12", "queue-|id|0000000001", "queue-1000000640000000012", "qn-0000000001"] {
        put(&client, name, "").await;
    }
    client.requests();
    assert!(queue.take().await.unwrap().is_none());
    assert!(queue.peek().await.unwrap().is_none());
    assert_eq!(leftovers(&server).len(), 5, "they are not touched");
}

#[tokio::test]
async fn a_malformed_item_stays_first_until_it_is_skipped() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, Curator).await;
    put(&client, "queue-0000000001", "raw").await;
    queue.put("good").await.unwrap();
    let malformed = node("queue-0000000001");
    for _ in 0..2 {
        let Err(Error::Malformed { path, .. }) = queue.take().await else { panic!("it is no item") };
        assert_eq!(path, malformed);
    }
    assert!(matches!(queue.peek().await, Err(Error::Malformed { .. })));
    queue.skip(&malformed);
    assert_eq!(data(queue.take().await.unwrap()), ["good"]);
    assert!(queue.take().await.unwrap().is_none());
    assert_eq!(leftovers(&server), [malformed.as_str()]);
}

#[tokio::test]
async fn an_item_that_may_not_be_removed_stays_first_until_it_is_skipped() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, CuratorSimple).await;
    put(&client, "qn-0000000001", "with a child").await;
    client.create(&node("qn-0000000001").child("child").unwrap(), "", CreateMode::Persistent).await.unwrap();
    put(&client, "qn-0000000002", "good").await;
    for _ in 0..2 {
        assert_eq!(queue.take().await, Err(Error::Refused(Refusal::NotEmpty)));
    }
    queue.skip(&node("qn-0000000001"));
    assert_eq!(data(queue.take().await.unwrap()), ["good"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let server = MemoryServer::new();
    for layout in [CuratorSimple, Curator, Kazoo] {
        let client = Counting::new(&server);
        let queue = ForeignQueue::new(client.clone(), path(), layout);
        assert!(matches!(queue.put_many([]).await, Err(Error::Invalid(_))));
        assert!(matches!(queue.put_with_priority("a", 1000).await, Err(Error::Invalid(_))));
        if layout != Curator {
            assert!(matches!(queue.put_many(["a".into(), "b".into()]).await, Err(Error::Invalid(_))));
        }
        if layout != Kazoo {
            assert!(matches!(queue.put_with_priority("a", 5).await, Err(Error::Invalid(_))));
        }
        assert_eq!(client.requests(), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn an_item_over_the_limit_is_an_error() {
    let server = MemoryServer::new();
    let (client, queue) = queue(&server, CuratorSimple).await;
    client.refuse("multi", TOO_LARGE);
    assert_eq!(queue.put("as if it were large").await, Err(TOO_LARGE));
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_queue_too_long_to_be_listed_is_an_error() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, CuratorSimple).await;
    queue.put("a").await.unwrap();
    client.refuse("get_children", TOO_LARGE);
    assert_eq!(queue.take().await, Err(TOO_LARGE));
    client.refuse("get_children", TOO_LARGE);
    assert_eq!(queue.take_or_wait().await, Err(TOO_LARGE));
    client.refuse("get_children", TOO_LARGE);
    assert_eq!(queue.peek().await, Err(TOO_LARGE));
    assert_eq!(queue.len().await.unwrap(), 1, "which still can be asked for");
}

#[tokio::test]
async fn nodes_that_nobody_may_make_are_refused() {
    let acl = [Acl { permissions: Permissions::ALL, scheme: "digest".into(), id: "x".into() }];
    let queue = ForeignQueue::builder(MemoryServer::new().connect(), path(), Kazoo).acl(acl).build();
    assert_eq!(queue.put("a").await, Err(Error::Refused(Refusal::InvalidAcl)));
}

#[tokio::test]
async fn a_waiting_consumer_wakes_with_the_next_item() {
    let server = MemoryServer::new();
    // Nothing is there yet.
    let client = Counting::new(&server);
    let mut consumer = ForeignQueue::new(client.clone(), path(), CuratorSimple);
    let mut waiting = consumer.take_or_wait().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.requests();
    put(&server.connect(), "config", "").await;
    assert!(poll(&mut waiting).is_pending(), "it is no item");
    assert_eq!(client.requests(), ["get_children", "get_children"]);
    put(&server.connect(), "qn-0000000000", "a").await;
    assert_eq!(waiting.await.unwrap().data, ["a"]);
}

#[tokio::test]
async fn a_waiting_consumer_outlives_its_session_and_is_told_of_its_client() {
    let server = MemoryServer::new();
    let client = server.connect();
    let mut consumer = ForeignQueue::new(client.clone(), path(), CuratorSimple);
    let mut waiting = consumer.take_or_wait().boxed();
    assert!(poll(&mut waiting).is_pending());
    server.expire(&client);
    assert!(poll(&mut waiting).is_pending());
    client.close().await.unwrap();
    assert_eq!(waiting.await, Err(Error::Closed));
    assert_eq!(consumer.take().await, Err(Error::Closed));
    assert_eq!(consumer.put("a").await, Err(Error::Closed));
}

/// What was read is of no use once the queue's node was removed and made again, and its numbers began anew.
#[tokio::test]
async fn items_of_a_queue_that_is_no_more_are_not_handed_out() {
    let server = MemoryServer::new();
    let (_, mut queue) = queue(&server, CuratorSimple).await;
    let other = server.connect();
    for name in ["qn-0000000001", "qn-0000000002"] {
        put(&other, name, "old").await;
    }
    assert_eq!(data(queue.take().await.unwrap()), ["old"]);
    other.delete(&node("qn-0000000002"), Version::ANY).await.unwrap();
    other.delete(&path(), Version::ANY).await.unwrap();
    other.create(&path(), "", CreateMode::Container).await.unwrap();
    put(&other, "qn-0000000002", "new").await;
    assert_eq!(data(queue.take().await.unwrap()), ["new"]);
}

#[tokio::test]
async fn an_item_that_was_changed_meanwhile_is_read_again() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, CuratorSimple).await;
    for name in ["qn-0000000001", "qn-0000000002"] {
        put(&client, name, "before").await;
    }
    assert_eq!(data(queue.take().await.unwrap()), ["before"]);
    client.set(&node("qn-0000000002"), "after", Version::ANY).await.unwrap();
    assert_eq!(data(queue.take().await.unwrap()), ["after"]);
}

/// The item of a take that was dropped is back in its place, also where the client had no room for that at first.
#[tokio::test]
async fn the_item_of_a_dropped_take_is_put_back() {
    for overloaded in [false, true] {
        let server = MemoryServer::new();
        let (client, mut queue) = queue(&server, CuratorSimple).await;
        queue.put("a").await.unwrap();
        queue.put("b").await.unwrap();
        server.delay_replies(&client.client);
        let mut taking = queue.take().boxed();
        client.requests();
        while !client.requests().contains(&"multi") {
            assert!(poll(&mut taking).is_pending());
        }
        assert_eq!(queue_names(&server), ["qn-0000000002"], "it is taken");
        if overloaded {
            client.refuse("multi", Error::Overloaded);
        }
        drop(taking);
        assert_eq!(queue_names(&server), ["qn-0000000001", "qn-0000000002"]);
        assert_eq!(leftovers(&server).len(), 2, "no receipt is left");
        assert_eq!(data(queue.take().await.unwrap()), ["a"]);
    }
}

/// Somebody has made the name again meanwhile: the item goes to the end.
#[tokio::test]
async fn the_item_of_a_dropped_take_finds_another_place() {
    let server = MemoryServer::new();
    let (client, mut queue) = queue(&server, Kazoo).await;
    queue.put_with_priority("a", 7).await.unwrap();
    server.delay_replies(&client.client);
    let mut taking = queue.take().boxed();
    client.requests();
    while !client.requests().contains(&"multi") {
        assert!(poll(&mut taking).is_pending());
    }
    put(&server.connect(), "entry-007-0000000001", "another").await;
    drop(taking);
    assert_eq!(queue_names(&server), ["entry-007-0000000001", "entry-007-0000000003"]);
    assert_eq!(data(queue.take().await.unwrap()), ["another"]);
    assert_eq!(data(queue.take().await.unwrap()), ["a"]);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

/// A receipt is taken away also where the connection is lost on the way.
#[tokio::test]
async fn no_receipt_is_left_where_a_reply_is_lost() {
    for replies in 0..2 {
        let server = MemoryServer::new();
        let (client, queue) = queue(&server, CuratorSimple).await;
        server.lose_reply_after(&client.client, replies);
        queue.put("a").await.unwrap();
        let expected: &[_] = if replies == 0 { &["multi", "find_own", "release"] } else { &["multi", "release"] };
        assert_eq!(client.requests(), expected);
        assert_eq!(leftovers(&server), [node("qn-0000000001").as_str()]);
    }
}

#[tokio::test]
async fn an_unanswered_question_keeps_the_doubt() {
    let server = MemoryServer::new();
    let (client, queue) = queue(&server, CuratorSimple).await;
    server.lose_reply_after(&client.client, 0);
    // Which says "nothing was sent", and that of the question.
    client.refuse("find_own", Error::Closed);
    assert_eq!(queue.put("a").await, Err(Error::ConnectionLost));
}

/// The first transaction is carried out, and its reply cannot be read.
#[derive(Clone)]
struct Unread {
    client: MemoryClient,
    is_next: Arc<AtomicBool>,
}

impl Client for Unread {
    fn submit(&self, request: Request) -> Response {
        let is_unread = matches!(request, Request::Multi(_)) && self.is_next.swap(false, Ordering::Relaxed);
        let response = self.client.submit(request);
        if is_unread { response.map(|_| Err(TOO_LARGE)) } else { response }
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

/// The item of a take that ends with an error is back in its place, and no receipt is left.
#[tokio::test]
async fn what_ends_with_an_error_is_taken_back() {
    let server = MemoryServer::new();
    let (_, filled) = queue(&server, CuratorSimple).await;
    filled.put("a").await.unwrap();
    let client = Unread { client: server.connect(), is_next: Arc::new(AtomicBool::new(true)) };
    let mut queue = ForeignQueue::new(client, path(), CuratorSimple);
    assert_eq!(queue.take().await, Err(TOO_LARGE));
    assert_eq!(leftovers(&server), [node("qn-0000000001").as_str()]);
    assert_eq!(data(queue.take().await.unwrap()), ["a"]);
}

fn queue_names(server: &MemoryServer) -> Vec<String> {
    let paths = leftovers(server).into_iter().filter_map(|path| path.strip_prefix("/queue/").map(str::to_owned));
    paths.collect()
}
