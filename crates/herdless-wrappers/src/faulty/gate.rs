//! What holds answers back until it is opened.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use herdless_core::{Mutex, Outcome, Response, ResponseSource, StdMutex, Undo};

use crate::owned::Owned;

#[derive(Default)]
pub(super) struct Gate(StdMutex<Inner>);

#[derive(Default)]
struct Inner {
    is_open: bool,
    last_key: u64,
    waiting: BTreeMap<u64, Waker>,
    /// Responses that were dropped, each with its undo.
    dropped: Vec<Response>,
}

impl Gate {
    /// Lets everything through, now and from now on.
    pub(super) fn open(&self) {
        let (waiting, dropped) = self.0.with(|inner| {
            inner.is_open = true;
            (std::mem::take(&mut inner.waiting), std::mem::take(&mut inner.dropped))
        });
        waiting.into_values().for_each(Waker::wake);
        drop(dropped);
    }

    /// The same response, behind the gate.
    pub(super) fn hold(self: Arc<Self>, response: Response) -> Response {
        let key = self.0.with(|inner| {
            inner.last_key += 1;
            inner.last_key
        });
        Response::pending(Arc::new(Held { gate: self, key, response: Owned::new(response) }))
    }

    /// Whether it is open; otherwise `waker` is woken when it is.
    fn is_open(&self, key: u64, waker: Waker) -> bool {
        // What is not needed any more is dropped after the lock: that may run code of others.
        let (is_open, _unused) = self.0.with(|inner| match inner.is_open {
            true => (true, Some(waker)),
            false => (false, inner.waiting.insert(key, waker)),
        });
        is_open
    }
}

struct Held {
    gate: Arc<Gate>,
    key: u64,
    response: Owned<Response>,
}

impl ResponseSource for Held {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if !self.gate.is_open(self.key, cx.waker().clone()) {
            return Poll::Pending;
        }
        self.response.with(|response| Pin::new(response).poll(cx)).unwrap_or(Poll::Pending)
    }

    fn abandon(&self, undo: Option<Undo>) {
        let response = match (self.response.take(), undo) {
            (Some(response), Some(undo)) => Some(response.on_abandon(undo)),
            (response, _) => response,
        };
        // The undo is told when the gate is opened, as it would be when an answer that is late arrives.
        let _unwanted = self.gate.0.with(|inner| {
            let waker = inner.waiting.remove(&self.key);
            let response = match inner.is_open {
                true => response,
                false => {
                    inner.dropped.extend(response);
                    None
                }
            };
            (waker, response)
        });
    }
}
