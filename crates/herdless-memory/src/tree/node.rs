//! One znode.

use std::collections::BTreeSet;
use std::sync::Arc;

use herdless_core::{Acl, NodeData, NodePath, Stat, Zxid};

#[derive(Debug)]
pub(super) struct Node {
    pub(super) data: NodeData,
    pub(super) acl: Arc<[Acl]>,
    pub(super) czxid: Zxid,
    pub(super) mzxid: Zxid,
    pub(super) pzxid: Zxid,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
    pub(super) acl_version: i32,
    /// How many children were ever created: the next sequential child's number. Deletions do not count.
    pub(super) creates: i32,
    /// The session, for an ephemeral node; 0 for others.
    pub(super) owner: i64,
    pub(super) is_container: bool,
    /// For how long it may be idle, in milliseconds.
    pub(super) time_to_live: Option<i64>,
    /// Their paths, which share what the tree has them by.
    pub(super) children: BTreeSet<NodePath>,
    /// Whether the journal has it already.
    pub(super) is_touched: bool,
}

/// What there is to know of a node but its children, whom their paths tell: for whoever keeps a tree elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "who keeps a node keeps all of it")]
pub struct NodeRecord {
    /// The data.
    pub data: NodeData,
    /// The access control list.
    pub acl: Arc<[Acl]>,
    /// The change that created it.
    pub czxid: Zxid,
    /// The last change of its data.
    pub mzxid: Zxid,
    /// The last change of its children.
    pub pzxid: Zxid,
    /// When it was created, in milliseconds since 1970.
    pub ctime: i64,
    /// When its data was last changed, in milliseconds since 1970.
    pub mtime: i64,
    /// The version of its data.
    pub version: i32,
    /// The version of its access control list.
    pub acl_version: i32,
    /// How many children were ever created: the next sequential child's number.
    pub creates: i32,
    /// The session of an ephemeral node; 0 for others.
    pub owner: i64,
    /// Whether it is a container.
    pub is_container: bool,
    /// For how long it may be idle, in milliseconds.
    pub time_to_live: Option<i64>,
}

impl Node {
    pub(super) fn record(&self) -> NodeRecord {
        NodeRecord {
            data: self.data.clone(),
            acl: self.acl.clone(),
            czxid: self.czxid,
            mzxid: self.mzxid,
            pzxid: self.pzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            acl_version: self.acl_version,
            creates: self.creates,
            owner: self.owner,
            is_container: self.is_container,
            time_to_live: self.time_to_live,
        }
    }

    pub(super) fn restored(record: NodeRecord) -> Self {
        Self {
            data: record.data,
            acl: record.acl,
            czxid: record.czxid,
            mzxid: record.mzxid,
            pzxid: record.pzxid,
            ctime: record.ctime,
            mtime: record.mtime,
            version: record.version,
            acl_version: record.acl_version,
            creates: record.creates,
            owner: record.owner,
            is_container: record.is_container,
            time_to_live: record.time_to_live,
            children: BTreeSet::new(),
            is_touched: false,
        }
    }

    pub(super) fn new(data: NodeData, acl: Arc<[Acl]>, zxid: Zxid, now_ms: i64) -> Self {
        Self {
            data,
            acl,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: now_ms,
            mtime: now_ms,
            version: 0,
            acl_version: 0,
            creates: 0,
            owner: 0,
            is_container: false,
            time_to_live: None,
            children: BTreeSet::new(),
            is_touched: false,
        }
    }

    pub(super) fn root() -> Self {
        Self::new(NodeData::default(), Acl::open(), Zxid(0), 0)
    }

    pub(super) fn stat(&self) -> Stat {
        let num_children = self.children.len() as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // `DataNode.copyStat`: what clients see counts creations and deletions.
            cversion: self.creates.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.acl_version,
            ephemeral_owner: self.owner,
            data_length: self.data.len() as i32,
            num_children,
            pzxid: self.pzxid,
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.children.iter().map(|path| path.name().to_owned()).collect()
    }

    /// How many bytes they have.
    pub(super) fn length_of_names(&self) -> usize {
        self.children.iter().map(|path| path.name().len()).sum()
    }

    /// `ContainerManager`: a container that has had children, and a node that was idle for longer than it may be; each only
    /// while it has no children.
    pub(super) fn is_reapable(&self, now_ms: i64) -> bool {
        let is_idle = self.time_to_live.is_some_and(|limit| now_ms.saturating_sub(self.mtime) > limit);
        self.children.is_empty() && (is_idle || self.is_container && self.creates > 0)
    }
}
