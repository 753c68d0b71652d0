//! Models of the slot under every answer and every watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use herdless_core::OneShot;
use herdless_memory::check::{LoomLocks, Model, block_on, loom};

type Slot = OneShot<u32, LoomLocks>;
type Undo = Box<dyn FnOnce(u32) + Send>;

/// A value put in while its listener goes away reaches the listener or the undo: exactly one of them.
fn value_against_abandonment(name: &'static str, abandon: fn(&Slot, Undo)) {
    Model::new(name).check(move || {
        let (slot, undone) = (Arc::new(Slot::new()), Arc::new(AtomicU64::new(0)));
        let (puts, counter) = (slot.clone(), undone.clone());
        let thread = loom::thread::spawn(move || puts.put(7).run());
        abandon(
            &slot,
            Box::new(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            }),
        );
        thread.join().expect("no panic");
        assert_eq!(undone.load(Ordering::Relaxed), 1, "the undo runs once");
    });
}

#[test]
fn abandoned_slot() {
    value_against_abandonment("abandoned_slot", |slot, undo| {
        slot.abandon(Some(undo));
    });
}

#[test]
#[should_panic(expected = "the undo runs once")]
fn planted_undo_left_in_a_second_step() {
    value_against_abandonment("planted_undo_left_in_a_second_step", |slot, undo| {
        slot.abandon(None);
        slot.abandon(Some(undo));
    });
}

/// A value put in while its listener begins to wait wakes it.
#[test]
fn awaited_slot() {
    Model::new("awaited_slot").check(|| {
        let slot = Arc::new(Slot::new());
        let puts = slot.clone();
        let thread = loom::thread::spawn(move || puts.put(7).run());
        assert_eq!(block_on(std::future::poll_fn(|cx| slot.poll_take(cx))), 7);
        thread.join().expect("no panic");
    });
}
