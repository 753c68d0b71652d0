//! Does a backend keep ZooKeeper's semantics, and herdless's contract?
//!
//! [`cases`] is one list of small scenarios over any [`Client`](herdless_core::Client). Each creates a node of its own and works
//! below it, so that all of them can run on one real server, also at the same time, and leaves nothing there. The suite starts
//! no task, reads no clock and waits for nothing but answers, events and the ends of sessions: a backend that keeps one of them
//! back hangs a case, so give each a limit.
//!
//! The topics: nodes, versions and Stat, sequential names, multi, watches (which change fires which, and the event before the
//! reply), watches that stay (what each mode tells, the gap after a reconnect), the order of requests, sessions, lost connections and lost replies, access control, nodes that the server removes by
//! itself, the loss of the server that leads, chroots, and every read. Where servers differ, a case says so and asks for what they have in common.
//!
//! # On a backend of your own
//!
//! These lines are enough; `tests/own_backend.rs` of this crate is a whole test in under 30, with the end of sessions.
//!
//! ```
//! use herdless_conformance::{Backend, run_all};
//! use herdless_memory::{MemoryClient, MemoryServer};
//!
//! struct Mine(MemoryServer);
//!
//! impl Backend for Mine {
//!     type Client = MemoryClient;
//!
//!     async fn connect(&self) -> MemoryClient {
//!         self.0.connect()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let report = run_all(&Mine(MemoryServer::new())).await;
//! println!("{report}");
//! report.assert_passed();
//! # assert!(report.passed.len() > 80 && !report.left_out.is_empty());
//! # }
//! ```
//!
//! What a case needs beyond a connection is an [`Ability`]: to cut a connection, to end a session, a server that allows nodes with
//! a time to live. A backend has none unless it says so, and a case whose ability is missing is *left out*: named in the
//! [`Report`] with what it needs, never counted as passed. A backend that says that it has an ability, and does not implement the
//! method which the ability names, fails the cases that need it.
//!
//! # Each case as a test of its own
//!
//! [`for_each_case!`] hands the names to a macro of yours, and [`case`] finds a case by its name:
//!
//! ```
//! # use herdless_conformance::Backend;
//! # use herdless_memory::{MemoryClient, MemoryServer};
//! # struct Mine(MemoryServer);
//! # impl Backend for Mine {
//! #     type Client = MemoryClient;
//! #     async fn connect(&self) -> MemoryClient { self.0.connect() }
//! # }
//! macro_rules! tests {
//!     ($($name:ident)*) => {
//!         $(#[tokio::test]
//!         async fn $name() {
//!             let case = herdless_conformance::case(stringify!($name)).expect("it is in the list");
//!             println!("{:?}", case.run(&Mine(MemoryServer::new())).await);
//!         })*
//!     };
//! }
//! herdless_conformance::for_each_case!(tests);
//! ```

#![allow(clippy::unwrap_used, reason = "a case that is not kept panics, and says where")]

mod backend;
mod cases;
mod expect;
mod report;
mod scene;

pub use backend::{Ability, Backend};
pub use cases::{Case, Verdict, case, cases};
pub use report::{Report, run_all};

use scene::Scene;
