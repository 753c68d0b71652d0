//! Following a node: a read that leaves a watch, again after each event.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;

use crate::{
    Call, Client, ClientExt, Error, Exists, GetChildren, GetData, NodePath, Operation, Refusal, SessionId, Sleep, Stat,
    Time, Watch, Watched, Zxid,
};

/// The states of a node, from now on: the one that is there, then the latest one after each change. Made by
/// [`ClientExt::follow_data`], [`ClientExt::follow_existence`] and [`ClientExt::follow_children`].
///
/// # What is promised, and what can be missed
///
/// **The last state is never missed**: each read leaves, in the same request, the watch for what changes after it. Within a
/// session states never go back.
///
/// States in between are left out where one follows on another before the first is read: of a hundred quick writes there may be two
/// items. A node that was deleted and made again in between shows as one change, with another [`czxid`](Stat::czxid); one that
/// was made and deleted does not show. Data that are set to what they were are told again. Who needs each event takes an
/// [`add_watch`](ClientExt::add_watch).
///
/// # Connections and sessions
///
/// A lost connection is not told (that is what [`Session::changes`](crate::Session::changes) does), and costs no read: the watch
/// comes over it, and fires if the node has changed meanwhile. A lost session is: following goes on in the client's next
/// one, which may begin at a server that is behind, so it catches up with the leader first; then the state is told also where it is
/// the same, with the new [`session`](Followed::session). Ephemeral nodes of the old one are gone or going.
///
/// # Back-pressure
///
/// Nothing is sent before the stream is polled for the first time, nor between an event and the next poll. Nothing is queued: a
/// reader that takes its time finds the state of the time when it comes back.
///
/// # Cancel safety
///
/// `next()` may be dropped at any time, and so may the stream: its watch goes as every dropped [`Watch`] does. The stream holds a clone
/// of the client.
///
/// # Errors
///
/// The stream ends with the first: `Refused(NoAuth)`, `Overloaded`, `Closed`, `Refused(NoWatcher)` (somebody asked for
/// [`RemoveWatches`](crate::RemoveWatches)), ..
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// use herdless_core::{Client, ClientExt, Error, NodePath, Time};
/// use futures_core::Stream;
///
/// async fn show<C: Client + Clone + 'static>(client: &C, path: &NodePath, time: impl Time + 'static) -> Result<(), Error> {
///     let mut states = client.follow_data(path).reconcile_every(Duration::from_secs(60), time);
///     while let Some(now) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut states).poll_next(cx)).await {
///         match now?.state {
///             Some((data, stat)) => println!("version {}: {data:?}", stat.version),
///             None => println!("not there"),
///         }
///     }
///     Ok(())
/// }
/// ```
#[must_use = "a stream: poll it"]
pub struct Follow<T> {
    look: Box<dyn Fn(Option<SessionId>) -> Look<T> + Send + Sync>,
    /// The change that made a state what it is.
    made_by: fn(&T) -> Zxid,
    step: Step<T>,
    told: Option<Told>,
    reconciling: Option<(Duration, Arc<dyn Time>)>,
}

/// One state of a followed node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a state, and where it was seen")]
pub struct Followed<T> {
    /// The state; `None` where there is no node.
    pub state: Option<T>,
    /// The session in which it was read.
    pub session: SessionId,
}

/// What was told last: in which session, and which change made it so; no change where there is no node.
type Told = (SessionId, Option<Zxid>);
type Look<T> = Pin<Box<dyn Future<Output = Result<(Followed<T>, Watch), Error>> + Send>>;

enum Step<T> {
    Start,
    Looking(Look<T>),
    Watching { watch: Watch, until: Option<Sleep> },
    Ended,
}

/// What can be followed.
pub(crate) trait State: Sized + Send + 'static {
    /// The read of it.
    type Read: Operation<Output = (Self::Output, Watch)>;
    type Output: Send;

    fn ask<C: Client>(client: &C, path: &NodePath) -> Call<Self::Read>;

    fn seen(output: Self::Output) -> Option<Self>;

    /// The change that made it so.
    fn made_by(&self) -> Zxid;
}

impl State for (Bytes, Stat) {
    type Read = Watched<GetData>;
    type Output = Self;

    fn ask<C: Client>(client: &C, path: &NodePath) -> Call<Self::Read> {
        client.get_and_watch(path)
    }

    fn seen(output: Self) -> Option<Self> {
        Some(output)
    }

    fn made_by(&self) -> Zxid {
        self.1.mzxid
    }
}

impl State for Stat {
    type Read = Watched<Exists>;
    type Output = Option<Self>;

    fn ask<C: Client>(client: &C, path: &NodePath) -> Call<Self::Read> {
        client.exists_and_watch(path)
    }

    fn seen(output: Option<Self>) -> Option<Self> {
        output
    }

    /// That its data was set is no news of whether it exists.
    fn made_by(&self) -> Zxid {
        self.czxid
    }
}

impl State for (Vec<String>, Stat) {
    type Read = Watched<GetChildren>;
    type Output = Self;

    fn ask<C: Client>(client: &C, path: &NodePath) -> Call<Self::Read> {
        client.children_and_watch(path)
    }

    fn seen(output: Self) -> Option<Self> {
        Some(output)
    }

    fn made_by(&self) -> Zxid {
        self.1.pzxid
    }
}

impl<T> Follow<T> {
    pub(crate) fn new<C: Client + Clone + 'static>(client: C, path: NodePath) -> Self
    where
        T: State,
    {
        let look = move |last| -> Look<T> { Box::pin(look(client.clone(), path.clone(), last)) };
        Self { look: Box::new(look), made_by: T::made_by, step: Step::Start, told: None, reconciling: None }
    }

    /// Reads anew also when `every` has passed since the last read, with a watch in place of the last one, whatever was or was not
    /// heard: for those who do not want to depend on events alone. What it finds is told where it is another state.
    ///
    /// 1 round trip each time. Less than a millisecond is taken for one.
    pub fn reconcile_every(mut self, every: Duration, time: impl Time + 'static) -> Self {
        self.reconciling = Some((every.max(Duration::from_millis(1)), Arc::new(time)));
        self
    }
}

impl<T> Follow<T> {
    /// What was seen, if it is news: in a session that is new everything is.
    fn tell(&mut self, followed: Followed<T>) -> Option<Followed<T>> {
        let seen = (followed.session, followed.state.as_ref().map(self.made_by));
        (self.told.replace(seen) != Some(seen)).then_some(followed)
    }

    /// Takes the next step; an item, if it brought one.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Followed<T>, Error>>> {
        let outcome = match &mut self.step {
            Step::Start => Ok(()),
            Step::Looking(look) => match look.as_mut().poll(cx) {
                Poll::Ready(Ok((followed, watch))) => {
                    let until = self.reconciling.as_ref().map(|(every, time)| time.sleep(*every));
                    self.step = Step::Watching { watch, until };
                    return Poll::Ready(self.tell(followed).map(Ok));
                }
                Poll::Ready(Err(error)) => Err(error),
                Poll::Pending => return Poll::Pending,
            },
            Step::Watching { watch, until } => match Pin::new(watch).poll(cx) {
                Poll::Ready(event) => event.map(drop),
                Poll::Pending => match until.as_mut().map(|until| until.as_mut().poll(cx)) {
                    Some(Poll::Ready(())) => Ok(()),
                    _ => return Poll::Pending,
                },
            },
            Step::Ended => return Poll::Pending,
        };
        match outcome {
            Ok(()) | Err(Error::SessionExpired) => {
                self.step = Step::Looking((self.look)(self.told.map(|(session, _)| session)));
                Poll::Ready(None)
            }
            Err(error) => {
                self.step = Step::Ended;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl<T> Stream for Follow<T> {
    type Item = Result<Followed<T>, Error>;

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

/// Looks at the node in one session, which is also told. Another session than that of the `last` look may begin at a server
/// that is behind what was seen there, so it catches up first.
async fn look<C: Client, T: State>(
    client: C,
    path: NodePath,
    mut last: Option<SessionId>,
) -> Result<(Followed<T>, Watch), Error> {
    loop {
        let session = client.session().id();
        if last.is_some_and(|last| last != session) {
            again(|| client.sync(&path)).await?;
        }
        let (state, watch) = read_and_watch(&client, &path).await?;
        if client.session().id() == session {
            return Ok((Followed { state, session }, watch));
        }
        last = Some(session);
    }
}

/// Reads the state and leaves a watch for the next change, in one request: what changes after the read fires.
async fn read_and_watch<C: Client, T: State>(client: &C, path: &NodePath) -> Result<(Option<T>, Watch), Error> {
    loop {
        match again(|| T::ask(client, path)).await {
            Ok((output, watch)) => return Ok((T::seen(output), watch)),
            Err(Error::Refused(Refusal::NoNode)) => {}
            Err(error) => return Err(error),
        }
        // Made in between, it is read again.
        if let (None, watch) = again(|| client.exists_and_watch(path)).await? {
            return Ok((None, watch));
        }
    }
}

/// A read, or a sync, may be asked for any number of times. Where each request has a limit of time, that is the pause between two.
async fn again<O: Operation>(ask: impl Fn() -> Call<O>) -> Result<O::Output, Error> {
    loop {
        match ask().await {
            Err(Error::ConnectionLost | Error::NotSent | Error::TIMED_OUT) => {}
            outcome => return outcome,
        }
    }
}

impl<T> fmt::Debug for Follow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("told", &self.told).finish_non_exhaustive()
    }
}
