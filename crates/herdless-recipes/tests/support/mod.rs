//! What the scenarios over the in-memory backend share.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of it")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use herdless_core::{Client, NodePath, Outcome, Request, Response, ResponseSource, Session, Undo};
use herdless_memory::{MemoryClient, MemoryServer};

/// Notes the name of every request, and counts the round trips.
#[derive(Clone)]
pub struct Counting {
    pub client: MemoryClient,
    log: Arc<Mutex<Vec<&'static str>>>,
    round_trips: Arc<AtomicU64>,
}

impl Counting {
    pub fn new(server: &MemoryServer) -> Self {
        Self { client: server.connect(), log: Arc::default(), round_trips: Arc::default() }
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    /// How often somebody had to wait for an answer: what was submitted until then comes back together with it.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }
}

impl Client for Counting {
    fn submit(&self, request: Request) -> Response {
        self.log.lock().unwrap().push(request.name());
        let response = Mutex::new(Some(self.client.submit(request)));
        let (batch, round_trips) = (self.round_trips(), self.round_trips.clone());
        Response::pending(Arc::new(Batched { response, batch, round_trips }))
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

/// An answer, and the round trip that it comes with.
struct Batched {
    response: Mutex<Option<Response>>,
    batch: u64,
    round_trips: Arc<AtomicU64>,
}

impl Batched {
    /// The lock is not held while the response runs: an undo may submit.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut response = self.response.lock().unwrap().take().unwrap();
        let polled = pin!(&mut response).poll(cx);
        if polled.is_pending() {
            *self.response.lock().unwrap() = Some(response);
        }
        polled
    }
}

impl ResponseSource for Batched {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        // The first of its batch that is waited for ends the batch.
        let _ = self.round_trips.compare_exchange(self.batch, self.batch + 1, Ordering::Relaxed, Ordering::Relaxed);
        self.poll(cx)
    }

    fn abandon(&self, undo: Option<Undo>) {
        let response = self.response.lock().unwrap().take();
        if let (Some(response), Some(undo)) = (response, undo) {
            drop(response.on_abandon(undo));
        }
    }
}

pub fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Every path of the tree but the root, in order.
pub fn paths(server: &MemoryServer) -> Vec<String> {
    let all = server.inspect(|tree| tree.paths().map(NodePath::to_string).collect::<Vec<_>>());
    all.into_iter().filter(|path| path != "/").collect()
}
