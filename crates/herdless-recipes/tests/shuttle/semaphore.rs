//! Models of the semaphore.

use std::sync::{Arc, Mutex};

use herdless_core::{Client as _, ClientExt, CreateMode, Error, NodePath, Reply, Request, Response, Session, Zxid};
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{Permit, Semaphore, Token};

use crate::harness::{
    Client, Count, Tamper, Tampered, contenders, dice, disturb, impatient, linger, one_in, sound, unreliable,
};
use crate::models::tamper::grant_unchecked;

const PERMITS: u32 = 3;
/// What a shared number is at most.
const MOST: u32 = 4;

/// One execution's server, and what was seen of its semaphore.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    tamper: Tamper,
    setting: Setting,
    seen: Arc<Mutex<Seen>>,
}

/// What there is beside contenders.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Setting {
    /// The number of permits is in a node, and changes.
    is_shared: bool,
    expires: bool,
}

/// On a lock of std, so that a failed assertion is the last step.
struct Seen {
    inside: Vec<(Token, Session, u32)>,
    /// The tokens of permits, and when they were granted.
    grants: Vec<(Token, Zxid)>,
    /// How many permits were out at some moment, and the last grant of those.
    out: Vec<(Zxid, u32)>,
    /// Since when there were how many.
    numbers: Vec<(Zxid, u32)>,
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    taken: Count,
    waited: Count,
    lost: Count,
    beyond: Count,
}

fn parse(path: &str) -> NodePath {
    NodePath::parse(path).expect("a valid path")
}

impl World {
    fn new(setting: Setting, tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        let setup = server.connect();
        for path in ["/limit", "/limit/locks", "/limit/leases"] {
            block_on(setup.create(&parse(path), "", CreateMode::Container)).expect("an empty tree takes it");
        }
        if setting.is_shared {
            let number = PERMITS.to_be_bytes().to_vec();
            block_on(setup.create(&parse("/limit/permits"), number, CreateMode::Persistent)).expect("it is the first");
        }
        let numbers = vec![(Zxid(0), PERMITS)];
        let seen = Arc::new(Mutex::new(Seen { inside: Vec::new(), grants: Vec::new(), out: Vec::new(), numbers }));
        Self { server, tamper, setting, seen }
    }

    fn semaphore(&self, client: &Client) -> Semaphore<Tampered> {
        let client = Tampered::new(client.clone(), self.tamper);
        let builder = Semaphore::builder(client, parse("/limit"), PERMITS).one_node_per_permit(one_in(3));
        if self.setting.is_shared { builder.shared() } else { builder }.build().expect("there are permits")
    }

    fn seen<R>(&self, look: impl FnOnce(&mut Seen) -> R) -> R {
        look(&mut self.seen.lock().expect("no panic"))
    }

    /// The grants on the server, and how many permits each node of them stands for.
    fn leases(&self) -> Vec<(Zxid, u32)> {
        self.server.inspect(|tree| {
            let weight = |path: &NodePath| path.name().split('-').nth(2).and_then(|weight| weight.parse().ok());
            let leases = tree.paths().filter(|path| path.name().starts_with("lease-"));
            let lease = |path| (tree.stat(path).expect("it is listed").czxid, weight(path).expect("one of ours"));
            leases.map(lease).collect()
        })
    }

    /// Is inside for a while. Whether the permit is valid at the end.
    fn visit(&self, permit: &Permit<Tampered>) -> bool {
        linger(1);
        self.begin(permit);
        linger(10);
        self.look(permit);
        self.seen(|seen| seen.inside.retain(|(token, ..)| *token != permit.token()));
        permit.is_valid()
    }

    /// What is held with valid sessions is never more than there ever is, and what a valid permit stands for is all there.
    fn begin(&self, permit: &Permit<Tampered>) {
        let granted = self.look(permit);
        let most = if self.setting.is_shared { MOST } else { PERMITS };
        self.seen(|seen| {
            // Validity only ever ends, so those that are valid after the others were, were so at the same time.
            let valid = seen.inside.iter().filter(|(_, session, _)| session.is_valid());
            let held = permit.weight() + valid.map(|(.., weight)| weight).sum::<u32>();
            assert!(held <= most || !permit.is_valid(), "{held} permits held of {most}");
            seen.inside.push((permit.token(), permit.session().clone(), permit.weight()));
            seen.grants.extend(granted.map(|granted| (permit.token(), granted)));
        });
    }

    /// Takes down how many permits are out. When the permit was granted; `None` if it is lost.
    fn look(&self, permit: &Permit<Tampered>) -> Option<Zxid> {
        let leases = self.leases();
        let granted = self.server.inspect(|tree| tree.stat(permit.path())).map(|stat| stat.czxid);
        assert!(granted.is_some() || !permit.is_valid(), "a valid permit is not on the server");
        let of_ours = leases.iter().filter(|(lease, _)| Some(*lease) == granted).map(|(_, weight)| weight);
        let sum = of_ours.sum::<u32>();
        assert!(sum == permit.weight() || !permit.is_valid(), "{sum} of {}", permit.weight());
        let last = leases.iter().map(|(granted, _)| *granted).max();
        let out = leases.iter().map(|(_, weight)| weight).sum();
        self.seen(|seen| seen.out.extend(last.map(|last| (last, out))));
        granted
    }

    /// Takes permits once, or tries to; any of it may be given up at a random point.
    fn contend(&self, client: &Client, counts: &Counts) {
        linger(20);
        let semaphore = self.semaphore(client);
        let weight = 1 + u32::try_from(dice(3)).expect("less than three");
        let outcome = match one_in(4) {
            true => impatient(3, semaphore.try_acquire(weight)),
            false => impatient(3, semaphore.acquire(weight)).map(|permit| permit.map(Some)),
        };
        let permit = match outcome {
            None => return counts.gave_up.add(true),
            Some(Ok(None)) => return counts.taken.add(true),
            // Of one who tries.
            Some(Err(Error::SessionExpired)) if self.setting.expires => return,
            Some(permit) => permit.expect("an acquire outlives its session").expect("not none"),
        };
        counts.lost.add(!self.visit(&permit));
        match one_in(2) {
            true => drop(permit),
            // What was lost has been lost.
            false => drop(block_on(permit.release())),
        }
    }

    /// Makes it more permits, and less, and in the end what it was.
    fn change_number(&self, counts: &Counts) {
        let semaphore = self.semaphore(&self.server.connect());
        let any = || u32::try_from(dice(MOST as usize + 1)).expect("not many");
        for number in [any(), any(), PERMITS] {
            linger(20);
            self.set_number(&semaphore, number);
            counts.beyond.add(self.leases().iter().map(|(_, weight)| weight).sum::<u32>() > number);
        }
    }

    fn set_number(&self, semaphore: &Semaphore<Tampered>, number: u32) {
        block_on(semaphore.set_permits(number)).expect("it is connected");
        let stat = self.server.inspect(|tree| tree.stat(&parse("/limit/permits")).expect("it was set"));
        self.seen(|seen| seen.numbers.push((stat.mzxid, number)));
    }

    /// Every grant fitted into the number that there was in its moment, and grants are in the order of tokens.
    fn assert_fitted(&self) {
        self.seen(|seen| {
            for (granted, out) in &seen.out {
                let number = seen.numbers.iter().rfind(|(since, _)| since < granted).expect("there always is one").1;
                assert!(*out <= number, "{out} permits held of {number}, granted at {granted:?}");
            }
            seen.grants.sort();
            assert!(seen.grants.is_sorted_by_key(|(_, granted)| granted), "overtaken in line: {:?}", seen.grants);
        });
    }

    /// Nothing is left. One who gave up as the first in line leaves a watch, which the next grant uses up; one on the
    /// number stays until that is set.
    fn assert_clean(&self) {
        let left = || {
            self.server.inspect(|tree| {
                let is_left = |path: &&NodePath| path.name().contains("lock-") || path.name().starts_with("lease-");
                tree.paths().filter(is_left).cloned().collect::<Vec<_>>()
            })
        };
        assert!(left().is_empty(), "ghost nodes {:?}", left());
        let semaphore = self.semaphore(&self.server.connect());
        let permit = block_on(semaphore.acquire(PERMITS)).expect("it is connected");
        if self.setting.is_shared {
            self.set_number(&semaphore, PERMITS);
        }
        drop(permit);
        assert!(left().is_empty(), "ghost nodes {:?}", left());
        let watches = self.server.inspect(|tree| tree.watch_count());
        assert_eq!(watches, 0, "watches left");
    }
}

/// Contenders that want one to three of three permits, and give up any of it at random points, over replies that are
/// late and lost and connections that are cut; sessions end, and the number changes, where that is `setting`. Never more is
/// granted than there is, all at once and in the order of the line; nobody waits for ever, nothing is left.
fn contend(name: &'static str, count: usize, setting: Setting, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(setting, tamper);
        let clients: Arc<[_]> = (0..count).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        let waited = counts.waited.clone();
        let others = 1 + usize::from(setting.is_shared);
        contenders(&world, count + others, move |world, number| match clients.get(number) {
            Some(client) => {
                unreliable(&world.server, client);
                (0..1 + 4 / count).for_each(|_| world.contend(client, &counts));
            }
            None if number == count => {
                disturb(&world.server, &clients, if count < 5 { 12 } else { 4 }, setting.expires)
            }
            None => world.change_number(&counts),
        });
        waited.add(world.server.wake_ups() as usize >= count.div_ceil(2));
        world.assert_fitted();
        world.assert_clean();
    });
    counts.gave_up.assert_reached("an acquire is given up");
    counts.taken.assert_reached("one who tries finds it taken");
    counts.waited.assert_reached("half of the contenders wait");
    if setting.expires {
        counts.lost.assert_reached("the session ends while permits are held");
    }
    if setting.is_shared {
        counts.beyond.assert_reached("more is held than there is by then");
    }
}

#[test]
fn semaphore_cancelled_of_eight() {
    contend("semaphore_cancelled_of_eight", 8, Setting { is_shared: false, expires: false }, sound);
}

#[test]
fn semaphore_expiring_of_eight() {
    contend("semaphore_expiring_of_eight", 8, Setting { is_shared: false, expires: true }, sound);
}

#[test]
fn semaphore_expiring_of_three() {
    contend("semaphore_expiring_of_three", 3, Setting { is_shared: true, expires: true }, sound);
}

#[test]
fn semaphore_of_a_number_that_changes() {
    contend("semaphore_of_a_number_that_changes", 8, Setting { is_shared: true, expires: false }, sound);
}

#[test]
fn semaphore_expiring_of_a_number_that_changes() {
    contend("semaphore_expiring_of_a_number_that_changes", 8, Setting { is_shared: true, expires: true }, sound);
}

/// Does not look for what it may have made.
fn find_nothing(client: &Client, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_semaphore_leaves_nodes() {
    contend("planted_semaphore_leaves_nodes", 8, Setting { is_shared: false, expires: false }, find_nothing);
}

/// Who gives up waiting leaves as if it were the first in line.
fn hand_over_on_giving_up(client: &Client, mut request: Request) -> Response {
    if let Request::Release(release) = &mut request {
        release.hand_over |= release.path.name().contains("lock-");
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "overtaken in line")]
fn planted_semaphore_hand_over_on_giving_up() {
    let name = "planted_semaphore_hand_over_on_giving_up";
    contend(name, 8, Setting { is_shared: false, expires: true }, hand_over_on_giving_up);
}

#[test]
#[should_panic(expected = "permits held of")]
fn planted_semaphore_number_not_checked() {
    contend("planted_semaphore_number_not_checked", 8, Setting { is_shared: true, expires: false }, grant_unchecked);
}
