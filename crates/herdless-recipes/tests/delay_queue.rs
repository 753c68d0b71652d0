//! The queue with due times over the in-memory backend: what it costs, and what its methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use herdless_core::{Client, ClientExt, CreateMode, Error, NodePath, Refusal, Version};
use herdless_memory::{ManualTime, MemoryServer};
use herdless_recipes::{Consumer, DelayQueue, Delivery};

mod support;

use support::{Counting, paths, poll};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

type Delayed = DelayQueue<Counting, ManualTime>;

/// A queue whose directories are there, a little after the beginning of time.
async fn used(server: &MemoryServer, time: &ManualTime) -> (Counting, Delayed) {
    let client = Counting::new(server);
    let queue = DelayQueue::new(client.clone(), path("/later"), time.clone());
    queue.put_at(0, "warm").await.unwrap();
    queue.consumer().build().take().await.unwrap().ack().await.unwrap();
    time.advance(SECOND);
    client.requests();
    (client, queue)
}

fn text<C: Client + Clone + 'static>(delivery: &Delivery<C>) -> String {
    String::from_utf8(delivery.data().to_vec()).unwrap()
}

/// What can be taken now, acknowledged.
async fn drain<C: Client + Clone + 'static>(consumer: &mut Consumer<C>) -> Vec<String> {
    let mut all = Vec::new();
    while let Poll::Ready(delivery) = poll(&mut consumer.take().boxed()) {
        let delivery = delivery.unwrap();
        all.push(text(&delivery));
        delivery.ack().await.unwrap();
    }
    all
}

/// What is left below the queue, directories aside.
fn leftovers(server: &MemoryServer) -> Vec<String> {
    let below = paths(server).into_iter().filter_map(|path| path.strip_prefix("/later/").map(str::to_owned));
    below.filter(|path| path.contains('/')).collect()
}

#[tokio::test]
async fn a_put_costs_one_round_trip() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    let first = queue.put_after(SECOND, "a");
    assert_eq!(client.requests(), ["create", "create"], "the bucket and the item leave together");
    let second = queue.put_at(1500, "b");
    assert_eq!(client.requests(), ["create"], "the bucket is there");
    second.await.unwrap();
    first.await.unwrap();
    assert_eq!(client.requests(), [] as [&str; 0]);
    let items = ["due/0000000002000", "due/0000000002000/item-0000000000", "due/0000000002000/item-0000000001"];
    assert_eq!(leftovers(&server), items);
}

#[tokio::test]
async fn nothing_is_handed_out_before_its_time() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, queue) = used(&server, &time).await;
    queue.put_at(2001, "late").await.unwrap();
    queue.put_at(2000, "early").await.unwrap();
    let mut consumer = queue.consumer().prefetch(10).build();
    time.advance(SECOND - MOMENT);
    assert_eq!(drain(&mut consumer).await, [] as [&str; 0]);
    time.advance(MOMENT);
    assert_eq!(drain(&mut consumer).await, ["early"]);
    time.advance(SECOND - MOMENT);
    assert_eq!(drain(&mut consumer).await, [] as [&str; 0], "rounded up, never down");
    time.advance(MOMENT);
    assert_eq!(drain(&mut consumer).await, ["late"]);
    assert_eq!(leftovers(&server), [] as [&str; 0], "the buckets are gone, too");
}

#[tokio::test]
async fn items_come_by_due_time_and_then_in_the_order_of_putting() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, queue) = used(&server, &time).await;
    for (due, data) in [(9000, "e"), (3000, "b"), (2000, "a"), (5000, "d"), (2500, "c")] {
        queue.put_at(due, data).await.unwrap();
    }
    time.advance(20 * SECOND);
    let mut consumer = queue.consumer().build();
    assert_eq!(drain(&mut consumer).await, ["a", "b", "c", "d", "e"]);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_consumer_sleeps_until_the_next_due_time_and_asks_nothing_meanwhile() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    queue.put_at(10_000, "x").await.unwrap();
    client.requests();
    let mut consumer = queue.consumer().build();
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    let sent = client.requests();
    // The place in line and a look at the queue; the watches and the due times. Each group leaves together.
    assert_eq!(sent[..5], ["create", "exists", "get_data", "get_children", "get_children"]);
    assert_eq!(sent[5..], ["exists", "get_children", "get_children", "get_children"]);
    assert_eq!(time.sleepers(), 1);
    time.advance(8 * SECOND);
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.requests(), [] as [&str; 0]);
    time.advance(SECOND);
    let Poll::Ready(Ok(delivery)) = poll(&mut waiting) else { panic!("it is due") };
    let sent = client.requests();
    // The bucket; its item; the move, and behind it a look at the queue; the item; the claim.
    assert_eq!(
        sent,
        ["get_data", "get_data", "multi", "get_data", "get_children", "get_children", "get_data", "multi"]
    );
    assert_eq!((text(&delivery).as_str(), delivery.attempts()), ("x", 1));
    delivery.ack().await.unwrap();
    assert_eq!(time.sleepers(), 0);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn items_that_were_brought_are_taken_as_from_a_queue() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    for number in 0..65 {
        queue.put_at(2000, number.to_string()).await.unwrap();
    }
    time.advance(SECOND);
    let mut consumer = queue.consumer().build();
    consumer.take().await.unwrap().ack().await.unwrap();
    client.requests();
    for _ in 1..64 {
        consumer.take().await.unwrap().ack().await.unwrap();
        let sent = client.requests();
        assert_eq!(
            sent,
            ["create", "exists", "get_data", "get_children", "get_children", "get_data", "multi", "multi"]
        );
    }
    assert_eq!(queue.len().await.unwrap(), 1, "sixty-four at once");
    assert_eq!(drain(&mut consumer).await, ["64"]);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn an_earlier_item_wakes_who_waits_for_a_later_one() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, queue) = used(&server, &time).await;
    queue.put_at(60_000, "later").await.unwrap();
    let mut consumer = queue.consumer().build();
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    queue.put_at(5000, "earlier").await.unwrap();
    assert!(poll(&mut waiting).is_pending(), "it sleeps until the earlier time now");
    time.advance(4 * SECOND);
    let Poll::Ready(Ok(delivery)) = poll(&mut waiting) else { panic!("it is due") };
    assert_eq!(text(&delivery), "earlier");
    drop(waiting);
    delivery.ack().await.unwrap();
    queue.put_at(0, "long ago").await.unwrap();
    assert_eq!(drain(&mut consumer).await, ["long ago"], "at once");
    assert_eq!(queue.len().await.unwrap(), 1);
}

#[tokio::test]
async fn one_of_many_consumers_sleeps() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, queue) = used(&server, &time).await;
    queue.put_at(2000, "x").await.unwrap();
    let mut consumers: Vec<_> = (0..20).map(|_| queue.consumer().build()).collect();
    let mut waiting: Vec<_> = consumers.iter_mut().map(|consumer| consumer.take().boxed()).collect();
    waiting.iter_mut().for_each(|take| assert!(poll(take).is_pending()));
    assert_eq!(time.sleepers(), 1);
    let before = server.wake_ups();
    queue.put_at(5000, "y").await.unwrap();
    assert_eq!(server.wake_ups() - before, 1);
    time.advance(SECOND);
    assert_eq!(text(&waiting.remove(0).await.unwrap()), "x");
}

#[tokio::test]
async fn a_delivery_that_is_given_back_is_due_at_once() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (_, queue) = used(&server, &time).await;
    queue.put_at(1000, "poison").await.unwrap();
    let mut consumer = queue.consumer().max_attempts(2).build();
    consumer.take().await.unwrap().nack().await.unwrap();
    let again = consumer.take().await.unwrap();
    assert_eq!(again.attempts(), 2);
    again.nack().await.unwrap();
    assert_eq!(drain(&mut consumer).await, [] as [&str; 0]);
    let letters = queue.dead_letters().await.unwrap();
    assert_eq!(letters[0].data, "poison");
    assert!(queue.requeue(&letters[0]).await.unwrap());
    assert_eq!(queue.at_most_once(1).take().await.unwrap().data, "poison");
    assert!(queue.is_empty().await.unwrap());
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_wall_clock_that_is_behind_is_waited_for() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    queue.put_at(2000, "x").await.unwrap();
    // Its timer ends a second before its wall clock says so.
    let slow = DelayQueue::new(client, path("/later"), Behind(time.clone()));
    let mut consumer = slow.consumer().build();
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    time.advance(2 * SECOND);
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(time.sleepers(), 1);
    time.advance(SECOND);
    assert!(poll(&mut waiting).is_ready());
}

/// A wall clock that is set back by two seconds when it comes to two.
struct Behind(ManualTime);

impl herdless_core::Time for Behind {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn unix_millis(&self) -> u64 {
        let millis = self.0.unix_millis();
        if millis < 2000 { millis } else { millis - 2000 }
    }

    fn sleep(&self, duration: Duration) -> herdless_core::Sleep {
        self.0.sleep(duration)
    }
}

#[tokio::test]
async fn what_cannot_be_a_due_time_is_invalid() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    for step in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        let built = DelayQueue::builder(client.clone(), path("/later"), time.clone()).granularity(step).build();
        assert!(matches!(built, Err(Error::Invalid(_))), "{step:?}");
    }
    assert!(matches!(queue.put_at(u64::MAX, "x").await, Err(Error::Invalid(_))));
    assert!(matches!(queue.put_after(Duration::MAX, "x").await, Err(Error::Invalid(_))));
    let refused = Err(Error::TooLarge { what: "request", length: 1_000_001, limit: 1_000_000 });
    assert_eq!(queue.put_at(0, vec![0; 1_000_001]).await, refused);
    assert_eq!(client.requests(), [] as [&str; 0], "nothing was sent");
    assert_eq!(leftovers(&server), [] as [&str; 0]);
    let fine = DelayQueue::builder(client, path("/later"), time.clone()).granularity(MOMENT).build().unwrap();
    fine.put_at(u64::MAX, "the end of time").await.unwrap();
    fine.put_at(1, vec![0; 1_000_000]).await.unwrap();
    assert_eq!(fine.consumer().build().take().await.unwrap().data().len(), 1_000_000);
}

#[tokio::test]
async fn those_who_put_may_have_another_granularity() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    let fine = DelayQueue::builder(client, path("/later"), time.clone()).granularity(MOMENT).build().unwrap();
    queue.put_at(1001, "coarse").await.unwrap();
    fine.put_at(1001, "fine").await.unwrap();
    let mut consumer = queue.consumer().build();
    time.advance(MOMENT);
    assert_eq!(drain(&mut consumer).await, ["fine"]);
    time.advance(SECOND);
    assert_eq!(drain(&mut consumer).await, ["coarse"]);
}

#[tokio::test]
async fn names_of_others_are_no_buckets() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    for name in ["config", "7", "+000000000007", "00000000000001"] {
        client.create(&path("/later/due").child(name).unwrap(), "", CreateMode::Persistent).await.unwrap();
    }
    queue.put_at(1000, "x").await.unwrap();
    let mut consumer = queue.consumer().build();
    assert_eq!(drain(&mut consumer).await, ["x"]);
    assert_eq!(queue.len().await.unwrap(), 0);
    assert_eq!(leftovers(&server).len(), 4, "they were left alone");
}

#[tokio::test]
async fn a_node_of_others_in_a_bucket_stands_in_nobodys_way() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    queue.put_at(1000, "a").await.unwrap();
    client.create(&path("/later/due/0000000001000/config"), "", CreateMode::Persistent).await.unwrap();
    client.create(&path("/later/due/0000000001000/item-"), "garbage", CreateMode::PersistentSequential).await.unwrap();
    queue.put_at(1500, "c").await.unwrap();
    let mut consumer = queue.consumer().build();
    assert_eq!(drain(&mut consumer).await, ["a"]);
    let mut waiting = consumer.take().boxed();
    assert!(poll(&mut waiting).is_pending());
    client.requests();
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(client.requests(), [] as [&str; 0], "it waits");
    queue.put_at(1000, "b").await.unwrap();
    let Poll::Ready(Ok(delivery)) = poll(&mut waiting) else { panic!("it is due") };
    assert_eq!(text(&delivery), "b", "an item behind them is noticed");
    delivery.ack().await.unwrap();
    drop(waiting);
    time.advance(SECOND);
    assert_eq!(drain(&mut consumer).await, ["c"]);
    assert_eq!(queue.dead_letters().await.unwrap()[0].data, "garbage");
    client.delete(&path("/later/due/0000000001000/config"), Version::ANY).await.unwrap();
    assert_eq!(drain(&mut consumer).await, [] as [&str; 0]);
    assert_eq!(leftovers(&server), ["dead/letter-0000000000"], "the bucket went with the last node of others");
}

#[tokio::test]
async fn items_that_somebody_removed_are_passed_over() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    for data in ["a", "b", "c"] {
        queue.put_at(1000, data).await.unwrap();
    }
    client.delete(&path("/later/due/0000000001000/item-0000000000"), Version::ANY).await.unwrap();
    client.delete(&path("/later/due/0000000001000/item-0000000002"), Version::ANY).await.unwrap();
    assert_eq!(drain(&mut queue.consumer().build()).await, ["b"]);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

#[tokio::test]
async fn a_cursor_that_is_none_is_an_error() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    queue.put_at(1000, "a").await.unwrap();
    let bucket = path("/later/due/0000000001000");
    client.set(&bucket, "garbage", Version::ANY).await.unwrap();
    let error = queue.consumer().build().take().await.unwrap_err();
    assert_eq!(error, Error::Malformed { path: bucket, expected: "the number of an item" });
    assert_eq!(leftovers(&server).len(), 2, "it has left the line");
}

#[tokio::test]
async fn a_put_makes_what_was_removed() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    queue.put_at(1000, "a").await.unwrap();
    let mut consumer = queue.consumer().build();
    assert_eq!(drain(&mut consumer).await, ["a"]);
    client.requests();
    queue.put_at(1000, "b").await.unwrap();
    assert_eq!(client.requests(), ["create", "multi"], "the bucket was removed with its last item");
    assert_eq!(drain(&mut consumer).await, ["b"]);
    let names: Vec<_> = paths(&server).into_iter().rev().collect();
    for name in names {
        client.delete(&path(&name), Version::ANY).await.unwrap();
    }
    queue.put_at(1000, "c").await.unwrap();
    assert_eq!(drain(&mut consumer).await, ["c"], "and so was the queue");
}

#[tokio::test]
async fn why_its_directories_cannot_be_made_is_told() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let client = server.connect();
    client.create(&path("/mine"), "", CreateMode::Ephemeral).await.unwrap();
    let queue = DelayQueue::new(client, path("/mine/later"), time);
    let why = Error::Refused(Refusal::NoChildrenForEphemerals);
    assert_eq!(queue.put_at(1000, "x").await, Err(why.clone()));
    assert_eq!(queue.consumer().build().take().await.map(drop), Err(why));
}

#[tokio::test]
async fn large_items_are_brought_in_several_changes() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, queue) = used(&server, &time).await;
    for _ in 0..5 {
        queue.put_at(1000, vec![7; 100 * 1024]).await.unwrap();
    }
    client.requests();
    let mut consumer = queue.consumer().prefetch(10).build();
    let first = consumer.take().await.unwrap();
    assert_eq!(brought(&server), 2, "at most 256 KiB at once");
    first.ack().await.unwrap();
    assert_eq!(drain(&mut consumer).await.len(), 4);
    assert_eq!(leftovers(&server), [] as [&str; 0]);
}

/// How many items are in the lane.
fn brought(server: &MemoryServer) -> usize {
    leftovers(server).iter().filter(|path| path.starts_with("items/")).count()
}
