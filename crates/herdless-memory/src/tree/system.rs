//! The nodes that a server has of itself: `/zookeeper` and what is below it (`DataTree.DataTree`, `addConfigNode`).

use std::sync::Arc;

use herdless_core::{Acl, NodeData, NodePath, Permissions, Zxid};

use super::Tree;
use super::node::Node;

const SYSTEM: &str = "/zookeeper";
pub(super) const QUOTA: &str = "/zookeeper/quota";
pub(super) const CONFIG: &str = "/zookeeper/config";

impl Tree {
    /// Gives the tree the nodes that every Apache ZooKeeper has and nobody can delete: `/zookeeper`, `/zookeeper/quota`, where
    /// quotas are set and counted from now on, and `/zookeeper/config`, which is empty where a server stands alone. Those that
    /// are there already stay as they are.
    ///
    /// A tree that is nobody's server has no use for them, and is smaller without.
    pub fn add_system_nodes(&mut self) {
        self.has_system_nodes = true;
        for path in [SYSTEM, QUOTA, CONFIG] {
            if self.nodes.get(path).is_some() {
                continue;
            }
            let mut node = Node::new(NodeData::default(), Acl::open(), Zxid(0), 0);
            if path == CONFIG {
                // Set with version −1 (ZOOKEEPER-2014).
                (node.acl, node.acl_version) = (readable_by_anyone(), -1);
            }
            let path = NodePath::unchecked(path);
            if let Some(parent) = self.parent_mut(&path) {
                // Not counted among the parent's creations, so that its cversion begins below 0.
                parent.children.insert(path.clone());
            }
            self.insert_node(path, node);
        }
    }

    /// `DataTree.isSpecialPath`.
    pub(super) fn is_special(&self, path: &NodePath) -> bool {
        path.is_root() || self.has_system_nodes && matches!(path.as_str(), SYSTEM | QUOTA | CONFIG)
    }
}

/// `ZooDefs.Ids.READ_ACL_UNSAFE`.
fn readable_by_anyone() -> Arc<[Acl]> {
    Arc::from([Acl { permissions: Permissions::READ, scheme: "world".into(), id: "anyone".into() }])
}
