//! Errands that a lost connection, or a server with too much to do, has interrupted.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

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
    /// Until then none goes on: the server has put one off, and would do so again.
    pause: Option<Instant>,
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
        self.pause = None;
    }

    /// The server has put the errand off. It goes on behind the others, so that one that is put off for good keeps none of them
    /// from going on. What is put off during a pause does not make that longer: there may be more of it all the time.
    fn put_off(&mut self, now: Instant, key: u64, pause: Duration) {
        self.under_way.remove(&key);
        self.waiting.push_back(key);
        self.width = 1;
        if self.pause.is_none_or(|until| until <= now) {
            self.pause = Some(now + pause);
        }
    }

    /// When the pause is over after which one goes on, if one waits for that.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pause.filter(|_| !self.waiting.is_empty() && self.under_way.len() < self.width)
    }

    /// Whether another may go on because this one has ended.
    pub(super) fn ended(&mut self, key: u64) -> bool {
        let was_resumed = self.under_way.remove(&key);
        self.width += usize::from(was_resumed);
        was_resumed
    }

    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.under_way.len() >= self.width || self.pause.is_some_and(|until| now < until) {
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
            && let Some(key) = self.resumption.next(now)
        {
            self.send_step(now, key);
        }
    }

    /// One request for each pause, which is as long as the longest between two dials while there is a session: there is time for
    /// several before that is over, and a server that has too much to do is not given more.
    pub(super) fn put_off(&mut self, now: Instant, key: u64) {
        let Some(timeout) = self.session.as_ref().map(|session| session.timeout) else {
            return;
        };
        self.resumption.put_off(now, key, timeout / 6);
    }

    pub(super) fn resumption_deadline(&self) -> Option<Instant> {
        self.resumption.due().filter(|_| self.is_up() && !self.is_read_only())
    }
}
