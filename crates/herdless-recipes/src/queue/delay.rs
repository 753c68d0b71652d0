//! A queue whose items wait for their time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use herdless_core::{Acl, Client, Error, NodePath, Time};

use super::consumer::{AtMostOnceConsumer, ConsumerBuilder};
use super::dead::DeadLetter;
use super::due::{Granularity, clock, due_after};
use super::format::Content;
use super::shared::Shared;
use super::tree::Tree;

/// A queue whose items are handed out from a due time on.
///
/// # What is promised, and what is not
///
/// - No item is handed out before its due time by the clock of the consumer that brings it into the queue,
///   [`Time::unix_millis`]. Due times are compared between machines: where clocks differ, an item is early or late by that.
/// - The item with the earliest due time comes first, within the [granularity](DelayQueueBuilder::granularity), and of those
///   of one due time the one that was put first. An item that was put when it was due already does not overtake what was
///   brought into the queue before.
/// - From then on it is an item as of a [`Queue`](super::Queue), with everything that is promised there: handed out **at
///   least once** by a [`Consumer`](super::Consumer), with attempts and dead letters, or **at most once** by an
///   [`AtMostOnceConsumer`].
/// - Nobody polls: the first in the line of consumers sleeps until the next due time, and is woken by an earlier item. It
///   notices that its wall clock was set forth when it is woken the next time.
///
/// A consumer that waits lists the due times, not the items. The list must fit in one packet of the server: about 50,000
/// different due times at a time. Beyond that a take that finds nothing to hand out is `TooLarge`; with a coarser granularity
/// there are fewer.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | put_at, put_after | 1 | sent at the call; any number on their way together |
/// | take | 3 for a claim of up to `prefetch` items | as of a queue, once they were brought there |
/// | bringing items | 3 for up to 64 of one due time | and 1 to find them, unless the consumer was waiting |
/// | ack | 1 | |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 360 to put ten bytes.
///
/// # When something goes wrong
///
/// As with a [`Queue`](super::Queue): a put whose reply is lost may or may not have happened; what is due is taken by others where a
/// consumer dies, and brought by another where it dies while it brings items.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use herdless_core::NodePath;
/// use herdless_recipes::DelayQueue;
/// # use herdless_memory::{ManualTime, MemoryServer};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// # let time = ManualTime::new();
/// let queue = DelayQueue::new(client, NodePath::parse("/reminders")?, time.clone());
/// queue.put_after(Duration::from_secs(60), "call back").await?;
/// # time.advance(Duration::from_secs(60));
/// // A minute later.
/// let delivery = queue.consumer().build().take().await?;
/// assert_eq!(delivery.data(), "call back");
/// delivery.ack().await?;
/// # Ok(()) }
/// ```
pub struct DelayQueue<C, T> {
    shared: Arc<Shared<C>>,
    time: Arc<T>,
    granularity: Granularity,
    /// The due time of the last put: the bucket of the next one is often the same, and is there then.
    last_due: Arc<AtomicU64>,
}

/// Options of a [`DelayQueue`].
pub struct DelayQueueBuilder<C, T> {
    client: C,
    path: NodePath,
    time: T,
    acl: Arc<[Acl]>,
    granularity: Duration,
}

impl<C: Client + Clone + 'static, T: Time + 'static> DelayQueue<C, T> {
    /// The queue on `path`, with a granularity of a second. Nothing is sent yet.
    pub fn new(client: C, path: NodePath, time: T) -> Self {
        Self::builder(client, path, time).build().expect("a second is a granularity")
    }

    /// The queue on `path`, with options.
    pub fn builder(client: C, path: NodePath, time: T) -> DelayQueueBuilder<C, T> {
        DelayQueueBuilder { client, path, time, acl: Acl::open(), granularity: Duration::from_secs(1) }
    }

    /// The queue's path.
    pub fn path(&self) -> &NodePath {
        &self.shared.tree.root
    }

    /// Puts an item that is due at this time, in milliseconds since 1970-01-01 UTC. A time that has passed is no error: it
    /// is due at once.
    ///
    /// 1 round trip. Where all items of the due time are handed out just then, 1 or 2 more.
    ///
    /// # Ordering
    ///
    /// Sent at the call: items of one due time are in the order of the calls.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the put on its way. One whose due time has passed may then not happen.
    ///
    /// # Errors
    ///
    /// `ConnectionLost`: **it may or may not have been put**. `Invalid`: the due time, rounded up, is more than a `u64`.
    /// `TooLarge`, more than 1,000,000 bytes: nothing was put. `Refused`, `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// See [`DelayQueue`].
    pub fn put_at<D: Into<Bytes>>(
        &self,
        due: u64,
        data: D,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<C, T, D> {
        self.put(Ok(due), data.into())
    }

    /// Puts an item that is due when so much time has passed, by this process's wall clock; otherwise as
    /// [`put_at`](Self::put_at).
    ///
    /// # Errors
    ///
    /// As [`put_at`](Self::put_at).
    pub fn put_after<D: Into<Bytes>>(
        &self,
        delay: Duration,
        data: D,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<C, T, D> {
        self.put(due_after(&*self.time, delay), data.into())
    }

    fn put(&self, due: Result<u64, Error>, data: Bytes) -> impl Future<Output = Result<(), Error>> + Send + use<C, T> {
        let shared = self.shared.clone();
        let submit = |due| {
            let due = self.granularity.round_up(due)?;
            let slot = shared.slot(due, Content::encode(None, &data)?);
            let is_known = self.last_due.swap(due, Ordering::Relaxed) == due;
            let submitted = shared.submit_due(&slot, is_known);
            Ok((slot, submitted))
        };
        let put = due.and_then(submit);
        async move {
            let (slot, submitted) = put?;
            shared.finish_due(slot, submitted).await
        }
    }

    /// How many items there are: those that wait for their time, and those that are due, or claimed and not acknowledged. An
    /// item that is brought into the queue just then may be counted twice.
    ///
    /// 3 round trips: a list of the due times, all reads of these together, and the items that are due.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `TooLarge`, `Refused`, `SessionExpired`, `Overloaded`, `Closed`.
    pub async fn len(&self) -> Result<u64, Error> {
        let waiting = self.shared.len_due().await?;
        Ok(waiting + self.shared.len().await?)
    }

    /// Whether there is no item, as [`len`](Self::len).
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub async fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len().await? == 0)
    }

    /// Consumers that take items at least once; see [`Consumer`](super::Consumer).
    pub fn consumer(&self) -> ConsumerBuilder<C> {
        ConsumerBuilder::new(self.shared.clone())
    }

    /// A consumer that takes items at most once; see [`AtMostOnceConsumer`].
    pub fn at_most_once(&self, prefetch: usize) -> AtMostOnceConsumer<C> {
        AtMostOnceConsumer::new(self.shared.clone(), prefetch)
    }

    /// The items that were put aside, as [`Queue::dead_letters`](super::Queue::dead_letters).
    ///
    /// # Errors
    ///
    /// As [`Queue::dead_letters`](super::Queue::dead_letters).
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        self.shared.dead_letters().await
    }

    /// Puts an item that was put aside back, due at once, as [`Queue::requeue`](super::Queue::requeue).
    ///
    /// # Errors
    ///
    /// As [`Queue::requeue`](super::Queue::requeue).
    pub async fn requeue(&self, letter: &DeadLetter) -> Result<bool, Error> {
        self.shared.requeue(0, letter).await
    }

    /// Removes an item that was put aside, as [`Queue::discard`](super::Queue::discard).
    ///
    /// # Errors
    ///
    /// As [`Queue::discard`](super::Queue::discard).
    pub async fn discard(&self, letter: &DeadLetter) -> Result<bool, Error> {
        self.shared.discard(letter).await
    }
}

impl<C: Client + Clone + 'static, T: Time + 'static> DelayQueueBuilder<C, T> {
    /// The steps of due times: each is rounded up to a whole multiple, so that an item is never early and is late by less
    /// than this. The fewer different due times, the less there is to list; those who put need not have the same. Whole
    /// milliseconds; the default is a second.
    pub fn granularity(mut self, step: Duration) -> Self {
        self.granularity = step;
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// The queue.
    ///
    /// # Errors
    ///
    /// `Invalid`: a granularity of less than a millisecond, or of more than a `u64` of them.
    pub fn build(self) -> Result<DelayQueue<C, T>, Error> {
        let (granularity, time) = (Granularity::new(self.granularity)?, Arc::new(self.time));
        let tree = Tree::with_due(self.path, self.acl);
        let shared = Shared::with_time(self.client, tree, None, Some(clock(&time)));
        Ok(DelayQueue { shared, time, granularity, last_due: Arc::new(AtomicU64::new(u64::MAX)) })
    }
}

impl<C, T> Clone for DelayQueue<C, T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            time: self.time.clone(),
            granularity: self.granularity,
            last_due: self.last_due.clone(),
        }
    }
}

impl<C, T> fmt::Debug for DelayQueue<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayQueue")
            .field("path", &self.shared.tree.root)
            .field("granularity", &self.granularity)
            .finish_non_exhaustive()
    }
}

impl<C, T> fmt::Debug for DelayQueueBuilder<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayQueueBuilder")
            .field("path", &self.path)
            .field("granularity", &self.granularity)
            .finish_non_exhaustive()
    }
}
