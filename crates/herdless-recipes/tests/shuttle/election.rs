//! Models of the election.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use herdless_core::{Client as _, ClientExt, CreateMode, Error, NodePath, Refusal, Request, Response};
use herdless_memory::check::shuttle::future::block_on;
use herdless_memory::check::{Schedules, ShuttleServer};
use herdless_recipes::{Election, ElectionLayout, Leader, Leadership, Token};

use crate::harness::{
    Client, Count, Tamper, Tampered, Whistle, contenders, dice, disturb, impatient, linger, one_in, sound, unreliable,
};
use crate::models::store::Store;

const CANDIDATES: usize = 8;
const OBSERVERS: usize = 2;

/// One execution's server, and what only a leader writes to. On a lock of std, so that a failed assertion is the last step.
#[derive(Clone)]
struct World {
    server: ShuttleServer,
    layout: ElectionLayout,
    tamper: Tamper,
    led: Arc<Mutex<Led>>,
    /// All candidates have gone.
    over: Whistle,
}

#[derive(Default)]
struct Led {
    store: Store,
    /// The greatest term that anybody was told of.
    told: Option<Token>,
    candidates_done: usize,
}

/// What has happened.
#[derive(Clone, Default)]
struct Counts {
    gave_up: Count,
    lost: Count,
    proclaimed: Count,
    saw_value: Count,
    asked: Count,
    vacant: Count,
}

fn path() -> NodePath {
    NodePath::parse("/election").expect("a valid path")
}

impl World {
    fn new(tamper: Tamper) -> Self {
        let server = ShuttleServer::with_locks();
        block_on(server.connect().create(&path(), "", CreateMode::Container)).expect("an empty tree takes it");
        let layout = if one_in(2) { ElectionLayout::LeaderLatch } else { ElectionLayout::LeaderSelector };
        Self { server, layout, tamper, led: Arc::default(), over: Whistle::default() }
    }

    fn election(&self, client: &Client) -> Election<Tampered> {
        Election::builder(Tampered::new(client.clone(), self.tamper), path()).layout(self.layout).build()
    }

    fn led<R>(&self, look: impl FnOnce(&mut Led) -> R) -> R {
        look(&mut self.led.lock().expect("no panic"))
    }

    /// Stands once, may proclaim something, and resigns; any of it may be given up at a random point.
    fn stand(&self, client: &Client, counts: &Counts) {
        linger(20);
        let election = self.election(client);
        match impatient(3, election.campaign()) {
            None => counts.gave_up.add(true),
            Some(leadership) => self.lead(leadership.expect("a campaign outlives its session"), counts),
        }
        if self.led(|led| {
            led.candidates_done += 1;
            led.candidates_done == CANDIDATES
        }) {
            self.over.blow();
        }
    }

    fn lead(&self, leadership: Leadership<Tampered>, counts: &Counts) {
        self.led(|led| {
            led.store.hold(&leadership);
            let is_told_of = led.told <= Some(leadership.term());
            assert!(is_told_of || !leadership.is_valid(), "{} leads, and a later one was told of", leadership.term());
        });
        linger(5);
        for number in 0..dice(3) {
            match impatient(4, leadership.proclaim(number.to_string())) {
                None => counts.gave_up.add(true),
                Some(Ok(())) => counts.proclaimed.add(true),
                Some(Err(error)) => {
                    assert!(matches!(error, Error::SessionExpired | Error::Refused(Refusal::NoNode)), "{error}");
                    assert!(!leadership.is_valid(), "a valid leader cannot proclaim");
                }
            }
        }
        counts.lost.add(!leadership.is_valid());
        self.led(|led| led.store.let_go(leadership.term()));
        match one_in(2) {
            true => drop(leadership),
            // What was lost has been lost.
            false => drop(block_on(leadership.resign())),
        }
    }

    fn is_told(&self, leader: &Leader) {
        self.led(|led| led.told = led.told.max(Some(leader.term)));
    }

    /// Follows the election to its end, and asks in between who leads: what is told never goes back, and at the end nobody
    /// leads.
    fn observe(&self, client: &Client, counts: &Counts) {
        let election = self.election(client);
        let mut leaders = election.observe();
        let (mut seen, mut is_vacant) = (None, false);
        loop {
            let next = match self.over.unless_blown(leaders.next()) {
                Some(next) => next,
                None if is_vacant => break,
                None => block_on(leaders.next()),
            };
            let leader = next.expect("it goes on").expect("it outlives its session");
            assert!(!is_vacant || leader.is_some(), "vacant twice");
            is_vacant = leader.is_none();
            counts.vacant.add(is_vacant);
            if let Some(leader) = leader {
                let rank = (leader.term, leader.value.clone());
                assert!(seen.as_ref() < Some(&rank), "from {seen:?} back to {rank:?}");
                counts.saw_value.add(rank.1.is_some());
                seen = Some(rank);
                self.is_told(&leader);
            }
            if one_in(2) {
                match block_on(election.leader()) {
                    Ok(Some(leader)) => {
                        counts.asked.add(true);
                        self.is_told(&leader);
                    }
                    Ok(None) | Err(Error::SessionExpired) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Nothing is left: no candidate's node, and no watches but two of each observer on the directory.
    fn assert_clean(&self) {
        self.server.inspect(|tree| {
            let left: Vec<_> = tree.paths().filter(|node| node.parent().as_ref() == Some(&path())).collect();
            assert!(left.is_empty(), "ghost nodes {left:?}");
            assert!(tree.watch_count() <= 2 * OBSERVERS, "{} watches left", tree.watch_count());
        });
    }
}

/// Eight candidates that proclaim and resign, and give up any of it at random points, followed by two observers, over replies
/// that are late and lost and connections that are cut; sessions end where `expires`. No two valid leaders, no valid
/// leader's write refused, nobody is told of who leads later as of the leader, nobody waits for ever, nothing is left.
fn elect(name: &'static str, expires: bool, tamper: Tamper) {
    let counts = Counts::default();
    let counts_in = counts.clone();
    Schedules::new(name).check(move || {
        let world = World::new(tamper);
        let clients: Arc<[_]> = (0..CANDIDATES + OBSERVERS).map(|_| world.server.connect()).collect();
        let counts = counts_in.clone();
        contenders(&world, CANDIDATES + OBSERVERS + 1, move |world, number| {
            let Some(client) = clients.get(number) else {
                return disturb(&world.server, &clients, 5, expires);
            };
            unreliable(&world.server, client);
            match number < CANDIDATES {
                true => world.stand(client, &counts),
                false => world.observe(client, &counts),
            }
        });
        world.assert_clean();
    });
    counts.gave_up.assert_reached("a campaign is given up");
    counts.proclaimed.assert_reached("a leader proclaims");
    counts.saw_value.assert_reached("an observer sees what was proclaimed");
    counts.asked.assert_reached("somebody is told who leads");
    counts.vacant.assert_reached("an observer is told that nobody leads");
    if expires {
        counts.lost.assert_reached("a leader loses its session");
    }
}

#[test]
fn election_cancelled_of_eight() {
    elect("election_cancelled_of_eight", false, sound);
}

#[test]
fn election_expiring_of_eight() {
    elect("election_expiring_of_eight", true, sound);
}

/// Who gives up waiting leaves as if it were the leader.
fn hand_over_on_giving_up(client: &Client, mut request: Request) -> Response {
    if let Request::Release(release) = &mut request {
        release.hand_over |= release.path.name().contains("lock-");
    }
    client.submit(request)
}

#[test]
#[should_panic(expected = "are both valid")]
fn planted_election_hand_over_on_giving_up() {
    elect("planted_election_hand_over_on_giving_up", false, hand_over_on_giving_up);
}
