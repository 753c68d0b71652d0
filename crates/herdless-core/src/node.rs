//! What a znode is: its kinds, versions and Stat.

use std::fmt;
use std::time::Duration;

/// The id of a change: every change to the tree has one, in one total order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// The version of a node's data that a write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub i32);

impl Version {
    /// Whatever the version is (−1 on the wire).
    pub const ANY: Self = Self(-1);
}

/// How a node lives and is named (`CreateMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a backend has to know every kind of node")]
pub enum CreateMode {
    /// Lives until it is deleted.
    Persistent,
    /// As `Persistent`, with ten digits behind the name that no earlier child of this parent had.
    PersistentSequential,
    /// Lives until its session ends. May not have children.
    Ephemeral,
    /// As `Ephemeral`, with ten digits behind the name.
    EphemeralSequential,
    /// Removed by the server some time after its last child has gone.
    Container,
    /// Removed by the server when it has had no child and no write for this long (whole milliseconds, from 1 to
    /// 1,099,511,627,775). Servers allow it only when configured (`zookeeper.extendedTypesEnabled`).
    PersistentWithTtl(Duration),
    /// As `PersistentWithTtl`, with ten digits behind the name.
    PersistentSequentialWithTtl(Duration),
}

impl CreateMode {
    /// Whether the node ends with its session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether the server appends ten digits to the name.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential | Self::PersistentSequentialWithTtl(_))
    }
}

/// What the server keeps about a node (`org.apache.zookeeper.data.Stat`, in the order of the wire).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// The change that created the node.
    pub czxid: Zxid,
    /// The change that last set its data.
    pub mzxid: Zxid,
    /// When it was created, in milliseconds since 1970 by the server's clock.
    pub ctime: i64,
    /// When its data was last set, in milliseconds since 1970 by the server's clock.
    pub mtime: i64,
    /// How often its data was set.
    pub version: i32,
    /// How often children were created and deleted.
    pub cversion: i32,
    /// How often its access control list was set.
    pub aversion: i32,
    /// The session that an ephemeral node belongs to; 0 for others.
    pub ephemeral_owner: i64,
    /// The length of its data in bytes.
    pub data_length: i32,
    /// The number of its children.
    pub num_children: i32,
    /// The change that last created or deleted a child, or created the node.
    pub pzxid: Zxid,
}
