//! All nodes, and which of them were touched.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

use herdless_core::NodePath;

use super::node::Node;

/// The nodes by their paths. There is no way to change one past the journal.
#[derive(Debug)]
pub(super) struct Nodes {
    /// In boxes, so that an entry that comes or goes moves its neighbours by three words each, and room for more takes little.
    map: BTreeMap<NodePath, Box<Node>>,
    /// The paths that were touched since somebody last asked, where anybody asks; some of them more than once.
    touched: Option<Vec<NodePath>>,
}

impl FromIterator<(NodePath, Node)> for Nodes {
    fn from_iter<T: IntoIterator<Item = (NodePath, Node)>>(nodes: T) -> Self {
        let map = nodes.into_iter().map(|(path, node)| (path, Box::new(node))).collect();
        Self { map, touched: None }
    }
}

impl Nodes {
    pub(super) fn get<P>(&self, path: &P) -> Option<&Node>
    where
        P: Ord + ?Sized,
        NodePath: Borrow<P>,
    {
        self.map.get(path).map(Box::as_ref)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn contains_key(&self, path: &NodePath) -> bool {
        self.map.contains_key(path)
    }

    /// Those from this path on, in order.
    pub(super) fn from(&self, path: &NodePath) -> impl Iterator<Item = (&NodePath, &Node)> {
        self.map.range::<NodePath, _>(path..).map(|(path, node)| (path, &**node))
    }

    /// The paths below this one, at any depth, in order. Nothing else is looked at.
    pub(super) fn below(&self, path: &str) -> impl Iterator<Item = &NodePath> {
        // What stands between them in the order begins with a slash behind the path, and `0` is the character behind the slash.
        let (first, end) = (format!("{path}/"), format!("{path}0"));
        let range = (Bound::Included(first.as_str()), Bound::Excluded(end.as_str()));
        self.map.range::<str, _>(range).map(|(path, _)| path)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &NodePath> {
        self.map.keys()
    }

    pub(super) fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        let Some(touched) = &mut self.touched else {
            return self.map.get_mut(path).map(Box::as_mut);
        };
        // The key too, in one search: the journal shares its path.
        let exactly = (Bound::Included(path), Bound::Included(path));
        let (path, node) = self.map.range_mut::<str, _>(exactly).next()?;
        if !node.is_touched {
            node.is_touched = true;
            touched.push(path.clone());
        }
        Some(node)
    }

    pub(super) fn insert(&mut self, path: NodePath, mut node: Node) {
        if let Some(touched) = &mut self.touched {
            node.is_touched = true;
            touched.push(path.clone());
        }
        self.map.insert(path, Box::new(node));
    }

    pub(super) fn remove(&mut self, path: &NodePath) -> Option<Node> {
        let node = self.map.remove(path)?;
        if let Some(touched) = self.touched.as_mut().filter(|_| !node.is_touched) {
            touched.push(path.clone());
        }
        Some(*node)
    }

    /// From now on the journal is kept; `all` has it begin with every node there is.
    pub(super) fn keep_journal(&mut self, all: bool) {
        let touched = if all { self.map.keys().cloned().collect() } else { Vec::new() };
        self.touched = Some(touched);
    }

    /// The paths that were touched, in order and each once, and the nodes that are there now. The journal begins anew.
    pub(super) fn take_touched(&mut self) -> impl Iterator<Item = (NodePath, Option<&Node>)> {
        let mut touched = self.touched.as_mut().map(std::mem::take).unwrap_or_default();
        touched.sort_unstable();
        touched.dedup();
        for path in &touched {
            if let Some(node) = self.map.get_mut(path) {
                node.is_touched = false;
            }
        }
        touched.into_iter().map(|path| {
            let node = self.get(&path);
            (path, node)
        })
    }
}

#[cfg(test)]
mod tests {
    use herdless_core::{Acl, Zxid};

    use super::*;

    #[test]
    fn what_is_below_a_node_and_nothing_else() {
        let node = || Node::new("".into(), Acl::open(), Zxid(1), 0);
        let all = ["/", "/a", "/a!", "/a-b", "/a/b", "/a/b/c", "/a/b0", "/a/\u{e9}", "/a0", "/a0/b", "/ab", "/b"];
        let nodes: Nodes = all.iter().map(|path| (NodePath::parse(path).unwrap(), node())).collect();
        for path in nodes.keys().filter(|path| !path.is_root()) {
            let expected: Vec<_> = nodes.keys().filter(|node| node.is_below(path)).collect();
            assert_eq!(nodes.below(path.as_str()).collect::<Vec<_>>(), expected, "{path}");
        }
    }
}
