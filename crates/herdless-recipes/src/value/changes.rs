//! Following a value.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use herdless_core::{Client, ClientExt, Error, NodePath, Refusal, SessionId, Watch, Zxid};

use super::Versioned;
use crate::contend::read;

/// The values of a [`SharedValue`](super::SharedValue), as they change; see
/// [`SharedValue::changes`](super::SharedValue::changes).
#[must_use = "a stream: poll it"]
pub struct Changes {
    look: Box<dyn Fn(Option<SessionId>) -> Look + Send + Sync>,
    step: Step,
    /// What was told last: nothing yet, that there is no node, or the value that this change wrote.
    told: Option<Option<Zxid>>,
    /// The session of the last look.
    session: Option<SessionId>,
}

type Seen = (Option<Versioned>, Watch);
type Look = Pin<Box<dyn Future<Output = Result<(Seen, SessionId), Error>> + Send>>;

enum Step {
    Start,
    Looking(Look),
    Watching(Watch),
    Ended,
}

impl Changes {
    pub(super) fn new<C: Client + Clone + 'static>(client: C, path: NodePath) -> Self {
        let look = move |last| -> Look { Box::pin(look(client.clone(), path.clone(), last)) };
        Self { look: Box::new(look), step: Step::Start, told: None, session: None }
    }

    /// Whether this is news. A value that was there before is none: not the one that was told last, seen again for another
    /// reason, and not an older one.
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

    /// Takes the next step; an item, if it brought one.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Option<Versioned>, Error>>> {
        let outcome = match &mut self.step {
            Step::Start => Ok(()),
            Step::Looking(look) => match look.as_mut().poll(cx) {
                Poll::Ready(Ok(((value, watch), session))) => {
                    (self.step, self.session) = (Step::Watching(watch), Some(session));
                    return Poll::Ready(self.tell(value).map(Ok));
                }
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => return Poll::Pending,
            },
            Step::Watching(watch) => match Pin::new(watch).poll(cx) {
                Poll::Ready(event) => event.map(drop),
                Poll::Pending => return Poll::Pending,
            },
            Step::Ended => return Poll::Pending,
        };
        match outcome {
            Ok(()) | Err(Error::SessionExpired) => {
                self.step = Step::Looking((self.look)(self.session));
                Poll::Ready(None)
            }
            Err(error) => {
                self.step = Step::Ended;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl Stream for Changes {
    type Item = Result<Option<Versioned>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if matches!(self.step, Step::Ended) {
                return Poll::Ready(None);
            }
            match self.poll_step(cx) {
                Poll::Ready(Some(item)) => return Poll::Ready(Some(item)),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Looks at the value in one session, which is also told. Another session than that of the `last` look may begin at a server
/// that is behind what was seen there, so it catches up first.
async fn look<C: Client>(client: C, path: NodePath, mut last: Option<SessionId>) -> Result<(Seen, SessionId), Error> {
    loop {
        let session = client.session().id();
        if last.is_some_and(|last| last != session) {
            read(|| client.sync(&path)).await?;
        }
        let seen = read_and_watch(&client, &path).await?;
        if client.session().id() == session {
            return Ok((seen, session));
        }
        last = Some(session);
    }
}

/// Reads the value and leaves a watch for the next change, in one request: what changes after the read fires.
async fn read_and_watch<C: Client>(client: &C, path: &NodePath) -> Result<Seen, Error> {
    loop {
        match read(|| client.get_and_watch(path)).await {
            Ok(((data, stat), watch)) => return Ok((Some(Versioned::new(data, &stat)), watch)),
            Err(Error::Refused(Refusal::NoNode)) => {}
            Err(error) => return Err(error),
        }
        // Made in between, it is read again.
        if let (None, watch) = read(|| client.exists_and_watch(path)).await? {
            return Ok((None, watch));
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("told", &self.told).finish_non_exhaustive()
    }
}
