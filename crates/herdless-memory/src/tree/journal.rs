//! What has changed, for whoever keeps the tree elsewhere too.

use herdless_core::{NodePath, SessionId, Zxid};

use super::Tree;
use super::node::{Node, NodeRecord};

/// What has changed since the last time: the present state of all that was touched, not its history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "who keeps the changes keeps all of them")]
pub struct Changes {
    /// The last change.
    pub zxid: Zxid,
    /// The nodes that were touched, in the order of their paths; `None` for those that are gone.
    pub nodes: Vec<(NodePath, Option<NodeRecord>)>,
    /// The sessions that were touched, and whether they are open.
    pub sessions: Vec<(SessionId, bool)>,
}

impl Tree {
    /// Keeps note of all that changes from now on, for [`take_changes`](Self::take_changes), which then has to be called again
    /// and again. `all` has the first of them tell everything there is.
    pub fn keep_journal(&mut self, all: bool) {
        self.nodes.keep_journal(all);
        self.touched_sessions = Some(if all { self.sessions.keys().copied().collect() } else { Vec::new() });
    }

    /// What has changed since this was last called. Cheap: the data are shared, not copied.
    pub fn take_changes(&mut self) -> Changes {
        let nodes = self.nodes.take_touched().map(|(path, node)| (path, node.map(Node::record))).collect();
        let mut touched = self.touched_sessions.as_mut().map(std::mem::take).unwrap_or_default();
        touched.sort_unstable();
        touched.dedup();
        let sessions = touched.into_iter().map(|id| (id, self.sessions.contains_key(&id))).collect();
        Changes { zxid: Zxid(self.zxid), nodes, sessions }
    }

    /// Takes a zxid for a change of a session that is kept with it and not known here. Apache ZooKeeper has none for such.
    pub fn renew_session(&mut self, session: SessionId) {
        self.zxid += 1;
        self.touch_session(session);
    }

    pub(super) fn touch_session(&mut self, session: SessionId) {
        if let Some(touched) = &mut self.touched_sessions {
            touched.push(session);
        }
    }
}
