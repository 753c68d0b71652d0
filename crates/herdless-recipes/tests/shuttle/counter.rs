//! Models of the shared counter.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use herdless_core::{Client as _, ClientExt, CreateMode, Error, MultiOp, NodePath, Reply, Request, Response, Version};
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::SharedCounter;

use crate::harness::{Client, Count, Tamper, Tampered, contenders, disturb, impatient, linger, sound, unreliable};

/// One execution's server, and what is known of the increments.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    tamper: Tamper,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// The steps of those that were counted.
    counted: BTreeSet<i64>,
    /// How many may or may not have been.
    open: usize,
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    open: Count,
    happened: Count,
    did_not: Count,
}

fn path() -> NodePath {
    NodePath::parse("/count").expect("a valid path")
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        let zero = 0_i64.to_be_bytes().to_vec();
        block_on(server.connect().create(&path(), zero, CreateMode::Persistent)).expect("an empty tree takes it");
        Self { server, tamper, known: Arc::default() }
    }

    /// Increments a few times; any of it may be given up at a random point.
    fn increment(&self, client: &Client, counts: &Counts) {
        let counter = SharedCounter::new(Tampered::new(client.clone(), self.tamper), path());
        for _ in 0..2 {
            linger(5);
            let outcome = impatient(5, counter.increment());
            let mut known = self.known.lock().expect("no panic");
            match outcome {
                Some(Ok(step)) => assert!(known.counted.insert(step), "step {step} is yielded twice"),
                Some(Err(error)) => {
                    assert_eq!(error, Error::SessionExpired);
                    counts.open.add(true);
                    known.open += 1;
                }
                None => {
                    counts.gave_up.add(true);
                    known.open += 1;
                }
            }
        }
    }

    /// Every increment that was counted counts once, an open one once or not at all, and nothing is left but the number.
    fn assert_counted(&self, counts: &Counts) {
        let known = self.known.lock().expect("no panic");
        let (data, stat) = block_on(self.server.connect().get(&path())).expect("the node is there");
        let number = i64::from_be_bytes(data[..].try_into().expect("a number of 8 bytes"));
        let (least, most) = (known.counted.len(), known.counted.len() + known.open);
        assert!((least..=most).contains(&(number as usize)), "counted to {number}, which is not in {least}..={most}");
        assert_eq!(i64::from(stat.version), number, "writes that did not count");
        assert!(known.counted.last().is_none_or(|last| *last <= number), "a step beyond the number");
        counts.happened.add(number as usize > least);
        counts.did_not.add((number as usize) < most);
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().map(|path| path.as_str().to_owned()).collect();
            assert_eq!(left, ["/", "/count"], "something is left");
            assert_eq!(tree.watch_count(), 0, "watches left");
        });
    }
}

/// Six that increment, and give up at random points, over replies that are late and lost and connections that are cut;
/// sessions end where `expires`.
fn increment(name: &'static str, expires: bool, tamper: Tamper) {
    const COUNT: usize = 6;
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(tamper);
        let clients: Arc<[_]> = (0..COUNT).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        let counts_of = counts.clone();
        // The last one does not count.
        contenders(&world, COUNT + 1, move |world, number| match clients.get(number) {
            Some(client) => {
                unreliable(&world.server, client);
                world.increment(client, &counts_of);
            }
            None => disturb(&world.server, &clients, 4, expires),
        });
        world.assert_counted(&counts);
    });
    counts.gave_up.assert_reached("an increment is given up");
    counts.happened.assert_reached("one whose outcome is open has happened");
    counts.did_not.assert_reached("one whose outcome is open has not happened");
    if expires {
        counts.open.assert_reached("a session ends before the outcome is known");
    }
}

#[test]
fn counter_of_six() {
    increment("counter_of_six", false, sound);
}

#[test]
fn counter_expiring_of_six() {
    increment("counter_expiring_of_six", true, sound);
}

/// The version is not compared.
fn any_version(client: &Client, mut request: Request) -> Response {
    if let Request::Multi(multi) = &mut request {
        for operation in &mut multi.operations {
            if let MultiOp::SetData(set) = operation {
                set.version = Version::ANY;
            }
        }
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "is yielded twice")]
fn planted_counter_any_version() {
    increment("planted_counter_any_version", false, any_version);
}

/// A write whose reply was lost is repeated without a look for its receipt.
fn repeat_blindly(client: &Client, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "which is not in")]
fn planted_counter_repeat_blindly() {
    increment("planted_counter_repeat_blindly", false, repeat_blindly);
}
