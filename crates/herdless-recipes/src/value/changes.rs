//! Following a value.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use herdless_core::{Bytes, Client, ClientExt, Error, Follow, NodePath, Stat, Zxid};

use super::Versioned;

/// The values of a [`SharedValue`](super::SharedValue), as they change; see
/// [`SharedValue::changes`](super::SharedValue::changes).
#[must_use = "a stream: poll it"]
pub struct Changes {
    states: Follow<(Bytes, Stat)>,
    /// What was told last: nothing yet, that there is no node, or the value that this change wrote.
    told: Option<Option<Zxid>>,
}

impl Changes {
    pub(super) fn new<C: Client + Clone + 'static>(client: &C, path: &NodePath) -> Self {
        Self { states: client.follow_data(path), told: None }
    }

    /// Whether this is news. A value that was there before is none: not the one that was told last, seen again in another
    /// session, and not an older one.
    fn is_news(&self, value: Option<&Versioned>) -> bool {
        match (self.told, value) {
            (None, _) | (Some(Some(_)), None) => true,
            (Some(None), value) => value.is_some(),
            (Some(Some(told)), Some(value)) => value.zxid > told,
        }
    }

    /// What was seen, if it is news.
    fn tell(&mut self, value: Option<Versioned>) -> Option<Option<Versioned>> {
        if !self.is_news(value.as_ref()) {
            return None;
        }
        self.told = Some(value.as_ref().map(|value| value.zxid));
        Some(value)
    }
}

impl Stream for Changes {
    type Item = Result<Option<Versioned>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let followed = match Pin::new(&mut self.states).poll_next(cx) {
                Poll::Ready(Some(Ok(followed))) => followed,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            let value = followed.state.map(|(data, stat)| Versioned::new(data, &stat));
            if let Some(news) = self.tell(value) {
                return Poll::Ready(Some(Ok(news)));
            }
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("told", &self.told).finish_non_exhaustive()
    }
}
