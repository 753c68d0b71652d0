//! The store: tables of nodes, sessions and one state, in a redb database.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use herdless_core::{NodePath, SessionId, Zxid};
use herdless_memory::{NodeRecord, Tree};
use redb::{
    ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use super::disk::{Backend, Disk};
use super::error::{StoreError, from_database};
use super::records::{
    FORMAT, NodeReader, SessionRecord, StoreState, Unreadable, read_session, read_state, weight, write_node,
    write_session, write_state,
};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const NODES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("nodes");
const SESSIONS: TableDefinition<'_, i64, &[u8]> = TableDefinition::new("sessions");
/// Empty but while room is made.
const ROOM: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("room");

/// The keys of the table `meta`.
const FORMAT_KEY: &str = "format";
const STATE_KEY: &str = "state";

/// Which table a record's weight is of.
const NODE: u64 = 1;
const SESSION: u64 = 2;

/// The pages that are kept in memory. All is read once, at the start; what is written again is mostly in the system's cache.
const CACHE: usize = 16 << 20;
/// How much room there has to be before changes are accepted again, in bytes.
const ENOUGH: usize = 4 << 20;

/// For how many sessions room is made before they are read.
const MOST_AT_ONCE: u64 = 1 << 16;

/// The database panics on some of what may be in a file that was damaged.
const SENSELESS: &str = "the database cannot make sense of it";

/// What one commit writes.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) zxid: Zxid,
    pub(crate) nodes: Vec<(NodePath, Option<NodeRecord>)>,
    pub(crate) sessions: Vec<(SessionId, Option<SessionRecord>)>,
}

/// What was in the store.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) tree: Tree,
    pub(crate) sessions: Vec<(SessionId, SessionRecord)>,
}

/// An open store. Only one thread writes to it.
#[derive(Debug)]
pub(crate) struct Database {
    redb: Arc<redb::Database>,
    /// Tells that nobody has it open any more, by an error.
    closed: Receiver<()>,
    state: StoreState,
}

impl Database {
    /// Makes a store of what `all` tells.
    pub(super) fn create(disk: Arc<dyn Disk>, all: &Batch) -> Result<Self, StoreError> {
        let (redb, closed) = open(disk)?;
        let state = StoreState { zxid: all.zxid, is_behind: false, digest: 0 };
        let mut database = Self { redb, closed, state };
        database.transaction(|transaction, _| {
            let mut meta = transaction.open_table(META).map_err(from_database)?;
            meta.insert(FORMAT_KEY, &FORMAT.to_be_bytes()[..]).map_err(from_database)?;
            drop(transaction.open_table(SESSIONS).map_err(from_database)?);
            Ok(())
        })?;
        database.commit(all)?;
        Ok(database)
    }

    /// Opens a store and reads all of it; `None` where nothing was ever written.
    ///
    /// It is read to the end and compared with the digest that the last commit left before anything is believed: a record that
    /// was lost, altered or has come back is found out.
    pub(super) fn open(disk: Arc<dyn Disk>) -> Result<Option<(Self, Loaded)>, StoreError> {
        let opened = panic::catch_unwind(AssertUnwindSafe(|| Self::read(disk)));
        opened.unwrap_or_else(|_| Err(damaged(SENSELESS)))
    }

    /// Opens a store that was read before, and that nobody else has had since: its records are not read again.
    pub(super) fn open_unread(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let opened = panic::catch_unwind(AssertUnwindSafe(|| {
            let (redb, closed) = open(disk)?;
            let state = state_of(&redb.begin_read().map_err(from_database)?)?;
            Ok(Self { redb, closed, state })
        }));
        opened.unwrap_or_else(|_| Err(damaged(SENSELESS)))
    }

    fn read(disk: Arc<dyn Disk>) -> Result<Option<(Self, Loaded)>, StoreError> {
        if disk.length()? == 0 {
            // It would be made into a database.
            return Ok(None);
        }
        let (redb, closed) = open(disk)?;
        let transaction = redb.begin_read().map_err(from_database)?;
        let state = state_of(&transaction)?;
        let (nodes, sessions) = tables(&transaction)?;
        let loaded = load(&state, &nodes, &sessions)?;
        drop(transaction);
        Ok(Some((Self { redb, closed, state }, loaded)))
    }

    /// Closes it in order. While somebody else is still reading, this waits: whoever is the last writes what is to be written at
    /// the end, and only after that may somebody else have the disk.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let closed = Arc::into_inner(self.redb).map_or(Ok(()), |redb| redb.close().map_err(from_database));
        // Nothing is ever sent.
        let _ = self.closed.recv();
        closed
    }

    /// Gives it up after an error, by which nothing more is written. It waits as [`close`](Self::close) does.
    pub(super) fn leave(self) {
        drop(self.redb);
        let _ = self.closed.recv();
    }

    /// The last commit.
    pub(crate) fn state(&self) -> StoreState {
        self.state
    }

    /// For readers on other threads.
    pub(crate) fn shared(&self) -> Arc<redb::Database> {
        self.redb.clone()
    }

    /// Writes all of the batch or nothing. It is on disk when this returns.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.transaction(|transaction, state| {
            write(transaction, batch, &mut state.digest)?;
            state.zxid = batch.zxid;
            Ok(())
        })
    }

    /// Says whether changes may be told to clients that are not on disk, and from where they go on.
    pub(crate) fn set_state(&mut self, zxid: Zxid, is_behind: bool) -> Result<(), StoreError> {
        if (zxid, is_behind) == (self.state.zxid, self.state.is_behind) {
            return Ok(());
        }
        self.transaction(|_, state| {
            (state.zxid, state.is_behind) = (zxid, is_behind);
            Ok(())
        })
    }

    /// Finds out whether there is room again, and takes some of it: the file keeps what it has grown by.
    pub(crate) fn make_room(&mut self) -> Result<(), StoreError> {
        self.transaction(|transaction, _| {
            let mut room = transaction.open_table(ROOM).map_err(from_database)?;
            // Not zeros, which some file systems keep for nothing.
            room.insert("", vec![0x5a; ENOUGH].as_slice()).map_err(from_database)?;
            Ok(())
        })?;
        self.transaction(|transaction, _| {
            transaction.open_table(ROOM).map_err(from_database)?.remove("").map_err(from_database)?;
            Ok(())
        })
    }

    fn transaction(
        &mut self,
        fill: impl FnOnce(&WriteTransaction, &mut StoreState) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let transaction = self.redb.begin_write().map_err(from_database)?;
        let mut state = self.state;
        fill(&transaction, &mut state)?;
        {
            let mut meta = transaction.open_table(META).map_err(from_database)?;
            meta.insert(STATE_KEY, write_state(&state).as_slice()).map_err(from_database)?;
        }
        transaction.commit().map_err(from_database)?;
        self.state = state;
        Ok(())
    }
}

fn open(disk: Arc<dyn Disk>) -> Result<(Arc<redb::Database>, Receiver<()>), StoreError> {
    let (open, closed) = mpsc::channel();
    let backend = Backend { disk, _open: open };
    let opened = redb::Builder::new().set_cache_size(CACHE).create_with_backend(backend).map_err(from_database)?;
    Ok((Arc::new(opened), closed))
}

fn write(transaction: &WriteTransaction, batch: &Batch, digest: &mut u128) -> Result<(), StoreError> {
    let (mut record, mut scratch) = (Vec::new(), Vec::new());
    let mut nodes = transaction.open_table(NODES).map_err(from_database)?;
    for (path, node) in &batch.nodes {
        let key = path.as_str();
        let old = match node {
            Some(node) => {
                write_node(node, &mut record);
                *digest = digest.wrapping_add(weight(NODE, key.as_bytes(), &record, &mut scratch));
                nodes.insert(key, record.as_slice())
            }
            None => nodes.remove(key),
        };
        if let Some(old) = old.map_err(from_database)? {
            *digest = digest.wrapping_sub(weight(NODE, key.as_bytes(), old.value(), &mut scratch));
        }
    }
    if batch.sessions.is_empty() {
        return Ok(());
    }
    let mut sessions = transaction.open_table(SESSIONS).map_err(from_database)?;
    for (id, session) in &batch.sessions {
        let key = id.0.to_be_bytes();
        let old = match session {
            Some(session) => {
                write_session(session, &mut record);
                *digest = digest.wrapping_add(weight(SESSION, &key, &record, &mut scratch));
                sessions.insert(id.0, record.as_slice())
            }
            None => sessions.remove(id.0),
        };
        if let Some(old) = old.map_err(from_database)? {
            *digest = digest.wrapping_sub(weight(SESSION, &key, old.value(), &mut scratch));
        }
    }
    Ok(())
}

fn state_of(transaction: &ReadTransaction) -> Result<StoreState, StoreError> {
    let meta = transaction.open_table(META).map_err(from_database)?;
    let format = meta.get(FORMAT_KEY).map_err(from_database)?;
    let format = format.and_then(|format| format.value().try_into().ok()).map(u32::from_be_bytes);
    match format {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => return Err(StoreError::NewerFormat { found, known: FORMAT }),
        _ => return Err(damaged("it does not say its format")),
    }
    let state = meta.get(STATE_KEY).map_err(from_database)?.ok_or_else(|| damaged("it has no state"))?;
    read_state(state.value()).map_err(|Unreadable| damaged("its state cannot be read"))
}

type Nodes = redb::ReadOnlyTable<&'static str, &'static [u8]>;
type Sessions = redb::ReadOnlyTable<i64, &'static [u8]>;

fn tables(transaction: &ReadTransaction) -> Result<(Nodes, Sessions), StoreError> {
    let nodes = transaction.open_table(NODES).map_err(from_database)?;
    Ok((nodes, transaction.open_table(SESSIONS).map_err(from_database)?))
}

fn load(state: &StoreState, nodes: &Nodes, sessions: &Sessions) -> Result<Loaded, StoreError> {
    let (mut digest, mut scratch) = (0_u128, Vec::new());
    // The file says how many there are, and a file may be damaged.
    let count = sessions.len().map_err(from_database)?.min(MOST_AT_ONCE);
    let mut read = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for entry in sessions.iter().map_err(from_database)? {
        let (id, record) = entry.map_err(from_database)?;
        let session = read_session(record.value()).map_err(|Unreadable| damaged("a session cannot be read"))?;
        digest = digest.wrapping_add(weight(SESSION, &id.value().to_be_bytes(), record.value(), &mut scratch));
        read.push((SessionId(id.value()), session));
    }
    // The tree takes nodes and not errors: it gets none after the first of these.
    let mut error = None;
    let mut reader = NodeReader::default();
    let mut entries = nodes.iter().map_err(from_database)?;
    let restored = std::iter::from_fn(|| {
        let (path, record) = match entries.next()? {
            Ok(entry) => entry,
            Err(storage) => {
                error = Some(from_database(storage));
                return None;
            }
        };
        digest = digest.wrapping_add(weight(NODE, path.value().as_bytes(), record.value(), &mut scratch));
        match (NodePath::parse(path.value()), reader.read(record.value())) {
            (Ok(path), Ok(node)) => Some((path, node)),
            _ => {
                error = Some(damaged(&format!("the node {:?} cannot be read", path.value())));
                None
            }
        }
    });
    let tree = Tree::restore(state.zxid, restored, read.iter().map(|(id, _)| *id));
    if let Some(error) = error {
        return Err(error);
    }
    if digest != state.digest {
        return Err(damaged("what is in it is not what was committed"));
    }
    let tree = tree.map_err(|error| damaged(&error.to_string()))?;
    Ok(Loaded { tree, sessions: read })
}

/// Writes what a transaction sees to another disk, as long as it `goes_on`. What is begun from there is taken to be behind.
pub(super) fn copy(
    snapshot: &ReadTransaction,
    disk: Arc<dyn Disk>,
    goes_on: impl Fn() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let state = StoreState { is_behind: true, ..state_of(snapshot)? };
    let (nodes, sessions) = tables(snapshot)?;
    let (copy, _) = open(disk)?;
    let transaction = copy.begin_write().map_err(from_database)?;
    {
        let mut meta = transaction.open_table(META).map_err(from_database)?;
        meta.insert(FORMAT_KEY, &FORMAT.to_be_bytes()[..]).map_err(from_database)?;
        meta.insert(STATE_KEY, write_state(&state).as_slice()).map_err(from_database)?;
        let mut copied = transaction.open_table(NODES).map_err(from_database)?;
        for entry in nodes.iter().map_err(from_database)? {
            goes_on()?;
            let (path, node) = entry.map_err(from_database)?;
            copied.insert(path.value(), node.value()).map_err(from_database)?;
        }
        let mut copied = transaction.open_table(SESSIONS).map_err(from_database)?;
        for entry in sessions.iter().map_err(from_database)? {
            goes_on()?;
            let (id, session) = entry.map_err(from_database)?;
            copied.insert(id.value(), session.value()).map_err(from_database)?;
        }
    }
    transaction.commit().map_err(from_database)?;
    Arc::into_inner(copy).map_or(Ok(()), |copy| copy.close().map_err(from_database))
}

fn damaged(why: &str) -> StoreError {
    StoreError::Damaged(why.into())
}
