//! Distributed coordination recipes on ZooKeeper's model, where nothing stampedes.
//!
//! Processes that share an Apache ZooKeeper ensemble take turns with a [`Lock`]; each waiter watches only the one
//! before it. The same code runs on the embedded [`server`] and on the in-memory backend ([`memory`]), where a model
//! checker can run it in every order, yours as well as ours ([`testing`]).
//!
//! ```
//! use herdless::{Lock, NodePath};
//!
//! # #[cfg(feature = "server")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = herdless::server::Server::bind("127.0.0.1:0").await?;
//! let client = herdless::connect(&server.address().to_string()).await?;
//!
//! let lock = Lock::new(client, NodePath::parse("/locks/orders")?);
//! let guard = lock.acquire().await?;
//! println!("held; send {} along with every write", guard.token());
//! guard.release().await?;
//! # Ok(()) }
//! # #[cfg(not(feature = "server"))] fn main() {}
//! ```
//!
//! # Features
//!
//! `tokio` (on): the transport. `tls`, `tls-encrypted-keys`, `sasl`: who is on its other end. `wrappers` (on): [`wrappers`],
//! clients around clients. `server`: the embedded [`server`]. `metrics`: figures of waiting and holding, and of requests. `memory`:
//! the in-memory backend. `loom`, `shuttle`: models of your own code on it, in every order and in random ones.
//!
//! # Where things are
//!
//! What every operation promises is on [`ClientExt`]; the contract of backends on [`core`]; the promises and limits of
//! the lock on [`Lock`].

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(all(feature = "server", not(loom)))]
pub mod server;
#[cfg(feature = "memory")]
pub mod testing;

pub use herdless_core as core;
pub use herdless_core::{
    Acl, AddWatchMode, Bytes, Client, ClientExt, CreateMode, Error, EventKind, Follow, Followed, Identity, MultiOp,
    NodePath, Notice, Permissions, ReadOp, ReadReply, Refusal, Secret, Session, SessionState, Stat, Time, Version,
    Watch, WatchEvent, WatchStream, WatcherType, Zxid,
};
#[cfg(feature = "memory")]
pub use herdless_memory as memory;
pub use herdless_recipes as recipes;
pub use herdless_recipes::*;
#[cfg(all(feature = "tokio", not(loom)))]
pub use herdless_tokio as transport;
#[cfg(all(feature = "sasl", not(loom)))]
pub use herdless_tokio::Sasl;
#[cfg(all(feature = "tokio", not(loom)))]
pub use herdless_tokio::{
    ConnectError, Connector, CredentialsError, SessionCredentials, TokioClient, TokioTime, connect,
};
#[cfg(all(feature = "tls", not(loom)))]
pub use herdless_tokio::{Tls, TlsError, TlsOptions};
#[cfg(feature = "wrappers")]
pub use herdless_wrappers as wrappers;
