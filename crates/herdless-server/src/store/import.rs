//! A store made of what another server has left.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::SessionId;
use herdless_memory::{Fired, Tree};
use sha2::{Digest, Sha256};

use super::database::{Batch, Database};
use super::directory::Directory;
use super::disk::Disk;
use super::{SessionRecord, StoreError, open_existing};

/// Makes a data directory of what another server has left: its nodes, and its sessions, each with its timeout and the password that
/// its client shows. A server that is started there goes on from it. The directory is made, or is there and empty.
///
/// Sessions have their whole timeout to come back, as after a restart; one of the tree that is not among them ends at once. The next change is numbered beyond the tree's last one by
/// 2^32 and the clock, as after [`restore`](crate::restore): the other server may have gone on since the tree was taken.
///
/// The directory has a store only once all of it is on disk and was read again; whatever happens before that, the directory is as
/// good for another try.
///
/// # Errors
///
/// [`StoreError`]: the directory is not empty, or is another server's, or cannot be written.
pub fn import(
    mut tree: Tree,
    sessions: impl IntoIterator<Item = (SessionId, Duration, [u8; 16])>,
    directory: impl AsRef<Path>,
) -> Result<(), StoreError> {
    let target = Directory::lock_empty(directory.as_ref())?;
    let record = |timeout, password: [u8; 16]| SessionRecord { timeout, password: Sha256::digest(password).into() };
    let sessions: BTreeMap<_, _> =
        sessions.into_iter().map(|(id, timeout, password)| (id, Some(record(timeout, password)))).collect();
    for id in tree.sessions().filter(|id| !sessions.contains_key(id)).collect::<Vec<_>>() {
        // Nobody is connected, so nobody is to be told.
        tree.close_session(id, &mut Fired::new());
    }
    tree.keep_journal(true);
    let changes = tree.take_changes();
    let all = Batch { zxid: changes.zxid, nodes: changes.nodes, sessions: sessions.into_iter().collect() };
    target.make(|disk| {
        create(&disk, &all)?;
        open_existing(disk).map(drop)
    })
}

fn create(disk: &Arc<dyn Disk>, all: &Batch) -> Result<(), StoreError> {
    let mut database = Database::create(disk.clone(), all)?;
    database.set_state(all.zxid, true)?;
    database.close()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::{env, fs, process};

    use herdless_core::{Acl, Create, CreateMode, NodeData, NodePath, Request, Zxid};

    use super::super::{Durability, Place, Store};
    use super::*;

    const OWNER: SessionId = SessionId(7);
    const TIMEOUT: Duration = Duration::from_millis(4321);
    const SESSION: (SessionId, Duration, [u8; 16]) = (OWNER, TIMEOUT, [3; 16]);

    /// A place that goes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("herdless-import-{name}-{}", process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn path(text: &str) -> NodePath {
        NodePath::parse(text).unwrap()
    }

    fn tree() -> Tree {
        let mut tree = Tree::new(Zxid(5));
        tree.open_session(OWNER);
        for (text, data, mode) in [
            ("/null", NodeData::NULL, CreateMode::Container),
            ("/none", "".into(), CreateMode::Persistent),
            ("/mine", "e".into(), CreateMode::Ephemeral),
        ] {
            let create = Create { path: path(text), data, acl: Acl::open(), mode };
            tree.apply(OWNER, &Request::Create(create), 9, &mut Fired::new()).unwrap();
        }
        tree
    }

    #[test]
    fn the_store_has_all_of_the_tree_and_no_password() {
        let scratch = Scratch::new("all");
        let directory = scratch.0.join("new");
        import(tree(), [SESSION], &directory).unwrap();
        let place = Place::Directory(directory.clone());
        let (_store, loaded) = Store::open(&place, Durability::Durable, Zxid(1 << 60)).unwrap();
        let old = tree();
        assert!(old.paths().eq(loaded.tree.paths()));
        for path in old.paths() {
            assert_eq!(loaded.tree.record(path), old.record(path), "{path}");
        }
        assert!(loaded.tree.record(&path("/null")).unwrap().data.is_null());
        assert_eq!(loaded.tree.ephemerals(OWNER).collect::<Vec<_>>(), [&path("/mine")]);
        assert!(loaded.tree.last_zxid() >= Zxid((1 << 60) - 1), "beyond what the other server may have told of since");
        let password = Sha256::digest([3; 16]).into();
        assert_eq!(loaded.sessions, [(OWNER, SessionRecord { timeout: TIMEOUT, password })]);
        let file = fs::read(directory.join("herdless.redb")).unwrap();
        assert!(!file.windows(16).any(|bytes| bytes == [3; 16]));
    }

    #[test]
    fn a_session_that_is_left_out_ends() {
        let scratch = Scratch::new("left-out");
        let another = SessionId(8);
        import(tree(), [(another, TIMEOUT, [4; 16])], &scratch.0).unwrap();
        let place = Place::Directory(scratch.0.clone());
        let (_store, loaded) = Store::open(&place, Durability::Durable, Zxid(1)).unwrap();
        assert_eq!(loaded.tree.sessions().collect::<Vec<_>>(), [another]);
        assert!(loaded.tree.record(&path("/mine")).is_none());
    }

    /// The database believes what the file says of it.
    #[test]
    fn no_room_is_made_for_more_sessions_than_there_are() {
        const COUNT: i64 = 51_713;
        let scratch = Scratch::new("count");
        let sessions = (1..=COUNT).map(|id| (SessionId(id), TIMEOUT, [3; 16]));
        import(Tree::new(Zxid(1)), sessions, &scratch.0).unwrap();
        let file = scratch.0.join("herdless.redb");
        let mut bytes = fs::read(&file).unwrap();
        let places: Vec<_> =
            (0..bytes.len() - 8).filter(|place| bytes[*place..place + 8] == COUNT.to_le_bytes()).collect();
        assert!(!places.is_empty(), "the number is written in another way");
        for place in places {
            bytes[place..place + 8].copy_from_slice(&(1_u64 << 44).to_le_bytes());
        }
        fs::write(&file, bytes).unwrap();
        // It is refused or read: what was committed is there.
        match Store::open(&Place::Directory(scratch.0.clone()), Durability::Durable, Zxid(1)) {
            Ok((_store, loaded)) => assert_eq!(loaded.sessions.len(), COUNT as usize),
            Err(error) => assert!(matches!(error, StoreError::Damaged(_)), "{error}"),
        }
    }

    /// Somebody reads it still, as a backup does that has outlived its server.
    #[test]
    fn a_directory_is_locked_as_long_as_its_store_is_open() {
        let scratch = Scratch::new("open");
        let open = || Store::open(&Place::Directory(scratch.0.clone()), Durability::Durable, Zxid(1));
        let (store, _) = open().unwrap();
        let reader = store.database.shared();
        drop(store);
        let error = open().unwrap_err();
        assert!(matches!(error, StoreError::Locked(_)), "{error}");
        drop(reader);
        open().unwrap();
    }

    #[test]
    fn what_was_not_finished_is_no_store_and_what_was_is_left_alone() {
        let scratch = Scratch::new("again");
        for left in ["lock", "herdless.redb.new"] {
            fs::write(scratch.0.join(left), "from an attempt that was killed").unwrap();
        }
        import(tree(), [SESSION], &scratch.0).unwrap();
        let error = import(Tree::new(Zxid(1)), [], &scratch.0).unwrap_err();
        assert!(matches!(error, StoreError::NotEmpty(_)), "{error}");
        let place = Place::Directory(scratch.0.clone());
        let (_store, loaded) = Store::open(&place, Durability::Durable, Zxid(1)).unwrap();
        assert!(loaded.tree.record(&path("/mine")).is_some());
    }

    #[test]
    fn the_directory_of_somebody_else_stays_as_it_is() {
        let scratch = Scratch::new("else");
        fs::create_dir(scratch.0.join("version-2")).unwrap();
        let error = import(tree(), [SESSION], &scratch.0).unwrap_err();
        assert!(matches!(error, StoreError::NotEmpty(_)), "{error}");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    }
}
