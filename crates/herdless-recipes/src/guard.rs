//! What is held: the common part of all guards.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use herdless_core::{
    Client, ClientExt, Error, MultiOp, MultiReply, NodePath, Refusal, Session, SessionLost, Version, Watch,
};

use crate::contend::{Place, Token};

/// A grant: a lock, a permit or a leadership that is held, as every guard shows it. Dropping it releases it, without waiting
/// and without a runtime.
#[must_use = "dropping a grant releases it"]
pub struct Grant<C: Client> {
    place: Place<C>,
    /// Left on our own node by the first guarded write: as long as it has not fired, the node is the one it was.
    watch: Mutex<Option<Watch>>,
}

impl<C: Client> Grant<C> {
    pub(crate) fn new(place: Place<C>) -> Self {
        Self { place, watch: Mutex::new(None) }
    }

    /// The fencing token of this grant.
    pub fn token(&self) -> Token {
        self.place.token()
    }

    /// The holder's node.
    pub fn path(&self) -> &NodePath {
        self.place.path()
    }

    /// The session that it is held with.
    pub fn session(&self) -> &Session {
        self.place.session()
    }

    /// Whether the server cannot have given it to anybody else yet: false from *(the sending of the last answered
    /// request) + session timeout* on, by a monotonic clock. Sends nothing.
    ///
    /// On an ensemble it may be some seconds late, where a server is cut off from the leader: see
    /// [`Session::is_valid`]. The [`token`](Self::token) and [`multi`](Self::multi) hold there too.
    ///
    /// Between this check and a write the process may be paused; only the [`token`](Self::token) covers that.
    pub fn is_valid(&self) -> bool {
        self.place.session().is_valid()
    }

    /// Waits until it is lost with its session. It owns what it needs, so it can run beside the guard's use.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::future::Future;
    /// # use herdless_core::Client;
    /// # use herdless_recipes::Grant;
    /// async fn work_while_held<C: Client>(grant: &Grant<C>, work: impl Future<Output = ()>) -> bool {
    ///     tokio::select! {
    ///         biased;
    ///         () = grant.lost() => false,
    ///         () = work => true,
    ///     }
    /// }
    /// ```
    pub fn lost(&self) -> SessionLost {
        self.place.session().lost()
    }
}

impl<C: Client + Clone + 'static> Grant<C> {
    /// Carries out `operations`, all or none, only if the holder's node is still the one that this grant stands on.
    ///
    /// The first time 2 round trips: the node is read, its `czxid` compared with the token, and a watch left on it. From
    /// then on 1, as long as the watch has not fired. That the node exists is checked in the multi itself. What ZooKeeper
    /// cannot check there is whose it is: somebody would have to delete the node by hand and make the same name again while
    /// the event of the first is on its way.
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
    /// `SessionExpired`, or `Refused(NoNode)`: it is lost; nothing changed. `MultiRefused` with the index of the
    /// caller's operation. `ConnectionLost`: may or may not have happened.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error, MultiOp, NodePath, Version};
    /// # use herdless_recipes::Grant;
    /// async fn save<C: Client + Clone + 'static>(grant: &Grant<C>, path: &NodePath) -> Result<(), Error> {
    ///     grant.multi(vec![MultiOp::set(path, "new state", Version::ANY)]).await?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn multi(&self, operations: Vec<MultiOp>) -> Result<Vec<MultiReply>, Error> {
        Self::guarded(std::slice::from_ref(self), operations).await
    }

    fn is_node_watched(&self) -> bool {
        let mut slot = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cx = Context::from_waker(Waker::noop());
        // One that has fired is done with: a future says what it has to say once.
        slot.take_if(|watch| Pin::new(watch).poll(&mut cx).is_ready());
        slot.is_some()
    }

    /// The read leaves at once.
    fn watch_node(&self) -> impl Future<Output = Result<(), Error>> {
        let read = self.place.client().get_and_watch(self.path());
        async {
            let ((_, stat), watch) = read.await?;
            if Token(stat.czxid) != self.place.created_by() {
                // The same name, made again by somebody else.
                return Err(Error::Refused(Refusal::NoNode));
            }
            *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
            Ok(())
        }
    }

    /// Makes sure that each node is the one that its grant stands on, and watched. All reads leave together.
    async fn watch_nodes(grants: &[Self]) -> Result<(), Error> {
        let reads: Vec<_> = grants.iter().filter(|grant| !grant.is_node_watched()).map(Self::watch_node).collect();
        for read in reads {
            read.await?;
        }
        Ok(())
    }

    /// Carries out `operations` only if the nodes of all `grants`, which are of one client, are there.
    pub(crate) async fn guarded(grants: &[Self], operations: Vec<MultiOp>) -> Result<Vec<MultiReply>, Error> {
        for grant in grants {
            // The read would wait for the next session.
            grant.place.check_session()?;
        }
        Self::watch_nodes(grants).await?;
        let Some(first) = grants.first() else { return Ok(Vec::new()) };
        let checks = grants.iter().map(|grant| MultiOp::check(grant.path(), Version::ANY));
        match first.place.multi(checks.chain(operations).collect()).await {
            Ok(replies) => Ok(replies.into_iter().skip(grants.len()).collect()),
            Err(Error::MultiRefused { index, refusal }) => Err(match index.checked_sub(grants.len()) {
                Some(index) => Error::MultiRefused { index, refusal },
                None => Error::Refused(refusal),
            }),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn release(self) -> Result<(), Error> {
        Self::release_all(vec![self]).await
    }

    /// Releases all in one round trip, and waits for the server's word on each, also where it is an error.
    pub(crate) async fn release_all(grants: impl IntoIterator<Item = Self>) -> Result<(), Error> {
        let leaving: Vec<_> = grants.into_iter().map(|grant| grant.place.leave()).collect();
        let mut outcome = Ok(());
        for left in leaving {
            let left = match left.await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Error::Refused(Refusal::NoNode)),
                Err(error) => Err(error),
            };
            outcome = outcome.and(left);
        }
        outcome
    }

    pub(crate) fn client(&self) -> &C {
        self.place.client()
    }

    pub(crate) fn place(&self) -> &Place<C> {
        &self.place
    }

    pub(crate) fn into_place(self) -> Place<C> {
        self.place
    }
}

impl<C: Client> fmt::Debug for Grant<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Makes a guard: a grant under the name of its recipe.
macro_rules! guard {
    ($(#[$doc:meta])* $name:ident { $released:literal $(, $field:ident: $type:ty)? }) => {
        $(#[$doc])*
        #[must_use = "dropping a guard releases what it holds"]
        pub struct $name<C: Client> {
            grant: Grant<C>,
            $($field: $type,)?
        }

        impl<C: Client + Clone + 'static> $name<C> {
            pub(crate) fn new(place: Place<C> $(, $field: $type)?) -> Self {
                Self { grant: Grant::new(place) $(, $field)? }
            }

            #[doc = concat!("Releases the ", $released, " and waits for the server's word. 1 round trip.")]
            ///
            /// # Ordering
            ///
            /// After everything this session has submitted: what was written while it was held is there before the next
            /// holder.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future releases all the same.
            ///
            /// # Errors
            ///
            /// `SessionExpired`, or `Refused(NoNode)`: it was lost before. Any other refusal (`NoAuth`, ..): the node is still
            /// there, until the session ends. A lost connection is no error, the release goes on after the reconnect; nor is a
            /// server that has too much to do, the release goes on after a pause.
            pub async fn release(self) -> Result<(), herdless_core::Error> {
                self.grant.release().await
            }
        }

        impl<C: Client> std::ops::Deref for $name<C> {
            type Target = Grant<C>;

            fn deref(&self) -> &Grant<C> {
                &self.grant
            }
        }

        impl<C: Client> std::fmt::Debug for $name<C> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("grant", &self.grant).finish()
            }
        }
    };
}

pub(crate) use guard;
