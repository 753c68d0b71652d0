//! Where a queue keeps what.

use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{Acl, Client, ClientExt, Create, CreateMode, Error, MultiOp, NodePath, Stat};

use crate::parents;

/// An item's place: its lane, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) lane: u32,
    pub(super) number: u32,
}

/// The directories of a queue. They are persistent: a container that is removed when it is empty would start its numbers
/// again.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) root: NodePath,
    pub(super) acl: Arc<[Acl]>,
    /// One directory of items each, the most urgent first. Its data is the cursor: the first number never claimed.
    lanes: Arc<[NodePath]>,
    /// Where items wait for their time, in a queue that has that.
    due: Option<NodePath>,
}

impl Tree {
    /// A queue with one lane, or with `lanes` of them by urgency.
    pub(super) fn new(root: NodePath, acl: Arc<[Acl]>, lanes: Option<u8>) -> Self {
        let lanes = match lanes {
            None => [below(&root, "items")].into(),
            Some(count) => (0..count).map(|lane| below(&root, &format!("items-{lane:03}"))).collect(),
        };
        Self { root, acl, lanes, due: None }
    }

    /// A queue with one lane, and with items that wait for their time in front of it.
    pub(super) fn with_due(root: NodePath, acl: Arc<[Acl]>) -> Self {
        let due = below(&root, "due");
        Self { due: Some(due), ..Self::new(root, acl, None) }
    }

    /// The directory of the buckets.
    pub(super) fn due(&self) -> Option<&NodePath> {
        self.due.as_ref()
    }

    pub(super) fn lanes(&self) -> &[NodePath] {
        &self.lanes
    }

    /// The records of claimed items, one for each claim. One without its claim is work that came back.
    pub(super) fn batches(&self) -> NodePath {
        below(&self.root, "batches")
    }

    /// An ephemeral node for each consumer's claim, with the name of its record.
    pub(super) fn claims(&self) -> NodePath {
        below(&self.root, "claims")
    }

    /// Items that were given up.
    pub(super) fn dead(&self) -> NodePath {
        below(&self.root, "dead")
    }

    /// A marker for each item that was put with an id.
    pub(super) fn ids(&self) -> NodePath {
        below(&self.root, "ids")
    }

    /// What tells a producer that its put happened, for as long as it wants to know.
    pub(super) fn receipts(&self) -> NodePath {
        below(&self.root, "receipts")
    }

    pub(super) fn takers(&self) -> NodePath {
        below(&self.root, "takers")
    }

    pub(super) fn putters(&self) -> NodePath {
        below(&self.root, "putters")
    }

    pub(super) fn batch(&self, name: &str) -> NodePath {
        below(&self.batches(), name)
    }

    pub(super) fn claim(&self, name: &str) -> NodePath {
        below(&self.claims(), name)
    }

    pub(super) fn item(&self, position: Position) -> NodePath {
        item_in(&self.lanes[position.lane as usize], position.number)
    }

    /// Makes an item at the end of a directory.
    pub(super) fn append(&self, directory: &NodePath, bytes: Bytes) -> Create {
        self.create(below(directory, "item-"), bytes, CreateMode::PersistentSequential)
    }

    /// Makes the levels of the path and the directories, without waiting. What is submitted after it finds them.
    pub(super) fn make<C: Client>(&self, client: &C) {
        self.levels().for_each(|level| drop(client.call(level)));
    }

    /// Makes them again because something was not there. Where that is refused, the refusal says why, and not that there
    /// is no node. 1 round trip.
    pub(super) async fn make_again<C: Client>(&self, client: &C) -> Result<(), Error> {
        parents::make_all(client, self.levels()).await
    }

    fn levels(&self) -> impl Iterator<Item = Create> {
        let directories = [self.batches(), self.claims(), self.dead(), self.ids(), self.receipts()];
        let levels = self.root.levels().chain(self.lanes.iter().cloned()).chain(directories).chain(self.due.clone());
        levels.map(|path| self.create(path, Bytes::new(), CreateMode::Persistent))
    }

    pub(super) fn create(&self, path: NodePath, data: Bytes, mode: CreateMode) -> Create {
        Create { path, data: data.into(), acl: self.acl.clone(), mode }
    }

    pub(super) fn create_op(&self, path: NodePath, data: Bytes, mode: CreateMode) -> MultiOp {
        MultiOp::Create(self.create(path, data, mode))
    }

    /// Makes a dead letter.
    pub(super) fn letter(&self, data: Bytes) -> MultiOp {
        self.create_op(below(&self.dead(), "letter-"), data, CreateMode::PersistentSequential)
    }

    /// How many items a transaction may be about: far under the limit of 1 MiB that servers have for a packet
    /// (`jute.maxbuffer`).
    pub(super) fn operations_limit(&self) -> usize {
        const BYTES: usize = 256 * 1024;
        BYTES / (self.root.as_str().len() + 300)
    }
}

/// The number of the next child, from the directory's Stat: how many were ever made. What clients see as `cversion` counts
/// creations and deletions (`DataNode.copyStat`), wrapping.
pub(super) fn next_number(stat: &Stat) -> u32 {
    (stat.cversion.wrapping_add(stat.num_children) as u32) >> 1
}

/// The item of a number in a directory.
pub(super) fn item_in(directory: &NodePath, number: u32) -> NodePath {
    below(directory, &format!("item-{number:010}"))
}

pub(super) fn below(directory: &NodePath, name: &str) -> NodePath {
    directory.child(name).expect("a valid name below a valid path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_survives_the_wrapping_of_cversion() {
        let of = |creates: i32, num_children: i32| {
            let cversion = creates.wrapping_mul(2).wrapping_sub(num_children);
            next_number(&Stat { cversion, num_children, ..Stat::default() })
        };
        for creates in [0, 1, 7, (1 << 30) - 1, 1 << 30, i32::MAX - 1, i32::MAX] {
            for children in [0, 1, 200_000] {
                assert_eq!(of(creates, children), creates as u32);
            }
        }
    }
}
