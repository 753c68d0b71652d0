//! A tree that is made again of what another has told.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use herdless_core::{Acl, Create, CreateMode, GetChildren, NodePath, Reply, Request, SessionId, Zxid};
use herdless_memory::{Fired, RestoreError, Tree};

const SESSION: SessionId = SessionId(1);

/// In the order of the paths "/a", "/a-b" and what is below it come between "/a" and "/a/b".
const PATHS: [&str; 9] = ["/a", "/a/b", "/a/b/c", "/a-b", "/a-b/d", "/a/e", "/a0", "/b", "/a/b-c"];

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

fn tree() -> Tree {
    let mut tree = Tree::new(Zxid(1));
    tree.open_session(SESSION);
    for text in PATHS {
        let mode = if text == "/b" { CreateMode::Ephemeral } else { CreateMode::Persistent };
        let create = Create { path: path(text), data: text.into(), acl: Acl::open(), mode };
        tree.apply(SESSION, &Request::Create(create), 7, &mut Fired::new()).unwrap();
    }
    tree
}

fn children(tree: &mut Tree, of: &NodePath) -> Reply {
    let request = Request::GetChildren(GetChildren { path: of.clone(), watch: false });
    tree.apply(SESSION, &request, 7, &mut Fired::new()).unwrap()
}

#[test]
fn the_tree_is_the_same() {
    let mut tree = tree();
    tree.keep_journal(true);
    let all = tree.take_changes();
    let nodes = all.nodes.into_iter().map(|(path, node)| (path, node.unwrap()));
    let mut restored = Tree::restore(all.zxid, nodes, [SESSION]).unwrap();
    assert_eq!(restored.last_zxid(), tree.last_zxid());
    assert!(restored.ephemerals(SESSION).eq(tree.ephemerals(SESSION)));
    let paths: Vec<_> = tree.paths().cloned().collect();
    assert!(restored.paths().eq(&paths));
    assert_eq!(paths.len(), 1 + PATHS.len());
    for path in &paths {
        // The Stat too, and with it how many there are.
        assert_eq!(children(&mut restored, path), children(&mut tree, path), "{path}");
    }
}

#[test]
fn records_that_are_no_tree_are_refused() {
    let mut tree = tree();
    tree.keep_journal(true);
    let all = tree.take_changes();
    let restore = |without: &str, sessions: &[SessionId]| {
        let nodes = all.nodes.iter().filter(|(path, _)| path.as_str() != without);
        let nodes = nodes.map(|(path, node)| (path.clone(), node.clone().unwrap()));
        Tree::restore(all.zxid, nodes, sessions.iter().copied()).map(|_| ()).unwrap_err()
    };
    assert_eq!(restore("/a/b", &[SESSION]), RestoreError::NoParent(path("/a/b/c")));
    assert_eq!(restore("/a", &[SESSION]), RestoreError::NoParent(path("/a/b")));
    assert_eq!(restore("/a-b", &[SESSION]), RestoreError::NoParent(path("/a-b/d")));
    assert_eq!(restore("/", &[SESSION]), RestoreError::NoParent(path("/a")));
    assert_eq!(restore("/none", &[]), RestoreError::NoSession(path("/b")));
    let twice = all.nodes.iter().flat_map(|entry| [entry, entry]);
    let twice = twice.map(|(path, node)| (path.clone(), node.clone().unwrap()));
    assert_eq!(Tree::restore(all.zxid, twice, [SESSION]).unwrap_err(), RestoreError::OutOfOrder(path("/")));
    assert_eq!(Tree::restore(all.zxid, [], []).unwrap_err(), RestoreError::NoRoot);
}
