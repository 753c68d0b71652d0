//! The server's side of watches: who is to be told of what.

use std::collections::{BTreeMap, BTreeSet};

use herdless_core::{AddWatchMode, EventKind, NodePath, SessionId, WatchEvent, WatchKind, WatcherType};

use super::Fired;

type Table = BTreeMap<NodePath, BTreeSet<SessionId>>;

/// A table for each kind: data watches (left by reads of data, and by `exists` in either case) and child watches, which fire
/// once, and those that stay, of one node (its data and its children apart, as either may be taken away) and of all below it.
///
/// A session that left several is told of each change once. Apache ZooKeeper keeps one mode for each path and connection
/// before 3.9, so that there a one-shot watch takes the place of one that stays (ZOOKEEPER-4466); here it does not.
#[derive(Debug, Default)]
pub(super) struct Watches {
    tables: [Table; 5],
    /// What each session watches, so that a session that ends need not be searched for.
    by_session: BTreeMap<SessionId, BTreeSet<(Kind, NodePath)>>,
    /// How many there are in the tables, and how many bytes their paths have.
    count: usize,
    bytes: usize,
    /// How many that stay on a node are there in both halves.
    pairs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Data,
    Children,
    PersistentData,
    PersistentChildren,
    Recursive,
}

/// The kinds that a watch is of.
#[derive(Clone, Copy)]
pub(super) struct Kinds(&'static [Kind]);

impl Kinds {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<WatchKind> for Kinds {
    fn from(kind: WatchKind) -> Self {
        Self(match kind {
            WatchKind::Data | WatchKind::Exists => &[Kind::Data],
            WatchKind::Children => &[Kind::Children],
        })
    }
}

impl From<AddWatchMode> for Kinds {
    fn from(mode: AddWatchMode) -> Self {
        Self(match mode {
            AddWatchMode::Persistent => &[Kind::PersistentData, Kind::PersistentChildren],
            AddWatchMode::PersistentRecursive => &[Kind::Recursive],
        })
    }
}

impl Watches {
    pub(super) fn add(&mut self, session: SessionId, kinds: impl Into<Kinds>, path: &NodePath) {
        for &kind in kinds.into().0 {
            if self.table(kind).entry(path.clone()).or_default().insert(session) {
                self.count += 1;
                self.bytes += path.as_str().len();
                self.pairs += usize::from(self.has_other_half(kind, session, path));
            }
            self.by_session.entry(session).or_default().insert((kind, path.clone()));
        }
    }

    /// Whether the session has left all of these on the path already.
    pub(super) fn has(&self, session: SessionId, kinds: Kinds, path: &NodePath) -> bool {
        kinds.0.iter().all(|kind| self.is_left(*kind, session, path))
    }

    fn is_left(&self, kind: Kind, session: SessionId, path: &NodePath) -> bool {
        self.tables[kind as usize].get(path).is_some_and(|sessions| sessions.contains(&session))
    }

    fn has_other_half(&self, kind: Kind, session: SessionId, path: &NodePath) -> bool {
        match kind {
            Kind::PersistentData => self.is_left(Kind::PersistentChildren, session, path),
            Kind::PersistentChildren => self.is_left(Kind::PersistentData, session, path),
            Kind::Data | Kind::Children | Kind::Recursive => false,
        }
    }

    /// How many there are: for each session, path and kind.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many of them the session has left.
    pub(super) fn count_of(&self, session: SessionId) -> usize {
        self.by_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// How many bytes the paths of all have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        for (kind, path) in self.by_session.remove(&session).unwrap_or_default() {
            self.take_out(kind, &path, session);
        }
    }

    /// Takes out what the session has on the path, of these kinds; whether there was any (`DataTree.removeWatch`).
    pub(super) fn remove(&mut self, session: SessionId, path: &NodePath, of: WatcherType) -> bool {
        let kinds = self.left(session, path, of);
        for &kind in &kinds {
            self.take_out(kind, path, session);
            if let Some(watched) = self.by_session.get_mut(&session) {
                watched.remove(&(kind, path.clone()));
            }
        }
        !kinds.is_empty()
    }

    /// Whether the session has any on the path, of these kinds (`DataTree.containsWatcher`).
    pub(super) fn contains(&self, session: SessionId, path: &NodePath, of: WatcherType) -> bool {
        // Of what is no path nothing is found, although it may be left (`PathParentIterator`).
        !path.as_str().is_empty() && !self.left(session, path, of).is_empty()
    }

    fn left(&self, session: SessionId, path: &NodePath, of: WatcherType) -> Vec<Kind> {
        let kinds: &[Kind] = match of {
            WatcherType::Children => &[Kind::Children, Kind::PersistentChildren],
            WatcherType::Data => &[Kind::Data, Kind::PersistentData, Kind::Recursive],
            WatcherType::Any => {
                &[Kind::Data, Kind::Children, Kind::PersistentData, Kind::PersistentChildren, Kind::Recursive]
            }
        };
        kinds.iter().copied().filter(|kind| self.is_left(*kind, session, path)).collect()
    }

    /// How many watches were left; one that stays on a node counts once, although it is of two kinds.
    pub(super) fn len(&self) -> usize {
        self.count - self.pairs
    }

    pub(super) fn on_data(&self) -> impl Iterator<Item = (SessionId, &NodePath)> {
        let tables = [Kind::Data, Kind::PersistentData, Kind::Recursive].map(|kind| &self.tables[kind as usize]);
        let all: BTreeSet<_> = tables
            .into_iter()
            .flat_map(|table| table.iter().flat_map(|(path, sessions)| sessions.iter().map(move |id| (path, *id))))
            .collect();
        all.into_iter().map(|(path, session)| (session, path))
    }

    pub(super) fn fire_data(&mut self, path: &NodePath, kind: EventKind, fired: &mut Fired) {
        let mut sessions = self.take(Kind::Data, path);
        self.add_staying(path, &mut sessions);
        tell(sessions, kind, path, fired);
    }

    /// The children of the parent of `child` have changed.
    pub(super) fn fire_children(&mut self, child: &NodePath, fired: &mut Fired) {
        // Looked for by what the child's path begins with: most of the time nobody needs the parent's own.
        let watched_by = |kind| child.parent_str().and_then(|parent| self.at(kind, parent));
        if [Kind::Children, Kind::PersistentChildren].map(watched_by) == [None, None] {
            return;
        }
        let parent = child.parent().unwrap_or_else(NodePath::root);
        let mut sessions = self.take(Kind::Children, &parent);
        sessions.extend(self.at(Kind::PersistentChildren, parent.as_str()).into_iter().flatten());
        tell(sessions, EventKind::ChildrenChanged, &parent, fired);
    }

    /// A session that watches both the data and the children is told of the deletion once.
    pub(super) fn fire_deleted(&mut self, path: &NodePath, fired: &mut Fired) {
        let mut sessions = self.take(Kind::Data, path);
        sessions.append(&mut self.take(Kind::Children, path));
        self.add_staying(path, &mut sessions);
        sessions.extend(self.at(Kind::PersistentChildren, path.as_str()).into_iter().flatten());
        tell(sessions, EventKind::Deleted, path, fired);
    }

    /// Who hears of everything that happens to this node.
    fn add_staying(&self, path: &NodePath, sessions: &mut BTreeSet<SessionId>) {
        sessions.extend(self.at(Kind::PersistentData, path.as_str()).into_iter().flatten());
        if !self.tables[Kind::Recursive as usize].is_empty() {
            let above = std::iter::successors(Some(path.clone()), NodePath::parent);
            for above in above {
                sessions.extend(self.at(Kind::Recursive, above.as_str()).into_iter().flatten());
            }
        }
    }

    fn at(&self, kind: Kind, path: &str) -> Option<&BTreeSet<SessionId>> {
        self.tables[kind as usize].get(path)
    }

    /// Takes out all of a kind that fires once.
    fn take(&mut self, kind: Kind, path: &NodePath) -> BTreeSet<SessionId> {
        let Some(sessions) = self.table(kind).remove(path) else {
            return BTreeSet::new();
        };
        self.count -= sessions.len();
        self.bytes -= sessions.len() * path.as_str().len();
        for session in &sessions {
            if let Some(watched) = self.by_session.get_mut(session) {
                watched.remove(&(kind, path.clone()));
            }
        }
        sessions
    }

    fn take_out(&mut self, kind: Kind, path: &NodePath, session: SessionId) {
        let table = self.table(kind);
        if let Some(sessions) = table.get_mut(path) {
            let was_there = sessions.remove(&session);
            if sessions.is_empty() {
                table.remove(path);
            }
            if was_there {
                self.count -= 1;
                self.bytes -= path.as_str().len();
                self.pairs -= usize::from(self.has_other_half(kind, session, path));
            }
        }
    }

    fn table(&mut self, kind: Kind) -> &mut Table {
        &mut self.tables[kind as usize]
    }
}

fn tell(sessions: BTreeSet<SessionId>, kind: EventKind, path: &NodePath, fired: &mut Fired) {
    fired.extend(sessions.into_iter().map(|session| (session, WatchEvent { kind, path: path.clone() })));
}
