//! One znode.

use std::collections::BTreeSet;
use std::sync::Arc;

use herdless_core::{Acl, NodeData, Stat, Zxid};

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
    pub(super) children: BTreeSet<Box<str>>,
}

impl Node {
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
        self.children.iter().map(|name| name.to_string()).collect()
    }

    /// `ContainerManager`: a container that has had children, and a node that was idle for longer than it may be; each only
    /// while it has no children.
    pub(super) fn is_reapable(&self, now_ms: i64) -> bool {
        let is_idle = self.time_to_live.is_some_and(|limit| now_ms.saturating_sub(self.mtime) > limit);
        self.children.is_empty() && (is_idle || self.is_container && self.creates > 0)
    }
}
