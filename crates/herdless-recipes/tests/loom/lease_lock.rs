//! Models of the lock with a maximum hold.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use herdless_core::{
    Answer, Client, ClientExt, Create, CreateMode, Error, GetData, Multi, MultiReply, NodePath, Refusal, Reply,
    Request, Response, Session, SetData, Sleep, Time, Version, Zxid,
};
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
use herdless_memory::{ManualTime, MemoryClient};
use herdless_recipes::{LeaseGuard, LeaseLock, LeaseLockBuilder};

use crate::harness::{Count, Tamper, Tampered, create_blindly, leave_node_on_giving_up, poll_times, sound, together};
use crate::models::flaw::{self, Flaw};
use crate::models::wire::by_name;

const HOLD: Duration = Duration::from_secs(30);
const DELAY: Duration = Duration::from_secs(50);

/// The same time for all, each with a clock of its own that was never set: what is promised compares no moments of two.
#[derive(Clone)]
struct Clock {
    time: Moment,
    ahead: Duration,
    /// How many times slower than time it runs.
    slower: u32,
    /// What it has not counted.
    missed: Arc<Mutex<Duration>>,
    /// Whether time passes when its owner sleeps: half of it, others go on, and the other half.
    passes: bool,
}

impl Time for Clock {
    fn now(&self) -> Duration {
        let now = self.time.now() / self.slower + self.ahead;
        now - *self.missed.lock().expect("no panic")
    }

    fn unix_millis(&self) -> u64 {
        0
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        match self.passes {
            true => Box::pin(Passing { time: self.time.clone(), half: duration / 2, polls: 0 }),
            false => self.time.time.sleep(duration),
        }
    }
}

/// Where time moves, the checker must see who looks at it and who moves it: it would not try their orders otherwise.
#[derive(Clone)]
struct Moment {
    time: ManualTime,
    seen: Option<Arc<loom::sync::Mutex<()>>>,
}

impl Moment {
    fn now(&self) -> Duration {
        // Nothing of the checker's may be touched while a failed model unwinds.
        let seen = self.seen.as_ref().filter(|_| !std::thread::panicking());
        let _seen = seen.map(|seen| seen.lock().expect("no panic"));
        self.time.now()
    }

    fn advance(&self, duration: Duration) {
        let seen = self.seen.as_ref().expect("a world of time");
        let _seen = seen.lock().expect("no panic");
        self.time.advance(duration);
    }
}

struct Passing {
    time: Moment,
    half: Duration,
    polls: u32,
}

impl Future for Passing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls += 1;
        if self.polls > 1 {
            self.time.advance(self.half);
        }
        if self.polls > 2 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

type Flawed = flaw::Flawed<Tampered>;
type Guard = LeaseGuard<Lagging, Clock>;

/// A client whose server may lag: the second time that it reads the lock's node it is told what it was the first time.
#[derive(Clone)]
struct Lagging {
    inner: Flawed,
    reads: Option<Arc<Mutex<Vec<Reply>>>>,
    /// For a planted bug: a clock that stands still from the sending of a renewal to its answer.
    stalls: Option<Clock>,
}

impl Client for Lagging {
    fn submit(&self, request: Request) -> Response {
        let is_read = matches!(&request, Request::GetData(GetData { path, watch: false }) if path.name() == "lock");
        let stalls = self.stalls.as_ref().filter(|_| matches!(request, Request::Multi(_)));
        let sent = stalls.map(|clock| clock.time.now());
        let response = self.inner.submit(request);
        if let (Some(clock), Some(sent)) = (stalls, sent) {
            let now = clock.time.now();
            *clock.missed.lock().expect("no panic") += now - sent;
        }
        match &self.reads {
            Some(reads) if is_read => {
                let reads = reads.clone();
                response.map(move |outcome| {
                    let mut answer = outcome?;
                    let mut reads = reads.lock().expect("no panic");
                    reads.push(answer.reply);
                    answer.reply = reads[if reads.len() == 2 { 0 } else { reads.len() - 1 }].clone();
                    Ok(answer)
                })
            }
            _ => response,
        }
    }

    fn session(&self) -> Session {
        self.inner.session()
    }
}

/// One execution's server and time, and who is inside.
#[derive(Clone)]
struct World {
    server: LoomServer,
    tamper: Tamper,
    flaw: Flaw,
    time: Moment,
    slower: u32,
    passes: bool,
    lags: bool,
    stalls: bool,
    hold: Duration,
    inside: Arc<loom::sync::Mutex<Vec<Arc<Guard>>>>,
}

fn path() -> NodePath {
    NodePath::parse("/lock").expect("a valid path")
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let (server, inside) = (LoomServer::with_locks(), Arc::new(loom::sync::Mutex::new(Vec::new())));
        let time = Moment { time: ManualTime::new(), seen: None };
        let world = Self {
            server,
            tamper,
            flaw: Flaw::None,
            time,
            slower: 1,
            passes: false,
            lags: false,
            stalls: false,
            hold: HOLD,
            inside,
        };
        let setup = world.server.connect();
        block_on(setup.create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        world
    }

    /// Time passes while somebody waits.
    fn passing(self) -> Self {
        Self { passes: true, ..self.timed() }
    }

    /// Time is moved.
    fn timed(mut self) -> Self {
        self.time.seen = Some(Arc::default());
        self
    }

    fn builder(&self, client: &MemoryClient<LoomLocks>, ahead: u64) -> LeaseLockBuilder<Lagging, Clock> {
        let clock = Clock {
            time: self.time.clone(),
            ahead: Duration::from_secs(ahead),
            slower: self.slower,
            missed: Arc::default(),
            passes: self.passes,
        };
        let inner = Flawed::new(Tampered::new(client.clone(), self.tamper), self.flaw);
        let client = Lagging { inner, reads: self.lags.then(Arc::default), stalls: self.stalls.then(|| clock.clone()) };
        LeaseLock::builder(client, path(), clock, self.hold).expect("a maximum hold")
    }

    fn acquire(&self, client: &MemoryClient<LoomLocks>, ahead: u64) -> Arc<Guard> {
        let lock = self.builder(client, ahead).build();
        let guard = Arc::new(block_on(lock.acquire()).expect("an acquire outlives its session"));
        self.inside.lock().expect("no panic").push(guard.clone());
        self.look();
        guard
    }

    /// Of all that are inside, one is valid at most. They are all looked at in one moment.
    fn look(&self) {
        let inside = self.inside.lock().expect("no panic");
        let valid: Vec<_> = inside.iter().filter(|guard| guard.is_valid()).map(|guard| guard.token()).collect();
        assert!(valid.len() < 2, "{valid:?} are both valid");
    }

    /// The guard alone again, to be dropped or released.
    fn exit(&self, guard: Arc<Guard>) -> Guard {
        self.look();
        let others = {
            let mut inside = self.inside.lock().expect("no panic");
            let (ours, others): (Vec<_>, _) = inside.drain(..).partition(|other| other.token() == guard.token());
            *inside = others;
            ours
        };
        drop(others);
        Arc::into_inner(guard).expect("nobody else has it")
    }

    /// Takes the lock once and leaves it.
    fn contend(&self) {
        let guard = self.acquire(&self.server.connect(), 500);
        drop(self.exit(guard));
    }

    fn contender(&self) -> impl FnOnce() + Send + 'static {
        let world = self.clone();
        move || world.contend()
    }

    /// Nothing is left: no contender's node, no watch on the server.
    fn assert_clean(&self) {
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().contains("lock-")).collect();
            assert!(left.is_empty(), "ghost nodes {left:?}");
            assert_eq!(tree.watch_count(), 0, "watches left");
        });
    }
}

/// Exclusion, no lost wake-up, one wake-up for each hand-over, nothing left.
fn contenders(name: &'static str, count: usize, bound: Option<usize>) {
    let (contended, free) = (Count::default(), Count::default());
    let (contended_in, free_in) = (contended.clone(), free.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(sound);
        let threads: Vec<_> = (1..count).map(|_| loom::thread::spawn(world.contender())).collect();
        world.contend();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let wake_ups = world.server.wake_ups();
        assert!(wake_ups < count as u64, "{wake_ups} wake-ups for {count} contenders");
        contended_in.add(wake_ups + 1 == count as u64);
        free_in.add(wake_ups == 0);
        world.assert_clean();
    });
    contended.assert_reached("everybody but the first waits");
    free.assert_reached("nobody waits");
}

#[test]
fn leases_two_contenders() {
    contenders("leases_two_contenders", 2, None);
}

#[test]
fn leases_three_contenders() {
    contenders("leases_three_contenders", 3, Some(3));
}

/// What is particular about a contender.
type Setting = fn(&mut World);

fn ordinary(_: &mut World) {}

/// A holder that renews `renewals` times and then hangs is removed, whatever its renewals cross with, and at no moment two guards
/// are valid. A renewal that is refused leaves no valid guard.
fn hung(name: &'static str, tamper: Tamper, renewals: u32, bound: Option<usize>, holder: Setting, waiter: Setting) {
    let (renewed, refused) = (Count::default(), Count::default());
    let (renewed_in, refused_in) = (renewed.clone(), refused.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let mut world = World::new(tamper).passing();
        let mut holders = world.clone();
        holder(&mut holders);
        let hung = holders.acquire(&world.server.connect(), 500);
        waiter(&mut world);
        let (other, renewed, refused) = (world.clone(), renewed_in.clone(), refused_in.clone());
        let hangs = move || {
            other.look();
            for _ in 0..renewals {
                let outcome = block_on(hung.renew());
                other.look();
                renewed.add(outcome.is_ok());
                refused.add(outcome == Err(Error::Refused(Refusal::NoNode)));
                assert!(outcome.is_ok() || !hung.is_valid(), "valid after {outcome:?}");
            }
            hung
        };
        let thread = loom::thread::spawn(hangs);
        let next = world.acquire(&world.server.connect(), 0);
        let hung = thread.join().expect("no panic");
        world.look();
        drop(world.exit(hung));
        drop(world.exit(next));
        world.assert_clean();
    });
    if renewals > 0 {
        renewed.assert_reached("a renewal is first");
        refused.assert_reached("the removal is first");
    }
}

#[test]
fn leases_hung_holder() {
    hung("leases_hung_holder", sound, 0, None, ordinary, ordinary);
}

#[test]
fn leases_renewal_against_removal() {
    hung("leases_renewal_against_removal", sound, 2, Some(3), ordinary, ordinary);
}

/// Those of a waiter whose server lags.
#[test]
fn leases_renewal_that_is_seen_late() {
    hung("leases_renewal_that_is_seen_late", sound, 2, Some(3), ordinary, |world| world.lags = true);
}

/// Those of a waiter with another maximum hold: what counts is what the holder agreed to.
#[test]
fn leases_different_maxima() {
    hung("leases_different_maxima", sound, 1, Some(3), ordinary, |world| world.hold = HOLD / 3);
}

/// Leaves out one check of a multi of so many operations.
fn without_check(client: &MemoryClient<LoomLocks>, request: Request, length: usize, index: usize) -> Response {
    match request {
        Request::Multi(Multi { mut operations, .. }) if operations.len() == length => {
            operations.remove(index);
            client.submit(Request::Multi(Multi { operations, session: None })).map(move |outcome| {
                let mut answer = outcome?;
                if let Reply::Multi(replies) = &mut answer.reply {
                    replies.insert(index, MultiReply::Checked);
                }
                Ok(answer)
            })
        }
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "are both valid")]
fn planted_leases_remove_without_a_check() {
    let tamper: Tamper = |client, request| without_check(client, request, 3, 1);
    let name = "planted_leases_remove_without_a_check";
    hung(name, tamper, 2, Some(2), ordinary, |world| world.lags = true);
}

/// The holder says that it agrees to less than it goes by.
#[test]
#[should_panic(expected = "are both valid")]
fn planted_leases_agree_to_less() {
    let tamper: Tamper = |client, mut request| {
        if let Request::Create(Create { data, .. }) = &mut request {
            *data = String::from_utf8_lossy(data).replace("lease 30000", "lease 10000").into();
        }
        client.submit(request)
    };
    hung("planted_leases_agree_to_less", tamper, 1, Some(2), ordinary, |world| world.hold = HOLD / 3);
}

/// The assumption: a holder whose clock runs at half the rate takes its lease for twice as long.
#[test]
#[should_panic(expected = "are both valid")]
fn planted_leases_slow_clock() {
    hung("planted_leases_slow_clock", sound, 0, Some(2), |world| world.slower = 2, ordinary);
}

/// What amounts to a lease that is counted from the answer to a renewal, and not from when it was sent.
#[test]
#[should_panic(expected = "are both valid")]
fn planted_leases_count_from_the_answer() {
    let name = "planted_leases_count_from_the_answer";
    hung(name, sound, 2, Some(3), |world| world.stalls = true, ordinary);
}

/// A holder that an operator removes while it renews: what is renewed after that is refused, and the guard says so.
fn broken_while_renewing(name: &'static str, tamper: Tamper) {
    let (renewed, refused) = (Count::default(), Count::default());
    let (renewed_in, refused_in) = (renewed.clone(), refused.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(tamper);
        let guard = world.acquire(&world.server.connect(), 0);
        let operator = LeaseLock::new(world.server.connect(), path(), world.time.time.clone(), HOLD);
        let operator = operator.expect("a maximum hold");
        let thread = loom::thread::spawn(move || block_on(operator.break_holder()).expect("the session lives"));
        let outcome = block_on(guard.renew());
        renewed_in.add(outcome.is_ok());
        refused_in.add(outcome.is_err());
        let removed = thread.join().expect("no panic");
        assert_eq!(removed.map(|holder| holder.token), Some(guard.token()));
        let outcome = block_on(guard.renew());
        assert_eq!(outcome, Err(Error::Refused(Refusal::NoNode)), "renewed after it was removed");
        assert!(!guard.is_valid());
        drop(world.exit(guard));
        world.assert_clean();
    });
    renewed.assert_reached("the renewal is first");
    refused.assert_reached("the removal is first");
}

#[test]
fn leases_break_against_renewal() {
    broken_while_renewing("leases_break_against_renewal", sound);
}

#[test]
#[should_panic(expected = "renewed after it was removed")]
fn planted_leases_renew_without_a_check() {
    let tamper: Tamper = |client, request| without_check(client, request, 2, 0);
    broken_while_renewing("planted_leases_renew_without_a_check", tamper);
}

/// A session that ends at any point, of the holder or of one who waits: the other gets the lock, and no two are valid.
fn session_expires(name: &'static str, flaw: Flaw) {
    let (held, waited) = (Count::default(), Count::default());
    let (held_in, waited_in) = (held.clone(), waited.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World { flaw, ..World::new(sound) };
        let victim = world.server.connect();
        let (server, client) = (world.server.clone(), victim.clone());
        together!(world.contender(), move || server.expire(&client); {
            let guard = world.acquire(&victim, 0);
            let guard = world.exit(guard);
            held_in.add(!guard.session().is_valid());
            waited_in.add(guard.session().id() == victim.session().id() && world.server.wake_ups() > 1);
            drop(guard);
        });
        world.assert_clean();
    });
    held.assert_reached("it ends while it holds");
    waited.assert_reached("it ends while somebody waits");
}

#[test]
fn leases_session_expires_at_any_point() {
    session_expires("leases_session_expires_at_any_point", Flaw::None);
}

#[test]
#[should_panic(expected = "are both valid")]
fn planted_leases_ignore_expiry() {
    session_expires("planted_leases_ignore_expiry", Flaw::IgnoreExpiry);
}

/// An acquire, and a release, dropped at their k-th poll, every answer one poll late.
fn cancelled(name: &'static str, tamper: Tamper) {
    let (waiting, held) = (Count::default(), Count::default());
    for polls in 0..=9 {
        let (waiting_in, held_in) = (waiting.clone(), held.clone());
        Model::new(format!("{name}/{polls}")).preemption_bound(3).check(move || {
            let world = World::new(tamper).passing();
            let victim = world.server.connect();
            world.server.delay_replies(&victim);
            together!(world.contender(); {
                let lock = world.builder(&victim, 0).build();
                let guard = poll_times(polls, lock.acquire());
                waiting_in.add(guard.is_none() && polls > 4);
                held_in.add(guard.is_some());
            });
            world.assert_clean();
        });
        Model::new(format!("{name}/release/{polls}")).preemption_bound(3).check(move || {
            let world = World::new(tamper);
            let victim = world.server.connect();
            let guard = world.acquire(&victim, 0);
            world.server.delay_replies(&victim);
            let thread = loom::thread::spawn(world.contender());
            let guard = world.exit(guard);
            if polls > 1 {
                // Somebody asked for it meanwhile: the release takes more than one attempt.
                block_on(world.builder(&world.server.connect(), 0).build().revoke()).expect("the session lives");
            }
            drop(poll_times(polls, guard.release()));
            thread.join().expect("no panic");
            world.assert_clean();
        });
        Model::new(format!("{name}/break/{polls}")).preemption_bound(3).check(move || {
            let world = World::new(tamper);
            let guard = world.acquire(&world.server.connect(), 0);
            let victim = world.server.connect();
            world.server.delay_replies(&victim);
            let other = world.clone();
            let waits = move || {
                // Beside one that was broken and not told yet, so that it is not for `look`.
                let lock = other.builder(&other.server.connect(), 0).build();
                drop(block_on(lock.acquire()).expect("the session lives"));
            };
            let thread = loom::thread::spawn(waits);
            drop(poll_times(polls, world.builder(&victim, 0).build().break_holder()));
            drop(world.exit(guard));
            thread.join().expect("no panic");
            world.assert_clean();
        });
    }
    waiting.assert_reached("dropped while it waits in line");
    held.assert_reached("granted before it was dropped");
}

#[test]
fn leases_cancelled_at_any_poll() {
    cancelled("leases_cancelled_at_any_poll", sound);
}

#[test]
#[should_panic(expected = "ghost nodes")]
fn planted_leases_leave_node_on_giving_up() {
    cancelled("planted_leases_leave_node_on_giving_up", leave_node_on_giving_up);
}

/// The k-th answer to one contender is lost, its request carried out: it holds once all the same, is valid, renews and leaves.
fn reply_lost(name: &'static str, tamper: Tamper) {
    let waited = Count::default();
    for replies in 0..=7 {
        let waited_in = waited.clone();
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let world = World::new(tamper);
            let client = world.server.connect();
            world.server.lose_reply_after(&client, replies);
            together!(world.contender(); {
                let guard = world.acquire(&client, 0);
                block_on(guard.renew()).expect("the session lives");
                world.look();
                assert!(guard.is_valid());
                waited_in.add(world.server.wake_ups() > 0);
                let guard = world.exit(guard);
                block_on(guard.release()).expect("it was not lost");
            });
            world.assert_clean();
        });
    }
    waited.assert_reached("somebody waits");
}

#[test]
fn leases_reply_lost_at_any_point() {
    reply_lost("leases_reply_lost_at_any_point", sound);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_leases_create_blindly() {
    reply_lost("planted_leases_create_blindly", create_blindly);
}

/// The answer to a hand-over is lost, and the directory may be removed and made again before that is known, its names be given
/// anew: the next holder's node is left alone.
fn hand_over_lost(name: &'static str, tamper: Tamper) {
    let (again, other) = (Count::default(), Count::default());
    let (again_in, other_in) = (again.clone(), other.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(tamper);
        let client = world.server.connect();
        let first = world.acquire(&client, 0);
        let name = first.path().clone();
        let first = world.exit(first);
        world.server.lose_reply_after(&client, 0);
        let server = world.server.clone();
        let releases = move || block_on(first.release()).expect("it was not lost");
        together!(releases, move || server.reap_containers(); {
            let next = world.acquire(&world.server.connect(), 0);
            let is_again = *next.path() == name;
            again_in.add(is_again);
            other_in.add(!is_again);
            block_on(next.renew()).expect("the next holder is touched");
            let next = world.exit(next);
            block_on(next.release()).expect("the next holder is touched");
        });
        world.assert_clean();
    });
    again.assert_reached("its name is given again");
    other.assert_reached("it is not");
}

#[test]
fn leases_hand_over_lost() {
    hand_over_lost("leases_hand_over_lost", by_name);
}

/// The node is deleted by its name once more.
#[test]
#[should_panic(expected = "the next holder is touched")]
fn planted_leases_hand_over_again_by_name() {
    let tamper: Tamper = |client, mut request| {
        if let Request::Release(release) = &mut request {
            release.may_be_gone = false;
        }
        by_name(client, request)
    };
    hand_over_lost("planted_leases_hand_over_again_by_name", tamper);
}

/// The reply to a removal, or to any other request of a waiter that finds a hung holder, is lost.
#[test]
fn leases_reply_lost_while_removing() {
    for replies in 0..=9 {
        Model::new(format!("leases_reply_lost_while_removing/{replies}")).check(move || {
            let world = World::new(sound).passing();
            let hung = world.acquire(&world.server.connect(), 500);
            let client = world.server.connect();
            world.server.lose_reply_after(&client, replies);
            let next = world.acquire(&client, 0);
            assert!(next.is_valid() && !hung.is_valid());
            drop(world.exit(hung));
            drop(world.exit(next));
            world.assert_clean();
        });
    }
}

/// A waiter that finds a hung holder is dropped at its k-th poll, every answer one poll late: nothing of it is left, and the next
/// one gets the lock.
#[test]
fn leases_cancelled_while_removing() {
    let (before, after, held) = (Count::default(), Count::default(), Count::default());
    for polls in 0..=20 {
        let (before_in, after_in, held_in) = (before.clone(), after.clone(), held.clone());
        Model::new(format!("leases_cancelled_while_removing/{polls}")).check(move || {
            let world = World::new(sound).passing();
            let hung = world.acquire(&world.server.connect(), 500);
            let victim = world.server.connect();
            world.server.delay_replies(&victim);
            let guard = poll_times(polls, world.builder(&victim, 0).build().acquire());
            held_in.add(guard.is_some());
            drop(guard);
            let is_there = world.server.inspect(|tree| tree.stat(hung.path()).is_some());
            let left = world.server.inspect(|tree| tree.paths().filter(|path| path.as_str().contains("lock-")).count());
            assert_eq!(left, usize::from(is_there), "ghost nodes");
            before_in.add(is_there);
            after_in.add(!is_there);
            let next = world.acquire(&world.server.connect(), 0);
            assert!(next.is_valid() && !hung.is_valid());
            drop(world.exit(hung));
            drop(world.exit(next));
            world.assert_clean();
        });
    }
    before.assert_reached("dropped before the removal");
    after.assert_reached("dropped after the removal");
    held.assert_reached("granted before it was dropped");
}

/// One contender's connection is cut and made again by another thread at any two points.
#[test]
fn leases_connection_lost_at_any_point() {
    let missed = Count::default();
    let missed_in = missed.clone();
    Model::new("leases_connection_lost_at_any_point").preemption_bound(3).check(move || {
        let world = World::new(sound);
        let victim = world.server.connect();
        let (server, client, missed) = (world.server.clone(), victim.clone(), missed_in.clone());
        let cut = move || {
            server.disconnect(&client);
            let before = server.wake_ups();
            server.reconnect(&client);
            missed.add(server.wake_ups() > before);
        };
        together!(world.contender(), cut; {
            let guard = world.acquire(&victim, 0);
            drop(world.exit(guard));
        });
        world.assert_clean();
    });
    missed.assert_reached("the hand-over happens while the connection is down");
}

/// After an end that was not clean the next grant comes no earlier than the delay after it, be it by expiry or by removal; after a
/// clean one at once.
fn delayed(name: &'static str, tamper: Tamper) {
    let (unclean, removed, clean) = (Count::default(), Count::default(), Count::default());
    let (unclean_in, removed_in, clean_in) = (unclean.clone(), removed.clone(), clean.clone());
    for releases in [false, true] {
        let (unclean, removed, clean) = (unclean_in.clone(), removed_in.clone(), clean_in.clone());
        Model::new(format!("{name}/{releases}")).preemption_bound(3).check(move || {
            let world = World::new(tamper).passing();
            let client = world.server.connect();
            let first = world.acquire(&client, 500);
            let first = world.exit(first);
            let (server, time) = (world.server.clone(), world.time.clone());
            let thread = loom::thread::spawn(move || {
                if releases {
                    return block_on(first.release()).is_err().then_some(HOLD);
                }
                let ended = time.now();
                server.expire(&client);
                Some(ended.min(HOLD))
            });
            let lock = world.builder(&world.server.connect(), 0).lock_delay(DELAY).build();
            let next = block_on(lock.acquire()).expect("the session lives");
            let granted = world.time.now();
            assert!(next.is_valid(), "a grant is fresh");
            drop(next);
            // When it ended, if that was not clean.
            let ended = thread.join().expect("no panic");
            assert!(ended.is_none_or(|ended| granted >= ended + DELAY), "granted at {granted:?}, ended at {ended:?}");
            assert!(ended.is_some() || granted < DELAY, "granted at {granted:?} after a clean end");
            clean.add(ended.is_none());
            unclean.add(ended.is_some() && !releases);
            removed.add(ended.is_some() && releases);
            world.assert_clean();
        });
    }
    clean.assert_reached("a clean end");
    unclean.assert_reached("the session ends");
    removed.assert_reached("it is removed");
}

#[test]
fn leases_lock_delay() {
    delayed("leases_lock_delay", sound);
}

/// Whoever held before is taken to have left of its own accord.
#[test]
#[should_panic(expected = "granted at")]
fn planted_leases_ignore_the_record() {
    let tamper: Tamper = |client, request| match request {
        Request::GetData(GetData { ref path, .. }) if path.name() == "lock" => client.submit(request).map(|outcome| {
            let mut answer = outcome?;
            if let Reply::Data(data, _) = &mut answer.reply {
                *data = "released 0x1".into();
            }
            Ok(answer)
        }),
        request => client.submit(request),
    };
    delayed("planted_leases_ignore_the_record", tamper);
}

/// An operator's client; a careless one takes whatever has the name for the node that it means.
#[derive(Clone)]
struct Operator {
    inner: MemoryClient<LoomLocks>,
    careless: Option<Zxid>,
}

impl Client for Operator {
    fn submit(&self, request: Request) -> Response {
        let careless = self.careless;
        self.inner.submit(request).map(move |outcome| {
            let mut answer: Answer = outcome?;
            if let (Some(meant), Reply::Exists(Some(stat))) = (careless, &mut answer.reply) {
                stat.czxid = meant;
            }
            Ok(answer)
        })
    }

    fn session(&self) -> Session {
        self.inner.session()
    }
}

/// An operator removes a holder that leaves by itself meanwhile, while the directory may be removed and made again and its names be
/// given anew: the next holder is never touched.
fn broken(name: &'static str, is_careless: bool) {
    let (removed, left, again) = (Count::default(), Count::default(), Count::default());
    let (removed_in, left_in, again_in) = (removed.clone(), left.clone(), again.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(sound);
        let first = world.acquire(&world.server.connect(), 0);
        let (name, meant) = (first.path().clone(), first.token().0);
        let first = world.exit(first);
        let careless = is_careless.then_some(meant);
        let operator = Operator { inner: world.server.connect(), careless };
        let operator = LeaseLock::new(operator, path(), world.time.time.clone(), HOLD).expect("a maximum hold");
        let holder = block_on(operator.contenders()).expect("the session lives").remove(0);
        let (removed, left, server) = (removed_in.clone(), left_in.clone(), world.server.clone());
        let breaks = move || {
            let was_there = block_on(operator.evict(&holder)).expect("the session lives");
            removed.add(was_there);
            left.add(!was_there);
        };
        together!(breaks, move || server.reap_containers(); {
            drop(first);
            let next = world.acquire(&world.server.connect(), 0);
            again_in.add(*next.path() == name);
            block_on(next.renew()).expect("the next holder is touched");
            let next = world.exit(next);
            block_on(next.release()).expect("the next holder is touched");
        });
        world.assert_clean();
    });
    removed.assert_reached("it is removed");
    left.assert_reached("it left by itself");
    again.assert_reached("its name is given again");
}

#[test]
fn leases_break_against_release() {
    broken("leases_break_against_release", false);
}

#[test]
#[should_panic(expected = "the next holder is touched")]
fn planted_leases_break_by_name() {
    broken("planted_leases_break_by_name", true);
}

/// A request to give up wakes the holder and nobody else, whenever it comes; the holder hands over, which wakes the next.
fn revoked(name: &'static str, tamper: Tamper) {
    let (asked, waited) = (Count::default(), Count::default());
    let (asked_in, waited_in) = (asked.clone(), waited.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(tamper);
        let holder = world.acquire(&world.server.connect(), 0);
        let operator = world.builder(&world.server.connect(), 0).build();
        let (token, asked, other) = (holder.token(), asked_in.clone(), world.clone());
        let asks = move || assert_eq!(block_on(operator.revoke()), Ok(Some(token)));
        let waits = move || {
            let next = other.acquire(&other.server.connect(), 0);
            drop(other.exit(next));
        };
        together!(asks, waits; {
            let before = world.server.wake_ups();
            block_on(holder.revoked()).expect("the session lives");
            asked.add(world.server.wake_ups() > before);
            let holder = world.exit(holder);
            block_on(holder.release()).expect("it was not lost");
        });
        let wake_ups = world.server.wake_ups();
        assert!(wake_ups <= 2, "{wake_ups} wake-ups");
        waited_in.add(wake_ups == 2);
        world.assert_clean();
    });
    asked.assert_reached("the holder wakes");
    waited.assert_reached("the next wakes when it is handed over");
}

#[test]
fn leases_revoked() {
    revoked("leases_revoked", sound);
}

/// The request is also written into the holder's node, as Curator's `Revoker` does: its successor takes that for a hand-over.
#[test]
#[should_panic(expected = "are both valid")]
fn planted_leases_revoke_in_the_node() {
    let tamper: Tamper = |client, request| {
        if let Request::SetData(SetData { path, .. }) = &request {
            let node = path.child("lock-0000000000").expect("a valid name");
            drop(client.set(&node, "__REVOKE__", Version::ANY));
        }
        client.submit(request)
    };
    revoked("planted_leases_revoke_in_the_node", tamper);
}

/// Work that is renewed is dropped as soon as the lock is lost, and whoever takes it away is not valid beside it.
#[test]
fn leases_renewing_against_expiry() {
    let (lost, done) = (Count::default(), Count::default());
    let (lost_in, done_in) = (lost.clone(), done.clone());
    Model::new("leases_renewing_against_expiry").preemption_bound(2).check(move || {
        let world = World::new(sound).timed();
        let client = world.server.connect();
        let guard = world.acquire(&client, 0);
        let (server, time) = (world.server.clone(), world.time.clone());
        let ends = move || {
            time.advance(HOLD / 3);
            server.expire(&client);
        };
        together!(ends, world.contender(); {
            let outcome = block_on(guard.renewing(poll_fn(|_| match world.time.now() {
                Duration::ZERO => Poll::Pending,
                _ => Poll::Ready(()),
            })));
            lost_in.add(outcome.is_none());
            done_in.add(outcome.is_some());
            drop(world.exit(guard));
        });
        world.assert_clean();
    });
    lost.assert_reached("it is lost");
    done.assert_reached("it is done");
}
