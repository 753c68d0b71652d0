//! A value that many processes read and write.

mod changes;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use herdless_core::{
    Acl, Client, ClientExt, Create, CreateMode, Error, MultiOp, NodePath, Refusal, Stat, Version, Zxid,
};

pub use self::changes::Changes;
use crate::contend::read;
use crate::parents;
use crate::receipt::{Outcome, Receipts, Written};

/// A value in one node, which many processes read and write.
///
/// The value is the node's data and nothing else, so Curator's `SharedValue` and `DistributedAtomicValue` work on the same
/// path. The node is persistent; missing parents are made as containers.
///
/// # What is promised, and what is not
///
/// A write happens once or not at all, and its outcome is the true one, also where the connection is lost before the reply:
/// it neither reports a conflict with itself nor writes twice. For this each write sets a *receipt* in the same change: an
/// ephemeral child of the node, `receipt-..`, that belongs to this client and tells whether its last write happened. It is
/// removed when the last clone of the `SharedValue` is dropped, and by the server when the session ends. If the session
/// ends while an outcome is not known, nobody can know it any more, and the error says so: `SessionExpired`.
///
/// Who deletes the node while it is in use has to delete its receipts with it (`deleteall` in ZooKeeper's shell). And it must
/// not be a container, which the server would remove with the last receipt. Where the access control list is not open,
/// writers need the permissions to create and delete children too.
///
/// ZooKeeper compares versions, and those begin again when a node is deleted and made anew. A receipt that is in place keeps
/// a write from mistaking the new node for the old one; the first write of a session has none, and can.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | read | 1 | |
/// | set | 1 | |
/// | compare_and_set | 1; 2 on a conflict | |
/// | update | 1 while nobody else writes; 2 otherwise | the first time 2 |
/// | update, each conflict | 2 more | 1 refused, 1 read |
/// | after a lost reply | 1 more | up to 3 over the wire |
/// | dropping the last clone | 0 | one request per receipt, not awaited |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 449 to set ten bytes.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error: whether the write happened is found out, and it happens once |
/// | session expired after a lost reply | `SessionExpired`: **it may or may not have happened** |
/// | session expired otherwise | a write makes a new receipt; [changes](Self::changes) go on |
/// | a future is dropped | written or not; no receipt stays behind |
/// | the node is deleted with its receipts | the next set makes it anew; a comparison is told that there is none |
///
/// # Examples
///
/// ```
/// use herdless_core::{Bytes, NodePath};
/// use herdless_recipes::SharedValue;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let motd = SharedValue::new(client, NodePath::parse("/config/motd")?);
/// motd.set("hello").await?;
/// let longer = motd.update(|old| [old.map_or(b"" as &[u8], |old| old), b" world"].concat().into()).await?;
/// assert_eq!(longer.data, Bytes::from("hello world"));
/// # Ok(()) }
/// ```
pub struct SharedValue<C: Client> {
    state: Arc<State<C>>,
}

struct State<C: Client> {
    client: C,
    path: NodePath,
    acl: Arc<[Acl]>,
    receipts: Receipts<C>,
    /// The newest value that was seen: where an update begins.
    known: Mutex<Option<Versioned>>,
    /// Whether the last update that began with the known value found another one: then it pays to read first.
    expects_others: AtomicBool,
}

/// Options of a [`SharedValue`].
#[derive(Clone)]
pub struct SharedValueBuilder<C> {
    client: C,
    path: NodePath,
    acl: Arc<[Acl]>,
}

/// A value, and which change wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub data: Bytes,
    /// The version of the node's data, which a [`compare_and_set`](SharedValue::compare_and_set) expects. 0 right after the
    /// creation.
    pub version: Version,
    /// The change that wrote it (the node's `mzxid`): a later value has a greater one, also where the node was deleted and
    /// made again.
    pub zxid: Zxid,
}

impl Versioned {
    fn new(data: Bytes, stat: &Stat) -> Self {
        Self { data, version: Version(stat.version), zxid: stat.mzxid }
    }
}

impl<C: Client + Clone + 'static> SharedValue<C> {
    /// The value at `path`. Nothing is sent yet.
    pub fn new(client: C, path: NodePath) -> Self {
        Self::builder(client, path).build()
    }

    /// The value at `path`, with options.
    pub fn builder(client: C, path: NodePath) -> SharedValueBuilder<C> {
        SharedValueBuilder { client, path, acl: Acl::open() }
    }

    /// The value's path.
    pub fn path(&self) -> &NodePath {
        &self.state.path
    }

    /// The value now; `None` where there is no node.
    ///
    /// 1 round trip.
    ///
    /// # Ordering
    ///
    /// Sees every write of this session that came before it, and every write that this session has seen. Of others' latest
    /// writes it may be a moment behind, as all reads of ZooKeeper.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Refused(NoAuth)`, `Overloaded`, `Closed`. A lost connection or session is no error: it is read again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::SharedValue;
    /// async fn show<C: Client + Clone + 'static>(value: &SharedValue<C>) -> Result<(), Error> {
    ///     match value.read().await? {
    ///         Some(value) => println!("{:?}, written by {}", value.data, value.zxid),
    ///         None => println!("not there"),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn read(&self) -> Result<Option<Versioned>, Error> {
        let state = &*self.state;
        loop {
            let current = match read(|| state.client.get(&state.path)).await {
                Ok((data, stat)) => Some(Versioned::new(data, &stat)),
                Err(Error::Refused(Refusal::NoNode)) => None,
                Err(Error::SessionExpired) => continue,
                Err(error) => return Err(error),
            };
            state.remember(current.as_ref());
            return Ok(current);
        }
    }

    /// Sets the value, whatever it was; makes the node where there is none.
    ///
    /// 1 round trip; 2 where the node is missing, 4 where its parents are.
    ///
    /// # Ordering
    ///
    /// The last one wins. It is never written a second time over somebody else's later value.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the value set or not set; no receipt stays behind.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: **it may or may not have happened.** `Refused` (`NoAuth`, `NoChildrenForEphemerals`, ..),
    /// `Overloaded`, `TooLarge`, `Closed`: nothing changed. `ConnectionLost` or `Uncertain` only where the client was closed, or
    /// the server refused to say, before it was known: it may or may not have happened.
    ///
    /// # Examples
    ///
    /// See [`SharedValue`].
    pub async fn set(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        let (state, data) = (&*self.state, data.into());
        loop {
            let set = MultiOp::set(&state.path, data.clone(), Version::ANY);
            match state.receipts.carry_out(set).await? {
                Outcome::Written(Written { zxid, version }) => {
                    // Without its version the value is of no use for the next update.
                    let written = version.map(|version| Versioned { data, version, zxid });
                    state.remember(written.as_ref());
                    return Ok(());
                }
                Outcome::Changed => {}
                Outcome::Missing => {
                    if state.replace(None, &data).await?.is_some() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sets the value if it is still `expected`; `None` expects that there is no node, and makes it.
    ///
    /// Yields the value as written, or, where it is not as expected, the one that is there instead.
    ///
    /// 1 round trip; 2 on a conflict.
    ///
    /// # Ordering
    ///
    /// Of all writes that expect the same value, one succeeds.
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), and `Invalid` where the expected version is −1: after 2³² writes a node can have it, and
    /// ZooKeeper takes it for "any" (CURATOR-688). A [`set`](Self::set) leads on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::SharedValue;
    /// async fn claim<C: Client + Clone + 'static>(value: &SharedValue<C>, name: &'static str) -> Result<bool, Error> {
    ///     match value.read().await? {
    ///         Some(taken) if !taken.data.is_empty() => Ok(false),
    ///         free => Ok(value.compare_and_set(free.as_ref(), name).await?.is_ok()),
    ///     }
    /// }
    /// ```
    pub async fn compare_and_set(
        &self,
        expected: Option<&Versioned>,
        data: impl Into<Bytes>,
    ) -> Result<Result<Versioned, Option<Versioned>>, Error> {
        let data = data.into();
        if expected.is_some_and(|expected| expected.version == Version::ANY) {
            return Err(Error::invalid("version -1 cannot be compared: the server takes it for any"));
        }
        loop {
            if let Some(written) = self.state.replace(expected, &data).await? {
                return Ok(Ok(written));
            }
            let current = self.read().await?;
            // The very value that is expected: it was the receipt that had gone, or a node that came and went.
            if current.as_ref().map(|value| value.zxid) != expected.map(|value| value.zxid) {
                return Ok(Err(current));
            }
        }
    }

    /// Makes the node with this value if there is none. Yields the value as written, or the one that is there.
    ///
    /// Costs, ordering, cancel safety and errors as [`compare_and_set`](Self::compare_and_set).
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{SharedValue, Versioned};
    /// async fn value_or<C: Client + Clone + 'static>(
    ///     value: &SharedValue<C>,
    ///     default: &'static str,
    /// ) -> Result<Option<Versioned>, Error> {
    ///     Ok(value.initialize(default).await?.map_or_else(|there| there, Some))
    /// }
    /// ```
    pub async fn initialize(&self, data: impl Into<Bytes>) -> Result<Result<Versioned, Option<Versioned>>, Error> {
        self.compare_and_set(None, data).await
    }

    /// Replaces the value by what `change` makes of it, again for each value that comes in between. `change` is given `None`
    /// where there is no node. Yields the value as written.
    ///
    /// 1 round trip while nobody else writes, 2 otherwise; 2 more for each conflict.
    ///
    /// # Ordering
    ///
    /// Updates take effect one after the other, each on the result of the one before. Of those that conflict one succeeds;
    /// nobody waits in line.
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// As [`compare_and_set`](Self::compare_and_set).
    ///
    /// # Examples
    ///
    /// See [`SharedValue`].
    pub async fn update(&self, mut change: impl FnMut(Option<&Bytes>) -> Bytes) -> Result<Versioned, Error> {
        self.try_update(|value| Ok(change(value))).await
    }

    /// As [`update`](Self::update), with a `change` that may decline: its error ends the update, and nothing is written. An
    /// error is believed only of a value that was just read, so `change` may be asked again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{SharedValue, Versioned};
    /// async fn append<C: Client + Clone + 'static>(value: &SharedValue<C>, line: &str) -> Result<Versioned, Error> {
    ///     value
    ///         .try_update(|old| {
    ///             let text = old.map_or(b"" as &[u8], |old| old);
    ///             match text.len() + line.len() {
    ///                 0..=1000 => Ok([text, line.as_bytes()].concat().into()),
    ///                 _ => Err(Error::invalid("the log is full")),
    ///             }
    ///         })
    ///         .await
    /// }
    /// ```
    pub async fn try_update<E: From<Error>>(
        &self,
        mut change: impl FnMut(Option<&Bytes>) -> Result<Bytes, E>,
    ) -> Result<Versioned, E> {
        let state = &*self.state;
        let remembered = state.known_for_certain();
        let mut is_remembered = remembered.is_some();
        let mut current = match remembered {
            None => self.read_first().await?,
            remembered => remembered,
        };
        loop {
            let written = match change(current.as_ref().map(|value| &value.data)) {
                Ok(data) => self.compare_and_set(current.as_ref(), data).await?,
                Err(_) if is_remembered => Err(self.read().await?),
                Err(error) => return Err(error),
            };
            match written {
                Ok(written) => return Ok(written),
                Err(other) => {
                    let was_outdated = is_remembered && other != current;
                    if was_outdated {
                        state.expects_others.store(true, Ordering::Relaxed);
                    }
                    (current, is_remembered) = (other, false);
                }
            }
        }
    }

    /// Reads the value that an update begins with, and learns whether others still write.
    async fn read_first(&self) -> Result<Option<Versioned>, Error> {
        let before = self.state.known().clone();
        let current = self.read().await?;
        self.state.expects_others.store(before.is_some() && before != current, Ordering::Relaxed);
        Ok(current)
    }

    /// The values from now on: the one that is there, then the latest one after each change. `None` is told where there is
    /// no node.
    ///
    /// 1 round trip for each value, and the event.
    ///
    /// # Ordering
    ///
    /// In the order of the changes ([`Versioned::zxid`]); never goes back, and the last value always comes. Values that are
    /// overwritten before they are read are left out.
    ///
    /// # Cancel safety
    ///
    /// The stream may be dropped at any time; its watch goes as every dropped [`Watch`](herdless_core::Watch) does.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); the stream ends with it. A lost connection or session is no error: the value is read again, in a
    /// new session after catching up with the leader.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::SharedValue;
    /// use futures::TryStreamExt;
    ///
    /// async fn follow<C: Client + Clone + 'static>(value: &SharedValue<C>) -> Result<(), Error> {
    ///     let mut changes = value.changes();
    ///     while let Some(now) = changes.try_next().await? {
    ///         println!("{:?}", now.map(|value| value.data));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn changes(&self) -> Changes {
        Changes::new(&self.state.client, &self.state.path)
    }
}

impl<C: Client + Clone + 'static> State<C> {
    /// Writes if the node is as expected: the value as written, or `None` where it is not.
    async fn replace(&self, expected: Option<&Versioned>, data: &Bytes) -> Result<Option<Versioned>, Error> {
        let mut parent_attempts = 0;
        loop {
            match self.receipts.carry_out(self.replacement(expected, data)).await? {
                Outcome::Written(Written { zxid, version }) => {
                    let next = || expected.map_or(Version(0), |expected| Version(expected.version.0.wrapping_add(1)));
                    let written = Versioned { data: data.clone(), version: version.unwrap_or_else(next), zxid };
                    self.remember(Some(&written));
                    return Ok(Some(written));
                }
                Outcome::Missing if expected.is_none() => {
                    let parent = self.path.parent().filter(|_| parent_attempts < parents::ATTEMPTS);
                    let parent = parent.ok_or(Error::Refused(Refusal::NoNode))?;
                    parent_attempts += 1;
                    parents::make(&self.client, &parent, &self.acl).await?;
                }
                Outcome::Changed | Outcome::Missing => return Ok(None),
            }
        }
    }

    fn replacement(&self, expected: Option<&Versioned>, data: &Bytes) -> MultiOp {
        let (path, data) = (self.path.clone(), data.clone());
        match expected {
            Some(expected) => MultiOp::set(&path, data, expected.version),
            None => {
                MultiOp::Create(Create { path, data: data.into(), acl: self.acl.clone(), mode: CreateMode::Persistent })
            }
        }
    }

    /// The value to begin an update with, where it does not pay to read first and the node is still the one it was read
    /// from.
    fn known_for_certain(&self) -> Option<Versioned> {
        let known = self.known().clone()?;
        let is_worth_it = !self.expects_others.load(Ordering::Relaxed) && known.version != Version::ANY;
        (is_worth_it && self.receipts.vouch_for(known.zxid)).then_some(known)
    }
}

impl<C: Client> State<C> {
    fn known(&self) -> MutexGuard<'_, Option<Versioned>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the newest value: what concurrent calls learn comes in any order.
    fn remember(&self, value: Option<&Versioned>) {
        let mut known = self.known();
        match (value, &*known) {
            (Some(value), Some(newer)) if newer.zxid > value.zxid => {}
            _ => *known = value.cloned(),
        }
    }
}

impl<C: Client + Clone + 'static> SharedValueBuilder<C> {
    /// The access control list of the nodes that are made: the value's, its parents' and its receipts'. The default is open to
    /// anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// The value.
    pub fn build(self) -> SharedValue<C> {
        let Self { client, path, acl } = self;
        let receipts = Receipts::new(client.clone(), path.clone(), acl.clone());
        let (known, expects_others) = (Mutex::default(), AtomicBool::new(false));
        SharedValue { state: Arc::new(State { client, path, acl, receipts, known, expects_others }) }
    }
}

/// Cheap; clones share the receipts and what is known of the value.
impl<C: Client> Clone for SharedValue<C> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<C: Client> fmt::Debug for SharedValue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedValue").field("path", &self.state.path).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for SharedValueBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedValueBuilder").field("path", &self.path).finish_non_exhaustive()
    }
}
