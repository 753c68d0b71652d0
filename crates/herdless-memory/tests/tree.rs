//! The tree against what Apache ZooKeeper does, one behaviour a test.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use herdless_core::{
    Acl, Create, CreateMode, Delete, Error, EventKind, Exists, GetChildren, GetData, Multi, MultiOp, MultiReply,
    NodePath, Permissions, Refusal, Release, Reply, Request, SessionId, SetData, Stat, Version, WatchEvent, WatchKind,
    Zxid,
};
use herdless_memory::{Fired, Tree};

const ONE: SessionId = SessionId(1);
const TWO: SessionId = SessionId(2);

fn path(text: &str) -> NodePath {
    NodePath::parse_sequential(text).unwrap()
}

fn tree() -> Tree {
    let mut tree = Tree::new(Zxid(1));
    tree.open_session(ONE);
    tree.open_session(TWO);
    tree
}

/// Carries a request out for session one; what it fires is looked at elsewhere.
fn apply(tree: &mut Tree, request: Request) -> Result<Reply, Error> {
    tree.apply(ONE, &request, 7, &mut Fired::new())
}

fn create(tree: &mut Tree, text: &str, mode: CreateMode) -> Result<NodePath, Error> {
    let create = Create { path: path(text), data: "x".into(), acl: Acl::open(), mode };
    match apply(tree, Request::Create(create))? {
        Reply::Created(created) => Ok(created.path),
        other => panic!("{other:?}"),
    }
}

fn delete(tree: &mut Tree, text: &str) -> Result<Reply, Error> {
    apply(tree, Request::Delete(Delete { path: path(text), version: Version::ANY }))
}

fn set(tree: &mut Tree, text: &str, version: i32) -> Result<Reply, Error> {
    let (path, version) = (path(text), Version(version));
    apply(tree, Request::SetData(SetData { path, data: "new".into(), version }))
}

fn stat(tree: &Tree, text: &str) -> Stat {
    tree.stat(&path(text)).unwrap()
}

fn refused(refusal: Refusal) -> Error {
    Error::Refused(refusal)
}

#[test]
fn a_new_node_has_the_stat_of_its_creation() {
    let mut tree = tree();
    create(&mut tree, "/a", CreateMode::Ephemeral).unwrap();
    let zxid = tree.last_zxid();
    let expected = Stat {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: 7,
        mtime: 7,
        ephemeral_owner: 1,
        data_length: 1,
        ..Stat::default()
    };
    assert_eq!(stat(&tree, "/a"), expected);
}

#[test]
fn refusals_come_in_the_order_of_a_real_server() {
    let mut tree = tree();
    create(&mut tree, "/a", CreateMode::Persistent).unwrap();
    create(&mut tree, "/e", CreateMode::Ephemeral).unwrap();
    let persistent = CreateMode::Persistent;
    assert_eq!(create(&mut tree, "/a", persistent), Err(refused(Refusal::NodeExists)));
    assert_eq!(create(&mut tree, "/", persistent), Err(refused(Refusal::NodeExists)));
    assert_eq!(create(&mut tree, "/x/y", persistent), Err(refused(Refusal::NoNode)));
    assert_eq!(create(&mut tree, "/e/x", persistent), Err(refused(Refusal::NoChildrenForEphemerals)));
    assert_eq!(create(&mut tree, "/a/", persistent), Err(refused(Refusal::BadArguments)));
    create(&mut tree, "/a/b", persistent).unwrap();
    assert_eq!(delete(&mut tree, "/a"), Err(refused(Refusal::NotEmpty)));
    assert_eq!(delete(&mut tree, "/x"), Err(refused(Refusal::NoNode)));
    assert_eq!(delete(&mut tree, "/"), Err(refused(Refusal::BadArguments)));
    assert_eq!(set(&mut tree, "/a", 3), Err(refused(Refusal::BadVersion)));
    assert_eq!(set(&mut tree, "/x", 0), Err(refused(Refusal::NoNode)));
}

#[test]
fn a_refused_write_takes_a_zxid_and_changes_nothing_else() {
    let mut tree = tree();
    create(&mut tree, "/a", CreateMode::Persistent).unwrap();
    let (before, zxid) = (stat(&tree, "/a"), tree.last_zxid());
    set(&mut tree, "/a", 3).unwrap_err();
    assert_eq!(stat(&tree, "/a"), before);
    assert_eq!(tree.last_zxid(), Zxid(zxid.0 + 1));
}

#[test]
fn numbers_count_every_creation_and_no_deletion() {
    let mut tree = tree();
    create(&mut tree, "/d", CreateMode::Persistent).unwrap();
    create(&mut tree, "/d/plain", CreateMode::Persistent).unwrap();
    let sequential = CreateMode::EphemeralSequential;
    assert_eq!(create(&mut tree, "/d/n-", sequential).unwrap(), path("/d/n-0000000001"));
    delete(&mut tree, "/d/plain").unwrap();
    assert_eq!(create(&mut tree, "/d/", sequential).unwrap(), path("/d/0000000002"));
    // What clients see counts both: three creations and a deletion.
    let directory = stat(&tree, "/d");
    assert_eq!((directory.cversion, directory.num_children), (4, 2));
    assert_eq!((directory.cversion + directory.num_children) / 2, 3, "the next number");
    delete(&mut tree, "/d/n-0000000001").unwrap();
    delete(&mut tree, "/d/0000000002").unwrap();
    delete(&mut tree, "/d").unwrap();
    create(&mut tree, "/d", CreateMode::Persistent).unwrap();
    assert_eq!(create(&mut tree, "/d/n-", sequential).unwrap(), path("/d/n-0000000000"));
}

#[test]
fn a_multi_is_all_or_nothing() {
    let mut tree = tree();
    create(&mut tree, "/a", CreateMode::Persistent).unwrap();
    create(&mut tree, "/a/child", CreateMode::Ephemeral).unwrap();
    let before: Vec<_> = tree.paths().map(|path| (path.clone(), tree.stat(path))).collect();
    let mut operations = vec![
        MultiOp::set(&path("/a"), "new", Version::ANY),
        MultiOp::delete(&path("/a/child"), Version::ANY),
        MultiOp::create(&path("/a/seq-"), "", CreateMode::EphemeralSequential),
        MultiOp::check(&path("/a"), Version(9)),
        MultiOp::delete(&path("/nowhere"), Version::ANY),
    ];
    let failed = apply(&mut tree, Request::Multi(Multi { operations: operations.clone(), session: None }));
    assert_eq!(failed, Err(Error::MultiRefused { index: 3, refusal: Refusal::BadVersion }));
    let after: Vec<_> = tree.paths().map(|path| (path.clone(), tree.stat(path))).collect();
    assert_eq!(before, after);

    operations.truncate(3);
    let Ok(Reply::Multi(replies)) = apply(&mut tree, Request::Multi(Multi { operations, session: None })) else {
        panic!("the rest is fine")
    };
    // All of one change: one zxid.
    let zxid = tree.last_zxid();
    assert!(matches!(&replies[0], MultiReply::Set(stat) if stat.mzxid == zxid));
    assert_eq!(replies[1], MultiReply::Deleted);
    assert!(matches!(&replies[2], MultiReply::Created(made, Some(stat))
        if *made == path("/a/seq-0000000001") && stat.czxid == zxid));
}

#[test]
fn an_undone_multi_gives_an_ephemeral_back_to_its_session() {
    let mut tree = tree();
    create(&mut tree, "/e", CreateMode::Ephemeral).unwrap();
    let operations = vec![MultiOp::delete(&path("/e"), Version::ANY), MultiOp::delete(&path("/nowhere"), Version::ANY)];
    apply(&mut tree, Request::Multi(Multi { operations, session: None })).unwrap_err();
    tree.close_session(ONE, &mut Fired::new());
    assert_eq!(tree.stat(&path("/e")), None);
}

/// Which events session two is told of, in order.
fn events_of(change: impl FnOnce(&mut Tree, &mut Fired)) -> Vec<(EventKind, String)> {
    let mut tree = tree();
    create(&mut tree, "/a", CreateMode::Persistent).unwrap();
    create(&mut tree, "/a/b", CreateMode::Ephemeral).unwrap();
    for text in ["/a", "/a/b"] {
        let (data, children) = (
            Request::GetData(GetData { path: path(text), watch: true }),
            Request::GetChildren(GetChildren { path: path(text), watch: true }),
        );
        tree.apply(TWO, &data, 0, &mut Fired::new()).unwrap();
        tree.apply(TWO, &children, 0, &mut Fired::new()).unwrap();
    }
    let exists = Request::Exists(Exists { path: path("/a/new"), watch: true });
    tree.apply(TWO, &exists, 0, &mut Fired::new()).unwrap();
    let mut fired = Fired::new();
    change(&mut tree, &mut fired);
    fired.into_iter().map(|(_, event)| (event.kind, event.path.to_string())).collect()
}

fn apply_as_one(request: Request) -> impl FnOnce(&mut Tree, &mut Fired) {
    move |tree, fired| drop(tree.apply(ONE, &request, 0, fired).unwrap())
}

#[test]
fn the_event_table_is_zookeepers() {
    use EventKind::{ChildrenChanged, Created, DataChanged, Deleted};
    let new = Create { path: path("/a/new"), data: "".into(), acl: Acl::open(), mode: CreateMode::Persistent };
    assert_eq!(
        events_of(apply_as_one(Request::Create(new))),
        [(Created, "/a/new".into()), (ChildrenChanged, "/a".into())]
    );
    let set = SetData { path: path("/a"), data: "".into(), version: Version::ANY };
    assert_eq!(events_of(apply_as_one(Request::SetData(set))), [(DataChanged, "/a".into())]);
    // One deletion, told once to a session that watches data and children.
    let delete = Delete { path: path("/a/b"), version: Version::ANY };
    assert_eq!(
        events_of(apply_as_one(Request::Delete(delete))),
        [(Deleted, "/a/b".into()), (ChildrenChanged, "/a".into())]
    );
    assert_eq!(
        events_of(|tree, fired| tree.close_session(ONE, fired)),
        [(Deleted, "/a/b".into()), (ChildrenChanged, "/a".into())]
    );
}

#[test]
fn a_hand_over_is_one_event_and_says_changed() {
    let events = events_of(|tree, fired| {
        let czxid = stat(tree, "/a/b").czxid;
        let release = Release { path: path("/a/b"), czxid, session: ONE, hand_over: true, may_be_gone: false };
        let reply = tree.apply(ONE, &Request::Release(release), 0, fired);
        assert_eq!(reply, Ok(Reply::Released(true)));
    });
    // The child watch on the node itself tells of the deletion; a waiter leaves only the data watch.
    assert_eq!(events[0], (EventKind::DataChanged, "/a/b".into()));
    let data_watch_events = events.iter().filter(|(kind, _)| *kind == EventKind::DataChanged);
    assert_eq!(data_watch_events.count(), 1);
}

#[test]
fn a_release_spares_what_is_not_its_own() {
    let mut tree = tree();
    create(&mut tree, "/e", CreateMode::Ephemeral).unwrap();
    let czxid = stat(&tree, "/e").czxid;
    let release = |czxid, session| {
        Request::Release(Release { path: path("/e"), czxid, session, hand_over: true, may_be_gone: false })
    };
    assert_eq!(apply(&mut tree, release(Zxid(czxid.0 - 1), ONE)), Ok(Reply::Released(false)));
    assert_eq!(apply(&mut tree, release(czxid, TWO)), Err(Error::SessionExpired));
    let other = tree.apply(TWO, &release(czxid, TWO), 0, &mut Fired::new());
    assert_eq!(other, Ok(Reply::Released(false)), "the same node, another session");
    assert!(tree.stat(&path("/e")).is_some());
}

#[test]
fn a_watch_fires_once() {
    let mut tree = tree();
    create(&mut tree, "/a", CreateMode::Persistent).unwrap();
    apply(&mut tree, Request::GetData(GetData { path: path("/a"), watch: true })).unwrap();
    assert_eq!(tree.watch_count(), 1);
    let mut fired = Fired::new();
    for _ in 0..2 {
        let set = SetData { path: path("/a"), data: "".into(), version: Version::ANY };
        tree.apply(TWO, &Request::SetData(set), 0, &mut fired).unwrap();
    }
    let event = WatchEvent { kind: EventKind::DataChanged, path: path("/a") };
    assert_eq!(fired, [(ONE, event)]);
    assert_eq!(tree.watch_count(), 0);
}

#[test]
fn a_read_that_finds_nothing_leaves_no_watch_but_exists_does() {
    let mut tree = tree();
    let get = Request::GetData(GetData { path: path("/x"), watch: true });
    assert_eq!(apply(&mut tree, get), Err(refused(Refusal::NoNode)));
    let list = Request::GetChildren(GetChildren { path: path("/x"), watch: true });
    assert_eq!(apply(&mut tree, list), Err(refused(Refusal::NoNode)));
    assert_eq!(tree.watch_count(), 0);
    apply(&mut tree, Request::Exists(Exists { path: path("/x"), watch: true })).unwrap();
    assert_eq!(tree.watch_count(), 1);
    tree.close_session(ONE, &mut Fired::new());
    assert_eq!(tree.watch_count(), 0);
}

#[test]
fn rearming_catches_up_with_what_was_missed() {
    let mut tree = tree();
    create(&mut tree, "/same", CreateMode::Persistent).unwrap();
    create(&mut tree, "/set", CreateMode::Persistent).unwrap();
    create(&mut tree, "/kids", CreateMode::Persistent).unwrap();
    let seen = tree.last_zxid();
    set(&mut tree, "/set", 0).unwrap();
    create(&mut tree, "/kids/new", CreateMode::Persistent).unwrap();
    create(&mut tree, "/born", CreateMode::Persistent).unwrap();
    let mut fired = Fired::new();
    for (kind, text) in [
        (WatchKind::Data, "/same"),
        (WatchKind::Data, "/set"),
        (WatchKind::Data, "/gone"),
        (WatchKind::Exists, "/born"),
        (WatchKind::Exists, "/unborn"),
        (WatchKind::Children, "/kids"),
        (WatchKind::Children, "/gone"),
        (WatchKind::Children, "/same"),
    ] {
        tree.rearm(ONE, kind, &path(text), seen, &mut fired);
    }
    let told: Vec<_> = fired.iter().map(|(_, event)| (event.kind, event.path.as_str())).collect();
    let expected = [
        (EventKind::DataChanged, "/set"),
        (EventKind::Deleted, "/gone"),
        (EventKind::Created, "/born"),
        (EventKind::ChildrenChanged, "/kids"),
        (EventKind::Deleted, "/gone"),
    ];
    assert_eq!(told, expected);
    assert_eq!(tree.watch_count(), 3, "the others are armed");
}

#[test]
fn a_container_goes_when_its_last_child_has_gone() {
    let mut tree = tree();
    create(&mut tree, "/unused", CreateMode::Container).unwrap();
    create(&mut tree, "/used", CreateMode::Container).unwrap();
    create(&mut tree, "/used/child", CreateMode::Ephemeral).unwrap();
    let reaped = |tree: &mut Tree| {
        tree.reap(0, &mut Fired::new());
        (tree.stat(&path("/unused")).is_none(), tree.stat(&path("/used")).is_none())
    };
    assert_eq!(reaped(&mut tree), (false, false));
    delete(&mut tree, "/used/child").unwrap();
    assert_eq!(reaped(&mut tree), (false, true), "one that was never used stays");
}

#[test]
fn what_is_over_goes_in_parts_as_at_once() {
    let used = || {
        let mut tree = tree();
        for name in ["/a", "/b", "/b/c", "/b/c/d", "/e"] {
            create(&mut tree, name, CreateMode::Container).unwrap();
            create(&mut tree, &format!("{name}/child"), CreateMode::Persistent).unwrap();
            delete(&mut tree, &format!("{name}/child")).unwrap();
        }
        tree
    };
    let mut whole = used();
    let mut expected = Fired::new();
    whole.reap(0, &mut expected);
    assert!(whole.stat(&path("/b/c")).is_some(), "one round takes the lowest level");
    for most in 1..8 {
        let (mut tree, mut fired) = (used(), Fired::new());
        let mut next = Some(NodePath::root());
        while let Some(from) = next {
            let before = tree.node_count();
            next = tree.reap_some(&from, most, 0, &mut fired);
            assert!(before - tree.node_count() <= most);
        }
        let look = |tree: &Tree| tree.paths().map(|path| (path.clone(), tree.stat(path))).collect::<Vec<_>>();
        assert_eq!((fired, tree.last_zxid()), (expected.clone(), whole.last_zxid()), "{most} at a time");
        assert_eq!(look(&tree), look(&whole), "{most} at a time");
    }
}

#[test]
fn permissions_of_anyone_are_enforced_and_other_identities_are_not_accepted() {
    let mut tree = tree();
    let with = |permissions, scheme: &str| {
        let acl = Acl { permissions, scheme: scheme.into(), id: "anyone".into() };
        let (data, mode) = ("".into(), CreateMode::Persistent);
        Request::Create(Create { path: path("/a"), data, acl: [acl].into(), mode })
    };
    let digest = with(Permissions::ALL, "digest");
    assert_eq!(apply(&mut tree, digest), Err(refused(Refusal::InvalidAcl)));
    apply(&mut tree, with(Permissions::READ, "world")).unwrap();
    assert!(apply(&mut tree, Request::GetData(GetData { path: path("/a"), watch: false })).is_ok());
    assert_eq!(set(&mut tree, "/a", 0), Err(refused(Refusal::NoAuth)));
    let child = create(&mut tree, "/a/b", CreateMode::Persistent);
    assert_eq!(child, Err(refused(Refusal::NoAuth)));
}

#[test]
fn a_closed_session_is_told_so() {
    let mut tree = tree();
    tree.close_session(ONE, &mut Fired::new());
    assert_eq!(create(&mut tree, "/a", CreateMode::Persistent), Err(Error::SessionExpired));
}
