//! The future of one answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::{Answer, Error, Locks, OneShot};

/// How a request ends.
pub type Outcome = Result<Answer, Error>;

type Map = Box<dyn FnOnce(Outcome) -> Outcome + Send>;
/// What an abandoned response's outcome goes to.
pub type Undo = Box<dyn FnOnce(Outcome) + Send>;

/// The future of one answer, returned by [`Client::submit`](crate::Client::submit).
///
/// The request is on its way already. Dropping the response recalls nothing: it only stops listening. What shall
/// happen to the outcome then is said with [`on_abandon`](Self::on_abandon).
#[must_use = "the request has been sent, but its outcome is not known until the response is awaited"]
pub struct Response {
    source: Source,
    map: Option<Map>,
    undo: Option<Undo>,
}

enum Source {
    Ready(Outcome),
    Pending(Arc<dyn ResponseSource>),
    Done,
}

/// Where a [`Response`] gets its outcome from. Implemented by [`OneShot`]; a backend may bring its own.
pub trait ResponseSource: Send + Sync {
    /// Takes the outcome, or leaves the waker.
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome>;

    /// The response was dropped: the outcome, there already or still to come, goes to `undo`.
    fn abandon(&self, undo: Option<Undo>);
}

impl<L: Locks> ResponseSource for OneShot<Outcome, L> {
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.poll_take(cx)
    }

    fn abandon(&self, undo: Option<Undo>) {
        self.abandon(undo);
    }
}

impl Response {
    /// A response that is there already.
    pub fn ready(outcome: Outcome) -> Self {
        Self { source: Source::Ready(outcome), map: None, undo: None }
    }

    /// A response that comes from `source`.
    pub fn pending(source: Arc<dyn ResponseSource>) -> Self {
        Self { source: Source::Pending(source), map: None, undo: None }
    }

    /// Passes the outcome through `f`, whether it is awaited or goes to the undo. For wrappers.
    pub fn map(mut self, f: impl FnOnce(Outcome) -> Outcome + Send + 'static) -> Self {
        self.map = Some(match self.map.take() {
            Some(first) => Box::new(move |outcome| f(first(outcome))),
            None => Box::new(f),
        });
        self
    }

    /// If this response is dropped before it has yielded, its outcome goes to `undo` instead: at once if it is there,
    /// otherwise when it arrives, on whichever thread brings it. `undo` must not block; it may submit further requests.
    pub fn on_abandon(mut self, undo: impl FnOnce(Outcome) + Send + 'static) -> Self {
        self.undo = Some(Box::new(undo));
        self
    }
}

impl Future for Response {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = match &self.source {
            Source::Pending(slot) => match slot.poll_take(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => return Poll::Pending,
            },
            Source::Done => return Poll::Pending,
            Source::Ready(_) => match std::mem::replace(&mut self.source, Source::Done) {
                Source::Ready(outcome) => outcome,
                _ => unreachable!("matched above"),
            },
        };
        self.source = Source::Done;
        self.undo = None;
        Poll::Ready(match self.map.take() {
            Some(map) => map(outcome),
            None => outcome,
        })
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        let undo = self.undo.take().map(|undo| match self.map.take() {
            Some(map) => Box::new(move |outcome| undo(map(outcome))) as Undo,
            None => undo,
        });
        match (std::mem::replace(&mut self.source, Source::Done), undo) {
            (Source::Ready(outcome), Some(undo)) => undo(outcome),
            (Source::Pending(slot), undo) => slot.abandon(undo),
            _ => {}
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").finish_non_exhaustive()
    }
}
