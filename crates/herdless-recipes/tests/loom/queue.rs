//! Models of the queue.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use herdless_core::{
    Client, ClientExt, CreateMode, Error, Exists, MultiOp, MultiReply, NodePath, Reply, Request, Response, Session,
    SetData, Stat, Version,
};
use herdless_memory::MemoryClient;
use herdless_memory::check::{self, LoomLocks, LoomServer, Model, loom};
use herdless_recipes::{Delivery, Queue};

use crate::harness::{Count, Tamper, poll_times, sound, together};

/// A client whose requests go through a function, and one of whose requests may get lost on its way to the server.
#[derive(Clone)]
struct Flaky {
    inner: MemoryClient<LoomLocks>,
    tamper: Tamper,
    /// How many transactions are sent before one is lost.
    lose_after: Arc<AtomicU64>,
}

impl Client for Flaky {
    fn submit(&self, request: Request) -> Response {
        if matches!(request, Request::Multi(_)) && self.lose_after.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Response::ready(Err(Error::ConnectionLost));
        }
        (self.tamper)(&self.inner, request)
    }

    fn session(&self) -> Session {
        self.inner.session()
    }
}

/// One execution's server, and what became of the items.
#[derive(Clone)]
struct World {
    server: LoomServer,
    tamper: Tamper,
    /// Data of items that were acknowledged, or taken at most once.
    done: Arc<Mutex<BTreeSet<Bytes>>>,
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let server = LoomServer::with_locks();
        let setup = server.connect();
        for path in ["/q", "/q/takers", "/q/putters"] {
            block_on(setup.create(&node(path), "", CreateMode::Persistent)).expect("an empty tree takes it");
        }
        Self { server, tamper, done: Arc::default() }
    }

    /// A handle that has made its directories, so that the models are about the rest.
    fn queue(&self, capacity: Option<u32>) -> (Flaky, Queue<Flaky>) {
        let client =
            Flaky { inner: self.server.connect(), tamper: self.tamper, lose_after: Arc::new(AtomicU64::new(u64::MAX)) };
        let builder = Queue::builder(client.clone(), node("/q"));
        let queue = match capacity {
            Some(items) => builder.capacity(items).build(),
            None => builder.build(),
        };
        block_on(queue.put_all(Vec::<Bytes>::new())).expect("nothing is put");
        (client, queue)
    }

    fn is_done(&self, data: &Bytes) {
        let is_first = self.done.lock().expect("no panic").insert(data.clone());
        assert!(is_first, "{data:?} was done twice");
    }

    /// Acknowledges, with a session that lives.
    fn ack(&self, delivery: Delivery<Flaky>) {
        let data = delivery.data().clone();
        block_on(delivery.ack()).expect("a live owner's acknowledgement");
        self.is_done(&data);
    }

    /// Takes so many items and acknowledges each.
    fn consume(&self, queue: &Queue<Flaky>, items: usize) {
        let mut consumer = queue.consumer().build();
        let mut last = None;
        for _ in 0..items {
            let delivery = block_on(consumer.take()).expect("a take outlives its session");
            assert!(Some(delivery.number()) > last || delivery.attempts() > 1, "out of order");
            last = Some(delivery.number());
            self.ack(delivery);
        }
    }

    /// Puts into a queue with room for one.
    fn put_within_bounds(&self, queue: &Queue<Flaky>, data: &'static str) {
        block_on(queue.put(data)).expect("a put outlives its session");
        let items = self.server.inspect(|tree| tree.stat(&node("/q/items")).map(|stat| stat.num_children));
        assert!(items <= Some(1), "more items than room");
    }

    /// Everything put is done or handed out now. Then nothing is left: no item, record, claim, marker, receipt, place in a
    /// line.
    fn assert_accounted(&self, put: usize) {
        let (_, queue) = self.queue(None);
        let mut consumer = queue.consumer().build();
        while let Some(delivery) = poll_times(1, consumer.take()) {
            self.ack(delivery.expect("the session lives"));
        }
        drop(consumer);
        let done = self.done.lock().expect("no panic").len();
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().matches('/').count() > 2).collect();
            assert!(left.is_empty(), "left behind: {left:?}");
        });
        assert_eq!(done, put, "done and put");
    }

    fn assert_no_watches(&self) {
        self.server.inspect(|tree| assert_eq!(tree.watch_count(), 0, "watches left"));
    }
}

/// On the heap, because the stacks of loom's threads are small.
fn block_on<F: Future>(future: F) -> F::Output {
    check::block_on(Box::pin(future))
}

fn node(path: &str) -> NodePath {
    NodePath::parse(path).expect("a valid path")
}

/// Changes the transactions that contain an operation on a path which begins like this.
fn change_multi(
    client: &MemoryClient<LoomLocks>,
    mut request: Request,
    keep: impl Fn(&mut MultiOp) -> bool,
) -> Response {
    let Request::Multi(multi) = &mut request else { return client.submit(request) };
    // A bug that is in the recipe does not stop at the session either.
    multi.session = None;
    let mut removed = Vec::new();
    let mut index = 0;
    multi.operations.retain_mut(|operation| {
        let is_kept = keep(operation);
        if !is_kept {
            let reply = match operation {
                MultiOp::SetData(_) => MultiReply::Set(Stat::default()),
                MultiOp::Check { .. } => MultiReply::Checked,
                MultiOp::Create(create) => MultiReply::Created(create.path.clone(), None),
                MultiOp::Delete(_) => MultiReply::Deleted,
            };
            removed.push((index, reply));
        }
        index += 1;
        is_kept
    });
    client.submit(request).map(move |outcome| {
        let mut answer = outcome?;
        if let Reply::Multi(replies) = &mut answer.reply {
            for (index, reply) in removed {
                replies.insert(index, reply);
            }
        }
        Ok(answer)
    })
}

fn path_of(operation: &MultiOp) -> &str {
    match operation {
        MultiOp::Create(create) => create.path.as_str(),
        MultiOp::Delete(delete) => delete.path.as_str(),
        MultiOp::SetData(set) => set.path.as_str(),
        MultiOp::Check { path, .. } => path.as_str(),
    }
}

/// Every item is handed out and acknowledged once, to each consumer in the order of putting; nobody waits for ever; nothing
/// is left.
fn delivered_once(
    name: &'static str,
    producers: &'static [u8],
    consumers: &'static [usize],
    bound: Option<usize>,
    tamper: Tamper,
) {
    let (waited, at_once) = (Count::default(), Count::default());
    let (waited_in, at_once_in) = (waited.clone(), at_once.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(tamper);
        let mut threads = Vec::new();
        for (producer, items) in producers.iter().enumerate() {
            let (_, queue) = world.queue(None);
            threads.push(loom::thread::spawn(move || {
                for item in 0..*items {
                    block_on(queue.put(vec![producer as u8, item])).expect("the connection lives");
                }
            }));
        }
        let queues: Vec<_> = consumers.iter().map(|items| (world.queue(None).1, *items)).collect();
        let mut queues = queues.into_iter();
        let (mine, items) = queues.next().expect("at least one");
        for (queue, items) in queues {
            let world = world.clone();
            threads.push(loom::thread::spawn(move || world.consume(&queue, items)));
        }
        world.consume(&mine, items);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        waited_in.add(world.server.wake_ups() > 0);
        at_once_in.add(world.server.wake_ups() == 0);
        world.assert_no_watches();
        world.assert_accounted(producers.iter().map(|items| usize::from(*items)).sum());
    });
    waited.assert_reached("a consumer waits");
    at_once.assert_reached("nobody waits");
}

#[test]
fn queue_one_producer_one_consumer() {
    delivered_once("queue_one_producer_one_consumer", &[1], &[1], None, sound);
}

#[test]
fn queue_in_order() {
    delivered_once("queue_in_order", &[3], &[3], Some(3), sound);
}

#[test]
fn queue_two_producers_one_consumer() {
    delivered_once("queue_two_producers_one_consumer", &[1, 1], &[2], Some(3), sound);
}

#[test]
fn queue_one_producer_two_consumers() {
    delivered_once("queue_one_producer_two_consumers", &[2], &[1, 1], Some(2), sound);
}

#[test]
fn queue_two_producers_two_consumers() {
    delivered_once("queue_two_producers_two_consumers", &[1, 1], &[1, 1], Some(2), sound);
}

#[test]
#[should_panic(expected = "a live owner's acknowledgement")]
fn planted_queue_cursor_not_moved() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        let claims = matches!(&request, Request::Multi(multi) if multi.operations.len() > 1);
        change_multi(client, request, |operation| !claims || path_of(operation) != "/q/items")
    }
    delivered_once("planted_queue_cursor_not_moved", &[2], &[1, 1], Some(2), tamper);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_queue_line_not_left() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        change_multi(client, request, |operation| !path_of(operation).starts_with("/q/takers/"))
    }
    delivered_once("planted_queue_line_not_left", &[2], &[1, 1], Some(2), tamper);
}

/// The watch on the next item is left on nothing: nobody is woken.
#[test]
#[should_panic(expected = "deadlock")]
fn planted_queue_watch_the_wrong_number() {
    fn tamper(client: &MemoryClient<LoomLocks>, mut request: Request) -> Response {
        if let Request::Exists(Exists { path, watch: true }) = &mut request {
            *path = node("/q/items/item-9999999999");
        }
        client.submit(request)
    }
    delivered_once("planted_queue_watch_the_wrong_number", &[1], &[1], None, tamper);
}

/// A consumer's session ends at any point of its take and acknowledgement. What it does not get acknowledged the other gets;
/// the other's acknowledgement is never refused.
fn consumer_expires(name: &'static str, bound: usize, tamper: Tamper) {
    let (deposed, in_time) = (Count::default(), Count::default());
    let (deposed_in, in_time_in) = (deposed.clone(), in_time.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(tamper);
        let (_, producer) = world.queue(None);
        block_on(producer.put_all(["a", "b"])).expect("the connection lives");
        let (client, victim) = world.queue(None);
        let (_, other) = world.queue(None);
        let (server, its_world) = (world.server.clone(), world.clone());
        together!(move || server.expire(&client.inner), move || its_world.consume(&other, 1); {
            let delivery = block_on(victim.consumer().build().take()).expect("a take outlives its session");
            let data = delivery.data().clone();
            match block_on(delivery.ack()) {
                Ok(()) => {
                    in_time_in.add(true);
                    world.is_done(&data);
                }
                Err(error) => {
                    assert_eq!(error, Error::SessionExpired);
                    deposed_in.add(true);
                }
            }
        });
        world.assert_accounted(2);
    });
    deposed.assert_reached("the session ends before the acknowledgement");
    in_time.assert_reached("the acknowledgement is in time");
}

#[test]
fn queue_consumer_expires_at_any_point() {
    consumer_expires("queue_consumer_expires_at_any_point", 3, sound);
}

#[test]
#[should_panic(expected = "was done twice")]
fn planted_queue_ack_unchecked() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        let Request::Multi(multi) = &request else { return client.submit(request) };
        // Only what settles begins with the claim.
        if !multi.operations.first().is_some_and(|operation| path_of(operation).starts_with("/q/claims/")) {
            return client.submit(request);
        }
        let own = multi.operations.iter().map(path_of).filter(|path| !path.starts_with("/q/items/")).map(node);
        let own: Vec<_> = own.collect();
        let response = change_multi(client, request, |operation| path_of(operation).starts_with("/q/items/"));
        own.iter().for_each(|path| drop(client.delete(path, Version::ANY)));
        response
    }
    consumer_expires("planted_queue_ack_unchecked", 3, tamper);
}

/// The claim goes through whether the place in line is still there: it belongs to a later session than its consumer believes,
/// and nobody gives it back.
#[test]
#[should_panic(expected = "deadlock")]
fn planted_queue_claim_without_place() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        let mut place = None;
        if let Request::Multi(multi) = &request {
            place = multi.operations.iter().map(path_of).find(|path| path.starts_with("/q/takers/")).map(node);
        }
        let response = change_multi(client, request, |operation| !path_of(operation).starts_with("/q/takers/"));
        if let Some(place) = place {
            drop(client.delete(&place, Version::ANY));
        }
        response
    }
    consumer_expires("planted_queue_claim_without_place", 2, tamper);
}

/// A take is dropped at its k-th poll, each answer there one poll late: the item goes to the other consumer, its attempts
/// counted only if it was handed out.
fn take_cancelled(name: &'static str, tamper: Tamper) {
    let (waiting, taken) = (Count::default(), Count::default());
    for polls in 0..=11 {
        let (waiting_in, taken_in) = (waiting.clone(), taken.clone());
        Model::new(format!("{name}/{polls}")).preemption_bound(2).check(move || {
            let world = World::new(tamper);
            let (_, producer) = world.queue(None);
            let (client, victim) = world.queue(None);
            let (_, other) = world.queue(None);
            let its_world = world.clone();
            let put = move || block_on(producer.put("a")).expect("the connection lives");
            let was_taken = Arc::new(Mutex::new(false));
            let its_taken = was_taken.clone();
            let consume = move || {
                let delivery = block_on(other.consumer().build().take()).expect("the session lives");
                assert!(delivery.attempts() == 1 || *its_taken.lock().expect("no panic"), "counted without a delivery");
                its_world.ack(delivery);
            };
            world.server.delay_replies(&client.inner);
            together!(put, consume; {
                let mut consumer = victim.consumer().build();
                match poll_times(polls, consumer.take()) {
                    Some(delivery) => {
                        taken_in.add(true);
                        *was_taken.lock().expect("no panic") = true;
                        drop(delivery.expect("the session lives"));
                    }
                    None => waiting_in.add(polls > 6),
                }
            });
            world.assert_accounted(1);
        });
    }
    waiting.assert_reached("dropped while it waits or claims");
    taken.assert_reached("taken before it was dropped");
}

#[test]
fn queue_take_cancelled_at_every_poll() {
    take_cancelled("queue_take_cancelled_at_every_poll", sound);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_queue_claim_not_given_back() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        match &request {
            Request::Release(release) if release.path.as_str().starts_with("/q/claims/") => {
                Response::ready(Ok(Reply::Released(true).into()))
            }
            _ => client.submit(request),
        }
    }
    take_cancelled("planted_queue_claim_not_given_back", tamper);
}

/// What a model loses.
#[derive(Clone, Copy)]
enum Loss {
    /// The k-th reply, its request carried out.
    Reply(u64),
    /// The k-th transaction, on its way to the server.
    Request(u64),
}

fn losses(replies: u64, requests: u64) -> impl Iterator<Item = (String, Loss)> {
    let replies = (0..replies).map(|k| (format!("reply {k}"), Loss::Reply(k)));
    replies.chain((0..requests).map(|k| (format!("request {k}"), Loss::Request(k))))
}

impl World {
    fn lose(&self, client: &Flaky, loss: Loss) {
        match loss {
            Loss::Reply(k) => self.server.lose_reply_after(&client.inner, k),
            Loss::Request(k) => client.lose_after.store(k, Ordering::Relaxed),
        }
    }
}

impl World {
    /// Claims two items at once, and has both acknowledgements on their way together.
    fn consume_two_at_once(&self, queue: &Queue<Flaky>) {
        let mut consumer = queue.consumer().prefetch(2).build();
        let mut acks = Vec::new();
        for _ in 0..2 {
            let delivery = block_on(consumer.take()).expect("the session lives");
            acks.push((delivery.data().clone(), Box::pin(delivery.ack())));
        }
        for (data, ack) in acks {
            block_on(ack).expect("a live owner's acknowledgement");
            self.is_done(&data);
        }
    }
}

/// A request or a reply of a consumer that has two items on their way to being acknowledged is lost: both are done, once.
fn consumer_loses(name: &'static str, tamper: Tamper) {
    for (what, loss) in losses(12, 3) {
        Model::new(format!("{name}/{what}")).preemption_bound(2).check(move || {
            let world = World::new(tamper);
            let (_, producer) = world.queue(None);
            block_on(producer.put_all(["a", "b", "c"])).expect("the connection lives");
            let (client, queue) = world.queue(None);
            let (_, other) = world.queue(None);
            world.lose(&client, loss);
            let its_world = world.clone();
            together!(move || its_world.consume(&other, 1); world.consume_two_at_once(&queue));
            world.assert_accounted(3);
        });
    }
}

#[test]
fn queue_consumer_loses_anything() {
    consumer_loses("queue_consumer_loses_anything", sound);
}

/// Acknowledgements that do not depend on the one before: the last one lets the claim go, and an item is nobody's.
#[test]
#[should_panic(expected = "left behind")]
fn planted_queue_acks_unchained() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        change_multi(client, request, |operation| {
            match operation {
                MultiOp::SetData(SetData { path, version, .. })
                | MultiOp::Delete(herdless_core::Delete { path, version })
                    if path.as_str().starts_with("/q/batches/") =>
                {
                    *version = Version::ANY;
                }
                _ => {}
            }
            true
        })
    }
    consumer_loses("planted_queue_acks_unchained", tamper);
}

/// After a lost reply the claim is forgotten: its items are nobody's while the session lives.
#[test]
#[should_panic(expected = "deadlock")]
fn planted_queue_claim_blindly() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        match &request {
            Request::FindOwn(find) if find.prefix.as_str().starts_with("/q/claims/") => {
                Response::ready(Ok(Reply::Found(None).into()))
            }
            _ => client.submit(request),
        }
    }
    consumer_loses("planted_queue_claim_blindly", tamper);
}

/// A request or a reply of a consumer at most once is lost: as long as its session lives it gets every item that it removed.
fn at_most_once_loses(name: &'static str, tamper: Tamper) {
    for (what, loss) in losses(9, 1) {
        Model::new(format!("{name}/{what}")).preemption_bound(2).check(move || {
            let world = World::new(tamper);
            let (_, producer) = world.queue(None);
            block_on(producer.put_all(["a", "b"])).expect("the connection lives");
            let (client, queue) = world.queue(None);
            let (_, other) = world.queue(None);
            world.lose(&client, loss);
            let its_world = world.clone();
            let take = |world: &World, queue: &Queue<Flaky>| {
                world.is_done(&block_on(queue.at_most_once(1).take()).expect("the session lives").data);
            };
            together!(move || take(&its_world, &other); take(&world, &queue));
            world.assert_accounted(2);
        });
    }
}

#[test]
fn queue_at_most_once_loses_anything() {
    at_most_once_loses("queue_at_most_once_loses_anything", sound);
}

/// It is not looked whether the removal happened: the next item is taken instead.
#[test]
#[should_panic(expected = "deadlock")]
fn planted_queue_removal_forgotten() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        match &request {
            Request::Exists(Exists { path, .. }) if path.as_str().starts_with("/q/takers/") => {
                Response::ready(Err(Error::SessionExpired))
            }
            _ => client.submit(request),
        }
    }
    at_most_once_loses("planted_queue_removal_forgotten", tamper);
}

/// A request or a reply of `put_once` is lost while a consumer takes the item and another producer puts the same id: of the
/// two puts as many say "put" as there were items.
fn put_once_loses(name: &'static str, tamper: Tamper) {
    let known = Count::default();
    for (what, loss) in losses(3, 1) {
        let known_in = known.clone();
        Model::new(format!("{name}/{what}")).preemption_bound(3).check(move || {
            let world = World::new(tamper);
            let (client, producer) = world.queue(None);
            let (_, second) = world.queue(None);
            let (_, consumer) = world.queue(None);
            world.lose(&client, loss);
            let puts = Arc::new(AtomicU64::new(0));
            let its_puts = puts.clone();
            let put = move || {
                let was_put = block_on(second.put_once("id", "a")).expect("the session lives");
                its_puts.fetch_add(u64::from(was_put), Ordering::Relaxed);
            };
            let taken = Arc::new(AtomicU64::new(0));
            let its_taken = taken.clone();
            let consume = move || {
                let item = block_on(consumer.at_most_once(1).take()).expect("the session lives");
                assert_eq!(item.id.as_deref(), Some("id"));
                its_taken.fetch_add(1, Ordering::Relaxed);
            };
            together!(put, consume; {
                let was_put = block_on(producer.put_once("id", "a")).expect("the session lives");
                puts.fetch_add(u64::from(was_put), Ordering::Relaxed);
            });
            let (_, rest) = world.queue(None);
            let left = block_on(rest.len()).expect("the session lives");
            let (puts, items) = (puts.load(Ordering::Relaxed), taken.load(Ordering::Relaxed) + left);
            assert_eq!(puts, items, "as many puts as items");
            known_in.add(puts == 1);
            world.server.inspect(|tree| {
                let receipts = tree.paths().filter(|path| path.as_str().starts_with("/q/receipts/")).count();
                assert_eq!(receipts, 0, "receipts left");
            });
        });
    }
    known.assert_reached("one of the two finds the other's item");
}

#[test]
fn queue_put_once_loses_anything() {
    put_once_loses("queue_put_once_loses_anything", sound);
}

#[test]
#[should_panic(expected = "as many puts as items")]
fn planted_queue_put_once_blindly() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        match &request {
            Request::FindOwn(find) if find.prefix.as_str().starts_with("/q/receipts/") => {
                Response::ready(Ok(Reply::Found(None).into()))
            }
            _ => client.submit(request),
        }
    }
    put_once_loses("planted_queue_put_once_blindly", tamper);
}

/// Two producers and a consumer on a queue with room for one: never more, nobody waits for ever; `loss` of one producer.
fn bounded(name: String, bound: usize, loss: Option<Loss>, tamper: Tamper) {
    let full = Count::default();
    let full_in = full.clone();
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(tamper);
        let (client, first) = world.queue(Some(1));
        let (_, second) = world.queue(Some(1));
        let (_, consumer) = world.queue(None);
        if let Some(loss) = loss {
            world.lose(&client, loss);
        }
        let (putting, consuming) = (world.clone(), world.clone());
        together!(move || putting.put_within_bounds(&second, "b"), move || consuming.consume(&consumer, 2); world.put_within_bounds(&first, "a"));
        full_in.add(world.server.wake_ups() > 0);
        world.assert_accounted(2);
    });
    full.assert_reached("somebody waits");
}

#[test]
fn queue_bounded() {
    bounded("queue_bounded".to_owned(), 2, None, sound);
}

#[test]
fn queue_bounded_loses_anything() {
    for (what, loss) in losses(5, 1) {
        bounded(format!("queue_bounded_loses_anything/{what}"), 2, Some(loss), sound);
    }
}

#[test]
#[should_panic(expected = "more items than room")]
fn planted_queue_room_not_checked() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        match &request {
            Request::Exists(Exists { path, .. }) if path.as_str() == "/q/items" => {
                Response::ready(Ok(Reply::Exists(Some(Stat::default())).into()))
            }
            _ => client.submit(request),
        }
    }
    bounded("planted_queue_room_not_checked".to_owned(), 2, None, tamper);
}

/// Two producers try for the same room while the session of one of them ends at any point: one gets it.
fn producer_expires(name: &'static str, tamper: Tamper) {
    let (again, mine) = (Count::default(), Count::default());
    let (again_in, mine_in) = (again.clone(), mine.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(tamper);
        let (client, victim) = world.queue(Some(1));
        let (_, other) = world.queue(Some(1));
        let (server, its_client) = (world.server.clone(), client.inner.clone());
        let first = client.session().id();
        let puts = Arc::new(AtomicU64::new(0));
        let its_puts = puts.clone();
        let put = |queue: &Queue<Flaky>, puts: &AtomicU64, data: &'static str| {
            let was_put = match block_on(queue.try_put(data)) {
                // Its session ended between its turn and its request: here that means that nothing was sent.
                Err(Error::SessionExpired) => false,
                outcome => outcome.expect("a put outlives its session otherwise"),
            };
            puts.fetch_add(u64::from(was_put), Ordering::Relaxed);
            was_put
        };
        let was_put = together!(
            move || server.expire(&its_client),
            move || {
                put(&other, &its_puts, "b");
            };
            put(&victim, &puts, "a")
        );
        again_in.add(first != client.session().id());
        mine_in.add(was_put);
        let items = world.server.inspect(|tree| tree.stat(&node("/q/items")).map(|stat| stat.num_children));
        assert!(items <= Some(1), "more items than room");
        world.assert_accounted(usize::try_from(puts.load(Ordering::Relaxed)).expect("a count"));
    });
    again.assert_reached("the session ends");
    mine.assert_reached("the one whose session ends gets the room");
}

#[test]
fn queue_bounded_producer_expires_at_any_point() {
    producer_expires("queue_bounded_producer_expires_at_any_point", sound);
}

/// A put goes through whether the place in line is still there: a deposed producer fills the room of the next one.
#[test]
#[should_panic(expected = "more items than room")]
fn planted_queue_bounded_put_without_place() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        let mut place = None;
        if let Request::Multi(multi) = &request {
            place = multi.operations.iter().map(path_of).find(|path| path.starts_with("/q/putters/")).map(node);
        }
        let response = change_multi(client, request, |operation| !path_of(operation).starts_with("/q/putters/"));
        if let Some(place) = place {
            drop(client.delete(&place, Version::ANY));
        }
        response
    }
    producer_expires("planted_queue_bounded_put_without_place", tamper);
}

/// The session of a consumer at most once ends at any point: no item is handed out twice, and nobody waits for ever for one that
/// was not removed.
#[test]
fn queue_at_most_once_expires_at_any_point() {
    let again = Count::default();
    let again_in = again.clone();
    Model::new("queue_at_most_once_expires_at_any_point").preemption_bound(3).check(move || {
        let world = World::new(sound);
        let (_, producer) = world.queue(None);
        block_on(producer.put_all(["a", "b"])).expect("the connection lives");
        let (client, victim) = world.queue(None);
        let (_, other) = world.queue(None);
        let (server, its_client) = (world.server.clone(), client.inner.clone());
        let first = client.session().id();
        let its_world = world.clone();
        let take = |world: &World, queue: &Queue<Flaky>| {
            world.is_done(&block_on(queue.at_most_once(1).take()).expect("a take outlives its session").data);
        };
        together!(move || server.expire(&its_client), move || take(&its_world, &other); take(&world, &victim));
        again_in.add(first != client.session().id());
        world.assert_accounted(2);
    });
    again.assert_reached("the session ends");
}

/// A producer that waits for room is dropped at its k-th poll: the one behind it gets the room.
fn bounded_put_cancelled(name: &'static str, tamper: Tamper) {
    let cancelled = Count::default();
    for polls in 0..=9 {
        let cancelled_in = cancelled.clone();
        Model::new(format!("{name}/{polls}")).preemption_bound(2).check(move || {
            let world = World::new(tamper);
            let (_, unbounded) = world.queue(None);
            block_on(unbounded.put("a")).expect("the connection lives");
            let (client, victim) = world.queue(Some(1));
            let (_, other) = world.queue(Some(1));
            world.server.delay_replies(&client.inner);
            let consuming = world.clone();
            let put = move || block_on(other.put("b")).expect("the session lives");
            let is_put = together!(put, move || consuming.consume(&unbounded, 2); {
                poll_times(polls, victim.put("c")).is_some()
            });
            cancelled_in.add(!is_put && polls > 4);
            // The one that was dropped may have been put, or not.
            world.assert_accounted(if is_put { 3 } else { world.done_in_all(2) });
        });
    }
    cancelled.assert_reached("dropped while it waits for room");
}

#[test]
fn queue_bounded_put_cancelled_at_every_poll() {
    bounded_put_cancelled("queue_bounded_put_cancelled_at_every_poll", sound);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_queue_producer_stays_in_line() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        match &request {
            Request::Release(release) if release.path.as_str().starts_with("/q/putters/") => {
                Response::ready(Ok(Reply::Released(true).into()))
            }
            _ => client.submit(request),
        }
    }
    bounded_put_cancelled("planted_queue_producer_stays_in_line", tamper);
}

impl World {
    /// How many items there have ever been, at least `least`.
    fn done_in_all(&self, least: usize) -> usize {
        let made =
            self.server.inspect(|tree| tree.stat(&node("/q/items")).map(|stat| stat.cversion + stat.num_children));
        usize::try_from(made.unwrap_or(0) / 2).expect("a count").max(least)
    }
}
