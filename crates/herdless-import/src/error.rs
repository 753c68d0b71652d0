//! Why a directory cannot be read.

use std::fmt;
use std::io;

use herdless_core::Zxid;
use herdless_memory::RestoreError;
use thiserror::Error;

/// Why a directory cannot be read: what is wrong, in which file, and where in it.
#[derive(Debug, Error)]
pub struct ImportError {
    /// The name of the file; the directory, where it is wrong as a whole.
    pub file: String,
    /// Where, in bytes from the start of the file, or of what is compressed in it; `None` where it is the file as a whole.
    pub offset: Option<u64>,
    /// What is wrong there.
    #[source]
    pub fault: Fault,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{}, byte {offset}: {}", self.file, self.fault),
            None => write!(f, "{}: {}", self.file, self.fault),
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is no snapshot. Every server of Apache ZooKeeper writes one before it serves, so this is not its directory or not
    /// all of it.
    #[error("no snapshot of Apache ZooKeeper's")]
    NoSnapshot,
    /// It is compressed (`zookeeper.snapshot.compression.method`). A server that is started once more with the default method
    /// writes one that is not.
    #[error("a snapshot compressed by {0}, which is not read")]
    Compressed(&'static str),
    /// It ends too early.
    #[error("it ends within {0}")]
    Incomplete(&'static str),
    /// It does not begin as such a file does (`FileHeader`).
    #[error("not a file of Apache ZooKeeper's version 2 of this kind")]
    Header,
    /// The checksum over all before it is another one.
    #[error("the checksum is wrong")]
    Checksum,
    /// A record that cannot be read, although it is all there.
    #[error("no valid {0}")]
    Malformed(&'static str),
    /// An entry of a log that is damaged, and not merely the last one and cut off.
    #[error("a damaged entry")]
    Damaged,
    /// A transaction of a kind that no release up to 3.9 writes.
    #[error("a transaction of the unknown kind {0}")]
    UnknownTransaction(i32),
    /// What is between the last change and this one is in no file.
    #[error("{found} follows {last}: a log is missing, or this one is of another history")]
    Gap {
        /// The last change before it.
        last: Zxid,
        /// The change that comes next.
        found: Zxid,
    },
    /// The logs end before a change that the snapshot holds a part of, so that it may be half of it.
    #[error("the logs end with {last}, and this snapshot was being written until {until}")]
    Uncovered {
        /// The last change of the logs.
        last: Zxid,
        /// The change that they have to reach.
        until: Zxid,
    },
    /// A node whose access control list is in no file.
    #[error("the access control list of {0} is missing")]
    NoAcl(String),
    /// A node of a kind that no release up to 3.9 makes.
    #[error("a node of an unknown kind (owner 0x{0:x})")]
    UnknownKind(i64),
    /// The nodes make no tree.
    #[error(transparent)]
    Tree(#[from] RestoreError),
}

impl Fault {
    /// As an error of the file as a whole.
    pub(crate) fn of(self, file: &str) -> ImportError {
        ImportError { file: file.to_owned(), offset: None, fault: self }
    }

    pub(crate) fn at(self, file: &str, offset: u64) -> ImportError {
        ImportError { file: file.to_owned(), offset: Some(offset), fault: self }
    }
}
