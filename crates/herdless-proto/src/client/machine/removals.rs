//! Watches that nobody waits for any more.
//!
//! Taking one away is a request, and whoever gives up drops a watch, so none is sent at the drop. The dropped ones are counted, and
//! looked for once they may be half of all: a look at every watch is then paid for by the drops before it. What the server has
//! for nobody is taken away a few at a time.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use herdless_core::{Error, NodePath, Refusal, RemoveWatches, Reply, Request, WatchKind};

use super::{InFlight, Machine, Purpose, WatchAsked};

/// So many dropped watches are kept without a look.
const FEW: usize = 64;
/// So many removals are on the wire at a time: what a user asks for is not to wait behind 100,000 of them.
const BATCH: usize = 64;
/// After so many connections that broke under a removal, none answered, there are no more: a server that does not know the
/// operation may hang up in place of an answer.
const PATIENCE: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Removals {
    /// Since the last look. Those that had fired by then are among them, so they are rather too many.
    dropped: usize,
    /// What the server has and nobody waits for.
    waiting: VecDeque<RemoveWatches>,
    in_flight: usize,
    broken: u32,
}

impl Removals {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The server has forgotten the watches of the connection.
    pub(super) fn disconnected(&mut self) {
        self.broken = self.broken.saturating_add(u32::from(self.in_flight > 0));
        self.waiting.clear();
        self.in_flight = 0;
    }

    fn answered(&mut self, outcome: &Result<Reply, Error>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let is_unknown = *outcome == Err(Refusal::Unimplemented.into());
        self.broken = if is_unknown { u32::MAX } else { 0 };
    }
}

impl<T, W: Clone + Default> Machine<T, W> {
    /// Somebody who waited for a watch has gone. Whether it is time for a [`sweep`](Self::sweep_watches).
    pub fn watch_dropped(&mut self) -> bool {
        self.removals.dropped += 1;
        self.is_sweep_due()
    }

    /// Whether as many watches were dropped as may be kept.
    pub fn is_sweep_due(&self) -> bool {
        self.removals.dropped >= FEW.max(self.watches.len() / 2)
    }

    /// Forgets the watches that nobody waits for, and has the server's taken away where no other is left on the path.
    pub fn sweep_watches(&mut self, now: Instant, is_wanted: impl Fn(&W) -> bool) {
        self.removals.dropped = 0;
        let emptied = self.watches.retain(is_wanted);
        if self.is_up() {
            let removals = emptied.into_iter().map(|(kind, path)| RemoveWatches { path, kind: kind.into() });
            self.removals.waiting.extend(removals);
            self.send_removals(now);
        }
    }

    pub(super) fn removal_answered(&mut self, now: Instant, outcome: &Result<Reply, Error>) {
        self.removals.answered(outcome);
        self.send_removals(now);
    }

    /// Sends the next few, once the last few are answered.
    fn send_removals(&mut self, now: Instant) {
        if self.removals.broken >= PATIENCE {
            self.removals.waiting.clear();
        }
        if self.removals.in_flight > 0 || self.removals.waiting.is_empty() {
            return;
        }
        let joined = self.joined();
        let mut later = VecDeque::new();
        while self.removals.in_flight < BATCH
            && let Some(removal) = self.removals.waiting.pop_front()
        {
            if joined.contains(&removal.path) {
                later.push_back(removal);
            } else if !self.is_held(&removal)
                && let Ok((xid, opcode)) = self.send(now, &Request::RemoveWatches(removal))
            {
                self.in_flight.push_back(InFlight { xid, opcode, sent: now, purpose: Purpose::Removal });
                self.removals.in_flight += 1;
            }
        }
        self.removals.waiting.append(&mut later);
    }

    /// Where reads are on their way whose watch joins what the server has: a removal behind them would take theirs.
    fn joined(&self) -> BTreeSet<NodePath> {
        let asked = self.in_flight.iter().filter_map(|entry| match &entry.purpose {
            Purpose::User { watch: WatchAsked::Once { path, .. }, .. } => Some(path.clone()),
            _ => None,
        });
        asked.collect()
    }

    /// Whether somebody needs what the removal would take. A stream has what there is on its path taken away when it ends.
    fn is_held(&self, RemoveWatches { path, kind }: &RemoveWatches) -> bool {
        let mut kinds = WatchKind::ALL.into_iter().filter(|other| kind.means(*other));
        kinds.any(|kind| self.watches.has(kind, path)) || self.streams.cover(path)
    }
}
