//! A tree that is taken apart and put together again.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::time::Duration;

use herdless_core::{
    Acl, Create, CreateMode, Delete, NodePath, Permissions, Reply, Request, SessionId, SetAcl, SetData, Version, Zxid,
};
use herdless_memory::{Fired, Tree};

const ONE: SessionId = SessionId(1);
const TWO: SessionId = SessionId(2);

fn path(text: &str) -> NodePath {
    NodePath::parse_sequential(text).unwrap()
}

fn create(text: &str, mode: CreateMode) -> Request {
    Request::Create(Create { path: path(text), data: text.to_owned().into(), acl: Acl::open(), mode })
}

/// One of every kind, each changed in every way that a node can be.
fn tree() -> Tree {
    let mut tree = Tree::new(Zxid(1));
    tree.allow_ttl(true);
    tree.open_session(ONE);
    tree.open_session(TWO);
    let list =
        Acl { permissions: Permissions::READ | Permissions::DELETE, scheme: "world".into(), id: "anyone".into() };
    let requests = [
        create("/kept", CreateMode::Persistent),
        create("/kept/n-", CreateMode::PersistentSequential),
        create("/kept/n-", CreateMode::EphemeralSequential),
        Request::Delete(Delete { path: path("/kept/n-0000000000"), version: Version::ANY }),
        create("/container", CreateMode::Container),
        create("/container/child", CreateMode::Persistent),
        create("/idle", CreateMode::PersistentWithTtl(Duration::from_millis(5))),
        Request::SetData(SetData { path: path("/kept"), data: "set".into(), version: Version::ANY }),
        Request::SetAcl(SetAcl { path: path("/container"), acl: vec![list].into(), version: Version::ANY }),
    ];
    for (now_ms, request) in (10..).zip(&requests) {
        tree.apply(ONE, request, now_ms, &mut Fired::new()).unwrap();
    }
    tree.apply(TWO, &create("/two", CreateMode::Ephemeral), 99, &mut Fired::new()).unwrap();
    tree
}

fn restored(tree: &Tree) -> Tree {
    let records = tree.paths().map(|path| (path.clone(), tree.record(path).unwrap()));
    Tree::restore(tree.last_zxid(), records, tree.sessions()).unwrap()
}

#[test]
fn a_restored_tree_is_the_same_and_goes_on_the_same() {
    let mut old = tree();
    let mut new = restored(&old);
    new.allow_ttl(true);
    assert_eq!(old.paths().count(), 7);
    let next = [
        create("/kept/n-", CreateMode::PersistentSequential),
        Request::Delete(Delete { path: path("/container/child"), version: Version::ANY }),
    ];
    for round in 0..3 {
        assert_eq!(new.last_zxid(), old.last_zxid());
        assert!(old.sessions().eq(new.sessions()));
        for path in old.paths() {
            assert_eq!(new.stat(path), old.stat(path), "{path}");
            assert_eq!(new.record(path), old.record(path), "{path}");
        }
        assert!(old.paths().eq(new.paths()));
        for session in [ONE, TWO] {
            assert!(old.ephemerals(session).eq(new.ephemerals(session)));
        }
        let (mut of_old, mut of_new) = (Fired::new(), Fired::new());
        if let Some(request) = next.get(round) {
            let reply = old.apply(ONE, request, 100, &mut of_old);
            assert_eq!(new.apply(ONE, request, 100, &mut of_new), reply);
            if let Ok(Reply::Created(created)) = reply {
                assert_eq!(created.path, path("/kept/n-0000000002"), "deletions do not count");
            }
        } else {
            // What is to go by itself goes from both.
            for tree in [&mut old, &mut new] {
                tree.reap(200, &mut Fired::new());
                tree.close_session(TWO, &mut Fired::new());
                assert!(["/container", "/idle", "/two"].iter().all(|gone| tree.stat(&path(gone)).is_none()));
            }
            assert!(old.paths().eq(new.paths()));
        }
    }
}

#[test]
fn numbers_that_are_past_are_not_given_again() {
    let mut tree = Tree::new(Zxid(1));
    tree.skip_to(Zxid(7));
    tree.open_session(ONE);
    assert_eq!(tree.last_zxid(), Zxid(8));
    tree.skip_to(Zxid(7));
    assert_eq!(tree.last_zxid(), Zxid(8));
}
