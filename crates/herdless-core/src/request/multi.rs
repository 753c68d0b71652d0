//! Several operations in one request.

use bytes::Bytes;

use super::{Create, Delete, SetData};
use crate::{Acl, CreateMode, Error, NodePath, Refusal, SessionId, Version};

/// Several writes and checks, all or none, as one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multi {
    /// The operations, in order.
    pub operations: Vec<MultiOp>,
    /// The session that it is meant for, if it is: once the client has another, the request ends with
    /// [`SessionExpired`](crate::Error::SessionExpired) and nothing is sent. Operations on a node of one's own need it: in the
    /// next session the name may be somebody else's.
    pub session: Option<SessionId>,
}

/// One operation of a [`Multi`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these four are what the protocol allows")]
pub enum MultiOp {
    /// Create a node.
    Create(Create),
    /// Delete a node.
    Delete(Delete),
    /// Set a node's data.
    SetData(SetData),
    /// Check that a node exists, and its version.
    Check {
        /// The path.
        path: NodePath,
        /// The version that the data must have.
        version: Version,
    },
}

impl Multi {
    /// A write that changes nothing, by which [`ClientExt::settle`](crate::ClientExt::settle) waits for what was on its way. What
    /// came of it, [`settled`](Self::settled) tells.
    pub fn settle(path: &NodePath) -> Self {
        Self { operations: vec![MultiOp::check(path, Version::ANY)], session: None }
    }

    /// Whether the write of [`settle`](Self::settle) was carried out or refused in its place among all others.
    ///
    /// # Errors
    ///
    /// What kept it from having one.
    pub fn settled<T>(outcome: Result<T, Error>) -> Result<(), Error> {
        match outcome {
            Ok(_) => Ok(()),
            // What is refused for the state of the node has been looked at in its turn: it takes a zxid, too.
            Err(error) if matches!(error.refusal(), Some(Refusal::NoNode | Refusal::NoAuth)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Several reads in one request (ZooKeeper 3.6 and later). Each has an outcome of its own; all see the same state of the tree
/// only where nobody writes meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultiRead {
    /// The reads, in order.
    pub operations: Vec<ReadOp>,
}

/// One operation of a [`MultiRead`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these two are what the protocol allows")]
pub enum ReadOp {
    /// Read a node's data.
    GetData(NodePath),
    /// List a node's children.
    GetChildren(NodePath),
}

impl MultiOp {
    /// Create a node open to anyone.
    pub fn create(path: &NodePath, data: impl Into<Bytes>, mode: CreateMode) -> Self {
        Self::Create(Create { path: path.clone(), data: data.into().into(), acl: Acl::open(), mode })
    }

    /// Delete a node.
    pub fn delete(path: &NodePath, version: Version) -> Self {
        Self::Delete(Delete { path: path.clone(), version })
    }

    /// Set a node's data.
    pub fn set(path: &NodePath, data: impl Into<Bytes>, version: Version) -> Self {
        Self::SetData(SetData { path: path.clone(), data: data.into().into(), version })
    }

    /// Check that a node exists, and its version.
    pub fn check(path: &NodePath, version: Version) -> Self {
        Self::Check { path: path.clone(), version }
    }
}
