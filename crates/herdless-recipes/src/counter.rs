//! A number that many processes count with.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use herdless_core::{Acl, Client, Error, NodePath};

use crate::value::{Changes, SharedValue, SharedValueBuilder, Versioned};

/// A number in one node, which many processes count with.
///
/// No count is lost and none is made twice, also where the connection is lost before the reply: see [`SharedValue`], which
/// this is, with the same receipts, costs and limits. Curator and kazoo processes can count along on the same path, in the
/// [format](CounterFormat) that they use; their own counts are as exact as they make them.
///
/// A node that is absent or empty counts as 0, as for Curator's `DistributedAtomicLong`.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | get | 1 | |
/// | set | 1 | |
/// | add, subtract, increment, compare_and_set | 1 while nobody else writes; 2 otherwise | 2 more for each conflict |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 451 to count.
///
/// # When something goes wrong
///
/// As with [`SharedValue`]. Data that is no number is `Malformed` and left alone, except by [`set`](Self::set); a number that would
/// overflow is `Invalid`, and nothing is written.
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::SharedCounter;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let orders = SharedCounter::new(client, NodePath::parse("/counters/orders")?);
/// assert_eq!(orders.increment().await?, 1);
/// assert_eq!(orders.add(41).await?, 42);
/// # Ok(()) }
/// ```
pub struct SharedCounter<C: Client> {
    value: SharedValue<C>,
    format: CounterFormat,
}

/// Options of a [`SharedCounter`].
#[derive(Clone, Debug)]
pub struct SharedCounterBuilder<C> {
    value: SharedValueBuilder<C>,
    format: CounterFormat,
}

/// How a counter's number is written in its node. Everybody who counts on one path has to use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CounterFormat {
    /// 64 bits, big-endian: Curator's `DistributedAtomicLong`.
    #[default]
    AtomicLong,
    /// 32 bits, big-endian: Curator's `DistributedAtomicInteger` and `SharedCount`.
    AtomicInteger,
    /// Decimal digits: kazoo's `Counter` with a whole number as its default.
    Kazoo,
}

impl CounterFormat {
    fn encode(self, number: i64) -> Result<Bytes, Error> {
        match self {
            Self::AtomicLong => Ok(Bytes::copy_from_slice(&number.to_be_bytes())),
            Self::AtomicInteger => match i32::try_from(number) {
                Ok(number) => Ok(Bytes::copy_from_slice(&number.to_be_bytes())),
                Err(_) => Err(Error::invalid(format!("a counter of 32 bits cannot be {number}"))),
            },
            Self::Kazoo => Ok(number.to_string().into()),
        }
    }

    fn decode(self, data: &[u8]) -> Option<i64> {
        if data.is_empty() {
            return Some(0);
        }
        match self {
            Self::AtomicLong => data.try_into().ok().map(i64::from_be_bytes),
            Self::AtomicInteger => data.try_into().ok().map(i32::from_be_bytes).map(i64::from),
            Self::Kazoo => std::str::from_utf8(data).ok()?.parse().ok(),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::AtomicLong => "a number of 8 bytes",
            Self::AtomicInteger => "a number of 4 bytes",
            Self::Kazoo => "a decimal number of 64 bits",
        }
    }

    /// The number in a node's data.
    fn read(self, path: &NodePath, data: Option<&Bytes>) -> Result<i64, Error> {
        let malformed = || Error::Malformed { path: path.clone(), expected: self.expected() };
        data.map_or(Some(0), |data| self.decode(data)).ok_or_else(malformed)
    }
}

/// Why a comparison ends without a write.
enum Stop {
    Other(i64),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<C: Client + Clone + 'static> SharedCounter<C> {
    /// The counter at `path`. Nothing is sent yet.
    pub fn new(client: C, path: NodePath) -> Self {
        Self::builder(client, path).build()
    }

    /// The counter at `path`, with options.
    pub fn builder(client: C, path: NodePath) -> SharedCounterBuilder<C> {
        SharedCounterBuilder { value: SharedValue::builder(client, path), format: CounterFormat::default() }
    }

    /// The counter's path.
    pub fn path(&self) -> &NodePath {
        self.value.path()
    }

    /// The number now. 1 round trip.
    ///
    /// # Ordering
    ///
    /// As [`SharedValue::read`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Malformed` where the node holds something else; otherwise as [`SharedValue::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::SharedCounter;
    /// async fn show<C: Client + Clone + 'static>(counter: &SharedCounter<C>) -> Result<(), Error> {
    ///     println!("{} so far", counter.get().await?);
    ///     Ok(())
    /// }
    /// ```
    pub async fn get(&self) -> Result<i64, Error> {
        let value = self.value.read().await?;
        self.number(value.as_ref().map(|value| &value.data))
    }

    /// Sets the number, whatever it was. 1 round trip; more where the node is missing.
    ///
    /// # Ordering, cancel safety, errors
    ///
    /// As [`SharedValue::set`]; and `Invalid` where the format cannot hold the number.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::SharedCounter;
    /// async fn begin_again<C: Client + Clone + 'static>(counter: &SharedCounter<C>) -> Result<(), Error> {
    ///     counter.set(0).await
    /// }
    /// ```
    pub async fn set(&self, number: i64) -> Result<(), Error> {
        self.value.set(self.format.encode(number)?).await
    }

    /// Adds to the number, exactly once. Yields the sum.
    ///
    /// 1 round trip while nobody else writes, 2 otherwise; 2 more for each conflict.
    ///
    /// # Ordering
    ///
    /// No two calls of any process yield the same step of the count.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave it added or not; never twice, and no receipt stays behind.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: **it may or may not have been added.** `Invalid`: the sum does not fit the format. `Malformed`: the
    /// node holds something else. With these two nothing was written. Otherwise as [`SharedValue::update`].
    ///
    /// # Examples
    ///
    /// See [`SharedCounter`].
    pub async fn add(&self, number: i64) -> Result<i64, Error> {
        self.change(|before| before.checked_add(number)).await
    }

    /// Subtracts from the number, exactly once. Yields the difference. Otherwise as [`add`](Self::add).
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::SharedCounter;
    /// async fn use_up<C: Client + Clone + 'static>(stock: &SharedCounter<C>) -> Result<i64, Error> {
    ///     stock.subtract(1).await
    /// }
    /// ```
    pub async fn subtract(&self, number: i64) -> Result<i64, Error> {
        self.change(|before| before.checked_sub(number)).await
    }

    /// Adds 1, exactly once. Yields the sum: a number that no other increment of this counter yields, while nobody sets it
    /// back. Otherwise as [`add`](Self::add).
    ///
    /// # Examples
    ///
    /// See [`SharedCounter`].
    pub async fn increment(&self) -> Result<i64, Error> {
        self.add(1).await
    }

    /// Sets the number to `new` if it is `expected`. Yields the number that is there instead, if it is another.
    ///
    /// 1 round trip while nobody else writes, 2 otherwise; 2 more for each conflict.
    ///
    /// # Ordering
    ///
    /// It is the number that is compared: one that was changed and changed back is as expected. To tell these apart use
    /// [`SharedValue::compare_and_set`].
    ///
    /// # Cancel safety, errors
    ///
    /// As [`add`](Self::add).
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::SharedCounter;
    /// async fn next_version<C: Client + Clone + 'static>(counter: &SharedCounter<C>) -> Result<(), Error> {
    ///     match counter.compare_and_set(1, 2).await? {
    ///         Ok(()) => println!("on to version 2"),
    ///         Err(other) => println!("it is version {other}"),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn compare_and_set(&self, expected: i64, new: i64) -> Result<Result<(), i64>, Error> {
        let new = self.format.encode(new)?;
        let compare = |data: Option<&Bytes>| match self.number(data)? {
            number if number == expected => Ok(new.clone()),
            other => Err(Stop::Other(other)),
        };
        match self.value.try_update(compare).await {
            Ok(_) => Ok(Ok(())),
            Err(Stop::Other(other)) => Ok(Err(other)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// The numbers from now on: the one that is there, then the latest one after each change.
    ///
    /// Costs, ordering and cancel safety as [`SharedValue::changes`].
    ///
    /// # Errors
    ///
    /// `Malformed` where the node holds something else: the stream goes on with the next change. Otherwise as
    /// [`SharedValue::changes`].
    ///
    /// # Examples
    ///
    /// See [`SharedValue::changes`].
    pub fn changes(&self) -> CounterChanges {
        CounterChanges { values: self.value.changes(), path: self.path().clone(), format: self.format }
    }

    async fn change(&self, step: impl Fn(i64) -> Option<i64>) -> Result<i64, Error> {
        let overflow = || Error::invalid("the counter would overflow");
        let change = |data: Option<&Bytes>| {
            let number = step(self.number(data)?).ok_or_else(overflow)?;
            self.format.encode(number)
        };
        let Versioned { data, .. } = self.value.try_update(change).await?;
        self.number(Some(&data))
    }

    fn number(&self, data: Option<&Bytes>) -> Result<i64, Error> {
        self.format.read(self.path(), data)
    }
}

impl<C: Client + Clone + 'static> SharedCounterBuilder<C> {
    /// How the number is written. The default is [`CounterFormat::AtomicLong`].
    pub fn format(mut self, format: CounterFormat) -> Self {
        self.format = format;
        self
    }

    /// The access control list of the nodes that are made; see [`SharedValueBuilder::acl`].
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.value = self.value.acl(acl);
        self
    }

    /// The counter.
    pub fn build(self) -> SharedCounter<C> {
        SharedCounter { value: self.value.build(), format: self.format }
    }
}

/// The numbers of a [`SharedCounter`], as they change; see [`SharedCounter::changes`].
#[derive(Debug)]
#[must_use = "a stream: poll it"]
pub struct CounterChanges {
    values: Changes,
    path: NodePath,
    format: CounterFormat,
}

impl Stream for CounterChanges {
    type Item = Result<i64, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(item) = Pin::new(&mut self.values).poll_next(cx) else {
            return Poll::Pending;
        };
        let number = |value: Option<Versioned>| self.format.read(&self.path, value.map(|value| value.data).as_ref());
        Poll::Ready(item.map(|value| value.and_then(number)))
    }
}

/// Cheap; clones share what the [`SharedValue`] shares.
impl<C: Client> Clone for SharedCounter<C> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), format: self.format }
    }
}

impl<C: Client> fmt::Debug for SharedCounter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCounter").field("value", &self.value).field("format", &self.format).finish()
    }
}
