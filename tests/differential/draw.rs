//! What is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use herdless::core::{
    Acl, AddWatch, AddWatchMode, Auth, CheckWatches, Create, Delete, Exists, GetAcl, GetAllChildrenNumber, GetChildren,
    GetData, GetEphemerals, Multi, MultiOp, MultiRead, NodeData, Permissions, ReadOp, RemoveWatches, Request, SetAcl,
    SetData, Sync, WatcherType, WhoAmI,
};
use herdless::{CreateMode, NodePath, Version};

use crate::support::Dice;

/// How many clients take part.
pub(crate) const CLIENTS: usize = 3;

/// What is done, in order, one after another.
#[derive(Debug)]
pub(crate) struct Script(pub(crate) Vec<Step>);

#[derive(Debug)]
pub(crate) struct Step {
    /// By whom.
    pub(crate) client: usize,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    Request(Request),
    /// The client closes its session and opens another.
    Renew,
    /// The client gives up the eldest of its watches that stay.
    DropStream,
}

impl Script {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let length = dice.within(15..50);
        // Something to begin with, so that not all that follows is refused.
        let begin = ["/a", "/b", "/a/x"].map(|path| {
            let create =
                Create { path: NodePath::parse(path).unwrap(), data: data(dice), acl: Acl::open(), mode: mode(dice) };
            Step { client: dice.within(0..CLIENTS), action: Action::Request(Request::Create(create)) }
        });
        let steps = (0..length).map(|_| {
            let client = dice.within(0..CLIENTS);
            let action = match dice.within(0..40) {
                0 => Action::Renew,
                1 => Action::DropStream,
                _ => Action::Request(request(client, dice)),
            };
            Step { client, action }
        });
        Self(begin.into_iter().chain(steps).collect())
    }

    /// Counts the requests by kind.
    pub(crate) fn count(&self, counts: &mut BTreeMap<String, u64>) {
        for step in &self.0 {
            let name = match &step.action {
                Action::Request(request) => request.name(),
                Action::Renew => "renew",
                Action::DropStream => "drop_stream",
            };
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
}

fn one_of<T: Clone>(dice: &mut Dice, choices: &[T]) -> T {
    choices[dice.within(0..choices.len())].clone()
}

fn request(client: usize, dice: &mut Dice) -> Request {
    // A node that no other client asks for.
    let own = NodePath::parse(&format!("/own{client}")).unwrap();
    let or_own = |dice: &mut Dice| if dice.within(0..4) == 0 { own.clone() } else { path(dice) };
    match dice.within(0..100) {
        0..22 => Request::Create(create(dice)),
        22..24 => Request::Create(Create { path: or_own(dice), ..create(dice) }),
        24..34 => Request::Delete(delete(dice)),
        34..43 => Request::SetData(set(dice)),
        43..48 => Request::Exists(Exists { path: or_own(dice), watch: coin(dice) }),
        48..54 => Request::GetData(GetData { path: path(dice), watch: coin(dice) }),
        54..60 => Request::GetChildren(GetChildren { path: or_own(dice), watch: coin(dice) }),
        60..63 => Request::GetEphemerals(GetEphemerals { prefix: path(dice) }),
        63..67 => Request::AddWatch(AddWatch {
            path: or_own(dice),
            mode: one_of(dice, &[AddWatchMode::Persistent, AddWatchMode::PersistentRecursive]),
        }),
        // Apache ZooKeeper 3.8 says that there is a watch where any client has one (`WatchManager.containsWatcher`).
        67..69 => Request::CheckWatches(CheckWatches { path: own, kind: watcher_type(dice) }),
        69..71 => Request::RemoveWatches(RemoveWatches { path: path(dice), kind: watcher_type(dice) }),
        71..73 => Request::GetAllChildrenNumber(GetAllChildrenNumber { path: path(dice) }),
        73..76 => Request::GetAcl(GetAcl { path: path(dice) }),
        76..80 => Request::SetAcl(SetAcl { path: path(dice), acl: acl(dice), version: version(dice) }),
        80..81 => Request::Sync(Sync { path: path(dice) }),
        81..92 => {
            let operations = (0..dice.within(0..5)).map(|_| multi_op(dice)).collect();
            Request::Multi(Multi { operations, session: None })
        }
        92..95 => {
            let read = |dice: &mut Dice| match coin(dice) {
                true => ReadOp::GetData(path(dice)),
                false => ReadOp::GetChildren(path(dice)),
            };
            Request::MultiRead(MultiRead { operations: (0..dice.within(0..4)).map(|_| read(dice)).collect() })
        }
        95..98 => Request::Auth(auth(dice)),
        _ => Request::WhoAmI(WhoAmI),
    }
}

fn coin(dice: &mut Dice) -> bool {
    dice.within(0..2) == 0
}

/// Few enough that requests meet.
fn path(dice: &mut Dice) -> NodePath {
    let paths = [
        "/",
        "/a",
        "/a",
        "/a",
        "/b",
        "/b",
        "/ab",
        "/a/x",
        "/a/x",
        "/a/y",
        "/b/x",
        "/a/x/deep",
        "/a/0000000000",
        "/a/x0000000000",
        "/a0000000001",
        "/missing/node",
    ];
    NodePath::parse(one_of(dice, &paths)).unwrap()
}

fn version(dice: &mut Dice) -> Version {
    one_of(dice, &[Version::ANY, Version::ANY, Version(0), Version(0), Version(1), Version(2), Version(-2)])
}

/// Not of children: Apache ZooKeeper 3.8 takes a recursive watch for one of those as well.
fn watcher_type(dice: &mut Dice) -> WatcherType {
    one_of(dice, &[WatcherType::Data, WatcherType::Any])
}

fn create(dice: &mut Dice) -> Create {
    Create { path: path(dice), data: data(dice), acl: acl(dice), mode: mode(dice) }
}

fn mode(dice: &mut Dice) -> CreateMode {
    let ttl = |millis| std::time::Duration::from_millis(millis);
    match dice.within(0..20) {
        0..10 => CreateMode::Persistent,
        10..12 => CreateMode::PersistentSequential,
        12..15 => CreateMode::Ephemeral,
        15 => CreateMode::EphemeralSequential,
        16 => CreateMode::Container,
        17 => CreateMode::PersistentWithTtl(ttl(3_600_000)),
        18 => CreateMode::PersistentSequentialWithTtl(ttl(3_600_000)),
        // Out of the bounds.
        _ => CreateMode::PersistentWithTtl(one_of(dice, &[ttl(0), ttl(0x100_0000_0000)])),
    }
}

fn data(dice: &mut Dice) -> NodeData {
    let length = one_of(dice, &[None, Some(0), Some(1), Some(100)]);
    length.map_or(NodeData::NULL, |length| vec![dice.within(0..256) as u8; length].into())
}

fn delete(dice: &mut Dice) -> Delete {
    Delete { path: path(dice), version: version(dice) }
}

fn set(dice: &mut Dice) -> SetData {
    SetData { path: path(dice), data: data(dice), version: version(dice) }
}

fn multi_op(dice: &mut Dice) -> MultiOp {
    match dice.within(0..8) {
        0..4 => MultiOp::Create(create(dice)),
        4 => MultiOp::Delete(delete(dice)),
        5..7 => MultiOp::SetData(set(dice)),
        _ => MultiOp::Check { path: path(dice), version: version(dice) },
    }
}

/// Two users, and those who are none.
fn auth(dice: &mut Dice) -> Auth {
    let credentials = one_of(dice, &["one:secret", "one:secret", "two:secret", "two", "", ":", "a:b:c"]);
    let scheme = one_of(dice, &["digest", "digest", "digest", "digest", "digest", "world", "ip", "none"]);
    Auth { scheme: scheme.into(), credentials: credentials.into() }
}

fn acl(dice: &mut Dice) -> Arc<[Acl]> {
    if dice.within(0..4) != 0 {
        return Acl::open();
    }
    (0..dice.within(0..4)).map(|_| entry(dice)).collect()
}

fn entry(dice: &mut Dice) -> Acl {
    let some = [Permissions::READ, Permissions::WRITE, Permissions::CREATE, Permissions::DELETE, Permissions::ADMIN];
    let permissions = match dice.within(0..3) {
        0 => Permissions::ALL,
        1 => one_of(dice, &some),
        _ => Permissions::from_bits(dice.within(0..64) as i32),
    };
    let named = |scheme: &str, id: &str| Acl { permissions, scheme: scheme.into(), id: id.into() };
    match dice.within(0..12) {
        0..3 => named("world", "anyone"),
        3 => Acl::digest(permissions, "one", "secret"),
        4 => Acl::digest(permissions, "two", "secret"),
        5..7 => Acl::creator(permissions),
        7 => named("ip", "127.0.0.1"),
        // Not IPv6, which Apache ZooKeeper 3.8 refuses in a list, and this server does not.
        8 => named("ip", one_of(dice, &["10.0.0.0/8", "127.0.0.0/8", "127.0.0.1/33", "127.0.0", "/8", ""])),
        9 => named("world", one_of(dice, &["", "everyone", "anyone "])),
        10 => named("digest", one_of(dice, &["", ":", "one", "one:", "a:b:c", ":hash"])),
        _ => named(one_of(dice, &["", "none", "WORLD", "auth", "super"]), one_of(dice, &["", "anyone", "one:secret"])),
    }
}
