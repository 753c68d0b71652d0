//! Keeping the tree and the sessions on disk.
//!
//! The tree is in memory, and every reply is made from there. What a change has touched is written by one thread, all that has
//! come together since the last time in one transaction with one sync (group commit); until then nothing that shows the change
//! leaves the server ([`state::held`](crate::state)). There is no log and no snapshot: the tables are the tree.

mod backup;
mod database;
mod directory;
mod disk;
mod error;
mod import;
mod records;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use herdless_core::Zxid;
use herdless_memory::Tree;
use tokio::sync::oneshot;

pub(crate) use backup::back_up;
pub use backup::{backup, restore};
pub(crate) use database::{Batch, Database, Loaded};
pub use disk::Disk;
pub use error::StoreError;
pub use import::import;
pub(crate) use records::SessionRecord;
pub(crate) use writer::{Writer, start};

use directory::Directory;

/// When a server with a data directory acknowledges a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Once it is on disk: nothing that was acknowledged is ever lost.
    #[default]
    Durable,
    /// At once, as long as no change that was acknowledged and is not on disk is older than `every`: a crash loses at most what
    /// was acknowledged within such a time. It is about as fast as memory.
    Relaxed {
        /// How much may be lost, as the time in which it was acknowledged.
        every: Duration,
    },
}

/// Where a store is kept.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Directory(PathBuf),
    Disk(Arc<dyn Disk>),
}

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    disk: Arc<dyn Disk>,
    durability: Durability,
}

/// Opens the store, which is made where there is none with `first` as its first change. It is read on a thread of its own.
///
/// # Cancel safety
///
/// Dropping the future leaves the store closed once it has been read.
pub(crate) async fn open(place: Place, durability: Durability, first: Zxid) -> Result<(Store, Loaded), StoreError> {
    let (done, opened) = oneshot::channel();
    let opening = std::thread::Builder::new().name("herdless-open".into());
    let open = move || {
        // Whoever asked may be gone.
        let _ = done.send(Store::open(&place, durability, first));
    };
    opening.spawn(open).map_err(StoreError::Io)?;
    opened.await.unwrap_or_else(|_| Err(StoreError::Damaged("reading it failed".into())))
}

impl Store {
    fn open(place: &Place, durability: Durability, first: Zxid) -> Result<(Self, Loaded), StoreError> {
        let all = || {
            let mut tree = Tree::new(first);
            tree.add_system_nodes();
            tree.keep_journal(true);
            let changes = tree.take_changes();
            Batch { zxid: changes.zxid, nodes: changes.nodes, sessions: Vec::new() }
        };
        let disk = match place {
            Place::Directory(path) => Directory::lock(path)?.disk(all)?,
            Place::Disk(disk) => {
                if disk.length()? == 0 {
                    Database::create(disk.clone(), &all())?.close()?;
                }
                disk.clone()
            }
        };
        let (database, mut loaded) = open_existing(disk.clone())?;
        let mut store = Self { database, disk, durability };
        store.begin(&mut loaded, first)?;
        Ok((store, loaded))
    }

    /// Goes on from where the last server ended; beyond all that it may have told clients, where that is not known to be here.
    fn begin(&mut self, loaded: &mut Loaded, first: Zxid) -> Result<(), StoreError> {
        let state = self.database.state();
        let zxid = match state.is_behind {
            true => Zxid(state.zxid.0.saturating_add(EPOCH).max(first.0 - 1)),
            false => state.zxid,
        };
        loaded.tree.skip_to(zxid);
        loaded.tree.keep_journal(false);
        self.database.set_state(zxid, self.durability != Durability::Durable)
    }
}

/// Opens a store that has to be there, and reads all of it.
fn open_existing(disk: Arc<dyn Disk>) -> Result<(Database, Loaded), StoreError> {
    Database::open(disk)?.ok_or_else(|| StoreError::Damaged("its file is empty".into()))
}

/// How far a server begins beyond a store that may be behind.
const EPOCH: i64 = 1 << 32;

/// The time by which a relaxed server waits, whatever a test does to that of the runtime.
#[expect(clippy::disallowed_methods, reason = "the thread that writes keeps time by itself")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
