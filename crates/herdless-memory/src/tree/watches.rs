//! The server's side of one-shot watches: who is to be told of what.

use std::collections::{BTreeMap, BTreeSet};

use herdless_core::{EventKind, NodePath, SessionId, WatchEvent, WatchKind};

use super::Fired;

type Table = BTreeMap<NodePath, BTreeSet<SessionId>>;

/// Two tables, as in ZooKeeper: data watches (left by reads of data, and by `exists` in either case) and child watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    data: Table,
    children: Table,
    /// What each session watches, so that a session that ends need not be searched for.
    by_session: BTreeMap<SessionId, BTreeSet<(bool, NodePath)>>,
}

impl Watches {
    pub(super) fn add(&mut self, session: SessionId, kind: WatchKind, path: &NodePath) {
        let is_child = kind == WatchKind::Children;
        self.table(is_child).entry(path.clone()).or_default().insert(session);
        self.by_session.entry(session).or_default().insert((is_child, path.clone()));
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        for (is_child, path) in self.by_session.remove(&session).unwrap_or_default() {
            let table = self.table(is_child);
            if let Some(sessions) = table.get_mut(&path) {
                sessions.remove(&session);
                if sessions.is_empty() {
                    table.remove(&path);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_session.values().map(BTreeSet::len).sum()
    }

    pub(super) fn fire_data(&mut self, path: &NodePath, kind: EventKind, fired: &mut Fired) {
        for session in self.take(false, path) {
            fired.push((session, WatchEvent { kind, path: path.clone() }));
        }
    }

    pub(super) fn fire_children(&mut self, path: &NodePath, fired: &mut Fired) {
        for session in self.take(true, path) {
            fired.push((session, WatchEvent { kind: EventKind::ChildrenChanged, path: path.clone() }));
        }
    }

    /// A session that watches both the data and the children is told of the deletion once.
    pub(super) fn fire_deleted(&mut self, path: &NodePath, fired: &mut Fired) {
        let mut sessions = self.take(false, path);
        sessions.append(&mut self.take(true, path));
        for session in sessions {
            fired.push((session, WatchEvent { kind: EventKind::Deleted, path: path.clone() }));
        }
    }

    fn take(&mut self, is_child: bool, path: &NodePath) -> BTreeSet<SessionId> {
        let sessions = self.table(is_child).remove(path).unwrap_or_default();
        for session in &sessions {
            if let Some(watched) = self.by_session.get_mut(session) {
                watched.remove(&(is_child, path.clone()));
            }
        }
        sessions
    }

    fn table(&mut self, is_child: bool) -> &mut Table {
        if is_child { &mut self.children } else { &mut self.data }
    }
}
