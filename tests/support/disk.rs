//! A disk that forgets, fails, fills up and takes its time.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use herdless::server::Disk;

use super::Dice;

/// The unit in which a disk writes all or nothing.
const SECTOR: usize = 512;
/// The unit in which it gives out room.
const BLOCK: u64 = 4096;

const EIO: i32 = 5;

/// A disk in memory, which knows all that was ever done to it.
#[derive(Debug, Default)]
pub(crate) struct FakeDisk {
    inner: Mutex<Inner>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    /// What it began with.
    origin: Vec<u8>,
    log: Vec<Operation>,
    /// Which operation fails, counted from the beginning.
    fails_at: Option<usize>,
    has_failed: bool,
    /// What was written just before a sync that failed, and is before this operation, is never synced.
    lost: Option<usize>,
    blocks: BTreeSet<u64>,
    /// How many blocks there is room for.
    room: Option<usize>,
    syncs_wait: bool,
    syncs_waiting: usize,
    reads_wait: bool,
    reads_waiting: usize,
    /// How many bytes were read since the last refusal.
    read: usize,
    /// How many bytes were read before each write that was refused for want of room, since the one before it.
    refusals: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Operation {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
}

impl FakeDisk {
    /// An empty one.
    pub(crate) fn new() -> Arc<Self> {
        Self::of(Vec::new())
    }

    /// One with something on it.
    pub(crate) fn of(bytes: Vec<u8>) -> Arc<Self> {
        let blocks = (0..(bytes.len() as u64).div_ceil(BLOCK)).collect();
        let inner = Inner { origin: bytes.clone(), bytes, blocks, ..Inner::default() };
        Arc::new(Self { inner: Mutex::new(inner), released: Condvar::new() })
    }

    /// How many writes and syncs there were.
    pub(crate) fn operations(&self) -> usize {
        self.inner().log.len()
    }

    /// What is on it, synced or not.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.inner().bytes.clone()
    }

    /// What is left when the power goes after so many operations: all that was synced, and of the rest each sector of each
    /// write or not, as the dice have it.
    pub(crate) fn after_power_loss(&self, operations: usize, dice: &mut Dice) -> Vec<u8> {
        // All of them, none of them, or any.
        let luck = dice.within(0..4);
        self.inner().left(operations, || luck != 0 && (luck == 1 || dice.within(0..2) == 0))
    }

    /// What is left when the power goes now, and nothing but what was synced is there.
    pub(crate) fn synced_only(&self) -> Vec<u8> {
        let inner = self.inner();
        inner.left(inner.log.len(), || false)
    }

    /// The operation of this number fails, and no other.
    pub(crate) fn fail_at(&self, operation: usize) {
        self.inner().fails_at = Some(operation);
    }

    /// Whether it has.
    pub(crate) fn has_failed(&self) -> bool {
        self.inner().has_failed
    }

    /// No more room than is taken now.
    pub(crate) fn fill_up(&self) {
        let mut inner = self.inner();
        inner.room = Some(inner.blocks.len());
    }

    /// All the room there can be.
    pub(crate) fn empty_out(&self) {
        self.inner().room = None;
    }

    /// Whether a sync takes until this is taken back.
    pub(crate) fn let_syncs_wait(&self, wait: bool) {
        self.inner().syncs_wait = wait;
        self.released.notify_all();
    }

    /// How many syncs are under way.
    pub(crate) fn syncs_waiting(&self) -> usize {
        self.inner().syncs_waiting
    }

    /// Whether a read takes until this is taken back.
    pub(crate) fn let_reads_wait(&self, wait: bool) {
        self.inner().reads_wait = wait;
        self.released.notify_all();
    }

    /// How many reads are under way.
    pub(crate) fn reads_waiting(&self) -> usize {
        self.inner().reads_waiting
    }

    /// How many bytes were read before each write that was refused for want of room, since the one before it.
    pub(crate) fn read_before_refusals(&self) -> Vec<usize> {
        self.inner().refusals.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    fn left(&self, operations: usize, mut is_there: impl FnMut() -> bool) -> Vec<u8> {
        let done = &self.log[..operations];
        let last_sync = |done: &[Operation]| done.iter().rposition(|operation| matches!(operation, Operation::Sync));
        let lost = self.lost.filter(|lost| *lost <= operations).map(|lost| last_sync(&done[..lost]).unwrap_or(0)..lost);
        let synced = last_sync(done).unwrap_or(0);
        let mut bytes = self.origin.clone();
        for (index, operation) in done.iter().enumerate() {
            match operation {
                _ if index < synced && !lost.as_ref().is_some_and(|lost| lost.contains(&index)) => {
                    apply(&mut bytes, operation);
                }
                Operation::Write(offset, data) => {
                    for (sector, part) in data.chunks(SECTOR).enumerate() {
                        if is_there() {
                            write(&mut bytes, *offset as usize + sector * SECTOR, part);
                        }
                    }
                }
                Operation::SetLength(_) if is_there() => apply(&mut bytes, operation),
                Operation::SetLength(_) | Operation::Sync => {}
            }
        }
        bytes
    }

    fn run(&mut self, operation: Operation) -> io::Result<()> {
        if self.fails_at == Some(self.log.len()) {
            self.fails_at = None;
            self.has_failed = true;
            if matches!(operation, Operation::Sync) {
                // The kernel marks the pages clean all the same, and the next sync says that all is well.
                self.lost = Some(self.log.len());
            }
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if let Operation::Write(offset, data) = &operation {
            let touched = offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK);
            let new: Vec<_> = touched.filter(|block| !self.blocks.contains(block)).collect();
            if self.room.is_some_and(|room| self.blocks.len() + new.len() > room) {
                let read = std::mem::take(&mut self.read);
                self.refusals.push(read);
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.blocks.extend(new);
        }
        apply(&mut self.bytes, &operation);
        self.log.push(operation);
        Ok(())
    }
}

impl Disk for FakeDisk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.inner().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.reads_waiting += 1;
        inner = self.released.wait_while(inner, |inner| inner.reads_wait).unwrap();
        inner.reads_waiting -= 1;
        inner.read += out.len();
        let end = offset as usize + out.len();
        let part = inner.bytes.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner().run(Operation::Write(offset, data.to_vec()))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.inner().run(Operation::SetLength(length))
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.syncs_waiting += 1;
        inner = self.released.wait_while(inner, |inner| inner.syncs_wait).unwrap();
        inner.syncs_waiting -= 1;
        inner.run(Operation::Sync)
    }
}

fn apply(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write(offset, data) => write(bytes, *offset as usize, data),
        Operation::SetLength(length) => bytes.resize(*length as usize, 0),
        Operation::Sync => {}
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}
