//! What a watch and the machine share.

use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use herdless_core::{Completion, OneShot, WatchOutcome, WatchSource};

use crate::client::Shared;

/// Where the outcome of one watch arrives. The machine keeps it until the watch fires, or until a sweep finds that nobody waits.
#[derive(Default)]
pub(crate) struct WatchSlot {
    outcome: OneShot<WatchOutcome>,
    /// Who is told when the watch is dropped. The machine makes the cell and does not know.
    shared: OnceLock<Weak<Shared>>,
}

impl WatchSlot {
    pub(crate) fn belongs_to(self: Arc<Self>, shared: &Arc<Shared>) -> Arc<Self> {
        self.shared.get_or_init(|| Arc::downgrade(shared));
        self
    }

    pub(crate) fn put(&self, outcome: WatchOutcome) -> Completion<WatchOutcome> {
        self.outcome.put(outcome)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.outcome.is_abandoned()
    }
}

impl WatchSource for WatchSlot {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<WatchOutcome> {
        self.outcome.poll_take(cx)
    }

    fn abandon(&self) {
        // One that has fired is not in the machine any more.
        if self.outcome.abandon(None) {
            self.shared.get().and_then(Weak::upgrade).into_iter().for_each(|shared| shared.watch_dropped());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 100,000 idle watches each may take 400 bytes: this, the path, and the places of both in the machine's table.
    #[test]
    fn a_slot_is_small() {
        assert!(size_of::<WatchSlot>() <= 96, "{}", size_of::<WatchSlot>());
    }
}
