//! Consumers and what they are handed.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{Client, Error, Refusal};

use super::claim::{Change, Claim, Fate};
use super::format::Content;
use super::head::Found;
use super::shared::Shared;
use super::take::{Mode, take};
use super::tree::Position;

/// Takes items **at least once**: an item stays in the queue until its [`Delivery`] is acknowledged, and goes to
/// another consumer where that does not happen.
///
/// Consumers stand in line, like those who wait for a [`Lock`](crate::Lock); only the first looks at the queue. It claims
/// several items at once (see [`prefetch`](ConsumerBuilder::prefetch)), leaves the line in the same change, and hands
/// them out from memory.
///
/// Dropping a consumer gives back what it claimed and has not handed out. Deliveries outlive it.
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::Queue;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let queue = Queue::new(client, NodePath::parse("/jobs")?);
/// queue.put("first").await?;
/// let mut consumer = queue.consumer().prefetch(16).build();
/// let delivery = consumer.take().await?;
/// assert_eq!(delivery.data(), "first");
/// delivery.ack().await?;
/// # Ok(()) }
/// ```
pub struct Consumer<C: Client + Clone + 'static> {
    shared: Arc<Shared<C>>,
    prefetch: usize,
    max_attempts: u32,
    ready: VecDeque<(Arc<Claim<C>>, Found)>,
}

/// Options of a [`Consumer`].
pub struct ConsumerBuilder<C> {
    shared: Arc<Shared<C>>,
    prefetch: usize,
    max_attempts: u32,
}

impl<C: Client + Clone + 'static> ConsumerBuilder<C> {
    pub(super) fn new(shared: Arc<Shared<C>>) -> Self {
        Self { shared, prefetch: 1, max_attempts: u32::MAX }
    }

    /// How many items are claimed at once, at most. What a claim costs is shared by them; but an item that is claimed waits
    /// for this consumer while others may be idle. The default is 1; a claim holds fewer where they come to more than
    /// 1 MiB, or where there are not as many.
    pub fn prefetch(mut self, items: usize) -> Self {
        self.prefetch = items;
        self
    }

    /// How often an item is handed out before it is put aside as a [dead letter](super::Queue::dead_letters). A claim that
    /// ended with its consumer counts, since the item may be why. The default is without limit.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// The consumer. Nothing is sent yet.
    pub fn build(self) -> Consumer<C> {
        let Self { shared, prefetch, max_attempts } = self;
        Consumer { shared, prefetch, max_attempts, ready: VecDeque::new() }
    }
}

impl<C: Client + Clone + 'static> Consumer<C> {
    /// Takes the next item, and waits for one where there is none.
    ///
    /// 0 round trips where one was claimed already. Otherwise 3 for a whole claim: the place in line and a look at the queue,
    /// the items, the claim. Behind others 2, an event, then 3; where there is no item 2, an event, then 3.
    ///
    /// # Ordering
    ///
    /// Items are claimed in the order in which they were put; what comes back from another consumer is claimed first. With
    /// several consumers, or after a redelivery, they may be worked on in another order.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line, and gives back what it has claimed.
    ///
    /// # Errors
    ///
    /// `Malformed`: the queue's own data is not a queue's. `Closed`, `Overloaded`, `Refused` (`NoAuth`, ..). A lost
    /// connection or session is no error: it starts again. What is no item of this queue is put aside as a dead letter.
    ///
    /// # Examples
    ///
    /// See [`Consumer`].
    pub async fn take(&mut self) -> Result<Delivery<C>, Error> {
        loop {
            while let Some((claim, found)) = self.ready.pop_front() {
                // What was claimed with a session that is over is, or will be, somebody else's.
                if !claim.is_valid() {
                    continue;
                }
                let content = Content::decode(&found.bytes).filter(|_| found.attempts < self.max_attempts);
                match content {
                    Some(content) => return Ok(Delivery::new(claim, &found, content)),
                    None => bury(claim, found).await?,
                }
            }
            let taken = take(&self.shared, Mode::AtLeastOnce, self.prefetch).await?;
            let claim = taken.claim;
            self.ready.extend(taken.items.into_iter().filter_map(|found| Some((claim.clone()?, found))));
        }
    }
}

/// Puts an item aside.
async fn bury<C: Client + Clone + 'static>(claim: Arc<Claim<C>>, found: Found) -> Result<(), Error> {
    let change = Change { items: vec![found.position], fate: Fate::Dead(found.bytes) };
    let submitted = claim.submit(&change);
    match claim.settle(change, submitted).await {
        // It is not ours to put aside any more.
        Ok(()) | Err(Error::SessionExpired | Error::Refused(Refusal::NoNode)) => Ok(()),
        Err(error) => Err(error),
    }
}

impl<C: Client + Clone + 'static> Drop for Consumer<C> {
    fn drop(&mut self) {
        let Some((claim, _)) = self.ready.front() else { return };
        let (claim, items) = (claim.clone(), self.ready.iter().map(|(_, found)| found.position).collect());
        self.ready.clear();
        claim.settle_unseen(&Change { items, fate: Fate::Back { counted: false } });
    }
}

/// An item, handed out. [`ack`](Self::ack) removes it from the queue. Dropped, it goes to another consumer, as with
/// [`nack`](Self::nack).
#[must_use = "an item that is not acknowledged is handed out again"]
pub struct Delivery<C: Client + Clone + 'static> {
    /// There until the delivery is settled.
    claim: Option<Arc<Claim<C>>>,
    position: Position,
    content: Content,
    attempts: u32,
}

impl<C: Client + Clone + 'static> Delivery<C> {
    fn new(claim: Arc<Claim<C>>, found: &Found, content: Content) -> Self {
        Self { claim: Some(claim), position: found.position, content, attempts: found.attempts.saturating_add(1) }
    }

    /// What was put.
    pub fn data(&self) -> &Bytes {
        &self.content.data
    }

    /// The id that it was put with, if any.
    pub fn id(&self) -> Option<&str> {
        self.content.id.as_deref()
    }

    /// The item's number: no other item of this queue (and priority) has it, and a later one has a greater.
    pub fn number(&self) -> u32 {
        self.position.number
    }

    /// How often the item was handed out, this time included: 1 is the first. A consumer that died counts.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether the item is still ours: false once the server may have given it to another consumer, as far as
    /// [`Session::is_valid`](herdless_core::Session::is_valid) knows.
    pub fn is_valid(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.is_valid())
    }

    /// Removes the item: it is done.
    ///
    /// 1 round trip. Sent at the call, so that many may be on their way together: call it for each, await them later.
    ///
    /// # Ordering
    ///
    /// As one change, at the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it on its way. Where the connection is lost just then, the item may come back.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: the session ended; the item is, or may be, somebody else's, and the work may be done twice.
    /// `Refused(NoNode)`: somebody else removed the item, or the queue. A lost connection is no error: it is found out
    /// whether it happened, and made to happen.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Consumer;
    /// async fn hundred<C: Client + Clone + 'static>(consumer: &mut Consumer<C>) -> Result<(), Error> {
    ///     let mut acks = Vec::new();
    ///     for _ in 0..100 {
    ///         acks.push(consumer.take().await?.ack());
    ///     }
    ///     for ack in acks {
    ///         ack.await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn ack(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let shared = self.claim.as_ref().map(|claim| claim.tree().ids());
        let marker = self.content.id.as_deref().zip(shared).and_then(|(id, ids)| ids.child(id).ok());
        self.settle(Fate::Done(marker))
    }

    /// Gives the item back at once, for this or another consumer. The attempt counts.
    ///
    /// Costs, ordering, cancel safety and errors as [`ack`](Self::ack).
    pub fn nack(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.settle(Fate::Back { counted: true })
    }

    fn settle(mut self, fate: Fate) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let change = Change { items: vec![self.position], fate };
        let claim = self.claim.take().expect("it is taken by what consumes the delivery");
        let submitted = claim.submit(&change);
        claim.settle(change, submitted)
    }
}

impl<C: Client + Clone + 'static> Drop for Delivery<C> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            claim.settle_unseen(&Change { items: vec![self.position], fate: Fate::Back { counted: true } });
        }
    }
}

impl<C: Client + Clone + 'static> fmt::Debug for Consumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("prefetch", &self.prefetch)
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for ConsumerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder").field("prefetch", &self.prefetch).finish_non_exhaustive()
    }
}

impl<C: Client + Clone + 'static> fmt::Debug for Delivery<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("position", &self.position)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// Takes items **at most once**: an item is removed from the queue in the change that takes it. A consumer that fails
/// afterwards has lost it.
///
/// With several at a time (see [`Queue::at_most_once`](super::Queue::at_most_once)) those that were not handed out are lost
/// with the consumer, too.
pub struct AtMostOnceConsumer<C> {
    shared: Arc<Shared<C>>,
    prefetch: usize,
    ready: VecDeque<Found>,
}

/// An item that was removed from its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// What was put.
    pub data: Bytes,
    /// The id that it was put with, if any.
    pub id: Option<String>,
    /// The item's number, as [`Delivery::number`].
    pub number: u32,
}

impl<C: Client + Clone + 'static> AtMostOnceConsumer<C> {
    pub(super) fn new(shared: Arc<Shared<C>>, prefetch: usize) -> Self {
        Self { shared, prefetch, ready: VecDeque::new() }
    }

    /// Takes the next item, and waits for one where there is none.
    ///
    /// Costs, ordering and errors as [`Consumer::take`]; there is nothing to acknowledge. Where the reply to the removal is
    /// lost it is found out whether it happened, as long as the session lives; where the session ends just then, the items
    /// may be lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the line. What it is removing at that moment is lost.
    ///
    /// # Errors
    ///
    /// As [`Consumer::take`].
    pub async fn take(&mut self) -> Result<Item, Error> {
        loop {
            while let Some(found) = self.ready.pop_front() {
                // What is no item was put aside when it was removed.
                if let Some(Content { id, data }) = Content::decode(&found.bytes) {
                    return Ok(Item { data, id, number: found.position.number });
                }
            }
            self.ready.extend(take(&self.shared, Mode::AtMostOnce, self.prefetch).await?.items);
        }
    }
}

impl<C> fmt::Debug for AtMostOnceConsumer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtMostOnceConsumer").field("prefetch", &self.prefetch).finish_non_exhaustive()
    }
}
