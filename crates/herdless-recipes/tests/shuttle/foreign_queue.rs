//! Models of queues in the layouts of others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use herdless_core::{Bytes, Client as _, ClientExt, CreateMode, Error, MultiOp, NodePath, Reply, Request, Response};
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{ForeignItem, ForeignQueue, ForeignQueueLayout};

use crate::harness::{
    Client, Count, Tamper, Tampered, Whistle, cancelled_somewhere, contenders, disturb, impatient, linger, one_in,
    sound, unreliable,
};

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 4;
const CLIENTS: usize = PRODUCERS + CONSUMERS;
const ITEMS: usize = 2;

/// One execution's server, and what is known of the items.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    tamper: Tamper,
    expires: bool,
    known: Arc<Mutex<Known>>,
    /// Everybody has done what there was to do.
    over: Whistle,
}

#[derive(Default)]
struct Known {
    /// Whether it is certain that the item was put.
    put: BTreeMap<Bytes, bool>,
    taken: Vec<Bytes>,
    /// How many takes may or may not have removed an item that nobody has.
    open_takes: usize,
    producers_done: usize,
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    open_put: Count,
    open_take: Count,
    gone: Count,
    waited: Count,
}

fn only(item: ForeignItem) -> Bytes {
    let [data] = item.data.try_into().expect("one item in each node");
    data
}

impl World {
    fn new(expires: bool, tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        let setup = server.connect();
        for path in ["/queue", "/queue-receipts"] {
            let path = NodePath::parse(path).expect("a valid path");
            block_on(setup.create(&path, "", CreateMode::Persistent)).expect("an empty tree takes it");
        }
        Self { server, tamper, expires, known: Arc::default(), over: Whistle::default() }
    }

    fn queue(&self, client: &Client) -> ForeignQueue<Tampered> {
        let path = NodePath::parse("/queue").expect("a valid path");
        ForeignQueue::new(Tampered::new(client.clone(), self.tamper), path, ForeignQueueLayout::CuratorSimple)
    }

    fn known<R>(&self, look: impl FnOnce(&mut Known) -> R) -> R {
        look(&mut self.known.lock().expect("no panic"))
    }

    fn produce(&self, client: &Client, number: usize, counts: &Counts) {
        let queue = self.queue(client);
        for item in 0..ITEMS {
            linger(10);
            let item = Bytes::from(format!("{number}-{item}"));
            self.known(|known| known.put.insert(item.clone(), false));
            match impatient(5, queue.put(item.clone())) {
                Some(Ok(())) => drop(self.known(|known| known.put.insert(item, true))),
                Some(Err(error)) => {
                    assert_eq!(error, Error::SessionExpired);
                    counts.open_put.add(true);
                }
                None => counts.gave_up.add(true),
            }
        }
        self.known(|known| known.producers_done += 1);
        self.look_if_over();
    }

    fn consume(&self, client: &Client, counts: &Counts) {
        let mut queue = self.queue(client);
        while !self.over.is_blown() {
            linger(5);
            let taken = match one_in(4) {
                true => cancelled_somewhere(30, queue.take_or_wait()),
                false => self.over.unless_blown(queue.take_or_wait()),
            };
            match taken {
                Some(Ok(item)) => {
                    let item = only(item);
                    self.known(|known| known.taken.push(item));
                }
                Some(Err(error)) => {
                    assert_eq!(error, Error::SessionExpired);
                    counts.open_take.add(true);
                    self.known(|known| known.open_takes += 1);
                }
                None => {
                    counts.gave_up.add(true);
                    // If the session ends before what it took is back, that is lost.
                    self.known(|known| known.open_takes += usize::from(self.expires));
                }
            }
            self.look_if_over();
        }
    }

    /// It is over when the producers have done and nothing is in the queue: a consumer must see to it that it comes to that.
    fn look_if_over(&self) {
        let is_done = self.known(|known| known.producers_done == PRODUCERS);
        if is_done && self.server.inspect(|tree| tree.paths().all(|path| !path.as_str().starts_with("/queue/"))) {
            self.over.blow();
        }
    }

    /// Every item that was put was taken once or is in the queue; an open one may be missing, and so may one for each open
    /// take. Nothing is left but items, and no watches but two of each client on the queue's node.
    fn assert_settled(&self, counts: &Counts) {
        let mut rest = self.queue(&self.server.connect());
        let take = || block_on(rest.take()).expect("the session lives").map(only);
        let left: Vec<_> = std::iter::from_fn(take).collect();
        let known = self.known.lock().expect("no panic");
        let mut there: Vec<_> = known.taken.iter().chain(&left).collect();
        let count = there.len();
        there.sort();
        there.dedup();
        assert_eq!(there.len(), count, "an item is there twice");
        assert!(there.iter().all(|item| known.put.contains_key(*item)), "an item from nowhere");
        let missing = known.put.iter().filter(|(item, certain)| **certain && !there.contains(item)).count();
        assert!(missing <= known.open_takes, "{missing} items are missing, {} takes are open", known.open_takes);
        counts.gone.add(missing > 0);
        counts.waited.add(self.server.wake_ups() > 0);
        self.server.inspect(|tree| {
            let receipts: Vec<_> = tree.paths().filter(|path| path.as_str().starts_with("/queue-receipts/")).collect();
            assert!(receipts.is_empty(), "receipts left {receipts:?}");
            assert!(tree.watch_count() <= 2 * CLIENTS, "{} watches left", tree.watch_count());
        });
    }
}

/// Three producers and four consumers that wait, and give up at random points, over replies that are late and lost and
/// connections that are cut; sessions end where `expires`. No consumer waits while there is an item.
fn queue(name: &'static str, expires: bool, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(expires, tamper);
        let clients: Arc<[_]> = (0..CLIENTS).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        let counts_of = counts.clone();
        contenders(&world, CLIENTS + 1, move |world, number| {
            let Some(client) = clients.get(number) else {
                disturb(&world.server, &clients, 4, expires);
                return world.look_if_over();
            };
            unreliable(&world.server, client);
            match number < PRODUCERS {
                true => world.produce(client, number, &counts_of),
                false => world.consume(client, &counts_of),
            }
        });
        world.assert_settled(&counts);
    });
    counts.waited.assert_reached("a consumer waits");
    counts.gave_up.assert_reached("a put or a take is given up");
    if expires {
        counts.open_put.assert_reached("the outcome of a put is open");
        counts.open_take.assert_reached("the outcome of a take is open");
        counts.gone.assert_reached("an item went with the session");
    }
}

#[test]
fn foreign_queue_of_seven() {
    queue("foreign_queue_of_seven", false, sound);
}

#[test]
fn foreign_queue_expiring_of_seven() {
    queue("foreign_queue_expiring_of_seven", true, sound);
}

/// The item of a take that was given up is not put back.
fn put_nothing_back(client: &Client, request: Request) -> Response {
    match &request {
        Request::Multi(multi) if matches!(&multi.operations[..], [MultiOp::Delete(_), MultiOp::Create(create)] if !create.mode.is_ephemeral()) => {
            Response::ready(Ok(Reply::Multi(Vec::new()).into()))
        }
        _ => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "1 items are missing, 0 takes are open")]
fn planted_foreign_queue_put_nothing_back() {
    queue("planted_foreign_queue_put_nothing_back", false, put_nothing_back);
}

/// A write whose reply was lost is repeated without a look for its receipt.
fn repeat_blindly(client: &Client, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "an item is there twice")]
fn planted_foreign_queue_repeat_blindly() {
    queue("planted_foreign_queue_repeat_blindly", false, repeat_blindly);
}
