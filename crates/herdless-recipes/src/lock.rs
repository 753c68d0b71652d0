//! An exclusive lock.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use herdless_core::{Acl, Client, Error, NodePath};

use crate::contend::{Contender, Line, Naming, Observer, Place, Role, Seen, Token};
use crate::guard::{Grant, guard};
use crate::layout::Layout;

/// An exclusive lock: of all processes that acquire it on one path, one at a time holds it, in the order of asking.
///
/// The layout is that of Curator's `InterProcessMutex`, so Java and Rust processes exclude each other on the same path.
/// Missing parents are made as containers, which the server removes again when they are empty.
///
/// Cloning is cheap, and clones contend with each other: two tasks that acquire the same `Lock` take turns.
///
/// # What is promised, and what is not
///
/// While no process is paused and no clock runs slow, no two holders overlap: a guard turns invalid before the server
/// can give the lock away (an ensemble, one server of which is cut off from the leader, may be
/// [some seconds earlier](herdless_core::Session::is_valid)). No lock service can promise more by itself, because a
/// process can be paused between its check and its write. For that there is [`Grant::token`], which the protected
/// resource compares, and [`Grant::multi`] for writes to the same ensemble.
///
/// The nodes of contenders are theirs: who deletes or writes somebody else's node while its session lives can let two in at
/// once, unless every process has [`confirm_hand_over`](LockBuilder::confirm_hand_over) set. Tokens stay in order even then.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | acquire, free | 1 | two requests that leave together; 3 right after one that had to wait |
/// | acquire, behind others | 2, then one event | about 0.9 KB at any number of waiters |
/// | hand-over | 0 | the event alone; one waiter wakes |
/// | release, dropped | 0 | sent, not awaited |
/// | release, awaited | 1 | |
/// | try_acquire, taken | 1 | a read, no write |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 863 to acquire and release.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error: place and guard live as long as the session; what became of a lost reply is found out |
/// | .. during a guarded write | `ConnectionLost`: it may or may not have happened |
/// | session expired, waiting | it starts again at the end of the line; a [`Ticket`] ends with `SessionExpired` |
/// | session expired, held | the guard is [invalid](Grant::is_valid) before anybody else holds; guarded writes and `release` are refused |
/// | a future or a guard is dropped | the node goes, also after a lost reply; nobody waits for it |
/// | the node or its directory is deleted by hand | `Refused(NoNode)` for who waits; a holder's guarded writes are refused |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::Lock;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let lock = Lock::new(client, NodePath::parse("/locks/orders")?);
/// let guard = lock.acquire().await?;
/// println!("held with token {}", guard.token());
/// guard.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Lock<C> {
    pub(crate) client: C,
    pub(crate) line: Arc<Line>,
}

/// Options of a [`Lock`].
#[derive(Clone)]
pub struct LockBuilder<C> {
    client: C,
    pub(crate) line: Line,
}

impl<C: Client + Clone + 'static> Lock<C> {
    /// The lock on `path`. Nothing is sent yet.
    pub fn new(client: C, path: NodePath) -> Self {
        Self::builder(client, path).build()
    }

    /// The lock on `path`, with options.
    pub fn builder(client: C, path: NodePath) -> LockBuilder<C> {
        LockBuilder { client, line: Line::new(path, Naming::CURATOR_LOCK, Role::Exclusive) }
    }

    /// The lock's path.
    pub fn path(&self) -> &NodePath {
        self.line.directory()
    }

    /// Waits for its turn, and takes the lock.
    ///
    /// 1 round trip when free; 2 and an event otherwise. One more where parents are missing. The first time that it is free
    /// after this `Lock` had to wait, 3.
    ///
    /// # Ordering
    ///
    /// First come, first served, in the order in which the server sees the requests. A contender whose session expires
    /// while it waits starts again at the end of the line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line, also where the creation of the node was not answered yet. The
    /// place in the line is lost.
    ///
    /// # Errors
    ///
    /// `Closed` on a closed client; `Overloaded`; `Refused` where the server refuses the node (`NoAuth`, ..), and
    /// `Refused(NoNode)` where it is found that somebody else removed it, which only
    /// [`confirm_hand_over`](LockBuilder::confirm_hand_over) finds out in every case. A lost connection is no error: the wait
    /// goes on.
    ///
    /// # Examples
    ///
    /// A deadline is the caller's, in any runtime:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{Lock, LockGuard};
    /// async fn within_a_second<C: Client + Clone + 'static>(lock: &Lock<C>) -> Option<LockGuard<C>> {
    ///     tokio::time::timeout(Duration::from_secs(1), lock.acquire()).await.ok()?.ok()
    /// }
    /// ```
    pub async fn acquire(&self) -> Result<LockGuard<C>, Error> {
        Ok(LockGuard::new(Place::acquire(&self.line, &self.client).await?))
    }

    /// Takes the lock if it is free, without waiting for anybody: `None` if it is taken.
    ///
    /// Taken: 1 round trip, a read and no write, in constant bytes. Free: 2 round trips. Every child of the lock's node
    /// counts as a contender, as for Curator.
    ///
    /// # Ordering
    ///
    /// Never overtakes a contender that is in line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and `SessionExpired`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Lock;
    /// async fn once<C: Client + Clone + 'static>(lock: &Lock<C>) -> Result<bool, Error> {
    ///     let Some(_guard) = lock.try_acquire().await? else { return Ok(false) };
    ///     // .. the work that one process is to do ..
    ///     Ok(true)
    /// }
    /// ```
    pub async fn try_acquire(&self) -> Result<Option<LockGuard<C>>, Error> {
        Ok(Place::try_acquire(&self.line, &self.client).await?.map(LockGuard::new))
    }

    /// Takes a place in the line. Awaiting the [`Ticket`] then waits for the lock.
    ///
    /// 1 round trip; 2 where parents are missing.
    ///
    /// # Ordering
    ///
    /// The place is behind everybody who was in line when the server saw the request.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves no node behind.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{Lock, LockGuard};
    /// async fn patient<C: Client + Clone + 'static>(lock: &Lock<C>) -> Result<LockGuard<C>, Error> {
    ///     let ticket = lock.enqueue().await?;
    ///     println!("{} ahead of us at most", ticket.ahead());
    ///     ticket.await
    /// }
    /// ```
    pub async fn enqueue(&self) -> Result<Ticket<C>, Error> {
        let (place, seen) = Place::queue(&self.line, &self.client, true).await?;
        Ok(Ticket { place, line: self.line.clone(), seen })
    }

    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// Who holds the lock: one, or nobody. Costs, ordering, cancel safety and errors as [`contenders`](Self::contenders).
    pub async fn holders(&self) -> Result<Vec<Contender>, Error> {
        Ok(self.contenders().await?.into_iter().take(1).collect())
    }

    /// Who waits for the lock, the next one first. Costs, ordering, cancel safety and errors as
    /// [`contenders`](Self::contenders).
    pub async fn waiters(&self) -> Result<Vec<Contender>, Error> {
        Ok(self.contenders().await?.into_iter().skip(1).collect())
    }

    /// Everybody in line: the holder first, then those who wait, in order. For people and tools: by the time it is
    /// known it may have changed.
    ///
    /// 2 round trips: a list, and all reads together.
    ///
    /// # Ordering
    ///
    /// A snapshot of the line, less those who left while it was read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Refused(NoAuth)`, `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Lock;
    /// async fn show<C: Client + Clone + 'static>(lock: &Lock<C>) -> Result<(), Error> {
    ///     for (place, contender) in lock.contenders().await?.iter().enumerate() {
    ///         println!("{place} {} since {}", contender.owner, contender.token);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn contenders(&self) -> Result<Vec<Contender>, Error> {
        self.line.contenders(&self.client).await
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
    /// **A holder that is removed is not told.** It takes itself for the holder until its session ends, and the next one holds
    /// beside it. Its [guarded writes](Grant::multi) are refused, and its token is smaller than the next; where neither
    /// is looked at, harm comes of it. Others in line may then be let in together too, as is said [above](Self), unless they
    /// [confirm](LockBuilder::confirm_hand_over). Where holders are expected to hang, a [`LeaseLock`](crate::LeaseLock) is the
    /// lock to use.
    ///
    /// 4 round trips: a place in the line is taken, so that the directory cannot be removed and made again meanwhile.
    ///
    /// # Ordering
    ///
    /// After everything this session has submitted.
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
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Lock;
    /// async fn kick<C: Client + Clone + 'static>(lock: &Lock<C>, owner: &str) -> Result<bool, Error> {
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

impl<C: Client + Clone + 'static> LockBuilder<C> {
    /// What people will read about the holder in the lock's node: a host, a service, a task. The default is the process
    /// id.
    ///
    /// Behind it, on a line of its own, is the number of the attempt: Curator and kazoo show both lines.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.line.owner = owner.into();
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.line.acl = acl.into();
        self
    }

    /// Whether to look at the directory before a hand-over is believed: one list for each wake-up. Needed where others
    /// write or delete the nodes of contenders, as Curator's `Revoker` does, or a person with a shell. The default is no.
    pub fn confirm_hand_over(mut self, confirm: bool) -> Self {
        self.line.confirm = confirm;
        self
    }

    /// How the nodes of contenders are named. The default is Curator's.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.line = self.line.with_naming(match layout {
            Layout::Curator => Naming::CURATOR_LOCK,
            Layout::Kazoo => Naming::KAZOO_LOCK,
        });
        self
    }

    /// Who keeps figures of every place in the line. The default is nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.line.observer = Some(observer);
        self
    }

    /// The lock.
    pub fn build(self) -> Lock<C> {
        Lock { client: self.client, line: Arc::new(self.line) }
    }
}

/// A place in the line of a [`Lock`]. Await it for the lock; drop it to leave the line.
#[must_use = "dropping a ticket leaves the line"]
pub struct Ticket<C: Client> {
    place: Place<C>,
    line: Arc<Line>,
    seen: Seen,
}

impl<C: Client> Ticket<C> {
    /// How many were ahead when the place was taken, at most: it may count some who came right behind. 0 is exact: the
    /// lock is ours. A very large number says that the answer was lost.
    pub fn ahead(&self) -> u32 {
        match self.seen {
            Seen::Others(count) => count,
            Seen::Names(_) => u32::MAX,
        }
    }

    /// The node of this place.
    pub fn path(&self) -> &NodePath {
        self.place.path()
    }

    /// The token that the guard will carry.
    pub fn token(&self) -> Token {
        self.place.token()
    }
}

impl<C: Client + Clone + 'static> Ticket<C> {
    /// Waits until it is this ticket's turn. The same as awaiting the ticket.
    ///
    /// 0 round trips if the place was the first; 1 and an event otherwise.
    ///
    /// # Ordering
    ///
    /// In the order of the tickets.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: the place is gone with its session. `Refused(NoNode)`: somebody else removed its node, as far as
    /// that is found; see [`Lock::acquire`]. `Closed`.
    ///
    /// # Examples
    ///
    /// See [`Lock::enqueue`].
    pub async fn wait(mut self) -> Result<LockGuard<C>, Error> {
        self.place.wait(&self.line, self.seen).await?;
        Ok(LockGuard::new(self.place))
    }
}

impl<C: Client + Clone + 'static> IntoFuture for Ticket<C> {
    type Output = Result<LockGuard<C>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

guard! {
    /// A [`Lock`], held. Dropping it releases it, without waiting and without a runtime.
    LockGuard { "lock" }
}

impl<C> fmt::Debug for Lock<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("path", self.line.directory()).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for LockBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockBuilder").field("line", &self.line).finish_non_exhaustive()
    }
}

impl<C: Client> fmt::Debug for Ticket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("place", &self.place).finish_non_exhaustive()
    }
}
