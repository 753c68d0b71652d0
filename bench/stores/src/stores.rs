//! The stores.

use std::path::Path;

use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::AnyError;

pub(crate) trait Store: Sized {
    fn open(directory: &Path) -> Result<Self, AnyError>;
    /// All of the group or nothing, on disk when it returns.
    fn commit(&mut self, group: &[(String, Vec<u8>)]) -> Result<(), AnyError>;
    /// How many records there are, and their bytes.
    fn read(&self) -> Result<(usize, usize), AnyError>;
}

const NODES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("nodes");
const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("changes");

/// One table of all nodes by their paths.
pub(crate) struct Redb<const QUICK_REPAIR: bool>(Database);

impl<const QUICK_REPAIR: bool> Store for Redb<QUICK_REPAIR> {
    fn open(directory: &Path) -> Result<Self, AnyError> {
        Ok(Self(Database::builder().set_cache_size(64 << 20).create(directory.join("herdless.redb"))?))
    }

    fn commit(&mut self, group: &[(String, Vec<u8>)]) -> Result<(), AnyError> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_quick_repair(QUICK_REPAIR);
        {
            let mut nodes = transaction.open_table(NODES)?;
            for (key, value) in group {
                nodes.insert(key.as_str(), value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(&self) -> Result<(usize, usize), AnyError> {
        let nodes = self.0.begin_read()?.open_table(NODES)?;
        nodes.iter()?.try_fold((0, 0), |(count, bytes), entry| {
            let (key, value) = entry?;
            Ok((count + 1, bytes + key.value().len() + value.value().len()))
        })
    }
}

/// A table of changes in their order, folded into the nodes when there are many.
pub(crate) struct Appended {
    nodes: Redb<false>,
    next: u64,
    kept: u64,
    since: std::collections::BTreeMap<String, Vec<u8>>,
}

impl Store for Appended {
    fn open(directory: &Path) -> Result<Self, AnyError> {
        Ok(Self { nodes: Redb::open(directory)?, next: 0, kept: 0, since: Default::default() })
    }

    fn commit(&mut self, group: &[(String, Vec<u8>)]) -> Result<(), AnyError> {
        let transaction = self.nodes.0.begin_write()?;
        {
            let mut changes = transaction.open_table(CHANGES)?;
            let mut change = Vec::new();
            for (key, value) in group {
                change.extend_from_slice(&(key.len() as u32).to_be_bytes());
                change.extend_from_slice(key.as_bytes());
                change.extend_from_slice(&(value.len() as u32).to_be_bytes());
                change.extend_from_slice(value);
                self.since.insert(key.clone(), value.clone());
            }
            changes.insert(self.next, change.as_slice())?;
            self.next += 1;
            if self.since.len() >= 50_000 {
                let mut nodes = transaction.open_table(NODES)?;
                for (key, value) in std::mem::take(&mut self.since) {
                    nodes.insert(key.as_str(), value.as_slice())?;
                }
                changes.retain_in(self.kept..self.next, |_, _| false)?;
                self.kept = self.next;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(&self) -> Result<(usize, usize), AnyError> {
        let (count, bytes) = self.nodes.read()?;
        let changes = self.nodes.0.begin_read()?.open_table(CHANGES)?;
        changes.iter()?.try_fold((count, bytes), |(count, bytes), entry| Ok((count + 1, bytes + entry?.1.value().len())))
    }
}

pub(crate) struct Fjall {
    database: fjall::Database,
    nodes: fjall::Keyspace,
}

impl Store for Fjall {
    fn open(directory: &Path) -> Result<Self, AnyError> {
        let database = fjall::Database::builder(directory).open()?;
        let nodes = database.keyspace("nodes", KeyspaceCreateOptions::default)?;
        Ok(Self { database, nodes })
    }

    fn commit(&mut self, group: &[(String, Vec<u8>)]) -> Result<(), AnyError> {
        let mut batch = self.database.batch();
        for (key, value) in group {
            batch.insert(&self.nodes, key.as_str(), value.as_slice());
        }
        batch.commit()?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn read(&self) -> Result<(usize, usize), AnyError> {
        self.nodes.iter().try_fold((0, 0), |(count, bytes), entry| {
            let (key, value) = entry.into_inner()?;
            Ok((count + 1, bytes + key.len() + value.len()))
        })
    }
}
