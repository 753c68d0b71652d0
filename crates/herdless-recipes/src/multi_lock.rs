//! Several locks as one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{
    Acl, Call, Client, ClientExt, Created, Error, Exists, MultiOp, MultiReply, NodePath, Refusal, Session, SessionLost,
    SessionState, Stat,
};

use crate::contend::{Place, Seen, Token, read, search};
use crate::guard::Grant;
use crate::layout::Layout;
use crate::lock::Lock;

/// How often missing directories are made before the server's "no node" is believed.
const DIRECTORY_ATTEMPTS: u32 = 8;

/// Any number of [`Lock`]s, held all together or not at all.
///
/// Each is the lock on its path: plain [`Lock`]s and Curator's `InterProcessMutex` on the same path exclude it, and so do
/// other sets that have the path in them. A path that is named twice counts once.
///
/// # No deadlock
///
/// The locks are taken one after the other in the order of their paths as text, whatever the order in which they were named, so
/// no two sets ever wait for each other. Who takes several plain locks on the same paths one inside the other should do
/// it in this order too; then no mixture deadlocks.
///
/// Taking a place in all lines at once would be quicker, and wrong: somebody who holds a plain lock on `/a` and asks for
/// `/b` would stand behind our place in `/b`, while we wait for `/a`.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | acquire, all of n free | n | one after the other; missing parents one more each |
/// | try_acquire, one of them taken | 1 | reads, no write |
/// | try_acquire, all free | 3 | for any n: the places are taken in one change |
/// | release, dropped | 0 | sent, not awaited |
/// | release, awaited | 1 | for any n |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 2,547 to acquire and release three.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error: what became of a lost reply is found out, for a try as well |
/// | session expired, waiting | what was taken is gone with it, and it starts again from the first lock |
/// | session expired, held | the guard is [invalid](Grant::is_valid) before anybody else holds any of them; guarded writes are refused |
/// | a future or a guard is dropped | all places go that were taken |
/// | one lock cannot be had | its error; the others are given back |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::MultiLock;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let accounts = [NodePath::parse("/accounts/7")?, NodePath::parse("/accounts/3")?];
/// let guard = MultiLock::new(client, accounts)?.acquire().await?;
/// // .. move money from 7 to 3 ..
/// guard.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MultiLock<C> {
    client: C,
    /// In the order in which they are taken.
    locks: Arc<[Lock<C>]>,
}

/// Options of a [`MultiLock`].
#[derive(Clone, Debug)]
pub struct MultiLockBuilder<C> {
    client: C,
    paths: BTreeSet<NodePath>,
    owner: Option<String>,
    acl: Arc<[Acl]>,
    confirm: bool,
    layout: Layout,
}

impl<C: Client + Clone + 'static> MultiLock<C> {
    /// The locks on `paths`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Invalid`: there is no path.
    pub fn new(client: C, paths: impl IntoIterator<Item = NodePath>) -> Result<Self, Error> {
        Self::builder(client, paths).build()
    }

    /// The locks on `paths`, with options.
    pub fn builder(client: C, paths: impl IntoIterator<Item = NodePath>) -> MultiLockBuilder<C> {
        let paths = paths.into_iter().collect();
        MultiLockBuilder { client, paths, owner: None, acl: Acl::open(), confirm: false, layout: Layout::default() }
    }

    /// The paths, in the order in which the locks are taken.
    pub fn paths(&self) -> impl Iterator<Item = &NodePath> {
        self.locks.iter().map(Lock::path)
    }

    /// Takes all locks, each in its turn, holding those that it has.
    ///
    /// As many round trips as there are locks, where all are free.
    ///
    /// # Ordering
    ///
    /// First come, first served, on each lock. If the session expires in between, what was taken is gone with it, and it
    /// starts again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line and gives back what was taken.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`], of any of them: then nothing is held.
    ///
    /// # Examples
    ///
    /// One deadline for all:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{MultiGuard, MultiLock};
    /// async fn within_a_second<C: Client + Clone + 'static>(locks: &MultiLock<C>) -> Option<MultiGuard<C>> {
    ///     tokio::time::timeout(Duration::from_secs(1), locks.acquire()).await.ok()?.ok()
    /// }
    /// ```
    pub async fn acquire(&self) -> Result<MultiGuard<C>, Error> {
        loop {
            match self.take_in_order().await {
                Err(Error::SessionExpired) => {}
                outcome => return outcome,
            }
        }
    }

    async fn take_in_order(&self) -> Result<MultiGuard<C>, Error> {
        let mut grants: Vec<Grant<C>> = Vec::with_capacity(self.locks.len());
        for lock in self.locks.iter() {
            let (mut place, seen) = Place::queue(lock.line(), &self.client, true).await?;
            // With the session went what was taken: no use in waiting for more.
            if let Some(first) = grants.first() {
                first.place().check_session()?;
            }
            place.wait(lock.line(), seen).await?;
            grants.push(Grant::new(place));
        }
        MultiGuard::new(grants)
    }

    /// Takes all locks if all are free, without waiting for anybody: `None` if one is taken.
    ///
    /// One is taken: 1 round trip, reads and no write. All are free: 3 round trips, however many there are; more where
    /// directories are missing. Every child of a lock's node counts as a contender.
    ///
    /// # Ordering
    ///
    /// Never overtakes a contender that is in line. A place is taken in all lines in one change, and left again if somebody
    /// was faster in one of them.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and `SessionExpired`. What was taken is given back, which is not waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::MultiLock;
    /// async fn unless_busy<C: Client + Clone + 'static>(locks: &MultiLock<C>) -> Result<bool, Error> {
    ///     let Some(_guard) = locks.try_acquire().await? else { return Ok(false) };
    ///     // .. the work ..
    ///     Ok(true)
    /// }
    /// ```
    pub async fn try_acquire(&self) -> Result<Option<MultiGuard<C>>, Error> {
        let mut attempts = 0;
        loop {
            if !self.all_free().await? {
                return Ok(None);
            }
            match self.enter_all().await {
                Ok(Some((places, looks))) => return self.take_if_first(places, looks).await,
                // The creation did not happen.
                Ok(None) => {}
                // A directory was removed again, being empty.
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if attempts < DIRECTORY_ATTEMPTS => {
                    attempts += 1;
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether nobody is in any of the lines. Makes the directories that are missing.
    async fn all_free(&self) -> Result<bool, Error> {
        let mut missing = Vec::new();
        for (look, lock) in self.look().into_iter().zip(self.locks.iter()) {
            match self.seen(look, lock).await? {
                Some(stat) if stat.num_children > 0 => return Ok(false),
                Some(_) => {}
                None => missing.push(lock),
            }
        }
        for lock in missing {
            lock.line().make_parents(&self.client).await?;
        }
        Ok(true)
    }

    /// Asks for the Stat of each lock's directory. All reads leave together.
    fn look(&self) -> Vec<Call<Exists>> {
        self.paths().map(|path| self.client.exists(path)).collect()
    }

    async fn seen(&self, look: Call<Exists>, lock: &Lock<C>) -> Result<Option<Stat>, Error> {
        match look.await {
            Err(Error::ConnectionLost) => read(|| self.client.exists(lock.path())).await,
            first => first,
        }
    }

    /// Makes a node at the end of each line, all in one change, and asks who else is there. `None`: it did not happen.
    async fn enter_all(&self) -> Result<Option<Entered<C>>, Error> {
        let (client, session) = (&self.client, self.client.session());
        let data = self.locks[0].line().data(client);
        let creates = self.locks.iter().map(|lock| MultiOp::Create(lock.line().create(&data)));
        let entered = client.multi(creates.collect()).on_abandon(self.undo(&data));
        let paths: Vec<_> = match entered.await {
            Ok(replies) => replies.into_iter().filter_map(created).collect(),
            Err(Error::ConnectionLost | Error::Uncertain(_)) => return self.find_all(&data).await,
            Err(error) => return Err(error),
        };
        let Some(first) = paths.first().filter(|_| paths.len() == self.locks.len()) else {
            return self.find_all(&data).await;
        };
        // A creation in a multi yields no Stat; one node's says what all were made by, being one change. The directories are
        // asked for in the same round trip: what they say counts our nodes.
        let ask = || client.exists(first).on_abandon(self.undo(&data));
        let (asked, looks) = (ask(), self.look());
        let asked = match asked.await {
            Err(Error::ConnectionLost) => read(ask).await,
            first => first,
        };
        let stat = match asked {
            Ok(Some(stat)) => stat,
            other => {
                // No place stands on the nodes yet that would take them away, and the undo went with the answer.
                self.undo(&data)(Ok(()));
                return Err(match (other, session.state()) {
                    (Err(error), _) => error,
                    (Ok(_), SessionState::Lost) => Error::SessionExpired,
                    // Removed by somebody's hand.
                    (Ok(_), _) => Error::Refused(Refusal::NoNode),
                });
            }
        };
        let places = paths.into_iter().map(|path| Place::new(client, Created { path, stat }));
        let places = places.collect::<Option<Vec<_>>>().ok_or(Error::SessionExpired)?;
        Ok(Some((places, looks)))
    }

    /// The nodes whose creation was not answered: all of them or none.
    async fn find_all(&self, data: &Bytes) -> Result<Option<Entered<C>>, Error> {
        let searches: Vec<_> = self.locks.iter().map(|lock| search(&self.client, lock.line().find(data))).collect();
        let mut places = Vec::with_capacity(searches.len());
        for found in searches {
            // A place at once: dropped half-way, it takes its node away.
            places.extend(found.await?.and_then(|created| Place::new(&self.client, created)));
        }
        Ok((places.len() == self.locks.len()).then(|| (places, self.look())))
    }

    /// What becomes of nodes that nobody waits for any more: each is looked for and taken away.
    fn undo<T>(&self, data: &Bytes) -> impl FnOnce(Result<T, Error>) + Send + 'static {
        let finds: Vec<_> = self.locks.iter().map(|lock| lock.line().find(data)).collect();
        let client = self.client.clone();
        move |outcome| match outcome {
            Err(Error::MultiRefused { .. }) => {}
            _ => finds.into_iter().for_each(|find| drop(search(&client, find))),
        }
    }

    /// All locks, if each place is the first in its line; otherwise the places are left.
    async fn take_if_first(
        &self,
        places: Vec<Place<C>>,
        looks: Vec<Call<Exists>>,
    ) -> Result<Option<MultiGuard<C>>, Error> {
        for (look, lock) in looks.into_iter().zip(self.locks.iter()) {
            // One child is ourselves alone.
            if self.seen(look, lock).await?.is_none_or(|stat| stat.num_children != 1) {
                return Ok(None);
            }
        }
        let mut grants = Vec::with_capacity(places.len());
        for (mut place, lock) in places.into_iter().zip(self.locks.iter()) {
            place.wait(lock.line(), Seen::Others(0)).await?;
            grants.push(Grant::new(place));
        }
        MultiGuard::new(grants).map(Some)
    }
}

/// Places in all lines, and what was asked about the lines behind their creation.
type Entered<C> = (Vec<Place<C>>, Vec<Call<Exists>>);

fn created(reply: MultiReply) -> Option<NodePath> {
    match reply {
        MultiReply::Created(path, _) => Some(path),
        _ => None,
    }
}

impl<C: Client + Clone + 'static> MultiLockBuilder<C> {
    /// What people will read about the holder in the locks' nodes. The default is the process id.
    ///
    /// Behind it, on a line of its own, is the number of the attempt: Curator and kazoo show both lines.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// As [`LockBuilder::confirm_hand_over`](crate::LockBuilder::confirm_hand_over), for all of them.
    pub fn confirm_hand_over(mut self, confirm: bool) -> Self {
        self.confirm = confirm;
        self
    }

    /// How the nodes of contenders are named. The default is Curator's.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// The locks.
    ///
    /// # Errors
    ///
    /// `Invalid`: there is no path.
    pub fn build(self) -> Result<MultiLock<C>, Error> {
        if self.paths.is_empty() {
            return Err(Error::invalid("a lock on nothing"));
        }
        let lock = |path| {
            let lock = Lock::builder(self.client.clone(), path).acl(self.acl.clone()).layout(self.layout);
            let lock = lock.confirm_hand_over(self.confirm);
            match &self.owner {
                Some(owner) => lock.owner(owner.clone()).build(),
                None => lock.build(),
            }
        };
        Ok(MultiLock { locks: self.paths.into_iter().map(lock).collect(), client: self.client })
    }
}

/// The locks of a [`MultiLock`], all held. Dropping it releases them, without waiting and without a runtime.
#[must_use = "dropping a guard releases what it holds"]
pub struct MultiGuard<C: Client> {
    session: Session,
    grants: Vec<Grant<C>>,
}

impl<C: Client> MultiGuard<C> {
    /// # Errors
    ///
    /// `SessionExpired`: they are not of one session, so the earlier ones are lost.
    fn new(grants: Vec<Grant<C>>) -> Result<Self, Error> {
        let Some(session) = grants.last().map(|grant| grant.session().clone()) else {
            return Err(Error::invalid("a lock on nothing"));
        };
        match grants.iter().all(|grant| grant.session().id() == session.id()) {
            true => Ok(Self { session, grants }),
            false => Err(Error::SessionExpired),
        }
    }

    /// Each lock's path and fencing token, in the order in which they were taken.
    pub fn tokens(&self) -> impl Iterator<Item = (NodePath, Token)> {
        self.grants.iter().filter_map(|grant| Some((grant.path().parent()?, grant.token())))
    }

    /// The fencing token of the lock on `path`.
    pub fn token(&self, path: &NodePath) -> Option<Token> {
        self.tokens().find(|(lock, _)| lock == path).map(|(_, token)| token)
    }

    /// The session that they are held with.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the server cannot have given any of them to anybody else yet; as [`Grant::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.session.is_valid()
    }

    /// Waits until they are lost with their session; as [`Grant::lost`].
    pub fn lost(&self) -> SessionLost {
        self.session.lost()
    }
}

impl<C: Client + Clone + 'static> MultiGuard<C> {
    /// Carries out `operations`, all or none, only if every lock is still held; as [`Grant::multi`].
    ///
    /// The first time 2 round trips, then 1.
    ///
    /// # Ordering
    ///
    /// As one change, after everything this session has submitted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the operations undone or done; never half done.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, or `Refused(NoNode)`: one of them is lost; nothing changed. `MultiRefused` with the index of the
    /// caller's operation. `ConnectionLost`: may or may not have happened.
    pub async fn multi(&self, operations: Vec<MultiOp>) -> Result<Vec<MultiReply>, Error> {
        Grant::guarded(&self.grants, operations).await
    }

    /// Releases all locks and waits for the server's word. 1 round trip.
    ///
    /// # Ordering
    ///
    /// After everything this session has submitted: what was written while they were held is there before the next
    /// holder of any of them.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future releases all the same.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, or `Refused(NoNode)`: one was lost before; the others are released. A lost connection is no
    /// error: the release goes on after the reconnect.
    pub async fn release(self) -> Result<(), Error> {
        Grant::release_all(self.grants).await
    }
}

impl<C> fmt::Debug for MultiLock<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiLock").field("locks", &self.locks).finish_non_exhaustive()
    }
}

impl<C: Client> fmt::Debug for MultiGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiGuard").field("grants", &self.grants).finish_non_exhaustive()
    }
}
