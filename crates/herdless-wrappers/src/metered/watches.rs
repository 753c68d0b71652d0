//! Watches whose events are counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use herdless_core::{Error, EventKind, Notice, NoticeSource, Watch, WatchOutcome, WatchSource, WatchStream};
use metrics::counter;

use crate::owned::Owned;

pub(super) fn watch(watch: Watch, name: Arc<str>) -> Watch {
    Watch::new(Arc::new(Counted { inner: Owned::new(watch), name }))
}

pub(super) fn stream(stream: WatchStream, name: Arc<str>) -> WatchStream {
    let source = Arc::new(Counted { inner: Owned::new(stream), name });
    let inner = source.clone();
    WatchStream::new(source, move || drop(inner.inner.take()))
}

struct Counted<T> {
    inner: Owned<T>,
    name: Arc<str>,
}

impl<T> Counted<T> {
    fn count(&self, event: &'static str) {
        counter!("herdless_watch_events_total", "name" => self.name.clone(), "event" => event).increment(1);
    }
}

impl WatchSource for Counted<Watch> {
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<WatchOutcome> {
        let polled = self.inner.with(|watch| Pin::new(watch).poll(cx)).unwrap_or(Poll::Pending);
        if let Poll::Ready(outcome) = &polled {
            self.count(outcome.as_ref().map_or("ended", |event| event_name(event.kind)));
        }
        polled
    }

    fn abandon(&self) {
        drop(self.inner.take());
    }
}

impl NoticeSource for Counted<WatchStream> {
    fn poll_notice(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Notice, Error>>> {
        let polled = self.inner.with(|stream| Pin::new(stream).poll_next(cx)).unwrap_or(Poll::Ready(None));
        if let Poll::Ready(Some(notice)) = &polled {
            self.count(match notice {
                Ok(Notice::Event(event)) => event_name(event.kind),
                Ok(Notice::Gap) => "gap",
                Err(_) => "ended",
            });
        }
        polled
    }
}

fn event_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created => "created",
        EventKind::Deleted => "deleted",
        EventKind::DataChanged => "data_changed",
        EventKind::ChildrenChanged => "children_changed",
    }
}
