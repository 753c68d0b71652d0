//! The files of a real server, recorded.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod support;

use herdless_core::{Acl, Create, CreateMode, Delete, NodePath, Reply, Request, Version};
use herdless_import::{DataDirectory, Fault, Import};
use herdless_memory::Fired;

use support::{Golden, content, directory};

#[test]
fn the_tree_is_what_a_client_of_the_server_saw() {
    let golden = Golden::load();
    let import = golden.read();
    let line = |path: &NodePath| {
        let record = import.tree.record(path).unwrap();
        format!("{path} {:?} {:?} {:?}\n", record.data, record.acl, import.tree.stat(path).unwrap())
    };
    let tree: String = import.tree.paths().map(line).collect();
    assert_eq!(tree, std::fs::read_to_string(directory().join("tree.txt")).unwrap());
    let report = &import.report;
    println!("{report:?}");
    assert_eq!((&*report.snapshot, &*report.logs), (&*golden.snapshot, std::slice::from_ref(&golden.log)));
    // One was refused by itself: nothing is noted of such a one.
    assert_eq!((report.digests.compared, report.digests.differs), (report.transactions - 1, None));
    assert!(report.torn.is_empty() && report.passed_over.is_empty() && report.dropped.is_empty());
    assert_eq!(import.sessions.len(), 1, "the other one was closed");
}

/// A snapshot that is written while the tree changes holds what comes after the change it is named by. All that is made, set,
/// deleted and made again in between is replayed on a tree that has it already.
#[test]
fn a_snapshot_may_hold_more_than_its_name_says() {
    let golden = Golden::load();
    let whole = content(&golden.read());
    let number = |name: &str| i64::from_str_radix(name.rsplit_once('.').unwrap().1, 16).unwrap();
    let last = number(&golden.snapshot);
    assert!(last > 10);
    for zxid in 0..last {
        let mut files = golden.files.clone();
        files.remove(&golden.old_snapshot);
        let snapshot = files.remove(&golden.snapshot).unwrap();
        files.insert(format!("snapshot.{zxid:x}"), snapshot);
        let import = Import::read(&files).unwrap();
        assert_eq!(content(&import), whole, "from {zxid}");
        // Not compared while it was ahead of the log.
        let behind = import.report.transactions - (last - zxid) as u64;
        assert_eq!((import.report.digests.compared, import.report.digests.differs), (behind - 1, None));
    }
}

#[test]
fn from_the_first_snapshot_on_it_is_the_same() {
    let mut golden = Golden::load();
    let whole = content(&golden.read());
    golden.files.remove(&golden.snapshot);
    let import = golden.read();
    assert_eq!(content(&import), whole);
    assert_eq!(import.report.logs.len(), 2);
    assert_eq!((import.report.digests.compared, import.report.digests.differs), (import.report.transactions - 1, None));
    // A log less, and there is a gap.
    golden.files.remove(&import.report.logs[0]);
    let error = Import::read(&golden.files).unwrap_err();
    assert!(matches!(error.fault, Fault::Gap { .. }), "{error}");
    assert_eq!((&*error.file, error.offset), (&*golden.log, Some(16)));
}

#[test]
fn the_tree_goes_on_where_it_was() {
    let mut import = Golden::load().read();
    let session = import.sessions[0].id;
    let mut apply = |request: Request| import.tree.apply(session, &request, 7, &mut Fired::new());
    let create = |text: &str| {
        let path = NodePath::parse_sequential(text).unwrap();
        let mode = CreateMode::PersistentSequential;
        Request::Create(Create { path, data: "".into(), acl: Acl::open(), mode })
    };
    // Three were made by number, one by name, and one more by number.
    let Ok(Reply::Created(created)) = apply(create("/kept/n-")) else { panic!("it is open to all") };
    assert_eq!(created.path.as_str(), "/kept/n-0000000005");
    let container = NodePath::parse("/container").unwrap();
    let child = container.child("child").unwrap();
    apply(Request::Delete(Delete { path: child, version: Version::ANY })).unwrap();
    import.tree.reap(i64::MAX, &mut Fired::new());
    let idle = NodePath::parse("/idle").unwrap();
    assert!(import.tree.stat(&container).is_none() && import.tree.stat(&idle).is_none());
    let mine = NodePath::parse("/mine").unwrap();
    assert_eq!(import.tree.ephemerals(session).collect::<Vec<_>>(), [&mine]);
    import.tree.close_session(session, &mut Fired::new());
    assert_eq!(import.tree.stat(&mine), None);
}

#[test]
fn a_directory_is_read_as_a_server_has_it() {
    let scratch = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("import-directory");
    let _ = std::fs::remove_dir_all(&scratch);
    let golden = Golden::load();
    let write = |place: &str, wanted: &dyn Fn(&str) -> bool| {
        let within = scratch.join(place).join("version-2");
        std::fs::create_dir_all(&within).unwrap();
        for (name, bytes) in golden.files.iter().filter(|(name, _)| wanted(name)) {
            std::fs::write(within.join(name), bytes).unwrap();
        }
        scratch.join(place)
    };
    let together = write("together", &|_| true);
    let (data, log) = (write("data", &|name| name.starts_with("snap")), write("log", &|name| name.starts_with("log.")));
    // What is beside them: a file that is being written, a note, a copy.
    for name in ["snapshot.ffff.tmp", "acceptedEpoch", "log.1.old", "snapshot.zz"] {
        std::fs::write(together.join("version-2").join(name), b"?").unwrap();
    }
    let whole = content(&golden.read());
    let read = |files: &DataDirectory| Import::read(files).map(|import| content(&import));
    assert_eq!(read(&DataDirectory::new(&together)).unwrap(), whole);
    assert_eq!(read(&DataDirectory::with_logs(&data, &log)).unwrap(), whole);
    let error = read(&DataDirectory::new(&log)).unwrap_err();
    assert!(matches!(error.fault, Fault::NoSnapshot), "{error}");
    let error = read(&DataDirectory::new(scratch.join("nowhere"))).unwrap_err();
    assert!(matches!(error.fault, Fault::Io(_)), "{error}");
    std::fs::remove_dir_all(&scratch).unwrap();
}
