//! Models of the semaphore.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use herdless_core::Mutex;
use herdless_core::{
    Answer, Client, ClientExt, CreateMode, Exists, GetChildren, GetData, NodePath, OneShot, Outcome, Reply, Request,
    Response, ResponseSource, Session, StdMutex, Undo,
};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
use herdless_recipes::{Permit, Semaphore, Token};

use crate::harness::{Count, Tampered, poll_times, sound, together};
use crate::models::flaw::Flaw;
use crate::models::tamper::grant_unchecked;
use crate::world::Flawed;

type Wrapped = Arc<dyn Client>;

/// Puts a client with a planted bug, or none, around a backend's.
type Wrap = fn(MemoryClient<LoomLocks>) -> Wrapped;

fn no_bug(client: MemoryClient<LoomLocks>) -> Wrapped {
    Arc::new(Tampered::new(client, sound))
}

/// One execution's server, its semaphore's options, and who holds what.
#[derive(Clone)]
struct World {
    server: LoomServer,
    wrap: Wrap,
    permits: u32,
    is_shared: bool,
    is_split: bool,
    /// Must be loom's: the grant and the beginning of the visit would be one step otherwise.
    gauge: Arc<loom::sync::Mutex<Gauge>>,
}

#[derive(Default)]
struct Gauge {
    holders: Vec<(Token, Session, u32)>,
    /// The last of all visits, and of those that took all permits.
    last: Option<Token>,
    last_alone: Option<Token>,
}

impl World {
    fn new(permits: u32, wrap: Wrap) -> Self {
        let (server, gauge) = (LoomServer::with_locks(), Arc::default());
        let world = Self { server, wrap, permits, is_shared: false, is_split: false, gauge };
        // Made beforehand, so that the models are about permits and not about parents.
        let setup = world.server.connect();
        for path in ["/limit", "/limit/locks", "/limit/leases"] {
            block_on(setup.create(&parse(path), "", CreateMode::Container)).expect("an empty tree takes it");
        }
        world
    }

    fn shared(self) -> Self {
        let setup = self.server.connect();
        let number = self.permits.to_be_bytes().to_vec();
        block_on(setup.create(&number_path(), number, CreateMode::Persistent)).expect("an empty tree takes it");
        Self { is_shared: true, ..self }
    }

    fn split(self) -> Self {
        Self { is_split: true, ..self }
    }

    fn semaphore(&self, client: &MemoryClient<LoomLocks>) -> Semaphore<Wrapped> {
        let client = (self.wrap)(client.clone());
        let builder = Semaphore::builder(client, parse("/limit"), self.permits).one_node_per_permit(self.is_split);
        if self.is_shared { builder.shared() } else { builder }.build().expect("there are permits")
    }

    /// The first half of a visit: what is held with valid sessions is never more than there is.
    fn begin(&self, permit: &Permit<Wrapped>) {
        let mut gauge = self.gauge.lock().expect("no panic");
        if permit.is_valid() {
            let valid = gauge.holders.iter().filter(|(_, session, _)| session.is_valid());
            let held = permit.weight() + valid.map(|(.., weight)| weight).sum::<u32>();
            assert!(held <= self.permits, "{held} permits held of {}", self.permits);
        }
        gauge.holders.push((permit.token(), permit.session().clone(), permit.weight()));
    }

    /// First come, first served, where nobody's session ends: whoever takes all permits comes after all whose tokens are
    /// smaller, and before all whose tokens are greater.
    fn in_order(&self, permit: &Permit<Wrapped>) {
        let mut gauge = self.gauge.lock().expect("no panic");
        let token = Some(permit.token());
        let before = if permit.weight() == self.permits { gauge.last } else { gauge.last_alone };
        assert!(token > before, "overtaken in line");
        gauge.last = gauge.last.max(token);
        if permit.weight() == self.permits {
            gauge.last_alone = token;
        }
    }

    /// The second half of a visit.
    fn end(&self, permit: &Permit<Wrapped>) {
        let mut gauge = self.gauge.lock().expect("no panic");
        gauge.holders.retain(|(token, ..)| *token != permit.token());
    }

    fn visit(&self, permit: &Permit<Wrapped>) {
        self.begin(permit);
        self.in_order(permit);
        self.end(permit);
    }

    /// Nothing is left in the tree.
    fn assert_no_nodes(&self) {
        self.server.inspect(|tree| {
            let is_left =
                |path: &&NodePath| path.parent().is_some_and(|parent| parent.parent() == Some(parse("/limit")));
            let left: Vec<_> = tree.paths().filter(is_left).collect();
            assert!(left.is_empty(), "ghost nodes {left:?}");
        });
    }

    /// Nothing is left, no watch either.
    fn assert_clean(&self) {
        self.assert_no_nodes();
        self.server.inspect(|tree| assert_eq!(tree.watch_count(), 0, "watches left"));
    }

    /// What is left by one who gave up as the first in line is one watch, which the next grant uses up.
    fn assert_clean_after_one_more(&self) {
        self.assert_no_nodes();
        contend(self, 1);
        self.assert_clean();
    }
}

fn parse(path: &str) -> NodePath {
    NodePath::parse(path).expect("a valid path")
}

fn number_path() -> NodePath {
    parse("/limit/permits")
}

/// Takes permits once, visits, and gives them back.
fn contend(world: &World, weight: u32) {
    let permit = block_on(world.semaphore(&world.server.connect()).acquire(weight)).expect("the session lives");
    world.visit(&permit);
}

fn contender(world: &World, weight: u32) -> impl FnOnce() + Send + 'static {
    let world = world.clone();
    move || contend(&world, weight)
}

/// Never more than there are, first come first served, all or nothing, no lost wake-up, at most two wake-ups for each that
/// had to wait (to be the first in line, and for permits), nothing left.
fn contenders(
    name: &'static str,
    permits: u32,
    weights: &'static [u32],
    bound: Option<usize>,
    world: fn(u32) -> World,
) {
    let (waited, free) = (Count::default(), Count::default());
    let (waited_in, free_in) = (waited.clone(), free.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = world(permits);
        let (first, others) = weights.split_first().expect("there are contenders");
        let threads: Vec<_> = others.iter().map(|weight| loom::thread::spawn(contender(&world, *weight))).collect();
        contend(&world, *first);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let wake_ups = world.server.wake_ups();
        assert!(wake_ups <= 2 * others.len() as u64, "{wake_ups} wake-ups");
        waited_in.add(wake_ups > 0);
        free_in.add(wake_ups == 0);
        world.assert_clean();
    });
    waited.assert_reached("somebody waits");
    free.assert_reached("nobody waits");
}

fn plain(permits: u32) -> World {
    World::new(permits, no_bug)
}

fn split(permits: u32) -> World {
    plain(permits).split()
}

#[test]
fn semaphore_of_one_and_two_contenders() {
    contenders("semaphore_of_one_and_two_contenders", 1, &[1, 1], None, plain);
}

/// Both want all there is: who takes permit by permit would deadlock here.
#[test]
fn semaphore_of_two_and_two_who_want_both() {
    contenders("semaphore_of_two_and_two_who_want_both", 2, &[2, 2], None, plain);
}

#[test]
fn semaphore_with_a_node_for_each_permit() {
    contenders("semaphore_with_a_node_for_each_permit", 2, &[2, 1], Some(3), split);
}

#[test]
fn semaphore_of_two_and_three_contenders() {
    contenders("semaphore_of_two_and_three_contenders", 2, &[1, 2, 1], Some(3), plain);
}

/// Believes to be the first in line, always.
fn always_first(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    let is_look = matches!(&request, Request::Exists(exists) if exists.path.name() == "locks");
    client.submit(request).map(move |outcome| {
        let mut answer = outcome?;
        if let (true, Reply::Exists(Some(stat))) = (is_look, &mut answer.reply) {
            stat.num_children = 1;
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "overtaken in line")]
fn planted_grant_without_the_line() {
    contenders("planted_grant_without_the_line", 1, &[1, 1], None, |permits| {
        World::new(permits, |client| Arc::new(Tampered::new(client, always_first)))
    });
}

/// A request that is carried out when it is first awaited, and not when it is submitted.
struct Lazy {
    client: MemoryClient<LoomLocks>,
    request: StdMutex<Option<Request>>,
}

impl ResponseSource for Lazy {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.request.with(Option::take) {
            Some(request) => Pin::new(&mut self.client.submit(request)).poll(cx),
            None => Poll::Pending,
        }
    }

    fn abandon(&self, _: Option<Undo>) {}
}

/// Looks at the line after the leases were counted.
fn count_before_the_line(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    match &request {
        Request::Exists(exists) if exists.path.name() == "locks" => {
            Response::pending(Arc::new(Lazy { client: client.clone(), request: StdMutex::new(Some(request)) }))
        }
        _ => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "permits held of 1")]
fn planted_count_before_the_line() {
    contenders("planted_count_before_the_line", 1, &[1, 1], None, |permits| {
        World::new(permits, |client| Arc::new(Tampered::new(client, count_before_the_line)))
    });
}

/// Leaves its watches where nothing happens.
fn watch_elsewhere(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    let unwatched = match &request {
        Request::GetChildren(GetChildren { path, watch: true }) => {
            Request::GetChildren(GetChildren { path: path.clone(), watch: false })
        }
        Request::GetData(GetData { path, watch: true }) if path.name() == "permits" => {
            Request::GetData(GetData { path: path.clone(), watch: false })
        }
        _ => return client.submit(request),
    };
    let read = client.submit(unwatched);
    let mut elsewhere = client.submit(Request::Exists(Exists { path: parse("/elsewhere"), watch: true }));
    let Poll::Ready(Ok(elsewhere)) = Pin::new(&mut elsewhere).poll(&mut Context::from_waker(std::task::Waker::noop()))
    else {
        unreachable!("answers are there at once")
    };
    read.map(|outcome| Ok(Answer { reply: outcome?.reply, ..elsewhere }))
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_leases_not_watched() {
    contenders("planted_leases_not_watched", 1, &[1, 1], None, |permits| {
        World::new(permits, |client| Arc::new(Tampered::new(client, watch_elsewhere)))
    });
}

/// A session ends at any point: of one who holds or of one who waits. What is held with valid sessions is never more than
/// there is, no lost wake-up, nothing left.
fn session_expires(name: &'static str, contenders: usize, bound: Option<usize>, wrap: Wrap) {
    let (lost_while_held, again) = (Count::default(), Count::default());
    let (lost_in, again_in) = (lost_while_held.clone(), again.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(1, wrap);
        let hold = |world: &World, client: &MemoryClient<LoomLocks>| {
            let permit = block_on(world.semaphore(client).acquire(1)).expect("an acquire outlives its session");
            world.begin(&permit);
            world.end(&permit);
            !permit.is_valid()
        };
        let victim = world.server.connect();
        let others: Vec<_> = (1..contenders)
            .map(|_| {
                let (world, client) = (world.clone(), world.server.connect());
                loom::thread::spawn(move || hold(&world, &client))
            })
            .collect();
        let (server, to_expire) = (world.server.clone(), victim.clone());
        let killer = loom::thread::spawn(move || server.expire(&to_expire));
        let first = victim.session().id();
        lost_in.add(hold(&world, &victim));
        others.into_iter().for_each(|thread| {
            thread.join().expect("no panic");
        });
        killer.join().expect("no panic");
        again_in.add(first != victim.session().id());
        world.assert_clean();
    });
    lost_while_held.assert_reached("the session ends while a permit is held");
    again.assert_reached("a waiter starts again with a new session");
}

#[test]
fn semaphore_session_expires_at_any_point_of_two() {
    session_expires("semaphore_session_expires_at_any_point_of_two", 2, Some(3), no_bug);
}

#[test]
#[should_panic(expected = "permits held of 1")]
fn planted_semaphore_ignores_expiry() {
    session_expires("planted_semaphore_ignores_expiry", 2, Some(3), |client| {
        Arc::new(Flawed::new(client, Flaw::IgnoreExpiry))
    });
}

/// An acquire is dropped at its k-th poll, each answer there one poll late: beside another who wants as much it leaves no
/// node, and nobody waiting.
fn dropped_at_every_poll(name: &'static str, lost: Option<u64>, world: fn(u32) -> World) {
    let (waiting, held) = (Count::default(), Count::default());
    for polls in 0..=10 {
        let name = format!("{name}/{polls}");
        let (waiting_in, held_in) = (waiting.clone(), held.clone());
        Model::new(name).preemption_bound(3).check(move || {
            let world = world(2);
            let victim = world.server.connect();
            world.server.delay_replies(&victim);
            if let Some(replies) = lost {
                world.server.lose_reply_after(&victim, replies);
            }
            together!(contender(&world, 2); {
                let permit = poll_times(polls, world.semaphore(&victim).acquire(2));
                waiting_in.add(permit.is_none() && polls > 6);
                if let Some(permit) = permit {
                    held_in.add(true);
                    world.visit(&permit.expect("the session lives"));
                }
            });
            world.assert_clean_after_one_more();
        });
    }
    waiting.assert_reached("dropped while it waits");
    held.assert_reached("granted before it was dropped");
}

#[test]
fn semaphore_cancelled_at_every_poll() {
    dropped_at_every_poll("semaphore_cancelled_at_every_poll", None, plain);
}

#[test]
fn semaphore_cancelled_at_every_poll_with_a_node_for_each_permit() {
    dropped_at_every_poll("semaphore_cancelled_at_every_poll_split", None, split);
}

/// The answer to the grant is lost, and the acquire dropped: the lease is found and taken away.
#[test]
fn semaphore_cancelled_with_the_reply_to_the_grant_lost() {
    dropped_at_every_poll("semaphore_cancelled_with_the_reply_lost", Some(3), plain);
}

/// Does not look for what it may have made.
fn find_nothing(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

fn finding_nothing(permits: u32) -> World {
    World::new(permits, |client| Arc::new(Tampered::new(client, find_nothing)))
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_cancelled_grant_leaves_its_lease() {
    dropped_at_every_poll("planted_cancelled_grant_leaves_its_lease", None, finding_nothing);
}

/// An acquire that another thread cancels at any point, with others ahead of it and behind.
fn cancelled_by_another_thread(name: &'static str, contenders: usize, bound: usize) {
    let (cancelled, granted, head) = (Count::default(), Count::default(), Count::default());
    let (cancelled_in, granted_in, head_in) = (cancelled.clone(), granted.clone(), head.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = plain(1);
        let cancel = Arc::new(OneShot::<(), LoomLocks>::new());
        let canceller = cancel.clone();
        let thread = loom::thread::spawn(move || canceller.put(()).run());
        let others: Vec<_> = (1..contenders).map(|_| loom::thread::spawn(contender(&world, 1))).collect();
        let semaphore = world.semaphore(&world.server.connect());
        let outcome = block_on(async {
            let mut acquire = pin!(semaphore.acquire(1));
            std::future::poll_fn(|cx| match acquire.as_mut().poll(cx) {
                Poll::Ready(permit) => Poll::Ready(Some(permit.expect("the session lives"))),
                Poll::Pending => cancel.poll_take(cx).map(|()| None),
            })
            .await
        });
        cancelled_in.add(outcome.is_none());
        head_in.add(outcome.is_none() && world.server.wake_ups() > 0);
        if let Some(permit) = outcome {
            granted_in.add(true);
            world.visit(&permit);
        }
        others.into_iter().for_each(|thread| thread.join().expect("no panic"));
        thread.join().expect("no panic");
        world.assert_clean_after_one_more();
    });
    cancelled.assert_reached("cancelled while it waits");
    granted.assert_reached("granted before it was cancelled");
    if contenders == 2 {
        head.assert_reached("cancelled as the first in line");
    }
}

#[test]
fn semaphore_cancelled_at_any_point_of_two() {
    cancelled_by_another_thread("semaphore_cancelled_at_any_point_of_two", 2, 4);
}

#[test]
fn semaphore_cancelled_at_any_point_of_three() {
    cancelled_by_another_thread("semaphore_cancelled_at_any_point_of_three", 3, 2);
}

/// The k-th answer to one contender is lost, its request carried out; the connection is made again at once.
fn reply_lost(name: &'static str, world: fn(u32) -> World) {
    for replies in 0..=7 {
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let world = world(1);
            let client = world.server.connect();
            world.server.lose_reply_after(&client, replies);
            together!(contender(&world, 1); {
                let permit = block_on(world.semaphore(&client).acquire(1)).expect("the session lives");
                world.visit(&permit);
            });
            world.assert_clean();
        });
    }
}

#[test]
fn semaphore_reply_lost_at_any_point() {
    reply_lost("semaphore_reply_lost_at_any_point", plain);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_semaphore_does_not_look_for_its_nodes() {
    reply_lost("planted_semaphore_does_not_look_for_its_nodes", finding_nothing);
}

/// One contender's connection is cut and made again by another thread at any two points.
#[test]
fn semaphore_connection_lost_at_any_point() {
    let missed = Count::default();
    let missed_in = missed.clone();
    Model::new("semaphore_connection_lost_at_any_point").preemption_bound(3).check(move || {
        let world = plain(1);
        let victim = world.server.connect();
        let (server, client, missed) = (world.server.clone(), victim.clone(), missed_in.clone());
        let cut = move || {
            server.disconnect(&client);
            let before = server.wake_ups();
            server.reconnect(&client);
            missed.add(server.wake_ups() > before);
        };
        together!(contender(&world, 1), cut; {
            let permit = block_on(world.semaphore(&victim).acquire(1)).expect("the session lives");
            world.visit(&permit);
        });
        world.assert_clean();
    });
    missed.assert_reached("something it waits for happens while the connection is down");
}

/// `try_acquire` takes what is free, never waits, never overtakes, and leaves nothing when it fails.
#[test]
fn semaphore_try_acquire_against_acquire() {
    let (taken, free) = (Count::default(), Count::default());
    let (taken_in, free_in) = (taken.clone(), free.clone());
    Model::new("semaphore_try_acquire_against_acquire").preemption_bound(4).check(move || {
        let world = plain(2);
        let client = world.server.connect();
        together!(contender(&world, 2); {
            let permit = block_on(world.semaphore(&client).try_acquire(1)).expect("the session lives");
            taken_in.add(permit.is_none());
            free_in.add(permit.is_some());
            permit.iter().for_each(|permit| world.visit(permit));
        });
        world.assert_clean();
    });
    taken.assert_reached("it is taken");
    free.assert_reached("it is free");
}

/// The number grows while somebody waits who would wait for ever otherwise: one holds and goes on holding.
fn number_grows(name: &'static str, wrap: Wrap) {
    let waited = Count::default();
    let waited_in = waited.clone();
    Model::new(name).check(move || {
        let world = World::new(1, wrap).shared();
        let held = block_on(world.semaphore(&world.server.connect()).acquire(1)).expect("the session lives");
        let setter = world.semaphore(&world.server.connect());
        let sets = move || block_on(setter.set_permits(2)).expect("the session lives");
        together!(sets; {
            let permit = block_on(world.semaphore(&world.server.connect()).acquire(1)).expect("the session lives");
            waited_in.add(world.server.wake_ups() > 0);
            drop(permit);
        });
        drop(held);
        world.assert_no_nodes();
        // Who had to wait for permits has left one watch on the number, which stays until it changes.
        world.server.inspect(|tree| assert!(tree.watch_count() <= 1, "watches left"));
    });
    waited.assert_reached("somebody waits for the number to grow");
}

#[test]
fn semaphore_number_grows() {
    number_grows("semaphore_number_grows", no_bug);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_number_not_watched() {
    number_grows("planted_number_not_watched", |client| Arc::new(Tampered::new(client, watch_elsewhere)));
}

/// The number shrinks while somebody is granted: every grant is before that, or fits into the smaller number.
fn number_shrinks(name: &'static str, wrap: Wrap) {
    let (before, refused) = (Count::default(), Count::default());
    let (before_in, refused_in) = (before.clone(), refused.clone());
    Model::new(name).check(move || {
        let world = World::new(2, wrap).shared();
        let held = block_on(world.semaphore(&world.server.connect()).acquire(1)).expect("the session lives");
        let setter = world.semaphore(&world.server.connect());
        let sets = move || block_on(setter.set_permits(1)).expect("the session lives");
        let semaphore = world.semaphore(&world.server.connect());
        let permit = together!(sets; block_on(semaphore.try_acquire(1)).expect("the session lives"));
        before_in.add(permit.is_some());
        refused_in.add(permit.is_none());
        if let Some(permit) = &permit {
            world.server.inspect(|tree| {
                let granted = tree.stat(permit.path()).expect("it is held").czxid;
                let shrunk = tree.stat(&number_path()).expect("it is there").mzxid;
                assert!(granted < shrunk, "granted beyond the number");
            });
        }
        drop((permit, held));
        world.assert_clean();
    });
    before.assert_reached("granted while there were two");
    refused.assert_reached("not granted");
}

#[test]
fn semaphore_number_shrinks() {
    number_shrinks("semaphore_number_shrinks", no_bug);
}

#[test]
#[should_panic(expected = "granted beyond the number")]
fn planted_number_not_checked() {
    number_shrinks("planted_number_not_checked", |client| Arc::new(Tampered::new(client, grant_unchecked)));
}
