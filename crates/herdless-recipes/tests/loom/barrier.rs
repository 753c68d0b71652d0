//! Models of the barriers.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use herdless_core::{
    Client, ClientExt, CreateMode, Error, Exists, MultiOp, MultiReply, NodePath, OneShot, Reply, Request, Response,
    Watch, WatchOutcome, WatchSource,
};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
use herdless_recipes::{Barrier, DoubleBarrier, Round};

use crate::harness::{Count, Tamper, Tampered, create_blindly, leave_node_on_giving_up, poll_times, sound, together};
use crate::models::tamper::watch_an_open_gate;

/// One execution's server, and how many have come and begun to leave.
#[derive(Clone)]
struct World {
    server: LoomServer,
    tamper: Tamper,
    size: u32,
    /// Of std, because they must not order the members: loom does not see them.
    come: Arc<AtomicU64>,
    going: Arc<AtomicU64>,
}

type Loomed = MemoryClient<LoomLocks>;

fn path() -> NodePath {
    NodePath::parse("/step").expect("a valid path")
}

impl World {
    fn new(size: u32, tamper: Tamper) -> Self {
        let server = LoomServer::with_locks();
        block_on(server.connect().create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        Self { server, tamper, size, come: Arc::default(), going: Arc::default() }
    }

    fn barrier(&self, client: &Loomed) -> DoubleBarrier<Tampered> {
        DoubleBarrier::new(Tampered::new(client.clone(), self.tamper), path(), self.size).expect("a size")
    }

    /// Enters; nobody does before the round's number has come.
    fn enter(&self, client: &Loomed, round: u32) -> Result<Round<Tampered>, Error> {
        self.come.fetch_add(1, Ordering::Relaxed);
        let entered = block_on(self.barrier(client).enter())?;
        let come = self.come.load(Ordering::Relaxed);
        assert!(come >= u64::from(self.size * round), "entered round {round} when {come} had come");
        Ok(entered)
    }

    /// Leaves; nobody has before the round's number has begun to.
    fn leave(&self, entered: Round<Tampered>, round: u32) -> Result<(), Error> {
        self.going.fetch_add(1, Ordering::Relaxed);
        block_on(entered.leave())?;
        let going = self.going.load(Ordering::Relaxed);
        assert!(going >= u64::from(self.size * round), "left round {round} when {going} had begun to");
        Ok(())
    }

    fn rounds(&self, rounds: u32) {
        let client = self.server.connect();
        let mut generation = None;
        for round in 1..=rounds {
            let entered = self.enter(&client, round).expect("the session lives");
            assert!(Some(entered.generation()) > generation, "generations grow");
            generation = Some(entered.generation());
            self.leave(entered, round).expect("the session lives");
        }
    }

    fn member(&self, rounds: u32) -> impl FnOnce() + Send + 'static {
        let world = self.clone();
        move || world.rounds(rounds)
    }

    /// Nothing is left: no member's node, and no watch but on the directory, for the next round's beginning.
    fn assert_clean(&self) {
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().contains("member-")).collect();
            assert!(left.is_empty(), "ghost members {left:?}");
            assert!(tree.watch_count() <= self.size as usize, "watches left");
        });
    }
}

/// Nobody enters before all have come, nobody leaves before all go, round after round; no lost wake-up, nothing left.
fn members(name: &'static str, size: u32, rounds: u32, bound: Option<usize>, tamper: Tamper) {
    let waited = Count::default();
    let waited_in = waited.clone();
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(size, tamper);
        let threads: Vec<_> = (1..size).map(|_| loom::thread::spawn(world.member(rounds))).collect();
        world.rounds(rounds);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        waited_in.add(world.server.wake_ups() > 0);
        world.assert_clean();
    });
    waited.assert_reached("somebody waits");
}

#[test]
fn barrier_two_members() {
    members("barrier_two_members", 2, 1, None, sound);
}

#[test]
fn barrier_two_members_two_rounds() {
    members("barrier_two_members_two_rounds", 2, 2, Some(3), sound);
}

#[test]
fn barrier_three_members() {
    members("barrier_three_members", 3, 1, Some(3), sound);
}

/// A member opens the round by itself.
fn alone_is_enough(client: &Loomed, request: Request) -> Response {
    let submitted = client.submit(request);
    submitted.map(|outcome| {
        let mut answer = outcome?;
        if let Reply::Children(names, _) = &mut answer.reply
            && let [only] = &names[..]
        {
            let twin = format!("member-{:010}", only.trim_start_matches("member-").parse::<u32>().unwrap_or(0) + 1);
            names.push(twin);
        }
        Ok(answer)
    })
}

/// The check of who is still there is left out, too.
fn count_without_check(client: &Loomed, mut request: Request) -> Response {
    if let Request::Multi(multi) = &mut request {
        let checks = multi.operations.len() - 1;
        multi.operations.retain(|operation| !matches!(operation, MultiOp::Check { .. }));
        return client.submit(request).map(move |outcome| {
            let mut answer = outcome?;
            if let Reply::Multi(replies) = &mut answer.reply {
                (0..checks).for_each(|_| replies.insert(0, MultiReply::Checked));
            }
            Ok(answer)
        });
    }
    alone_is_enough(client, request)
}

#[test]
#[should_panic(expected = "entered round 1 when 1 had come")]
fn planted_barrier_begin_alone() {
    members("planted_barrier_begin_alone", 2, 1, None, count_without_check);
}

/// Who leaves sees nobody but the first member of the round, once it has begun.
fn leave_alone(client: &Loomed, request: Request) -> Response {
    let Request::GetChildren(_) = &request else { return client.submit(request) };
    let (begun, _) = block_on(client.get(&path())).expect("the directory is there");
    client.submit(request).map(move |outcome| {
        let mut answer = outcome?;
        if let Reply::Children(names, _) = &mut answer.reply
            && !begun.is_empty()
        {
            names.sort();
            names.truncate(1);
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "left round 1 when 1 had begun to")]
fn planted_barrier_leave_alone() {
    members("planted_barrier_leave_alone", 2, 1, None, leave_alone);
}

/// A member is watched with `exists`: where it has just gone, nothing ever fires.
fn watch_with_exists(client: &Loomed, request: Request) -> Response {
    match request {
        Request::GetData(get) if get.watch && get.path.name().starts_with("member-") => {
            client.submit(Request::Exists(Exists { path: get.path, watch: true })).map(|outcome| {
                let mut answer = outcome?;
                answer.reply = Reply::Data(Default::default(), Default::default());
                Ok(answer)
            })
        }
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_barrier_watch_with_exists() {
    members("planted_barrier_watch_with_exists", 2, 1, None, watch_with_exists);
}

/// Tells that the member beside the victim has been through its round.
type Done = Arc<OneShot<(), LoomLocks>>;

/// A member beside one that gives up or dies.
fn partner(world: &World, done: &Done) -> impl FnOnce() + Send + 'static {
    let (world, done) = (world.clone(), done.clone());
    move || {
        world.rounds(1);
        done.put(()).run();
    }
}

/// Enters, as long as the partner needs somebody.
fn enter_beside(world: &World, client: &Loomed, done: &Done) -> Option<Result<Round<Tampered>, Error>> {
    world.come.fetch_add(1, Ordering::Relaxed);
    let barrier = world.barrier(client);
    let mut entering = pin!(barrier.enter());
    block_on(poll_fn(|cx| match done.poll_take(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => entering.as_mut().poll(cx).map(Some),
    }))
}

/// Comes in the place of a member that is gone.
fn stand_in(world: &World, done: &Done) {
    if let Some(entered) = enter_beside(world, &world.server.connect(), done) {
        world.leave(entered.expect("the session lives"), 1).expect("the session lives");
    }
}

/// A member gives up at its k-th poll, on the way in or out, each answer there one poll late: it counts for nothing more,
/// nobody is left waiting, nothing stays behind.
fn cancelled(name: &'static str, tamper: Tamper) {
    let (cancelled, entered) = (Count::default(), Count::default());
    for (polls, leaves) in [(0, false), (1, false), (2, false), (3, false), (1, true), (2, true)] {
        let (cancelled_in, entered_in) = (cancelled.clone(), entered.clone());
        let name = format!("{name}/{polls}{}", if leaves { "/out" } else { "" });
        Model::new(name).preemption_bound(3).check(move || {
            let (world, done) = (World::new(2, tamper), Done::default());
            let victim = world.server.connect();
            world.server.delay_replies(&victim);
            together!(partner(&world, &done); {
                world.come.fetch_add(1, Ordering::Relaxed);
                let barrier = world.barrier(&victim);
                let outcome = match leaves {
                    false => poll_times(polls, barrier.enter()),
                    true => Some(block_on(barrier.enter())),
                };
                world.going.fetch_add(1, Ordering::Relaxed);
                match outcome {
                    None => {
                        cancelled_in.add(true);
                        stand_in(&world, &done);
                    }
                    Some(round) => {
                        entered_in.add(true);
                        let _ = poll_times(polls, round.expect("the session lives").leave());
                    }
                }
            });
            world.assert_clean();
        });
    }
    cancelled.assert_reached("it gives up on the way in");
    entered.assert_reached("it enters");
}

#[test]
fn barrier_cancelled_at_any_point() {
    cancelled("barrier_cancelled_at_any_point", sound);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_barrier_leave_node_on_giving_up() {
    cancelled("planted_barrier_leave_node_on_giving_up", leave_node_on_giving_up);
}

/// A member's session ends at any point, on the way in, inside or on the way out: it counts for nothing more, nobody is
/// left waiting, nothing stays behind.
fn session_expires(name: &'static str, tamper: Tamper) {
    let (outside, inside) = (Count::default(), Count::default());
    let (outside_in, inside_in) = (outside.clone(), inside.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let (world, done) = (World::new(2, tamper), Done::default());
        let victim = world.server.connect();
        let (killed, to_expire) = (world.clone(), victim.clone());
        let kill = move || {
            // To die is to leave.
            killed.going.fetch_add(1, Ordering::Relaxed);
            killed.server.expire(&to_expire);
        };
        together!(partner(&world, &done), kill; {
            match enter_beside(&world, &victim, &done) {
                // Its node was in the round, its session ended before it knew of either, and it came again.
                None => {}
                Some(Ok(entered)) => {
                    inside_in.add(world.leave(entered, 1).is_err());
                }
                Some(Err(error)) => {
                    assert_eq!(error, Error::SessionExpired);
                    outside_in.add(true);
                    world.going.fetch_add(1, Ordering::Relaxed);
                    stand_in(&world, &done);
                }
            }
        });
        world.assert_clean();
    });
    outside.assert_reached("it dies on the way in");
    inside.assert_reached("it dies inside");
}

#[test]
fn barrier_session_expires_at_any_point() {
    session_expires("barrier_session_expires_at_any_point", sound);
}

/// A member that died is taken for one that is still there: the deletion of its node is not told.
fn never_gone(client: &Loomed, request: Request) -> Response {
    match &request {
        Request::GetData(get) if get.watch && get.path.name().starts_with("member-") => {
            client.submit(request).map(|outcome| {
                let mut answer = outcome?;
                answer.watch = Some(Watch::new(Arc::new(Never)));
                Ok(answer)
            })
        }
        _ => client.submit(request),
    }
}

/// A watch that never fires.
struct Never;

impl WatchSource for Never {
    fn poll_fired(&self, _: &mut Context<'_>) -> Poll<WatchOutcome> {
        Poll::Pending
    }

    fn abandon(&self) {}
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_barrier_never_gone() {
    session_expires("planted_barrier_never_gone", never_gone);
}

/// The k-th answer to a member is lost, its request carried out; the connection is made again at once.
fn reply_lost(name: &'static str, tamper: Tamper) {
    for replies in 0..=7 {
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let world = World::new(2, tamper);
            let client = world.server.connect();
            world.server.lose_reply_after(&client, replies);
            together!(world.member(1); {
                let entered = world.enter(&client, 1).expect("the session lives");
                world.leave(entered, 1).expect("the session lives");
            });
            world.assert_clean();
        });
    }
}

#[test]
fn barrier_reply_lost_at_any_point() {
    reply_lost("barrier_reply_lost_at_any_point", sound);
}

#[test]
#[should_panic(expected = "entered round 1 when 1 had come")]
fn planted_barrier_create_blindly() {
    reply_lost("planted_barrier_create_blindly", create_blindly);
}

/// A member's connection is cut and made again by another thread at any two points.
#[test]
fn barrier_connection_lost_at_any_point() {
    Model::new("barrier_connection_lost_at_any_point").preemption_bound(3).check(|| {
        let world = World::new(2, sound);
        let victim = world.server.connect();
        let (server, client) = (world.server.clone(), victim.clone());
        let cut = move || {
            server.disconnect(&client);
            server.reconnect(&client);
        };
        together!(world.member(1), cut; {
            let entered = world.enter(&victim, 1).expect("the session lives");
            world.leave(entered, 1).expect("the session lives");
        });
        world.assert_clean();
    });
}

/// Two wait at a closed barrier while another opens it, with a reply lost at any point: all go on, no watch stays.
fn gate_opens(name: &'static str, tamper: Tamper) {
    for replies in [None, Some(0), Some(1), Some(2), Some(3)] {
        Model::new(format!("{name}/{replies:?}")).preemption_bound(3).check(move || {
            let server = LoomServer::with_locks();
            let gate = move |client: Loomed| Barrier::new(Tampered::new(client, tamper), path());
            block_on(gate(server.connect()).close()).expect("an empty tree takes it");
            let (one, two, opener) = (server.connect(), server.connect(), server.connect());
            if let Some(replies) = replies {
                server.lose_reply_after(&opener, replies);
            }
            let wait = move |client| move || block_on(gate(client).wait()).expect("the session lives");
            together!(wait(one), wait(two); block_on(gate(opener).open()).expect("the session lives"));
            server.inspect(|tree| {
                assert_eq!(tree.watch_count(), 0, "watches left");
                assert!(tree.stat(&path()).is_none(), "still closed");
            });
        });
    }
}

#[test]
fn gate_opens_for_everybody() {
    gate_opens("gate_opens_for_everybody", sound);
}

#[test]
#[should_panic(expected = "watches left")]
fn planted_gate_watch_with_exists() {
    gate_opens("planted_gate_watch_with_exists", watch_an_open_gate);
}
