//! What is held for a time.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use herdless_core::{Client, Error, MultiOp, MultiReply, NodePath, Refusal, Session, Time};

use super::lease::Lease;
use crate::contend::{Place, Token};
use crate::guard::Grant;

/// A [`LeaseLock`](super::LeaseLock), held until its lease ends. Dropping it releases it, without waiting and without a runtime.
#[must_use = "dropping a guard releases what it holds"]
pub struct LeaseGuard<C: Client + Clone + 'static, T: Time + 'static> {
    /// Taken out when it is left.
    grant: Option<Grant<C>>,
    lease: Arc<Lease<C, T>>,
}

impl<C: Client + Clone + 'static, T: Time + 'static> LeaseGuard<C, T> {
    pub(super) fn new(place: Place<C>, lease: Lease<C, T>) -> Self {
        lease.show();
        Self { grant: Some(Grant::new(place)), lease: Arc::new(lease) }
    }

    fn grant(&self) -> &Grant<C> {
        self.grant.as_ref().expect("only a release takes it, and that is the guard's end")
    }

    /// The fencing token of this grant. Renewals keep it.
    pub fn token(&self) -> Token {
        self.grant().token()
    }

    /// The holder's node.
    pub fn path(&self) -> &NodePath {
        self.grant().path()
    }

    /// The session that it is held with.
    pub fn session(&self) -> &Session {
        self.grant().session()
    }

    /// Whether nobody else can hold it yet: the session is [valid](Session::is_valid), and less than the maximum hold has passed
    /// since the last successful renewal *was sent*, by our own clock. Sends nothing. Once false it stays false.
    ///
    /// Between this check and a write the process may be paused; only the [`token`](Self::token) covers that. What an operator
    /// breaks is known only once it was told, to [`lost`](Self::lost) or to a request.
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// How much of the lease is left, by our own clock. Sends nothing.
    pub fn remaining(&self) -> Duration {
        self.lease.remaining()
    }

    /// Begins the lease anew: from the moment of this call it is good for the maximum hold.
    ///
    /// 1 round trip.
    ///
    /// # Ordering
    ///
    /// A renewal and a removal by a waiter exclude each other: one of them is refused.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the lease as it was or renewed; this guard then counts it as it was.
    ///
    /// # Errors
    ///
    /// `Refused(NoNode)`: it was taken away. `SessionExpired`. `Invalid`: the lease is over; also where the answer came too late.
    /// `Malformed`: somebody wrote something else into the lock's node; it is left alone, and the lease runs out. A lost
    /// connection is no error, but the lease does not wait for it.
    pub async fn renew(&self) -> Result<(), Error> {
        self.lease.renew().await
    }

    /// Runs `work`, and renews three times in each maximum hold meanwhile. `None`: it was lost, and `work` was dropped where it
    /// stood.
    ///
    /// `work` must let go of the thread now and then, as every future should: one that blocks is not renewed, which is what the
    /// maximum hold is for.
    ///
    /// 1 read, and 1 round trip for each renewal.
    ///
    /// # Cancel safety
    ///
    /// As that of `work`, which is dropped with it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Time};
    /// # use herdless_recipes::LeaseGuard;
    /// # async fn copy_everything() {}
    /// async fn nightly<C: Client + Clone + 'static, T: Time + 'static>(guard: LeaseGuard<C, T>) -> bool {
    ///     guard.renewing(copy_everything()).await.is_some()
    /// }
    /// ```
    pub async fn renewing<F: Future>(&self, work: F) -> Option<F::Output> {
        let (mut lost, mut keep, mut work) = (pin!(self.lost()), pin!(self.lease.keep()), pin!(work));
        poll_fn(|cx| {
            let is_lost = lost.as_mut().poll(cx).is_ready() || keep.as_mut().poll(cx).is_ready();
            if is_lost || !self.is_valid() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Waits until it is lost: with its session, with the end of the lease, or because somebody removed its node. It owns what it
    /// needs, so it can run beside the guard's use.
    ///
    /// 1 read, which leaves a watch on the holder's node.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<C, T> {
        let lease = self.lease.clone();
        async move { lease.lost().await }
    }

    /// Waits until somebody [asks](super::LeaseLock::revoke) for the lock. What to do then is the holder's decision. It owns what
    /// it needs, so it can run beside the guard's use.
    ///
    /// 1 read, and 1 for each renewal while it waits. Nobody else wakes by it.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, or `Refused(NoNode)`: it was lost. The end of the lease alone is told by [`lost`](Self::lost). `Malformed`,
    /// as [`renew`](Self::renew).
    pub fn revoked(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<C, T> {
        let lease = self.lease.clone();
        async move { lease.revoked().await }
    }

    /// Carries out `operations`, all or none, only if the holder's node is still there. See [`Grant::multi`], whose costs and errors
    /// are these.
    ///
    /// A lease that is over but that nobody took away is still good for this.
    pub async fn multi(&self, operations: Vec<MultiOp>) -> Result<Vec<MultiReply>, Error> {
        self.grant().multi(operations).await
    }

    /// Releases the lock and waits for the server's word. 1 round trip; 2 once the lease is over.
    ///
    /// # Ordering
    ///
    /// After everything this session has submitted: what was written while it was held is there before the next holder.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future releases all the same.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, or `Refused(NoNode)`: it was lost before. A lost connection is no error: the release goes on after the
    /// reconnect.
    pub async fn release(mut self) -> Result<(), Error> {
        match self.lease.hand_over(|| self.grant().place().departure()).await {
            Ok(true) => {
                self.take_place().has_left();
                Ok(())
            }
            // The lease was running when it was sent, so whoever removed the node meanwhile, it was this. The place looks before
            // it deletes: by now the name could be somebody else's.
            Ok(false) => self.take_place().leave().await.map(drop),
            Err(error @ Error::Refused(Refusal::NoNode)) => {
                self.take_place().has_left();
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn take_place(&mut self) -> Place<C> {
        self.grant.take().expect("only a release takes it, and that is the guard's end").into_place()
    }
}

impl<C: Client + Clone + 'static, T: Time + 'static> Drop for LeaseGuard<C, T> {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            self.lease.clone().leave(grant.into_place());
        }
    }
}

impl<C: Client + Clone + 'static, T: Time + 'static> fmt::Debug for LeaseGuard<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGuard").field("grant", &self.grant).finish_non_exhaustive()
    }
}
