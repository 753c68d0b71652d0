//! Models of the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use herdless_core::{
    Bytes, Client as _, ClientExt, CreateMode, Error, NodePath, Reply, Request, Response, Session, Time,
};
use herdless_memory::ManualTime;
use herdless_memory::check::shuttle::{future::block_on, thread};
use herdless_memory::check::{Schedules, ShuttleServer, poll_times};
use herdless_recipes::{Consumer, Delivery, Queue};

use crate::harness::{
    Client, Count, Tamper, Tampered, Whistle, cancelled_somewhere, contenders, dice, disturb, impatient, linger,
    one_in, sound, unreliable,
};

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 4;
const CLIENTS: usize = PRODUCERS + CONSUMERS;
const ITEMS: usize = 2;

/// One execution's server, and what is known of the items. On a lock of std, so that a failed assertion is the last step.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) server: ShuttleServer,
    pub(crate) tamper: Tamper,
    /// Stands still, unless items wait for their time.
    pub(crate) time: ManualTime,
    known: Arc<Mutex<Known>>,
    /// Nothing is left to do.
    over: Whistle,
}

#[derive(Default)]
pub(crate) struct Known {
    /// Whether it is certain that the item was put.
    pub(crate) put: BTreeMap<Bytes, bool>,
    /// Who works on what.
    handed_out: Vec<(Bytes, Session)>,
    done: BTreeSet<Bytes>,
    /// Whose acknowledgement may or may not have happened.
    open: BTreeSet<Bytes>,
    pub(crate) producers_done: usize,
}

/// What has happened.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    gave_up: Count,
    again: Count,
    lost: Count,
    dead: Count,
    open: Count,
}

impl Counts {
    pub(crate) fn assert_reached(&self, expires: bool) {
        self.gave_up.assert_reached("something is given up");
        self.again.assert_reached("an item is handed out again");
        self.dead.assert_reached("an item is put aside");
        if expires {
            self.open.assert_reached("the outcome of a put is open");
            self.lost.assert_reached("the session ends while an item is worked on");
        }
    }
}

pub(crate) fn node(path: &str) -> NodePath {
    NodePath::parse(path).expect("a valid path")
}

/// The time in an item that waits for it: what is behind the `@`.
pub(crate) fn due(data: &Bytes) -> u64 {
    let due = std::str::from_utf8(data).ok().and_then(|text| text.split_once('@'));
    due.map_or(0, |(_, due)| due.parse().expect("a time"))
}

impl Known {
    /// An item that is certainly done is not handed out, nor one that is certainly somebody else's.
    fn hand_out(&mut self, delivery: &Delivery<Tampered>, session: Session) {
        let data = delivery.data();
        assert!(self.put.contains_key(data), "an item from nowhere");
        assert!(!self.done.contains(data) || !delivery.is_valid(), "{data:?} is handed out after it was done");
        for (other, its) in &self.handed_out {
            // Validity only ever ends, so one that is valid after the other was, was so at the same time.
            assert!(other != data || !(its.is_valid() && delivery.is_valid()), "{data:?} is handed out to two");
        }
        self.handed_out.push((data.clone(), session));
    }

    fn give_back(&mut self, data: &Bytes, session: &Session) {
        self.handed_out.retain(|(other, its)| other != data || its.id() != session.id());
    }

    fn is_done(&mut self, data: Bytes) {
        assert!(self.done.insert(data.clone()), "{data:?} was done twice");
    }
}

impl World {
    pub(crate) fn new(tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        let setup = server.connect();
        for path in ["/q", "/q/takers", "/q/putters"] {
            block_on(setup.create(&node(path), "", CreateMode::Persistent)).expect("an empty tree takes it");
        }
        Self { server, tamper, time: ManualTime::new(), known: Arc::default(), over: Whistle::default() }
    }

    /// A handle that has made its directories, so that the faults meet the rest.
    fn queue(&self, client: &Client) -> Queue<Tampered> {
        let queue = Queue::new(Tampered::new(client.clone(), self.tamper), node("/q"));
        block_on(queue.put_all(Vec::<Bytes>::new())).expect("nothing is put");
        unreliable(&self.server, client);
        queue
    }

    pub(crate) fn known<R>(&self, look: impl FnOnce(&mut Known) -> R) -> R {
        look(&mut self.known.lock().expect("no panic"))
    }

    fn produce(&self, client: &Client, number: usize, counts: &Counts) {
        let queue = self.queue(client);
        for item in 0..ITEMS {
            linger(10);
            let name = format!("{number}-{item}");
            let item = Bytes::from(name.clone());
            self.known(|known| known.put.insert(item.clone(), false));
            let put = match one_in(2) {
                true => impatient(5, queue.put_once(&name, item.clone())).map(|put| put.map(drop)),
                false => impatient(5, queue.put(item.clone())),
            };
            self.was_put(item, put, counts);
        }
        self.known(|known| known.producers_done += 1);
    }

    /// Writes down what is known of a put; `None` for one that was given up.
    pub(crate) fn was_put(&self, item: Bytes, put: Option<Result<(), Error>>, counts: &Counts) {
        match put {
            Some(Ok(())) => drop(self.known(|known| known.put.insert(item, true))),
            Some(Err(error)) => {
                assert!(matches!(error, Error::SessionExpired | Error::ConnectionLost), "{error}");
                counts.open.add(true);
            }
            None => counts.gave_up.add(true),
        }
    }

    /// Takes items until nothing is left to do.
    pub(crate) fn consume(&self, client: &Client, mut consumer: Consumer<Tampered>, counts: &Counts) {
        while !self.over.is_blown() {
            linger(5);
            let taken = match one_in(5) {
                true => cancelled_somewhere(40, consumer.take()),
                false => self.over.unless_blown(consumer.take()),
            };
            match taken {
                None => counts.gave_up.add(true),
                Some(delivery) => self.work(client, delivery.expect("a take outlives its session"), counts),
            }
        }
    }

    /// Works on an item, and acknowledges it, gives it back, or drops it.
    fn work(&self, client: &Client, delivery: Delivery<Tampered>, counts: &Counts) {
        counts.again.add(delivery.attempts() > 1);
        let session = client.session();
        if !delivery.is_valid() {
            return counts.lost.add(true);
        }
        let data = delivery.data().clone();
        assert!(self.time.unix_millis() >= due(&data), "before its time");
        self.known(|known| known.hand_out(&delivery, session.clone()));
        linger(8);
        self.known(|known| known.give_back(&data, &session));
        match dice(6) {
            0 => drop(delivery),
            1 => drop(impatient(3, delivery.nack())),
            _ => match impatient(5, delivery.ack()) {
                Some(Ok(())) => self.known(|known| known.is_done(data)),
                Some(Err(error)) => {
                    assert_eq!(error, Error::SessionExpired);
                    counts.lost.add(true);
                    self.known(|known| _ = known.open.insert(data));
                }
                None => {
                    counts.gave_up.add(true);
                    self.known(|known| _ = known.open.insert(data));
                }
            },
        }
    }

    /// Waits until the producers have done and no item is left, and says that it is over. It must come to that: the model ends
    /// after so many steps otherwise.
    pub(crate) fn referee(&self, producers: usize) {
        let work = ["/q/items/", "/q/batches/", "/q/due/"];
        let is_work = |path: &NodePath| work.iter().any(|work| path.as_str().starts_with(work));
        while self.known(|known| known.producers_done < producers)
            || self.server.inspect(|tree| tree.paths().any(is_work))
        {
            thread::yield_now();
        }
        self.over.blow();
    }

    /// Every item that was put was acknowledged, or is in the queue, or was put aside, once; then nothing is left.
    pub(crate) fn assert_accounted(&self, mut consumer: Consumer<Client>, counts: &Counts) {
        let queue = Queue::new(self.server.connect(), node("/q"));
        let mut there: Vec<Bytes> = Vec::new();
        while let Some(delivery) = poll_times(1, consumer.take()) {
            let delivery = delivery.expect("the session lives");
            there.push(delivery.data().clone());
            block_on(delivery.ack()).expect("the session lives");
        }
        drop(consumer);
        for letter in block_on(queue.dead_letters()).expect("the session lives") {
            counts.dead.add(true);
            there.push(letter.data.clone());
            assert!(block_on(queue.discard(&letter)).expect("the session lives"), "a letter is gone");
        }
        drop(queue);
        let known = self.known.lock().expect("no panic");
        there.extend(known.done.iter().cloned());
        let count = there.len();
        there.sort();
        there.dedup();
        assert_eq!(there.len(), count, "an item is there twice");
        for (item, is_certain) in &known.put {
            let is_there = there.contains(item) || known.open.contains(item);
            assert!(is_there || !is_certain, "{item:?} is missing");
        }
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().matches('/').count() > 2).collect();
            assert!(left.is_empty(), "left behind: {left:?}");
        });
    }
}

/// Three producers and four consumers that acknowledge, give back, drop and give up at random points, over replies that are
/// late and lost and connections that are cut; sessions end where `expires`. What is done is not handed out again, nothing
/// is handed out to two, nobody waits while there is an item, nothing is lost, nothing is left.
fn queue(name: &'static str, expires: bool, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(tamper);
        let clients: Arc<[_]> = (0..CLIENTS).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        let counts_of = counts.clone();
        contenders(&world, CLIENTS + 1, move |world, number| {
            let Some(client) = clients.get(number) else {
                disturb(&world.server, &clients, 4, expires);
                return world.referee(PRODUCERS);
            };
            match number < PRODUCERS {
                true => world.produce(client, number, &counts_of),
                false => {
                    let consumer = world.queue(client).consumer().prefetch(1 + dice(3)).max_attempts(3).build();
                    world.consume(client, consumer, &counts_of);
                }
            }
        });
        let queue = Queue::new(world.server.connect(), node("/q"));
        world.assert_accounted(queue.consumer().build(), &counts);
    });
    counts.assert_reached(expires);
}

#[test]
fn queue_of_seven() {
    queue("queue_of_seven", false, sound);
}

#[test]
fn queue_expiring_of_seven() {
    queue("queue_expiring_of_seven", true, sound);
}

/// What was lost is sent again without a look for what became of it.
fn repeat_blindly(client: &Client, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

/// What nobody knows of stays: a receipt, which is found in the end, or a place that is the first in the line for ever.
#[test]
fn planted_queue_repeat_blindly() {
    let found = std::panic::catch_unwind(|| queue("planted_queue_repeat_blindly", false, repeat_blindly));
    let message = found.expect_err("it is found").downcast::<String>().expect("a message");
    assert!(["left behind", "exceeded max_steps"].iter().any(|text| message.contains(text)), "{message}");
}
