//! Reads the files of an Apache ZooKeeper server, so that a herdless server can go on where it has stopped.
//!
//! ```no_run
//! use herdless_import::{DataDirectory, Import};
//!
//! // `dataDir` of its zoo.cfg; the server is stopped.
//! let import = Import::read(&DataDirectory::new("/var/lib/zookeeper"))?;
//! println!("{} nodes, {} sessions", import.tree.paths().count(), import.sessions.len());
//! # Ok::<(), herdless_import::ImportError>(())
//! ```
//!
//! What is read is what the server itself would read when it starts: the newest snapshot that is whole, and the transaction logs
//! from there on. Nothing is written. The files are those of a server that stands alone, of 3.4 to 3.9; those of one of an
//! ensemble are read in the same way, but only the ensemble knows whether its last changes were ever agreed on.
//!
//! # What comes over
//!
//! Every node with its data, its access control list and all of its Stat; the numbers of sequential children to come; the last
//! zxid; and the sessions, each with its timeout and its ephemeral nodes.
//!
//! Sessions come over because anything else is not safe: whoever holds a lock by an ephemeral node believes in it until its
//! session's timeout is over, and a server that began without the node would give the lock to somebody else. On the imported
//! tree each session has its whole timeout to come back. Its client can: the password that it shows is not in the files, but
//! every server of Apache ZooKeeper computes it from the session's id, and so does [`ImportedSession::password`]. Whoever can
//! read an `ephemeralOwner` can compute it as well, as with the server that the files are from. Who would rather have nobody come
//! back puts a random password in its place; the session and its nodes then live for one more timeout.
//!
//! # What is wrong with files
//!
//! No damage is passed over in silence. A snapshot that is not whole is passed over for an older one where the logs have
//! everything since, and [`Report::passed_over`] says so. The end of a log that was being written when the server was killed is
//! left out, as nobody was told of it ([`Report::torn`]). Anything else is an [`ImportError`] with the file and the place. A log
//! that was cut off exactly between two entries cannot be told from one that ends there.
//!
//! Not read: snapshots compressed by gzip or snappy, which are off by default, and the nodes with a time to live of release
//! 3.5.3, whose owner looks like a session that is over: those go, as they do on a later server, and are in
//! [`Report::dropped`].

mod error;
mod files;
mod input;
mod log;
mod owner;
mod password;
mod replay;
mod replica;
mod snapshot;
mod transaction;

use std::fmt;
use std::time::Duration;

use herdless_core::{NodePath, SessionId, Zxid};
use herdless_memory::Tree;

pub use error::{Fault, ImportError};
pub use files::{DataDirectory, Files};

/// What the files of a server come to.
#[derive(Debug)]
pub struct Import {
    /// The tree after the last change. Its sessions are open.
    pub tree: Tree,
    /// The sessions of the tree, in the order of their ids.
    pub sessions: Vec<ImportedSession>,
    /// What was read, and what was left out.
    pub report: Report,
}

/// A session that was open when the server stopped.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportedSession {
    /// Its id.
    pub id: SessionId,
    /// How long it may not be heard of, in whole milliseconds.
    pub timeout: Duration,
    /// What its client shows when it comes back (`ZooKeeperServer.generatePasswd`). It follows from the id.
    pub password: [u8; 16],
}

/// What was read, and what was left out.
#[derive(Debug, Default)]
pub struct Report {
    /// The name of the snapshot.
    pub snapshot: String,
    /// The names of the logs, in their order.
    pub logs: Vec<String>,
    /// How many transactions of the logs come behind the snapshot.
    pub transactions: u64,
    /// Where logs end within an entry. Nothing is missing: the last one was being written, and behind another one the next log
    /// goes on with the change that was written no further here.
    pub torn: Vec<Torn>,
    /// Why newer snapshots were passed over.
    pub passed_over: Vec<ImportError>,
    /// The ephemeral nodes whose sessions were over, in order of their sessions: a server that starts removes them too.
    pub dropped: Vec<NodePath>,
    /// Whether the tree came to what the server has noted of it.
    pub digests: Digests,
}

/// A log that ends within an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The name of the log.
    pub file: String,
    /// Where the entry begins, in bytes.
    pub offset: u64,
}

/// What servers since 3.6 note of the whole tree with each change, unless told otherwise (`zookeeper.digest.enabled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// How often it could be compared.
    pub compared: u64,
    /// The first change after which it was another one. Either the files' tree is not that which the server had, or the server's
    /// own notes are wrong, as they are for a while where the root's data is set while children of it are made or deleted (seen on
    /// 3.8.0). A server that starts on such files only logs it.
    pub differs: Option<Zxid>,
}

impl Import {
    /// Reads the files of a server that is stopped. Takes the time and the memory that the tree takes, and never more memory for
    /// a file than a few times its size.
    ///
    /// # Errors
    ///
    /// [`ImportError`], with the file and the place.
    pub fn read(files: &impl Files) -> Result<Self, ImportError> {
        replay::read(files)
    }
}

// The password lets its holder take the session over.
impl fmt::Debug for ImportedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportedSession").field("id", &self.id).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
