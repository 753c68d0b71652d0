//! Tests and models of your own code, on a server in memory.
//!
//! [`MemoryServer`] hands out clients that are ordinary [`Client`](crate::Client)s. A test decides what happens to
//! them: [`expire`](Backend::expire) ends a session, [`disconnect`](Backend::disconnect) cuts a connection,
//! [`lose_reply_after`](Backend::lose_reply_after) carries a request out and loses its answer,
//! [`delay_replies`](Backend::delay_replies) makes every await a point at which a future can be dropped.
//! [`inspect`](Backend::inspect) looks at the tree. Code that asks for [`Time`](crate::Time) gets a [`ManualTime`].
//!
//! ```
//! use herdless::testing::MemoryServer;
//! use herdless::{Lock, NodePath};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MemoryServer::new();
//! let (first, second) = (server.connect(), server.connect());
//! let path = NodePath::parse("/locks/orders")?;
//!
//! let guard = Lock::new(first.clone(), path.clone()).acquire().await?;
//! server.expire(&first);
//! assert!(!guard.is_valid());
//! let next = Lock::new(second, path).acquire().await?;
//! assert!(next.token() > guard.token());
//! # Ok(()) }
//! ```
//!
//! With the feature `loom` the same code runs in every order of its steps ([`Model`]), and with `shuttle` in random
//! ones, with more threads ([`Schedules`]). A model of a leader that must be one:
//!
//! ```
//! # #[cfg(feature = "loom")] {
//! use herdless::testing::{LoomServer, Model, block_on, loom};
//! use herdless::{Client, ClientExt, CreateMode, NodePath};
//!
//! // Your code: generic over `Client`, ordinary async.
//! async fn lead(client: impl Client) -> bool {
//!     let path = NodePath::parse("/leader").unwrap();
//!     client.create(&path, "", CreateMode::Ephemeral).await.is_ok()
//! }
//!
//! Model::new("one_leader").check(|| {
//!     let server = LoomServer::with_locks();
//!     let (mine, other) = (server.connect(), server.connect());
//!     let thread = loom::thread::spawn(move || block_on(lead(other)));
//!     let leads = block_on(lead(mine));
//!     assert!(leads != thread.join().unwrap());
//! });
//! # }
//! ```
//!
//! The guide, from the first test to random schedules, is `docs/TESTING.md` in the repository. The example
//! `model_checked_app` is an application with its models: without fencing they fail, with it they pass.

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub use herdless_memory::check::{Count, Coverage, Report, Tamper, Tampered, poll_times, sound};
#[cfg(feature = "loom")]
pub use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
#[cfg(feature = "shuttle")]
pub use herdless_memory::check::{Schedules, ShuttleLocks, ShuttleServer, shuttle};
pub use herdless_memory::{Backend, ManualTime, MemoryClient, MemoryServer, Tree};
