//! Models of several locks as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use herdless_core::{Client, ClientExt, CreateMode, NodePath, Reply, Request, Response, Session};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
use herdless_recipes::{Lock, MultiGuard, MultiLock, Token};

use crate::harness::{Count, Tampered, poll_times, sound, together};
use crate::models::flaw::Flaw;
use crate::world::Flawed;

type Wrapped = Arc<dyn Client>;
type Wrap = fn(MemoryClient<LoomLocks>) -> Wrapped;

fn no_bug(client: MemoryClient<LoomLocks>) -> Wrapped {
    Arc::new(Tampered::new(client, sound))
}

type Holders = BTreeMap<NodePath, Vec<(Token, Session)>>;

/// One execution's server, and who holds which lock.
#[derive(Clone)]
struct World {
    server: LoomServer,
    wrap: Wrap,
    /// Must be loom's: an acquire and a visit would be one step otherwise.
    holders: Arc<loom::sync::Mutex<Holders>>,
}

impl World {
    fn new(wrap: Wrap) -> Self {
        let world = Self { server: LoomServer::with_locks(), wrap, holders: Arc::default() };
        // Made beforehand, so that the models are about locks and not about parents.
        let setup = world.server.connect();
        for path in ["/a", "/b"] {
            block_on(setup.create(&parse(path), "", CreateMode::Container)).expect("an empty tree takes it");
        }
        world
    }

    fn both(&self, client: &MemoryClient<LoomLocks>, paths: [&str; 2]) -> MultiLock<Wrapped> {
        MultiLock::new((self.wrap)(client.clone()), paths.map(parse)).expect("there are paths")
    }

    /// Of two valid holders of one lock there is never more than one.
    fn begin(&self, path: &NodePath, token: Token, session: &Session) {
        let mut holders = self.holders.lock().expect("no panic");
        let holders = holders.entry(path.clone()).or_default();
        let both = holders.iter().any(|(_, other)| other.is_valid() && session.is_valid());
        assert!(!both, "two hold {path}");
        holders.push((token, session.clone()));
    }

    fn end(&self, path: &NodePath, token: Token) {
        let mut holders = self.holders.lock().expect("no panic");
        holders.entry(path.clone()).or_default().retain(|(other, _)| *other != token);
    }

    fn visit(&self, guard: &MultiGuard<Wrapped>) {
        assert_eq!(guard.tokens().count(), 2, "all or nothing");
        guard.tokens().for_each(|(path, token)| self.begin(&path, token, guard.session()));
        guard.tokens().for_each(|(path, token)| self.end(&path, token));
    }

    /// Nothing is left: no contender's node, no watch.
    fn assert_clean(&self) {
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().contains("lock-")).collect();
            assert!(left.is_empty(), "ghost nodes {left:?}");
            assert_eq!(tree.watch_count(), 0, "watches left");
        });
    }
}

fn parse(path: &str) -> NodePath {
    NodePath::parse(path).expect("a valid path")
}

/// Takes both locks, visits, and lets go.
fn take_both(world: &World, paths: [&str; 2]) {
    let guard = block_on(world.both(&world.server.connect(), paths).acquire()).expect("the session lives");
    world.visit(&guard);
}

/// Takes one lock, visits, and lets go.
fn take_one(world: &World, path: &str) -> impl FnOnce() + Send + 'static {
    let (world, path) = (world.clone(), parse(path));
    move || {
        let guard = block_on(Lock::new(world.server.connect(), path.clone()).acquire()).expect("the session lives");
        world.begin(&path, guard.token(), guard.session());
        world.end(&path, guard.token());
    }
}

/// Two that name the same locks in two orders, and a plain lock on the second: no deadlock, one holder of each, nothing
/// left.
fn two_orders(name: &'static str, bound: Option<usize>, with_plain: bool, wrap: Wrap) {
    let waited = Count::default();
    let waited_in = waited.clone();
    Model::new(name).preemption_bound(bound).check(move || {
        let (world, other) = (World::new(no_bug), World::new(wrap));
        // The second one's client may have the bug.
        let other = World { wrap: other.wrap, ..world.clone() };
        let second = move || take_both(&other, ["/b", "/a"]);
        match with_plain {
            true => together!(second, take_one(&world, "/b"); take_both(&world, ["/a", "/b"])),
            false => together!(second; take_both(&world, ["/a", "/b"])),
        }
        waited_in.add(world.server.wake_ups() > 0);
        world.assert_clean();
    });
    waited.assert_reached("somebody waits");
}

#[test]
fn multi_lock_two_orders() {
    two_orders("multi_lock_two_orders", None, false, no_bug);
}

#[test]
fn multi_lock_two_orders_and_a_plain_lock() {
    two_orders("multi_lock_two_orders_and_a_plain_lock", Some(3), true, no_bug);
}

/// Whose `/a` is the others' `/b`: takes the same locks in the other order.
fn unsorted(client: &MemoryClient<LoomLocks>, mut request: Request) -> Response {
    fn other(path: &NodePath) -> NodePath {
        let text = path.as_str();
        match (text.strip_prefix("/a"), text.strip_prefix("/b")) {
            (Some(rest), _) => parse(&format!("/b{rest}")),
            (_, Some(rest)) => parse(&format!("/a{rest}")),
            _ => path.clone(),
        }
    }
    request.map_paths(|path, _| other(path));
    client.submit(request).map(|outcome| {
        let mut answer = outcome?;
        answer.reply.map_paths(other);
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_multi_lock_unsorted() {
    two_orders("planted_multi_lock_unsorted", None, false, |client| Arc::new(Tampered::new(client, unsorted)));
}

/// A session ends at any point while both are taken, or held: no two valid holders, both or none, nothing left.
fn session_expires(name: &'static str, wrap: Wrap) {
    let (lost_while_held, again) = (Count::default(), Count::default());
    let (lost_in, again_in) = (lost_while_held.clone(), again.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(wrap);
        let victim = world.server.connect();
        let (server, to_expire) = (world.server.clone(), victim.clone());
        let first = victim.session().id();
        together!(take_one(&world, "/b"), move || server.expire(&to_expire); {
            let guard = block_on(world.both(&victim, ["/a", "/b"]).acquire()).expect("it outlives its session");
            world.visit(&guard);
            lost_in.add(!guard.is_valid());
            // Whatever happened before, both are of the session that the guard speaks of.
            if guard.is_valid() {
                let owned = world.server.inspect(|tree| {
                    let owner = |path: &&NodePath| tree.stat(path).is_some_and(|stat| stat.ephemeral_owner != 0);
                    tree.paths().filter(owner).filter(|path| path.as_str().starts_with("/a/")).count()
                });
                assert!(owned == 1 || !guard.is_valid(), "one of the locks is not held");
            }
        });
        again_in.add(first != victim.session().id());
        world.assert_clean();
    });
    lost_while_held.assert_reached("the session ends while both are held");
    again.assert_reached("the session ends");
}

#[test]
fn multi_lock_session_expires_at_any_point() {
    session_expires("multi_lock_session_expires_at_any_point", no_bug);
}

#[test]
#[should_panic(expected = "one of the locks is not held")]
fn planted_multi_lock_ignores_expiry() {
    session_expires("planted_multi_lock_ignores_expiry", |client| Arc::new(Flawed::new(client, Flaw::IgnoreExpiry)));
}

/// An acquire, or a try, is dropped at its k-th poll, each answer there one poll late: it leaves no node, and nobody
/// waiting.
fn dropped_at_every_poll(name: &'static str, lost: Option<u64>, tries: bool, wrap: Wrap) {
    let (dropped, held) = (Count::default(), Count::default());
    for polls in 0..=10 {
        let name = format!("{name}/{polls}");
        let (dropped_in, held_in) = (dropped.clone(), held.clone());
        Model::new(name).preemption_bound(2).check(move || {
            let world = World::new(wrap);
            let victim = world.server.connect();
            world.server.delay_replies(&victim);
            if let Some(replies) = lost {
                world.server.lose_reply_after(&victim, replies);
            }
            together!(take_one(&world, "/a"), take_one(&world, "/b"); {
                let locks = world.both(&victim, ["/a", "/b"]);
                let guard = match tries {
                    true => poll_times(polls, locks.try_acquire()).map(|outcome| outcome.expect("the session lives")),
                    false => poll_times(polls, locks.acquire()).map(|outcome| outcome.ok()),
                };
                dropped_in.add(guard.is_none() && polls > 2);
                if let Some(guard) = guard.flatten() {
                    held_in.add(true);
                    world.visit(&guard);
                }
            });
            world.assert_clean();
        });
    }
    dropped.assert_reached("dropped on its way");
    held.assert_reached("granted before it was dropped");
}

#[test]
fn multi_lock_cancelled_at_every_poll() {
    dropped_at_every_poll("multi_lock_cancelled_at_every_poll", None, false, no_bug);
}

#[test]
fn multi_lock_try_cancelled_at_every_poll() {
    dropped_at_every_poll("multi_lock_try_cancelled_at_every_poll", None, true, no_bug);
}

#[test]
fn multi_lock_try_cancelled_with_the_reply_lost() {
    dropped_at_every_poll("multi_lock_try_cancelled_with_the_reply_lost", Some(2), true, no_bug);
}

/// Does not look for what it may have made.
fn find_nothing(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    match request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        request => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_multi_lock_cancelled_try_leaves_its_nodes() {
    dropped_at_every_poll("planted_multi_lock_cancelled_try_leaves_its_nodes", None, true, |client| {
        Arc::new(Tampered::new(client, find_nothing))
    });
}

/// The k-th answer to one that takes both is lost, its request carried out; the connection is made again at once.
fn reply_lost(name: &'static str, tries: bool, wrap: Wrap) {
    let held = Count::default();
    for replies in 0..=7 {
        let held_in = held.clone();
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let world = World::new(wrap);
            let client = world.server.connect();
            world.server.lose_reply_after(&client, replies);
            together!(take_one(&world, "/b"); {
                let locks = world.both(&client, ["/a", "/b"]);
                let guard = match tries {
                    true => block_on(locks.try_acquire()).expect("the session lives"),
                    false => Some(block_on(locks.acquire()).expect("the session lives")),
                };
                held_in.add(guard.is_some());
                guard.iter().for_each(|guard| world.visit(guard));
            });
            world.assert_clean();
        });
    }
    held.assert_reached("both are held");
}

#[test]
fn multi_lock_reply_lost_at_any_point() {
    reply_lost("multi_lock_reply_lost_at_any_point", false, no_bug);
}

#[test]
fn multi_lock_try_reply_lost_at_any_point() {
    reply_lost("multi_lock_try_reply_lost_at_any_point", true, no_bug);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_multi_lock_does_not_look_for_its_nodes() {
    reply_lost("planted_multi_lock_does_not_look_for_its_nodes", true, |client| {
        Arc::new(Tampered::new(client, find_nothing))
    });
}

/// The connection is cut and made again by another thread at any two points.
#[test]
fn multi_lock_connection_lost_at_any_point() {
    let missed = Count::default();
    let missed_in = missed.clone();
    Model::new("multi_lock_connection_lost_at_any_point").preemption_bound(3).check(move || {
        let world = World::new(no_bug);
        let victim = world.server.connect();
        let (server, client, missed) = (world.server.clone(), victim.clone(), missed_in.clone());
        let cut = move || {
            server.disconnect(&client);
            let before = server.wake_ups();
            server.reconnect(&client);
            missed.add(server.wake_ups() > before);
        };
        together!(take_one(&world, "/b"), cut; {
            let guard = block_on(world.both(&victim, ["/a", "/b"]).acquire()).expect("the session lives");
            world.visit(&guard);
        });
        world.assert_clean();
    });
    missed.assert_reached("a hand-over happens while the connection is down");
}

/// `try_acquire` takes both or none, never waits, and leaves nothing when it fails.
#[test]
fn multi_lock_try_acquire_against_a_plain_lock() {
    let (taken, free) = (Count::default(), Count::default());
    let (taken_in, free_in) = (taken.clone(), free.clone());
    Model::new("multi_lock_try_acquire_against_a_plain_lock").check(move || {
        let world = World::new(no_bug);
        let client = world.server.connect();
        together!(take_one(&world, "/b"); {
            let guard = block_on(world.both(&client, ["/a", "/b"]).try_acquire()).expect("the session lives");
            taken_in.add(guard.is_none());
            free_in.add(guard.is_some());
            guard.iter().for_each(|guard| world.visit(guard));
        });
        world.assert_clean();
    });
    taken.assert_reached("one is taken");
    free.assert_reached("both are free");
}
