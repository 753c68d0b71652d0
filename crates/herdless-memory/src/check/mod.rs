//! Model-checking code over the in-memory backend.
//!
//! Code that is generic over [`Client`](herdless_core::Client) runs here with every step of every thread under the
//! control of a checker. There are two:
//!
//! | | feature `loom`: [`Model`] | feature `shuttle`: [`Schedules`] |
//! |---|---|---|
//! | tries | every order of the steps, up to the preemption bound | that many orders, drawn at random |
//! | passing means | there is no bad order within the bound | none was met |
//! | threads | five, the main one included | dozens |
//! | choices within a run (who fails, and when) | a loop around the model, or a racing thread | `shuttle::rand` as well |
//! | server | [`LoomServer`] | [`ShuttleServer`] |
//! | waits with | [`block_on`] | `shuttle::future::block_on` |
//!
//! Both servers are the same as [`MemoryServer`](crate::MemoryServer), on the checker's mutex. Every request is one
//! step, carried out on the calling thread when it is submitted.
//!
//! ```
//! # #[cfg(feature = "loom")] {
//! use herdless_core::{ClientExt, CreateMode, NodePath};
//! use herdless_memory::check::{LoomServer, Model, block_on, loom};
//!
//! // Of two clients that create the same node, exactly one succeeds.
//! Model::new("one_creator").check(|| {
//!     let server = LoomServer::with_locks();
//!     let path = NodePath::parse("/leader").unwrap();
//!     let create = |client: herdless_memory::MemoryClient<_>, path: NodePath| {
//!         block_on(client.create(&path, "", CreateMode::Ephemeral)).is_ok()
//!     };
//!     let (other, its_path) = (server.connect(), path.clone());
//!     let thread = loom::thread::spawn(move || create(other, its_path));
//!     let mine = create(server.connect(), path);
//!     assert!(mine != thread.join().unwrap());
//! });
//! # }
//! ```
//!
//! Prove that a model looks at what it should: a [`Count`] for each branch that must have run, and a [`Tampered`]
//! client that plants the bug the model is there to find.
//!
//! # Limits
//!
//! Create the server, its clients and all futures inside the model. Time does not pass: model a time-out by dropping
//! the future. What happens inside primitives that are not the checker's (`tokio::sync`, `std::sync`) is not explored:
//! it is one step. Take no checker's step (a request, a wake-up, the drop of a guard) while holding such a lock. Use
//! the `loom` and `shuttle` exported here: two versions of one checker do not mix. A model of one checker cannot use
//! the other's server.

#[cfg(feature = "loom")]
mod model;
#[cfg(feature = "loom")]
mod panics;
mod report;
#[cfg(feature = "shuttle")]
mod schedules;
mod tampered;

use std::future::Future;
use std::task::{Context, Poll, Waker};

#[cfg(feature = "loom")]
pub use loom;
#[cfg(feature = "loom")]
pub use model::{LoomLocks, LoomMutex, LoomServer, Model, block_on};
pub use report::{Count, Coverage, Report};
#[cfg(feature = "shuttle")]
pub use schedules::{Schedules, ShuttleLocks, ShuttleMutex, ShuttleServer};
#[cfg(feature = "shuttle")]
pub use shuttle;
pub use tampered::{Tamper, Tampered, sound};

/// Polls a future `polls` times and then drops it; its output, if it got there.
///
/// A model of cancellation runs this for every number of polls, with
/// [`delay_replies`](crate::Backend::delay_replies) on, so that each await of the future is left once.
pub fn poll_times<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    // On the heap: see `block_on` of loom.
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
    }
    None
}

/// Lets one at a time exchange the panic hook: a process has one, and two would lose each other's.
#[cfg(any(feature = "loom", feature = "shuttle"))]
fn exchange_panic_hook(exchange: impl FnOnce()) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    exchange();
}
