//! Which watches a client has left, by the kind of read that left them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::{EventKind, NodePath, WatchEvent};

/// The three lists that a client keeps its watches in and re-arms them from (`ZKWatchManager`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "SetWatches has these three lists")]
pub enum WatchKind {
    /// Left by `get_data`, or by `exists` on a node that was there.
    Data,
    /// Left by `exists` where there was no node.
    Exists,
    /// Left by `get_children`.
    Children,
}

/// A client's one-shot watches. `T` is what to complete when one fires; several may wait on the same path, while the
/// server keeps one for them all.
#[derive(Debug)]
pub struct WatchTable<T> {
    data: List<T>,
    exists: List<T>,
    children: List<T>,
    len: usize,
}

type List<T> = BTreeMap<NodePath, Holders<T>>;

/// Those who wait on one path. Nearly always one: who watches 100,000 nodes does not pay for as many vectors.
#[derive(Debug)]
enum Holders<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Holders<T> {
    fn push(&mut self, watch: T) {
        let mut watches = std::mem::replace(self, Self::Many(Vec::new())).into_vec();
        watches.push(watch);
        *self = Self::Many(watches);
    }

    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(watch) => vec![watch],
            Self::Many(watches) => watches,
        }
    }

    /// How many are kept.
    fn retain(&mut self, keep: impl Fn(&T) -> bool) -> usize {
        match self {
            Self::One(watch) => usize::from(keep(watch)),
            Self::Many(watches) => {
                watches.retain(keep);
                watches.len()
            }
        }
    }
}

impl WatchKind {
    /// The three.
    pub const ALL: [Self; 3] = [Self::Data, Self::Exists, Self::Children];
}

impl<T> Default for WatchTable<T> {
    fn default() -> Self {
        Self { data: List::new(), exists: List::new(), children: List::new(), len: 0 }
    }
}

impl<T> WatchTable<T> {
    /// Adds a watch.
    pub fn add(&mut self, kind: WatchKind, path: NodePath, watch: T) {
        self.len += 1;
        match self.list_mut(kind).entry(path) {
            Entry::Vacant(entry) => {
                entry.insert(Holders::One(watch));
            }
            Entry::Occupied(mut entry) => entry.get_mut().push(watch),
        }
    }

    /// Takes out the watches that this event fires.
    pub fn fire(&mut self, event: &WatchEvent) -> Vec<T> {
        let lists: &mut [&mut List<T>] = match event.kind {
            EventKind::Created | EventKind::DataChanged => &mut [&mut self.data, &mut self.exists],
            EventKind::Deleted => &mut [&mut self.data, &mut self.exists, &mut self.children],
            EventKind::ChildrenChanged => &mut [&mut self.children],
        };
        let mut fired = Vec::new();
        for list in lists {
            if let Some(holders) = list.remove(&event.path) {
                if fired.is_empty() {
                    fired = holders.into_vec();
                } else {
                    fired.extend(holders.into_vec());
                }
            }
        }
        self.len -= fired.len();
        fired
    }

    /// Takes out the watches of one kind on one path.
    pub fn take(&mut self, kind: WatchKind, path: &NodePath) -> Vec<T> {
        let taken = self.list_mut(kind).remove(path).map(Holders::into_vec).unwrap_or_default();
        self.len -= taken.len();
        taken
    }

    /// Whether there is a watch of one kind on one path.
    pub fn has(&self, kind: WatchKind, path: &NodePath) -> bool {
        self.list(kind).contains_key(path)
    }

    /// Takes out every watch.
    pub fn drain(&mut self) -> Vec<T> {
        let Self { data, exists, children, .. } = std::mem::take(self);
        [data, exists, children].into_iter().flatten().flat_map(|(_, holders)| holders.into_vec()).collect()
    }

    /// Forgets the watches that `keep` says no to. Yields the paths, in order, on which none of that kind is left.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) -> Vec<(WatchKind, NodePath)> {
        let (mut left, mut emptied) = (0, Vec::new());
        for kind in WatchKind::ALL {
            self.list_mut(kind).retain(|path, holders| {
                let kept = holders.retain(&keep);
                left += kept;
                if kept == 0 {
                    emptied.push((kind, path.clone()));
                }
                kept > 0
            });
        }
        self.len = left;
        emptied
    }

    /// The watched paths of one kind, in order.
    pub fn paths(&self, kind: WatchKind) -> impl Iterator<Item = &NodePath> {
        self.list(kind).keys()
    }

    /// The number of watches.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn list(&self, kind: WatchKind) -> &List<T> {
        match kind {
            WatchKind::Data => &self.data,
            WatchKind::Exists => &self.exists,
            WatchKind::Children => &self.children,
        }
    }

    fn list_mut(&mut self, kind: WatchKind) -> &mut List<T> {
        match kind {
            WatchKind::Data => &mut self.data,
            WatchKind::Exists => &mut self.exists,
            WatchKind::Children => &mut self.children,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_fires_what_the_server_would() {
        let path = NodePath::parse("/a").unwrap();
        let fired = |kind| {
            let mut table = WatchTable::default();
            table.add(WatchKind::Data, path.clone(), 'd');
            table.add(WatchKind::Exists, path.clone(), 'e');
            table.add(WatchKind::Children, path.clone(), 'c');
            table.add(WatchKind::Data, NodePath::parse("/b").unwrap(), 'x');
            let fired = table.fire(&WatchEvent { kind, path: path.clone() });
            assert_eq!(table.len(), 4 - fired.len());
            fired
        };
        assert_eq!(fired(EventKind::Created), ['d', 'e']);
        assert_eq!(fired(EventKind::DataChanged), ['d', 'e']);
        assert_eq!(fired(EventKind::Deleted), ['d', 'e', 'c']);
        assert_eq!(fired(EventKind::ChildrenChanged), ['c']);
    }

    #[test]
    fn what_is_not_kept_leaves_its_path_with_the_last_of_its_kind() {
        let at = |name| NodePath::parse(name).unwrap();
        let mut table = WatchTable::default();
        for (kind, path, watch) in [
            (WatchKind::Data, "/a", 1),
            (WatchKind::Data, "/a", 2),
            (WatchKind::Data, "/a", 3),
            (WatchKind::Exists, "/a", 11),
            (WatchKind::Children, "/b", 12),
            (WatchKind::Children, "/a", 4),
        ] {
            table.add(kind, at(path), watch);
        }
        assert_eq!(table.len(), 6);
        assert_eq!(table.retain(|watch| *watch != 2), []);
        let emptied = table.retain(|watch| *watch < 10);
        assert_eq!(emptied, [(WatchKind::Exists, at("/a")), (WatchKind::Children, at("/b"))]);
        assert_eq!((table.len(), table.has(WatchKind::Exists, &at("/a"))), (3, false));
        assert_eq!(table.take(WatchKind::Data, &at("/a")), [1, 3]);
        assert_eq!(table.len(), 1);
        assert_eq!(table.drain(), [4]);
        assert!(table.is_empty());
    }

    /// What a client pays for each watch beside its path and its cell.
    #[test]
    fn a_lone_watch_is_kept_without_an_allocation_of_its_own() {
        let cell = size_of::<std::sync::Arc<()>>();
        assert!(size_of::<Holders<std::sync::Arc<()>>>() <= 3 * cell);
    }
}
