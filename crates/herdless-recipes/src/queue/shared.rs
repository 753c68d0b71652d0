//! What all handles of a queue have in common.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use herdless_core::{Acl, Client, ClientExt, Error, SessionState, Time, Watch};

use super::tree::Tree;
use crate::contend::{Line, Naming, Place, Role, Seen, settled};

pub(super) struct Shared<C> {
    pub(super) client: C,
    pub(super) tree: Tree,
    pub(super) takers: Line,
    pub(super) putters: Line,
    pub(super) capacity: Option<u32>,
    /// The clock of a queue whose items wait for their time.
    pub(super) time: Option<Arc<dyn Time>>,
    was_made: AtomicBool,
}

/// The future of the first place in a line, with what was asked for together with it.
type Standing<'a, C, T> = Pin<Box<dyn Future<Output = Result<(Place<C>, Option<T>), Error>> + Send + 'a>>;

impl<C: Client + Clone + 'static> Shared<C> {
    pub(super) fn new(client: C, tree: Tree, capacity: Option<u32>) -> Arc<Self> {
        Self::with_time(client, tree, capacity, None)
    }

    pub(super) fn with_time(client: C, tree: Tree, capacity: Option<u32>, time: Option<Arc<dyn Time>>) -> Arc<Self> {
        let line = |directory, stem, acl: &Arc<[Acl]>| {
            let mut line = Line::new(directory, Naming::alone(stem), Role::Exclusive);
            line.acl = acl.clone();
            line
        };
        let takers = line(tree.takers(), "taker-", &tree.acl);
        let putters = line(tree.putters(), "putter-", &tree.acl);
        Arc::new(Self { client, tree, takers, putters, capacity, time, was_made: AtomicBool::new(false) })
    }

    /// Makes the directories in front of the first request, in the same round trip.
    pub(super) fn make_once(&self) {
        if !self.was_made.swap(true, Ordering::Relaxed) {
            self.tree.make(&self.client);
        }
    }

    /// Waits for the first place in a line. What `ask` submits leaves right behind the creation of the node; it comes back
    /// where nobody was ahead, because then it is what the first one sees.
    ///
    /// On the heap, and made in a frame of its own: see `head`.
    #[inline(never)]
    pub(super) fn stand_in_line<'a, T: Send + 'a>(
        &'a self,
        line: &'a Line,
        ask: impl Fn(&C) -> T + Send + Sync + 'a,
    ) -> Standing<'a, C, T> {
        Box::pin(self.stand(line, ask))
    }

    async fn stand<T>(&self, line: &Line, ask: impl Fn(&C) -> T) -> Result<(Place<C>, Option<T>), Error> {
        loop {
            let look = |client: &C| (client.exists(line.directory()), ask(client));
            let (mut place, (parent, asked)) = Place::enter(line, &self.client, look).await?;
            let children = parent.await.ok().flatten().map(|stat| stat.num_children);
            let ahead = children.and_then(|children| u32::try_from(children - 1).ok()).unwrap_or(u32::MAX);
            match place.wait(line, Seen::Others(ahead)).await {
                Ok(()) => return Ok((place, Some(asked).filter(|_| ahead == 0))),
                // The place is gone with its session.
                Err(Error::SessionExpired) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a place left with a multi whose reply was lost: while its session lives nothing else takes its node away.
    pub(super) async fn has_departed(&self, place: &Place<C>) -> Result<bool, Error> {
        let found = settled(&self.client, place.path(), || self.client.exists(place.path())).await?;
        if place.session().state() == SessionState::Lost {
            return Err(Error::SessionExpired);
        }
        Ok(found.is_none_or(|stat| stat.czxid != place.created_by().0))
    }
}

/// The first of several watches to end.
pub(super) async fn first_of(mut watches: Vec<Watch>) -> Result<(), Error> {
    poll_fn(|cx| {
        let ended = watches.iter_mut().find_map(|watch| match Pin::new(watch).poll(cx) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        });
        ended.map_or(Poll::Pending, |outcome| Poll::Ready(outcome.map(drop)))
    })
    .await
}
