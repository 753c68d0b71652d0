//! What can be asked of a backend: one struct per operation, one enum over them.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Acl, CreateMode, EventKind, NodePath, Secret, SessionId, Version, WatchEvent, WatchKind, Zxid};

/// One request, as every layer from recipe to tree sees it.
///
/// More operations of the protocol will come, so the enum is open: a backend refuses what it does not know with
/// [`Refusal::Unimplemented`](crate::Refusal::Unimplemented), a wrapper passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Create a node.
    Create(Create),
    /// Delete a node.
    Delete(Delete),
    /// Ask whether a node exists.
    Exists(Exists),
    /// Read a node's data.
    GetData(GetData),
    /// Set a node's data.
    SetData(SetData),
    /// List a node's children.
    GetChildren(GetChildren),
    /// List the session's own ephemeral nodes.
    GetEphemerals(GetEphemerals),
    /// Leave a watch that stays.
    AddWatch(AddWatch),
    /// Ask whether there is a watch.
    CheckWatches(CheckWatches),
    /// Take watches away.
    RemoveWatches(RemoveWatches),
    /// Count a node's descendants.
    GetAllChildrenNumber(GetAllChildrenNumber),
    /// Read a node's access control list.
    GetAcl(GetAcl),
    /// Set a node's access control list.
    SetAcl(SetAcl),
    /// Catch up with the leader.
    Sync(Sync),
    /// Several writes, all or none.
    Multi(Multi),
    /// Several reads in one request.
    MultiRead(MultiRead),
    /// Prove an identity.
    Auth(Auth),
    /// List one's identities.
    WhoAmI(WhoAmI),
    /// Read the configuration of the ensemble.
    GetConfig(GetConfig),
    /// Change the configuration of the ensemble.
    Reconfig(Reconfig),
    /// Delete a node of one's own, for certain.
    Release(Release),
    /// Look for a node of one's own whose creation was not answered.
    FindOwn(FindOwn),
    /// End the session: its ephemeral nodes go at once, and nothing after this request is accepted.
    CloseSession,
}

/// Create a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The path; of a sequential node what comes before the digits.
    pub path: NodePath,
    /// The data, at most 1 MiB less the rest of the frame.
    pub data: Bytes,
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
    pub data: Bytes,
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

/// Leave a watch that stays when it fires (ZooKeeper 3.6 and later). The node need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddWatch {
    /// The path.
    pub path: NodePath,
    /// What it tells of.
    pub mode: AddWatchMode,
}

/// What a watch that stays tells of (`AddWatchMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "a backend has to know both")]
pub enum AddWatchMode {
    /// Of everything that happens to the node, and of its children coming and going
    /// ([`ChildrenChanged`](crate::EventKind::ChildrenChanged)).
    Persistent,
    /// Of everything that happens to the node and all its descendants, each by its own path; never `ChildrenChanged`.
    PersistentRecursive,
}

impl From<WatchKind> for WatcherType {
    /// By the server's book, which has no list of its own for existence.
    fn from(kind: WatchKind) -> Self {
        match kind {
            WatchKind::Data | WatchKind::Exists => Self::Data,
            WatchKind::Children => Self::Children,
        }
    }
}

impl WatcherType {
    /// Whether it means one-shot watches of this kind.
    pub fn means(self, kind: WatchKind) -> bool {
        match self {
            Self::Children => kind == WatchKind::Children,
            Self::Data => kind != WatchKind::Children,
            Self::Any => true,
        }
    }

    /// Whether it means (a part of) watches of this mode.
    pub fn means_staying(self, mode: AddWatchMode) -> bool {
        self != Self::Children || mode == AddWatchMode::Persistent
    }
}

impl AddWatchMode {
    /// Whether a watch of this mode on `path` tells of this event.
    pub fn hears(self, path: &NodePath, event: &WatchEvent) -> bool {
        match self {
            Self::Persistent => event.path == *path,
            Self::PersistentRecursive => {
                event.kind != EventKind::ChildrenChanged && (event.path == *path || event.path.is_below(path))
            }
        }
    }
}

/// Ask whether this client has a watch on a node, by the server's book. Refused with
/// [`NoWatcher`](crate::Refusal::NoWatcher) if not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckWatches {
    /// The path.
    pub path: NodePath,
    /// Which.
    pub kind: WatcherType,
}

/// Take away what this client has on a node, whoever in it waits there: they are told
/// [`NoWatcher`](crate::Refusal::NoWatcher), and so is the caller where there is nothing. A watch that is dropped frees the
/// server's without this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveWatches {
    /// The path.
    pub path: NodePath,
    /// Which.
    pub kind: WatcherType,
}

/// Which watches are meant (`Watcher.WatcherType`). One that stays is of both kinds, except that a recursive one is only of
/// data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a backend has to know each")]
pub enum WatcherType {
    /// Of the children.
    Children,
    /// Of the data, or of the existence.
    Data,
    /// Any.
    Any,
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

/// Prove an identity to the server. It is proven again on every connection from then on, before anything else is sent, also in
/// later sessions.
///
/// An identity that the server does not accept is the end of the client, as it is of ZooKeeper's own: the server hangs up, and
/// everything ends with [`AuthFailed`](crate::Refusal::AuthFailed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How: `digest`, or what else the server knows.
    pub scheme: String,
    /// The proof in the scheme's notation; of `digest` `user:password`.
    pub credentials: Secret,
}

/// List one's identities as the server knows them (ZooKeeper 3.7 and later).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhoAmI;

/// Read the configuration of the ensemble: the data of `/zookeeper/config`, which a chroot does not hide. Empty on a server
/// that stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetConfig;

/// Change the configuration of the ensemble, either by who joins and who leaves or to a whole new one. The server must allow
/// it (`reconfigEnabled`), and the caller needs `WRITE` on `/zookeeper/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconfig {
    /// Servers to add or change, `server.<id>=<address>;..`, comma-separated.
    pub joining: Option<String>,
    /// The ids of servers to remove, comma-separated.
    pub leaving: Option<String>,
    /// All servers of the new configuration, in place of the two above.
    pub members: Option<String>,
    /// The version that the present configuration must have; −1 for any.
    pub version: i64,
}

/// Delete a node that this session made, and keep at it over reconnects until it is gone or the session is.
///
/// It is never blindly sent again: the parent may have been removed and made anew meanwhile, and the name may be
/// somebody else's. After a lost connection the backend reads the node, compares `czxid`, and deletes only its own.
/// The request does not count against the limit of requests in flight, so a release is never refused as overloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The node.
    pub path: NodePath,
    /// The change that created it.
    pub czxid: Zxid,
    /// The session that made it. Once the client has another, the request ends with
    /// [`SessionExpired`](crate::Error::SessionExpired) and deletes nothing: the server has removed the node or will.
    pub session: SessionId,
    /// Whether to tell whoever watches the node's data that its *holder* leaves: the data is set in the same change,
    /// so that the watch fires [`DataChanged`](crate::EventKind::DataChanged) and not `Deleted`.
    pub hand_over: bool,
}

/// Look for an ephemeral node of this session by its data, after the answer to its creation was lost.
///
/// The backend catches up with the leader first, so "not found" means that the creation did not and will not happen.
/// It survives reconnects and does not count against the limit of requests in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindOwn {
    /// What the node's path begins with: the path of the sequential create.
    pub prefix: NodePath,
    /// Its data, exactly.
    pub data: Bytes,
}

impl Request {
    /// The session that it is bound to, if it is. A backend carries it out in no other.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Release(release) => Some(release.session),
            Self::Multi(multi) => multi.session,
            _ => None,
        }
    }

    /// Whether this is clean-up, which a backend accepts beyond its limit of requests in flight: refusing it would
    /// leave a node behind.
    pub fn is_clean_up(&self) -> bool {
        matches!(self, Self::Release(_) | Self::FindOwn(_) | Self::CloseSession)
    }

    /// Whether carrying it out twice is the same as once, so that it may be asked again after an answer was lost: it reads, or
    /// looks, or catches up. A watch that it leaves goes with the answer that is lost.
    ///
    /// `Release` and `Auth` are not: the backend keeps at both by itself, and a release that is submitted again would delete by a
    /// name that may be somebody else's by then. Nor is a write, even one for a certain version: the second would be refused,
    /// and hide that the first was carried out.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Exists(_)
            | Self::GetData(_)
            | Self::GetChildren(_)
            | Self::GetEphemerals(_)
            | Self::GetAllChildrenNumber(_)
            | Self::GetAcl(_)
            | Self::GetConfig(_)
            | Self::MultiRead(_)
            | Self::WhoAmI(_)
            | Self::CheckWatches(_)
            | Self::AddWatch(_)
            | Self::Sync(_)
            | Self::FindOwn(_) => true,
            Self::Multi(multi) => multi.operations.iter().all(|operation| matches!(operation, MultiOp::Check { .. })),
            Self::Create(_)
            | Self::Delete(_)
            | Self::SetData(_)
            | Self::SetAcl(_)
            | Self::RemoveWatches(_)
            | Self::Reconfig(_)
            | Self::Auth(_)
            | Self::Release(_)
            | Self::CloseSession => false,
        }
    }

    /// Replaces every path by what `f` makes of it; its second argument tells a whole path from one that is only the
    /// beginning of a path (of a sequential create, of a search).
    pub fn map_paths(&mut self, mut f: impl FnMut(&NodePath, bool) -> NodePath) {
        let (path, is_prefix) = match self {
            Self::Create(Create { path, mode, .. }) => (path, mode.is_sequential()),
            Self::GetEphemerals(GetEphemerals { prefix: path }) | Self::FindOwn(FindOwn { prefix: path, .. }) => {
                (path, true)
            }
            Self::Delete(Delete { path, .. })
            | Self::Exists(Exists { path, .. })
            | Self::GetData(GetData { path, .. })
            | Self::SetData(SetData { path, .. })
            | Self::GetChildren(GetChildren { path, .. })
            | Self::AddWatch(AddWatch { path, .. })
            | Self::CheckWatches(CheckWatches { path, .. })
            | Self::RemoveWatches(RemoveWatches { path, .. })
            | Self::GetAllChildrenNumber(GetAllChildrenNumber { path })
            | Self::GetAcl(GetAcl { path })
            | Self::SetAcl(SetAcl { path, .. })
            | Self::Sync(Sync { path })
            | Self::Release(Release { path, .. }) => (path, false),
            Self::Multi(multi) => {
                for operation in &mut multi.operations {
                    let (path, is_prefix) = match operation {
                        MultiOp::Create(Create { path, mode, .. }) => (path, mode.is_sequential()),
                        MultiOp::Delete(Delete { path, .. })
                        | MultiOp::SetData(SetData { path, .. })
                        | MultiOp::Check { path, .. } => (path, false),
                    };
                    *path = f(path, is_prefix);
                }
                return;
            }
            Self::MultiRead(multi) => {
                for operation in &mut multi.operations {
                    let (ReadOp::GetData(path) | ReadOp::GetChildren(path)) = operation;
                    *path = f(path, false);
                }
                return;
            }
            Self::Auth(_) | Self::WhoAmI(_) | Self::GetConfig(_) | Self::Reconfig(_) | Self::CloseSession => return,
        };
        *path = f(path, is_prefix);
    }
}

/// One list for both, so that neither can lack a kind.
macro_rules! names {
    ($($kind:ident $(($fields:tt))? = $name:literal,)*) => {
        impl Request {
            /// The [name](Self::name) of each kind of request.
            pub const NAMES: &[&str] = &[$($name),*];

            /// A short name for spans, metrics and error texts.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind $(($fields))? => $name,)* }
            }
        }
    };
}

names! {
    Create(_) = "create",
    Delete(_) = "delete",
    Exists(_) = "exists",
    GetData(_) = "get_data",
    SetData(_) = "set_data",
    GetChildren(_) = "get_children",
    GetEphemerals(_) = "get_ephemerals",
    AddWatch(_) = "add_watch",
    CheckWatches(_) = "check_watches",
    RemoveWatches(_) = "remove_watches",
    GetAllChildrenNumber(_) = "get_all_children_number",
    GetAcl(_) = "get_acl",
    SetAcl(_) = "set_acl",
    Sync(_) = "sync",
    Multi(_) = "multi",
    MultiRead(_) = "multi_read",
    Auth(_) = "auth",
    WhoAmI(_) = "who_am_i",
    GetConfig(_) = "get_config",
    Reconfig(_) = "reconfig",
    Release(_) = "release",
    FindOwn(_) = "find_own",
    CloseSession = "close_session",
}

impl MultiOp {
    /// Create a node open to anyone.
    pub fn create(path: &NodePath, data: impl Into<Bytes>, mode: CreateMode) -> Self {
        Self::Create(Create { path: path.clone(), data: data.into(), acl: Acl::open(), mode })
    }

    /// Delete a node.
    pub fn delete(path: &NodePath, version: Version) -> Self {
        Self::Delete(Delete { path: path.clone(), version })
    }

    /// Set a node's data.
    pub fn set(path: &NodePath, data: impl Into<Bytes>, version: Version) -> Self {
        Self::SetData(SetData { path: path.clone(), data: data.into(), version })
    }

    /// Check that a node exists, and its version.
    pub fn check(path: &NodePath, version: Version) -> Self {
        Self::Check { path: path.clone(), version }
    }
}
