//! A lock for many readers or one writer.

use std::fmt;
use std::sync::Arc;

use herdless_core::{
    Acl, Client, ClientExt, Create, CreateMode, Created, Error, FindOwn, MultiOp, NodePath, Refusal, Version,
};

use crate::contend::{Contender, Line, Naming, Observer, Place, Role, find_own, search};
use crate::guard::{Grant, guard};
use crate::layout::Layout;

/// A lock that any number of readers hold together, or one writer alone, in the order of asking: nobody who came later
/// overtakes, so neither side starves.
///
/// The layout is that of Curator's `InterProcessReadWriteLock`, or, by option, of kazoo's `ReadLock` and `WriteLock`.
///
/// A reader waits for the nearest writer ahead, a writer for the nearest contender ahead. So a writer that leaves wakes the
/// readers right behind it, all of them and nobody else; a reader that leaves wakes at most the one writer right behind it.
///
/// What [`Lock`](crate::Lock) says of pauses, of foreign hands on contenders' nodes, and of tokens holds here as well.
///
/// # No upgrade
///
/// A reader cannot become a writer in place: two that tried would wait for each other. One that holds a [`ReadGuard`] and
/// awaits [`write`](Self::write) waits for itself. [`ReentrantRwLock`](crate::ReentrantRwLock) knows who asks, and refuses.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | read, no writer ahead | 1 | the creation, and a list of the directory beside it |
/// | read, behind a writer | 2, then one event | |
/// | write, free | 1 | two requests that leave together; 3 right after one that had to wait |
/// | write, behind others | 2, then one event | about 1 KB at any number of waiters |
/// | hand-over from a writer | 0 | the event alone: one for each reader right behind, or for one writer |
/// | hand-over from readers to a writer | 1 for each reader ahead that leaves | a list |
/// | release, dropped / awaited | 0 / 1 | |
/// | downgrade | 1 | who was right behind looks once |
/// | try_read, try_write, taken | 1 | a read, no write |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 668 to read and release, 865 to write and
/// release, 1,269 with a downgrade in between.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error, for a downgrade neither: what became of a lost reply is found out |
/// | session expired, waiting | it starts again at the end of the line |
/// | session expired, held | the guard is [invalid](Grant::is_valid) before anybody else holds against it; guarded writes, a downgrade and `release` are refused |
/// | a future or a guard is dropped | the node goes; a downgrade that is dropped releases |
/// | the node or its directory is deleted by hand | as with [`Lock`](crate::Lock) |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::RwLock;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let config = RwLock::new(client, NodePath::parse("/locks/config")?);
/// let (one, two) = (config.read().await?, config.read().await?);
/// drop((one, two));
///
/// let writer = config.write().await?;
/// // .. change it, then go on reading what was written, with no other writer in between ..
/// let reader = writer.downgrade().await?;
/// reader.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RwLock<C> {
    client: C,
    readers: Arc<Line>,
    writers: Arc<Line>,
}

/// Options of a [`RwLock`].
#[derive(Clone)]
pub struct RwLockBuilder<C> {
    client: C,
    line: Line,
}

guard! {
    /// A [`RwLock`], held together with other readers. Dropping it releases it, without waiting and without a runtime.
    ReadGuard { "lock" }
}

guard! {
    /// A [`RwLock`], held alone. Dropping it releases it, without waiting and without a runtime.
    WriteGuard { "lock", readers: Arc<Line> }
}

impl<C: Client + Clone + 'static> RwLock<C> {
    /// The lock on `path`. Nothing is sent yet.
    pub fn new(client: C, path: NodePath) -> Self {
        Self::builder(client, path).build()
    }

    /// The lock on `path`, with options.
    pub fn builder(client: C, path: NodePath) -> RwLockBuilder<C> {
        RwLockBuilder { client, line: Line::new(path, Naming::CURATOR_READ_WRITE, Role::Exclusive) }
    }

    /// The lock's path.
    pub fn path(&self) -> &NodePath {
        self.writers.directory()
    }

    /// Waits until no writer is ahead, and holds the lock together with other readers.
    ///
    /// 1 round trip with no writer ahead; 2 and an event otherwise. One more where parents are missing.
    ///
    /// # Ordering
    ///
    /// First come, first served: behind every writer that was in line when the server saw the request, and before every
    /// later one. A contender whose session expires while it waits starts again at the end of the line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line, also where the creation of the node was not answered yet.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Examples
    ///
    /// See [`RwLock`].
    pub async fn read(&self) -> Result<ReadGuard<C>, Error> {
        Ok(ReadGuard::new(Place::acquire(&self.readers, &self.client).await?))
    }

    /// Waits until nobody is ahead, and holds the lock alone.
    ///
    /// 1 round trip when free; 2 and an event otherwise. One more where parents are missing.
    ///
    /// # Ordering
    ///
    /// First come, first served, among readers and writers.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](crate::Lock::acquire).
    ///
    /// # Examples
    ///
    /// See [`RwLock`].
    pub async fn write(&self) -> Result<WriteGuard<C>, Error> {
        Ok(self.write_guard(Place::acquire(&self.writers, &self.client).await?))
    }

    /// Holds the lock as a reader if no writer is in line: `None` otherwise. Taken: 1 round trip, a list; free: 2.
    ///
    /// Ordering, cancel safety and errors as [`Lock::try_acquire`](crate::Lock::try_acquire).
    pub async fn try_read(&self) -> Result<Option<ReadGuard<C>>, Error> {
        Ok(Place::try_acquire(&self.readers, &self.client).await?.map(ReadGuard::new))
    }

    /// Holds the lock as a writer if nobody is in line: `None` otherwise. Taken: 1 round trip, a read; free: 2.
    ///
    /// Ordering, cancel safety and errors as [`Lock::try_acquire`](crate::Lock::try_acquire).
    pub async fn try_write(&self) -> Result<Option<WriteGuard<C>>, Error> {
        Ok(Place::try_acquire(&self.writers, &self.client).await?.map(|place| self.write_guard(place)))
    }

    fn write_guard(&self, place: Place<C>) -> WriteGuard<C> {
        WriteGuard::new(place, self.readers.clone())
    }

    /// Who holds the lock: readers, or one writer, or nobody. Costs and errors as [`contenders`](Self::contenders).
    pub async fn holders(&self) -> Result<Vec<Contender>, Error> {
        let mut line = self.contenders().await?;
        let holders = holder_count(&line);
        line.truncate(holders);
        Ok(line)
    }

    /// Who waits for the lock, in order. Costs and errors as [`contenders`](Self::contenders).
    pub async fn waiters(&self) -> Result<Vec<Contender>, Error> {
        let line = self.contenders().await?;
        let holders = holder_count(&line);
        Ok(line.into_iter().skip(holders).collect())
    }

    /// Everybody in line, in order. For people and tools: by the time it is known it may have changed.
    ///
    /// 2 round trips. Ordering, cancel safety and errors as [`Lock::contenders`](crate::Lock::contenders).
    pub async fn contenders(&self) -> Result<Vec<Contender>, Error> {
        self.writers.contenders(&self.client).await
    }
}

/// How many at the head of the line hold together: one writer, or all readers before the first writer.
fn holder_count(line: &[Contender]) -> usize {
    let readers = line.iter().take_while(|contender| contender.is_shared).count();
    readers.max(usize::from(!line.is_empty()))
}

impl<C: Client + Clone + 'static> WriteGuard<C> {
    /// Goes on as a reader, in the same place of the line: no writer gets in between, and the readers right behind join at
    /// once. The token stays the same.
    ///
    /// 1 round trip.
    ///
    /// # Ordering
    ///
    /// As one change, after everything this session has submitted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future releases the lock, whether or not it was a reader's already.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, or `Refused(NoNode)`: it was lost before. A lost connection is no error: whether it happened is
    /// found out after the reconnect. After any error the lock is released.
    ///
    /// # Examples
    ///
    /// See [`RwLock`].
    pub async fn downgrade(self) -> Result<ReadGuard<C>, Error> {
        let Self { grant, readers } = self;
        let mut place = grant.into_place();
        let client = place.client().clone();
        let path = readers.at_place_of(place.path()).ok_or(Error::Refused(Refusal::BadArguments))?;
        let created = loop {
            let data = readers.data(&client);
            let find = FindOwn { prefix: path.clone(), data: data.clone() };
            let undo = || {
                let (client, find) = (client.clone(), find.clone());
                move || drop(search(&client, find))
            };
            let create =
                Create { path: path.clone(), data: data.into(), acl: readers.acl.clone(), mode: CreateMode::Ephemeral };
            // The node goes by a plain deletion: who is behind must look, because a reader is still here.
            let exchange = vec![MultiOp::Create(create), MultiOp::delete(place.path(), Version::ANY)];
            let (undo_exchange, undo_node) = (undo(), undo());
            place.may_have_left();
            let exchanged = place.multi(exchange).on_abandon(move |_| undo_exchange());
            // A creation in a multi does not say when it was made.
            let node = client.exists(&path).on_abandon(move |_| undo_node());
            match exchanged.await {
                Ok(_) | Err(Error::ConnectionLost | Error::Uncertain(_)) => {}
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(error) => return Err(error),
            }
            if let Ok(Some(stat)) = node.await
                && stat.ephemeral_owner == place.session().id().0
            {
                break Created { path: path.clone(), stat };
            }
            if let Some(created) = find_own(&client, find).await? {
                break created;
            }
            place.check_session()?;
        };
        place.check_session()?;
        place.exchange(created);
        Ok(ReadGuard::new(place))
    }
}

impl<C: Client + Clone + 'static> RwLockBuilder<C> {
    /// What people will read about the contender in its node. The default is the process id.
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

    /// Whether to look at the directory before a hand-over is believed; see
    /// [`LockBuilder::confirm_hand_over`](crate::LockBuilder::confirm_hand_over).
    pub fn confirm_hand_over(mut self, confirm: bool) -> Self {
        self.line.confirm = confirm;
        self
    }

    /// How the nodes of contenders are named. The default is Curator's.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.line = self.line.with_naming(match layout {
            Layout::Curator => Naming::CURATOR_READ_WRITE,
            Layout::Kazoo => Naming::KAZOO_READ_WRITE,
        });
        self
    }

    /// Who keeps figures of every place in the line. The default is nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.line.observer = Some(observer);
        self
    }

    /// The lock.
    pub fn build(self) -> RwLock<C> {
        let readers = Arc::new(self.line.with_role(Role::Shared));
        RwLock { client: self.client, readers, writers: Arc::new(self.line) }
    }
}

impl<C> fmt::Debug for RwLock<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("path", self.writers.directory()).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for RwLockBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockBuilder").field("line", &self.line).finish_non_exhaustive()
    }
}
