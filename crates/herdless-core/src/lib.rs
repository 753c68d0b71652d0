//! The vocabulary of herdless.
//!
//! ZooKeeper gives processes a tree of small nodes, sessions, ephemeral and sequential nodes, and one-shot watches.
//! This crate says what those are in Rust, and nothing about how they are provided: it opens no socket, reads no
//! clock, spawns no task.
//!
//! ```text
//!   recipes ----submit(Request)---->  Client  ----> transport -> wire -> server -> tree
//!           <---Response (Answer)---          <----
//! ```
//!
//! [`Request`] and [`Reply`] are the same values in a recipe, a wrapper, the transport, the wire, the server and the
//! tree. A backend implements the single method [`Client::submit`] (and names its [`Session`]); everything that users
//! call is on [`ClientExt`].
//!
//! # The contract of every backend
//!
//! 1. When `submit` returns, the request has its place in the session's order; requests take effect in that order.
//! 2. Dropping a [`Response`] does not recall the request; it only stops listening. See [`Response::on_abandon`].
//! 3. A watch has fired before any later reply that reflects the change is ready.
//! 4. `submit` never blocks and never waits: a session that can hold no more refuses at once ([`Error::Overloaded`]).
//! 5. A client outlives its sessions. After an expiry it opens a new one; whatever was bound to the old one is told
//!    [`Error::SessionExpired`], once, and nothing moves over silently.

mod acl;
mod chroot;
mod client;
mod error;
mod follow;
mod node;
mod node_data;
mod oneshot;
mod op;
mod path;
mod reply;
mod request;
mod response;
mod secret;
mod session;
mod sync;
mod time;
mod watch;
mod watch_stream;
mod watch_table;

pub use acl::{Acl, Identity, Permissions};
pub use chroot::Chroot;
pub use client::{Call, Client, ClientExt};
pub use error::{Error, Refusal};
pub use follow::{Follow, Followed};
pub use node::{CreateMode, Stat, Version, Zxid};
pub use node_data::NodeData;
pub use oneshot::{Completion, OneShot};
pub use op::{Operation, Watched};
pub use path::{NodePath, PathError, PathErrorKind};
pub use reply::{Answer, Created, MultiReply, ReadReply, Reply};
pub use request::{
    AddWatch, AddWatchMode, Auth, CheckWatches, Create, Delete, Exists, FindOwn, GetAcl, GetAllChildrenNumber,
    GetChildren, GetConfig, GetData, GetEphemerals, Multi, MultiOp, MultiRead, ReadOp, Reconfig, Release,
    RemoveWatches, Request, SetAcl, SetData, Sync, WatcherType, WhoAmI,
};
pub use response::{Outcome, Response, ResponseSource, Undo};
pub use secret::Secret;
pub use session::{
    AttemptId, Lease, Session, SessionCell, SessionChanges, SessionId, SessionLost, SessionSource, SessionState,
};
pub use sync::{Locks, Mutex, StdLocks, StdMutex};
pub use time::{Sleep, Time};
pub use watch::{EventKind, Watch, WatchEvent, WatchOutcome, WatchSource};
pub use watch_stream::{Notice, NoticeQueue, NoticeSource, WatchStream};
pub use watch_table::{WatchKind, WatchTable};

pub use bytes::Bytes;
