//! What the scenarios over the in-memory backend share.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part of it")]

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use herdless_core::{Client, NodePath, Request, Response, Session};
use herdless_memory::{MemoryClient, MemoryServer};

/// Notes the name of every request.
#[derive(Clone)]
pub struct Counting {
    pub client: MemoryClient,
    log: Arc<Mutex<Vec<&'static str>>>,
}

impl Counting {
    pub fn new(server: &MemoryServer) -> Self {
        Self { client: server.connect(), log: Arc::default() }
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

impl Client for Counting {
    fn submit(&self, request: Request) -> Response {
        self.log.lock().unwrap().push(request.name());
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
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
