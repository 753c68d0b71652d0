//! Models of the barrier that is open or closed for everybody.

use std::sync::{Arc, Mutex};

use herdless_core::{Client as _, ClientExt, CreateMode, Error, NodePath, Refusal, Reply, Request, Response, Zxid};
use herdless_memory::check::shuttle::{future::block_on, thread};
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::Barrier;

use crate::harness::{
    Client, Count, Tamper, Tampered, contenders, dice, disturb, impatient, linger, one_in, sound, unreliable,
};
use crate::models::tamper::watch_an_open_gate;

const WAITERS: usize = 3;
const CLOSERS: usize = 2;
const OPENERS: usize = 2;
const CLIENTS: usize = WAITERS + CLOSERS + OPENERS;

/// One execution's server, and when closings and openings were on their way. On a lock of std, so that a failed assertion is
/// the last step.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    tamper: Tamper,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    closings: Vec<Span>,
    openings: Vec<Span>,
    closers_done: usize,
}

/// How often the node had been made and removed when a call began and, unless it was given up, when it returned: the k-th
/// closing makes it `2k - 1`, the k-th opening `2k`.
#[derive(Clone, Copy)]
struct Span {
    from: i32,
    to: Option<i32>,
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    waited: Count,
    passed: Count,
    reclosed: Count,
    gave_up: Count,
    outlived: Count,
    expired: Count,
}

fn is_closed(moment: i32) -> bool {
    moment % 2 == 1
}

impl Span {
    fn contains(&self, moment: i32) -> bool {
        self.from < moment && self.to.is_none_or(|to| moment <= to)
    }

    /// Whether it was closed, or open, at some moment of the call.
    fn was(&self, closed: bool) -> bool {
        is_closed(self.from) == closed || self.to != Some(self.from)
    }
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        let setup = server.connect();
        // It stays, because it counts what happens to its child.
        let parent = path().parent().expect("it has one");
        block_on(setup.create(&parent, "", CreateMode::Persistent)).expect("an empty tree takes it");
        Self { server, tamper, log: Arc::default() }
    }

    fn moment(&self) -> i32 {
        let parent = path().parent().expect("it has one");
        self.server.inspect(|tree| tree.stat(&parent).expect("it stays").cversion)
    }

    fn log<R>(&self, write: impl FnOnce(&mut Log) -> R) -> R {
        write(&mut self.log.lock().expect("no panic"))
    }

    fn waiter(&self, client: &Client, gate: &Barrier<Tampered>, counts: &Counts) {
        for _ in 0..2 {
            linger(15);
            let from = self.moment();
            let session = client.session();
            let Some(waited) = impatient(5, gate.wait()) else {
                counts.gave_up.add(true);
                continue;
            };
            waited.expect("a wait outlives its session");
            counts.outlived.add(!session.is_valid());
            let span = Span { from, to: Some(self.moment()) };
            assert!(span.was(false), "went on at a closed barrier");
            counts.waited.add(is_closed(from));
            counts.passed.add(!is_closed(from));
            if one_in(2) {
                self.look(client, gate);
            }
        }
    }

    fn look(&self, client: &Client, gate: &Barrier<Tampered>) {
        let (from, session) = (self.moment(), client.session());
        match block_on(gate.is_closed()) {
            Ok(closed) => assert!(Span { from, to: Some(self.moment()) }.was(closed), "never closed: {closed}"),
            Err(error) => assert!(error == Error::SessionExpired && !session.is_valid(), "{error}"),
        }
    }

    fn closer(&self, gate: &Barrier<Tampered>, counts: &Counts) {
        for _ in 0..3 {
            linger(15);
            self.change(true, gate, counts);
        }
        self.log(|log| log.closers_done += 1);
    }

    fn opener(&self, gate: &Barrier<Tampered>, counts: &Counts) {
        for _ in 0..3 {
            linger(15);
            self.change(false, gate, counts);
        }
    }

    /// Closes or opens, and writes down when.
    fn change(&self, close: bool, gate: &Barrier<Tampered>, counts: &Counts) {
        let from = self.moment();
        let changed = match close {
            true => impatient(8, gate.close()),
            false => impatient(8, gate.open()),
        };
        // What is given up may be on its way still.
        let to = changed.is_some().then(|| self.moment());
        let span = Span { from, to };
        match changed {
            None => counts.gave_up.add(true),
            Some(Ok(())) => {
                assert!(span.was(close), "returned without closed: {close}");
                counts.reclosed.add(!close && to >= Some(from + 2));
            }
            Some(Err(error)) => {
                assert_eq!(error, Error::SessionExpired);
                counts.expired.add(true);
            }
        }
        self.log(|log| match close {
            true => log.closings.push(span),
            false => log.openings.push(span),
        });
    }

    /// What is submitted without a connection is not carried out when the session ends meanwhile.
    fn expire_disconnected(&self, client: &Client) {
        linger(20);
        self.server.disconnect(client);
        linger(20);
        self.server.expire(client);
    }

    /// Opens it when nobody closes it any more, for those who wait still.
    fn referee(&self) {
        while self.log(|log| log.closers_done < CLOSERS) {
            thread::yield_now();
        }
        let from = self.moment();
        block_on(Barrier::new(self.server.connect(), path()).open()).expect("the session lives");
        let to = Some(self.moment());
        self.log(|log| log.openings.push(Span { from, to }));
    }

    /// Every closing happened while one was asked for, and each opening undid one at most. It is open, and nothing is left.
    fn assert_accounted(&self) {
        let last = self.moment();
        let mut log = self.log.lock().expect("no panic");
        for moment in 1..=last {
            if is_closed(moment) {
                assert!(log.closings.iter().any(|span| span.contains(moment)), "closed by nobody");
                continue;
            }
            // Of those that may have done it, the one with the least time left.
            let candidates = log.openings.iter().enumerate().filter(|(_, span)| span.contains(moment));
            let its = candidates.min_by_key(|(_, span)| span.to.unwrap_or(i32::MAX)).map(|(index, _)| index);
            log.openings.swap_remove(its.expect("an opening undid two closings"));
        }
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().matches('/').count() > 1).collect();
            assert!(left.is_empty(), "left behind: {left:?}");
            assert_eq!(tree.watch_count(), 0, "watches left");
        });
    }
}

fn path() -> NodePath {
    NodePath::parse("/gates/migration").expect("a valid path")
}

/// Three wait at a barrier that two close and two open, again and again; some of it is given up, over replies that are late
/// and lost and connections that are cut; sessions end where `expires`. Who goes on has seen it open, an opening undoes one
/// closing at most, nobody waits for ever, no watch stays.
fn gate(name: &'static str, expires: bool, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(tamper);
        let clients: Arc<[_]> = (0..CLIENTS).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        contenders(&world, CLIENTS + 1, move |world, number| {
            let Some(client) = clients.get(number) else {
                if expires {
                    (0..2).for_each(|_| world.expire_disconnected(&clients[dice(CLIENTS)]));
                }
                disturb(&world.server, &clients, 3, expires);
                return world.referee();
            };
            unreliable(&world.server, client);
            let gate = Barrier::new(Tampered::new(client.clone(), world.tamper), path());
            match number {
                ..WAITERS => world.waiter(client, &gate, &counts),
                number if number < WAITERS + CLOSERS => world.closer(&gate, &counts),
                _ => world.opener(&gate, &counts),
            }
        });
        world.assert_accounted();
    });
    counts.waited.assert_reached("somebody waits");
    counts.passed.assert_reached("somebody finds it open");
    counts.reclosed.assert_reached("it is closed again while somebody opens it");
    counts.gave_up.assert_reached("something is given up");
    if expires {
        counts.outlived.assert_reached("a session ends while its client waits");
        counts.expired.assert_reached("a session ends while its client closes or opens");
    }
}

#[test]
fn gate_of_seven() {
    gate("gate_of_seven", false, sound);
}

#[test]
fn gate_expiring_of_seven() {
    gate("gate_expiring_of_seven", true, sound);
}

/// After a lost reply whatever node has the name is removed.
fn open_blindly(client: &Client, request: Request) -> Response {
    client.submit(request).map(|outcome| {
        let mut answer = outcome?;
        if let Reply::Exists(Some(stat)) = &mut answer.reply {
            stat.czxid = Zxid(1);
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "an opening undid two closings")]
fn planted_gate_open_blindly() {
    gate("planted_gate_open_blindly", false, open_blindly);
}

#[test]
#[should_panic(expected = "watches left")]
fn planted_gate_watch_with_exists() {
    gate("planted_gate_watch_with_exists", false, watch_an_open_gate);
}

/// Who waits takes a lost connection for an open barrier.
fn trust_silence(client: &Client, request: Request) -> Response {
    let waits = matches!(&request, Request::GetData(get) if get.watch);
    client.submit(request).map(move |outcome| match outcome {
        Err(Error::ConnectionLost) if waits => Err(Refusal::NoNode.into()),
        outcome => outcome,
    })
}

#[test]
#[should_panic(expected = "went on at a closed barrier")]
fn planted_gate_trust_silence() {
    gate("planted_gate_trust_silence", false, trust_silence);
}
