//! One-shot watches.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::{Error, Locks, NodePath, OneShot};

/// What happened to a watched node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What.
    pub kind: EventKind,
    /// To which node.
    pub path: NodePath,
}

/// The kinds of event (`Watcher.Event.EventType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these four are what a server sends")]
pub enum EventKind {
    /// The node was created.
    Created,
    /// The node was deleted.
    Deleted,
    /// The node's data was set.
    DataChanged,
    /// A child of the node was created or deleted.
    ChildrenChanged,
}

/// How a watch ends: with the event, or with what took its session away.
pub type WatchOutcome = Result<WatchEvent, Error>;

/// A one-shot watch: the future of the next change.
///
/// It survives reconnects within its session. If the change happened in between, the event comes after the reconnect
/// and tells the state that was found: a node that was set and then deleted reports `Deleted`.
///
/// # Cancel safety
///
/// Dropping it stops listening, and costs no request of its own: watches that nobody waits for are taken away many at a time,
/// here and on the server. The transport keeps no more of them than the client has live ones, or 64 if that is more. Others
/// of the client that watch the same node keep theirs, which the server has once for them all.
///
/// # Errors
///
/// [`Error::SessionExpired`] or [`Error::Closed`]: the watch is gone without an event.
#[must_use = "a watch is a future: await it"]
pub struct Watch {
    source: Arc<dyn WatchSource>,
    root: Option<NodePath>,
}

/// Where a [`Watch`] gets its outcome from. Implemented by [`OneShot`]; a wrapper may bring its own.
pub trait WatchSource: Send + Sync {
    /// Takes the outcome, or leaves the waker.
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<WatchOutcome>;

    /// The watch was dropped.
    fn abandon(&self);
}

impl<L: Locks> WatchSource for OneShot<WatchOutcome, L> {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<WatchOutcome> {
        self.poll_take(cx)
    }

    fn abandon(&self) {
        self.abandon(None);
    }
}

impl Watch {
    /// A watch that `source` completes.
    pub fn new(source: Arc<dyn WatchSource>) -> Self {
        Self { source, root: None }
    }

    /// The same watch with its event's path as seen from `root`.
    pub(crate) fn below(mut self, root: &NodePath) -> Self {
        self.root = Some(match self.root.take() {
            Some(inner) => inner.nest(root),
            None => root.clone(),
        });
        self
    }
}

impl Future for Watch {
    type Output = WatchOutcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WatchOutcome> {
        let Poll::Ready(mut outcome) = self.source.poll_fired(cx) else {
            return Poll::Pending;
        };
        if let (Ok(event), Some(root)) = (&mut outcome, &self.root) {
            event.path = event.path.relative_to(root).unwrap_or_else(|| event.path.clone());
        }
        Poll::Ready(outcome)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.source.abandon();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
