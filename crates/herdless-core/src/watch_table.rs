//! Which watches a client has left, by the kind of read that left them.

use std::collections::BTreeMap;

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
    data: BTreeMap<NodePath, Vec<T>>,
    exists: BTreeMap<NodePath, Vec<T>>,
    children: BTreeMap<NodePath, Vec<T>>,
}

impl WatchKind {
    /// The three.
    pub const ALL: [Self; 3] = [Self::Data, Self::Exists, Self::Children];
}

impl<T> Default for WatchTable<T> {
    fn default() -> Self {
        Self { data: BTreeMap::new(), exists: BTreeMap::new(), children: BTreeMap::new() }
    }
}

impl<T> WatchTable<T> {
    /// Adds a watch.
    pub fn add(&mut self, kind: WatchKind, path: NodePath, watch: T) {
        self.list_mut(kind).entry(path).or_default().push(watch);
    }

    /// Takes out the watches that this event fires.
    pub fn fire(&mut self, event: &WatchEvent) -> Vec<T> {
        let lists: &mut [&mut BTreeMap<NodePath, Vec<T>>] = match event.kind {
            EventKind::Created | EventKind::DataChanged => &mut [&mut self.data, &mut self.exists],
            EventKind::Deleted => &mut [&mut self.data, &mut self.exists, &mut self.children],
            EventKind::ChildrenChanged => &mut [&mut self.children],
        };
        let mut fired = Vec::new();
        for list in lists {
            if let Some(watches) = list.remove(&event.path) {
                if fired.is_empty() {
                    fired = watches;
                } else {
                    fired.extend(watches);
                }
            }
        }
        fired
    }

    /// Takes out the watches of one kind on one path.
    pub fn take(&mut self, kind: WatchKind, path: &NodePath) -> Vec<T> {
        self.list_mut(kind).remove(path).unwrap_or_default()
    }

    /// Whether there is a watch of one kind on one path.
    pub fn has(&self, kind: WatchKind, path: &NodePath) -> bool {
        self.list(kind).contains_key(path)
    }

    /// Takes out every watch.
    pub fn drain(&mut self) -> Vec<T> {
        let Self { data, exists, children } = std::mem::take(self);
        [data, exists, children].into_iter().flatten().flat_map(|(_, watches)| watches).collect()
    }

    /// Forgets the watches that `keep` says no to.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for list in [&mut self.data, &mut self.exists, &mut self.children] {
            list.retain(|_, watches| {
                watches.retain(&keep);
                !watches.is_empty()
            });
        }
    }

    /// The watched paths of one kind, in order.
    pub fn paths(&self, kind: WatchKind) -> impl Iterator<Item = &NodePath> {
        self.list(kind).keys()
    }

    /// The number of watches.
    pub fn len(&self) -> usize {
        [&self.data, &self.exists, &self.children].into_iter().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty() && self.exists.is_empty() && self.children.is_empty()
    }

    fn list(&self, kind: WatchKind) -> &BTreeMap<NodePath, Vec<T>> {
        match kind {
            WatchKind::Data => &self.data,
            WatchKind::Exists => &self.exists,
            WatchKind::Children => &self.children,
        }
    }

    fn list_mut(&mut self, kind: WatchKind) -> &mut BTreeMap<NodePath, Vec<T>> {
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
}
