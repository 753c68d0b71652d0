//! Models of the queue with due times. What is behind the lane is in those of the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use herdless_core::{
    Client, ClientExt, CreateMode, Error, GetChildren, MultiOp, MultiReply, NodePath, Reply, Request, Response,
    Session, Sleep, Time,
};
use herdless_memory::check::{self, LoomLocks, LoomServer, Model, loom};
use herdless_memory::{ManualTime, MemoryClient};
use herdless_recipes::{DelayQueue, Delivery};

use crate::harness::{Count, Tamper, create_blindly, poll_times, sound, together};

/// Where time moves, the checker must see who looks at it and who moves it: it would not try their orders otherwise.
#[derive(Clone)]
struct Clock {
    time: ManualTime,
    seen: Option<Arc<loom::sync::Mutex<()>>>,
}

impl Clock {
    fn looking<R>(&self, look: impl FnOnce() -> R) -> R {
        let _seen = self.seen.as_ref().map(|seen| seen.lock().expect("no panic"));
        look()
    }
}

impl Time for Clock {
    fn now(&self) -> Duration {
        self.looking(|| self.time.now())
    }

    fn unix_millis(&self) -> u64 {
        self.looking(|| self.time.unix_millis())
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.looking(|| Box::pin(Sleeping { sleep: self.time.sleep(duration), clock: self.clone() }))
    }
}

struct Sleeping {
    sleep: Sleep,
    clock: Clock,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        clock.looking(|| self.sleep.as_mut().poll(cx))
    }
}

/// A client whose requests go through a function, and whose server may lag after a lost reply.
#[derive(Clone)]
struct Flaky {
    inner: MemoryClient<LoomLocks>,
    tamper: Tamper,
    lag: Option<Arc<Mutex<Lag>>>,
}

/// A server that shows what was read before the reply was lost, until it is made to catch up.
#[derive(Default)]
struct Lag {
    lags: bool,
    has_lagged: bool,
    replies: BTreeMap<String, Reply>,
}

impl Client for Flaky {
    fn submit(&self, request: Request) -> Response {
        let Some(lag) = &self.lag else { return (self.tamper)(&self.inner, request) };
        let moves = matches!(&request, Request::Multi(multi) if is_move(&multi.operations));
        let is_multi = matches!(request, Request::Multi(_));
        let is_read = matches!(request, Request::GetData(_) | Request::GetChildren(_) | Request::Exists(_));
        if matches!(request, Request::Sync(_)) {
            lag.lock().expect("no panic").lags = false;
        }
        let (key, lag) = (format!("{request:?}"), lag.clone());
        (self.tamper)(&self.inner, request).map(move |outcome| {
            let mut lag = lag.lock().expect("no panic");
            if is_multi {
                lag.lags = moves && matches!(outcome, Err(Error::ConnectionLost));
                lag.has_lagged |= lag.lags;
            }
            let mut answer = outcome?;
            match lag.replies.get(&key) {
                Some(old) if is_read && lag.lags => answer.reply = old.clone(),
                _ => drop(lag.replies.insert(key, answer.reply.clone())),
            }
            Ok(answer)
        })
    }

    fn session(&self) -> Session {
        self.inner.session()
    }
}

type Delayed = DelayQueue<Flaky, Clock>;

/// One execution's server and time, and what became of the items.
#[derive(Clone)]
struct World {
    server: LoomServer,
    tamper: Tamper,
    clock: Clock,
    /// Data of items that were acknowledged.
    done: Arc<Mutex<BTreeSet<Bytes>>>,
}

impl World {
    /// The clock stands at 0.
    fn new(tamper: Tamper, time_moves: bool) -> Self {
        let server = LoomServer::with_locks();
        let setup = server.connect();
        for path in ["/q", "/q/takers"] {
            block_on(setup.create(&node(path), "", CreateMode::Persistent)).expect("an empty tree takes it");
        }
        let seen = time_moves.then(|| Arc::new(loom::sync::Mutex::new(())));
        let clock = Clock { time: ManualTime::new(), seen };
        let world = Self { server, tamper, clock, done: Arc::default() };
        // Somebody has used the queue before.
        world.use_once(&world.queue().1);
        world
    }

    fn queue(&self) -> (Flaky, Delayed) {
        self.queue_with(None)
    }

    fn queue_with(&self, lag: Option<Lag>) -> (Flaky, Delayed) {
        let lag = lag.map(|lag| Arc::new(Mutex::new(lag)));
        let client = Flaky { inner: self.server.connect(), tamper: self.tamper, lag };
        (client.clone(), DelayQueue::new(client, node("/q"), self.clock.clone()))
    }

    /// A handle that has made its directories.
    fn warm(&self, lag: Option<Lag>) -> (Flaky, Delayed) {
        let (client, queue) = self.queue_with(lag);
        self.use_once(&queue);
        if let Some(lag) = &client.lag {
            lag.lock().expect("no panic").replies.clear();
        }
        (client, queue)
    }

    fn use_once(&self, queue: &Delayed) {
        block_on(queue.put_at(0, "warm")).expect("the session lives");
        block_on(take(queue).ack()).expect("the session lives");
    }

    fn advance(&self) {
        let time = self.clock.time.clone();
        self.clock.looking(|| ());
        time.advance(Duration::from_secs(1));
        self.clock.looking(|| ());
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

    /// Takes so many items and acknowledges each. Those that begin with a digit are due at this second.
    fn consume(&self, queue: &Delayed, items: usize) {
        let mut consumer = queue.consumer().build();
        for _ in 0..items {
            let delivery = block_on(consumer.take()).expect("a take outlives its session");
            let due = delivery.data().first().filter(|byte| byte.is_ascii_digit()).map_or(0, |byte| byte - b'0');
            assert!(self.clock.time.unix_millis() >= u64::from(due) * 1000, "before its time");
            self.ack(delivery);
        }
    }

    /// Everything put is done or handed out now. Then nothing is left: no item, bucket, record, claim, place in a line.
    fn assert_accounted(&self, put: usize) {
        let (_, queue) = self.queue();
        let mut consumer = queue.consumer().build();
        while let Some(delivery) = poll_times(1, Box::pin(consumer.take())) {
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
}

/// On the heap, because the stacks of loom's threads are small.
fn block_on<F: Future>(future: F) -> F::Output {
    check::block_on(Box::pin(future))
}

/// In a frame of its own, for the same reason.
#[inline(never)]
fn take(queue: &Delayed) -> Delivery<Flaky> {
    block_on(queue.consumer().build().take()).expect("a take outlives its session")
}

#[inline(never)]
fn take_within(polls: usize, queue: &Delayed) -> Option<Delivery<Flaky>> {
    let mut consumer = queue.consumer().build();
    poll_times(polls, Box::pin(consumer.take())).map(|delivery| delivery.expect("the session lives"))
}

fn node(path: &str) -> NodePath {
    NodePath::parse(path).expect("a valid path")
}

/// An item is put for a time that comes while a consumer looks, arms its watches, sleeps: it is handed out then, not before.
fn in_time(name: &'static str, tamper: Tamper) {
    let (slept, at_once) = (Count::default(), Count::default());
    let (slept_in, at_once_in) = (slept.clone(), at_once.clone());
    Model::new(name).preemption_bound(2).check(move || {
        let world = World::new(tamper, true);
        let (_, producer) = world.queue();
        let (_, consumer) = world.queue();
        let passing = world.clone();
        let put = move || block_on(producer.put_at(1, "1")).expect("the session lives");
        together!(put, move || passing.advance(); world.consume(&consumer, 1));
        slept_in.add(world.server.wake_ups() > 0);
        at_once_in.add(world.server.wake_ups() == 0);
        assert_eq!(world.clock.time.sleepers(), 0, "nobody sleeps on");
        world.assert_accounted(1);
    });
    slept.assert_reached("the consumer is woken by the put");
    at_once.assert_reached("the item is there first");
}

#[test]
fn delay_queue_in_time() {
    in_time("delay_queue_in_time", sound);
}

/// The consumer does not watch the due times.
#[test]
#[should_panic(expected = "deadlock")]
fn planted_delay_queue_due_not_watched() {
    fn tamper(client: &MemoryClient<LoomLocks>, mut request: Request) -> Response {
        if let Request::GetChildren(GetChildren { path, watch: true, .. }) = &mut request
            && path.as_str() == "/q/due"
        {
            *path = node("/q/dead");
        }
        client.submit(request)
    }
    in_time("planted_delay_queue_due_not_watched", tamper);
}

/// The consumer believes that every item is due a second sooner.
#[test]
#[should_panic(expected = "before its time")]
fn planted_delay_queue_early() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        let is_due = matches!(&request, Request::Create(create) if create.path.as_str().starts_with("/q/due/"));
        match request {
            Request::Create(mut create) if is_due => {
                let path = create.path.as_str().replace("0000000001000", "0000000000000");
                create.path = node(&path);
                client.submit(Request::Create(create))
            }
            request => client.submit(request),
        }
    }
    in_time("planted_delay_queue_early", tamper);
}

/// An item for a sooner time comes while a consumer goes to sleep until a later one: it is handed out first, in its time.
#[test]
fn delay_queue_earlier_item() {
    let woken = Count::default();
    let woken_in = woken.clone();
    Model::new("delay_queue_earlier_item").preemption_bound(2).check(move || {
        let world = World::new(sound, true);
        let (_, producer) = world.queue();
        block_on(producer.put_at(9000, "9")).expect("the session lives");
        let (_, consumer) = world.queue();
        let passing = world.clone();
        let put = move || {
            block_on(producer.put_at(1000, "1")).expect("the session lives");
            passing.advance();
        };
        together!(put; world.consume(&consumer, 1));
        woken_in.add(world.server.wake_ups() > 0);
        assert!(world.done.lock().expect("no panic").contains(&b"1"[..]));
        world.clock.time.advance(Duration::from_secs(9));
        world.assert_accounted(2);
    });
    woken.assert_reached("the sleeper is woken");
}

/// Producers put into a bucket that is due while consumers empty and remove it: every item is handed out once, and nobody
/// waits for ever.
fn delivered_once(
    name: &'static str,
    producers: &'static [&'static str],
    consumers: &'static [usize],
    bound: usize,
    tamper: Tamper,
) {
    let again = Count::default();
    let again_in = again.clone();
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(tamper, false);
        let mut threads = Vec::new();
        for items in producers {
            let (_, queue) = world.queue();
            threads.push(loom::thread::spawn(move || {
                for item in items.split(' ') {
                    block_on(queue.put_at(0, item)).expect("the session lives");
                }
            }));
        }
        let queues: Vec<_> = consumers.iter().map(|items| (world.queue().1, *items)).collect();
        let mut queues = queues.into_iter();
        let (mine, items) = queues.next().expect("at least one");
        for (queue, items) in queues {
            let world = world.clone();
            threads.push(loom::thread::spawn(move || world.consume(&queue, items)));
        }
        world.consume(&mine, items);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let buckets = world.server.inspect(|tree| tree.stat(&node("/q/due")).map(|stat| stat.cversion));
        // Two changes for the bucket that was there at first, two for each other.
        again_in.add(buckets > Some(4));
        world.assert_accounted(producers.iter().map(|items| items.split(' ').count()).sum());
    });
    again.assert_reached("the bucket is made again");
}

#[test]
fn delay_queue_one_producer_one_consumer() {
    delivered_once("delay_queue_one_producer_one_consumer", &["a b"], &[2], 3, sound);
}

#[test]
fn delay_queue_two_producers_one_consumer() {
    delivered_once("delay_queue_two_producers_one_consumer", &["a", "b"], &[2], 2, sound);
}

#[test]
fn delay_queue_one_producer_two_consumers() {
    delivered_once("delay_queue_one_producer_two_consumers", &["a b"], &[1, 1], 2, sound);
}

/// A bucket is removed with whatever is in it.
#[test]
#[should_panic(expected = "deadlock")]
fn planted_delay_queue_bucket_removed_unlooked() {
    fn tamper(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
        let Some(bucket) = bucket_removed(&request) else { return client.submit(request) };
        for number in 0..3 {
            let item = bucket.child(&format!("item-{number:010}")).expect("a valid name");
            let is_moved = matches!(&request, Request::Multi(multi) if multi.operations.iter().any(
                |operation| matches!(operation, MultiOp::Delete(delete) if delete.path == item)));
            if !is_moved {
                drop(client.delete(&item, herdless_core::Version::ANY));
            }
        }
        client.submit(request)
    }
    delivered_once("planted_delay_queue_bucket_removed_unlooked", &["a b"], &[2], 3, tamper);
}

/// The bucket that a move removes.
fn bucket_removed(request: &Request) -> Option<NodePath> {
    let Request::Multi(multi) = request else { return None };
    match multi.operations.last()? {
        MultiOp::Delete(delete) => Some(delete.path.clone()).filter(|path| path.parent() == Some(node("/q/due"))),
        _ => None,
    }
}

/// A consumer's session ends at any point of its take. Another takes the item if it can, and one more is put into the same
/// bucket: each item is done once.
fn consumer_expires(name: &'static str, tamper: Tamper) {
    let (deposed, again) = (Count::default(), Count::default());
    let (deposed_in, again_in) = (deposed.clone(), again.clone());
    Model::new(name).preemption_bound(2).check(move || {
        let world = World::new(tamper, false);
        let (_, producer) = world.queue();
        block_on(producer.put_at(0, "a")).expect("the session lives");
        let (client, victim) = world.queue();
        let its_world = world.clone();
        let again_in = again_in.clone();
        let go_on = move || {
            its_world.server.expire(&client.inner);
            again_in.add(take_within(1, &producer).is_some_and(|delivery| {
                its_world.ack(delivery);
                true
            }));
            block_on(producer.put_at(0, "b")).expect("the session lives");
        };
        together!(go_on; {
            let delivery = take(&victim);
            let data = delivery.data().clone();
            match block_on(delivery.ack()) {
                Ok(()) => world.is_done(&data),
                Err(error) => {
                    assert_eq!(error, Error::SessionExpired);
                    deposed_in.add(true);
                }
            }
        });
        world.assert_accounted(2);
    });
    deposed.assert_reached("the session ends before the acknowledgement");
    again.assert_reached("the other empties the bucket");
}

#[test]
fn delay_queue_consumer_expires_at_any_point() {
    consumer_expires("delay_queue_consumer_expires_at_any_point", sound);
}

/// Items are moved whether the place in line is still there: of a bucket that was removed and made again meanwhile the new item
/// goes, and the old one comes once more.
#[test]
#[should_panic(expected = "was done twice")]
fn planted_delay_queue_move_without_place() {
    fn tamper(client: &MemoryClient<LoomLocks>, mut request: Request) -> Response {
        let Request::Multi(multi) = &mut request else { return client.submit(request) };
        if !matches!(multi.operations.first(), Some(MultiOp::Check { .. })) || !is_move(&multi.operations) {
            return client.submit(request);
        }
        multi.session = None;
        multi.operations.remove(0);
        client.submit(request).map(|outcome| {
            let mut answer = outcome?;
            if let Reply::Multi(replies) = &mut answer.reply {
                replies.insert(0, MultiReply::Checked);
            }
            Ok(answer)
        })
    }
    consumer_expires("planted_delay_queue_move_without_place", tamper);
}

fn is_move(operations: &[MultiOp]) -> bool {
    operations.iter().any(|operation| match operation {
        MultiOp::Delete(delete) => delete.path.as_str().starts_with("/q/due/"),
        _ => false,
    })
}

/// A take is dropped at its k-th poll, each answer there one poll late: the item goes to the other consumer.
fn take_cancelled(name: &'static str, tamper: Tamper) {
    let (waiting, taken) = (Count::default(), Count::default());
    for polls in 0..=20 {
        let (waiting_in, taken_in) = (waiting.clone(), taken.clone());
        Model::new(format!("{name}/{polls}")).preemption_bound(2).check(move || {
            let world = World::new(tamper, false);
            let (client, victim) = world.warm(None);
            let (_, producer) = world.queue();
            block_on(producer.put_at(0, "a")).expect("the session lives");
            let (_, other) = world.queue();
            let its_world = world.clone();
            world.server.delay_replies(&client.inner);
            together!(move || its_world.consume(&other, 1); {
                match take_within(polls, &victim) {
                    Some(delivery) => {
                        taken_in.add(true);
                        drop(delivery);
                    }
                    None => waiting_in.add(polls > 6),
                }
            });
            world.assert_accounted(1);
        });
    }
    waiting.assert_reached("dropped while it moves or claims");
    taken.assert_reached("taken before it was dropped");
}

#[test]
fn delay_queue_take_cancelled_at_every_poll() {
    take_cancelled("delay_queue_take_cancelled_at_every_poll", sound);
}

/// An item is taken out of its bucket first, and put into the lane when that is known to have happened.
#[test]
#[should_panic(expected = "deadlock")]
fn planted_delay_queue_move_in_two_steps() {
    take_cancelled("planted_delay_queue_move_in_two_steps", in_two_steps);
}

fn in_two_steps(client: &MemoryClient<LoomLocks>, mut request: Request) -> Response {
    let Request::Multi(multi) = &mut request else { return client.submit(request) };
    if !is_move(&multi.operations) {
        return client.submit(request);
    }
    let is_create = |operation: &mut MultiOp| matches!(operation, MultiOp::Create(_));
    let creates: Vec<_> = multi.operations.extract_if(.., is_create).collect();
    let client_behind = client.clone();
    client.submit(request).map(move |outcome| {
        drop(client_behind.multi(creates));
        outcome
    })
}

/// A reply of a consumer is lost: every item is done, once.
fn consumer_loses_any_reply(name: &'static str, tamper: Tamper) {
    for k in 0..16 {
        Model::new(format!("{name}/{k}")).preemption_bound(2).check(move || {
            let world = World::new(tamper, false);
            let (client, queue) = world.warm(None);
            let (_, producer) = world.queue();
            block_on(producer.put_at(0, "a")).expect("the session lives");
            world.server.lose_reply_after(&client.inner, k);
            let put = move || block_on(producer.put_at(0, "b")).expect("the session lives");
            together!(put; world.consume(&queue, 2));
            world.assert_accounted(2);
        });
    }
}

#[test]
fn delay_queue_consumer_loses_any_reply() {
    consumer_loses_any_reply("delay_queue_consumer_loses_any_reply", sound);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_delay_queue_create_blindly() {
    consumer_loses_any_reply("planted_delay_queue_create_blindly", create_blindly);
}

/// The reply to a move is lost, and the server that is asked then lags; the bucket has been made again meanwhile. No item is
/// lost, none comes twice.
#[test]
fn delay_queue_server_lags() {
    let lagged = Count::default();
    for k in 0..16 {
        let lagged_in = lagged.clone();
        Model::new(format!("delay_queue_server_lags/{k}")).preemption_bound(2).check(move || {
            let world = World::new(sound, false);
            let (client, queue) = world.warm(Some(Lag::default()));
            let (_, producer) = world.queue();
            block_on(producer.put_at(0, "a")).expect("the session lives");
            world.server.lose_reply_after(&client.inner, k);
            let put = move || block_on(producer.put_at(0, "b")).expect("the session lives");
            together!(put; world.consume(&queue, 2));
            let lag = client.lag.as_ref().map(|lag| lag.lock().expect("no panic").has_lagged);
            lagged_in.add(lag == Some(true));
            world.assert_accounted(2);
        });
    }
    lagged.assert_reached("the reply to a move is lost");
}
