//! What a tree tells of its changes is all there is to make it again.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use herdless_core::{
    Acl, Create, CreateMode, Delete, Multi, MultiOp, NodePath, Permissions, Release, Request, SessionId, SetAcl,
    SetData, Version, Zxid,
};
use herdless_memory::{Fired, NodeRecord, RestoreError, Tree};

/// What somebody keeps who is told of the changes.
#[derive(Default)]
struct Kept {
    zxid: i64,
    nodes: BTreeMap<NodePath, NodeRecord>,
    sessions: BTreeSet<SessionId>,
}

impl Kept {
    fn keep(&mut self, tree: &mut Tree) {
        let changes = tree.take_changes();
        self.zxid = changes.zxid.0;
        for (path, node) in changes.nodes {
            match node {
                Some(node) => drop(self.nodes.insert(path, node)),
                None => drop(self.nodes.remove(&path)),
            }
        }
        for (id, is_open) in changes.sessions {
            if is_open {
                self.sessions.insert(id)
            } else {
                self.sessions.remove(&id)
            };
        }
    }

    fn restore(&self) -> Tree {
        Tree::restore(Zxid(self.zxid), self.nodes.clone(), self.sessions.iter().copied()).unwrap()
    }
}

/// All there is to see.
fn look(tree: &mut Tree, sessions: &BTreeSet<SessionId>) -> String {
    let nodes: Vec<_> = tree.paths().map(|path| (path.clone(), tree.stat(path).unwrap())).collect();
    let ephemerals: Vec<_> =
        sessions.iter().map(|id| (id, tree.ephemerals(*id).cloned().collect::<Vec<_>>())).collect();
    let seen = format!("{:?} {nodes:?} {ephemerals:?}", tree.last_zxid());
    // The rest of a record is not in the Stat.
    tree.keep_journal(true);
    let records = tree.take_changes();
    format!("{seen} {records:?}")
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn path(dice: &mut Dice) -> NodePath {
    // Names that sort around the slash, below each other.
    let names = ["a", "a-", "a0", "b"];
    let mut text = String::new();
    for _ in 0..=dice.below(3) {
        text = format!("{text}/{}", names[dice.below(4) as usize]);
    }
    NodePath::parse(&text).unwrap()
}

fn create(dice: &mut Dice) -> Create {
    let mode = match dice.below(8) {
        0 => CreateMode::Ephemeral,
        1 => CreateMode::EphemeralSequential,
        2 => CreateMode::PersistentSequential,
        3 => CreateMode::Container,
        4 => CreateMode::PersistentWithTtl(Duration::from_millis(1 + dice.below(50))),
        _ => CreateMode::Persistent,
    };
    Create { path: path(dice), data: format!("{}", dice.below(100)).into(), acl: Acl::open(), mode }
}

fn operation(dice: &mut Dice) -> MultiOp {
    let version = if dice.below(8) == 0 { Version(1) } else { Version::ANY };
    match dice.below(3) {
        0 => MultiOp::Create(create(dice)),
        1 => MultiOp::Delete(Delete { path: path(dice), version }),
        _ => MultiOp::SetData(SetData { path: path(dice), data: "set".into(), version }),
    }
}

fn request(tree: &Tree, dice: &mut Dice) -> Request {
    match dice.below(10) {
        0..4 => Request::Create(create(dice)),
        4 => Request::Delete(Delete { path: path(dice), version: Version::ANY }),
        5 => Request::SetData(SetData { path: path(dice), data: "set".into(), version: Version::ANY }),
        6 => {
            let acl = vec![Acl { permissions: Permissions::ALL, scheme: "ip".into(), id: "127.0.0.1".into() }];
            let acl = if dice.below(2) == 0 { acl.into() } else { Acl::open() };
            Request::SetAcl(SetAcl { path: path(dice), acl, version: Version::ANY })
        }
        7 => {
            let path = path(dice);
            let czxid = tree.stat(&path).map_or(Zxid(0), |stat| stat.czxid);
            Request::Release(Release {
                path,
                czxid,
                session: SessionId(1),
                hand_over: dice.below(2) == 0,
                may_be_gone: false,
            })
        }
        // Some of them fail half way.
        _ => Request::Multi(Multi { session: None, operations: (0..5).map(|_| operation(dice)).collect() }),
    }
}

#[test]
fn a_tree_made_of_its_changes_is_the_same_tree() {
    for seed in 1..=200 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut tree = Tree::new(Zxid(1));
        tree.allow_ttl(true);
        tree.keep_journal(true);
        let mut kept = Kept::default();
        for step in 0..150 {
            let (session, fired) = (SessionId(1 + dice.below(3) as i64), &mut Fired::new());
            match dice.below(20) {
                0 if !tree.has_session(session) => tree.open_session(session),
                1 => tree.close_session(session, fired),
                2 => tree.reap(step * 10, fired),
                _ => {
                    let request = request(&tree, &mut dice);
                    let _ = tree.apply(session, &request, step * 10, fired);
                    if !tree.has_session(session) {
                        tree.open_session(session);
                    }
                }
            }
            if dice.below(4) == 0 {
                kept.keep(&mut tree);
            }
        }
        kept.keep(&mut tree);
        let mut again = kept.restore();
        assert_eq!(look(&mut again, &kept.sessions), look(&mut tree, &kept.sessions), "seed {seed}");
    }
}

#[test]
fn what_is_no_tree_is_refused() {
    let mut tree = Tree::new(Zxid(1));
    tree.open_session(SessionId(1));
    tree.keep_journal(true);
    for (path, mode) in
        [("/a", CreateMode::Persistent), ("/a/b", CreateMode::Persistent), ("/c", CreateMode::Ephemeral)]
    {
        let create = Create { path: NodePath::parse(path).unwrap(), data: "".into(), acl: Acl::open(), mode };
        tree.apply(SessionId(1), &Request::Create(create), 0, &mut Fired::new()).unwrap();
    }
    let nodes: Vec<_> = tree.take_changes().nodes.into_iter().map(|(path, node)| (path, node.unwrap())).collect();
    let restore = |nodes: &[(NodePath, NodeRecord)], sessions: &[i64]| {
        let restored = Tree::restore(Zxid(9), nodes.to_vec(), sessions.iter().map(|id| SessionId(*id)));
        restored.map(|tree| tree.paths().count())
    };
    let [root, a, b, c] = &nodes[..] else { panic!("{nodes:?}") };
    assert_eq!(restore(&nodes, &[1]), Ok(4));
    assert_eq!(restore(&nodes, &[2]), Err(RestoreError::NoSession(c.0.clone())));
    assert_eq!(restore(&[], &[]), Err(RestoreError::NoRoot));
    assert_eq!(restore(std::slice::from_ref(a), &[]), Err(RestoreError::NoParent(a.0.clone())));
    assert_eq!(restore(&[root.clone(), b.clone()], &[]), Err(RestoreError::NoParent(b.0.clone())));
    assert_eq!(restore(&[root.clone(), b.clone(), a.clone()], &[]), Err(RestoreError::NoParent(b.0.clone())));
    assert_eq!(restore(&[root.clone(), a.clone(), a.clone()], &[]), Err(RestoreError::OutOfOrder(a.0.clone())));
}
