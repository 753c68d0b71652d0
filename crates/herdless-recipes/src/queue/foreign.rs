//! Queues in the layouts of others.

mod builder;
mod layout;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use herdless_core::{Acl, Client, ClientExt, Create, CreateMode, Error, MultiOp, NodePath, Refusal, Version, Watch};

use self::layout::{DEFAULT_PRIORITY, Place};
use crate::contend::read;
use crate::parents;
use crate::receipt::once;

pub use self::builder::ForeignQueueBuilder;
pub use self::layout::ForeignQueueLayout;

/// How many items are read ahead of being taken, in one round trip.
const READ_AHEAD: usize = 16;

/// A queue in the layout of Curator or kazoo: for moving away from it, and for as long as both sides run.
///
/// Producers and consumers of either kind work on it together. What it adds to theirs is what happens when a reply is lost:
/// a put is carried out once, and an item that was taken is handed out. (A `DistributedQueue` of Curator that repeats its
/// delete takes the answer "no node" for another consumer's work, and drops the item.) For this each put and each take
/// makes, in the same change, an ephemeral node of its own in a directory beside the queue, `<path>-receipts` unless told
/// [otherwise](ForeignQueueBuilder::receipts), and deletes it afterwards. Nothing but items is put into the queue's node,
/// because the owners of these layouts take every child for an item.
///
/// An item is taken **at most once**: it is removed before it is handed out, so a process that dies with it has lost it. That
/// is what these layouts allow.
///
/// # Limits that come with the layouts
///
/// - The queue's node has to be listed, and the list has to fit into a reply (about 1 MiB: 50,000 items).
///   [`Error::TooLarge`] beyond that. It is listed once; the names are used up before it is listed again.
/// - So the order is that of the last list. What comes later with a better priority waits until that is used up.
/// - A wait is a watch on the queue's node: each new item wakes all consumers that wait.
/// - The queue's node must stay. Where it is removed and made again (a server does so with an empty queue of
///   `SimpleDistributedQueue`), numbers start anew, and an item may have the name of an earlier one. What was read before
///   is then thrown away, except where it happens in the very moment of a take: its delete would then remove the new item,
///   and hand out the old one.
/// - Numbers after 2147483647 are negative. They are taken last here; the others sort them first.
/// - A consumer of `DistributedQueue` that was built with a `lockPath` removes an item after it was consumed, under a lock of
///   its own that is not looked at here: both would consume it. So it is among Curator's own consumers with and without one.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | put, put_many | 1 | one multi, and one request that nobody waits for |
/// | take | 1, and 1 for every 16 items, and 1 for every list | one multi, and one request that nobody waits for |
/// | take, empty | 1 | 2 the first time; a read, no write |
/// | peek | 2 | a list and a read |
/// | len | 1 | |
///
/// Each new item is an event for every consumer that waits, and each of these lists the queue once.
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 943 to put ten bytes, 1,050 to take one of a
/// hundred.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error: it is found out whether the item was put or taken |
/// | session expired after a lost reply | `SessionExpired`: the item **may or may not** be in the queue |
/// | a take is dropped | its item is put back; it is lost only if the session ends before that |
/// | a process dies with an item | the item is lost |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::{ForeignQueue, ForeignQueueLayout};
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let mut orders = ForeignQueue::new(client, NodePath::parse("/orders")?, ForeignQueueLayout::Curator);
/// orders.put("an order").await?;
/// let item = orders.take().await?.expect("it was put");
/// assert_eq!(item.data, ["an order"]);
/// assert!(orders.take().await?.is_none());
/// # Ok(()) }
/// ```
pub struct ForeignQueue<C> {
    client: C,
    path: NodePath,
    layout: ForeignQueueLayout,
    acl: Arc<[Acl]>,
    /// The directory of the receipts.
    receipts: NodePath,
    skipped: BTreeSet<String>,
    /// Fires when the queue's node is removed: names and items from before it say nothing about those after it.
    watch: Option<Watch>,
    names: VecDeque<(Place, String)>,
    items: VecDeque<Found>,
    /// Whether the first of the items is being removed. Still set at the next take, it tells that the last was dropped, and
    /// that its item is no more what was read, or is on its way back.
    is_taking: bool,
}

/// What one node of a queue holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignItem {
    /// The node.
    pub path: NodePath,
    /// The items in it: one, or as many as were put together into a node of Curator's `DistributedQueue`.
    pub data: Vec<Bytes>,
    /// Its priority, lower first, in a queue of kazoo.
    pub priority: Option<u16>,
}

/// An item that was read, and is in the queue still as far as is known.
#[derive(Clone, Debug)]
struct Found {
    path: NodePath,
    place: Place,
    data: Bytes,
    version: Version,
}

impl<C: Client + Clone + 'static> ForeignQueue<C> {
    /// The queue on `path`. Nothing is sent yet.
    pub fn new(client: C, path: NodePath, layout: ForeignQueueLayout) -> Self {
        Self::builder(client, path, layout).build()
    }

    /// The queue on `path`, with options.
    pub fn builder(client: C, path: NodePath, layout: ForeignQueueLayout) -> ForeignQueueBuilder<C> {
        let receipts = format!("{path}-receipts");
        let receipts = NodePath::parse(&receipts).expect("a valid path with letters behind it is one");
        ForeignQueueBuilder { client, path, layout, acl: Acl::open(), receipts }
    }

    /// The queue's path.
    pub fn path(&self) -> &NodePath {
        &self.path
    }

    /// Whose layout it is.
    pub fn layout(&self) -> ForeignQueueLayout {
        self.layout
    }

    /// Puts an item at the end of the queue; in a queue of kazoo with its default priority, 100.
    ///
    /// 1 round trip; more where the queue's node or that of the receipts is missing.
    ///
    /// # Ordering
    ///
    /// Behind every item that the server saw before, and was answered before this was called.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing but, perhaps, the item: it may or may not have been put.
    ///
    /// # Errors
    ///
    /// A lost connection is no error: it is found out whether the item was put, and it is put once.
    /// `SessionExpired`: the session ended before that was found out, and the item **may or may not be in the queue**.
    /// `ConnectionLost` or `Uncertain` likewise, only where the client was closed, or the server refused to say, before that.
    /// `TooLarge` for an item over the limit of a frame; `Refused` (`NoAuth`, `QuotaExceeded`, ..); `Overloaded`; `Closed`.
    ///
    /// # Examples
    ///
    /// See [`ForeignQueue`].
    pub async fn put(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        self.put_node(DEFAULT_PRIORITY, &[data.into()]).await
    }

    /// Puts several items into one node of Curator's `DistributedQueue`, as its `putMulti` does: they are taken together.
    ///
    /// Costs, ordering, cancel safety and errors as [`put`](Self::put); and `Invalid` for no items, and for several in
    /// another layout.
    pub async fn put_many(&self, items: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        let items: Vec<_> = items.into_iter().collect();
        self.put_node(DEFAULT_PRIORITY, &items).await
    }

    /// Puts an item with a priority from 0 to 999, lower first, into a queue of kazoo.
    ///
    /// Costs, ordering (within the priority), cancel safety and errors as [`put`](Self::put); and `Invalid` for another
    /// priority or layout.
    pub async fn put_with_priority(&self, data: impl Into<Bytes>, priority: u16) -> Result<(), Error> {
        if self.layout != ForeignQueueLayout::Kazoo {
            return Err(Error::invalid("only items of kazoo's Queue have a priority"));
        }
        if priority > 999 {
            return Err(Error::invalid("a priority of kazoo's Queue is from 0 to 999"));
        }
        self.put_node(priority, &[data.into()]).await
    }

    async fn put_node(&self, priority: u16, items: &[Bytes]) -> Result<(), Error> {
        let create = MultiOp::Create(self.create_last(priority, self.layout.encode(items)?));
        let mut attempts = 0;
        loop {
            match self.commit(&create, &[]).await? {
                Ok(()) => return Ok(()),
                Err(Refusal::NoNode) if attempts < parents::ATTEMPTS => {
                    attempts += 1;
                    self.make_directory().await?;
                }
                Err(refusal) => return Err(Error::Refused(refusal)),
            }
        }
    }

    /// Carries out `change` exactly once, or tells why the server refused it. If the future is dropped, the first node of
    /// `restore` whose name is not in use is made.
    ///
    /// 1 round trip; 2 more where the directory of receipts is missing.
    async fn commit(&self, change: &MultiOp, restore: &[Create]) -> Result<Result<(), Refusal>, Error> {
        let mut attempts = 0;
        loop {
            match once(&self.client, &self.receipts, &self.acl, std::slice::from_ref(change), restore).await {
                Err(Error::MultiRefused { index: 0, refusal }) => return Ok(Err(refusal)),
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if attempts < parents::ATTEMPTS => {
                    attempts += 1;
                    parents::make(&self.client, &self.receipts, &self.acl).await?;
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                done => return done.map(Ok),
            }
        }
    }

    fn create_last(&self, priority: u16, data: Bytes) -> Create {
        let prefix = self.path.child(&self.layout.stem(priority));
        Create {
            path: prefix.expect("the stem is a valid name below any valid path"),
            data: data.into(),
            acl: self.acl.clone(),
            mode: CreateMode::PersistentSequential,
        }
    }

    /// Persistent, as the others expect it: a consumer of kazoo makes it once and fails where it is gone.
    async fn make_directory(&self) -> Result<(), Error> {
        parents::make_levels(&self.client, &self.path, &self.acl, CreateMode::Persistent).await
    }

    /// Takes the first item; `None` if there is none now, as far as the server that answers knows.
    ///
    /// 1 round trip where items are read already, 1 more for every 16 items, and 1 more for each list, which is as long as
    /// the queue. 1 more for each item that another consumer took meanwhile.
    ///
    /// # Ordering
    ///
    /// By priority, then by number, within the last list.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the item of a future that was dropped is put back into its place, with the access control list of
    /// this handle, and nothing else is left. It is lost only if the session ends, or the queue's node is removed, before
    /// it is back.
    ///
    /// # Errors
    ///
    /// A lost connection is no error: it is found out whether the item was taken.
    /// `SessionExpired`: the session ended before that was found out. The first item **may be in the queue or be lost**.
    /// `ConnectionLost` or `Uncertain` likewise, only where the client was closed, or the server refused to say, before that.
    /// `Malformed`: the first item is none; it stays where it is, and is the first until it is removed, or
    /// [skipped](Self::skip). `Refused` (`NoAuth`, `NotEmpty`, ..) where the item may not be read or removed, likewise.
    /// `TooLarge`: there are more items than a reply can list. `Overloaded`; `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::ForeignQueue;
    /// async fn drain<C: Client + Clone + 'static>(queue: &mut ForeignQueue<C>) -> Result<u64, Error> {
    ///     let mut count = 0;
    ///     loop {
    ///         match queue.take().await {
    ///             Ok(Some(item)) => count += item.data.len() as u64,
    ///             Ok(None) => return Ok(count),
    ///             Err(Error::Malformed { path, .. }) => queue.skip(&path),
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn take(&mut self) -> Result<Option<ForeignItem>, Error> {
        loop {
            match self.fill().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // Only reads went with it.
                Err(Error::SessionExpired) => continue,
                Err(error) => return Err(error),
            }
            if let Some(item) = self.take_first().await? {
                return Ok(Some(item));
            }
        }
    }

    /// Takes the first item, and waits for one where there is none.
    ///
    /// As [`take`](Self::take); to wait costs 2 more, and an event. Each change of the queue wakes **all** consumers that
    /// wait, and each of them lists it again: the layouts leave no other way.
    ///
    /// # Ordering
    ///
    /// As [`take`](Self::take). Those who wait are in no order.
    ///
    /// # Cancel safety
    ///
    /// As [`take`](Self::take). The server keeps the watch until it fires or the session ends.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take). A missing queue is made.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{ForeignItem, ForeignQueue};
    /// async fn consume<C: Client + Clone + 'static>(queue: &mut ForeignQueue<C>) -> Result<ForeignItem, Error> {
    ///     queue.take_or_wait().await
    /// }
    /// ```
    pub async fn take_or_wait(&mut self) -> Result<ForeignItem, Error> {
        loop {
            if let Some(item) = self.take().await? {
                return Ok(item);
            }
            match self.wait().await {
                Ok(()) | Err(Error::SessionExpired) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there may be an item.
    async fn wait(&self) -> Result<(), Error> {
        match read(|| self.client.children_and_watch(&self.path)).await {
            Ok(((names, _), watch)) => {
                if self.sorted(names).is_empty() {
                    watch.await?;
                }
                Ok(())
            }
            // There is nothing to leave a watch on; the others make it as well before they wait.
            Err(Error::Refused(Refusal::NoNode)) => self.make_directory().await,
            Err(error) => Err(error),
        }
    }

    /// The first item, which stays in the queue; `None` if there is none now.
    ///
    /// 2 round trips: a list and a read.
    ///
    /// # Ordering
    ///
    /// As it stands now; [`take`](Self::take) may have an older list to use up.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Malformed`, `Refused(NoAuth)`, `TooLarge` as [`take`](Self::take); `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::ForeignQueue;
    /// async fn oldest<C: Client + Clone + 'static>(queue: &ForeignQueue<C>) -> Result<(), Error> {
    ///     if let Some(item) = queue.peek().await? {
    ///         println!("{} holds {} items", item.path, item.data.len());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn peek(&self) -> Result<Option<ForeignItem>, Error> {
        loop {
            let names = match read(|| self.client.children(&self.path)).await {
                Ok((names, _)) => self.sorted(names),
                Err(Error::Refused(Refusal::NoNode)) => return Ok(None),
                Err(error) => return Err(error),
            };
            let Some(first) = names.front() else {
                return Ok(None);
            };
            if let Some(found) = self.read_items([first]).await?.pop_front() {
                return self.item(&found).map(Some);
            }
        }
    }

    /// How many children the queue's node has, foreign ones included; 0 where it is missing. 1 round trip.
    ///
    /// # Ordering
    ///
    /// As far as the server that answers knows.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::ForeignQueue;
    /// async fn is_drained<C: Client + Clone + 'static>(queue: &ForeignQueue<C>) -> Result<bool, Error> {
    ///     Ok(queue.len().await? == 0)
    /// }
    /// ```
    #[expect(clippy::len_without_is_empty, reason = "both would be the same request")]
    pub async fn len(&self) -> Result<u32, Error> {
        let stat = read(|| self.client.exists(&self.path)).await?;
        Ok(stat.map_or(0, |stat| u32::try_from(stat.num_children).unwrap_or(0)))
    }

    /// Steps over an item from now on: it stays in the queue, and this handle, and those cloned from it afterwards, do not
    /// see it. For one that is [malformed](Error::Malformed). Sends nothing.
    pub fn skip(&mut self, item: &NodePath) {
        self.skipped.insert(item.name().to_owned());
        self.names.retain(|(_, name)| name != item.name());
        self.items.retain(|found| found.path != *item);
    }

    /// Sees to it that there is an item to try. Whether there is.
    async fn fill(&mut self) -> Result<bool, Error> {
        loop {
            if self.is_taking || !self.is_same_directory() {
                self.forget();
            }
            if !self.items.is_empty() {
                return Ok(true);
            }
            if self.names.is_empty() && !self.list().await? {
                return Ok(false);
            }
            let ahead = self.names.len().min(READ_AHEAD);
            self.items = self.read_items(self.names.range(..ahead)).await?;
            // Only now, so that a future that is dropped while it reads has used up nothing.
            self.names.drain(..ahead);
        }
    }

    fn is_same_directory(&mut self) -> bool {
        self.watch
            .as_mut()
            .is_some_and(|watch| Pin::new(watch).poll(&mut Context::from_waker(Waker::noop())).is_pending())
    }

    fn forget(&mut self) {
        (self.watch, self.names, self.items, self.is_taking) = Default::default();
    }

    /// Lists the queue. Whether there is an item in it.
    async fn list(&mut self) -> Result<bool, Error> {
        let outcome = async {
            if self.watch.is_none() {
                // Reading the data leaves a watch only where there is a node. It comes before the list, so that it holds
                // for all names in it.
                self.watch = Some(read(|| self.client.get_and_watch(&self.path)).await?.1);
            }
            read(|| self.client.children(&self.path)).await
        };
        match outcome.await {
            Ok((names, _)) => {
                self.skipped.retain(|skipped| names.contains(skipped));
                self.names = self.sorted(names);
                Ok(!self.names.is_empty())
            }
            Err(Error::Refused(Refusal::NoNode)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sorted(&self, names: Vec<String>) -> VecDeque<(Place, String)> {
        let items = names.into_iter().filter(|name| !self.skipped.contains(name));
        let mut places: Vec<_> = items.filter_map(|name| Some((self.layout.place(&name)?, name))).collect();
        places.sort_unstable();
        places.into()
    }

    /// Reads these items, all together, less those that are gone.
    async fn read_items<'a>(
        &self,
        names: impl IntoIterator<Item = &'a (Place, String)>,
    ) -> Result<VecDeque<Found>, Error> {
        let paths = names.into_iter().filter_map(|(place, name)| Some((*place, self.path.child(name).ok()?)));
        let reads: Vec<_> = paths.map(|(place, path)| (self.client.get(&path), place, path)).collect();
        let mut items = VecDeque::with_capacity(reads.len());
        for (pending, place, path) in reads {
            let outcome = match pending.await {
                Err(Error::ConnectionLost) => read(|| self.client.get(&path)).await,
                first => first,
            };
            match outcome {
                Ok((data, stat)) => items.push_back(Found { path, place, data, version: Version(stat.version) }),
                Err(Error::Refused(Refusal::NoNode)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    fn item(&self, found: &Found) -> Result<ForeignItem, Error> {
        let path = found.path.clone();
        match self.layout.decode(&found.data) {
            Some(data) => Ok(ForeignItem { path, data, priority: found.place.priority(self.layout) }),
            None => Err(Error::Malformed { path, expected: "what Curator's ItemSerializer writes" }),
        }
    }

    /// Takes the first of the items that were read; `None` where somebody else has.
    async fn take_first(&mut self) -> Result<Option<ForeignItem>, Error> {
        self.is_taking = true;
        let outcome = match self.items.front() {
            Some(found) => self.take_found(found).await,
            None => Ok(None),
        };
        match outcome {
            Ok(_) => {
                self.is_taking = false;
                drop(self.items.pop_front());
            }
            // It is looked at anew the next time.
            Err(_) => self.forget(),
        }
        outcome
    }

    async fn take_found(&self, found: &Found) -> Result<Option<ForeignItem>, Error> {
        let item = self.item(found)?;
        Ok(self.remove(found).await?.then_some(item))
    }

    /// Removes an item. Whether it was us.
    async fn remove(&self, found: &Found) -> Result<bool, Error> {
        let Found { path, place, data, version } = found;
        let last = self.create_last(place.priority(self.layout).unwrap_or_default(), data.clone());
        let create = Create { path: path.clone(), mode: CreateMode::Persistent, ..last.clone() };
        match self.commit(&MultiOp::delete(path, *version), &[create, last]).await? {
            Ok(()) => Ok(true),
            // With another version it is what somebody else has made of it since, and found by the next list.
            Err(Refusal::NoNode | Refusal::BadVersion) => Ok(false),
            Err(refusal) => Err(Error::Refused(refusal)),
        }
    }
}

/// The clone has read nothing yet, and competes with this one as any other consumer.
impl<C: Clone> Clone for ForeignQueue<C> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            path: self.path.clone(),
            layout: self.layout,
            acl: self.acl.clone(),
            receipts: self.receipts.clone(),
            skipped: self.skipped.clone(),
            watch: None,
            names: VecDeque::new(),
            items: VecDeque::new(),
            is_taking: false,
        }
    }
}

impl<C> fmt::Debug for ForeignQueue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignQueue").field("path", &self.path).field("layout", &self.layout).finish_non_exhaustive()
    }
}
