//! What all models use: threads, counters of reached branches, planted bugs.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use herdless_core::{Client, Request, Response, Session};
use herdless_memory::MemoryClient;
use herdless_memory::check::LoomLocks;

/// Runs each closure on a thread of its own, the last one on this.
macro_rules! together {
    ($($each:expr),+ ; $last:expr) => {{
        let threads = [$(loom::thread::spawn($each)),+];
        let result = $last;
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        result
    }};
}
pub(crate) use together;

/// Polls a future `polls` times and then drops it; its output, if it got there.
pub(crate) fn poll_times<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
    }
    None
}

/// Counts over all executions of a model: proves that a branch ran.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn add(&self, happened: bool) {
        self.0.fetch_add(u64::from(happened), Ordering::Relaxed);
    }

    #[track_caller]
    pub(crate) fn assert_reached(&self, what: &str) {
        assert!(self.0.load(Ordering::Relaxed) > 0, "never reached: {what}");
    }
}

/// A client with a planted bug: every request goes through a function, which may change it, or its answer.
#[derive(Clone)]
pub(crate) struct Tampered {
    inner: MemoryClient<LoomLocks>,
    tamper: Tamper,
}

/// Carries out a request, or something else in its place.
pub(crate) type Tamper = fn(&MemoryClient<LoomLocks>, Request) -> Response;

impl Tampered {
    pub(crate) fn new(inner: MemoryClient<LoomLocks>, tamper: Tamper) -> Self {
        Self { inner, tamper }
    }
}

impl Client for Tampered {
    fn submit(&self, request: Request) -> Response {
        (self.tamper)(&self.inner, request)
    }

    fn session(&self) -> Session {
        self.inner.session()
    }
}

/// No bug.
pub(crate) fn sound(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    client.submit(request)
}
