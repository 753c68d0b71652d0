//! What a real server has left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use herdless_core::{NodePath, SessionId};
use herdless_import::Import;
use herdless_memory::NodeRecord;

/// The files of Apache ZooKeeper 3.8.0, as `tests/zookeeper/import.rs::record_the_golden_files` has recorded them: two snapshots,
/// each with a log behind it, the second while a session was open.
#[derive(Clone, Debug)]
pub(crate) struct Golden {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) old_snapshot: String,
    pub(crate) snapshot: String,
    /// The one behind the second snapshot.
    pub(crate) log: String,
}

impl Golden {
    pub(crate) fn load() -> Self {
        let entries = std::fs::read_dir(directory()).unwrap().map(Result::unwrap);
        let files: BTreeMap<_, _> = entries
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .collect();
        let last = |kind: &str| {
            let names = files.keys().filter(|name| name.starts_with(kind));
            names.max_by_key(|name| i64::from_str_radix(&name[kind.len()..], 16).unwrap()).unwrap().clone()
        };
        let (snapshot, log) = (last("snapshot."), last("log."));
        Self { files, old_snapshot: "snapshot.0".into(), snapshot, log }
    }

    pub(crate) fn read(&self) -> Import {
        Import::read(&self.files).unwrap()
    }
}

pub(crate) fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The last change, the nodes, and the sessions.
pub(crate) type Contents = (i64, Vec<(NodePath, NodeRecord)>, Vec<(SessionId, Duration)>);

pub(crate) fn content(import: &Import) -> Contents {
    let tree = &import.tree;
    (
        tree.last_zxid().0,
        tree.paths().map(|path| (path.clone(), tree.record(path).unwrap())).collect(),
        import.sessions.iter().map(|session| (session.id, session.timeout)).collect(),
    )
}
