//! Models of the work that only a leader does.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use herdless_core::{Client, OneShot};
use herdless_memory::check::{LoomLocks, Model, block_on, loom};
use herdless_recipes::{Leadership, Led};

use super::{LATCH, SOUND, Wrap, assert_clean, candidate, election, hold};
use crate::harness::{Count, poll_times, together};
use crate::models::flaw::Flaw;
use crate::world::World;

/// Lets the task be polled once more.
async fn one_more_poll() {
    let mut was_polled = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The work of a leader whose session ends makes no step after it, and is done again in a later term; no two are at
/// work at the same time as valid leaders.
fn lead_and_lose<W: Wrap>(name: &'static str, others: usize, bound: Option<usize>, wrap: W) {
    let (lost, early) = (Count::default(), Count::default());
    let (lost_in, early_in) = (lost.clone(), early.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(Flaw::None);
        let victim = world.connect();
        let is_over = Arc::new(OneShot::<(), LoomLocks>::new());
        let threads: Vec<_> = (0..others)
            .map(|_| {
                let (world, client) = (world.clone(), world.connect());
                loom::thread::spawn(move || _ = hold(&world, &client, LATCH, wrap))
            })
            .collect();
        let (server, to_expire, tells) = (world.server.clone(), victim.clone(), is_over.clone());
        let killer = loom::thread::spawn(move || {
            server.expire(&to_expire);
            tells.put(()).run();
        });
        let first = victim.session().id();
        let (runs, at_work) = (Cell::new(0_u64), Cell::new(0_u64));
        block_on(election(&victim, LATCH, wrap).lead(async |leadership| {
            let _one = AtWork::begin(&at_work);
            runs.set(runs.get() + 1);
            world.hold(leadership);
            if leadership.session().id() == first {
                poll_fn(|cx| is_over.poll_take(cx)).await;
                // The session has ended for certain; what was left of this poll was begun before.
                one_more_poll().await;
                panic!("a step after the loss");
            }
            world.let_go(leadership.term());
        }))
        .expect("it stands again");
        lost_in.add(runs.get() == 2);
        early_in.add(runs.get() == 1);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        killer.join().expect("no panic");
        assert_clean(&world, 0);
    });
    lost.assert_reached("lost at work, and at work again");
    early.assert_reached("lost before it led");
}

/// One run of the work: there is never a second beside it.
struct AtWork<'a>(&'a Cell<u64>);

impl<'a> AtWork<'a> {
    fn begin(count: &'a Cell<u64>) -> Self {
        assert_eq!(count.replace(1), 0, "the run before was not dropped");
        Self(count)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

#[test]
fn lead_ends_with_the_leadership() {
    lead_and_lose("lead_ends_with_the_leadership", 0, None, SOUND);
}

#[test]
fn lead_ends_with_the_leadership_and_another_leads() {
    lead_and_lose("lead_ends_with_the_leadership_and_another_leads", 1, Some(3), SOUND);
}

#[test]
#[should_panic(expected = "a step after the loss")]
fn planted_work_outlives_the_leadership() {
    lead_and_lose("planted_work_outlives_the_leadership", 0, None, Flaw::IgnoreExpiry);
}

/// Work that waits for something else is ended by the loss: nobody else has to wake it.
fn lead_and_sleep(name: &'static str, wrap: impl Wrap) {
    Model::new(name).check(move || {
        let world = World::new(Flaw::None);
        let victim = world.connect();
        let begun = Arc::new(OneShot::<(), LoomLocks>::new());
        let (server, to_expire, begins) = (world.server.clone(), victim.clone(), begun.clone());
        let killer = loom::thread::spawn(move || {
            block_on(poll_fn(|cx| begun.poll_take(cx)));
            server.expire(&to_expire);
        });
        let led = block_on(election(&victim, LATCH, wrap).lead_once(async |_| {
            begins.put(()).run();
            std::future::pending::<()>().await
        }));
        assert_eq!(led, Ok(Led::Lost));
        killer.join().expect("no panic");
        assert_clean(&world, 0);
    });
}

#[test]
fn lead_wakes_at_the_loss() {
    lead_and_sleep("lead_wakes_at_the_loss", SOUND);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_work_sleeps_through_the_loss() {
    lead_and_sleep("planted_work_sleeps_through_the_loss", Flaw::IgnoreExpiry);
}

/// Leading is dropped at its k-th poll, before it leads or at work: nothing is left and nobody waits.
fn lead_cancelled(name: &'static str, wrap: impl Wrap) {
    let (at_work, early) = (Count::default(), Count::default());
    for polls in 0..=6 {
        let (at_work_in, early_in) = (at_work.clone(), early.clone());
        Model::new(format!("{name}/{polls}")).check(move || {
            let world = World::new(Flaw::None);
            let victim = world.connect();
            world.server.delay_replies(&victim);
            let runs = Cell::new(0_u64);
            together!(candidate(&world, LATCH, wrap); {
                let work = async |leadership: &Leadership<_>| {
                    world.visit(leadership.term());
                    runs.set(runs.get() + 1);
                    std::future::pending::<()>().await
                };
                assert!(poll_times(polls, election(&victim, LATCH, wrap).lead(work)).is_none());
            });
            at_work_in.add(runs.get() == 1);
            early_in.add(runs.get() == 0);
            assert_clean(&world, 0);
        });
    }
    at_work.assert_reached("dropped at work");
    early.assert_reached("dropped before");
}

#[test]
fn lead_cancelled_at_any_point() {
    lead_cancelled("lead_cancelled_at_any_point", SOUND);
}

#[test]
#[should_panic(expected = "ghost nodes")]
fn planted_lead_cancelled_without_resigning() {
    lead_cancelled("planted_lead_cancelled_without_resigning", Flaw::KeepNodeOnRelease);
}
