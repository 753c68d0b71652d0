//! The tree of znodes as a pure state machine.

mod access;
mod apply;
mod caps;
mod distinguished_name;
mod journal;
mod node;
mod nodes;
mod quota;
mod restore;
mod system;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use herdless_core::{
    Acl, AddWatchMode, EventKind, Identity, NodeData, NodePath, Permissions, SessionId, Stat, WatchEvent, WatchKind,
    WatcherType, Zxid,
};

pub use caps::{Caps, Holding};
pub use journal::Changes;
pub use node::NodeRecord;
pub use restore::RestoreError;

use caps::Size;
use node::Node;
use nodes::Nodes;
use watches::Watches;

/// The events that a change has fired, in order, each with the session to tell.
pub type Fired = Vec<(SessionId, WatchEvent)>;

/// ZooKeeper's tree: nodes, sessions, watches.
///
/// Nothing here waits, reads a clock or takes a lock. The same calls give the same tree, the same replies and the same
/// events in the same order.
#[derive(Debug)]
pub struct Tree {
    nodes: Nodes,
    sessions: BTreeMap<SessionId, OpenSession>,
    /// The sessions that were opened or closed since somebody last asked, where anybody asks.
    touched_sessions: Option<Vec<SessionId>>,
    watches: Watches,
    zxid: i64,
    allows_ttl: bool,
    allows_x509: bool,
    has_system_nodes: bool,
    enforces_quotas: bool,
    caps: Caps,
    size: Size,
}

#[derive(Debug, Default)]
struct OpenSession {
    ephemerals: BTreeSet<NodePath>,
    /// Who it has proven to be on its present connection.
    identities: Vec<Identity>,
}

/// What happened to a node, for the watches, and who might read it just then; its parent too, where that has another child now.
#[derive(Debug)]
struct Change {
    kind: EventKind,
    path: NodePath,
    acl: Arc<[Acl]>,
    parent_acl: Option<Arc<[Acl]>>,
}

impl Tree {
    /// A tree with only the root, whose first change will be `first`.
    pub fn new(first: Zxid) -> Self {
        let root = Node::root();
        let size = Size::of(&NodePath::root(), &root);
        Self {
            nodes: Nodes::from_iter([(NodePath::root(), root)]),
            sessions: BTreeMap::new(),
            touched_sessions: None,
            watches: Watches::default(),
            zxid: first.0 - 1,
            allows_ttl: false,
            allows_x509: false,
            has_system_nodes: false,
            enforces_quotas: false,
            caps: Caps::NONE,
            size,
        }
    }

    /// Whether nodes with a time to live may be created, as `zookeeper.extendedTypesEnabled` says.
    pub fn allow_ttl(&mut self, allows: bool) {
        self.allows_ttl = allows;
    }

    /// Whether access control lists may name somebody by his certificate (scheme `x509`), as where
    /// `zookeeper.authProvider.x509` is set.
    pub fn allow_x509(&mut self, allows: bool) {
        self.allows_x509 = allows;
    }

    /// The last change.
    pub fn last_zxid(&self) -> Zxid {
        Zxid(self.zxid)
    }

    /// The Stat of a node.
    pub fn stat(&self, path: &NodePath) -> Option<Stat> {
        self.node(path).map(Node::stat)
    }

    /// The node with this path. The root has an empty one too (`DataTree.DataTree`).
    fn node(&self, path: &NodePath) -> Option<&Node> {
        self.nodes.get(if path.as_str().is_empty() { "/" } else { path.as_str() })
    }

    /// Takes a zxid for a write that is refused before it is known what it was to write.
    pub fn refuse_unread(&mut self) {
        self.zxid += 1;
    }

    /// The paths of all nodes, in order, the root included.
    pub fn paths(&self) -> impl Iterator<Item = &NodePath> {
        self.nodes.keys()
    }

    /// The number of nodes, the root included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The number of watches that sessions have left: one for each session, path and kind.
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// What Apache ZooKeeper counts as data watches: those on a node's data or existence, and those that stay, each with its
    /// session and path, in the order of the paths (`DataTree.dataWatches`).
    pub fn data_watches(&self) -> impl Iterator<Item = (SessionId, &NodePath)> {
        self.watches.on_data()
    }

    /// A session's ephemeral nodes, in order.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &NodePath> {
        self.sessions.get(&session).into_iter().flat_map(|open| &open.ephemerals)
    }

    /// How many bytes the paths and the data of all nodes have, together.
    pub fn data_size(&self) -> usize {
        self.size.data
    }

    /// Whether the session is open.
    pub fn has_session(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Opens a session. As on a real server it takes a zxid.
    pub fn open_session(&mut self, session: SessionId) {
        self.zxid += 1;
        self.sessions.insert(session, OpenSession::default());
        self.touch_session(session);
    }

    /// Ends a session, closed or expired: its ephemeral nodes go in one change, which its own watches are still told of
    /// (`DataTree.killSession`).
    pub fn close_session(&mut self, session: SessionId, fired: &mut Fired) {
        let Some(open) = self.sessions.get_mut(&session) else {
            return;
        };
        let ephemerals = std::mem::take(&mut open.ephemerals);
        self.zxid += 1;
        let mut changes = Vec::new();
        for path in ephemerals {
            let Some(node) = self.remove_node(&path) else {
                continue;
            };
            self.account(&path, -(node.data.len() as i64), -1);
            changes.push(self.change_of_children(EventKind::Deleted, &path, node.acl));
        }
        self.fire(&changes, fired);
        self.watches.forget(session);
        self.sessions.remove(&session);
        self.touch_session(session);
    }

    /// Forgets a session's watches and identities, as a server does when the session's connection is lost.
    pub fn disconnect(&mut self, session: SessionId) {
        self.watches.forget(session);
        if let Some(open) = self.sessions.get_mut(&session) {
            open.identities.clear();
        }
    }

    /// Adds an identity that the session's connection has: its address, or what it has proven in another way than by a
    /// request.
    pub fn identify(&mut self, session: SessionId, identity: Identity) {
        if let Some(open) = self.sessions.get_mut(&session)
            && !open.identities.contains(&identity)
        {
            open.identities.push(identity);
        }
    }

    fn identities(&self, session: SessionId) -> &[Identity] {
        self.sessions.get(&session).map_or(&[], |open| &open.identities)
    }

    /// Re-arms a watch that was left before `seen`: if the node has changed since, it fires at once
    /// (`DataTree.setWatches`).
    pub fn rearm(&mut self, session: SessionId, kind: WatchKind, path: &NodePath, seen: Zxid, fired: &mut Fired) {
        let stat = self.stat(path);
        let event = match (kind, stat) {
            (WatchKind::Data | WatchKind::Children, None) => Some(EventKind::Deleted),
            (WatchKind::Data, Some(stat)) if stat.mzxid > seen => Some(EventKind::DataChanged),
            (WatchKind::Children, Some(stat)) if stat.pzxid > seen => Some(EventKind::ChildrenChanged),
            (WatchKind::Exists, Some(_)) => Some(EventKind::Created),
            _ => None,
        };
        match event {
            Some(kind) => fired.push((session, WatchEvent { kind, path: path.clone() })),
            None => self.watches.add(session, kind, path),
        }
    }

    /// Leaves a watch that stays, anew after a reconnect: nothing tells what has happened meanwhile.
    pub fn add_watch(&mut self, session: SessionId, mode: AddWatchMode, path: &NodePath) {
        self.watches.add(session, mode, path);
    }

    /// Takes out the watches that a session has on a path; whether there was any.
    pub fn remove_watches(&mut self, session: SessionId, path: &NodePath, kind: WatcherType) -> bool {
        self.watches.remove(session, path, kind)
    }

    /// Removes the containers that have had children and have none now, and the nodes whose time to live is over at `now_ms`.
    pub fn reap(&mut self, now_ms: i64, fired: &mut Fired) {
        let mut next = Some(NodePath::root());
        while let Some(from) = next {
            next = self.reap_some(&from, usize::MAX, now_ms, fired);
        }
    }

    /// The same in parts, for who may not take long at a time: looks at up to `most` nodes from this path on, in order. Where to
    /// go on, unless it was the last.
    pub fn reap_some(&mut self, from: &NodePath, most: usize, now_ms: i64, fired: &mut Fired) -> Option<NodePath> {
        let mut nodes = self.nodes.from(from);
        let over = nodes.by_ref().take(most).filter(|(_, node)| node.is_reapable(now_ms));
        let over: Vec<_> = over.map(|(path, _)| path.clone()).collect();
        let next = nodes.next().map(|(path, _)| path.clone());
        drop(nodes);
        for path in over {
            self.zxid += 1;
            let Some(node) = self.remove_node(&path) else {
                continue;
            };
            self.account(&path, -(node.data.len() as i64), -1);
            let change = self.change_of_children(EventKind::Deleted, &path, node.acl);
            self.fire(&[change], fired);
        }
        next
    }

    /// Puts a node into the tree; its parent's part in it is the caller's.
    fn insert_node(&mut self, path: NodePath, node: Node) {
        self.size.add(Size::of(&path, &node));
        self.nodes.insert(path, node);
    }

    /// Gives a node other data; what it has had.
    fn replace_data(&mut self, path: &NodePath, data: NodeData) -> Option<NodeData> {
        let node = self.nodes.get_mut(path.as_str())?;
        self.size.replace_data(&node.data, &data);
        Some(std::mem::replace(&mut node.data, data))
    }

    /// Takes a node out of the tree and of its parent.
    fn remove_node(&mut self, path: &NodePath) -> Option<Node> {
        let node = self.nodes.remove(path)?;
        self.size.take(Size::of(path, &node));
        let zxid = Zxid(self.zxid);
        if let Some(parent) = self.parent_mut(path) {
            parent.children.remove(path);
            parent.pzxid = zxid;
        }
        if let Some(owner) = self.sessions.get_mut(&SessionId(node.owner)) {
            owner.ephemerals.remove(path);
        }
        Some(node)
    }

    fn parent_mut(&mut self, path: &NodePath) -> Option<&mut Node> {
        self.nodes.get_mut(path.parent_str()?)
    }

    fn parent(&self, path: &NodePath) -> Option<&Node> {
        self.nodes.get(path.parent_str()?)
    }

    /// A node that was created or deleted.
    fn change_of_children(&self, kind: EventKind, path: &NodePath, acl: Arc<[Acl]>) -> Change {
        Change { kind, path: path.clone(), acl, parent_acl: self.parent(path).map(|parent| parent.acl.clone()) }
    }

    /// Fires the watches of these changes: the table of `DataTree.createNode`, `deleteNode` and `setData`.
    fn fire(&mut self, changes: &[Change], fired: &mut Fired) {
        for Change { kind, path, acl, parent_acl } in changes {
            match kind {
                EventKind::Deleted => self.tell(acl, fired, |watches, fired| watches.fire_deleted(path, fired)),
                kind => self.tell(acl, fired, |watches, fired| watches.fire_data(path, *kind, fired)),
            }
            if let Some(acl) = parent_acl {
                self.tell(acl, fired, |watches, fired| watches.fire_children(path, fired));
            }
        }
    }

    /// Who may not read a node is not told what happens to it, and has had its watch all the same
    /// (`NIOServerCnxn.process`, since CVE-2024-23944).
    fn tell(&mut self, acl: &[Acl], fired: &mut Fired, fire: impl FnOnce(&mut Watches, &mut Fired)) {
        let mut events = Fired::new();
        fire(&mut self.watches, &mut events);
        events.retain(|(session, _)| access::permits(acl, self.identities(*session), Permissions::READ));
        fired.append(&mut events);
    }
}
