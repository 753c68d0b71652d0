//! Locks that their holder may take again.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Poll, Waker};

use herdless_core::{Client, Error};

use crate::guard::Grant;
use crate::lock::{Lock, LockGuard};
use crate::rw_lock::{ReadGuard, RwLock, WriteGuard};

/// Who takes a reentrant lock: a task and everything it starts and waits for, not a thread. Clone it into them. Two that were
/// made by [`new`](Self::new) are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u64);

impl Owner {
    /// An owner like no other of this process.
    #[expect(clippy::new_without_default, reason = "a default would not be a new one")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A [`Lock`] that its holder may acquire again, at once and without a request. The holder is an [`Owner`], whoever acts
/// for it; other owners wait in line as with the plain lock.
///
/// Guards are `Send` and can be cloned; the lock is released when the last guard of its owner goes.
///
/// # Examples
///
/// ```
/// use herdless_core::{Client, Error, NodePath};
/// use herdless_recipes::{Lock, Owner, ReentrantLock};
/// # use herdless_memory::MemoryServer;
///
/// async fn transfer<C: Client + Clone + 'static>(lock: &ReentrantLock<C>, owner: Owner) -> Result<(), Error> {
///     let _guard = lock.acquire(owner).await?;
///     audit(lock, owner).await
/// }
///
/// async fn audit<C: Client + Clone + 'static>(lock: &ReentrantLock<C>, owner: Owner) -> Result<(), Error> {
///     // Held already by this owner when `transfer` calls.
///     let _guard = lock.acquire(owner).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let lock = ReentrantLock::new(Lock::new(client, NodePath::parse("/locks/accounts")?));
/// transfer(&lock, Owner::new()).await?;
/// # Ok(()) }
/// ```
pub struct ReentrantLock<C: Client> {
    lock: Lock<C>,
    holds: Arc<Holds<C>>,
}

/// A [`RwLock`] that its holder may acquire again: a reader to read, a writer to read and write. A reader that asks to write
/// is refused, because it would wait for itself.
///
/// Guards are `Send` and can be cloned; the lock is released when the last guard of its owner goes.
///
/// # Examples
///
/// ```
/// use herdless_core::{Error, NodePath};
/// use herdless_recipes::{Owner, ReentrantRwLock, RwLock};
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let lock = ReentrantRwLock::new(RwLock::new(client, NodePath::parse("/locks/config")?));
/// let owner = Owner::new();
/// let reading = lock.read(owner).await?;
/// assert!(matches!(lock.write(owner).await, Err(Error::Invalid(_))));
/// drop(reading);
/// let writing = lock.write(owner).await?;
/// let _reading_too = lock.read(owner).await?;
/// # Ok(()) }
/// ```
pub struct ReentrantRwLock<C: Client> {
    lock: RwLock<C>,
    holds: Arc<Holds<C>>,
}

/// A reentrant lock, held. Clones hold it together; it is released when the last one goes.
#[must_use = "dropping the last guard releases the lock"]
pub struct ReentrantGuard<C: Client> {
    hold: Arc<Hold<C>>,
}

struct Hold<C: Client> {
    owner: Owner,
    holds: Arc<Holds<C>>,
    /// Taken out by the one who releases it.
    held: Option<Held<C>>,
}

enum Held<C: Client> {
    Lock(LockGuard<C>),
    Read(ReadGuard<C>),
    Write(WriteGuard<C>),
}

/// Who holds, and who is about to.
struct Holds<C: Client>(Mutex<BTreeMap<Owner, Slot<C>>>);

enum Slot<C: Client> {
    /// Somebody of this owner waits in line; these want to know how it ends.
    Acquiring(Vec<Waker>),
    Held(Weak<Hold<C>>),
}

impl<C: Client + Clone + 'static> ReentrantLock<C> {
    /// Makes `lock` reentrant, for those who use this value or a clone of it.
    pub fn new(lock: Lock<C>) -> Self {
        Self { lock, holds: Arc::default() }
    }

    /// Waits for `owner`'s turn, and takes the lock; joins `owner`'s guard where it holds the lock already.
    ///
    /// As [`Lock::acquire`], or no request at all.
    ///
    /// # Ordering
    ///
    /// As [`Lock::acquire`] among owners. Several calls for one owner take one place in line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line; another call for the same owner then takes a new place.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`], and `SessionExpired` where the owner has a guard that is no longer valid.
    ///
    /// # Examples
    ///
    /// See [`ReentrantLock`].
    pub async fn acquire(&self, owner: Owner) -> Result<ReentrantGuard<C>, Error> {
        let acquire = async || self.lock.acquire().await.map(Held::Lock);
        self.holds.acquire(owner, |_| Ok(()), acquire).await
    }
}

impl<C: Client + Clone + 'static> ReentrantRwLock<C> {
    /// Makes `lock` reentrant, for those who use this value or a clone of it.
    pub fn new(lock: RwLock<C>) -> Self {
        Self { lock, holds: Arc::default() }
    }

    /// Waits for `owner`'s turn to read; joins `owner`'s guard where it reads or writes already.
    ///
    /// As [`RwLock::read`], or no request at all. Ordering, cancel safety and errors as [`ReentrantLock::acquire`].
    pub async fn read(&self, owner: Owner) -> Result<ReentrantGuard<C>, Error> {
        let acquire = async || self.lock.read().await.map(Held::Read);
        self.holds.acquire(owner, |_| Ok(()), acquire).await
    }

    /// Waits for `owner`'s turn to write; joins `owner`'s guard where it writes already.
    ///
    /// As [`RwLock::write`], or no request at all. Ordering and cancel safety as [`ReentrantLock::acquire`].
    ///
    /// # Errors
    ///
    /// As [`ReentrantLock::acquire`], and `Invalid` where the owner reads: it would wait for itself.
    pub async fn write(&self, owner: Owner) -> Result<ReentrantGuard<C>, Error> {
        let acquire = async || self.lock.write().await.map(Held::Write);
        let may_join = |held: &Held<C>| match held {
            Held::Read(_) => Err(Error::invalid("a reader cannot become a writer: it would wait for itself")),
            _ => Ok(()),
        };
        self.holds.acquire(owner, may_join, acquire).await
    }
}

impl<C: Client + Clone + 'static> ReentrantGuard<C> {
    /// Gives this guard back. The last one of its owner releases the lock and waits for the server's word, 1 round trip;
    /// the others send nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives it back all the same.
    ///
    /// # Errors
    ///
    /// As [`LockGuard::release`].
    pub async fn release(self) -> Result<(), Error> {
        let held = Arc::into_inner(self.hold).and_then(|mut hold| hold.held.take());
        match held {
            Some(Held::Lock(guard)) => guard.release().await,
            Some(Held::Read(guard)) => guard.release().await,
            Some(Held::Write(guard)) => guard.release().await,
            None => Ok(()),
        }
    }
}

impl<C: Client> Deref for ReentrantGuard<C> {
    type Target = Grant<C>;

    fn deref(&self) -> &Grant<C> {
        self.hold.held().grant()
    }
}

impl<C: Client> Clone for ReentrantGuard<C> {
    fn clone(&self) -> Self {
        Self { hold: self.hold.clone() }
    }
}

impl<C: Client> Hold<C> {
    fn held(&self) -> &Held<C> {
        self.held.as_ref().expect("taken out only by the last guard, which is consumed")
    }
}

impl<C: Client> Held<C> {
    fn grant(&self) -> &Grant<C> {
        match self {
            Self::Lock(guard) => guard,
            Self::Read(guard) => guard,
            Self::Write(guard) => guard,
        }
    }
}

impl<C: Client> Drop for Hold<C> {
    fn drop(&mut self) {
        // Between the last guard's going and this, the owner may have begun to acquire anew: that is not ours to remove.
        self.holds.with(|slots| {
            if matches!(slots.get(&self.owner), Some(Slot::Held(hold)) if hold.strong_count() == 0) {
                slots.remove(&self.owner);
            }
        });
    }
}

impl<C: Client> Holds<C> {
    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<Owner, Slot<C>>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Joins `owner`'s hold if `may_join` allows it, or makes one.
    async fn acquire(
        self: &Arc<Self>,
        owner: Owner,
        may_join: impl Fn(&Held<C>) -> Result<(), Error>,
        acquire: impl AsyncFnOnce() -> Result<Held<C>, Error>,
    ) -> Result<ReentrantGuard<C>, Error> {
        let Some(hold) = self.hold_or_turn(owner).await else {
            let turn = Turn { owner, holds: self };
            let held = Some(acquire().await?);
            let hold = Arc::new(Hold { owner, holds: self.clone(), held });
            turn.fulfil(&hold);
            return Ok(ReentrantGuard { hold });
        };
        may_join(hold.held())?;
        match hold.held().grant().is_valid() {
            true => Ok(ReentrantGuard { hold }),
            false => Err(Error::SessionExpired),
        }
    }

    /// The owner's hold, once nobody of it is acquiring; `None` says that it is the caller's turn to acquire.
    async fn hold_or_turn(&self, owner: Owner) -> Option<Arc<Hold<C>>> {
        poll_fn(|cx| {
            let mut waker = Some(cx.waker().clone());
            self.with(|slots| {
                match slots.get_mut(&owner) {
                    Some(Slot::Acquiring(waiters)) => {
                        // All are woken together, so a second entry of the same task does no harm.
                        waiters.extend(waker.take());
                        return Poll::Pending;
                    }
                    Some(Slot::Held(hold)) => {
                        if let Some(hold) = hold.upgrade() {
                            return Poll::Ready(Some(hold));
                        }
                    }
                    None => {}
                }
                slots.insert(owner, Slot::Acquiring(Vec::new()));
                Poll::Ready(None)
            })
        })
        .await
    }
}

impl<C: Client> Default for Holds<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The right to acquire for an owner. Dropped without having, it passes to whoever of the owner waits.
struct Turn<'a, C: Client> {
    owner: Owner,
    holds: &'a Holds<C>,
}

impl<C: Client> Turn<'_, C> {
    fn fulfil(self, hold: &Arc<Hold<C>>) {
        self.end(Some(Slot::Held(Arc::downgrade(hold))));
        std::mem::forget(self);
    }

    fn end(&self, slot: Option<Slot<C>>) {
        let before = self.holds.with(|slots| match slot {
            Some(slot) => slots.insert(self.owner, slot),
            None => slots.remove(&self.owner),
        });
        // Woken with the lock free: each of them takes it at once.
        if let Some(Slot::Acquiring(waiters)) = before {
            waiters.into_iter().for_each(Waker::wake);
        }
    }
}

impl<C: Client> Drop for Turn<'_, C> {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl<C: Client + Clone> Clone for ReentrantLock<C> {
    fn clone(&self) -> Self {
        Self { lock: self.lock.clone(), holds: self.holds.clone() }
    }
}

impl<C: Client + Clone> Clone for ReentrantRwLock<C> {
    fn clone(&self) -> Self {
        Self { lock: self.lock.clone(), holds: self.holds.clone() }
    }
}

impl<C: Client> fmt::Debug for ReentrantLock<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReentrantLock").field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl<C: Client> fmt::Debug for ReentrantRwLock<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReentrantRwLock").field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl<C: Client> fmt::Debug for ReentrantGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReentrantGuard").field("grant", &**self).finish_non_exhaustive()
    }
}
