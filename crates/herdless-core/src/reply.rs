//! What comes back.

use crate::{Acl, Error, Identity, NodeData, NodePath, Stat, Watch, WatchStream};

/// The reply to a [`Request`](crate::Request) that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// To `Create`.
    Created(Created),
    /// To `Delete`.
    Deleted,
    /// To `Exists`: the node's Stat, or `None` where there is no node.
    Exists(Option<Stat>),
    /// To `GetData`, `GetConfig` and `Reconfig`.
    Data(NodeData, Stat),
    /// To `SetData` and `SetAcl`.
    Set(Stat),
    /// To `GetChildren`: the names, without the parent's path, in no order, and the parent's Stat.
    Children(Vec<String>, Stat),
    /// To `GetEphemerals`: the whole paths.
    Ephemerals(Vec<NodePath>),
    /// To `AddWatch`.
    WatchAdded,
    /// To `CheckWatches`.
    Watched,
    /// To `RemoveWatches`.
    WatchesRemoved,
    /// To `GetAllChildrenNumber`.
    AllChildrenNumber(u32),
    /// To `GetAcl`.
    Acl(Vec<Acl>, Stat),
    /// To `Sync`: the path that was named.
    Synced(NodePath),
    /// To `Multi`, one result per operation.
    Multi(Vec<MultiReply>),
    /// To `MultiRead`, one outcome per read.
    MultiRead(Vec<Result<ReadReply, Error>>),
    /// To `Auth`.
    Authenticated,
    /// To `WhoAmI`.
    Identities(Vec<Identity>),
    /// To `Release`: whether the node was still there, and ours.
    Released(bool),
    /// To `FindOwn`: the node, if the creation happened.
    Found(Option<Created>),
    /// To `CloseSession`.
    Closed,
}

/// A node that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its path, digits included.
    pub path: NodePath,
    /// Its Stat right after the creation.
    pub stat: Stat,
}

/// The result of one operation of a [`Multi`](crate::Multi).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one for each kind of MultiOp")]
pub enum MultiReply {
    /// Of `Create`: the path, digits included, and the Stat where the server sends it (Apache ZooKeeper 3.8 does so for
    /// containers only).
    Created(NodePath, Option<Stat>),
    /// Of `Delete`.
    Deleted,
    /// Of `SetData`.
    Set(Stat),
    /// Of `Check`.
    Checked,
}

/// What one operation of a [`MultiRead`](crate::MultiRead) has read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one for each kind of ReadOp")]
pub enum ReadReply {
    /// By `GetData`.
    Data(NodeData, Stat),
    /// By `GetChildren`: the names, in no order.
    Children(Vec<String>),
}

/// A reply and, where the request asked for one and the backend left one, the watch.
#[derive(Debug)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// The watch that a read has left.
    pub watch: Option<Watch>,
    /// The watch that an `AddWatch` has left. In a box, for the many answers that have none.
    pub stream: Option<Box<WatchStream>>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, watch: None, stream: None }
    }
}

impl Reply {
    /// Replaces every path by what `f` makes of it.
    pub fn map_paths(&mut self, mut f: impl FnMut(&NodePath) -> NodePath) {
        match self {
            Self::Created(created) | Self::Found(Some(created)) => created.path = f(&created.path),
            Self::Synced(path) => *path = f(path),
            Self::Ephemerals(paths) => paths.iter_mut().for_each(|path| *path = f(path)),
            Self::Multi(replies) => {
                for reply in replies {
                    if let MultiReply::Created(path, _) = reply {
                        *path = f(path);
                    }
                }
            }
            _ => {}
        }
    }
}
