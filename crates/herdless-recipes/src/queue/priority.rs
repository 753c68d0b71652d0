//! A queue with urgent items.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{Acl, Client, Error, NodePath};

use super::consumer::{AtMostOnceConsumer, ConsumerBuilder};
use super::dead::DeadLetter;
use super::put::Put;
use super::shared::Shared;
use super::tree::Tree;

/// A [`Queue`](super::Queue) with priorities: of the items that wait, those of the lowest priority number are taken first,
/// and among them in the order in which they were put.
///
/// Every priority has a lane of its own; a consumer looks at all of them in one round trip. Everything that a
/// [`Queue`](super::Queue) promises holds here, and the costs are the same; with `n` priorities a look at the queue is
/// `n + 2` requests that leave together. An urgent item does not overtake what a consumer has claimed already, so a small
/// [`prefetch`](ConsumerBuilder::prefetch) keeps the order sharper. Items of a low priority wait for as long as there are
/// more urgent ones.
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::PriorityQueue;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let queue = PriorityQueue::new(client, NodePath::parse("/jobs")?, 3)?;
/// queue.put(2, "some time").await?;
/// queue.put(0, "now").await?;
/// let delivery = queue.consumer().build().take().await?;
/// assert_eq!(delivery.data(), "now");
/// delivery.ack().await?;
/// # Ok(()) }
/// ```
pub struct PriorityQueue<C> {
    shared: Arc<Shared<C>>,
}

/// Options of a [`PriorityQueue`].
pub struct PriorityQueueBuilder<C> {
    client: C,
    path: NodePath,
    priorities: u8,
    acl: Arc<[Acl]>,
    capacity: Option<u32>,
}

impl<C: Client + Clone + 'static> PriorityQueue<C> {
    /// The queue on `path` with priorities from 0, the most urgent, to `priorities` - 1. Every process must name the same
    /// number. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Invalid`: no priorities at all.
    pub fn new(client: C, path: NodePath, priorities: u8) -> Result<Self, Error> {
        Self::builder(client, path, priorities).build()
    }

    /// As [`new`](Self::new), with options.
    pub fn builder(client: C, path: NodePath, priorities: u8) -> PriorityQueueBuilder<C> {
        PriorityQueueBuilder { client, path, priorities, acl: Acl::open(), capacity: None }
    }

    /// The queue's path.
    pub fn path(&self) -> &NodePath {
        &self.shared.tree.root
    }

    fn lane(&self, priority: u8) -> Result<u32, Error> {
        match usize::from(priority) < self.shared.tree.lanes().len() {
            true => Ok(priority.into()),
            false => Err(Error::invalid("the queue has no such priority")),
        }
    }

    /// Puts an item behind those of its priority; otherwise as [`Queue::put`](super::Queue::put).
    ///
    /// # Errors
    ///
    /// As [`Queue::put`](super::Queue::put), and `Invalid`: there is no such priority.
    pub fn put<D: Into<Bytes>>(
        &self,
        priority: u8,
        data: D,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<C, D> {
        let put = self.lane(priority).map(|lane| self.shared.put(lane, data.into()));
        async move { put?.await }
    }

    /// Puts an item unless the queue is full: whether it was put; otherwise as [`Queue::try_put`](super::Queue::try_put).
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn try_put(&self, priority: u8, data: impl Into<Bytes>) -> Result<bool, Error> {
        self.shared.try_put(self.lane(priority)?, &data.into()).await
    }

    /// Puts an item unless one of this `id`, of whatever priority, is in the queue: whether it was put; otherwise as
    /// [`Queue::put_once`](super::Queue::put_once).
    ///
    /// # Errors
    ///
    /// As [`Queue::put_once`](super::Queue::put_once), and `Invalid`: there is no such priority.
    pub async fn put_once(&self, priority: u8, id: &str, data: impl Into<Bytes>) -> Result<bool, Error> {
        Ok(self.shared.put_once(self.lane(priority)?, id, &data.into()).await? == Put::Done)
    }

    /// How many items there are, of all priorities, as [`Queue::len`](super::Queue::len).
    ///
    /// # Errors
    ///
    /// As [`Queue::len`](super::Queue::len).
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

    /// The item that would be claimed next, as [`Queue::peek`](super::Queue::peek).
    ///
    /// # Errors
    ///
    /// As [`Queue::peek`](super::Queue::peek).
    pub async fn peek(&self) -> Result<Option<Bytes>, Error> {
        self.shared.peek().await
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

    /// Puts an item that was put aside back with a priority, as [`Queue::requeue`](super::Queue::requeue).
    ///
    /// # Errors
    ///
    /// As [`Queue::requeue`](super::Queue::requeue), and `Invalid`: there is no such priority.
    pub async fn requeue(&self, priority: u8, letter: &DeadLetter) -> Result<bool, Error> {
        self.shared.requeue(self.lane(priority)?, letter).await
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

impl<C: Client + Clone + 'static> PriorityQueueBuilder<C> {
    /// How many items of all priorities there may be; see [`QueueBuilder::capacity`](super::QueueBuilder::capacity).
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
    ///
    /// # Errors
    ///
    /// `Invalid`: no priorities at all.
    pub fn build(self) -> Result<PriorityQueue<C>, Error> {
        if self.priorities == 0 {
            return Err(Error::invalid("a queue of no priorities"));
        }
        let tree = Tree::new(self.path, self.acl, Some(self.priorities));
        Ok(PriorityQueue { shared: Shared::new(self.client, tree, self.capacity) })
    }
}

impl<C> Clone for PriorityQueue<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C> fmt::Debug for PriorityQueue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriorityQueue").field("path", &self.shared.tree.root).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for PriorityQueueBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriorityQueueBuilder")
            .field("path", &self.path)
            .field("priorities", &self.priorities)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
