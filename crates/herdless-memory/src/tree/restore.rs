//! A tree that was kept elsewhere.

use std::collections::BTreeMap;

use herdless_core::{NodePath, SessionId, Zxid};
use thiserror::Error;

use super::caps::Size;
use super::node::{Node, NodeRecord};
use super::{OpenSession, Tree};

/// Why these records are no tree.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is no root.
    #[error("there is no root")]
    NoRoot,
    /// The paths are not in order, or one is there twice.
    #[error("{0} is out of order")]
    OutOfOrder(NodePath),
    /// A node without a parent.
    #[error("{0} has no parent")]
    NoParent(NodePath),
    /// An ephemeral node of a session that is not open.
    #[error("{0} belongs to a session that is not there")]
    NoSession(NodePath),
}

/// A node whose descendants may still come.
struct Ancestor {
    path: NodePath,
    /// Where it is among the nodes.
    at: usize,
    children: Vec<NodePath>,
}

impl Ancestor {
    /// Its children are all there: a set that is made of them at once, in order, is made in one pass.
    fn leave(self, restored: &mut [(NodePath, Node)]) {
        restored[self.at].1.children = self.children.into_iter().collect();
    }
}

impl Tree {
    /// The tree of these nodes, whose last change was `last`, with these sessions open. It has no watches, and nobody has proven
    /// to be anybody. The paths come in order, the root included.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] where the records are no tree.
    pub fn restore(
        last: Zxid,
        nodes: impl IntoIterator<Item = (NodePath, NodeRecord)>,
        sessions: impl IntoIterator<Item = SessionId>,
    ) -> Result<Self, RestoreError> {
        let mut sessions: BTreeMap<_, _> = sessions.into_iter().map(|id| (id, OpenSession::default())).collect();
        let mut restored: Vec<(NodePath, Node)> = Vec::new();
        // From the root to the last node: the next node's parent is one of them or not there at all. So no parent is searched for.
        let mut line: Vec<Ancestor> = Vec::new();
        for (path, record) in nodes {
            if restored.last().is_some_and(|(last, _)| *last >= path) {
                return Err(RestoreError::OutOfOrder(path));
            }
            if record.owner != 0 {
                let owner = sessions.get_mut(&SessionId(record.owner));
                let Some(owner) = owner else {
                    return Err(RestoreError::NoSession(path));
                };
                owner.ephemerals.insert(path.clone());
            }
            if let Some(parent) = path.parent_str() {
                // A node that is no ancestor of this one may yet be one of the next: "/a", "/a-b", "/a/b".
                while let Some(last) = line.pop_if(|last| !path.as_str().starts_with(last.path.as_str())) {
                    last.leave(&mut restored);
                }
                let Some(parent) = line.iter_mut().rev().find(|last| last.path.as_str() == parent) else {
                    return Err(RestoreError::NoParent(path));
                };
                parent.children.push(path.clone());
            }
            line.push(Ancestor { path: path.clone(), at: restored.len(), children: Vec::new() });
            restored.push((path, Node::restored(record)));
        }
        line.into_iter().for_each(|last| last.leave(&mut restored));
        if !restored.first().is_some_and(|(path, _)| path.is_root()) {
            return Err(RestoreError::NoRoot);
        }
        let mut size = Size::default();
        restored.iter().for_each(|(path, node)| size.add(Size::of(path, node)));
        // All else is as in a tree that has just begun.
        Ok(Self { nodes: restored.into_iter().collect(), sessions, zxid: last.0, size, ..Self::new(Zxid(1)) })
    }

    /// What there is to know of a node, for [`restore`](Self::restore).
    pub fn record(&self, path: &NodePath) -> Option<NodeRecord> {
        self.nodes.get(path).map(Node::record)
    }

    /// The sessions that are open, in order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// The next change comes after `last`, if it would not anyway.
    pub fn skip_to(&mut self, last: Zxid) {
        self.zxid = self.zxid.max(last.0);
    }
}
