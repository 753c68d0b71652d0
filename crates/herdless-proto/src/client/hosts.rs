//! Which host to dial next, and after how long a pause.

use std::time::Duration;

/// The order of the hosts and the backoff. The hosts themselves are the transport's; here they are numbers.
#[derive(Debug)]
pub(super) struct Hosts {
    count: usize,
    next: usize,
    /// Dials since the last session was accepted; `None` before the very first.
    failures: Option<u32>,
}

/// The pause before the first dial after a connection was lost is below this.
const BASE: Duration = Duration::from_millis(50);

impl Hosts {
    pub(super) fn new(count: usize) -> Self {
        Self { count: count.max(1), next: 0, failures: None }
    }

    /// The next host, and the upper bound of the pause before it is dialled: the transport draws from the whole range
    /// (full jitter), so that a crowd of clients that lost one server does not come back as a crowd.
    pub(super) fn next(&mut self, cap: Duration) -> (usize, Duration) {
        let host = self.next;
        self.next = (host + 1) % self.count;
        let pause = match self.failures {
            None => Duration::ZERO,
            Some(failures) => BASE.saturating_mul(1 << failures.min(16)).min(cap),
        };
        self.failures = Some(self.failures.map_or(0, |failures| failures + 1));
        (host, pause)
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
        self.failures = None;
    }

    /// A server accepted the session.
    pub(super) fn accepted(&mut self) {
        self.failures = Some(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_take_turns_and_pauses_grow_up_to_the_cap() {
        let mut hosts = Hosts::new(2);
        let cap = Duration::from_millis(150);
        let dials: Vec<_> = (0..5).map(|_| hosts.next(cap)).map(|(host, pause)| (host, pause.as_millis())).collect();
        assert_eq!(dials, [(0, 0), (1, 50), (0, 100), (1, 150), (0, 150)]);
        hosts.accepted();
        assert_eq!(hosts.next(cap).1.as_millis(), 50);
    }

    #[test]
    fn a_host_that_was_found_is_dialled_next_and_at_once() {
        let mut hosts = Hosts::new(3);
        let cap = Duration::from_millis(150);
        assert_eq!(hosts.next(cap).0, 0);
        assert_eq!([hosts.probe(), hosts.probe(), hosts.probe()], [1, 2, 0]);
        hosts.prefer(2);
        assert_eq!(hosts.next(cap), (2, Duration::ZERO));
        assert_eq!(hosts.next(cap), (0, Duration::from_millis(50)), "where it fails, as after any other");
    }
}
