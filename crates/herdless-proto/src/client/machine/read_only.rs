//! What is different at a server without a majority, and the search for another.

use std::time::{Duration, Instant};

use super::super::event::Event;
use super::Machine;

/// The pause before the first question (`ClientCnxn.SendThread.minPingRwTimeout`); it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two questions (`ClientCnxn.SendThread.maxPingRwTimeout`).
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The search for a read-write server.
#[derive(Debug)]
pub(super) struct Search {
    /// The host that is being asked.
    asked: Option<usize>,
    /// The pause before the next question. It grows over connections too: of two servers of which one calls itself
    /// read-write and is not, or hangs up, the client would go to and fro without one.
    pause: Duration,
}

impl Default for Search {
    fn default() -> Self {
        Self { asked: None, pause: FIRST_PAUSE }
    }
}

impl Search {
    pub(super) fn disconnected(&mut self) {
        self.asked = None;
    }
}

impl<T, W: Clone + Default> Machine<T, W> {
    pub(super) fn is_read_only(&self) -> bool {
        self.is_up() && self.session.as_ref().is_some_and(|session| session.is_read_only)
    }

    /// Whether a read-only server will do. Nobody knows how long a session that is to be taken over still lives, and such a
    /// server does not either.
    pub(super) fn does_with_read_only(&self) -> bool {
        self.config.read_only && self.taking_over.is_none()
    }

    /// Whether the errand has to wait for a read-write server. All but the close of the session begin with something that
    /// the others refuse, and a release or a search that is refused would leave a node behind.
    pub(super) fn holds_back(&self, key: u64) -> bool {
        self.is_read_only() && self.errands.get(&key).is_some_and(|(errand, _)| !errand.is_close())
    }

    /// After a handshake.
    pub(super) fn begin_search(&mut self) {
        if self.is_read_only() {
            self.probe();
        }
    }

    fn probe(&mut self) {
        let (host, pause) = (self.hosts.probe(), self.search.pause);
        self.search = Search { asked: Some(host), pause: (pause * 2).min(LONGEST_PAUSE) };
        self.events.push_back(Event::Probe { host, pause });
    }

    /// The outcome of an [`Event::Probe`]: a server that is read-write is gone to at once, otherwise another is asked. An
    /// outcome that comes too late does nothing.
    pub fn probed(&mut self, now: Instant, host: usize, is_read_write: bool) {
        if self.search.asked != Some(host) {
            return;
        }
        if is_read_write {
            self.hosts.prefer(host);
            self.disconnected(now);
        } else {
            self.probe();
        }
    }
}
