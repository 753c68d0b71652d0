//! ZooKeeper's tree in memory.
//!
//! [`Tree`] is the tree itself: a deterministic state machine without lock, clock or future. The embedded server puts
//! it behind a socket; [`MemoryServer`] puts it behind one mutex and hands out clients, whose sessions can be expired
//! and whose connections can be cut, one step at a time.
//!
//! ```
//! use herdless_core::{ClientExt, CreateMode, NodePath};
//! use herdless_memory::MemoryServer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MemoryServer::new();
//! let client = server.connect();
//! let path = NodePath::parse("/greeting")?;
//! client.create(&path, "hello", CreateMode::Ephemeral).await?;
//!
//! server.expire(&client);
//! assert_eq!(server.connect().exists(&path).await?, None);
//! # Ok(()) }
//! ```
//!
//! With the features `loom` and `shuttle` the same backend runs on the mutex of a model checker: see [`check`].

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub mod check;
mod client;
mod endpoint;
mod server;
mod time;
mod tree;

pub use client::MemoryClient;
pub use server::{Backend, MemoryServer};
pub use time::ManualTime;
pub use tree::{Caps, Changes, Fired, Holding, NodeRecord, RestoreError, Tree};
