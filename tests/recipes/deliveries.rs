//! Queues whose items are acknowledged: what they cost, consumers that go away, and bad input.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use herdless::{
    ClientExt, Consumer, CreateMode, DelayQueue, Delivery, Error, NodePath, PriorityQueue, Queue, Refusal, Stat,
    TokioClient, TokioTime, Version,
};

use crate::all::Setup;
use crate::support::{GENEROUS, Itself, Meter, World, connector, is_pending, scenarios, until};

scenarios! {
    each_item_is_taken_once
    putting_and_taking_cost_what_is_documented
    one_put_wakes_one_consumer
    bytes_do_not_grow_with_the_queue
    who_waits_outlives_lost_connections_and_its_session
    what_an_expired_session_has_taken_is_handed_out_again
    what_a_killed_process_has_taken_is_handed_out_again
    a_process_that_was_stopped_for_too_long_knows_and_removes_nothing
    who_waits_outlives_a_queue_that_is_deleted
    ids_and_numbers_that_make_no_sense_are_not_sent
    items_over_the_limit_are_not_sent
    what_is_no_item_is_put_aside
    what_is_no_number_stays
    what_others_keep_beside_items_stays
}

/// A queue: how one puts and takes.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    put: fn(Setup) -> BoxFuture<'static, Result<(), Error>>,
    consumer: fn(&Setup) -> Consumer<TokioClient>,
    /// The requests of a look at it.
    look: u64,
    /// Where its items are.
    items: &'static str,
}

impl Kind {
    fn take(self, setup: Setup) -> BoxFuture<'static, Result<Delivery<TokioClient>, Error>> {
        let mut consumer = (self.consumer)(&setup);
        Box::pin(async move { consumer.take().await })
    }
}

const PRIORITIES: u8 = 2;

fn priority_queue(setup: &Setup) -> PriorityQueue<TokioClient> {
    PriorityQueue::new(setup.client.clone(), setup.path.clone(), PRIORITIES).unwrap()
}

fn delay_queue(setup: &Setup) -> DelayQueue<TokioClient, TokioTime> {
    DelayQueue::new(setup.client.clone(), setup.path.clone(), TokioTime::new())
}

fn kinds() -> [Kind; 3] {
    [
        Kind {
            name: "Queue",
            put: |setup| Box::pin(async move { Queue::new(setup.client, setup.path).put(setup.text).await }),
            consumer: |setup| Queue::new(setup.client.clone(), setup.path.clone()).consumer().build(),
            look: 3,
            items: "items",
        },
        Kind {
            name: "PriorityQueue",
            put: |setup| Box::pin(async move { priority_queue(&setup).put(1, setup.text).await }),
            consumer: |setup| priority_queue(setup).consumer().build(),
            look: 3 + 1,
            items: "items-001",
        },
        Kind {
            name: "DelayQueue",
            put: |setup| Box::pin(async move { delay_queue(&setup).put_at(1, setup.text).await }),
            consumer: |setup| delay_queue(setup).consumer().build(),
            look: 3,
            items: "items",
        },
    ]
}

fn item(client: &TokioClient, path: &NodePath, text: impl Into<String>) -> Setup {
    Setup { text: text.into(), ..Setup::new(client, path.clone()) }
}

/// Runs a scenario for each queue, all at once: they are on paths of their own.
async fn for_each(world: &World, scenario: impl AsyncFn(Kind, NodePath)) {
    join_all(kinds().into_iter().map(|kind| scenario(kind, world.beside(kind.name)))).await;
}

/// What is in the queue's directories, by the directory's name.
async fn inside(client: &TokioClient, path: &NodePath) -> BTreeMap<String, Vec<(String, Stat)>> {
    let mut found = BTreeMap::new();
    let (directories, _) = client.children(path).await.unwrap();
    for name in directories {
        let directory = path.child(&name).unwrap();
        let mut nodes = Vec::new();
        for node in client.children(&directory).await.map(|(names, _)| names).unwrap_or_default() {
            if let Some(stat) = client.exists(&directory.child(&node).unwrap()).await.unwrap() {
                nodes.push((node, stat));
            }
        }
        if !nodes.is_empty() {
            found.insert(name, nodes);
        }
    }
    found
}

/// Waits until nothing is left, directories aside.
async fn until_empty(client: &TokioClient, path: &NodePath) {
    until(&format!("nothing in {path}"), async || inside(client, path).await.is_empty().then_some(())).await;
}

/// Waits until so many consumers are in line.
async fn until_in_line(client: &TokioClient, path: &NodePath, count: usize) {
    let line = path.child("takers").unwrap();
    until(&format!("{count} in {line}"), async || {
        let names = client.children(&line).await.map(|(names, _)| names).unwrap_or_default();
        (names.len() == count).then_some(())
    })
    .await;
}

async fn each_item_is_taken_once(world: &World) {
    const CLIENTS: usize = 3; // that put, and that take
    const ITEMS: usize = 30; // of each
    for_each(world, async |kind, path| {
        let putting = (0..CLIENTS).map(async |producer| {
            let client = world.connect().await;
            for number in 0..ITEMS {
                (kind.put)(item(&client, &path, format!("{producer}-{number:02}"))).await.unwrap();
            }
        });
        let taking = (0..CLIENTS).map(async |_| {
            let client = world.connect().await;
            let mut taken = Vec::new();
            for _ in 0..ITEMS {
                let delivery = kind.take(Setup::new(&client, path.clone())).await.unwrap();
                assert_eq!(delivery.attempts(), 1, "{}", kind.name);
                taken.push(String::from_utf8(delivery.data().to_vec()).unwrap());
                delivery.ack().await.unwrap();
            }
            taken
        });
        let (_, taken) = tokio::join!(join_all(putting), join_all(taking));
        let taken: BTreeSet<_> = taken.into_iter().flatten().collect();
        let all = (0..CLIENTS).flat_map(|producer| (0..ITEMS).map(move |number| format!("{producer}-{number:02}")));
        assert_eq!(taken, all.collect(), "{}", kind.name);
        until_empty(&world.connect().await, &path).await;
    })
    .await;
}

async fn putting_and_taking_cost_what_is_documented(world: &World) {
    let client = world.connect().await;
    // The place in line and whether it is the first; the look; the item; the claim; and the acknowledgement.
    let taking = |look| 2 + look + 1 + 1 + 1;
    let [queue, priorities, delays] = kinds();

    let path = world.beside(queue.name);
    let plain = Queue::new(client.clone(), path.clone());
    plain.put("warm").await.unwrap();
    let mut consumer = plain.consumer().prefetch(16).build();
    consumer.take().await.unwrap().ack().await.unwrap();
    let meter = Meter::start(&client);
    plain.put("a").await.unwrap();
    assert_eq!(meter.read().await, (1, 0));
    let meter = Meter::start(&client);
    consumer.take().await.unwrap().ack().await.unwrap();
    assert_eq!(meter.read().await, (taking(queue.look), 0));
    let meter = Meter::start(&client);
    assert!(plain.put_once("id", "b").await.unwrap());
    assert_eq!(meter.read().await, (2, 0), "a change, and one that nobody waits for");
    let meter = Meter::start(&client);
    assert!(!plain.put_once("id", "b").await.unwrap());
    assert_eq!(meter.read().await, (1, 0));
    consumer.take().await.unwrap().ack().await.unwrap();
    let meter = Meter::start(&client);
    plain.put_all((0..16).map(|number| number.to_string())).await.unwrap();
    assert_eq!(meter.read().await, (1, 0), "one transaction");
    let meter = Meter::start(&client);
    for _ in 0..16 {
        consumer.take().await.unwrap().ack().await.unwrap();
    }
    assert_eq!(meter.read().await, (taking(queue.look) + 15 * 2, 0), "for each more its data and its acknowledgement");

    let urgent = priority_queue(&Setup::new(&client, world.beside(priorities.name)));
    let mut consumer = urgent.consumer().build();
    urgent.put(1, "warm").await.unwrap();
    consumer.take().await.unwrap().ack().await.unwrap();
    let meter = Meter::start(&client);
    urgent.put(1, "a").await.unwrap();
    assert_eq!(meter.read().await, (1, 0));
    let meter = Meter::start(&client);
    consumer.take().await.unwrap().ack().await.unwrap();
    assert_eq!(meter.read().await, (taking(priorities.look), 0), "one more, for each priority");

    let later = delay_queue(&Setup::new(&client, world.beside(delays.name)));
    let mut consumer = later.consumer().build();
    later.put_at(1, "warm").await.unwrap();
    consumer.take().await.unwrap().ack().await.unwrap();
    let meter = Meter::start(&client);
    later.put_at(2000, "a").await.unwrap();
    later.put_at(2000, "b").await.unwrap();
    assert_eq!(meter.read().await, (3, 0), "the bucket, once, and two items");
    let meter = Meter::start(&client);
    consumer.take().await.unwrap().ack().await.unwrap();
    // To wait: watches on the next item, the records, the claims, and the due times. To bring the items: their bucket,
    // the two, the change, and the look behind it. The watches fire: an item has come, the bucket has gone, a record and
    // a claim have been made.
    let (requests, events) = meter.read().await;
    assert_eq!((requests, events), (taking(delays.look) + 4 + 1 + 2 + 1 + delays.look, 4));
    let meter = Meter::start(&client);
    consumer.take().await.unwrap().ack().await.unwrap();
    let (requests, _) = meter.read().await;
    assert_eq!(requests, taking(delays.look), "the second was brought with the first");
}

/// Waits until the first in line has asked for its watches, and everybody behind it.
async fn settle<F: Future + ?Sized>(clients: &[TokioClient], waits: &mut [std::pin::Pin<Box<F>>]) {
    for _ in 0..8 {
        for (client, wait) in clients.iter().zip(&mut *waits) {
            assert!(is_pending(wait).await);
            client.sync(&NodePath::root()).await.unwrap();
        }
    }
}

async fn one_put_wakes_one_consumer(world: &World) {
    const CONSUMERS: usize = 5;
    for kind in kinds() {
        let path = world.beside(kind.name);
        let producer = world.connect().await;
        (kind.put)(item(&producer, &path, "warm")).await.unwrap();
        kind.take(Setup::new(&producer, path.clone())).await.unwrap().ack().await.unwrap();
        let clients = join_all((0..CONSUMERS).map(|_| world.connect())).await;
        let mut waits = Vec::new();
        for client in &clients {
            waits.push(kind.take(Setup::new(client, path.clone())));
            settle(&clients[..waits.len()], &mut waits).await;
        }
        let before: Vec<_> = clients.iter().map(|client| client.counters().watch_events).collect();
        (kind.put)(item(&producer, &path, "it")).await.unwrap();
        let delivery = waits.remove(0).await.unwrap();
        assert_eq!(delivery.data(), "it", "{}", kind.name);
        delivery.ack().await.unwrap();
        settle(&clients[1..], &mut waits).await;
        for (place, (client, before)) in clients.iter().zip(before).enumerate() {
            let has_events = client.counters().watch_events > before;
            // The next one is the first in line now.
            assert_eq!(has_events, place < 2, "{}: client {place}", kind.name);
        }
        drop(waits);
        until_in_line(&producer, &path, 0).await;
    }
}

async fn bytes_do_not_grow_with_the_queue(world: &World) {
    for_each(world, async |kind, path| {
        let client = world.connect().await;
        let mut bytes = Vec::new();
        for items in [10, 500] {
            join_all((0..items).map(|_| (kind.put)(item(&client, &path, "it")))).await;
            // The first brings those that were due.
            kind.take(Setup::new(&client, path.clone())).await.unwrap().ack().await.unwrap();
            let mut consumer = (kind.consumer)(&Setup::new(&client, path.clone()));
            // What a handle does once is not counted.
            consumer.take().await.unwrap().ack().await.unwrap();
            let before = client.counters();
            consumer.take().await.unwrap().ack().await.unwrap();
            let after = client.counters();
            bytes.push((after.bytes_in + after.bytes_out) - (before.bytes_in + before.bytes_out));
        }
        println!("{}: bytes of a take and an acknowledgement: {bytes:?}", kind.name);
        assert!(bytes[0].abs_diff(bytes[1]) < 32 && bytes[1] < 4096, "{}: {bytes:?}", kind.name);
    })
    .await;
}

async fn who_waits_outlives_lost_connections_and_its_session(world: &World) {
    for_each(world, async |kind, path| {
        let (proxy, producer) = (world.proxy().await, world.connect().await);
        let client = proxy.short_session().connect().await.unwrap();
        let session = herdless::Client::session(&client);
        let setup = Setup::new(&client, path.clone());
        let waiting = tokio::spawn(async move { kind.take(setup).await });
        until_in_line(&producer, &path, 1).await;
        for _ in 0..3 {
            proxy.cut();
            let asked = client.sync(&path).await;
            assert!(matches!(asked, Ok(()) | Err(Error::ConnectionLost)), "{asked:?}");
        }
        assert!(!waiting.is_finished());
        proxy.down();
        session.lost().await;
        until_in_line(&producer, &path, 0).await;
        proxy.up();
        (kind.put)(item(&producer, &path, "it")).await.unwrap();
        let delivery = waiting.await.unwrap().unwrap();
        assert_eq!((&delivery.data()[..], delivery.attempts()), (&b"it"[..], 1), "{}", kind.name);
        delivery.ack().await.unwrap();
        until_empty(&producer, &path).await;
    })
    .await;
}

async fn what_an_expired_session_has_taken_is_handed_out_again(world: &World) {
    for_each(world, async |kind, path| {
        let (proxy, client) = (world.proxy().await, world.connect().await);
        let unlucky = proxy.short_session().connect().await.unwrap();
        (kind.put)(item(&client, &path, "it")).await.unwrap();
        let taken = kind.take(Setup::new(&unlucky, path.clone())).await.unwrap();
        let mut wait = kind.take(Setup::new(&client, path.clone()));
        assert!(is_pending(&mut wait).await);
        until_in_line(&client, &path, 1).await;
        assert!(is_pending(&mut wait).await && taken.is_valid(), "{}: it is taken", kind.name);
        proxy.down();
        let again = wait.await.unwrap();
        assert!(!taken.is_valid(), "{}: two have it", kind.name);
        assert_eq!((again.data(), again.number(), again.attempts()), (taken.data(), taken.number(), 2));
        proxy.up();
        // Either says that it is lost: by this client's knowledge, or by the server's.
        let refused = taken.ack().await.unwrap_err();
        let is_lost = matches!(refused, Error::SessionExpired | Error::Refused(Refusal::NoNode));
        assert!(is_lost, "{}: {refused}", kind.name);
        assert!(again.is_valid());
        again.ack().await.unwrap();
        until_empty(&client, &path).await;
    })
    .await;
}

/// How the process that takes is told what to do: the server, the queue, and its path.
const TASK: &str = "HERDLESS_CONSUMER";

fn say(what: impl std::fmt::Display) {
    println!("\n> {what}");
}

/// Takes, and when it is told to go on, acknowledges as one does who has noticed nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a process that the other tests here start"]
async fn consumer() {
    let task = std::env::var(TASK).unwrap();
    let [address, name, path] = task.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let kind = kinds().into_iter().find(|kind| kind.name == name).unwrap();
    let client = connector(address).session_timeout(Duration::from_secs(2)).connect().await.unwrap();
    let delivery = kind.take(Setup::new(&client, NodePath::parse(path).unwrap())).await.unwrap();
    say(String::from_utf8(delivery.data().to_vec()).unwrap());
    let go_on = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next().unwrap().unwrap());
    assert_eq!(go_on.await.unwrap(), "go on");
    say(delivery.is_valid());
    say(if delivery.ack().await.is_ok() { "removed" } else { "not removed" });
}

/// A process that has taken an item.
async fn start(world: &World, kind: Kind, client: &TokioClient, path: &NodePath) -> Itself {
    (kind.put)(item(client, path, "it")).await.unwrap();
    let task = format!("{} {} {path}", world.address, kind.name);
    let mut process = Itself::start("deliveries::consumer", TASK, &task);
    assert_eq!(process.hear().await, "it");
    process
}

async fn what_a_killed_process_has_taken_is_handed_out_again(world: &World) {
    for_each(world, async |kind, path| {
        let client = world.connect().await;
        let process = start(world, kind, &client, &path).await;
        let mut wait = kind.take(Setup::new(&client, path.clone()));
        assert!(is_pending(&mut wait).await);
        until_in_line(&client, &path, 1).await;
        assert!(is_pending(&mut wait).await, "{}: it is taken", kind.name);
        process.kill().await;
        let again = tokio::time::timeout(GENEROUS, wait).await.unwrap().unwrap();
        assert_eq!((&again.data()[..], again.attempts()), (&b"it"[..], 2), "{}", kind.name);
        again.ack().await.unwrap();
        until_empty(&client, &path).await;
    })
    .await;
}

async fn a_process_that_was_stopped_for_too_long_knows_and_removes_nothing(world: &World) {
    for_each(world, async |kind, path| {
        let client = world.connect().await;
        let mut process = start(world, kind, &client, &path).await;
        process.stop().await;
        let again = kind.take(Setup::new(&client, path.clone())).await.unwrap();
        process.tell("go on").await;
        process.resume().await;
        assert_eq!(process.hear().await, "false", "{}: is valid", kind.name);
        assert_eq!(process.hear().await, "not removed", "{}", kind.name);
        assert!(again.is_valid());
        again.ack().await.unwrap();
        until_empty(&client, &path).await;
    })
    .await;
}

/// As `deleteall` of ZooKeeper's shell does.
async fn who_waits_outlives_a_queue_that_is_deleted(world: &World) {
    for_each(world, async |kind, path| {
        let (client, admin) = (world.connect().await, world.connect().await);
        let mut wait = vec![kind.take(Setup::new(&client, path.clone()))];
        settle(std::slice::from_ref(&client), &mut wait).await;
        for (directory, nodes) in inside(&admin, &path).await {
            let directory = path.child(&directory).unwrap();
            for (node, _) in nodes {
                admin.delete(&directory.child(&node).unwrap(), Version::ANY).await.unwrap();
            }
        }
        let (directories, _) = admin.children(&path).await.unwrap();
        for directory in directories {
            admin.delete(&path.child(&directory).unwrap(), Version::ANY).await.unwrap();
        }
        admin.delete(&path, Version::ANY).await.unwrap();
        (kind.put)(item(&admin, &path, "late")).await.unwrap();
        let delivery = wait.remove(0).await.unwrap();
        assert_eq!(delivery.data(), "late", "{}", kind.name);
        delivery.ack().await.unwrap();
        until_empty(&admin, &path).await;
    })
    .await;
}

fn is_invalid<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Invalid(_)))
}

async fn ids_and_numbers_that_make_no_sense_are_not_sent(world: &World) {
    let client = world.connect().await;
    let before = client.counters().requests;
    let setup = Setup::new(&client, world.path());
    let (queue, urgent, later) =
        (Queue::new(client.clone(), world.path()), priority_queue(&setup), delay_queue(&setup));
    for id in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        assert!(is_invalid(queue.put_once(id, "x").await), "{id:?}");
        assert!(is_invalid(urgent.put_once(0, id, "x").await), "{id:?}");
    }
    assert!(is_invalid(PriorityQueue::new(client.clone(), world.path(), 0)));
    assert!(is_invalid(urgent.put(PRIORITIES, "x").await));
    assert!(is_invalid(urgent.try_put(u8::MAX, "x").await));
    assert!(is_invalid(urgent.put_once(PRIORITIES, "id", "x").await));
    assert!(is_invalid(later.put_at(u64::MAX, "x").await));
    assert!(is_invalid(later.put_after(Duration::MAX, "x").await));
    let builder = || DelayQueue::builder(client.clone(), world.path(), TokioTime::new());
    assert!(is_invalid(builder().granularity(Duration::ZERO).build()));
    assert!(is_invalid(builder().granularity(Duration::MAX).build()));
    assert_eq!(client.counters().requests, before);
    assert!(client.exists(&world.path()).await.unwrap().is_none());
}

async fn items_over_the_limit_are_not_sent(world: &World) {
    const LIMIT: usize = 1_000_000;
    for_each(world, async |kind, path| {
        let client = world.connect().await;
        let before = client.counters().requests;
        let error = (kind.put)(item(&client, &path, "x".repeat(LIMIT + 1))).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: LIMIT, .. }), "{}: {error}", kind.name);
        assert_eq!(client.counters().requests, before, "{}", kind.name);
        // The largest goes through, there and back.
        (kind.put)(item(&client, &path, "x".repeat(LIMIT))).await.unwrap();
        let delivery = kind.take(Setup::new(&client, path.clone())).await.unwrap();
        assert_eq!(delivery.data().len(), LIMIT, "{}", kind.name);
        delivery.ack().await.unwrap();
        until_empty(&client, &path).await;
    })
    .await;
}

async fn what_is_no_item_is_put_aside(world: &World) {
    for_each(world, async |kind, path| {
        let client = world.connect().await;
        (kind.put)(item(&client, &path, "first")).await.unwrap();
        kind.take(Setup::new(&client, path.clone())).await.unwrap().ack().await.unwrap();
        let stem = path.child(kind.items).unwrap().child("item-").unwrap();
        for strange in ["", "not ours", "\u{2}\0\u{3}a/b"] {
            client.create(&stem, strange, CreateMode::PersistentSequential).await.unwrap();
        }
        (kind.put)(item(&client, &path, "ours")).await.unwrap();
        // One handle, so that it goes on from one to the next.
        let delivery = kind.take(Setup::new(&client, path.clone())).await.unwrap();
        assert_eq!(delivery.data(), "ours", "{}", kind.name);
        delivery.ack().await.unwrap();
        let left = inside(&client, &path).await;
        assert_eq!(left.keys().collect::<Vec<_>>(), ["dead"], "{}", kind.name);
        let letters = Queue::new(client.clone(), path.clone()).dead_letters().await.unwrap();
        let data: Vec<_> = letters.iter().map(|letter| &letter.data[..]).collect();
        assert_eq!(data, [&b""[..], b"not ours", b"\x02\0\x03a/b"], "{}", kind.name);
        for letter in &letters {
            assert!(Queue::new(client.clone(), path.clone()).discard(letter).await.unwrap());
        }
        until_empty(&client, &path).await;
    })
    .await;
}

async fn what_is_no_number_stays(world: &World) {
    for_each(world, async |kind, path| {
        let client = world.connect().await;
        (kind.put)(item(&client, &path, "first")).await.unwrap();
        kind.take(Setup::new(&client, path.clone())).await.unwrap().ack().await.unwrap();
        let lane = path.child(kind.items).unwrap();
        let (good, _) = client.get(&lane).await.unwrap();
        client.set(&lane, "seven", Version::ANY).await.unwrap();
        let before = client.exists(&lane).await.unwrap();
        let error = kind.take(Setup::new(&client, path.clone())).await.map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Malformed { path, .. } if *path == lane), "{}: {error}", kind.name);
        assert_eq!(client.exists(&lane).await.unwrap(), before, "{}", kind.name);
        until_empty(&client, &path).await;
        client.set(&lane, good, Version::ANY).await.unwrap();
        (kind.put)(item(&client, &path, "ours")).await.unwrap();
        kind.take(Setup::new(&client, path.clone())).await.unwrap().ack().await.unwrap();
        until_empty(&client, &path).await;
    })
    .await;
}

async fn what_others_keep_beside_items_stays(world: &World) {
    for_each(world, async |kind, path| {
        let client = world.connect().await;
        (kind.put)(item(&client, &path, "first")).await.unwrap();
        kind.take(Setup::new(&client, path.clone())).await.unwrap().ack().await.unwrap();
        let (mut directories, _) = client.children(&path).await.unwrap();
        directories.sort_unstable();
        for directory in &directories {
            let theirs = path.child(directory).unwrap().child("config").unwrap();
            client.create(&theirs, "theirs", CreateMode::Persistent).await.unwrap();
        }
        let before = inside(&client, &path).await;
        for text in ["one", "other"] {
            (kind.put)(item(&client, &path, text)).await.unwrap();
            let delivery = kind.take(Setup::new(&client, path.clone())).await.unwrap();
            assert_eq!(delivery.data(), text, "{}", kind.name);
            delivery.ack().await.unwrap();
        }
        until("nothing else", async || (inside(&client, &path).await == before).then_some(())).await;
        assert_eq!(before.keys().collect::<Vec<_>>(), directories.iter().collect::<Vec<_>>());
    })
    .await;
}
