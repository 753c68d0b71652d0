//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a store cannot be opened, or has failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory, or a file in it, cannot be made, opened or read.
    #[error("{}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another server has it.
    #[error("{} is locked: another server is running on it", .0.display())]
    Locked(PathBuf),
    /// There is something already where nothing may be.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A newer release wrote it, in a way that this one does not know.
    #[error("the store has format {found}, and the newest that is known here is {known}")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// The newest that this release reads.
        known: u32,
    },
    /// It is not as a server left it. Nothing of it was taken over, and nothing changed.
    #[error("the store is damaged, or none of a herdless server: {0}")]
    Damaged(String),
    /// The disk fails. What was not acknowledged may or may not be on it.
    #[error("the disk fails: {0}")]
    Io(#[source] io::Error),
    /// There is no room.
    #[error("the disk is full: {0}")]
    Full(#[source] io::Error),
}

impl StoreError {
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            _ => Self::Io(error),
        }
    }
}

/// The database has a type of error for each of its calls, and one that is any of them.
pub(super) fn from_database(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        // So it says that what it has read is none of its own.
        redb::Error::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            StoreError::Damaged(error.to_string())
        }
        redb::Error::Io(error) => error.into(),
        // Whoever had that one was told which.
        redb::Error::PreviousIo => StoreError::Io(io::Error::other("it has failed before, and was not opened anew")),
        error => StoreError::Damaged(error.to_string()),
    }
}
