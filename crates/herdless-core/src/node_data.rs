//! What a node holds.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The data of a node: bytes, or null.
///
/// Apache ZooKeeper keeps null apart from no bytes at all: who has created a node with null reads null. It can be used as
/// the bytes that it is, of which null has none; that is also how [`ClientExt`](crate::ClientExt) reads it.
///
/// ```
/// use herdless_core::NodeData;
///
/// assert_eq!(NodeData::from("x"), "x");
/// assert!(NodeData::NULL.is_empty());
/// assert_ne!(NodeData::NULL, NodeData::from(""));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodeData(Option<Bytes>);

static NO_BYTES: Bytes = Bytes::new();

impl NodeData {
    /// No bytes, and not even none.
    pub const NULL: Self = Self(None);

    /// Whether it is null.
    pub const fn is_null(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes; none of null.
    pub fn into_bytes(self) -> Bytes {
        self.0.unwrap_or_default()
    }
}

impl Default for NodeData {
    /// No bytes.
    fn default() -> Self {
        Self(Some(Bytes::new()))
    }
}

impl Deref for NodeData {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        self.0.as_ref().unwrap_or(&NO_BYTES)
    }
}

impl<T> From<T> for NodeData
where
    Bytes: From<T>,
{
    fn from(bytes: T) -> Self {
        Self(Some(bytes.into()))
    }
}

impl<T: ?Sized> PartialEq<T> for NodeData
where
    Bytes: PartialEq<T>,
{
    /// Null is equal to nothing but null.
    fn eq(&self, other: &T) -> bool {
        self.0.as_ref().is_some_and(|bytes| bytes == other)
    }
}

impl fmt::Debug for NodeData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(bytes) => bytes.fmt(f),
            None => f.write_str("null"),
        }
    }
}
