//! One file that has all of a store.

use std::fs::File;
use std::io;
use std::path::Path;

use redb::ReadableDatabase;

use super::database::copy;
use super::directory::{Directory, make_file};
use super::disk::Disk;
use super::{StoreError, open_existing};

/// Writes what was last committed to a new file, while the store goes on, and until it `is_ending`.
pub(crate) fn back_up(database: &redb::Database, path: &Path, is_ending: impl Fn() -> bool) -> Result<(), StoreError> {
    // As of now: the transaction goes on to see what it sees, whatever is committed meanwhile.
    let snapshot = database.begin_read().map_err(super::error::from_database)?;
    let at = |source| StoreError::Directory { path: path.to_owned(), source };
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    // The end of a server waits for it.
    let goes_on = || match is_ending() {
        true => Err(at(io::Error::new(io::ErrorKind::Interrupted, "the server has ended meanwhile"))),
        false => Ok(()),
    };
    make_file(unfinished.as_ref(), path, |disk| copy(&snapshot, disk, goes_on))
}

/// Writes all of a data directory to one new file, as [`Server::backup`](crate::Server::backup) does while the server goes on: this is
/// for one that has ended. The directory stays as it is.
///
/// # Errors
///
/// [`StoreError`]: there is no store in the directory, a server has it, or it is damaged; there is such a file already,
/// another backup is being written to it, or it cannot be written.
pub fn backup(directory: impl AsRef<Path>, file: impl AsRef<Path>) -> Result<(), StoreError> {
    let source = Directory::lock_store(directory.as_ref())?;
    let (database, _) = open_existing(source.open()?)?;
    back_up(&database.shared(), file.as_ref(), || false)?;
    database.close()
}

/// Makes a data directory of a [backup](crate::Server::backup): a server that is started there goes on from where the backup was
/// made. The directory is made, or is there and empty.
///
/// Its next change is numbered beyond all that the server may have told of since the backup, by 2^32 and the clock: so clients
/// that have seen more are let in, and a fencing token is never given out twice. Sessions come back as after a restart.
///
/// # Errors
///
/// [`StoreError`]: where the directory is not empty or is another server's, or the file is no backup or damaged. All of it
/// is read before anything is made of it.
pub fn restore(backup: impl AsRef<Path>, directory: impl AsRef<Path>) -> Result<(), StoreError> {
    let (backup, directory) = (backup.as_ref(), directory.as_ref());
    let at = |source| StoreError::Directory { path: backup.to_owned(), source };
    let mut source = File::open(backup).map_err(at)?;
    let target = Directory::lock_empty(directory)?;
    target.make(|disk| {
        write_all(&mut source, &*disk)?;
        open_existing(disk).map(drop)
    })
}

fn write_all(source: &mut impl io::Read, disk: &dyn Disk) -> Result<(), StoreError> {
    let (mut offset, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        let count = source.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        disk.write(offset, &chunk[..count])?;
        offset += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use herdless_core::{SessionId, Zxid};
    use herdless_memory::Tree;

    use super::super::import;
    use super::*;

    #[test]
    fn the_end_of_the_server_is_that_of_its_backup() {
        let scratch = env::temp_dir().join(format!("herdless-backup-{}", process::id()));
        let _ = fs::remove_dir_all(&scratch);
        let (data, backups) = (scratch.join("data"), scratch.join("backups"));
        fs::create_dir_all(&backups).unwrap();
        import(Tree::new(Zxid(1)), [(SessionId(7), std::time::Duration::from_secs(4), [3; 16])], &data).unwrap();
        let source = Directory::lock_store(&data).unwrap();
        let (database, _) = open_existing(source.open().unwrap()).unwrap();
        let error = back_up(&database.shared(), &backups.join("file"), || true).unwrap_err();
        assert!(error.to_string().contains("the server has ended"), "{error}");
        assert_eq!(fs::read_dir(&backups).unwrap().count(), 0);
        back_up(&database.shared(), &backups.join("file"), || false).unwrap();
        database.close().unwrap();
        fs::remove_dir_all(scratch).unwrap();
    }
}
