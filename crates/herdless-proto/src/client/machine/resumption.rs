//! Errands that a lost connection has interrupted.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use super::Machine;

/// Which errands are to go on.
///
/// All at once they would use up a connection that does not live long, each with its first step, and so would they the next
/// one: with nothing ever done. So one goes on alone, and with every one that ends there may be one more at a time.
#[derive(Debug, Default)]
pub(super) struct Resumption {
    waiting: VecDeque<u64>,
    under_way: BTreeSet<u64>,
    /// How many may be under way at a time.
    width: usize,
}

impl Resumption {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The errand's step was in flight when the connection was lost.
    pub(super) fn interrupted(&mut self, key: u64) {
        self.waiting.push_back(key);
    }

    pub(super) fn disconnected(&mut self) {
        self.under_way.clear();
        self.width = 1;
    }

    /// Whether another may go on because this one has ended.
    pub(super) fn ended(&mut self, key: u64) -> bool {
        let was_resumed = self.under_way.remove(&key);
        self.width += usize::from(was_resumed);
        was_resumed
    }

    fn next(&mut self) -> Option<u64> {
        if self.under_way.len() >= self.width {
            return None;
        }
        let key = self.waiting.pop_front()?;
        self.under_way.insert(key);
        Some(key)
    }
}

impl<T, W: Clone + Default> Machine<T, W> {
    pub(super) fn resume_errands(&mut self, now: Instant) {
        while self.is_up()
            && !self.is_read_only()
            && let Some(key) = self.resumption.next()
        {
            self.send_step(now, key);
        }
    }
}
