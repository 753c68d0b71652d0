//! What can be asked of a backend: one struct per operation, one enum over them.

mod clean_up;
mod ensemble;
mod multi;
mod nodes;
mod watches;

use crate::{NodePath, SessionId};

pub use clean_up::{FindOwn, Release};
pub use ensemble::{Auth, GetConfig, Reconfig, WhoAmI};
pub use multi::{Multi, MultiOp, MultiRead, ReadOp};
pub use nodes::{
    Create, Delete, Exists, GetAcl, GetAllChildrenNumber, GetChildren, GetData, GetEphemerals, SetAcl, SetData, Sync,
};
pub use watches::{AddWatch, AddWatchMode, CheckWatches, RemoveWatches, WatcherType};

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
