//! Watches that stay.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::sync::{Locks, Mutex, StdLocks};
use crate::{Error, NodePath, WatchEvent};

/// What a [`WatchStream`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "either something happened, or it is not known what")]
pub enum Notice {
    /// Something happened.
    Event(WatchEvent),
    /// Events may be missing: the connection was lost for a while, and no server tells later what happened meanwhile
    /// (`DataTree.setWatches`), or the reader was too slow. Whatever is derived from the events is to be read anew. What is
    /// read after this notice is not older than the gap.
    Gap,
}

/// The events of a watch that stays, in the order in which they happened.
///
/// It survives reconnects within its session; each is a [`Notice::Gap`]. So is a reader that lets more than
/// [`CAPACITY`](Self::CAPACITY) events wait: it is told that it missed some, in place of a queue without an end.
///
/// Its last item is the error that ended it, [`SessionExpired`](Error::SessionExpired) or [`Closed`](Error::Closed).
///
/// # Cancel safety
///
/// Dropping it frees the server's watch, unless somebody else of this client watches the same node in this way.
#[must_use = "a watch is a stream: read it"]
pub struct WatchStream {
    source: Arc<dyn NoticeSource>,
    root: Option<NodePath>,
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
}

/// Where a [`WatchStream`] gets its notices from. Implemented by [`NoticeQueue`].
pub trait NoticeSource: Send + Sync {
    /// The next notice; `None` after the error that ended it.
    fn poll_notice(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Notice, Error>>>;
}

impl WatchStream {
    /// How many events may wait.
    pub const CAPACITY: usize = 1024;

    /// A stream of what is put into `source`; `on_drop` runs when the reader drops it.
    pub fn new(source: Arc<dyn NoticeSource>, on_drop: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { source, root: None, on_drop: Some(Box::new(on_drop)) }
    }

    /// The same stream with its events' paths as seen from `root`.
    pub(crate) fn below(mut self, root: &NodePath) -> Self {
        self.root = Some(match self.root.take() {
            Some(inner) => inner.nest(root),
            None => root.clone(),
        });
        self
    }
}

impl Stream for WatchStream {
    type Item = Result<Notice, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(mut next) = self.source.poll_notice(cx) else {
            return Poll::Pending;
        };
        if let (Some(Ok(Notice::Event(event))), Some(root)) = (&mut next, &self.root) {
            event.path = event.path.relative_to(root).unwrap_or_else(|| event.path.clone());
        }
        Poll::Ready(next)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").finish_non_exhaustive()
    }
}

/// Notices on their way to the reader of a [`WatchStream`].
pub struct NoticeQueue<L: Locks = StdLocks> {
    inner: L::Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    has_gap: bool,
    events: VecDeque<WatchEvent>,
    end: Option<Error>,
    is_over: bool,
    waker: Option<Waker>,
}

impl<L: Locks> Default for NoticeQueue<L> {
    fn default() -> Self {
        Self { inner: L::Mutex::new(Inner::default()) }
    }
}

impl<L: Locks> NoticeQueue<L> {
    /// Puts a notice, or the end, in. The caller wakes the returned waker once it holds no lock.
    #[must_use = "the reader is not woken until this is"]
    pub fn put(&self, notice: Result<Notice, Error>) -> Option<Waker> {
        self.inner.with(|inner| {
            match notice {
                Ok(Notice::Event(event)) if inner.events.len() < WatchStream::CAPACITY => inner.events.push_back(event),
                // What is read anew needs no events from before.
                Ok(_) => {
                    inner.events.clear();
                    inner.has_gap = true;
                }
                Err(error) => inner.end = Some(error),
            }
            inner.waker.take()
        })
    }
}

impl<L: Locks> NoticeSource for NoticeQueue<L> {
    fn poll_notice(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Notice, Error>>> {
        let (next, _replaced) = self.inner.with(|inner| {
            if std::mem::take(&mut inner.has_gap) {
                return (Poll::Ready(Some(Ok(Notice::Gap))), None);
            }
            if let Some(event) = inner.events.pop_front() {
                return (Poll::Ready(Some(Ok(Notice::Event(event)))), None);
            }
            if inner.is_over {
                return (Poll::Ready(None), None);
            }
            if let Some(error) = inner.end.take() {
                inner.is_over = true;
                return (Poll::Ready(Some(Err(error))), None);
            }
            match &inner.waker {
                Some(waker) if waker.will_wake(cx.waker()) => (Poll::Pending, None),
                _ => (Poll::Pending, inner.waker.replace(cx.waker().clone())),
            }
        });
        next
    }
}

impl<L: Locks> fmt::Debug for NoticeQueue<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoticeQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventKind;

    fn event(name: &str) -> Notice {
        Notice::Event(WatchEvent { kind: EventKind::Created, path: NodePath::parse(name).unwrap() })
    }

    fn next(queue: &NoticeQueue) -> Poll<Option<Result<Notice, Error>>> {
        queue.poll_notice(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn events_come_in_order_and_the_end_comes_once() {
        let queue = NoticeQueue::<StdLocks>::default();
        assert_eq!(next(&queue), Poll::Pending);
        assert!(queue.put(Ok(event("/a"))).is_some(), "the reader waits");
        assert!(queue.put(Ok(event("/b"))).is_none());
        drop(queue.put(Err(Error::SessionExpired)));
        for expected in [Ok(event("/a")), Ok(event("/b")), Err(Error::SessionExpired)] {
            assert_eq!(next(&queue), Poll::Ready(Some(expected)));
        }
        assert_eq!(next(&queue), Poll::Ready(None));
    }

    #[test]
    fn a_gap_takes_the_place_of_what_came_before_it() {
        let queue = NoticeQueue::<StdLocks>::default();
        for notice in [event("/a"), Notice::Gap, event("/b"), Notice::Gap, event("/c")] {
            drop(queue.put(Ok(notice)));
        }
        assert_eq!(next(&queue), Poll::Ready(Some(Ok(Notice::Gap))));
        assert_eq!(next(&queue), Poll::Ready(Some(Ok(event("/c")))));
        assert_eq!(next(&queue), Poll::Pending);
    }

    #[test]
    fn a_slow_reader_is_told_that_it_missed_something() {
        let queue = NoticeQueue::<StdLocks>::default();
        for _ in 0..=WatchStream::CAPACITY {
            drop(queue.put(Ok(event("/a"))));
        }
        drop(queue.put(Ok(event("/b"))));
        assert_eq!(next(&queue), Poll::Ready(Some(Ok(Notice::Gap))));
        assert_eq!(next(&queue), Poll::Ready(Some(Ok(event("/b")))));
        assert_eq!(next(&queue), Poll::Pending);
    }
}
