//! What a leader holds.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use herdless_core::{Client, ClientExt, Error, MultiOp, NodePath, Refusal, Version};

use super::Election;
use super::proclamation::{Proclamation, Rank};
use crate::contend::{Place, Token, settled};
use crate::guard::Grant;

/// What of ZooKeeper's largest frame, 1 MiB less a byte (`jute.maxbuffer`), is left to a value beside two paths.
const VALUE_LIMIT: usize = 1_000_000;

/// An [`Election`], won. Dropping it resigns, without waiting and without a runtime.
#[must_use = "dropping a leadership resigns"]
pub struct Leadership<C: Client> {
    grant: Grant<C>,
    directory: NodePath,
    /// How often this leader has proclaimed something.
    proclaimed: AtomicU64,
}

impl<C: Client + Clone + 'static> Election<C> {
    pub(super) fn leadership(&self, place: Place<C>) -> Leadership<C> {
        Leadership { grant: Grant::new(place), directory: self.path().clone(), proclaimed: AtomicU64::new(0) }
    }
}

impl<C: Client> Leadership<C> {
    /// The term: the fencing token of this leadership, greater than that of every earlier one.
    pub fn term(&self) -> Token {
        self.grant.token()
    }
}

impl<C: Client + Clone + 'static> Leadership<C> {
    /// Tells everybody who [observes](Election::observe) the election something: an address, a state. It counts as
    /// long as this leadership does, and replaces what was proclaimed before.
    ///
    /// 1 round trip; the first time 2, unless something was written with [`multi`](Grant::multi) before. Wakes the
    /// observers, and no candidate. The value is kept in the data of the election's own node, which must be writable.
    ///
    /// # Ordering
    ///
    /// One after the other. Of two that are on their way at the same time either may be the last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the value proclaimed or not.
    ///
    /// # Errors
    ///
    /// `Invalid`: more than 1,000,000 bytes. `SessionExpired`, or `Refused(NoNode)`: the leadership is lost; nothing
    /// changed. `Refused(NoAuth)`. A lost connection is no error: it is found out whether the value was written.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Leadership;
    /// async fn tell<C: Client + Clone + 'static>(leadership: &Leadership<C>, address: &str) -> Result<(), Error> {
    ///     leadership.proclaim(address.to_owned()).await
    /// }
    /// ```
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<(), Error> {
        let value = value.into();
        if value.len() > VALUE_LIMIT {
            let text = format!("a proclaimed value of {} bytes; the limit is {VALUE_LIMIT}", value.len());
            return Err(Error::invalid(text));
        }
        let number = self.proclaimed.fetch_add(1, Ordering::Relaxed) + 1;
        let rank = Rank { term: self.term(), number };
        let data = Proclamation { rank, value }.encode();
        let mut expected = Version::ANY;
        loop {
            match self.multi(vec![MultiOp::set(&self.directory, data.clone(), expected)]).await {
                Ok(_) => return Ok(()),
                Err(Error::ConnectionLost | Error::Uncertain(_)) => {}
                Err(Error::MultiRefused { refusal: Refusal::BadVersion, .. }) => {}
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(error) => return Err(error),
            }
            // What was written may be ours, or one of ours that came later. If it is older, ours did not happen, and it
            // is sent again for the version that was seen: should it have been under way still, only one of the two is
            // carried out.
            let (found, version) = self.look().await?;
            if found.is_some_and(|found| found >= rank) {
                return Ok(());
            }
            expected = version;
        }
    }

    /// What is proclaimed, once what was on its way has been carried out or never will be.
    async fn look(&self) -> Result<(Option<Rank>, Version), Error> {
        let client = self.grant.client();
        let (data, stat) = settled(client, &self.directory, || client.get(&self.directory)).await?;
        Ok((Proclamation::parse(&data).map(|found| found.rank), Version(stat.version)))
    }

    /// Resigns, and waits for the server's word. 1 round trip.
    ///
    /// # Ordering
    ///
    /// After everything this session has submitted: what was written while leading is there before the next leader.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resigns all the same.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, or `Refused(NoNode)`: it was lost before. A lost connection is no error: the resignation
    /// goes on after the reconnect.
    pub async fn resign(self) -> Result<(), Error> {
        self.grant.release().await
    }
}

impl<C: Client> Deref for Leadership<C> {
    type Target = Grant<C>;

    fn deref(&self) -> &Grant<C> {
        &self.grant
    }
}

impl<C: Client> fmt::Debug for Leadership<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("grant", &self.grant).finish_non_exhaustive()
    }
}
