//! Requests about watches that are not left by a read.

use crate::{EventKind, NodePath, WatchEvent, WatchKind};

/// Leave a watch that stays when it fires (ZooKeeper 3.6 and later). The node need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddWatch {
    /// The path.
    pub path: NodePath,
    /// What it tells of.
    pub mode: AddWatchMode,
}

/// What a watch that stays tells of (`AddWatchMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "a backend has to know both")]
pub enum AddWatchMode {
    /// Of everything that happens to the node, and of its children coming and going
    /// ([`ChildrenChanged`](crate::EventKind::ChildrenChanged)).
    Persistent,
    /// Of everything that happens to the node and all its descendants, each by its own path; never `ChildrenChanged`.
    PersistentRecursive,
}

impl From<WatchKind> for WatcherType {
    /// By the server's book, which has no list of its own for existence.
    fn from(kind: WatchKind) -> Self {
        match kind {
            WatchKind::Data | WatchKind::Exists => Self::Data,
            WatchKind::Children => Self::Children,
        }
    }
}

impl WatcherType {
    /// Whether it means one-shot watches of this kind.
    pub fn means(self, kind: WatchKind) -> bool {
        match self {
            Self::Children => kind == WatchKind::Children,
            Self::Data => kind != WatchKind::Children,
            Self::Any => true,
        }
    }

    /// Whether it means (a part of) watches of this mode.
    pub fn means_staying(self, mode: AddWatchMode) -> bool {
        self != Self::Children || mode == AddWatchMode::Persistent
    }
}

impl AddWatchMode {
    /// Whether a watch of this mode on `path` tells of this event.
    pub fn hears(self, path: &NodePath, event: &WatchEvent) -> bool {
        match self {
            Self::Persistent => event.path == *path,
            Self::PersistentRecursive => {
                event.kind != EventKind::ChildrenChanged && (event.path == *path || event.path.is_below(path))
            }
        }
    }
}

/// Ask whether this client has a watch on a node, by the server's book. Refused with
/// [`NoWatcher`](crate::Refusal::NoWatcher) if not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckWatches {
    /// The path.
    pub path: NodePath,
    /// Which.
    pub kind: WatcherType,
}

/// Take away what this client has on a node, whoever in it waits there: they are told
/// [`NoWatcher`](crate::Refusal::NoWatcher), and so is the caller where there is nothing. A watch that is dropped frees the
/// server's without this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveWatches {
    /// The path.
    pub path: NodePath,
    /// Which.
    pub kind: WatcherType,
}

/// Which watches are meant (`Watcher.WatcherType`). One that stays is of both kinds, except that a recursive one is only of
/// data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a backend has to know each")]
pub enum WatcherType {
    /// Of the children.
    Children,
    /// Of the data, or of the existence.
    Data,
    /// Any.
    Any,
}
