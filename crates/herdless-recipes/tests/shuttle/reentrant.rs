//! Models of the reentrant lock.

use std::sync::{Arc, Mutex};

use herdless_core::{Client as _, ClientExt, CreateMode, Error, NodePath, Request, Response, Session};
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{Lock, Owner, ReentrantGuard, ReentrantLock, Token};

use crate::harness::{
    Client, Count, Tamper, Tampered, contenders, disturb, impatient, linger, one_in, sound, unreliable,
};

const OWNERS: usize = 3;
const TASKS: usize = 2 * OWNERS;

type Guard = ReentrantGuard<Tampered>;

/// One execution's server, and who is inside. On a lock of std, so that a failed assertion is the last step.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    inside: Arc<Mutex<Vec<Inside>>>,
}

struct Inside {
    owner: usize,
    task: usize,
    token: Token,
    session: Session,
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    together: Count,
    lost: Count,
}

fn path() -> NodePath {
    NodePath::parse("/lock").expect("a valid path")
}

impl World {
    fn new() -> Self {
        let server = ShuttleServer::with_locks();
        block_on(server.connect().create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        Self { server, inside: Arc::default() }
    }

    /// Of two owners, at most one is inside with a valid guard; those of one owner that are valid have the same.
    fn enter(&self, owner: usize, task: usize, guard: &Guard, counts: &Counts) {
        let token = guard.token();
        let mut inside = self.inside.lock().expect("no panic");
        for other in &*inside {
            // Validity only ever ends, so one that is valid after the other was, was so at the same time.
            let both = other.session.is_valid() && guard.is_valid();
            assert!(!both || other.owner == owner, "{} and {token} of two owners are both valid", other.token);
            assert!(!both || other.token == token, "{} and {token} of one owner are both valid", other.token);
            counts.together.add(both && other.task != task);
        }
        inside.push(Inside { owner, task, token, session: guard.session().clone() });
    }

    fn exit(&self, task: usize) {
        self.inside.lock().expect("no panic").retain(|inside| inside.task != task);
    }

    /// Takes the lock, and again while it has it; any of it may be given up at a random point.
    fn contend(&self, lock: &ReentrantLock<Tampered>, owners: &[Owner], task: usize, counts: &Counts) {
        let owner = task % OWNERS;
        let mut guards = Vec::new();
        for _ in 0..2 {
            linger(3);
            match impatient(3, lock.acquire(owners[owner])) {
                None => counts.gave_up.add(true),
                Some(Ok(guard)) => {
                    self.enter(owner, task, &guard, counts);
                    guards.push(guard);
                }
                Some(Err(error)) => {
                    assert_eq!(error, Error::SessionExpired);
                    counts.lost.add(true);
                    break;
                }
            }
        }
        linger(5);
        if let Some(guard) = guards.first() {
            guards.push(guard.clone());
        }
        self.exit(task);
        for guard in guards {
            match one_in(2) {
                true => drop(guard),
                // What was lost has been lost.
                false => drop(block_on(guard.release())),
            }
        }
    }
}

/// Six tasks of three owners in two processes take the lock, take it again and give up at random points, over replies that
/// are late and lost and connections that are cut; sessions end where `expires`. One owner at a time is valid, its tasks
/// have it together, nobody waits for ever, nothing is left.
fn contend(name: &'static str, expires: bool, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new();
        let clients: Arc<[_]> = (0..2).map(|_| world.server.connect()).collect();
        let locks: Arc<[_]> = clients
            .iter()
            .map(|client| ReentrantLock::new(Lock::new(Tampered::new(client.clone(), tamper), path())))
            .collect();
        clients.iter().for_each(|client| unreliable(&world.server, client));
        let owners: Arc<[_]> = (0..OWNERS).map(|_| Owner::new()).collect();
        let counts = counts_in.clone();
        contenders(&world, TASKS + 1, move |world, number| match number < TASKS {
            // The last owner is alone in its process.
            true => world.contend(&locks[number % OWNERS / 2], &owners, number, &counts),
            false => disturb(&world.server, &clients, 3, expires),
        });
        world.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().contains("lock-")).collect();
            assert!(left.is_empty(), "ghost nodes {left:?}");
            assert_eq!(tree.watch_count(), 0, "watches left");
        });
    });
    counts.gave_up.assert_reached("an acquire is given up");
    counts.together.assert_reached("two tasks of one owner have it together");
    if expires {
        counts.lost.assert_reached("a lost hold cannot be joined");
    }
}

#[test]
fn reentrant_of_six() {
    contend("reentrant_of_six", false, sound);
}

#[test]
fn reentrant_expiring_of_six() {
    contend("reentrant_expiring_of_six", true, sound);
}

/// Who gives up waiting leaves as if it were the holder.
fn hand_over_on_giving_up(client: &Client, mut request: Request) -> Response {
    if let Request::Release(release) = &mut request {
        release.hand_over = true;
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "of two owners are both valid")]
fn planted_reentrant_hand_over_on_giving_up() {
    contend("planted_reentrant_hand_over_on_giving_up", false, hand_over_on_giving_up);
}
