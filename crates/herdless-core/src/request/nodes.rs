//! Requests about nodes.

use std::sync::Arc;

use crate::{Acl, CreateMode, NodeData, NodePath, Version};

/// Create a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The path; of a sequential node what comes before the digits.
    pub path: NodePath,
    /// The data, at most 1 MiB less the rest of the frame.
    pub data: NodeData,
    /// The access control list.
    pub acl: Arc<[Acl]>,
    /// How the node lives and is named.
    pub mode: CreateMode,
}

/// Delete a node without children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The path.
    pub path: NodePath,
    /// The version that the data must have.
    pub version: Version,
}

/// Ask whether a node exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exists {
    /// The path.
    pub path: NodePath,
    /// Whether to leave a watch, which fires when the node is created, set or deleted. It is left in either case: on
    /// a path that will never exist again it stays for as long as the session.
    pub watch: bool,
}

/// Read a node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetData {
    /// The path.
    pub path: NodePath,
    /// Whether to leave a watch, which fires when the data is set or the node deleted. Left only on a node that exists.
    pub watch: bool,
}

/// Set a node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetData {
    /// The path.
    pub path: NodePath,
    /// The new data.
    pub data: NodeData,
    /// The version that the old data must have.
    pub version: Version,
}

/// List a node's children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetChildren {
    /// The path.
    pub path: NodePath,
    /// Whether to leave a watch, which fires when a child is created or deleted, or the node itself deleted.
    pub watch: bool,
}

/// List the session's own ephemeral nodes (ZooKeeper 3.6 and later).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetEphemerals {
    /// Only paths that begin with this text. It is a prefix of the string, not a subtree.
    pub prefix: NodePath,
}

/// Count a node's descendants, at any depth (ZooKeeper 3.6 and later).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetAllChildrenNumber {
    /// The path.
    pub path: NodePath,
}

/// Read a node's access control list. To a caller without the permission `ADMIN` the server leaves the password's hash out
/// of the `digest` entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetAcl {
    /// The path.
    pub path: NodePath,
}

/// Set a node's access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAcl {
    /// The path.
    pub path: NodePath,
    /// The new list.
    pub acl: Arc<[Acl]>,
    /// The version that the old list must have: [`Stat::aversion`](crate::Stat::aversion), not that of the data.
    pub version: Version,
}

/// Catch up: reads after it on this session reflect every write that was committed before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// A path; ZooKeeper catches up with the whole tree whichever is named.
    pub path: NodePath,
}
