//! What is due when, and requests that have waited for too long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use herdless_core::Error;

use super::super::event::Event;
use super::{Machine, Purpose, Waiting};

/// How much later than it is due a request may be told so: with many that are due one behind another, all are looked
/// through once in this time at most.
const GRAIN: Duration = Duration::from_millis(1);

impl<T: Clone, W: Clone + Default> Machine<T, W> {
    /// When [`handle_timeout`](Self::handle_timeout) is due. It changes with every other call; a deadline that was
    /// given earlier and is now too early does no harm.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.link_deadline().into_iter().chain(self.overdue_at).chain(self.resumption_deadline()).min()
    }

    /// Does what is due: a ping, the end of a connection that is silent, the end of a session that no server has
    /// confirmed in time, the end of a request's patience, clean-up that the server had put off.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.overdue_at.is_some_and(|at| now >= at) {
            self.tell_overdue(now);
        }
        self.do_due(now);
        self.resume_errands(now);
    }

    fn tell_overdue(&mut self, now: Instant) {
        let mut next: Option<Instant> = None;
        let mut is_over = |due: Instant| {
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
            due <= now
        };
        for entry in &mut self.in_flight {
            if let Purpose::User { token, due, .. } = &mut entry.purpose
                && due.is_some_and(&mut is_over)
            {
                *due = None;
                self.events.push_back(Event::Overdue { token: token.clone() });
            }
        }
        let mut waiting = VecDeque::with_capacity(self.waiting.len());
        for one in std::mem::take(&mut self.waiting) {
            match one {
                Waiting::Request(_, token, Some(due)) if is_over(due) => self.answer(token, Err(Error::NotSent)),
                other => waiting.push_back(other),
            }
        }
        self.waiting = waiting;
        self.overdue_at = next.map(|next| next.max(now + GRAIN));
    }
}

impl<T, W> Machine<T, W> {
    /// When a request that is submitted now has waited for too long; never, where the clock does not reach as far.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = now.checked_add(self.config.request_timeout?)?;
        self.overdue_at.get_or_insert(due);
        Some(due)
    }
}
