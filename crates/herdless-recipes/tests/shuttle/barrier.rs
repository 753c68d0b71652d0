//! Models of the double barrier.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use herdless_core::{
    Client as _, ClientExt, CreateMode, Error, MultiOp, MultiReply, NodePath, Reply, Request, Response, Session, Stat,
    Zxid,
};
use herdless_memory::check::shuttle::{future::block_on, thread};
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{DoubleBarrier, Round, Token};

use crate::harness::{
    Client, Count, Tamper, Tampered, Whistle, cancelled_somewhere, contenders, disturb, linger, one_in, sound,
    unreliable,
};

/// One execution's server, and the rounds as their members saw them. On a lock of std, so that a failed assertion is the
/// last step.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    tamper: Tamper,
    size: u32,
    log: Arc<Mutex<Log>>,
    enough: Whistle,
}

#[derive(Default)]
struct Log {
    /// From when to when somebody tried to enter or was inside. The one who writes it down does so before and after.
    present: Vec<(Zxid, Option<Zxid>)>,
    rounds: BTreeMap<Token, Seen>,
}

/// One round.
#[derive(Default)]
struct Seen {
    members: BTreeMap<usize, Member>,
    /// Somebody was told that everybody has left.
    is_over: bool,
}

struct Member {
    session: Session,
    leaves: bool,
}

fn path() -> NodePath {
    NodePath::parse("/step").expect("a valid path")
}

impl World {
    fn new(size: u32, tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        block_on(server.connect().create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        Self { server, tamper, size, log: Arc::default(), enough: Whistle::default() }
    }

    fn now(&self) -> Zxid {
        self.server.inspect(|tree| tree.last_zxid())
    }

    fn has_node(&self, client: &Client) -> bool {
        let owner = client.session().id().0;
        let is_its = |stat: Stat| stat.ephemeral_owner == owner;
        self.server.inspect(|tree| tree.paths().any(|path| tree.stat(path).is_some_and(is_its)))
    }

    fn comes<'a>(&'a self, client: &'a Client) -> Presence<'a> {
        let now = self.now();
        let mut log = self.log.lock().expect("no panic");
        log.present.push((now, None));
        Presence { world: self, client, index: log.present.len() - 1 }
    }

    /// Goes through rounds until there were enough; some of it is given up at random points.
    fn member(&self, client: &Client, rounds: usize, counts: &Counts) {
        let barrier =
            DoubleBarrier::new(Tampered::new(client.clone(), self.tamper), path(), self.size).expect("a size");
        let mut last = None;
        while !self.enough.is_blown() {
            linger(5);
            let _presence = self.comes(client);
            let round = match one_in(4) {
                true => cancelled_somewhere(30, barrier.enter()),
                false => self.enough.unless_blown(barrier.enter()),
            };
            let round = match round {
                None => {
                    counts.gave_up.add(true);
                    continue;
                }
                Some(Err(Error::SessionExpired)) => {
                    counts.died_outside.add(true);
                    continue;
                }
                Some(entered) => entered.expect("a session's end is the only reason"),
            };
            let session = client.session();
            let generation = round.generation();
            assert!(last < Some(generation), "generations grow");
            last = Some(generation);
            // While the round is valid, its session was the client's.
            if !round.is_valid() {
                counts.died_inside.add(true);
                continue;
            }
            let rank = self.log.lock().expect("no panic").enter(&round, session, self.size as usize);
            linger(5);
            self.log.lock().expect("no panic").leave(generation, rank);
            let left = match one_in(4) {
                true => cancelled_somewhere(30, round.leave()),
                false => Some(block_on(round.leave())),
            };
            match left {
                None => counts.left_early.add(true),
                Some(Err(error)) => {
                    assert_eq!(error, Error::SessionExpired);
                    counts.died_inside.add(true);
                }
                Some(Ok(())) => {
                    let over = self.log.lock().expect("no panic").has_left(generation);
                    if over >= rounds {
                        self.enough.blow();
                    }
                }
            }
        }
    }

    /// Nothing is left: no member's node, and no watch but one of each client on the directory, for the next round's beginning.
    fn assert_clean(&self, clients: usize) {
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|path| path.as_str().contains("member-")).collect();
            assert!(left.is_empty(), "ghost members {left:?}");
            assert!(tree.watch_count() <= clients, "watches left");
        });
    }
}

/// Somebody who tries to enter or is inside.
struct Presence<'a> {
    world: &'a World,
    client: &'a Client,
    index: usize,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Who gives up without a connection is there until the server hears of it.
            while self.world.has_node(self.client) {
                thread::yield_now();
            }
            let now = self.world.now();
            self.world.log.lock().expect("no panic").present[self.index].1 = Some(now);
        }
    }
}

impl Log {
    /// Somebody's enter has returned: as many as a round needs were there when it began, no other member has this one's rank,
    /// and nobody was told that the round is over. Its rank.
    fn enter(&mut self, round: &Round<Tampered>, session: Session, size: usize) -> usize {
        let (generation, rank) = (round.generation(), round.rank());
        let was_there =
            |(from, to): &&(Zxid, Option<Zxid>)| *from < generation.0 && to.is_none_or(|to| to >= generation.0);
        let present = self.present.iter().filter(was_there).count();
        assert!(present >= size, "a round began with {present} members");
        let seen = self.rounds.entry(generation).or_default();
        assert!(!seen.is_over || !round.is_valid(), "left while a member was about to enter");
        assert!(rank < size, "one too many in a round");
        let before = seen.members.insert(rank, Member { session, leaves: false });
        assert!(before.is_none(), "two of one rank");
        rank
    }

    /// Somebody is about to leave.
    fn leave(&mut self, generation: Token, rank: usize) {
        let seen = self.rounds.get_mut(&generation).expect("it has begun");
        seen.members.get_mut(&rank).expect("it has entered").leaves = true;
    }

    /// Somebody's leave has returned: every other member has begun to leave, or its session has ended. How many rounds are
    /// over.
    fn has_left(&mut self, generation: Token) -> usize {
        let seen = self.rounds.get_mut(&generation).expect("it has begun");
        for (rank, member) in &seen.members {
            assert!(member.leaves || !member.session.is_valid(), "left while member {rank} was inside");
        }
        seen.is_over = true;
        self.rounds.values().filter(|seen| seen.is_over).count()
    }
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    left_early: Count,
    died_outside: Count,
    died_inside: Count,
}

/// Six members go through rounds, give up on the way in and out at random points, over replies that are late and lost and
/// connections that are cut; sessions end where `expires`. A round begins with its number of members; nobody has left it
/// while a member is inside; nobody waits for ever, nothing is left.
fn members(name: &'static str, size: u32, rounds: usize, expires: bool, tamper: Tamper) {
    const COUNT: usize = 6;
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(size, tamper);
        let clients: Arc<[_]> = (0..COUNT).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        // The last one is no member.
        contenders(&world, COUNT + 1, move |world, number| match clients.get(number) {
            Some(client) => {
                unreliable(&world.server, client);
                world.member(client, rounds, &counts);
            }
            None => disturb(&world.server, &clients, 4, expires),
        });
        world.assert_clean(COUNT);
    });
    counts.gave_up.assert_reached("a member gives up on the way in");
    counts.left_early.assert_reached("a member gives up on the way out");
    if expires {
        counts.died_outside.assert_reached("a member dies on the way in");
        counts.died_inside.assert_reached("a member dies inside");
    }
}

#[test]
fn barrier_cancelled_of_six() {
    members("barrier_cancelled_of_six", 6, 2, false, sound);
}

#[test]
fn barrier_expiring_three_of_six() {
    members("barrier_expiring_three_of_six", 3, 3, true, sound);
}

#[test]
fn barrier_expiring_of_six() {
    members("barrier_expiring_of_six", 6, 2, true, sound);
}

/// A round is begun without a check of who is still there.
fn begin_unchecked(client: &Client, mut request: Request) -> Response {
    let Request::Multi(multi) = &mut request else { return client.submit(request) };
    let all = multi.operations.len();
    multi.operations.retain(|operation| !matches!(operation, MultiOp::Check { .. }));
    let checks = all - multi.operations.len();
    client.submit(request).map(move |outcome| {
        let mut answer = outcome?;
        if let Reply::Multi(replies) = &mut answer.reply {
            replies.splice(0..0, std::iter::repeat_n(MultiReply::Checked, checks));
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "a round began with")]
fn planted_barrier_begin_unchecked() {
    members("planted_barrier_begin_unchecked", 6, 2, false, begin_unchecked);
}
