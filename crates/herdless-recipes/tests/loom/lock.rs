//! Models of the lock.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use herdless_core::{Client, ClientExt, CreateMode, Error, MultiOp, NodePath, OneShot, Version};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, Model, block_on, loom};
use herdless_recipes::LockGuard;

use crate::harness::{Count, poll_times, together};
use crate::models::flaw::Flaw;
use crate::world::{Flawed, World};

/// Takes the lock once, visits, and drops the guard.
fn contend(world: &World) {
    let client = world.connect();
    let guard = block_on(world.lock(&client).acquire()).expect("the session lives");
    world.visit(guard.token());
}

fn contender(world: &World) -> impl FnOnce() + Send + 'static {
    let world = world.clone();
    move || contend(&world)
}

/// Exclusion, first come first served, no lost wake-up, one wake-up for each hand-over, nothing left.
fn contenders(name: &'static str, count: usize, bound: Option<usize>, flaw: Flaw, confirm: bool) {
    let (contended, free) = (Count::default(), Count::default());
    let (contended_in, free_in) = (contended.clone(), free.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = match confirm {
            true => World::new(flaw).confirming(),
            false => World::new(flaw),
        };
        let threads: Vec<_> = (1..count).map(|_| loom::thread::spawn(contender(&world))).collect();
        contend(&world);
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
fn two_contenders() {
    contenders("two_contenders", 2, None, Flaw::None, false);
}

#[test]
fn three_contenders() {
    contenders("three_contenders", 3, Some(3), Flaw::None, false);
}

#[test]
fn four_contenders() {
    contenders("four_contenders", 4, Some(3), Flaw::None, false);
}

/// As above, each taking the lock twice: the second time it expects others, or not, and may be wrong.
#[test]
fn two_contenders_twice() {
    let (right, wrong) = (Count::default(), Count::default());
    let (right_in, wrong_in) = (right.clone(), wrong.clone());
    Model::new("two_contenders_twice").preemption_bound(4).check(move || {
        let world = World::new(Flaw::None);
        let twice = |world: &World| {
            let lock = world.lock(&world.connect());
            for _ in 0..2 {
                let guard = block_on(lock.acquire()).expect("the session lives");
                world.visit(guard.token());
            }
        };
        let other = world.clone();
        together!(move || twice(&other); twice(&world));
        right_in.add(world.server.wake_ups() > 1);
        wrong_in.add(world.server.wake_ups() == 1);
        world.assert_clean();
    });
    right.assert_reached("both times somebody waits");
    wrong.assert_reached("somebody waits once");
}

#[test]
fn three_contenders_confirming() {
    contenders("three_contenders_confirming", 3, Some(3), Flaw::None, true);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_watch_with_exists() {
    contenders("planted_watch_with_exists", 2, None, Flaw::WatchWithExists, false);
}

#[test]
#[should_panic(expected = "watches left")]
fn planted_watch_a_name_that_never_comes() {
    contenders("planted_watch_a_name_that_never_comes", 2, None, Flaw::WatchAnyName, false);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_keep_node_on_release() {
    contenders("planted_keep_node_on_release", 2, None, Flaw::KeepNodeOnRelease, false);
}

#[test]
#[should_panic(expected = "wake-ups for 3 contenders")]
fn planted_watch_directory() {
    contenders("planted_watch_directory", 3, Some(3), Flaw::WatchDirectory, false);
}

/// Takes the lock with a session that may end; whether it was lost while held.
fn hold(world: &World, client: &MemoryClient<LoomLocks>) -> bool {
    let guard = block_on(world.lock(client).acquire()).expect("an acquire outlives its session");
    world.hold(&guard);
    world.let_go(guard.token());
    !guard.is_valid()
}

/// A session ends at any point: of a holder or of a waiter. No two valid guards, no valid holder's write refused, no
/// lost wake-up, nothing left.
fn session_expires(name: &'static str, contenders: usize, bound: Option<usize>, flaw: Flaw) {
    let (lost_while_held, again) = (Count::default(), Count::default());
    let (lost_in, again_in) = (lost_while_held.clone(), again.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(flaw);
        let victim = world.connect();
        let others: Vec<_> = (1..contenders)
            .map(|_| {
                let (world, client) = (world.clone(), world.connect());
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
    lost_while_held.assert_reached("the session ends while the lock is held");
    again.assert_reached("a waiter starts again with a new session");
}

#[test]
fn session_expires_at_any_point_of_two() {
    session_expires("session_expires_at_any_point_of_two", 2, None, Flaw::None);
}

#[test]
fn session_expires_at_any_point_of_three() {
    session_expires("session_expires_at_any_point_of_three", 3, Some(3), Flaw::None);
}

#[test]
#[should_panic(expected = "are both valid")]
fn planted_ignore_expiry() {
    session_expires("planted_ignore_expiry", 2, None, Flaw::IgnoreExpiry);
}

/// An acquire is dropped at its k-th poll, each answer there one poll late: between two others it leaves no node, no
/// watch, and nobody waiting.
fn dropped_at_every_poll(name: &'static str, flaw: Flaw) {
    let (waiting, held) = (Count::default(), Count::default());
    for polls in 0..=6 {
        let name = format!("{name}/{polls}");
        let (waiting_in, held_in) = (waiting.clone(), held.clone());
        Model::new(name).preemption_bound(3).check(move || {
            let world = World::new(flaw);
            let victim = world.connect();
            world.server.delay_replies(&victim);
            together!(contender(&world), contender(&world); {
                let guard = poll_times(polls, world.lock(&victim).acquire());
                waiting_in.add(guard.is_none() && polls > 3);
                if let Some(guard) = guard {
                    held_in.add(true);
                    world.visit(guard.expect("the session lives").token());
                }
            });
            world.assert_clean();
        });
    }
    waiting.assert_reached("dropped while it waits in line");
    held.assert_reached("granted before it was dropped");
}

#[test]
fn cancelled_at_every_poll() {
    dropped_at_every_poll("cancelled_at_every_poll", Flaw::None);
}

#[test]
#[should_panic(expected = "ghost nodes")]
fn planted_leave_node_on_giving_up() {
    cancelled_by_another_thread("planted_leave_node_on_giving_up", 2, None, Flaw::LeaveNodeOnGivingUp);
}

/// An acquire that another thread cancels at any point, with others ahead of it and behind.
fn cancelled_by_another_thread(name: &'static str, contenders: usize, bound: Option<usize>, flaw: Flaw) {
    let (cancelled, granted, middle) = (Count::default(), Count::default(), Count::default());
    let (cancelled_in, granted_in, middle_in) = (cancelled.clone(), granted.clone(), middle.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(flaw);
        let cancel = Arc::new(OneShot::<(), LoomLocks>::new());
        let canceller = cancel.clone();
        let thread = loom::thread::spawn(move || canceller.put(()).run());
        let others: Vec<_> = (1..contenders).map(|_| loom::thread::spawn(contender(&world))).collect();
        let client = world.connect();
        let lock = world.lock(&client);
        let outcome = block_on(async {
            let mut acquire = pin!(lock.acquire());
            std::future::poll_fn(|cx| match acquire.as_mut().poll(cx) {
                Poll::Ready(guard) => Poll::Ready(Some(guard.expect("the session lives"))),
                Poll::Pending => cancel.poll_take(cx).map(|()| None),
            })
            .await
        });
        cancelled_in.add(outcome.is_none());
        middle_in.add(outcome.is_none() && world.server.wake_ups() > 0);
        if let Some(guard) = outcome {
            granted_in.add(true);
            world.visit(guard.token());
        }
        others.into_iter().for_each(|thread| thread.join().expect("no panic"));
        thread.join().expect("no panic");
        world.assert_clean();
    });
    cancelled.assert_reached("cancelled while it waits");
    granted.assert_reached("granted before it was cancelled");
    if contenders > 2 {
        middle.assert_reached("somebody waits behind the one that is cancelled");
    }
}

#[test]
fn cancelled_at_any_point_of_two() {
    cancelled_by_another_thread("cancelled_at_any_point_of_two", 2, None, Flaw::None);
}

/// A middle waiter dies in every interleaving with the hand-over: the one behind it must not take that for its turn.
#[test]
fn middle_waiter_gives_up() {
    cancelled_by_another_thread("middle_waiter_gives_up", 3, Some(3), Flaw::None);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_trust_death() {
    cancelled_by_another_thread("planted_trust_death", 3, Some(3), Flaw::TrustDeath);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_hand_over_on_giving_up() {
    cancelled_by_another_thread("planted_hand_over_on_giving_up", 3, Some(3), Flaw::HandOverOnGivingUp);
}

/// The k-th answer to one contender is lost, its request carried out; the connection is made again at once.
fn reply_lost(name: &'static str, flaw: Flaw) {
    for replies in 0..=4 {
        Model::new(format!("{name}/{replies}")).check(move || {
            let world = World::new(flaw);
            let client = world.connect();
            world.server.lose_reply_after(&client, replies);
            together!(contender(&world); {
                let guard = block_on(world.lock(&client).acquire()).expect("the session lives");
                world.visit(guard.token());
            });
            world.assert_clean();
        });
    }
}

#[test]
fn reply_lost_at_any_point() {
    reply_lost("reply_lost_at_any_point", Flaw::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_create_blindly() {
    reply_lost("planted_create_blindly", Flaw::CreateBlindly);
}

/// The answer to the create is lost and the acquire dropped, in either order: the node is found and taken away.
#[test]
fn cancelled_with_the_reply_lost() {
    for polls in 0..=3 {
        Model::new(format!("cancelled_with_the_reply_lost/{polls}")).check(move || {
            let world = World::new(Flaw::None);
            let victim = world.connect();
            world.server.delay_replies(&victim);
            world.server.lose_reply_after(&victim, 0);
            together!(contender(&world); {
                if let Some(guard) = poll_times(polls, world.lock(&victim).acquire()) {
                    world.visit(guard.expect("the session lives").token());
                }
            });
            world.assert_clean();
        });
    }
}

/// One contender's connection is cut and made again by another thread at any two points.
#[test]
fn connection_lost_at_any_point() {
    let missed = Count::default();
    let missed_in = missed.clone();
    Model::new("connection_lost_at_any_point").preemption_bound(3).check(move || {
        let world = World::new(Flaw::None);
        let victim = world.connect();
        let (server, client, missed) = (world.server.clone(), victim.clone(), missed_in.clone());
        let cut = move || {
            server.disconnect(&client);
            let before = server.wake_ups();
            server.reconnect(&client);
            missed.add(server.wake_ups() > before);
        };
        together!(contender(&world), cut; {
            let guard = block_on(world.lock(&victim).acquire()).expect("the session lives");
            world.visit(guard.token());
        });
        world.assert_clean();
    });
    missed.assert_reached("the hand-over happens while the connection is down");
}

/// `try_acquire` takes a free lock, never waits, never overtakes, and leaves nothing when it fails.
#[test]
fn try_acquire_against_acquire() {
    let (taken, free) = (Count::default(), Count::default());
    let (taken_in, free_in) = (taken.clone(), free.clone());
    Model::new("try_acquire_against_acquire").check(move || {
        let world = World::new(Flaw::None);
        let client = world.connect();
        together!(contender(&world); {
            let guard = block_on(world.lock(&client).try_acquire()).expect("the session lives");
            taken_in.add(guard.is_none());
            free_in.add(guard.is_some());
            guard.iter().for_each(|guard| world.visit(guard.token()));
        });
        world.assert_clean();
    });
    taken.assert_reached("it is taken");
    free.assert_reached("it is free");
}

/// Two holders write the same node under their guards while the session of the first ends: the later holder's write is
/// the last.
fn guarded_write(name: &'static str, flaw: Flaw) {
    let refused = Count::default();
    let refused_in = refused.clone();
    Model::new(name).check(move || {
        let world = World::new(flaw);
        let node = NodePath::parse("/state").expect("a valid path");
        let (first, second) = (world.connect(), world.connect());
        block_on(second.create(&node, "", CreateMode::Persistent)).expect("an empty tree takes it");
        let guard = block_on(world.lock(&first).acquire()).expect("the session lives");
        let (other, its_node) = (world.clone(), node.clone());
        let next = loom::thread::spawn(move || {
            other.server.expire(&first);
            let guard = block_on(other.lock(&second).acquire()).expect("the session lives");
            write(&guard, &its_node, "second").expect("a valid holder's write");
        });
        let outcome = write(&guard, &node, "first");
        refused_in.add(outcome.is_err());
        drop(guard);
        next.join().expect("no panic");
        let (data, _) = block_on(world.connect().get(&node)).expect("the node is there");
        assert_eq!(data, "second", "the earlier holder wrote last");
    });
    refused.assert_reached("the earlier holder's write is refused");
}

fn write(guard: &LockGuard<Flawed>, node: &NodePath, data: &'static str) -> Result<(), Error> {
    block_on(guard.multi(vec![MultiOp::set(node, data, Version::ANY)])).map(drop)
}

#[test]
fn guarded_writes_against_expiry() {
    guarded_write("guarded_writes_against_expiry", Flaw::None);
}

#[test]
#[should_panic(expected = "the earlier holder wrote last")]
fn planted_write_unguarded() {
    guarded_write("planted_write_unguarded", Flaw::WriteUnguarded);
}

/// Tokens grow also where the directory is removed in between and made again, and its numbers start anew.
fn tokens_over_a_new_directory(name: &'static str, flaw: Flaw) {
    let again = Count::default();
    let again_in = again.clone();
    Model::new(name).check(move || {
        let world = World::new(flaw);
        let (server, again) = (world.server.clone(), again_in.clone());
        let reaper = loom::thread::spawn(move || {
            server.reap_containers();
            again.add(server.inspect(|tree| tree.stat(&crate::world::path()).is_none()));
        });
        contend(&world);
        contend(&world);
        reaper.join().expect("no panic");
        world.assert_clean();
    });
    again.assert_reached("the directory is removed between two grants");
}

#[test]
fn tokens_outlive_the_directory() {
    tokens_over_a_new_directory("tokens_outlive_the_directory", Flaw::None);
}

#[test]
#[should_panic(expected = "a later grant has a greater token")]
fn planted_number_as_token() {
    tokens_over_a_new_directory("planted_number_as_token", Flaw::NumberAsToken);
}
