//! Models of the lock with a maximum hold.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::future::join;
use herdless_core::{
    Client as _, ClientExt, Create, CreateMode, Error, MultiOp, NodePath, Refusal, Request, Response, Time, Version,
};
use herdless_memory::ManualTime;
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{LeaseGuard, LeaseLock};

use crate::harness::{
    Client, Count, Tamper, Tampered, contenders, dice, disturb, impatient, linger, one_in, sound, unreliable,
};

const HOLD: Duration = Duration::from_secs(30);

type Guard = LeaseGuard<Tampered, ManualTime>;

/// One execution's server and time, and who is inside. On a lock of std, so that a failed assertion is the last step.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    time: ManualTime,
    tamper: Tamper,
    setting: Setting,
    inside: Arc<Mutex<Vec<Arc<Guard>>>>,
    /// How many still contend.
    contending: Arc<AtomicUsize>,
}

/// What there is beside contenders.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Plain,
    /// Sessions end.
    Expiring,
    /// An operator removes holders, who are valid until they are told.
    Broken,
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    /// Removed as the first in line, before it held.
    slow: Count,
    evicted: Count,
    renewed: Count,
    refused: Count,
    over: Count,
    broken: Count,
    lost: Count,
    worked: Count,
    stopped: Count,
}

fn path() -> NodePath {
    NodePath::parse("/lock").expect("a valid path")
}

impl World {
    fn new(count: usize, setting: Setting, tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        block_on(server.connect().create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        let (inside, contending) = (Arc::default(), Arc::new(AtomicUsize::new(count)));
        Self { server, time: ManualTime::new(), tamper, setting, inside, contending }
    }

    /// Time passes until all have done, at times much at once.
    fn pass_time(&self) {
        while self.contending.load(Ordering::Relaxed) > 0 {
            linger(20);
            self.time.advance(if one_in(32) { HOLD } else { HOLD / 20 * u32::try_from(dice(4)).expect("not many") });
        }
    }

    fn enter(&self, guard: Guard) -> Arc<Guard> {
        let guard = Arc::new(guard);
        self.inside.lock().expect("no panic").push(guard.clone());
        self.look(&guard);
        guard
    }

    /// Where nobody removes those who are valid: of all that are inside one is valid at most, and it is on the server.
    fn look(&self, guard: &Guard) {
        if self.setting == Setting::Broken {
            return;
        }
        let is_there = self.is_there(guard);
        assert!(is_there || !guard.is_valid(), "{} is valid and was removed", guard.token());
        let inside = self.inside.lock().expect("no panic");
        let valid: Vec<_> = inside.iter().filter(|guard| guard.is_valid()).map(|guard| guard.token()).collect();
        assert!(valid.len() < 2, "{valid:?} are both valid");
    }

    fn is_there(&self, guard: &Guard) -> bool {
        let stat = self.server.inspect(|tree| tree.stat(guard.path()));
        stat.is_some_and(|stat| stat.czxid == guard.token().0)
    }

    /// The guard alone again, to be dropped or released.
    fn exit(&self, guard: Arc<Guard>) -> Guard {
        self.look(&guard);
        self.inside.lock().expect("no panic").retain(|other| !Arc::ptr_eq(other, &guard));
        Arc::into_inner(guard).expect("nobody else has it")
    }

    /// Takes the lock twice, with one maximum hold or another, at times after a delay, and hangs, is cut off, works, or renews as
    /// it should.
    fn contend(&self, client: &Client, counts: &Counts) {
        for _ in 0..2 {
            linger(10);
            let (tampered, max_hold) =
                (Tampered::new(client.clone(), self.tamper), HOLD / if one_in(2) { 1 } else { 2 });
            let lock = LeaseLock::builder(tampered, path(), self.time.clone(), max_hold).expect("a maximum hold");
            let lock = lock.lock_delay(if one_in(4) { HOLD } else { Duration::ZERO }).build();
            let guard = match impatient(4, lock.acquire()) {
                None => {
                    counts.gave_up.add(true);
                    continue;
                }
                Some(Err(Error::Refused(Refusal::NoNode))) => {
                    counts.slow.add(true);
                    continue;
                }
                Some(guard) => self.enter(guard.expect("an acquire outlives its session")),
            };
            match dice(4) {
                0 => self.hang(&guard, counts),
                1 => self.renew_cut_off(client, &guard, counts),
                2 => self.work(&guard, counts),
                _ => (0..dice(4)).for_each(|_| {
                    linger(20);
                    self.renew(&guard, counts);
                }),
            }
            counts.lost.add(!guard.session().is_valid());
            let guard = self.exit(guard);
            match one_in(2) {
                true => drop(guard),
                // What was lost has been lost.
                false => drop(block_on(guard.release())),
            }
        }
        self.contending.fetch_sub(1, Ordering::Relaxed);
    }

    /// Hangs, mostly for longer than its lease, and wants to go on then.
    fn hang(&self, guard: &Guard, counts: &Counts) {
        if one_in(2) {
            block_on(guard.lost());
            assert!(!guard.is_valid(), "valid, and said to be lost");
        }
        match one_in(2) {
            true => self.hang_until_removed(guard),
            false => block_on(self.time.sleep(self.some_time())),
        }
        counts.evicted.add(!self.is_there(guard) && guard.session().is_valid());
        self.renew(guard, counts);
    }

    /// Hangs for as long as it is let, and somebody else is there who may want the lock.
    fn hang_until_removed(&self, guard: &Guard) {
        let mut holds = 0;
        while self.is_there(guard) && self.contending.load(Ordering::Relaxed) > 1 {
            // Far more than a waiter takes, and the others to come to wait.
            assert!(holds < 100, "{} hangs, and nobody removes it", guard.token());
            block_on(self.time.sleep(HOLD));
            holds += 1;
        }
    }

    /// Renews in time, but its connection is down, mostly for longer than its lease.
    fn renew_cut_off(&self, client: &Client, guard: &Guard, counts: &Counts) {
        self.server.disconnect(client);
        let connects_again = async {
            self.time.sleep(self.some_time()).await;
            self.server.reconnect(client);
        };
        let (outcome, ()) = block_on(join(guard.renew(), connects_again));
        counts.refused.add(outcome == Err(Error::Refused(Refusal::NoNode)));
        self.assert_renewed(guard, outcome, counts);
        // Whatever became of the last one.
        self.renew(guard, counts);
    }

    /// Up to three of the longest maxima.
    fn some_time(&self) -> Duration {
        HOLD * u32::try_from(dice(4)).expect("not many")
    }

    /// Works, renewing meanwhile.
    fn work(&self, guard: &Guard, counts: &Counts) {
        let mut steps = dice(20);
        let work = poll_fn(|cx| {
            if steps == 0 {
                return Poll::Ready(());
            }
            steps -= 1;
            self.look(guard);
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        let outcome = block_on(guard.renewing(work));
        counts.worked.add(outcome.is_some());
        counts.stopped.add(outcome.is_none());
        assert!(outcome.is_some() || !guard.is_valid(), "stopped while it is valid");
    }

    /// Removes holders, again and again.
    fn break_holders(&self, counts: &Counts) {
        let time = self.time.clone();
        let operator = LeaseLock::new(self.server.connect(), path(), time, HOLD).expect("a maximum hold");
        for _ in 0..5 {
            linger(40);
            counts.broken.add(block_on(operator.break_holder()).expect("it is connected").is_some());
        }
    }

    /// A renewal is refused to who was removed.
    fn renew(&self, guard: &Guard, counts: &Counts) {
        let was_there = self.is_there(guard);
        let outcome = block_on(guard.renew());
        assert!(outcome.is_err() || was_there, "{} renewed after it was removed", guard.token());
        self.assert_renewed(guard, outcome, counts);
    }

    /// Who is refused is not valid.
    fn assert_renewed(&self, guard: &Guard, outcome: Result<(), Error>, counts: &Counts) {
        assert!(outcome.is_ok() || !guard.is_valid(), "{} is valid after {outcome:?}", guard.token());
        match outcome {
            Ok(()) => counts.renewed.add(true),
            Err(Error::Refused(Refusal::NoNode)) => {}
            Err(Error::Invalid(_)) => counts.over.add(true),
            Err(error) => assert!(self.setting == Setting::Expiring && error == Error::SessionExpired, "{error}"),
        }
        self.look(guard);
    }

    /// Nothing is left: no contender's node, no watch on the server.
    fn assert_clean(&self) {
        let (left, watches) = self.server.inspect(|tree| {
            let left = tree.paths().filter(|path| path.name().contains("lock-")).cloned();
            (left.collect::<Vec<_>>(), tree.watch_count())
        });
        assert!(left.is_empty(), "ghost nodes {left:?}");
        assert_eq!(watches, 0, "watches left");
        assert_eq!(self.time.sleepers(), 0, "timers left");
    }
}

/// Contenders of two maxima that hang, work and renew while time passes, and give up waiting at random points, over replies
/// that are late and lost and connections that are cut; sessions end, or an operator removes holders, where that is
/// `setting`. Who hangs is removed, and only once its lease is over; no two are valid, none after its renewal was refused;
/// nobody waits for ever, nothing is left.
fn contend(name: &'static str, count: usize, setting: Setting, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(count, setting, tamper);
        let clients: Arc<[_]> = (0..count).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        let others = 2 + usize::from(setting == Setting::Broken);
        contenders(&world, count + others, move |world, number| match clients.get(number) {
            Some(client) => {
                unreliable(&world.server, client);
                world.contend(client, &counts);
            }
            None if number == count => disturb(&world.server, &clients, 20 / count, setting == Setting::Expiring),
            None if number == count + 1 => world.pass_time(),
            None => world.break_holders(&counts),
        });
        world.assert_clean();
    });
    counts.gave_up.assert_reached("an acquire is given up");
    counts.slow.assert_reached("one is removed before it holds");
    counts.evicted.assert_reached("one that hangs is removed");
    counts.renewed.assert_reached("a lease is renewed");
    counts.refused.assert_reached("a renewal is refused to who was removed");
    counts.over.assert_reached("a renewal comes after the lease is over");
    counts.worked.assert_reached("work is done");
    counts.stopped.assert_reached("work is stopped");
    if setting == Setting::Broken {
        counts.broken.assert_reached("an operator removes a holder");
    }
    if setting == Setting::Expiring {
        counts.lost.assert_reached("the session ends while it is held");
    }
}

#[test]
fn leases_of_five() {
    contend("leases_of_five", 5, Setting::Plain, sound);
}

#[test]
fn leases_expiring_of_five() {
    contend("leases_expiring_of_five", 5, Setting::Expiring, sound);
}

#[test]
fn leases_expiring_of_two() {
    contend("leases_expiring_of_two", 2, Setting::Expiring, sound);
}

#[test]
fn leases_broken_of_five() {
    contend("leases_broken_of_five", 5, Setting::Broken, sound);
}

/// Renews, and begins, without a check that its node is there.
fn renew_without_a_check(client: &Client, mut request: Request) -> Response {
    if let Request::Multi(multi) = &mut request
        && let [check @ MultiOp::Check { .. }, MultiOp::SetData(_)] = multi.operations.as_mut_slice()
    {
        // One that always holds, so that refusals keep their index.
        *check = MultiOp::check(&NodePath::root(), Version::ANY);
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "renewed after it was removed")]
fn planted_leases_of_five_renew_without_a_check() {
    let name = "planted_leases_of_five_renew_without_a_check";
    contend(name, 5, Setting::Broken, renew_without_a_check);
}

/// Holders do not say that they agree to anything.
fn agree_to_nothing(client: &Client, mut request: Request) -> Response {
    if let Request::Create(Create { data, .. }) = &mut request {
        *data = String::from_utf8_lossy(data).replace("\nlease ", " ").into();
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "hangs, and nobody removes it")]
fn planted_leases_of_five_agree_to_nothing() {
    contend("planted_leases_of_five_agree_to_nothing", 5, Setting::Plain, agree_to_nothing);
}

/// Holders say that they agree to less than they go by.
fn agree_to_less(client: &Client, mut request: Request) -> Response {
    if let Request::Create(Create { data, .. }) = &mut request {
        *data = String::from_utf8_lossy(data).replace("lease 30000", "lease 15000").into();
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "valid")]
fn planted_leases_of_five_agree_to_less() {
    contend("planted_leases_of_five_agree_to_less", 5, Setting::Plain, agree_to_less);
}

/// Who gives up waiting leaves as if it were the holder.
fn hand_over_on_giving_up(client: &Client, mut request: Request) -> Response {
    if let Request::Release(release) = &mut request {
        release.hand_over = true;
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "are both valid")]
fn planted_leases_hand_over_on_giving_up() {
    contend("planted_leases_hand_over_on_giving_up", 5, Setting::Expiring, hand_over_on_giving_up);
}
