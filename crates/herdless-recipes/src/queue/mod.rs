//! Queues.

mod claim;
mod consumer;
mod dead;
mod delay;
mod due;
mod foreign;
mod format;
mod head;
mod priority;
mod put;
mod shared;
mod take;
mod tree;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{Acl, Client, Error, NodePath};

use put::Put;
use shared::Shared;
use tree::Tree;

pub use consumer::{AtMostOnceConsumer, Consumer, ConsumerBuilder, Delivery, Item};
pub use dead::DeadLetter;
pub use delay::{DelayQueue, DelayQueueBuilder};
pub use foreign::{ForeignItem, ForeignQueue, ForeignQueueBuilder, ForeignQueueLayout};
pub use priority::{PriorityQueue, PriorityQueueBuilder};

/// A queue: items are taken in the order in which they were put.
///
/// It is read by number and never listed, so that it works at any length that the server has memory for. Its directories are
/// made at the first use and stay.
///
/// # What is promised, and what is not
///
/// - An item that was put is handed out **at least once** by a [`Consumer`], until it is acknowledged; an item that was
///   acknowledged is never handed out again. Or **at most once** by an [`AtMostOnceConsumer`].
/// - A consumer that dies, or whose session ends, gives back what it claimed and has not acknowledged. It cannot
///   acknowledge what somebody else has been given since.
/// - One put wakes one consumer, however many wait.
/// - With a [capacity](QueueBuilder::capacity) there are never more items than that, if all who put are bounded by it.
///
/// A queue takes 2,147,483,647 items in its life, because the server's counter stops there. Data is at most 1,000,000 bytes.
/// The nodes below its path are the queue's: who deletes a claim's record by hand loses the items of the claim.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | put | 1 | sent at the call; any number on their way together |
/// | put_once | 1 | |
/// | put, with a capacity | 3 | |
/// | take | 3 for a claim of up to `prefetch` items | 0 for the others of a claim |
/// | ack | 1 | sent at the call; any number on their way together |
///
/// Who waits costs nothing. A put wakes the first in line, one event; its claim wakes the next, who is the first then. In requests:
/// a put 1, a claim of n items n + 6, an ack 1.
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 334 to put ten bytes, 1,169 with an id; 1,174
/// to take and acknowledge one of a hundred, 356 to take one at most once.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost, put | `ConnectionLost`: **it may or may not have been put**; `put_once`, and a put with a capacity, find out |
/// | connection lost, take or ack | no error: it is found out |
/// | session expired, take | it starts again; what was claimed goes to other consumers |
/// | session expired, ack | `SessionExpired`: the item is, or may be, somebody else's |
/// | a consumer dies or is dropped | what it claimed goes to others; where it died, the attempt counts |
/// | a put is dropped | without a capacity it stays on its way; with one the line is left |
/// | the queue is deleted | `Refused(NoNode)` for who waits; a put makes it anew |
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
/// // In order, and in one round trip.
/// let (first, second) = (queue.put("first"), queue.put("second"));
/// first.await?;
/// second.await?;
/// let mut consumer = queue.consumer().build();
/// consumer.take().await?.ack().await?;
/// assert_eq!(queue.len().await?, 1);
/// # Ok(()) }
/// ```
pub struct Queue<C> {
    shared: Arc<Shared<C>>,
}

/// Options of a [`Queue`].
pub struct QueueBuilder<C> {
    client: C,
    path: NodePath,
    acl: Arc<[Acl]>,
    capacity: Option<u32>,
}

impl<C: Client + Clone + 'static> Queue<C> {
    /// The queue on `path`. Nothing is sent yet.
    pub fn new(client: C, path: NodePath) -> Self {
        Self::builder(client, path).build()
    }

    /// The queue on `path`, with options.
    pub fn builder(client: C, path: NodePath) -> QueueBuilder<C> {
        QueueBuilder { client, path, acl: Acl::open(), capacity: None }
    }

    /// The queue's path.
    pub fn path(&self) -> &NodePath {
        &self.shared.tree.root
    }

    /// Puts an item at the end. Where the queue is bounded, waits for room.
    ///
    /// 1 round trip; with a capacity 3, and an event where it waits for others or for room.
    ///
    /// # Ordering
    ///
    /// Sent at the call: items are in the order of the calls. With a capacity when the future is first polled, in the order
    /// of the producers' line.
    ///
    /// # Cancel safety
    ///
    /// Without a capacity, dropping the future leaves the put on its way. With one, it leaves the line; the item may or may
    /// not have been put.
    ///
    /// # Errors
    ///
    /// `ConnectionLost`: **it may or may not have been put**; [`put_once`](Self::put_once) knows. With a capacity this is
    /// found out, and it is `SessionExpired` where the session ends just then. `TooLarge`, more than 1,000,000 bytes: nothing
    /// was put. `Refused`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// See [`Queue`].
    pub fn put<D: Into<Bytes>>(&self, data: D) -> impl Future<Output = Result<(), Error>> + Send + use<C, D> {
        self.shared.put(0, data.into())
    }

    /// Puts an item unless the queue is full: whether it was put. The same as [`put`](Self::put) where there is no capacity.
    ///
    /// Full, or others wait for room: 1 round trip, reads and no write. Otherwise 4.
    ///
    /// # Ordering
    ///
    /// Never overtakes a producer that waits.
    ///
    /// # Cancel safety
    ///
    /// As [`put`](Self::put).
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn try_put(&self, data: impl Into<Bytes>) -> Result<bool, Error> {
        self.shared.try_put(0, &data.into()).await
    }

    /// Puts an item unless one of this `id` is in the queue: whether it was put. An item is in the queue until it is
    /// acknowledged, and as a dead letter until that is discarded. So a put whose fate is unknown, or a whole job, can be
    /// repeated. The id is a name of at most 255 bytes without `/`.
    ///
    /// 1 round trip; with a capacity 3.
    ///
    /// # Ordering
    ///
    /// At the end of the queue when the server sees it; sent when the future is first polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the item put or not. Nothing else stays behind.
    ///
    /// # Errors
    ///
    /// A lost connection is no error: whether it was put is found out. `SessionExpired`: the session ended just then, and
    /// the item may have been put, and then taken already. `Invalid`: the id is no name. `TooLarge`, `Refused`,
    /// `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Queue;
    /// async fn bill<C: Client + Clone + 'static>(queue: &Queue<C>, order: u64) -> Result<(), Error> {
    ///     if !queue.put_once(&format!("order-{order}"), "bill it").await? {
    ///         println!("order {order} is being billed already");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn put_once(&self, id: &str, data: impl Into<Bytes>) -> Result<bool, Error> {
        Ok(self.shared.put_once(0, id, &data.into()).await? == Put::Done)
    }

    /// Puts many items, several hundred in a transaction of at most 256 KiB of data. With a capacity, one by one.
    ///
    /// 1 round trip for each transaction.
    ///
    /// # Ordering
    ///
    /// In the iterator's order. The items of others may come between two transactions.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the first items put and the others not.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put). Items before the one that failed have been put. Nothing is put where one is too large.
    pub async fn put_all<I>(&self, items: I) -> Result<(), Error>
    where
        I: IntoIterator<Item: Into<Bytes>>,
    {
        let items = items.into_iter().map(Into::into).collect();
        self.shared.put_all(0, items).await
    }

    /// How many items there are, those included that are claimed and not acknowledged. 1 round trip.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Refused`, `SessionExpired`, `Overloaded`, `Closed`.
    pub async fn len(&self) -> Result<u64, Error> {
        self.shared.len().await
    }

    /// Whether there is no item, as [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    /// The item that would be claimed next, left where it is. For people and tools: by the time it is known it may have
    /// changed. What is no item of the queue is shown as it is.
    ///
    /// 2 round trips, and 1 for each number whose item is missing.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Malformed`: the queue's own data is not a queue's. `Refused`, `SessionExpired`, `Overloaded`, `Closed`.
    pub async fn peek(&self) -> Result<Option<Bytes>, Error> {
        self.shared.peek().await
    }

    /// Consumers that take items at least once; see [`Consumer`].
    pub fn consumer(&self) -> ConsumerBuilder<C> {
        ConsumerBuilder::new(self.shared.clone())
    }

    /// A consumer that takes items at most once, up to `prefetch` of them in one transaction; see [`AtMostOnceConsumer`].
    pub fn at_most_once(&self, prefetch: usize) -> AtMostOnceConsumer<C> {
        AtMostOnceConsumer::new(self.shared.clone(), prefetch)
    }

    /// The items that were put aside, the first one first.
    ///
    /// 2 round trips: a list, and all reads together. The list must fit in one packet of the server: about 40,000.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `TooLarge`, `Refused`, `SessionExpired`, `Overloaded`, `Closed`.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        self.shared.dead_letters().await
    }

    /// Puts an item that was put aside back at the end of the queue, with its attempts counted anew: whether it was still
    /// there. The capacity does not hold it up. 1 round trip.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave it put back or not; never both or neither.
    ///
    /// # Errors
    ///
    /// `ConnectionLost`: it may or may not have happened; it is safe to ask again. `TooLarge`, `Refused`,
    /// `SessionExpired`, `Overloaded`, `Closed`.
    pub async fn requeue(&self, letter: &DeadLetter) -> Result<bool, Error> {
        self.shared.requeue(0, letter).await
    }

    /// Removes an item that was put aside, and lets its id be put again: whether it was still there. 1 round trip; cancel
    /// safety and errors as [`requeue`](Self::requeue).
    ///
    /// # Errors
    ///
    /// As [`requeue`](Self::requeue).
    pub async fn discard(&self, letter: &DeadLetter) -> Result<bool, Error> {
        self.shared.discard(letter).await
    }
}

impl<C: Client + Clone + 'static> QueueBuilder<C> {
    /// How many items there may be, those included that are claimed and not acknowledged. Producers then stand in line, and
    /// wait for room: it is noticed when a claim is done, not at each item of it. Every producer of the queue must have the
    /// same. The least is 1. The default is without limit.
    pub fn capacity(mut self, items: u32) -> Self {
        self.capacity = Some(items.max(1));
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// The queue.
    pub fn build(self) -> Queue<C> {
        Queue { shared: Shared::new(self.client, Tree::new(self.path, self.acl, None), self.capacity) }
    }
}

impl<C> Clone for Queue<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C> fmt::Debug for Queue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("path", &self.shared.tree.root).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for QueueBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("path", &self.path)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
