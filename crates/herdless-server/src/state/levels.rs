//! What there is at the moment, for those who read figures.

use super::State;
use crate::meter::Levels;

impl State {
    /// Tells the meter how many there are of what.
    pub(crate) fn look(&self) {
        let (traffic, tree) = (self.traffic(), self.tree.holding());
        self.meter.look(&Levels {
            connections: self.links.len(),
            sessions: self.sessions.len(),
            nodes: tree.nodes,
            ephemerals: tree.ephemerals,
            watches: self.tree.watch_count(),
            data_bytes: self.tree.data_size(),
            held: self.links.values().map(|link| link.held.replies()).sum(),
            is_read_only: self.is_read_only(),
            uptime: self.began.elapsed(),
            received: traffic.received,
            sent: traffic.sent,
        });
    }
}
