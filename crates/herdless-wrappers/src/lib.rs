//! Clients around clients.
//!
//! Each wrapper is a [`Client`](herdless_core::Client) around any other, `Arc<dyn Client>` included, so they can be stacked in any
//! order, [`Chroot`](herdless_core::Chroot) among them, and recipes run on the whole.
//!
//! | wrapper | adds |
//! |---|---|
//! | `Metered` (feature `metrics`) | figures for the `metrics` facade |
//! | [`Retrying`] | requests that change nothing are asked again after a lost connection |
//! | [`Recorder`] | a [`History`] of requests and outcomes, for a checker |
//! | [`Faulty`] | faults by a script, for tests |
//!
//! None of them spawns a task, reads a clock of its own, or changes the order of requests (`Retrying` only where it is asked to).
//! All pass on undos ([`Response::on_abandon`](herdless_core::Response::on_abandon)): a recipe that is cancelled above them cleans up
//! through them.
//!
//! # Which goes where
//!
//! A request passes through the outermost first. `Metered` outside of `Retrying` tells what callers wait for, inside of it each
//! attempt. `Retrying` belongs outside of `Faulty`, and `Recorder` where what is checked is promised: outside of `Retrying`, what
//! callers see.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use herdless_core::{Chroot, ClientExt, CreateMode, NodePath};
//! use herdless_memory::{ManualTime, MemoryServer};
//! use herdless_wrappers::{Backoff, Faulty, History, Retrying, Rule};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MemoryServer::new();
//! let app = NodePath::parse("/app")?;
//! server.connect().create(&app, "", CreateMode::Persistent).await?;
//!
//! let faulty = Faulty::new(Chroot::new(server.connect(), app));
//! let lost = faulty.inject(Rule::lose_reply().kind("exists").nth(1));
//! let policy = Backoff::new(3).first(Duration::ZERO); // a test need not wait
//! let history = History::new(1_000);
//! let client = history.record(Retrying::new(faulty, policy, Arc::new(ManualTime::new())));
//!
//! assert!(client.exists(&NodePath::root()).await?.is_some());
//! assert_eq!(lost.hits(), 1);
//! assert_eq!(history.entries().count(), 1);
//! # Ok(()) }
//! ```

mod faulty;
#[cfg(feature = "metrics")]
mod metered;
mod owned;
mod recorder;
mod retrying;

pub use faulty::{Faulty, Injected, Rule};
#[cfg(feature = "metrics")]
pub use metered::Metered;
pub use recorder::{Entry, History, Invocation, Overflow, Recorder, Returned};
pub use retrying::{Backoff, RetryPolicy, Retrying};
