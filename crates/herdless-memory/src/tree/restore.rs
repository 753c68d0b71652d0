//! A tree that was kept elsewhere.

use std::collections::BTreeMap;

use herdless_core::{NodePath, SessionId, Zxid};
use thiserror::Error;

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
        // From the root to the last node, each with where it is: the next node's parent is one of them or not there at all.
        // So no parent is searched for.
        let mut line: Vec<(NodePath, usize)> = Vec::new();
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
            match path.parent_str() {
                None => {}
                Some(parent) => {
                    // A node that is no ancestor of this one may yet be one of the next: "/a", "/a-b", "/a/b".
                    while line.last().is_some_and(|(last, _)| !path.as_str().starts_with(last.as_str())) {
                        line.pop();
                    }
                    let found = line.iter().rev().find(|(last, _)| last.as_str() == parent);
                    let Some((_, at)) = found else {
                        return Err(RestoreError::NoParent(path));
                    };
                    restored[*at].1.children.insert(path.clone());
                }
            }
            line.push((path.clone(), restored.len()));
            restored.push((path, Node::restored(record)));
        }
        if !restored.first().is_some_and(|(path, _)| path.is_root()) {
            return Err(RestoreError::NoRoot);
        }
        Ok(Self {
            nodes: restored.into_iter().collect(),
            sessions,
            touched_sessions: None,
            watches: Default::default(),
            zxid: last.0,
            allows_ttl: false,
            allows_x509: false,
            has_system_nodes: false,
            enforces_quotas: false,
        })
    }

    /// The next change comes after `last`, if it would not anyway.
    pub fn skip_to(&mut self, last: Zxid) {
        self.zxid = self.zxid.max(last.0);
    }
}
