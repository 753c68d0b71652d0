//! How much a tree may hold, and how much it does.

use std::sync::Arc;

use herdless_core::{Acl, Error, Identity, MultiRead, NodeData, NodePath, ReadOp, Refusal, Reply, SessionId};

use super::Tree;
use super::node::Node;
use super::watches::Kinds;

/// How much a tree may hold. What would be more is refused, and changes nothing; what is there already stays.
///
/// The codes are those by which Apache ZooKeeper refuses: `QuotaExceeded` what would be more nodes or bytes
/// (`PrepRequestProcessor`), `Throttled` what the server has no room for now and has not carried out (`KeeperException.Code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Nodes, the root and those that a server has of itself included; `QuotaExceeded`.
    pub nodes: usize,
    /// Bytes of the paths, the data and the access control lists of all nodes together; `QuotaExceeded`.
    pub bytes: usize,
    /// Ephemeral nodes of one session; `QuotaExceeded`.
    pub ephemerals_per_session: usize,
    /// Watches of one session; `Throttled`. Of two kinds are those that stay on one node: on its data, and on its children.
    pub watches_per_session: usize,
    /// Watches of all sessions together; `Throttled`.
    pub watches: usize,
    /// Bytes of the paths of all watches together; `Throttled`.
    pub watch_bytes: usize,
    /// Bytes of the identities of one connection, its address included; `AuthFailed`.
    pub identity_bytes: usize,
    /// Bytes of the names, or of the data, that one reply lists; `Marshalling`. One request of a megabyte can ask for a
    /// large node some ten thousand times.
    pub list_bytes: usize,
}

/// How much a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Nodes, the root and those that a server has of itself included.
    pub nodes: usize,
    /// Those of them that are ephemeral.
    pub ephemerals: usize,
    /// Bytes of the paths, the data and the access control lists of all nodes together.
    pub bytes: usize,
    /// Watches, as [`Caps::watches`] counts them.
    pub watches: usize,
    /// Bytes of their paths.
    pub watch_bytes: usize,
}

impl Caps {
    /// No caps.
    pub const NONE: Self = Self {
        nodes: usize::MAX,
        bytes: usize::MAX,
        ephemerals_per_session: usize::MAX,
        watches_per_session: usize::MAX,
        watches: usize::MAX,
        watch_bytes: usize::MAX,
        identity_bytes: usize::MAX,
        list_bytes: usize::MAX,
    };
}

/// What all nodes take, in bytes, and how many are ephemeral.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Paths and data, as Apache ZooKeeper counts them (`DataTree.approximateDataSize`).
    pub(super) data: usize,
    lists: usize,
    ephemerals: usize,
}

impl Size {
    pub(super) fn of(path: &NodePath, node: &Node) -> Self {
        Self {
            data: path.as_str().len() + node.data.len(),
            lists: length(&node.acl),
            ephemerals: usize::from(node.owner != 0),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.data += other.data;
        self.lists += other.lists;
        self.ephemerals += other.ephemerals;
    }

    pub(super) fn take(&mut self, other: Self) {
        self.data -= other.data;
        self.lists -= other.lists;
        self.ephemerals -= other.ephemerals;
    }

    pub(super) fn replace_data(&mut self, old: &NodeData, new: &NodeData) {
        self.data = self.data - old.len() + new.len();
    }

    pub(super) fn replace_list(&mut self, old: &Arc<[Acl]>, new: &Arc<[Acl]>) {
        self.lists = self.lists - length(old) + length(new);
    }
}

fn length(acl: &Arc<[Acl]>) -> usize {
    acl.iter().map(|acl| acl.scheme.len() + acl.id.len()).sum()
}

impl Tree {
    /// From now on no more than this is held. The default is [`Caps::NONE`].
    pub fn limit(&mut self, caps: Caps) {
        self.caps = caps;
    }

    /// How much is held. Looks at nothing but counters.
    pub fn holding(&self) -> Holding {
        Holding {
            nodes: self.nodes.len(),
            ephemerals: self.size.ephemerals,
            bytes: self.size.data + self.size.lists,
            watches: self.watches.count(),
            watch_bytes: self.watches.bytes(),
        }
    }

    /// Whether the session may leave this many watches more, whose paths have so many bytes together.
    pub fn has_room_for_watches(&self, session: SessionId, count: usize, bytes: usize) -> bool {
        self.watches.count_of(session).saturating_add(count) <= self.caps.watches_per_session
            && self.watches.count().saturating_add(count) <= self.caps.watches
            && self.watches.bytes().saturating_add(bytes) <= self.caps.watch_bytes
    }

    /// Leaves a watch, unless there is no room for it.
    pub(super) fn watch(
        &mut self,
        session: SessionId,
        kinds: impl Into<Kinds>,
        path: &NodePath,
    ) -> Result<(), Refusal> {
        let kinds = kinds.into();
        let (count, bytes) = (kinds.len(), kinds.len() * path.as_str().len());
        // One that was left before takes no room.
        if !self.has_room_for_watches(session, count, bytes) && !self.watches.has(session, kinds, path) {
            return Err(Refusal::Throttled);
        }
        self.watches.add(session, kinds, path);
        Ok(())
    }

    /// Whether this node may be added.
    pub(super) fn expect_room_for(&self, path: &NodePath, node: &Node) -> Result<(), Refusal> {
        let has_node = self.nodes.len() < self.caps.nodes;
        let has_ephemeral = node.owner == 0
            || self
                .sessions
                .get(&SessionId(node.owner))
                .is_none_or(|open| open.ephemerals.len() < self.caps.ephemerals_per_session);
        let size = Size::of(path, node);
        let has_bytes = self.has_room_for_bytes(size.data + size.lists);
        if has_node && has_ephemeral && has_bytes { Ok(()) } else { Err(Refusal::QuotaExceeded) }
    }

    /// Whether a node's list may take the place of another.
    pub(super) fn expect_room_for_list(&self, old: &Arc<[Acl]>, new: &Arc<[Acl]>) -> Result<(), Refusal> {
        self.expect_room_to_grow(length(old), length(new))
    }

    /// Whether so many bytes may become so many. What does not grow is never refused.
    pub(super) fn expect_room_to_grow(&self, old: usize, new: usize) -> Result<(), Refusal> {
        if new <= old || self.has_room_for_bytes(new - old) { Ok(()) } else { Err(Refusal::QuotaExceeded) }
    }

    fn has_room_for_bytes(&self, more: usize) -> bool {
        (self.size.data + self.size.lists).saturating_add(more) <= self.caps.bytes
    }

    /// Whether a connection may have one more identity.
    pub(super) fn expect_room_for_identity(&self, session: SessionId, more: &Identity) -> Result<(), Refusal> {
        let known = self.identities(session);
        let length = |identity: &Identity| identity.scheme.len() + identity.id.len();
        let bytes = known.iter().map(length).sum::<usize>() + length(more);
        if bytes <= self.caps.identity_bytes || known.contains(more) { Ok(()) } else { Err(Refusal::AuthFailed) }
    }

    /// Whether one reply may list so many bytes.
    pub(super) fn expect_room_to_list(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= self.caps.list_bytes { Ok(()) } else { Err(Refusal::Marshalling) }
    }

    pub(super) fn multi_read(&self, session: SessionId, multi: &MultiRead) -> Result<Reply, Error> {
        let mut total = 0_usize;
        let mut replies = Vec::with_capacity(multi.operations.len());
        for read in &multi.operations {
            let (ReadOp::GetData(path) | ReadOp::GetChildren(path)) = read;
            let size = self.nodes.get(path).map_or(0, |node| match read {
                ReadOp::GetData(_) => node.data.len(),
                ReadOp::GetChildren(_) => node.length_of_names(),
            });
            total = total.saturating_add(size);
            self.expect_room_to_list(total)?;
            replies.push(self.read(session, read).map_err(Error::Refused));
        }
        Ok(Reply::MultiRead(replies))
    }
}
