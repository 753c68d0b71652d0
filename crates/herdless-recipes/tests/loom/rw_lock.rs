//! Models of the read-write lock.

use std::sync::Arc;

use herdless_core::{
    Client, ClientExt, CreateMode, Multi, MultiOp, MultiReply, NodePath, Refusal, Reply, Request, Response, Session,
    Version,
};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};
use herdless_recipes::{Grant, RwLock, Token};

use crate::harness::{Count, Tamper, Tampered, create_blindly, poll_times, sound, together};
use crate::models::flaw::{self, Flaw};

type Flawed = flaw::Flawed<Tampered>;

/// One execution's server, and what the lock protects.
#[derive(Clone)]
struct World {
    server: LoomServer,
    tamper: Tamper,
    flaw: Flaw,
    resource: Arc<Resource>,
}

struct Resource {
    /// loom sees a write beside any other access without an order between them, and allows reads beside reads. The lock of
    /// std around it is there for `Sync` alone; loom does not see it.
    critical: std::sync::Mutex<loom::cell::UnsafeCell<()>>,
    /// Must be loom's: an acquire and an entry would be one step otherwise.
    inside: loom::sync::Mutex<Vec<Inside>>,
}

struct Inside {
    token: Token,
    session: Session,
    writes: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Does {
    Read,
    Write,
    /// Writes, and goes on reading.
    Downgrade,
}

use Does::{Downgrade, Read, Write};

fn path() -> NodePath {
    NodePath::parse("/lock").expect("a valid path")
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let resource = Resource {
            critical: std::sync::Mutex::new(loom::cell::UnsafeCell::new(())),
            inside: loom::sync::Mutex::new(Vec::new()),
        };
        let world = Self { server: LoomServer::with_locks(), tamper, flaw: Flaw::None, resource: Arc::new(resource) };
        let setup = world.server.connect();
        block_on(setup.create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        world
    }

    fn lock(&self, client: &MemoryClient<LoomLocks>) -> RwLock<Flawed> {
        RwLock::new(Flawed::new(Tampered::new(client.clone(), self.tamper), self.flaw), path())
    }

    fn visit_to_read(&self) {
        self.resource.critical.lock().expect("no panic").with(|_| ());
    }

    fn visit_to_write(&self) {
        self.resource.critical.lock().expect("no panic").with_mut(|_| ());
    }

    /// Takes the lock once, visits, and leaves.
    fn contend(&self, client: &MemoryClient<LoomLocks>, does: Does) {
        let lock = self.lock(client);
        if does == Read {
            let _guard = block_on(lock.read()).expect("the session lives");
            return self.visit_to_read();
        }
        let guard = block_on(lock.write()).expect("the session lives");
        self.visit_to_write();
        if does == Downgrade {
            let _guard = block_on(guard.downgrade()).expect("the session lives");
            self.visit_to_read();
        }
    }

    fn contender(&self, does: Does) -> impl FnOnce() + Send + 'static {
        let world = self.clone();
        move || world.contend(&world.server.connect(), does)
    }

    /// Enters where sessions may end: no valid writer is inside beside anybody valid.
    fn enter(&self, grant: &Grant<Flawed>, writes: bool) {
        let mut inside = self.resource.inside.lock().expect("no panic");
        for other in &*inside {
            // Validity only ever ends, so one that is valid after the other was, was so at the same time.
            let both = other.session.is_valid() && grant.is_valid();
            assert!(!both || !(writes || other.writes), "{} and {} are both valid", other.token, grant.token());
        }
        inside.push(Inside { token: grant.token(), session: grant.session().clone(), writes });
    }

    fn exit(&self, token: Token) {
        self.resource.inside.lock().expect("no panic").retain(|inside| inside.token != token);
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

/// Writers exclude everybody, nobody is left waiting, nothing is left behind.
fn contenders(name: &'static str, all: &'static [Does], bound: Option<usize>, tamper: Tamper) {
    let waited = Count::default();
    let waited_in = waited.clone();
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(tamper);
        let (last, others) = all.split_last().expect("somebody contends");
        let threads: Vec<_> = others.iter().map(|does| loom::thread::spawn(world.contender(*does))).collect();
        world.contend(&world.server.connect(), *last);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        waited_in.add(world.server.wake_ups() > 0);
        world.assert_clean();
    });
    waited.assert_reached("somebody waits");
}

#[test]
fn rw_two_contenders_reader_writer() {
    contenders("rw_two_contenders_reader_writer", &[Read, Write], None, sound);
}

#[test]
fn rw_two_contenders_writers() {
    contenders("rw_two_contenders_writers", &[Write, Write], None, sound);
}

#[test]
fn rw_three_contenders_two_readers() {
    contenders("rw_three_contenders_two_readers", &[Read, Read, Write], Some(3), sound);
}

#[test]
fn rw_three_contenders_two_writers() {
    contenders("rw_three_contenders_two_writers", &[Write, Read, Write], Some(3), sound);
}

#[test]
fn rw_downgrade_against_a_reader_and_a_writer() {
    contenders("rw_downgrade_against_a_reader_and_a_writer", &[Read, Write, Downgrade], Some(3), sound);
}

#[test]
fn rw_downgrade_twice() {
    contenders("rw_downgrade_twice", &[Downgrade, Downgrade], None, sound);
}

/// Lists are answered without the names that hold `stem`.
fn list_without(stem: &'static str, client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    client.submit(request).map(move |outcome| {
        let mut answer = outcome?;
        if let Reply::Children(names, _) = &mut answer.reply {
            names.retain(|name| !name.contains(stem));
        }
        Ok(answer)
    })
}

/// A writer looks for writers only.
fn blind_to_readers(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    match &request {
        Request::GetData(get) if get.path.name().contains("READ") => Response::ready(Err(Refusal::NoNode.into())),
        _ => list_without("READ", client, request),
    }
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_rw_writer_blind_to_readers() {
    Model::new("planted_rw_writer_blind_to_readers").check(|| {
        let world = World::new(sound);
        let writer = Tampered::new(world.server.connect(), blind_to_readers);
        together!(world.contender(Read); {
            let _guard = block_on(RwLock::new(writer, path()).write()).expect("the session lives");
            world.visit_to_write();
        });
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_rw_reader_blind_to_writers() {
    contenders("planted_rw_reader_blind_to_writers", &[Read, Write], None, |client, request| {
        list_without("WRIT", client, request)
    });
}

/// A downgrade tells the next one that everybody is gone.
fn downgrade_by_hand_over(client: &MemoryClient<LoomLocks>, mut request: Request) -> Response {
    if let Request::Multi(multi) = &mut request
        && let [MultiOp::Create(_), MultiOp::Delete(delete)] = &multi.operations[..]
    {
        multi.operations.insert(1, MultiOp::set(&delete.path, "", Version::ANY));
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_rw_downgrade_by_hand_over() {
    let all = &[Read, Write, Downgrade];
    contenders("planted_rw_downgrade_by_hand_over", all, Some(3), downgrade_by_hand_over);
}

/// A downgrade lets go before it holds again.
fn downgrade_in_two_steps(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    let Request::Multi(multi) = request else { return client.submit(request) };
    let mut operations = multi.operations.clone();
    let Some(MultiOp::Delete(delete)) = operations.pop() else { unreachable!("only downgrades send a multi here") };
    drop(client.submit(Request::Delete(delete)));
    client.submit(Request::Multi(Multi { operations, ..multi })).map(|outcome| {
        let mut answer = outcome?;
        if let Reply::Multi(replies) = &mut answer.reply {
            replies.push(MultiReply::Deleted);
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_rw_downgrade_in_two_steps() {
    let all = &[Write, Downgrade];
    contenders("planted_rw_downgrade_in_two_steps", all, None, downgrade_in_two_steps);
}

/// Takes the lock with a session that may end.
fn hold(world: &World, client: &MemoryClient<LoomLocks>, does: Does) -> bool {
    let lock = world.lock(client);
    if does == Read {
        let guard = block_on(lock.read()).expect("an acquire outlives its session");
        world.enter(&guard, false);
        world.exit(guard.token());
        return guard.is_valid();
    }
    let guard = block_on(lock.write()).expect("an acquire outlives its session");
    world.enter(&guard, true);
    world.exit(guard.token());
    if does == Write {
        return guard.is_valid();
    }
    let Ok(guard) = block_on(guard.downgrade()) else { return false };
    world.enter(&guard, false);
    world.exit(guard.token());
    guard.is_valid()
}

/// A session ends at any point: no valid writer beside anybody valid, no lost wake-up, nothing left.
fn session_expires(name: &'static str, victim_does: Does, other_does: Does, flaw: Flaw) {
    let lost = Count::default();
    let lost_in = lost.clone();
    Model::new(name).preemption_bound(4).check(move || {
        let world = World { flaw, ..World::new(sound) };
        let (victim, other) = (world.server.connect(), world.server.connect());
        let (server, to_expire, its_world) = (world.server.clone(), victim.clone(), world.clone());
        together!(move || server.expire(&to_expire), move || { hold(&its_world, &other, other_does); };
            lost_in.add(!hold(&world, &victim, victim_does)));
        world.assert_clean();
    });
    lost.assert_reached("the session ends while the lock is held");
}

#[test]
fn rw_session_expires_at_any_point() {
    session_expires("rw_session_expires_at_any_point/writer", Write, Read, Flaw::None);
    session_expires("rw_session_expires_at_any_point/reader", Read, Write, Flaw::None);
    session_expires("rw_session_expires_at_any_point/downgrade", Downgrade, Write, Flaw::None);
}

#[test]
#[should_panic(expected = "are both valid")]
fn planted_rw_ignores_expiry() {
    session_expires("planted_rw_ignores_expiry", Write, Read, Flaw::IgnoreExpiry);
}

/// An acquire or a downgrade is dropped at its k-th poll, each answer there one poll late: nothing stays behind, nobody is
/// left waiting.
fn cancelled(name: &'static str, does: Does, tamper: Tamper) {
    let cancelled = Count::default();
    for polls in 0..=4 {
        let cancelled_in = cancelled.clone();
        Model::new(format!("{name}/{polls}")).preemption_bound(3).check(move || {
            let world = World::new(tamper);
            let victim = world.server.connect();
            world.server.delay_replies(&victim);
            let lock = world.lock(&victim);
            together!(world.contender(Write); {
                let outcome = match does {
                    Read => poll_times(polls, lock.read()).map(drop),
                    Write => poll_times(polls, lock.write()).map(drop),
                    Downgrade => {
                        let guard = block_on(lock.write()).expect("the session lives");
                        poll_times(polls, guard.downgrade()).map(drop)
                    }
                };
                cancelled_in.add(outcome.is_none());
            });
            world.assert_clean();
        });
    }
    cancelled.assert_reached("dropped before it was there");
}

#[test]
fn rw_cancelled_at_any_point() {
    cancelled("rw_cancelled_at_any_point/read", Read, sound);
    cancelled("rw_cancelled_at_any_point/write", Write, sound);
    cancelled("rw_cancelled_at_any_point/downgrade", Downgrade, sound);
}

/// What a dropped downgrade has made is not looked for.
fn forget_a_dropped_downgrade(client: &MemoryClient<LoomLocks>, request: Request) -> Response {
    match &request {
        Request::FindOwn(_) => Response::ready(Ok(Reply::Found(None).into())),
        _ => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_rw_forget_a_dropped_downgrade() {
    cancelled("planted_rw_forget_a_dropped_downgrade", Downgrade, forget_a_dropped_downgrade);
}

/// The k-th answer is lost, its request carried out; the connection is made again at once.
fn reply_lost(name: &'static str, tamper: Tamper) {
    for does in [Read, Downgrade] {
        for replies in 0..=5 {
            Model::new(format!("{name}/{replies}")).preemption_bound(4).check(move || {
                let world = World::new(tamper);
                let client = world.server.connect();
                world.server.lose_reply_after(&client, replies);
                together!(world.contender(Write); world.contend(&client, does));
                world.assert_clean();
            });
        }
    }
}

#[test]
fn rw_reply_lost_at_any_point() {
    reply_lost("rw_reply_lost_at_any_point", sound);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_rw_create_blindly() {
    reply_lost("planted_rw_create_blindly", create_blindly);
}

/// One contender's connection is cut and made again by another thread at any two points.
#[test]
fn rw_connection_lost_at_any_point() {
    for does in [Read, Downgrade] {
        Model::new("rw_connection_lost_at_any_point").preemption_bound(3).check(move || {
            let world = World::new(sound);
            let victim = world.server.connect();
            let (server, client) = (world.server.clone(), victim.clone());
            let cut = move || {
                server.disconnect(&client);
                server.reconnect(&client);
            };
            together!(world.contender(Write), cut; world.contend(&victim, does));
            world.assert_clean();
        });
    }
}
