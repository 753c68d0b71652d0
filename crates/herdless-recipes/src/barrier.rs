//! A gate that is open or closed for everybody.

use std::fmt;
use std::sync::Arc;

use herdless_core::{
    Acl, Client, ClientExt, Create, CreateMode, Error, NodeData, NodePath, Refusal, SessionState, Stat, Version,
};

use crate::contend::synced;
use crate::parents;

/// A gate: closed while its node exists. Who waits at it goes on when somebody opens it.
///
/// The layout is that of Curator's `DistributedBarrier` and kazoo's `Barrier`: the node itself, persistent. It stays closed
/// when the one who closed it dies.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | close | 1 | one more where parents are missing |
/// | open | 2 | a read says which node is meant, so that a later closing is not undone after a lost reply |
/// | wait, open / closed | 1 / 1, an event, 1 | a barrier that is open leaves no watch behind |
///
/// Opening wakes everybody who waits: all of them are to go on.
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 778 to close and open, 302 to look at an open
/// one.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error: closing twice is closing, and opening undoes no later closing |
/// | session expired | who waits goes on waiting in the next session; for close and open `SessionExpired`, may or may not have happened |
/// | the one who closed it dies | it stays closed |
/// | a future is dropped | who waited does not; a closing or an opening happened or not |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::Barrier;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let migration = Barrier::new(client, NodePath::parse("/barriers/migration")?);
/// migration.close().await?;
/// // .. workers call `migration.wait()` before they start ..
/// migration.open().await?;
/// migration.wait().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Barrier<C> {
    client: C,
    path: NodePath,
    acl: Arc<[Acl]>,
}

impl<C: Client + Clone + 'static> Barrier<C> {
    /// The barrier at `path`, open to anyone. Nothing is sent yet.
    pub fn new(client: C, path: NodePath) -> Self {
        Self { client, path, acl: Acl::open() }
    }

    /// With this access control list for the nodes that are made, parents included.
    pub fn with_acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// The barrier's node.
    pub fn path(&self) -> &NodePath {
        &self.path
    }

    /// Closes the barrier. Closed already is as good.
    ///
    /// 1 round trip; 3 where parents are missing.
    ///
    /// # Ordering
    ///
    /// When it returns, the barrier was closed at some moment after the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it closed or not.
    ///
    /// # Errors
    ///
    /// `Refused` (`NoAuth`, ..), `SessionExpired` (may or may not have happened), `Overloaded`, `Closed`. A lost connection
    /// is no error: closing twice is closing.
    pub async fn close(&self) -> Result<(), Error> {
        let mode = CreateMode::Persistent;
        loop {
            let create = Create { path: self.path.clone(), data: NodeData::default(), acl: self.acl.clone(), mode };
            match self.client.call(create).await {
                Ok(_) | Err(Error::Refused(Refusal::NodeExists)) => return Ok(()),
                Err(Error::Refused(Refusal::NoNode)) => {
                    let Some(parent) = self.path.parent() else { return Err(Refusal::NoNode.into()) };
                    parents::make(&self.client, &parent, &self.acl).await?;
                }
                Err(Error::ConnectionLost | Error::Uncertain(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the barrier, and with it lets everybody go on who waits. Open already is as good.
    ///
    /// 2 round trips.
    ///
    /// # Ordering
    ///
    /// It undoes one closing at most, one that is there at some moment of the call: a closing that follows is not undone, also
    /// where replies are lost on the way.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open or not.
    ///
    /// # Errors
    ///
    /// `Refused` (`NoAuth`, `NotEmpty`, ..), `SessionExpired` (may or may not have happened), `Overloaded`, `Closed`.
    pub async fn open(&self) -> Result<(), Error> {
        let mut meant = None;
        loop {
            let Some(stat) = self.stat().await? else { return Ok(()) };
            // After a lost reply the node of that name may be another.
            if *meant.get_or_insert(stat.czxid) != stat.czxid {
                return Ok(());
            }
            match self.client.delete(&self.path, Version::ANY).await {
                Ok(()) | Err(Error::Refused(Refusal::NoNode)) => return Ok(()),
                Err(Error::ConnectionLost | Error::Uncertain(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the barrier is closed now: the server catches up first. 1 round trip.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Refused(NoAuth)`, `SessionExpired`, `Overloaded`, `Closed`. A lost connection is no error.
    pub async fn is_closed(&self) -> Result<bool, Error> {
        Ok(self.stat().await?.is_some())
    }

    async fn stat(&self) -> Result<Option<Stat>, Error> {
        synced(&self.client, &self.path, || self.client.exists(&self.path)).await
    }

    /// Waits until the barrier is open.
    ///
    /// 1 round trip if it is; otherwise 1, the event, and 1.
    ///
    /// # Ordering
    ///
    /// Every closing that had returned anywhere before the call is seen, as the server catches up first; but one that leads an
    /// ensemble may know it a moment later than those it has told ([`sync`](herdless_core::ClientExt::sync)).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future stops waiting.
    ///
    /// # Errors
    ///
    /// `Refused(NoAuth)`, `Overloaded`, `Closed`. Neither a lost connection nor an expired session is one.
    pub async fn wait(&self) -> Result<(), Error> {
        loop {
            let session = self.client.session();
            match self.wait_for_change().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // A closed client has no next session to wait with.
                Err(Error::SessionExpired) if session.state() == SessionState::Lost => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the barrier is open; if not, a change has come since.
    async fn wait_for_change(&self) -> Result<bool, Error> {
        // A read leaves a watch only where there is a node; `exists` would leave one on an open barrier.
        match synced(&self.client, &self.path, || self.client.get_and_watch(&self.path)).await {
            Ok((_, watch)) => watch.await.map(|_| false),
            Err(Error::Refused(Refusal::NoNode)) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl<C> fmt::Debug for Barrier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("path", &self.path).finish_non_exhaustive()
    }
}
