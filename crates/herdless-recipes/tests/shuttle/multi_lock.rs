//! Models of several locks as one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use herdless_core::{Client as _, ClientExt, CreateMode, Error, NodePath, Request, Response, Session};
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{Lock, MultiLock, Token};

use crate::harness::{
    Client, Count, Tamper, Tampered, contenders, dice, disturb, impatient, linger, one_in, sound, unreliable,
};

/// How many contenders take one lock.
const PLAIN: usize = 2;

/// One execution's server, and who holds what. On a lock of std, so that a failed assertion is the last step.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    expires: bool,
    inside: Arc<Mutex<BTreeMap<NodePath, Holders>>>,
}

/// Of one lock.
#[derive(Default)]
struct Holders {
    inside: Vec<(Token, Session)>,
    last: Option<Token>,
}

/// A planted bug of one in two contenders, and the lock that such a one takes where it wants another.
#[derive(Clone, Copy)]
struct Bug {
    tamper: Tamper,
    instead: fn(&NodePath) -> NodePath,
}

const NONE: Bug = Bug { tamper: sound, instead: NodePath::clone };

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    taken: Count,
    all: Count,
    waited: Count,
    lost: Count,
}

fn parse(path: &str) -> NodePath {
    NodePath::parse(path).expect("a valid path")
}

impl World {
    fn new(expires: bool) -> Self {
        let server = ShuttleServer::with_locks();
        let setup = server.connect();
        for path in ["/a", "/b", "/c"] {
            block_on(setup.create(&parse(path), "", CreateMode::Container)).expect("an empty tree takes it");
        }
        Self { server, expires, inside: Arc::default() }
    }

    /// Is inside for a while with these locks. Whether they are valid at the end.
    fn visit(&self, locks: &[(NodePath, Token)], session: &Session) -> bool {
        linger(1);
        self.assert_held(locks, session);
        locks.iter().for_each(|(path, token)| self.begin(path, *token, session));
        linger(10);
        self.assert_held(locks, session);
        let mut inside = self.inside.lock().expect("no panic");
        for (path, token) in locks {
            inside.entry(path.clone()).or_default().inside.retain(|(other, _)| other != token);
        }
        session.is_valid()
    }

    /// Of two holders of a lock at most one is valid, and a valid one comes after all that were before.
    fn begin(&self, path: &NodePath, token: Token, session: &Session) {
        let mut inside = self.inside.lock().expect("no panic");
        let holders = inside.entry(path.clone()).or_default();
        for (other, of) in &holders.inside {
            // Validity only ever ends, so one that is valid after the other was, was so at the same time.
            let both = of.is_valid() && session.is_valid();
            assert!(!both, "{other} and {token} are both valid on {path}");
        }
        let is_in_order = holders.last < Some(token);
        assert!(is_in_order || !session.is_valid(), "{token} is valid on {path} after a later one");
        holders.last = holders.last.max(Some(token));
        holders.inside.push((token, session.clone()));
    }

    /// While they are valid, all of the locks are held on the server.
    fn assert_held(&self, locks: &[(NodePath, Token)], session: &Session) {
        let missing = self.server.inspect(|tree| {
            let is_there = |lock: &NodePath, token: Token| {
                let mut nodes = tree.paths().filter(|path| path.parent().as_ref() == Some(lock));
                nodes.any(|path| tree.stat(path).is_some_and(|stat| stat.czxid == token.0))
            };
            locks.iter().find(|(lock, token)| !is_there(lock, *token)).cloned()
        });
        assert!(missing.is_none() || !session.is_valid(), "{missing:?} is valid and not held");
    }

    /// Takes some of the locks once, or tries to; any of it may be given up at a random point.
    fn take_several(&self, client: &Client, bug: Bug, counts: &Counts) {
        linger(20);
        // Each of the ways to choose at least one of three.
        let choice = 1 + dice(7);
        let paths = ["/a", "/b", "/c"].into_iter().enumerate().filter(|(bit, _)| choice & (1 << bit) != 0);
        let paths: Vec<_> = paths.map(|(_, path)| (bug.instead)(&parse(path))).collect();
        let locks = MultiLock::new(Tampered::new(client.clone(), bug.tamper), paths.clone()).expect("there are paths");
        let outcome = match one_in(4) {
            true => impatient(3, locks.try_acquire()),
            false => impatient(3, locks.acquire()).map(|guard| guard.map(Some)),
        };
        let guard = match outcome {
            None => return counts.gave_up.add(true),
            Some(Ok(None)) => return counts.taken.add(true),
            // Of one who tries.
            Some(Err(Error::SessionExpired)) if self.expires => return,
            Some(guard) => guard.expect("an acquire outlives its session").expect("not none"),
        };
        let held: Vec<_> = guard.tokens().map(|(path, token)| ((bug.instead)(&path), token)).collect();
        assert_eq!(held.len(), paths.len(), "all or nothing");
        counts.all.add(held.len() == 3);
        counts.lost.add(!self.visit(&held, guard.session()));
        match one_in(2) {
            true => drop(guard),
            // What was lost has been lost.
            false => drop(block_on(guard.release())),
        }
    }

    /// Takes one of the locks twice, as one who knows nothing of the others; either may be given up at a random point.
    fn take_one(&self, client: &Client) {
        let path = parse(["/a", "/b", "/c"][dice(3)]);
        let lock = Lock::new(client.clone(), path.clone());
        for _ in 0..2 {
            linger(20);
            if let Some(guard) = impatient(3, lock.acquire()) {
                let guard = guard.expect("an acquire outlives its session");
                self.visit(&[(path.clone(), guard.token())], guard.session());
            }
        }
    }

    /// Nothing is left: no contender's node, no watch on the server.
    fn assert_clean(&self) {
        let (left, watches) = self.server.inspect(|tree| {
            let left = tree.paths().filter(|path| path.name().contains("lock-")).cloned();
            (left.collect::<Vec<_>>(), tree.watch_count())
        });
        assert!(left.is_empty(), "ghost nodes {left:?}");
        assert_eq!(watches, 0, "watches left");
    }
}

/// Contenders that take some of three locks, and two that take one, and give up any of it at random points, over replies
/// that are late and lost and connections that are cut; sessions end where `expires`. Of each lock one holder is valid, and
/// in order; who is valid has all that it asked for; nobody waits for ever, nothing is left.
fn contend(name: &'static str, several: usize, expires: bool, bug: Bug) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(expires);
        let clients: Arc<[_]> = (0..several + PLAIN).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        let waited = counts.waited.clone();
        contenders(&world, several + PLAIN + 1, move |world, number| {
            let Some(client) = clients.get(number) else {
                return disturb(&world.server, &clients, if several < 5 { 12 } else { 4 }, expires);
            };
            unreliable(&world.server, client);
            let bug = if number % 2 == 0 { bug } else { NONE };
            match number < several {
                true => (0..1 + 4 / several).for_each(|_| world.take_several(client, bug, &counts)),
                false => world.take_one(client),
            }
        });
        waited.add(world.server.wake_ups() as usize >= several);
        world.assert_clean();
    });
    counts.gave_up.assert_reached("an acquire is given up");
    counts.taken.assert_reached("one who tries finds one taken");
    counts.all.assert_reached("somebody has all three");
    counts.waited.assert_reached("as many wake-ups as there are who take several");
    if expires {
        counts.lost.assert_reached("the session ends while locks are held");
    }
}

#[test]
fn multi_lock_cancelled_of_eight() {
    contend("multi_lock_cancelled_of_eight", 6, false, NONE);
}

#[test]
fn multi_lock_expiring_of_eight() {
    contend("multi_lock_expiring_of_eight", 6, true, NONE);
}

#[test]
fn multi_lock_expiring_of_four() {
    contend("multi_lock_expiring_of_four", 2, true, NONE);
}

/// `/a` for `/c`, and `/c` for `/a`.
fn mirrored(path: &NodePath) -> NodePath {
    let text = path.as_str();
    match (text.strip_prefix("/a"), text.strip_prefix("/c")) {
        (Some(rest), _) => parse(&format!("/c{rest}")),
        (_, Some(rest)) => parse(&format!("/a{rest}")),
        _ => path.clone(),
    }
}

/// Takes the locks in the other order.
fn unsorted(client: &Client, mut request: Request) -> Response {
    request.map_paths(|path, _| mirrored(path));
    client.submit(request).map(|outcome| {
        let mut answer = outcome?;
        answer.reply.map_paths(mirrored);
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_multi_lock_unsorted() {
    contend("planted_multi_lock_unsorted", 6, false, Bug { tamper: unsorted, instead: mirrored });
}

/// Who gives up waiting leaves as if it were the holder.
fn hand_over_on_giving_up(client: &Client, mut request: Request) -> Response {
    if let Request::Release(release) = &mut request {
        release.hand_over = true;
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "valid on")]
fn planted_multi_lock_hand_over_on_giving_up() {
    let bug = Bug { tamper: hand_over_on_giving_up, ..NONE };
    contend("planted_multi_lock_hand_over_on_giving_up", 6, true, bug);
}
