//! Which files there are, and which of them count.

use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use crate::error::{Fault, ImportError};

/// The files of one server.
pub trait Files {
    /// What they are called in messages, all together.
    fn place(&self) -> String;

    /// The names of the files, in any order; those that are neither snapshots nor logs do not matter.
    ///
    /// # Errors
    ///
    /// They cannot be listed.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens one of them.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>>;
}

/// The directories that a server has in its configuration.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    data: PathBuf,
    log: PathBuf,
}

impl DataDirectory {
    /// A server's `dataDir`, with its logs in it.
    pub fn new(data: impl AsRef<Path>) -> Self {
        Self::with_logs(&data, &data)
    }

    /// A server's `dataDir` and `dataLogDir`.
    pub fn with_logs(data: impl AsRef<Path>, log: impl AsRef<Path>) -> Self {
        // `FileTxnSnapLog` has this name for the directory within.
        const WITHIN: &str = "version-2";
        Self { data: data.as_ref().join(WITHIN), log: log.as_ref().join(WITHIN) }
    }
}

impl Files for DataDirectory {
    fn place(&self) -> String {
        self.data.display().to_string()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for (directory, prefix) in [(&self.data, SNAPSHOT), (&self.log, LOG)] {
            for entry in fs::read_dir(directory)? {
                // A name that is not UTF-8 is not one of a server's.
                names.extend(entry?.file_name().into_string().ok().filter(|name| name.starts_with(prefix)));
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        let directory = if name.starts_with(SNAPSHOT) { &self.data } else { &self.log };
        Ok(Box::new(BufReader::with_capacity(1 << 16, File::open(directory.join(name))?)))
    }
}

/// Files in memory, by their names.
impl<T: AsRef<[u8]>> Files for std::collections::BTreeMap<String, T> {
    fn place(&self) -> String {
        "memory".into()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes.as_ref())))
    }
}

const SNAPSHOT: &str = "snapshot.";
const LOG: &str = "log.";

/// A snapshot or a log, numbered by a change: the last one before the snapshot was begun, or the first one of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Numbered {
    pub(crate) zxid: i64,
    pub(crate) name: String,
}

/// What there is to read.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The newest first.
    pub(crate) snapshots: Vec<Numbered>,
    /// The oldest first.
    logs: Vec<Numbered>,
}

impl Listing {
    pub(crate) fn of(files: &dyn Files) -> Result<Self, ImportError> {
        let names = files.names().map_err(|error| Fault::Io(error).of(&files.place()))?;
        let numbered = |prefix: &str, extensions: &[&str]| {
            let mut found: Vec<_> = names.iter().filter_map(|name| Numbered::parse(name, prefix, extensions)).collect();
            found.sort();
            found
        };
        // A name with another extension is a file under way, or somebody's copy.
        let mut snapshots = numbered(SNAPSHOT, &["", "gz", "snappy"]);
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.zxid));
        Ok(Self { snapshots, logs: numbered(LOG, &[""]) })
    }

    /// The logs of what comes after a change: from the last one that may hold it on.
    pub(crate) fn logs_after(&self, zxid: i64) -> &[Numbered] {
        let later = self.logs.partition_point(|log| log.zxid <= zxid.saturating_add(1));
        &self.logs[later.saturating_sub(1)..]
    }
}

impl Numbered {
    fn parse(name: &str, prefix: &str, extensions: &[&str]) -> Option<Self> {
        let rest = name.strip_prefix(prefix)?;
        let (number, extension) = rest.split_once('.').unwrap_or((rest, ""));
        let zxid = i64::from_str_radix(number, 16).ok().filter(|zxid| *zxid >= 0)?;
        extensions.contains(&extension).then(|| Self { zxid, name: name.to_owned() })
    }

    /// How it is compressed (`SnapStream.StreamMode`).
    pub(crate) fn compression(&self) -> Option<&'static str> {
        let by = |extension: &str| self.name.ends_with(extension);
        if by(".gz") { Some("gzip") } else { by(".snappy").then_some("snappy") }
    }
}
