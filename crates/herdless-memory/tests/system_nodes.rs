//! The nodes that a server has of itself, and what comes from a wire that need not make sense. `tests/raw.rs` of the workspace
//! asks Apache ZooKeeper the same.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use herdless_core::{
    Acl, Create, CreateMode, Delete, Error, Exists, GetAllChildrenNumber, GetData, Multi, MultiOp, NodePath, Refusal,
    Reply, Request, SessionId, SetData, Version, Zxid,
};
use herdless_memory::{Fired, Tree};

const ONE: SessionId = SessionId(1);

fn path(text: &str) -> NodePath {
    NodePath::unchecked(text)
}

fn tree() -> Tree {
    let mut tree = Tree::new(Zxid(1));
    tree.add_system_nodes();
    tree.open_session(ONE);
    tree
}

fn apply(tree: &mut Tree, request: Request) -> Result<Reply, Error> {
    tree.apply(ONE, &request, 7, &mut Fired::new())
}

fn create(tree: &mut Tree, text: &str, data: &'static str) -> Result<Reply, Error> {
    let mode = CreateMode::Persistent;
    apply(tree, Request::Create(Create { path: path(text), data: data.into(), acl: Acl::open(), mode }))
}

fn delete(tree: &mut Tree, text: &str) -> Result<Reply, Error> {
    apply(tree, Request::Delete(Delete { path: path(text), version: Version::ANY }))
}

fn set(tree: &mut Tree, text: &str, data: &'static str) -> Result<Reply, Error> {
    apply(tree, Request::SetData(SetData { path: path(text), data: data.into(), version: Version::ANY }))
}

fn data(tree: &mut Tree, text: &str) -> String {
    match apply(tree, Request::GetData(GetData { path: path(text), watch: false })).unwrap() {
        Reply::Data(data, _) => String::from_utf8(data.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

const QUOTA: &str = "/zookeeper/quota/q";
const LIMITS: &str = "/zookeeper/quota/q/zookeeper_limits";
const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";

/// With a quota on `/q`, which has five bytes and a child with three.
fn with_quota(limits: &'static str) -> Tree {
    let mut tree = tree();
    let nodes =
        [("/q", "12345"), ("/q/a", "123"), ("/qq", "1"), (QUOTA, ""), (LIMITS, limits), (STATS, "count=9,bytes=9")];
    for (node, data) in nodes {
        create(&mut tree, node, data).unwrap();
    }
    tree
}

#[test]
fn nobody_deletes_them_and_a_tree_without_them_does_not_know_them() {
    let mut with = tree();
    for node in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert_eq!(delete(&mut with, node), Err(Refusal::BadArguments.into()), "{node}");
    }
    assert_eq!(set(&mut with, "/zookeeper/config", ""), Err(Refusal::NoAuth.into()));
    assert_eq!(with.stat(&path("/zookeeper")).unwrap().cversion, -2);
    let mut without = Tree::new(Zxid(1));
    without.open_session(ONE);
    assert_eq!(without.paths().count(), 1);
    create(&mut without, "/zookeeper", "").unwrap();
    delete(&mut without, "/zookeeper").unwrap();
}

#[test]
fn a_quota_counts_from_what_there_is() {
    let mut tree = with_quota("count=1,bytes=1");
    assert_eq!(data(&mut tree, STATS), "count=2,bytes=8");
    create(&mut tree, "/q/b", "1234567").unwrap();
    create(&mut tree, "/qq/b", "1234567").unwrap();
    assert_eq!(data(&mut tree, STATS), "count=3,bytes=15");
    set(&mut tree, "/q", "").unwrap();
    delete(&mut tree, "/q/a").unwrap();
    assert_eq!(data(&mut tree, STATS), "count=2,bytes=7");
    let ephemeral = Create { path: path("/q/e"), data: "1".into(), acl: Acl::open(), mode: CreateMode::Ephemeral };
    apply(&mut tree, Request::Create(ephemeral)).unwrap();
    assert_eq!(data(&mut tree, STATS), "count=3,bytes=8");
    tree.close_session(ONE, &mut Fired::new());
    tree.open_session(ONE);
    assert_eq!(data(&mut tree, STATS), "count=2,bytes=7");
    // Not a change that anybody made.
    assert_eq!(tree.stat(&path(STATS)).unwrap().version, 0);
}

#[test]
fn a_multi_that_fails_leaves_the_figures_as_they_were() {
    let mut tree = with_quota("count=1,bytes=1");
    let operations = vec![
        MultiOp::create(&path("/q/b"), "1", CreateMode::Persistent),
        MultiOp::set(&path("/q"), "", Version::ANY),
        MultiOp::delete(&path("/q/a"), Version::ANY),
        MultiOp::delete(&path("/nowhere"), Version::ANY),
    ];
    let outcome = apply(&mut tree, Request::Multi(Multi { operations, session: None }));
    assert_eq!(outcome, Err(Error::MultiRefused { index: 3, refusal: Refusal::NoNode }));
    assert_eq!(data(&mut tree, STATS), "count=2,bytes=8");
}

#[test]
fn only_hard_limits_refuse_and_only_where_they_are_enforced() {
    for (limits, nodes, bytes) in [
        ("count=1,bytes=1", true, true),
        ("count=1,bytes=1=;byteHardLimit=10;countHardLimit=-1", true, false),
        ("count=1,bytes=1=;byteHardLimit=-1;countHardLimit=2", false, true),
        ("count=1,bytes=1=;byteHardLimit=8;countHardLimit=3", true, true),
        ("not a number", true, true),
    ] {
        let is_allowed = |outcome: Result<Reply, Error>| match outcome {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, Refusal::QuotaExceeded.into());
                false
            }
        };
        let mut tree = with_quota(limits);
        tree.enforce_quotas(true);
        assert_eq!(is_allowed(create(&mut tree, "/q/b", "")), nodes, "{limits}");
        let longer = set(&mut tree, "/q", "12345678");
        assert_eq!(
            is_allowed(longer),
            bytes && limits != "count=1,bytes=1=;byteHardLimit=8;countHardLimit=3",
            "{limits}"
        );
        // Less is never too much.
        set(&mut tree, "/q", "1").unwrap();
        let mut tree = with_quota(limits);
        create(&mut tree, "/q/b", "").unwrap();
        set(&mut tree, "/q", "12345678").unwrap();
    }
}

#[test]
fn what_is_no_path_is_refused_where_it_is_judged() {
    let mut tree = tree();
    for (text, read, created, deleted) in [
        ("", None, Refusal::BadArguments, Refusal::BadArguments),
        ("a", Some(Refusal::NoNode), Refusal::BadArguments, Refusal::BadArguments),
        ("//", Some(Refusal::NoNode), Refusal::BadArguments, Refusal::NoNode),
        ("/none//a", Some(Refusal::NoNode), Refusal::NoNode, Refusal::NoNode),
        ("/a\0", Some(Refusal::NoNode), Refusal::BadArguments, Refusal::BadArguments),
        ("/\u{1}", Some(Refusal::NoNode), Refusal::BadArguments, Refusal::NoNode),
    ] {
        let get = apply(&mut tree, Request::GetData(GetData { path: path(text), watch: true }));
        // The root has an empty path too.
        assert_eq!(get.err(), read.map(Error::Refused), "{text:?}");
        assert_eq!(create(&mut tree, text, ""), Err(created.into()), "{text:?}");
        assert_eq!(delete(&mut tree, text), Err(deleted.into()), "{text:?}");
        assert_eq!(set(&mut tree, text, ""), Err(Refusal::BadArguments.into()), "{text:?}");
    }
    let nul = Request::Exists(Exists { path: path("\0"), watch: true });
    assert_eq!(apply(&mut tree, nul), Err(Refusal::BadArguments.into()));
    let count = |text: &str| Request::GetAllChildrenNumber(GetAllChildrenNumber { path: path(text) });
    assert_eq!(apply(&mut tree, count("/")), Ok(Reply::AllChildrenNumber(3)));
    assert_eq!(apply(&mut tree, count("")), Ok(Reply::AllChildrenNumber(4)));
}
