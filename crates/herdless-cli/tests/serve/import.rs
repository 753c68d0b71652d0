//! What an Apache ZooKeeper has left.

use std::fs;
use std::path::{Path, PathBuf};

use herdless_core::{ClientExt, NodePath, Version};
use herdless_import::{DataDirectory, Import};
use tokio::net::TcpStream;

use crate::process::{Process, Scratch, complaint, confined, run};
use crate::wire::handshake;

/// The data directory of a server, with files that one has written.
struct ZooKeeper {
    scratch: Scratch,
    arguments: [String; 5],
}

impl ZooKeeper {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let path = |name: &str| scratch.file(name).to_str().unwrap().to_owned();
        let arguments = ["import".into(), "--from".into(), path("zookeeper"), "--to".into(), path("data")];
        let within = scratch.file("zookeeper/version-2");
        fs::create_dir_all(&within).unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../herdless-import/tests/golden");
        for entry in fs::read_dir(golden).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), within.join(entry.file_name())).unwrap();
        }
        Self { scratch, arguments }
    }

    fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    fn data(&self) -> &str {
        &self.arguments[4]
    }

    /// Its newest file of a kind, by the number in its name.
    fn newest(&self, kind: &str) -> PathBuf {
        let names = fs::read_dir(self.scratch.file("zookeeper/version-2")).unwrap().map(|entry| entry.unwrap().path());
        let number = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.strip_prefix(kind).and_then(|number| i64::from_str_radix(number, 16).ok())
        };
        names.filter(|path| number(path).is_some()).max_by_key(number).unwrap()
    }

    /// Imports, and what is told of it.
    async fn import(&self) -> String {
        let output = run(&self.arguments()).await;
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        assert!(complaint(&output).contains("imported"), "{}", complaint(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// It is not imported, for this reason.
    async fn refused(&self, arguments: &[&str], reason: &str) {
        let output = run(arguments).await;
        assert!(complaint(&output).contains(reason), "{}", complaint(&output));
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
    }
}

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

#[tokio::test]
async fn what_a_zookeeper_has_left_is_served() {
    let zookeeper = ZooKeeper::new("imported");
    let expected = Import::read(&DataDirectory::new(zookeeper.scratch.file("zookeeper"))).unwrap();
    let report = &expected.report;
    let told = zookeeper.import().await;
    let lines: Vec<_> = told.lines().collect();
    let nodes = expected.tree.paths().count();
    assert_eq!(lines[0], format!("nodes: {nodes}, of which 1 ephemeral and 1 with a time to live"));
    assert_eq!(lines[1], "sessions: 1");
    assert_eq!(lines[2], format!("last change: 0x{:x}", expected.tree.last_zxid().0));
    assert_eq!(lines[3], format!("snapshot: {}", report.snapshot));
    assert_eq!(lines[4], format!("logs: {}; changes since the snapshot: {}", report.logs[0], report.transactions));
    assert_eq!(lines[5], format!("digests: {} compared, all the same", report.digests.compared));
    assert_eq!(lines.len(), 6, "{told}");

    let (mut process, address) = Process::serve(&["--data", zookeeper.data()]).await;
    let client = herdless_tokio::connect(&address.to_string()).await.unwrap();
    let (data, stat) = client.get(&path("/kept")).await.unwrap();
    assert_eq!((&data[..], Some(stat)), (&b"second"[..], expected.tree.stat(&path("/kept"))));
    assert!(client.exists(&path("/mine")).await.unwrap().is_some());
    let set = client.set(&path("/kept"), "third", Version(1)).await.unwrap();
    assert!(set.mzxid > expected.tree.last_zxid());

    // Whoever was a client of the ZooKeeper goes on with its session, and nobody else does.
    let session = &expected.sessions[0];
    for (password, found) in [([0; 16], 0), (session.password, session.id.0)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(handshake(&mut stream, session.id.0, &password).await, Some(found));
    }
    drop(client);
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));

    // What is there is not overwritten.
    zookeeper.refused(&zookeeper.arguments(), "is not empty").await;
    let (_process, address) = Process::serve(&["--data", zookeeper.data()]).await;
    let client = herdless_tokio::connect(&address.to_string()).await.unwrap();
    assert_eq!(&client.get(&path("/kept")).await.unwrap().0[..], b"third");
}

#[tokio::test]
async fn what_is_left_out_is_told() {
    let zookeeper = ZooKeeper::new("import-damaged");
    let (snapshot, log) = (zookeeper.newest("snapshot."), zookeeper.newest("log."));
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[100] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    // Cut off before its last byte that is not one of those that it was filled up with.
    let bytes = fs::read(&log).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(&log, &bytes[..written]).unwrap();
    let told = zookeeper.import().await;
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(told.contains("snapshot: snapshot.0\n"), "{told}");
    assert!(told.contains(&format!("passed over: {}, byte ", name(&snapshot))), "{told}");
    assert!(told.contains(&format!("left out: {} from byte ", name(&log))), "{told}");
}

#[tokio::test]
async fn what_cannot_be_imported_leaves_nothing_behind() {
    let zookeeper = ZooKeeper::new("import-refused");
    let arguments = zookeeper.arguments();
    let from = arguments[2];
    // Into itself.
    let files = || fs::read_dir(from).unwrap().count() + fs::read_dir(format!("{from}/version-2")).unwrap().count();
    let before = files();
    zookeeper.refused(&["import", "--from", from, "--to", from], "is not empty").await;
    assert_eq!(files(), before);
    // From where there is nothing, and from where something is missing.
    zookeeper.refused(&["import", "--from", zookeeper.data(), "--to", from], "No such file").await;
    let elsewhere = zookeeper.scratch.file("logs");
    fs::create_dir_all(elsewhere.join("version-2")).unwrap();
    let snapshot = zookeeper.newest("snapshot.");
    let bytes = fs::read(&snapshot).unwrap();
    fs::write(&snapshot, &bytes[..100]).unwrap();
    let without_logs = [&arguments[..], &["--from-logs", elsewhere.to_str().unwrap()]].concat();
    zookeeper.refused(&without_logs, "it ends within").await;
    assert!(!Path::new(zookeeper.data()).exists());
    fs::write(&snapshot, bytes).unwrap();

    // To a disk that is full.
    let output = confined(1_000, &arguments).output().await.unwrap();
    assert!(complaint(&output).contains("the disk is full"), "{}", complaint(&output));
    assert_eq!(output.status.code(), Some(1));
    assert!(!Path::new(zookeeper.data()).join("herdless.redb").exists());
    zookeeper.import().await;
}
