//! The directory of a store.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::database::{Batch, Database};
use super::disk::{Disk, FileDisk};
use super::error::StoreError;

const LOCK: &str = "lock";
/// The database's file.
const FILE: &str = "herdless.redb";
/// The same while it is made, so that one that was not finished is never taken for a store.
const UNFINISHED: &str = "herdless.redb.new";

/// A directory that is ours as long as this lives, or a disk that was opened there.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: Arc<File>,
}

impl Directory {
    /// Takes a directory, which is made where there is none, for its owner alone.
    pub(super) fn lock(path: &Path) -> Result<Self, StoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Directory { path, source }
        };
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        if !path.is_dir() {
            let new = path.ancestors().take_while(|level| !level.as_os_str().is_empty() && !level.is_dir());
            let new: Vec<_> = new.collect();
            builder.recursive(true).create(path).map_err(at(path))?;
            // The name of each outlives a loss of power only once its parent is synced.
            for level in new {
                sync_parent(level).map_err(at(level))?;
            }
        }
        let lock = path.join(LOCK);
        let file = private().open(&lock).map_err(at(&lock))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Arc::new(file) }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(at(&lock)(error)),
        }
    }

    /// The same for a directory that is empty; what an attempt before this one may have left is no matter, nor is what file
    /// systems have at their root.
    pub(super) fn lock_empty(path: &Path) -> Result<Self, StoreError> {
        let error = |source| StoreError::Directory { path: path.to_owned(), source };
        if path.is_dir() {
            // Before anything is made in what may be somebody else's.
            for entry in fs::read_dir(path).map_err(error)? {
                match entry.map_err(error)?.file_name().to_str() {
                    Some(LOCK | FILE | UNFINISHED | "lost+found") => {}
                    _ => return Err(StoreError::NotEmpty(path.to_owned())),
                }
            }
        }
        let locked = Self::lock(path)?;
        // Only now: where there is a server, that is said first, and nobody else makes one meanwhile.
        if fs::exists(path.join(FILE)).map_err(error)? {
            return Err(StoreError::NotEmpty(path.to_owned()));
        }
        Ok(locked)
    }

    /// The same for a directory that has a store.
    pub(super) fn lock_store(path: &Path) -> Result<Self, StoreError> {
        // A store is never taken away, and nothing is to be made where there is none.
        let file = path.join(FILE);
        fs::metadata(&file).map_err(|source| StoreError::Directory { path: file, source })?;
        Self::lock(path)
    }

    /// The file of the store; where there is none it is made of what `all` tells.
    pub(super) fn disk(&self, all: impl FnOnce() -> Batch) -> Result<Arc<dyn Disk>, StoreError> {
        let file = self.path.join(FILE);
        if !fs::exists(&file).map_err(|source| self.error(source))? {
            self.make(|disk| Database::create(disk, &all())?.close())?;
        }
        self.open()
    }

    /// The file of the store that is there.
    pub(super) fn open(&self) -> Result<Arc<dyn Disk>, StoreError> {
        let file = self.path.join(FILE);
        // Whoever has the store open after us, such as a backup, writes to it at its end.
        let lock = Some(self.lock.clone());
        let opened = private().open(&file).and_then(|opened| FileDisk::new(opened, lock));
        Ok(Arc::new(opened.map_err(|source| StoreError::Directory { path: file, source })?))
    }

    /// Makes the file of the store, all of it or none.
    pub(super) fn make(&self, fill: impl FnOnce(Arc<dyn Disk>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        make_file(&self.path.join(UNFINISHED), &self.path.join(FILE), fill)
    }

    fn error(&self, source: io::Error) -> StoreError {
        StoreError::Directory { path: self.path.clone(), source }
    }
}

/// A file under another name than its own, for as long as that is not whole: it is removed when this is dropped.
struct Unfinished<'a> {
    name: &'a Path,
    disk: Arc<FileDisk>,
    is_finished: bool,
}

impl<'a> Unfinished<'a> {
    /// Only who has the lock of the file under this name writes to it, renames or removes it. What a process has left that was
    /// killed is locked by nobody, and is taken.
    fn take(name: &'a Path) -> io::Result<Self> {
        let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "another backup is being written to it");
        let file = private().open(name)?;
        match file.try_lock() {
            Ok(()) if is_named(&file, name)? => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // With the file goes the lock.
        let disk = Arc::new(FileDisk::new(file, None)?);
        Ok(Self { name, disk, is_finished: false })
    }
}

impl Drop for Unfinished<'_> {
    /// As long as the lock is held. What cannot be removed is taken by the next one.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_file(self.name);
        }
    }
}

/// Whether this is the file of that name still: whoever had the lock before us may have renamed or removed it.
#[cfg(unix)]
fn is_named(file: &File, name: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match fs::metadata(name) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Not to be found out here. One that was renamed has its own name, which is looked at before anything is written, and one that
/// was removed cannot be renamed.
#[cfg(not(unix))]
fn is_named(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Fills a file under another name, and gives it its own once all of it is on disk. Where that fails nothing is left, and where
/// there is one already it stays.
pub(super) fn make_file(
    unfinished: &Path,
    path: &Path,
    fill: impl FnOnce(Arc<dyn Disk>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let at = |source| StoreError::Directory { path: path.to_owned(), source };
    let taken = Unfinished::take(unfinished);
    let mut unfinished = taken.map_err(|source| StoreError::Directory { path: unfinished.to_owned(), source })?;
    // Only now: whoever had the lock before us may have just made it.
    if fs::exists(path).map_err(at)? {
        return Err(at(io::ErrorKind::AlreadyExists.into()));
    }
    unfinished.disk.set_length(0).map_err(at)?;
    fill(unfinished.disk.clone())?;
    unfinished.disk.sync().map_err(at)?;
    fs::rename(unfinished.name, path).map_err(at)?;
    unfinished.is_finished = true;
    sync_parent(path).map_err(at)
}

/// A file for its owner alone, made where there is none.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The name of this outlives a loss of power once this has returned. Not all systems let a directory be opened.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{env, process};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("herdless-directory-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    /// It would hold what room there is.
    #[test]
    fn a_file_that_could_not_be_filled_leaves_nothing() {
        let scratch = scratch("full");
        let (unfinished, file) = (scratch.join("file.unfinished"), scratch.join("file"));
        // What a process has left that was killed is no matter.
        fs::write(&unfinished, "more than what is written now").unwrap();
        let error = make_file(&unfinished, &file, |disk| {
            disk.write(0, b"half")?;
            Err(StoreError::Full(io::ErrorKind::StorageFull.into()))
        });
        assert!(error.unwrap_err().is_full());
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
        fs::write(&unfinished, "more than what is written now").unwrap();
        make_file(&unfinished, &file, |disk| Ok(disk.write(0, b"all")?)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"all");
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 1);
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn a_file_has_one_writer_and_is_never_written_over() {
        let scratch = scratch("twice");
        let (unfinished, file) = (scratch.join("file.unfinished"), scratch.join("file"));
        let again = || make_file(&unfinished, &file, |disk| Ok(disk.write(0, b"second")?)).unwrap_err().to_string();
        make_file(&unfinished, &file, |disk| {
            assert!(again().contains("another backup is being written"), "{}", again());
            Ok(disk.write(0, b"first")?)
        })
        .unwrap();
        assert!(again().contains("exists"), "{}", again());
        assert_eq!(fs::read(&file).unwrap(), b"first");
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 1);
        fs::remove_dir_all(scratch).unwrap();
    }
}
