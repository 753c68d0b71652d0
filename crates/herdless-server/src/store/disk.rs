//! What the store's file is kept on.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use redb::StorageBackend;
use redb::backends::FileBackend;

/// What the store is kept on: the bytes of one file, which grows and shrinks. With one of his own a test can lose what was not
/// synced, fail, fill up or take its time (see [`Builder::disk`](crate::Builder::disk)).
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// How many bytes there are.
    ///
    /// # Errors
    ///
    /// The server ends, as on each error below.
    fn length(&self) -> io::Result<u64>;

    /// Reads as many bytes as `out` has, from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`length`](Self::length); also where there are not as many.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` from `offset` on. It need not outlive a loss of power until [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// As [`length`](Self::length). [`StorageFull`](io::ErrorKind::StorageFull), and what else says that there is no room, does
    /// not end the server: it refuses changes until there is room.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes it so many bytes; new ones are zero.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// All that was written outlives a loss of power once this has returned. It is not tried again when it fails.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    fn sync(&self) -> io::Result<()>;
}

/// A file of the system.
#[derive(Debug)]
pub(super) struct FileDisk {
    file: FileBackend,
    /// What keeps others from the file, for as long as anybody may write to it.
    _lock: Option<Arc<File>>,
}

impl FileDisk {
    pub(super) fn new(file: File, lock: Option<Arc<File>>) -> io::Result<Self> {
        Ok(Self { file: FileBackend::new(file).map_err(io::Error::other)?, _lock: lock })
    }
}

impl Disk for FileDisk {
    fn length(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A disk as the database takes it. It is locked by other means, and outlives the database, which may be opened again.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) disk: Arc<dyn Disk>,
    /// Dropped with the database, once that has written the last of it.
    pub(super) _open: Sender<()>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.disk.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data)
    }
}
