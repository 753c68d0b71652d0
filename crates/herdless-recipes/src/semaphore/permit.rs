//! What is held of a semaphore.

use std::fmt;
use std::ops::Deref;

use herdless_core::{Client, Error};

use crate::contend::Place;
use crate::guard::Grant;

/// Permits of a [`Semaphore`](crate::Semaphore), held. Dropping it gives all of them back, without waiting and without a
/// runtime.
#[must_use = "dropping a permit gives it back"]
pub struct Permit<C: Client> {
    grant: Grant<C>,
    /// The other nodes, where there is one for each permit.
    others: Vec<Place<C>>,
    weight: u32,
}

impl<C: Client> Permit<C> {
    /// How many permits these are.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

impl<C: Client + Clone + 'static> Permit<C> {
    pub(super) fn new(place: Place<C>, others: Vec<Place<C>>, weight: u32) -> Self {
        Self { grant: Grant::new(place), others, weight }
    }

    /// Gives the permits back and waits for the server's word. 1 round trip.
    ///
    /// # Ordering
    ///
    /// After everything this session has submitted: what was written while they were held is there before the next
    /// holder.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives them back all the same.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, or `Refused(NoNode)`: they were lost before. A lost connection is no error: the release goes on
    /// after the reconnect.
    pub async fn release(self) -> Result<(), Error> {
        // Each node by a release of its own: these outlive the connection, which one multi for all would not.
        Grant::release_all(std::iter::once(self.grant).chain(self.others.into_iter().map(Grant::new))).await
    }
}

impl<C: Client> Deref for Permit<C> {
    type Target = Grant<C>;

    fn deref(&self) -> &Grant<C> {
        &self.grant
    }
}

impl<C: Client> fmt::Debug for Permit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("grant", &self.grant).field("weight", &self.weight).finish_non_exhaustive()
    }
}
