//! What a real server leaves behind, read again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use herdless::core::{
    Answer, Create, Delete, Error, GetData, Multi, NodeData, Reply, Request, SessionId, SetAcl, SetData,
};
use herdless::server::{self, Server};
use herdless::{
    Acl, Client, ClientExt, CreateMode, MultiOp, NodePath, Permissions, Refusal, SessionState, Stat, TokioClient,
    Version,
};
use herdless_import::{DataDirectory, Fault, Import};

use crate::support::process::Scratch;
use crate::support::{Dice, NO_ZOOKEEPER, ZooKeeper, connector, four_letter_word, skipped, until};

/// Everything of a node that a client can see.
#[derive(Debug, PartialEq)]
struct Seen {
    data: NodeData,
    acl: Vec<Acl>,
    stat: Stat,
}

type SeenTree = BTreeMap<NodePath, Seen>;

/// Snapshots and logs as often as they come: a server takes one after half as many changes as this, or up to as many.
const SNAP_COUNT: &str = "-Dzookeeper.snapCount=60";
/// Who may do everything: `super`, by the password `test`.
const SUPER: &str = "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=";
/// Containers go while others come, and logs are filled up by little.
const OPTIONS: [&str; 4] = [SNAP_COUNT, SUPER, "-Dznode.container.checkIntervalMs=200", "-Dzookeeper.preAllocSize=16"];

fn path(text: &str) -> NodePath {
    NodePath::parse_sequential(text).unwrap()
}

async fn sovereign(address: &str) -> TokioClient {
    let client = connector(address).connect().await.unwrap();
    client.authenticate("digest", "super:test").await.unwrap();
    client
}

/// The whole tree.
async fn look(client: &impl Client) -> SeenTree {
    let (mut seen, mut ahead) = (SeenTree::new(), vec![NodePath::root()]);
    while let Some(path) = ahead.pop() {
        // A container may go meanwhile; whoever looks finds out that the tree has changed.
        let read = Request::GetData(GetData { path: path.clone(), watch: false });
        let (Ok(Answer { reply: Reply::Data(data, stat), .. }), Ok((acl, _)), Ok((names, _))) =
            (client.submit(read).await, client.acl(&path).await, client.children(&path).await)
        else {
            continue;
        };
        ahead.extend(names.iter().map(|name| path.child(name).unwrap()));
        seen.insert(path, Seen { data, acl, stat });
    }
    seen
}

fn one_of<T: Clone>(dice: &mut Dice, choices: &[T]) -> T {
    choices[dice.within(0..choices.len())].clone()
}

/// One of few, so that changes meet: three levels of them.
fn place(dice: &mut Dice) -> String {
    let mut text = String::new();
    for _ in 0..dice.within(1..4) {
        text += one_of(dice, &["/a", "/b", "/c", "/d", "/e", "/ä", "/n-0000000001", "/n-0000000002"]);
    }
    text
}

fn list(dice: &mut Dice) -> Arc<[Acl]> {
    let digest = |dice: &mut Dice| {
        Acl::digest(Permissions::from_bits(dice.within(1..32) as i32), &format!("user{}", dice.within(0..40)), "secret")
    };
    match dice.within(0..4) {
        0 => [digest(dice), digest(dice)].into(),
        1 => [digest(dice), Acl::open()[0].clone()].into(),
        _ => Acl::open(),
    }
}

fn data(dice: &mut Dice) -> NodeData {
    match dice.within(0..8) {
        0 => NodeData::NULL,
        _ => vec![dice.number() as u8; dice.within(0..200)].into(),
    }
}

fn create(dice: &mut Dice) -> Create {
    let limit = |dice: &mut Dice| Duration::from_millis(one_of(dice, &[1, 50, 0xff_ffff_ffff]));
    let modes = [
        CreateMode::Persistent,
        CreateMode::Persistent,
        CreateMode::PersistentSequential,
        CreateMode::Ephemeral,
        CreateMode::EphemeralSequential,
        CreateMode::Container,
        CreateMode::PersistentWithTtl(limit(dice)),
        CreateMode::PersistentSequentialWithTtl(limit(dice)),
    ];
    let mode = one_of(dice, &modes);
    let mut text = place(dice);
    if mode.is_sequential() {
        text = format!("{}/n-", text.rsplit_once('/').unwrap().0);
    }
    Create { path: path(&text), data: data(dice), acl: list(dice), mode }
}

fn set(dice: &mut Dice) -> SetData {
    SetData { path: path(&place(dice)), data: data(dice), version: Version::ANY }
}

fn delete(dice: &mut Dice) -> Delete {
    Delete { path: path(&place(dice)), version: one_of(dice, &[Version::ANY, Version::ANY, Version(1)]) }
}

fn request(dice: &mut Dice) -> Request {
    match dice.within(0..20) {
        0..9 => Request::Create(create(dice)),
        9..13 => Request::Delete(delete(dice)),
        13..16 => Request::SetData(set(dice)),
        16..18 => Request::SetAcl(SetAcl { path: path(&place(dice)), acl: list(dice), version: Version::ANY }),
        _ => {
            let operation = |dice: &mut Dice| match dice.within(0..5) {
                0 | 1 => MultiOp::Create(create(dice)),
                2 => MultiOp::Delete(delete(dice)),
                3 => MultiOp::SetData(set(dice)),
                _ => MultiOp::Check { path: path(&place(dice)), version: Version::ANY },
            };
            let operations = (0..dice.within(1..4)).map(|_| operation(dice)).collect();
            Request::Multi(Multi { operations, session: None })
        }
    }
}

/// Changes at random, many under way at once, so that snapshots are written while the tree changes. How many were made, and
/// how many refused.
async fn live(dice: &mut Dice, clients: &mut [TokioClient], address: &str, rounds: usize) -> (usize, usize) {
    let (mut made, mut refused) = (0, 0);
    for _ in 0..rounds {
        let mut answers = Vec::new();
        for _ in 0..40 {
            let client = one_of(dice, &[0, 0, 1, 2]);
            answers.push(clients[client].submit(request(dice)));
        }
        for answer in answers {
            match answer.await {
                Ok(_) => made += 1,
                Err(Error::Refused(_) | Error::MultiRefused { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        // A session that ends takes its nodes along.
        if dice.within(0..4) == 0 {
            clients[2].close().await.unwrap();
            clients[2] = sovereign(address).await;
        }
    }
    (made, refused)
}

/// Sets a quota as zkCli does. What the server counts for it is in no log.
async fn set_quota(client: &TokioClient, of: &str) {
    let create = async |text: String, data: &'static str| match client
        .create(&path(&text), data, CreateMode::Persistent)
        .await
    {
        Ok(_) | Err(Error::Refused(Refusal::NodeExists)) => {}
        Err(error) => panic!("{text}: {error}"),
    };
    create(format!("/zookeeper/quota{of}"), "").await;
    create(format!("/zookeeper/quota{of}/zookeeper_limits"), "count=1000,bytes=1000000").await;
    create(format!("/zookeeper/quota{of}/zookeeper_stats"), "count=0,bytes=0").await;
}

/// The last change that the server has made.
async fn last_zxid(address: &str) -> i64 {
    let answer = four_letter_word(address, "srvr").await.unwrap();
    let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap();
    i64::from_str_radix(zxid, 16).unwrap()
}

/// The tree, and its last change, if nothing has changed while it was looked at.
async fn at_rest(client: &TokioClient, address: &str) -> Option<(SeenTree, i64)> {
    let (before, seen) = (last_zxid(address).await, look(client).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    (last_zxid(address).await == before).then_some((seen, before))
}

/// No file was taken away, so every snapshot comes to the same tree with the logs behind it, although most of them were written
/// while the tree changed. So does an older one in place of one that is damaged; and no log can be missing.
fn from_every_snapshot(directory: &Path, newest: &Import, seen: &SeenTree) {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    let mut files: BTreeMap<_, _> = std::fs::read_dir(directory).unwrap().map(read).collect();
    let number = |name: &str| i64::from_str_radix(name.rsplit_once('.').unwrap().1, 16).unwrap();
    let of_kind = |files: &BTreeMap<String, Vec<u8>>, kind: &str| {
        let mut names: Vec<_> = files.keys().filter(|name| name.starts_with(kind)).cloned().collect();
        names.sort_by_key(|name| number(name));
        names
    };
    // Its last part: the digest's change, version and value, and a seal.
    let ends = |snapshot: &[u8]| i64::from_be_bytes(*snapshot[snapshot.len() - 33..].first_chunk().unwrap());
    let (mut fuzzy, mut damaged) = (0, 0);
    let snapshots = of_kind(&files, "snapshot.");
    let logs = of_kind(&files, "log.");
    println!("{} snapshots, {} logs", snapshots.len(), logs.len());
    assert!(snapshots.len() > 20 && logs.len() > 10);
    for name in snapshots.iter().rev() {
        let import = Import::read(&files).unwrap();
        let report = &import.report;
        assert_eq!(report.snapshot, *name);
        compare(&import, seen);
        assert_eq!(import.tree.last_zxid(), newest.tree.last_zxid());
        assert!(import.sessions == newest.sessions && report.dropped.is_empty(), "{report:?}");
        assert!(report.digests.compared > 0 && report.digests.differs.is_none(), "{report:?}");
        let bytes = files.get_mut(name).unwrap();
        fuzzy += usize::from(ends(bytes) > number(name));
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        if *name != snapshots[0] {
            let import = Import::read(&files).unwrap();
            assert_eq!(import.report.passed_over.len(), 1, "{:?}", import.report);
            compare(&import, seen);
            damaged += 1;
        } else {
            Import::read(&files).unwrap_err();
        }
        if *name == snapshots[0] {
            files.get_mut(name).unwrap()[middle] ^= 1;
        } else {
            files.remove(name);
        }
    }
    println!("{fuzzy} snapshots were written while the tree changed; {damaged} damaged ones were passed over");
    assert!(fuzzy > 0);
    // Only the first snapshot is left, so that every log counts.
    for name in &logs[..logs.len() - 1] {
        let log = files.remove(name).unwrap();
        let error = Import::read(&files).unwrap_err();
        assert!(matches!(error.fault, Fault::Gap { .. }), "{name}: {error}");
        files.insert(name.clone(), log);
    }
}

fn compare(import: &Import, seen: &SeenTree) {
    let paths: Vec<_> = import.tree.paths().collect();
    assert_eq!(paths, seen.keys().collect::<Vec<_>>());
    for (path, seen) in seen {
        let record = import.tree.record(path).unwrap();
        let imported = Seen { data: record.data, acl: record.acl.to_vec(), stat: import.tree.stat(path).unwrap() };
        assert_eq!(imported, *seen, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_over_and_clients_go_on() {
    let Some(mut server) = ZooKeeper::start("import", &OPTIONS).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let mut dice = Dice::new();
    let address = server.address.clone();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(sovereign(&address).await);
    }
    for top in ["/a", "/b", "/c"] {
        clients[0].create(&path(top), "top", CreateMode::Persistent).await.unwrap();
    }
    // Before anything else is under way: with a child of it made or deleted just then, the server notes a wrong digest (seen on
    // 3.8.0, which keeps the changes of the root that are under way by two names).
    clients[0].set(&NodePath::root(), "root", Version::ANY).await.unwrap();
    set_quota(&clients[0], "/a").await;
    // Nobody else touches this one.
    clients[0].create(&path("/line"), "", CreateMode::Persistent).await.unwrap();
    for _ in 0..3 {
        clients[0].create(&path("/line/next-"), "", CreateMode::PersistentSequential).await.unwrap();
    }
    clients[0].delete(&path("/line/next-0000000002"), Version::ANY).await.unwrap();
    let (mut made, mut refused, mut lives) = (0, 0, 0);
    let (seen, import) = loop {
        let (more_made, more_refused) = live(&mut dice, &mut clients, &address, 30).await;
        (made, refused, lives) = (made + more_made, refused + more_refused, lives + 1);
        let (seen, zxid) = until("a tree at rest", async || at_rest(&clients[0], &address).await).await;
        server.kill().await;
        let import = Import::read(&DataDirectory::new(server.data())).unwrap();
        // What goes by itself may have gone since.
        if lives >= 3 && import.tree.last_zxid().0 == zxid {
            break (seen, import);
        }
        server.start_again().await;
        for client in &clients {
            until("the client to be back", async || client.authenticate("digest", "super:test").await.ok()).await;
        }
    };
    let report = &import.report;
    println!("{made} changes made and {refused} refused in {lives} lives; {} nodes; {report:?}", seen.len());
    assert!(made > 500 && refused > 500, "{made} {refused}");
    compare(&import, &seen);
    assert_eq!(report.digests.differs, None);
    assert!(report.passed_over.is_empty() && report.dropped.is_empty());
    from_every_snapshot(&server.data().join("version-2"), &import, &seen);
    let mut open: Vec<_> = clients.iter().map(|client| client.session().id()).collect();
    open.sort();
    assert_eq!(import.sessions.iter().map(|session| session.id).collect::<Vec<_>>(), open);
    assert!(import.sessions.iter().all(|session| session.timeout == Duration::from_secs(40)));

    go_on(import, &seen, &clients, &address).await;
}

/// The embedded server takes the place of the real one, and whoever was connected to that is a client of this.
async fn go_on(import: Import, seen: &SeenTree, clients: &[TokioClient], address: &str) {
    let scratch = Scratch::new("import-to");
    let sessions = import.sessions.iter().map(|session| (session.id, session.timeout, session.password));
    server::import(import.tree, sessions, scratch.file("data")).unwrap();
    let before: Vec<SessionId> = clients.iter().map(|client| client.session().id()).collect();
    let embedded = Server::builder().allow_ttl(true).data_dir(scratch.file("data")).bind(address).await.unwrap();
    for client in clients {
        until("the client to be back", async || client.exists(&NodePath::root()).await.ok()).await;
        assert_eq!(client.session().state(), SessionState::Connected);
    }
    assert_eq!(clients.iter().map(|client| client.session().id()).collect::<Vec<_>>(), before, "the same sessions");
    let created = clients[0].create(&path("/line/next-"), "", CreateMode::EphemeralSequential).await.unwrap();
    assert_eq!(created.path.as_str(), "/line/next-0000000003");
    assert!(created.stat.czxid > seen.values().map(|seen| seen.stat.mzxid.max(seen.stat.pzxid)).max().unwrap());

    let (ours, others): (Vec<_>, Vec<_>) = seen
        .iter()
        .filter(|(_, seen)| seen.stat.ephemeral_owner != 0)
        .partition(|(_, seen)| seen.stat.ephemeral_owner == before[1].0);
    assert!(!others.is_empty(), "somebody else has ephemeral nodes too");
    clients[1].close().await.unwrap();
    for (path, _) in ours {
        assert_eq!(clients[0].exists(path).await.unwrap(), None, "{path}");
    }
    for (path, _) in others {
        assert!(clients[0].exists(path).await.unwrap().is_some(), "{path}");
    }
    embedded.shutdown().await;
}

/// Records the files and the tree that the tests of `herdless-import` stand on:
///
/// ```text
/// HERDLESS_RECORD=crates/herdless-import/tests/golden .ci/zookeeper cargo test -p herdless-tests --test zookeeper \\
///     -- --ignored record_the_golden_files
/// ```
#[tokio::test]
#[ignore = "records files"]
async fn record_the_golden_files() {
    let directory = std::env::current_dir().unwrap().join("..").join(std::env::var("HERDLESS_RECORD").unwrap());
    // No container is removed meanwhile.
    let mut server = ZooKeeper::start("golden", &[SUPER, "-Dzookeeper.preAllocSize=1"]).await.unwrap();
    let address = server.address.clone();
    let client = sovereign(&address).await;
    let persistent = CreateMode::Persistent;
    client.create(&path("/kept"), "first", persistent).await.unwrap();
    for _ in 0..3 {
        client.create(&path("/kept/n-"), "", CreateMode::PersistentSequential).await.unwrap();
    }
    client.delete(&path("/kept/n-0000000001"), Version::ANY).await.unwrap();
    client.create(&path("/gone"), "", persistent).await.unwrap();
    client.delete(&path("/gone"), Version::ANY).await.unwrap();
    client.create(&path("/gone"), "back", persistent).await.unwrap();
    client.create(&path("/gone/below"), "", persistent).await.unwrap();
    client.create(&path("/container"), "", CreateMode::Container).await.unwrap();
    client.create(&path("/container/child"), "", persistent).await.unwrap();
    client.create(&path("/mine"), "e", CreateMode::Ephemeral).await.unwrap();
    let null = Create { path: path("/null"), data: NodeData::NULL, acl: Acl::open(), mode: persistent };
    client.submit(Request::Create(null)).await.unwrap();
    let other = sovereign(&address).await;
    other.create(&path("/kept/theirs"), "", CreateMode::Ephemeral).await.unwrap();
    server.kill().await;
    server.start_again().await;
    until("the client to be back", async || client.authenticate("digest", "super:test").await.ok()).await;
    until("the other to be back", async || other.exists(&path("/")).await.ok()).await;

    client.set(&path("/kept"), "second", Version(0)).await.unwrap();
    client.set(&path("/kept"), "", Version(7)).await.unwrap_err();
    let list = [Acl::digest(Permissions::READ | Permissions::WRITE, "user", "secret"), Acl::open()[0].clone()];
    client.set_acl(&path("/gone"), list.clone(), Version::ANY).await.unwrap();
    client.create_with_acl(&path("/listed"), "x", persistent, list).await.unwrap();
    let idle = CreateMode::PersistentWithTtl(Duration::from_millis(0xff_ffff_ffff));
    client.create(&path("/idle"), "t", idle).await.unwrap();
    let both = |second: &str| {
        vec![MultiOp::create(&path("/both"), "1", persistent), MultiOp::delete(&path(second), Version::ANY)]
    };
    client.multi(both("/kept/n-0000000000")).await.unwrap();
    client.multi(both("/nowhere")).await.unwrap_err();
    client.create(&path("/ä"), vec![0; 9], persistent).await.unwrap();
    let null = SetData { path: path("/both"), data: NodeData::NULL, version: Version::ANY };
    client.submit(Request::SetData(null)).await.unwrap();
    other.create(&path("/kept/n-"), "", CreateMode::EphemeralSequential).await.unwrap();
    other.close().await.unwrap();
    client.delete(&path("/gone/below"), Version::ANY).await.unwrap();
    let seen = look(&client).await;
    server.kill().await;

    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    for entry in std::fs::read_dir(server.data().join("version-2")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    let line = |(path, Seen { data, acl, stat }): (&NodePath, &Seen)| format!("{path} {data:?} {acl:?} {stat:?}\n");
    std::fs::write(directory.join("tree.txt"), seen.iter().map(line).collect::<String>()).unwrap();
}
