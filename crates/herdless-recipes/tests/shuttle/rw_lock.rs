//! Models of the read-write lock.

use std::sync::{Arc, Mutex};

use herdless_core::{
    Client as _, ClientExt, CreateMode, Error, MultiOp, MultiReply, NodePath, Refusal, Reply, Request, Response,
    Session,
};
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{Grant, RwLock, Token};

use crate::harness::{
    Client, Count, Tamper, Tampered, contenders, disturb, impatient, linger, one_in, sound, unreliable,
};

/// One execution's server, and what the lock protects.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    tamper: Tamper,
    protected: Arc<Mutex<Protected>>,
}

/// Who is inside, and the greatest tokens that were. On a lock of std, so that a failed assertion is the last step.
#[derive(Default)]
struct Protected {
    inside: Vec<Inside>,
    last: Option<Token>,
    last_writer: Option<Token>,
}

struct Inside {
    token: Token,
    session: Session,
    writes: bool,
}

impl Protected {
    /// No valid writer is inside beside anybody valid. A valid writer comes after everybody, a valid reader after every
    /// writer, in the order of tokens; one that has the writer's own token goes on reading what that has written.
    fn enter(&mut self, grant: &Grant<Tampered>, writes: bool) {
        let token = grant.token();
        for other in &self.inside {
            // Validity only ever ends, so one that is valid after the other was, was so at the same time.
            let both = other.session.is_valid() && grant.is_valid();
            assert!(!both || !(writes || other.writes), "{} and {token} are both valid", other.token);
        }
        self.inside.push(Inside { token, session: grant.session().clone(), writes });
        let is_in_order = if writes { self.last < Some(token) } else { self.last_writer <= Some(token) };
        assert!(is_in_order || !grant.is_valid(), "{token} is valid after a later one");
        self.last = self.last.max(Some(token));
        if writes {
            self.last_writer = self.last_writer.max(Some(token));
        }
    }
}

fn path() -> NodePath {
    NodePath::parse("/lock").expect("a valid path")
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        block_on(server.connect().create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        Self { server, tamper, protected: Arc::default() }
    }

    /// Is inside for a while. Whether the grant is valid at the end.
    fn visit(&self, grant: &Grant<Tampered>, writes: bool) -> bool {
        linger(1);
        self.protected.lock().expect("no panic").enter(grant, writes);
        linger(10);
        self.protected.lock().expect("no panic").inside.retain(|inside| inside.token != grant.token());
        grant.is_valid()
    }

    /// Takes the lock once to read, to write, or to write and go on reading; any of it may be given up at a random point.
    fn contend(&self, client: &Client, counts: &Counts) {
        let lock = RwLock::new(Tampered::new(client.clone(), self.tamper), path());
        if one_in(2) {
            let Some(guard) = impatient(3, lock.read()) else { return counts.gave_up.add(true) };
            let guard = guard.expect("an acquire outlives its session");
            counts.lost.add(!self.visit(&guard, false));
            return;
        }
        let Some(guard) = impatient(3, lock.write()) else { return counts.gave_up.add(true) };
        let guard = guard.expect("an acquire outlives its session");
        counts.lost.add(!self.visit(&guard, true));
        if one_in(2) {
            let was_valid = guard.is_valid();
            match impatient(3, guard.downgrade()) {
                None => counts.gave_up_downgrade.add(true),
                Some(Ok(guard)) => counts.downgraded.add(self.visit(&guard, false)),
                Some(Err(error)) => {
                    assert!(matches!(error, Error::SessionExpired | Error::Refused(Refusal::NoNode)), "{error}");
                    counts.lost_downgrade.add(was_valid);
                }
            }
        }
    }

    /// Nothing is left: no contender's node, no watch on the server.
    fn assert_clean(&self) {
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().contains("__")).collect();
            assert!(left.is_empty(), "ghost nodes {left:?}");
            assert_eq!(tree.watch_count(), 0, "watches left");
        });
    }
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    gave_up_downgrade: Count,
    downgraded: Count,
    lost: Count,
    lost_downgrade: Count,
}

/// Eight contenders that read, write and downgrade, and give up any of it at random points, over replies that are late and
/// lost and connections that are cut; sessions end where `expires`. Writers exclude everybody valid, nobody overtakes, nobody
/// waits for ever, nothing is left. Where the first or the second fails, the message says "valid".
fn contend(name: &'static str, count: usize, expires: bool, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(tamper);
        let clients: Arc<[_]> = (0..count).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        // The last one is no contender.
        contenders(&world, count + 1, move |world, number| {
            let Some(client) = clients.get(number) else {
                return disturb(&world.server, &clients, if count < 5 { 12 } else { 4 }, expires);
            };
            unreliable(&world.server, client);
            for _ in 0..1 + 4 / count {
                linger(20);
                world.contend(client, &counts);
            }
        });
        world.assert_clean();
    });
    counts.gave_up.assert_reached("an acquire is given up");
    counts.gave_up_downgrade.assert_reached("a downgrade is given up");
    counts.downgraded.assert_reached("a writer goes on reading");
    if expires {
        counts.lost.assert_reached("the session ends while the lock is held");
        counts.lost_downgrade.assert_reached("the session ends during a downgrade");
    }
}

#[test]
fn rw_cancelled_of_eight() {
    contend("rw_cancelled_of_eight", 8, false, sound);
}

#[test]
fn rw_expiring_of_eight() {
    contend("rw_expiring_of_eight", 8, true, sound);
}

#[test]
fn rw_expiring_of_three() {
    contend("rw_expiring_of_three", 3, true, sound);
}

/// Who gives up waiting to write leaves as if it were the holder.
fn hand_over_on_giving_up(client: &Client, mut request: Request) -> Response {
    if let Request::Release(release) = &mut request {
        release.hand_over |= release.path.name().contains("WRIT");
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "valid")]
fn planted_rw_hand_over_on_giving_up() {
    contend("planted_rw_hand_over_on_giving_up", 8, false, hand_over_on_giving_up);
}

/// A downgrade lets go before it holds again.
fn downgrade_in_two_steps(client: &Client, request: Request) -> Response {
    let Request::Multi(mut multi) = request else { return client.submit(request) };
    let Some(MultiOp::Delete(delete)) = multi.operations.pop() else { unreachable!("only downgrades send a multi") };
    drop(client.submit(Request::Delete(delete)));
    client.submit(Request::Multi(multi)).map(|outcome| {
        let mut answer = outcome?;
        if let Reply::Multi(replies) = &mut answer.reply {
            replies.push(MultiReply::Deleted);
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "valid")]
fn planted_rw_downgrade_in_two_steps() {
    contend("planted_rw_downgrade_in_two_steps", 8, false, downgrade_in_two_steps);
}
