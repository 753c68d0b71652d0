//! Which host to dial next, and after how long a pause.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::balance::{Dice, reconnect_order};

/// The order of the hosts and the backoff. The hosts themselves are the transport's; here they are numbers.
///
/// The pause before the first dial after a connection was lost is drawn from 0 up to a bound (full jitter), that of each
/// further one from the upper half of its own, which doubles up to the cap. So a crowd of clients that lost one server
/// does not come back as a crowd, however long the server was away: with pauses from 0 on every time, those who are due
/// at once are always twice the mean. And two dials in a row are never closer than half of the bound.
#[derive(Debug)]
pub(super) struct Hosts {
    count: usize,
    next: usize,
    /// The one that is being dialled, or connected.
    dialled: usize,
    /// Those to be tried first, because the list has changed.
    moving: VecDeque<usize>,
    /// Dials since a connection has proven itself; `None` before the very first.
    failures: Option<u32>,
    /// Whether the next dial has no pause before it. It counts all the same: what was found may hang up at once.
    is_found: bool,
    accepted: Option<Instant>,
}

/// The pause before the first dial after a connection was lost is below this, and below half of the cap.
const BASE: Duration = Duration::from_secs(1);

impl Hosts {
    pub(super) fn new(count: usize) -> Self {
        let count = count.max(1);
        Self { count, next: 0, dialled: 0, moving: VecDeque::new(), failures: None, is_found: false, accepted: None }
    }

    /// The next host, and what the pause before it is dialled is to be drawn from.
    pub(super) fn next(&mut self, cap: Duration) -> (usize, RangeInclusive<Duration>) {
        self.dialled = self.moving.pop_front().unwrap_or(self.next);
        self.next = (self.dialled + 1) % self.count;
        let first = BASE.min(cap / 2);
        let is_found = std::mem::take(&mut self.is_found);
        let pause = match self.failures.filter(|_| !is_found) {
            None => Duration::ZERO..=Duration::ZERO,
            Some(0) => Duration::ZERO..=first,
            Some(failures) => {
                let bound = first.saturating_mul(1 << failures.min(16)).min(cap);
                bound / 2..=bound
            }
        };
        self.failures = Some(self.failures.map_or(0, |failures| failures + 1));
        (self.dialled, pause)
    }

    /// The host to ask whether it is read-write. They take turns here as they do for dials.
    pub(super) fn probe(&mut self) -> usize {
        let host = self.next;
        self.next = (host + 1) % self.count;
        host
    }

    /// This one is dialled next, and at once.
    pub(super) fn prefer(&mut self, host: usize) {
        self.next = host % self.count;
        self.is_found = true;
    }

    /// A server accepted the session.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.accepted = Some(now);
        self.moving.clear();
    }

    /// The connection is gone; whether it has proven itself. Only one that has lived for the longest pause makes the pauses
    /// short again: a server that accepts every client and hangs up at once, or after its first request, would be dialled
    /// without end.
    pub(super) fn disconnected(&mut self, now: Instant, cap: Duration) -> bool {
        let has_lived = self.accepted.take().is_some_and(|accepted| now.saturating_duration_since(accepted) >= cap);
        if has_lived {
            self.failures = Some(0);
        }
        has_lived
    }

    /// Another list takes the place of this one: of each new host, which of the old ones it is. Whether to leave the
    /// present one.
    pub(super) fn update(&mut self, kept: &[Option<usize>], random: u64) -> bool {
        let present = kept.iter().position(|old| *old == Some(self.dialled));
        let order = reconnect_order(self.count, kept, present.is_some(), &mut Dice::new(random));
        self.count = kept.len();
        match (present, order) {
            (Some(present), None) => {
                self.dialled = present;
                self.next = (present + 1) % self.count;
                self.moving.clear();
                false
            }
            (_, order) => {
                self.moving = order.unwrap_or_default().into();
                self.next = 0;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_millis(400);

    fn millis(pause: &RangeInclusive<Duration>) -> (u128, u128) {
        (pause.start().as_millis(), pause.end().as_millis())
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin; only differences to it matter")]
    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn hosts_take_turns_and_pauses_grow_up_to_the_cap() {
        let mut hosts = Hosts::new(2);
        let dials: Vec<_> = (0..5).map(|_| hosts.next(CAP)).map(|(host, pause)| (host, millis(&pause))).collect();
        assert_eq!(dials, [(0, (0, 0)), (1, (0, 200)), (0, (200, 400)), (1, (200, 400)), (0, (200, 400))]);
        let mut hosts = Hosts::new(1);
        let long = Duration::from_secs(5);
        let dials: Vec<_> = (0..6).map(|_| millis(&hosts.next(long).1)).collect();
        assert_eq!(dials, [(0, 0), (0, 1_000), (1_000, 2_000), (2_000, 4_000), (2_500, 5_000), (2_500, 5_000)]);
    }

    #[test]
    fn only_a_connection_that_has_lived_makes_the_pauses_short_again() {
        let (mut hosts, now) = (Hosts::new(1), now());
        for _ in 0..4 {
            hosts.next(CAP);
        }
        hosts.accepted(now);
        hosts.disconnected(now + CAP - Duration::from_millis(1), CAP);
        assert_eq!(millis(&hosts.next(CAP).1), (200, 400));
        hosts.accepted(now);
        hosts.disconnected(now + CAP, CAP);
        assert_eq!(millis(&hosts.next(CAP).1), (0, 200));
        // A dial that failed since proves nothing.
        hosts.disconnected(now + CAP * 9, CAP);
        assert_eq!(millis(&hosts.next(CAP).1), (200, 400));
    }

    #[test]
    fn who_stays_goes_on_from_where_it_is_and_who_leaves_tries_all() {
        let mut hosts = Hosts::new(3);
        assert_eq!((hosts.next(CAP).0, hosts.next(CAP).0), (0, 1));
        hosts.accepted(now());
        // The same hosts in another order.
        assert!(!hosts.update(&[Some(2), Some(1), Some(0)], 7));
        assert_eq!((hosts.dialled, hosts.next(CAP).0, hosts.next(CAP).0), (1, 2, 0));
        // None of them.
        assert!(hosts.update(&[None, None], 7));
        let mut tried = [hosts.next(CAP).0, hosts.next(CAP).0];
        tried.sort_unstable();
        assert_eq!(tried, [0, 1]);
        let more = [hosts.next(CAP).0, hosts.next(CAP).0];
        assert_ne!(more[0], more[1], "and then they take turns");
    }

    #[test]
    fn a_host_that_was_found_is_dialled_next_and_at_once() {
        let mut hosts = Hosts::new(3);
        assert_eq!(hosts.next(CAP).0, 0);
        assert_eq!([hosts.probe(), hosts.probe(), hosts.probe()], [1, 2, 0]);
        hosts.prefer(2);
        // Also where the connection that is left for it has lived.
        let now = now();
        hosts.accepted(now);
        hosts.disconnected(now + CAP, CAP);
        let (host, pause) = hosts.next(CAP);
        assert_eq!((host, millis(&pause)), (2, (0, 0)));
        let (host, pause) = hosts.next(CAP);
        assert_eq!((host, millis(&pause)), (0, (200, 400)), "where it fails, as after any other");
    }
}
