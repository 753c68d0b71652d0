//! An exclusive lock with a maximum hold.

mod builder;
mod guard;
mod lease;
mod leave;
mod patrol;
mod record;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use herdless_core::{Client, ClientExt, Error, NodePath, Refusal, Stat, Time, Version};

use crate::contend::{Contender, Line, Place, Seen, Token, read, synced};
pub use builder::LeaseLockBuilder;
pub use guard::LeaseGuard;
use lease::Lease;
use patrol::Sighting;
use record::{Record, agreement};

/// An exclusive lock for holders that may hang while their session lives: who holds it renews its lease in time, or somebody who
/// waits takes it away.
///
/// A session keeps the lock of a process that is alive, whatever has become of the task that holds it. Here the *task* must
/// give a sign of life: by [`LeaseGuard::renew`], or by doing its work inside [`LeaseGuard::renewing`].
///
/// The layout is that of [`Lock`](crate::Lock) and of Curator's `InterProcessMutex`, which contend with it on the same path. They
/// have agreed to no maximum hold, so they are waited for as long as their session lives, unless
/// [`evict_foreign`](LeaseLockBuilder::evict_foreign) is set. They remove nobody.
///
/// # What is promised
///
/// While all clocks run at one rate, no two guards are [valid](LeaseGuard::is_valid) at once, hung or not: no moment is compared
/// between machines, only how long something takes. As with every lock a process can be paused between its check and its write, and
/// only the [token](LeaseGuard::token) or a [guarded write](LeaseGuard::multi) covers that; and one that an operator
/// [breaks](Self::break_holder) must be told first.
///
/// A holder that is silent for its maximum hold is removed within about two of these after its last renewal, as long as somebody waits in
/// [`acquire`](Self::acquire).
///
/// # How
///
/// The data of the lock's node is the lease's record: whose it is, and a number that grows with every renewal. A holder counts its
/// lease from *before* a renewal is sent. A waiter reads the record once in each maximum hold, and counts from *after* the answer.
/// Where it finds the record as it was for the holder's maximum hold, whatever renewal wrote it was sent longer ago than that, so the
/// holder knows already that its lease is over. The waiter then deletes the holder's node in one change that checks that the record is
/// still the one that it read; a renewal checks that the holder's node is still there. Of a renewal and a removal that cross, one is
/// refused.
///
/// How long a silence it agrees to is in every contender's own data, so processes with different maxima do no harm to each other.
///
/// # Limits
///
/// The lock's node must be this recipe's own: where it holds other data, `acquire` fails with `Malformed` and leaves it alone. What
/// others write into it while contenders are in line may be overwritten by the next grant. It is not on record how a holder
/// of another kind left, so its end counts as clean.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | acquire, free | 2 | |
/// | acquire, behind others | 2, an event, 1 | |
/// | waiting | 1 in each maximum hold | a read of about 30 bytes of data, while the holder renews; one list and two reads more while it does not |
/// | renew | 1 | |
/// | release, dropped | 0 | two requests, sent and not awaited |
/// | release, awaited | 1 | |
/// | try_acquire, taken | 1 | a read, no write |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 1,800 to acquire, renew and release.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | the holder hangs, its session lives | the first in line removes it; its guard is invalid by then |
/// | connection lost | no error, but the lease goes on running out; a renewal counts from when it was sent |
/// | session expired, waiting | it starts again at the end of the line |
/// | session expired, held | the guard is [invalid](LeaseGuard::is_valid) before anybody else holds |
/// | a future or a guard is dropped | the node goes; after the grant was written it counts as an unclean end |
/// | the first in line hangs before it holds | it is removed, and told so: `Refused(NoNode)` |
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use herdless_core::NodePath;
/// use herdless_recipes::LeaseLock;
/// # use herdless_memory::{ManualTime, MemoryServer};
/// # async fn import() -> u32 { 7 }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (client, time) = (MemoryServer::new().connect(), ManualTime::new());
/// let lock = LeaseLock::new(client, NodePath::parse("/locks/import")?, time, Duration::from_secs(30))?;
/// let guard = lock.acquire().await?;
/// match guard.renewing(import()).await {
///     Some(count) => println!("imported {count}"),
///     None => println!("lost; the import was stopped"),
/// }
/// guard.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LeaseLock<C, T> {
    client: C,
    line: Arc<Line>,
    time: T,
    max_hold: Duration,
    lock_delay: Duration,
    evicts_foreign: bool,
}

impl<C: Client + Clone + 'static, T: Time + Clone + 'static> LeaseLock<C, T> {
    /// The lock on `path`, whose holders renew within `max_hold` (whole milliseconds; the rest is dropped), which is to be many
    /// round trips. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Invalid` for a maximum hold of less than a millisecond, or of more than 2^64.
    pub fn new(client: C, path: NodePath, time: T, max_hold: Duration) -> Result<Self, Error> {
        Ok(Self::builder(client, path, time, max_hold)?.build())
    }

    /// The lock on `path`, with options.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn builder(client: C, path: NodePath, time: T, max_hold: Duration) -> Result<LeaseLockBuilder<C, T>, Error> {
        LeaseLockBuilder::new(client, path, time, max_hold)
    }

    /// The lock's path.
    pub fn path(&self) -> &NodePath {
        self.line.directory()
    }

    /// Waits for its turn, and takes the lock; removes who is first in line and silent for its maximum hold.
    ///
    /// 2 round trips when free; 2, an event and 1 otherwise, and a read for each maximum hold that it waits. One more where
    /// parents are missing.
    ///
    /// # Ordering
    ///
    /// First come, first served, in the order in which the server sees the requests. A contender whose session expires while it
    /// waits starts again at the end of the line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line. Dropped after it wrote the record (during the
    /// [lock delay](LeaseLockBuilder::lock_delay), for instance) it counts as an unclean end.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire); `Malformed` where the lock's node holds other data; `Refused(NoNode)` where
    /// somebody removed this contender: as it was first in line and silent, or by [`evict`](Self::evict). `Refused(NoAuth)` where it
    /// may not remove one who is silent.
    ///
    /// # Examples
    ///
    /// A deadline is the caller's, in any runtime:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use herdless_core::{Client, Time};
    /// # use herdless_recipes::{LeaseGuard, LeaseLock};
    /// async fn within_a_minute<C, T>(lock: &LeaseLock<C, T>) -> Option<LeaseGuard<C, T>>
    /// where
    ///     C: Client + Clone + 'static,
    ///     T: Time + Clone + 'static,
    /// {
    ///     tokio::time::timeout(Duration::from_secs(60), lock.acquire()).await.ok()?.ok()
    /// }
    /// ```
    pub async fn acquire(&self) -> Result<LeaseGuard<C, T>, Error> {
        loop {
            let (place, found) = self.enter().await?;
            match self.wait(place, found).await {
                // Whoever was ahead stays ahead: the new place is the last.
                Err(Error::SessionExpired) => {}
                outcome => return outcome,
            }
        }
    }

    /// Takes the lock if it is free, without waiting for anybody: `None` if it is taken, also by one who is silent. Where there is a
    /// [lock delay](LeaseLockBuilder::lock_delay) to wait for, that is waited for.
    ///
    /// Taken: 1 round trip, a read and no write. Free: 3. Every child of the lock's node counts as a contender.
    ///
    /// # Ordering
    ///
    /// Never overtakes a contender that is in line.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and `SessionExpired`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error, Time};
    /// # use herdless_recipes::LeaseLock;
    /// async fn once<C: Client + Clone + 'static, T: Time + Clone + 'static>(lock: &LeaseLock<C, T>) -> Result<bool, Error> {
    ///     let Some(guard) = lock.try_acquire().await? else { return Ok(false) };
    ///     Ok(guard.renewing(async { /* the work that one process is to do */ }).await.is_some())
    /// }
    /// ```
    pub async fn try_acquire(&self) -> Result<Option<LeaseGuard<C, T>>, Error> {
        let stat = read(|| self.client.exists(self.path())).await?;
        if stat.is_some_and(|stat| stat.num_children > 0) {
            return Ok(None);
        }
        let (place, found) = self.enter().await?;
        match &found {
            Some((_, stat)) if stat.num_children == 1 => self.wait(place, found).await.map(Some),
            // Somebody was faster, or that is not known; the place's drop leaves the line.
            _ => Ok(None),
        }
    }

    /// Makes a node at the end of the line, and reads the record right behind: in the same round trip.
    async fn enter(&self) -> Result<(Place<C>, Option<(Record, Stat)>), Error> {
        let (place, found) = Place::enter(&self.line, &self.client, |client| client.get(self.path())).await?;
        match found.await {
            Ok((data, stat)) => Ok((place, Some((Record::parse(self.path(), &data)?, stat)))),
            // It is asked again when it is needed; and a place that is gone shows when it is waited for.
            Err(Error::ConnectionLost | Error::Refused(Refusal::NoNode)) => Ok((place, None)),
            Err(error) => Err(error),
        }
    }

    async fn wait(&self, mut place: Place<C>, found: Option<(Record, Stat)>) -> Result<LeaseGuard<C, T>, Error> {
        let others = found.as_ref().and_then(|(_, stat)| u32::try_from(stat.num_children - 1).ok());
        let sighting = found.as_ref().map(|(record, _)| Sighting::new(*record, self.time.now()));
        let own = (place.path().clone(), place.session().id());
        {
            let mut turn = pin!(place.wait(&self.line, Seen::Others(others.unwrap_or(u32::MAX))));
            let mut patrol = pin!(self.patrol(own, sighting));
            poll_fn(|cx| match turn.as_mut().poll(cx) {
                Poll::Pending => match patrol.as_mut().poll(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(never)) => match never {},
                    Poll::Pending => Poll::Pending,
                },
                ready => ready,
            })
            .await?;
        }
        let lease = Lease::new(&place, self.path(), self.time.clone(), self.max_hold);
        let granted = async {
            // What was read before others left says nothing any more.
            let was_clean = lease.begin(found.filter(|_| others == Some(0))).await?;
            if !was_clean && !self.lock_delay.is_zero() {
                lease.sit_out(self.lock_delay).await?;
            }
            Ok(())
        };
        match granted.await {
            Ok(()) => Ok(LeaseGuard::new(place, lease)),
            Err(error) => {
                if error == Error::Refused(Refusal::NoNode) {
                    // By the time that is known the name could be somebody else's.
                    place.has_left();
                }
                Err(error)
            }
        }
    }

    /// Everybody in line: the holder first, then those who wait, in order. As [`Lock::contenders`](crate::Lock::contenders), whose
    /// costs, ordering, cancel safety and errors are these.
    pub async fn contenders(&self) -> Result<Vec<Contender>, Error> {
        let mut contenders = self.line.contenders(&self.client).await?;
        for contender in &mut contenders {
            contender.owner = agreement(&contender.owner).0.to_owned();
        }
        Ok(contenders)
    }

    /// Asks the holder to give up, who learns it by [`LeaseGuard::revoked`] and decides. Whom it asked; `None` if nobody holds by
    /// the record. Others neither wake nor lose anything.
    ///
    /// 2 round trips. A holder that was asked already is not asked again: 1.
    ///
    /// # Ordering
    ///
    /// Asks the very holder that it names, or nobody: never the next.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the holder asked or not.
    ///
    /// # Errors
    ///
    /// `Malformed`, where the lock's node holds other data. `Refused(NoAuth)`, `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error, Time};
    /// # use herdless_recipes::{LeaseGuard, LeaseLock};
    /// async fn hurry<C: Client + Clone + 'static, T: Time + Clone + 'static>(lock: &LeaseLock<C, T>) -> Result<(), Error> {
    ///     if let Some(token) = lock.revoke().await? {
    ///         println!("asked the holder with token {token}");
    ///     }
    ///     lock.acquire().await?.release().await
    /// }
    ///
    /// /// What a holder does that heeds it: whether its work was done.
    /// async fn heed<C: Client + Clone + 'static, T: Time + 'static>(guard: LeaseGuard<C, T>, work: impl Future<Output = ()>) -> bool {
    ///     let stop = guard.revoked();
    ///     let until_revoked = async {
    ///         tokio::select! {
    ///             _ = stop => false,
    ///             () = work => true,
    ///         }
    ///     };
    ///     guard.renewing(until_revoked).await.unwrap_or(false)
    /// }
    /// ```
    pub async fn revoke(&self) -> Result<Option<Token>, Error> {
        loop {
            let (data, stat) = match synced(&self.client, self.path(), || self.client.get(self.path())).await {
                Err(Error::Refused(Refusal::NoNode)) => return Ok(None),
                found => found?,
            };
            let (token, renewal) = match Record::parse(self.path(), &data)? {
                Record::Held { token, renewal, is_revoked: false } => (token, renewal),
                Record::Held { token, .. } => return Ok(Some(token)),
                Record::Unused | Record::Released { .. } => return Ok(None),
            };
            let asked = Record::Held { token, renewal, is_revoked: true };
            match self.client.set(self.path(), asked.to_bytes(), Version(stat.version)).await {
                Ok(_) => return Ok(Some(token)),
                // Renewed or left meanwhile, or not known: the record tells.
                Err(
                    Error::Refused(Refusal::BadVersion | Refusal::NoNode) | Error::ConnectionLost | Error::Uncertain(_),
                ) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the lock away from whoever holds it. Whom; `None` if nobody does, or if it left meanwhile.
    ///
    /// 6 round trips. What is said at [`evict`](Self::evict) holds here.
    ///
    /// # Ordering
    ///
    /// Removes the very holder that it names, or nobody: never the next.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the holder removed or not; nothing else.
    ///
    /// # Errors
    ///
    /// As [`evict`](Self::evict).
    pub async fn break_holder(&self) -> Result<Option<Contender>, Error> {
        let Some(holder) = self.contenders().await?.into_iter().next() else {
            return Ok(None);
        };
        Ok(self.evict(&holder).await?.then_some(holder))
    }

    /// Removes a contender, as an operator may: the very one that was read, not another that has its name by now. Whether it was
    /// still there.
    ///
    /// A holder that is removed this way is told by [`LeaseGuard::lost`], at once if it listens and by its next request if not; until
    /// then it takes itself for the holder, and the next one may be granted beside it. Its guarded writes are refused from now on, and its
    /// token is smaller than the next.
    ///
    /// 4 round trips: a place in the line is taken, so that the directory cannot be removed and made again meanwhile.
    ///
    /// # Ordering
    ///
    /// With a [lock delay](LeaseLockBuilder::lock_delay) the next holder waits for it, since this end is not a clean one.
    ///
    /// # Cancel safety
    ///
    /// As [`break_holder`](Self::break_holder).
    ///
    /// # Errors
    ///
    /// `Invalid` for a contender of another path. `Refused(NoAuth)`, `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error, Time};
    /// # use herdless_recipes::LeaseLock;
    /// async fn kick<C, T>(lock: &LeaseLock<C, T>, owner: &str) -> Result<bool, Error>
    /// where
    ///     C: Client + Clone + 'static,
    ///     T: Time + Clone + 'static,
    /// {
    ///     let contenders = lock.contenders().await?;
    ///     match contenders.iter().find(|contender| contender.owner == owner) {
    ///         Some(contender) => lock.evict(contender).await,
    ///         None => Ok(false),
    ///     }
    /// }
    /// ```
    pub async fn evict(&self, contender: &Contender) -> Result<bool, Error> {
        self.line.evict(&self.client, contender).await
    }
}

impl<C, T> fmt::Debug for LeaseLock<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseLock").field("line", &self.line).field("max_hold", &self.max_hold).finish_non_exhaustive()
    }
}
