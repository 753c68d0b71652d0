//! A client of the in-memory server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use herdless_core::{
    Client, Locks, Mutex, OneShot, Outcome, Request, Response, ResponseSource, Session, StdLocks, StdMutex, Undo,
};

use crate::server::Shared;

/// A client of an in-memory [`Backend`](crate::Backend). Cheap to clone: clones share the session.
pub struct MemoryClient<L: Locks = StdLocks> {
    shared: Arc<Shared<L>>,
    key: u64,
    session: Arc<StdMutex<Session>>,
}

impl<L: Locks> MemoryClient<L> {
    pub(crate) fn new(shared: Arc<Shared<L>>, key: u64, session: Arc<StdMutex<Session>>) -> Self {
        Self { shared, key, session }
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }
}

impl<L: Locks> Client for MemoryClient<L> {
    fn submit(&self, request: Request) -> Response {
        self.shared.submit(self.key, request)
    }

    fn session(&self) -> Session {
        self.session.with(|session| session.clone())
    }
}

impl<L: Locks> Clone for MemoryClient<L> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), key: self.key, session: self.session.clone() }
    }
}

impl<L: Locks> fmt::Debug for MemoryClient<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryClient").field("key", &self.key).finish_non_exhaustive()
    }
}

/// An outcome that is there at the second poll.
pub(crate) struct Late<L: Locks> {
    slot: OneShot<Outcome, L>,
    was_polled: AtomicBool,
}

impl<L: Locks> Late<L> {
    pub(crate) fn new(outcome: Outcome) -> Self {
        let slot = OneShot::new();
        slot.put(outcome).run();
        Self { slot, was_polled: AtomicBool::new(false) }
    }
}

impl<L: Locks> ResponseSource for Late<L> {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if self.was_polled.swap(true, Ordering::Relaxed) {
            return self.slot.poll_take(cx);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn abandon(&self, undo: Option<Undo>) {
        self.slot.abandon(undo);
    }
}
