//! How much a tree holds, and that it is no more than it may be.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use herdless_core::{
    Acl, AddWatch, AddWatchMode, Auth, CheckWatches, Create, CreateMode, Delete, Error, Exists, GetAcl, GetChildren,
    GetData, GetEphemerals, Multi, MultiOp, MultiRead, NodePath, Permissions, ReadOp, Refusal, RemoveWatches, Reply,
    Request, SessionId, SetAcl, SetData, Version, WatcherType, Zxid,
};
use herdless_memory::{Caps, Fired, Holding, Tree};

const ONE: SessionId = SessionId(1);
const TWO: SessionId = SessionId(2);

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

fn tree(caps: Caps) -> Tree {
    let mut tree = Tree::new(Zxid(1));
    tree.limit(caps);
    tree.open_session(ONE);
    tree.open_session(TWO);
    tree
}

fn apply(tree: &mut Tree, session: SessionId, request: Request) -> Result<Reply, Error> {
    tree.apply(session, &request, 7, &mut Fired::new())
}

fn create(text: &str, data: &str, mode: CreateMode) -> Request {
    Request::Create(Create { path: path(text), data: data.to_owned().into(), acl: Acl::open(), mode })
}

fn delete(text: &str) -> Request {
    Request::Delete(Delete { path: path(text), version: Version::ANY })
}

fn set(text: &str, data: String) -> Request {
    Request::SetData(SetData { path: path(text), data: data.into(), version: Version::ANY })
}

fn exists(text: &str) -> Request {
    Request::Exists(Exists { path: path(text), watch: true })
}

/// It is refused so, holds what it held, and is not refused any more once there is room.
fn expect_refusal(tree: &mut Tree, request: Request, refusal: Refusal, make_room: Request) {
    let before = tree.holding();
    assert_eq!(apply(tree, ONE, request.clone()), Err(Error::Refused(refusal)), "{request:?}");
    assert_eq!(tree.holding(), before, "{request:?}");
    apply(tree, ONE, make_room).unwrap();
    apply(tree, ONE, request).unwrap();
}

#[test]
fn nodes() {
    let mut tree = tree(Caps { nodes: 3, ..Caps::NONE });
    for text in ["/a", "/b"] {
        apply(&mut tree, ONE, create(text, "", CreateMode::Persistent)).unwrap();
    }
    // What was there before is judged first.
    assert_eq!(apply(&mut tree, ONE, create("/a", "", CreateMode::Persistent)), Err(Refusal::NodeExists.into()));
    expect_refusal(&mut tree, create("/c", "", CreateMode::Persistent), Refusal::QuotaExceeded, delete("/b"));
}

#[test]
fn a_multi_that_would_be_too_much_changes_nothing() {
    let mut tree = tree(Caps { nodes: 3, ..Caps::NONE });
    let operations = ["/a", "/b", "/c"].map(|text| MultiOp::create(&path(text), "", CreateMode::Persistent));
    let multi = Multi { operations: operations.to_vec(), session: None };
    let refused = apply(&mut tree, ONE, Request::Multi(multi));
    assert_eq!(refused, Err(Error::MultiRefused { index: 2, refusal: Refusal::QuotaExceeded }));
    assert_eq!(tree.holding().nodes, 1);
    assert_eq!(tree.holding().bytes, "/".len() + "worldanyone".len());
}

#[test]
fn bytes_of_paths_data_and_lists() {
    let mut tree = tree(Caps { bytes: 100, ..Caps::NONE });
    apply(&mut tree, ONE, create("/a", "", CreateMode::Persistent)).unwrap();
    let filling = 100 - tree.holding().bytes;
    assert_eq!(apply(&mut tree, ONE, set("/a", "x".repeat(filling + 1))), Err(Refusal::QuotaExceeded.into()));
    apply(&mut tree, ONE, set("/a", "x".repeat(filling))).unwrap();
    assert_eq!(tree.holding().bytes, 100);
    // What does not grow is not refused.
    apply(&mut tree, ONE, set("/a", "y".repeat(filling))).unwrap();
    let new = create("/b", "", CreateMode::Persistent);
    expect_refusal(&mut tree, new, Refusal::QuotaExceeded, set("/a", String::new()));
    let long = Acl { permissions: Permissions::ALL, scheme: "digest".into(), id: format!("me:{}", "x".repeat(100)) };
    let list = SetAcl { path: path("/a"), acl: vec![long].into(), version: Version::ANY };
    let before = tree.holding();
    assert_eq!(apply(&mut tree, ONE, Request::SetAcl(list)), Err(Refusal::QuotaExceeded.into()));
    assert_eq!(tree.holding(), before);
}

#[test]
fn ephemerals_of_a_session() {
    let mut tree = tree(Caps { ephemerals_per_session: 2, ..Caps::NONE });
    for text in ["/a", "/b"] {
        apply(&mut tree, ONE, create(text, "", CreateMode::Ephemeral)).unwrap();
    }
    apply(&mut tree, ONE, create("/lasting", "", CreateMode::Persistent)).unwrap();
    apply(&mut tree, TWO, create("/theirs", "", CreateMode::Ephemeral)).unwrap();
    expect_refusal(&mut tree, create("/c", "", CreateMode::Ephemeral), Refusal::QuotaExceeded, delete("/a"));
}

#[test]
fn watches_of_a_session_and_of_all() {
    let mut tree = tree(Caps { watches_per_session: 3, watches: 4, ..Caps::NONE });
    let stays = AddWatch { path: path("/a"), mode: AddWatchMode::Persistent };
    apply(&mut tree, ONE, Request::AddWatch(stays.clone())).unwrap();
    assert_eq!(tree.holding().watches, 2, "on its data, and on its children");
    apply(&mut tree, ONE, exists("/a")).unwrap();
    // What was left before takes no room.
    apply(&mut tree, ONE, exists("/a")).unwrap();
    apply(&mut tree, ONE, Request::AddWatch(stays)).unwrap();
    assert_eq!(apply(&mut tree, ONE, exists("/b")), Err(Refusal::Throttled.into()));
    apply(&mut tree, TWO, exists("/b")).unwrap();
    assert_eq!(apply(&mut tree, TWO, exists("/c")), Err(Refusal::Throttled.into()), "of all");
    // A read that leaves none is not refused, and one that is refused leaves none.
    apply(&mut tree, TWO, Request::Exists(Exists { path: path("/c"), watch: false })).unwrap();
    let check = CheckWatches { path: path("/c"), kind: WatcherType::Any };
    assert_eq!(apply(&mut tree, TWO, Request::CheckWatches(check)), Err(Refusal::NoWatcher.into()));
    let away = RemoveWatches { path: path("/a"), kind: WatcherType::Children };
    expect_refusal(&mut tree, exists("/b"), Refusal::Throttled, Request::RemoveWatches(away));
}

#[test]
fn bytes_of_the_paths_of_watches() {
    let mut tree = tree(Caps { watch_bytes: 10, ..Caps::NONE });
    apply(&mut tree, ONE, exists("/4567890")).unwrap();
    let fires = create("/4567890", "", CreateMode::Persistent);
    expect_refusal(&mut tree, exists("/90"), Refusal::Throttled, fires);
}

#[test]
fn identities() {
    let mut tree = tree(Caps { identity_bytes: 80, ..Caps::NONE });
    let auth = |who: &str| {
        Request::Auth(Auth { scheme: "digest".into(), credentials: format!("{who}:secret").into_bytes().into() })
    };
    for who in ["one", "two", "one"] {
        apply(&mut tree, ONE, auth(who)).unwrap();
    }
    assert_eq!(apply(&mut tree, ONE, auth("three")), Err(Refusal::AuthFailed.into()));
}

#[test]
fn bytes_of_one_list() {
    let mut tree = tree(Caps { list_bytes: 10, ..Caps::NONE });
    for text in ["/1234", "/5678", "/9"] {
        apply(&mut tree, ONE, create(text, "", CreateMode::Ephemeral)).unwrap();
    }
    let children = || Request::GetChildren(GetChildren { path: NodePath::root(), watch: false });
    apply(&mut tree, ONE, children()).unwrap();
    let own = Request::GetEphemerals(GetEphemerals { prefix: NodePath::root() });
    assert_eq!(apply(&mut tree, ONE, own), Err(Refusal::Marshalling.into()));
    apply(&mut tree, ONE, set("/9", "12345".into())).unwrap();
    let reads = |count| Request::MultiRead(MultiRead { operations: vec![ReadOp::GetData(path("/9")); count] });
    apply(&mut tree, ONE, reads(2)).unwrap();
    assert_eq!(apply(&mut tree, ONE, reads(3)), Err(Refusal::Marshalling.into()));
    apply(&mut tree, ONE, create("/01", "", CreateMode::Persistent)).unwrap();
    assert_eq!(apply(&mut tree, ONE, children()), Err(Refusal::Marshalling.into()));
}

/// What is counted while it goes in and out is what is there.
#[test]
fn the_counters_are_right_after_any_requests() {
    let mut tree = tree(Caps { nodes: 12, bytes: 400, watches_per_session: 8, ..Caps::NONE });
    let mut number = 1_u64;
    let mut dice = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    let (mut refused, mut carried_out) = (0, 0);
    for _ in 0..20_000 {
        let session = if dice(2) == 0 { ONE } else { TWO };
        let mut text = format!("/{}", dice(5));
        if dice(2) == 0 {
            text += &format!("/{}", dice(5));
        }
        let data = "x".repeat(dice(40) as usize);
        let mode = if dice(3) == 0 { CreateMode::Ephemeral } else { CreateMode::Persistent };
        let own = Acl { permissions: Permissions::ALL, scheme: "ip".into(), id: "::1".into() };
        let list = if dice(2) == 0 { Acl::open() } else { Acl::open().iter().cloned().chain([own]).collect() };
        let request = match dice(12) {
            0..3 => create(&text, &data, mode),
            3 => delete(&text),
            4 => set(&text, data),
            5 => Request::SetAcl(SetAcl { path: path(&text), acl: list, version: Version::ANY }),
            6 => exists(&text),
            7 => Request::GetData(GetData { path: path(&text), watch: true }),
            8 => Request::GetChildren(GetChildren { path: path(&text), watch: true }),
            9 => Request::AddWatch(AddWatch { path: path(&text), mode: AddWatchMode::PersistentRecursive }),
            10 => Request::RemoveWatches(RemoveWatches { path: path(&text), kind: WatcherType::Any }),
            _ => {
                let Request::SetData(set) = set("/1", data) else { unreachable!() };
                let operations = vec![
                    MultiOp::delete(&path("/0"), Version::ANY),
                    MultiOp::SetData(set),
                    MultiOp::create(&path(&text), "multi", mode),
                ];
                Request::Multi(Multi { operations, session: None })
            }
        };
        match apply(&mut tree, session, request) {
            Ok(_) => carried_out += 1,
            Err(_) => refused += 1,
        }
        match dice(200) {
            0 => tree.disconnect(session),
            1 => {
                tree.close_session(session, &mut Fired::new());
                tree.open_session(session);
            }
            _ => {}
        }
        expect_counted(&mut tree);
        assert!(tree.holding().nodes <= 12 && tree.holding().bytes <= 400);
    }
    assert!(carried_out > 3_000 && refused > 3_000, "{carried_out} carried out, {refused} refused");
    tree.keep_journal(true);
    let changes = tree.take_changes();
    let nodes = changes.nodes.into_iter().map(|(path, node)| (path, node.unwrap()));
    let again = Tree::restore(changes.zxid, nodes, [ONE, TWO]).unwrap().holding();
    assert_eq!((again.nodes, again.bytes), (tree.holding().nodes, tree.holding().bytes), "kept elsewhere");
    for session in [ONE, TWO] {
        tree.close_session(session, &mut Fired::new());
    }
    let Holding { watches, watch_bytes, ephemerals, .. } = tree.holding();
    assert_eq!((watches, watch_bytes, ephemerals), (0, 0, 0));
}

#[test]
fn the_nodes_of_a_server_and_the_figures_of_quotas_are_counted() {
    let mut tree = tree(Caps::NONE);
    tree.add_system_nodes();
    tree.enforce_quotas(true);
    assert_eq!(tree.holding().nodes, 4);
    expect_counted(&mut tree);
    for (text, data) in [
        ("/a", "xyz"),
        ("/zookeeper/quota/a", ""),
        ("/zookeeper/quota/a/zookeeper_limits", "count=-1,bytes=-1=;byteHardLimit=20"),
        ("/zookeeper/quota/a/zookeeper_stats", "a text that the figures take the place of"),
    ] {
        apply(&mut tree, ONE, create(text, data, CreateMode::Persistent)).unwrap();
        expect_counted(&mut tree);
    }
    apply(&mut tree, TWO, create("/a/b", "0123456789", CreateMode::Ephemeral)).unwrap();
    expect_counted(&mut tree);
    assert_eq!(tree.holding().ephemerals, 1);
    let before = tree.holding();
    let Request::SetData(longer) = set("/a", "x".repeat(21)) else { unreachable!() };
    let operations =
        [MultiOp::delete(&path("/a/b"), Version::ANY), MultiOp::create(&path("/a/c"), "0", CreateMode::Persistent)];
    for last in [MultiOp::SetData(longer), MultiOp::delete(&path("/none"), Version::ANY)] {
        let operations = operations.iter().cloned().chain([last]).collect();
        apply(&mut tree, ONE, Request::Multi(Multi { operations, session: None })).unwrap_err();
        assert_eq!(tree.holding(), before, "a multi that fails");
        expect_counted(&mut tree);
    }
    let quota = apply(&mut tree, ONE, set("/a", "x".repeat(11)));
    tree.limit(Caps { bytes: tree.holding().bytes, ..Caps::NONE });
    let cap = apply(&mut tree, ONE, set("/a", "x".repeat(4)));
    assert_eq!((&quota, cap), (&Err(Error::Refused(Refusal::QuotaExceeded)), quota.clone()), "both refuse in one way");
    tree.close_session(TWO, &mut Fired::new());
    expect_counted(&mut tree);
    assert_eq!(tree.holding().ephemerals, 0);
}

fn expect_counted(tree: &mut Tree) {
    let paths: Vec<_> = tree.paths().cloned().collect();
    let lists: usize = paths
        .iter()
        .map(|path| match apply(tree, ONE, Request::GetAcl(GetAcl { path: path.clone() })).unwrap() {
            Reply::Acl(list, _) => list.iter().map(|acl| acl.scheme.len() + acl.id.len()).sum::<usize>(),
            other => panic!("{other:?}"),
        })
        .sum();
    let data: usize =
        paths.iter().map(|path| path.as_str().len() + tree.stat(path).unwrap().data_length as usize).sum();
    let holding = tree.holding();
    assert_eq!(holding.nodes, paths.len());
    assert_eq!((holding.bytes, tree.data_size()), (data + lists, data));
    let ephemeral = |path: &&NodePath| tree.stat(path).unwrap().ephemeral_owner != 0;
    assert_eq!(holding.ephemerals, paths.iter().filter(ephemeral).count());
    assert_eq!(holding.watches, tree.watch_count());
}
