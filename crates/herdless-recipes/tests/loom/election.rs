//! Models of the election.

mod lead;
mod observe;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use herdless_core::{Answer, Bytes, Client, ClientExt, Error, GetEphemerals, Outcome, Reply, Request, Response};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, Model, block_on, loom};
use herdless_recipes::{Election, ElectionLayout};

use crate::harness::{Count, Tampered, poll_times, sound, together};
use crate::models::flaw::Flaw;
use crate::world::Flawed;
use crate::world::{World, path};

type Inner = MemoryClient<LoomLocks>;
const LATCH: ElectionLayout = ElectionLayout::LeaderLatch;
const SELECTOR: ElectionLayout = ElectionLayout::LeaderSelector;

/// What puts a bug between the recipe and the backend, or nothing.
trait Wrap: Copy + Send + Sync + 'static {
    type Client: Client + Clone + 'static;
    fn wrap(self, client: &Inner) -> Self::Client;
}

impl Wrap for Flaw {
    type Client = Flawed;
    fn wrap(self, client: &Inner) -> Flawed {
        Flawed::new(client.clone(), self)
    }
}

impl Wrap for fn(&Inner, Request) -> Response {
    type Client = Tampered;
    fn wrap(self, client: &Inner) -> Tampered {
        Tampered::new(client.clone(), self)
    }
}

const SOUND: fn(&Inner, Request) -> Response = sound;

fn election<W: Wrap>(client: &Inner, layout: ElectionLayout, wrap: W) -> Election<W::Client> {
    Election::builder(wrap.wrap(client), path()).layout(layout).build()
}

/// Nothing is left: no candidate's node, and no more watches than these.
fn assert_clean(world: &World, watches: usize) {
    world.server.inspect(|tree| {
        let left: Vec<_> = tree.paths().filter(|node| node.parent().as_ref() == Some(&path())).collect();
        assert!(left.is_empty(), "ghost nodes {left:?}");
        assert!(tree.watch_count() <= watches, "{} watches left", tree.watch_count());
    });
}

/// Leads once, visits, and resigns.
fn stand<W: Wrap>(world: &World, layout: ElectionLayout, wrap: W) {
    let leadership = block_on(election(&world.connect(), layout, wrap).campaign()).expect("the session lives");
    world.visit(leadership.term());
}

fn candidate<W: Wrap>(world: &World, layout: ElectionLayout, wrap: W) -> impl FnOnce() + Send + 'static {
    let world = world.clone();
    move || stand(&world, layout, wrap)
}

/// Never two leaders, terms in the order of standing, no lost wake-up, one wake-up for each hand-over, nothing left.
fn candidates<W: Wrap>(name: &'static str, layout: ElectionLayout, count: usize, bound: Option<usize>, wrap: W) {
    let (contended, free) = (Count::default(), Count::default());
    let (contended_in, free_in) = (contended.clone(), free.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(Flaw::None);
        let threads: Vec<_> = (1..count).map(|_| loom::thread::spawn(candidate(&world, layout, wrap))).collect();
        stand(&world, layout, wrap);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let wake_ups = world.server.wake_ups();
        assert!(wake_ups < count as u64, "{wake_ups} wake-ups for {count} candidates");
        contended_in.add(wake_ups + 1 == count as u64);
        free_in.add(wake_ups == 0);
        assert_clean(&world, 0);
    });
    contended.assert_reached("everybody but the first waits");
    free.assert_reached("nobody waits");
}

#[test]
fn election_two_candidates_latch() {
    candidates("election_two_candidates_latch", LATCH, 2, None, SOUND);
}

#[test]
fn election_two_candidates_selector() {
    candidates("election_two_candidates_selector", SELECTOR, 2, None, SOUND);
}

#[test]
fn election_three_candidates_latch() {
    candidates("election_three_candidates_latch", LATCH, 3, Some(3), SOUND);
}

#[test]
fn election_three_candidates_selector() {
    candidates("election_three_candidates_selector", SELECTOR, 3, Some(3), SOUND);
}

/// The answer of a backend that answers at once.
fn at_once(mut response: Response) -> Option<Outcome> {
    match Pin::new(&mut response).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Whoever asks is told that it is alone.
fn claim_to_be_alone(client: &Inner, request: Request) -> Response {
    client.submit(request).map(|outcome| {
        let mut answer = outcome?;
        if let Reply::Exists(Some(stat)) = &mut answer.reply {
            stat.num_children = 1;
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_election_of_everybody() {
    let everybody: fn(&Inner, Request) -> Response = claim_to_be_alone;
    candidates("planted_election_of_everybody", LATCH, 2, None, everybody);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_leader_for_life() {
    candidates("planted_leader_for_life", SELECTOR, 2, None, Flaw::KeepNodeOnRelease);
}

#[test]
#[should_panic(expected = "wake-ups for 3 candidates")]
fn planted_candidates_watch_the_directory() {
    candidates("planted_candidates_watch_the_directory", LATCH, 3, Some(3), Flaw::WatchDirectory);
}

/// Leads with a session that may end; whether it was lost meanwhile.
fn hold<W: Wrap>(world: &World, client: &Inner, layout: ElectionLayout, wrap: W) -> bool {
    let leadership = block_on(election(client, layout, wrap).campaign()).expect("a campaign outlives its session");
    world.hold(&leadership);
    world.let_go(leadership.term());
    !leadership.is_valid()
}

/// A session ends at any point: of a leader or of one who waits. No two valid leaders, no valid leader's write
/// refused, no lost wake-up, nothing left.
fn session_expires<W: Wrap>(name: &'static str, layout: ElectionLayout, count: usize, bound: Option<usize>, wrap: W) {
    let (lost, again) = (Count::default(), Count::default());
    let (lost_in, again_in) = (lost.clone(), again.clone());
    Model::new(name).preemption_bound(bound).check(move || {
        let world = World::new(Flaw::None);
        let victim = world.connect();
        let others: Vec<_> = (1..count)
            .map(|_| {
                let (world, client) = (world.clone(), world.connect());
                loom::thread::spawn(move || _ = hold(&world, &client, layout, wrap))
            })
            .collect();
        let (server, to_expire) = (world.server.clone(), victim.clone());
        let killer = loom::thread::spawn(move || server.expire(&to_expire));
        let first = victim.session().id();
        let was_lost = hold(&world, &victim, layout, wrap);
        lost_in.add(was_lost);
        others.into_iter().for_each(|thread| thread.join().expect("no panic"));
        killer.join().expect("no panic");
        again_in.add(!was_lost && first != victim.session().id());
        assert_clean(&world, 0);
    });
    lost.assert_reached("the session ends while it leads");
    again.assert_reached("it stands again with a new session");
}

#[test]
fn election_session_expires_at_any_point_of_two_latch() {
    session_expires("election_session_expires_at_any_point_of_two_latch", LATCH, 2, Some(4), SOUND);
}

#[test]
fn election_session_expires_at_any_point_of_two_selector() {
    session_expires("election_session_expires_at_any_point_of_two_selector", SELECTOR, 2, Some(4), SOUND);
}

#[test]
fn election_session_expires_at_any_point_of_three() {
    session_expires("election_session_expires_at_any_point_of_three", LATCH, 3, Some(2), SOUND);
}

#[test]
#[should_panic(expected = "are both valid")]
fn planted_leader_ignores_expiry() {
    session_expires("planted_leader_ignores_expiry", LATCH, 2, None, Flaw::IgnoreExpiry);
}

/// A campaign is dropped at its k-th poll, each answer there one poll late: between two others it leaves no node, no
/// watch, and nobody waiting, and nobody takes its end for a hand-over.
fn cancelled<W: Wrap>(name: &'static str, layout: ElectionLayout, wrap: W) {
    let (waiting, led) = (Count::default(), Count::default());
    for polls in 0..=5 {
        let (waiting_in, led_in) = (waiting.clone(), led.clone());
        Model::new(format!("{name}/{polls}")).preemption_bound(3).check(move || {
            let world = World::new(Flaw::None);
            let victim = world.connect();
            world.server.delay_replies(&victim);
            together!(candidate(&world, layout, wrap), candidate(&world, layout, wrap); {
                let leadership = poll_times(polls, election(&victim, layout, wrap).campaign());
                waiting_in.add(leadership.is_none() && polls > 3);
                if let Some(leadership) = leadership {
                    led_in.add(true);
                    world.visit(leadership.expect("the session lives").term());
                }
            });
            assert_clean(&world, 0);
        });
    }
    waiting.assert_reached("dropped while it waits in line");
    led.assert_reached("elected before it was dropped");
}

#[test]
fn election_cancelled_at_any_point_latch() {
    cancelled("election_cancelled_at_any_point_latch", LATCH, SOUND);
}

#[test]
fn election_cancelled_at_any_point_selector() {
    cancelled("election_cancelled_at_any_point_selector", SELECTOR, SOUND);
}

/// The list is read as if nobody stood ahead.
fn see_nobody_ahead(client: &Inner, request: Request) -> Response {
    let is_list = matches!(request, Request::GetChildren(_));
    let response = client.submit(request);
    let own = client.submit(Request::GetEphemerals(GetEphemerals { prefix: path() }));
    let Some(Ok(Answer { reply: Reply::Ephemerals(own), .. })) = at_once(own).filter(|_| is_list) else {
        return response;
    };
    response.map(move |outcome| {
        let mut answer = outcome?;
        if let Reply::Children(names, _) = &mut answer.reply {
            names.retain(|name| own.iter().any(|own| own.name() <= name.as_str()));
        }
        Ok(answer)
    })
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_death_taken_for_hand_over() {
    let blind: fn(&Inner, Request) -> Response = see_nobody_ahead;
    cancelled("planted_death_taken_for_hand_over", LATCH, blind);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_candidate_hands_over_on_giving_up() {
    cancelled("planted_candidate_hands_over_on_giving_up", SELECTOR, Flaw::HandOverOnGivingUp);
}

/// The k-th answer to one candidate is lost, its request carried out: it leads once, and what it proclaims is there.
fn reply_lost<W: Wrap>(name: &'static str, layout: ElectionLayout, wrap: W) {
    for replies in 0..=5 {
        Model::new(format!("{name}/{replies}")).preemption_bound(3).check(move || {
            let world = World::new(Flaw::None);
            let client = world.connect();
            world.server.lose_reply_after(&client, replies);
            together!(candidate(&world, layout, wrap); {
                let election = election(&client, layout, wrap);
                let leadership = block_on(election.campaign()).expect("the session lives");
                world.visit(leadership.term());
                block_on(leadership.proclaim("here")).expect("the session lives");
                let leader = block_on(election.leader()).expect("the session lives").expect("it leads");
                assert_eq!((leader.term, leader.value), (leadership.term(), Some(Bytes::from("here"))));
            });
            assert_clean(&world, 0);
        });
    }
}

#[test]
fn election_reply_lost_at_any_point_latch() {
    reply_lost("election_reply_lost_at_any_point_latch", LATCH, SOUND);
}

#[test]
fn election_reply_lost_at_any_point_selector() {
    reply_lost("election_reply_lost_at_any_point_selector", SELECTOR, SOUND);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_stand_blindly_again() {
    reply_lost("planted_stand_blindly_again", LATCH, Flaw::CreateBlindly);
}

/// One candidate's connection is cut and made again at any two points.
fn connection_lost<W: Wrap>(name: &'static str, layout: ElectionLayout, wrap: W) {
    let missed = Count::default();
    let missed_in = missed.clone();
    Model::new(name).preemption_bound(3).check(move || {
        let world = World::new(Flaw::None);
        let victim = world.connect();
        let (server, client, missed) = (world.server.clone(), victim.clone(), missed_in.clone());
        let cut = move || {
            server.disconnect(&client);
            let before = server.wake_ups();
            server.reconnect(&client);
            missed.add(server.wake_ups() > before);
        };
        together!(candidate(&world, layout, wrap), cut; {
            let leadership = block_on(election(&victim, layout, wrap).campaign()).expect("the session lives");
            world.visit(leadership.term());
        });
        assert_clean(&world, 0);
    });
    missed.assert_reached("the hand-over happens while the connection is down");
}

#[test]
fn election_connection_lost_at_any_point_latch() {
    connection_lost("election_connection_lost_at_any_point_latch", LATCH, SOUND);
}

#[test]
fn election_connection_lost_at_any_point_selector() {
    connection_lost("election_connection_lost_at_any_point_selector", SELECTOR, SOUND);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn planted_election_of_everybody_over_a_cut() {
    let alone: fn(&Inner, Request) -> Response = claim_to_be_alone;
    connection_lost("planted_election_of_everybody_over_a_cut", LATCH, alone);
}

/// Terms grow also where the directory is removed in between and made again, and its numbers start anew.
fn terms_over_a_new_directory(name: &'static str, flaw: Flaw) {
    let again = Count::default();
    let again_in = again.clone();
    Model::new(name).check(move || {
        let world = World::new(Flaw::None);
        let (server, again) = (world.server.clone(), again_in.clone());
        let reaper = loom::thread::spawn(move || {
            server.reap_containers();
            again.add(server.inspect(|tree| tree.stat(&path()).is_none()));
        });
        stand(&world, SELECTOR, flaw);
        stand(&world, SELECTOR, flaw);
        reaper.join().expect("no panic");
        assert_clean(&world, 0);
    });
    again.assert_reached("the directory is removed between two terms");
}

#[test]
fn terms_outlive_the_directory() {
    terms_over_a_new_directory("terms_outlive_the_directory", Flaw::None);
}

#[test]
#[should_panic(expected = "a later grant has a greater token")]
fn planted_number_as_term() {
    terms_over_a_new_directory("planted_number_as_term", Flaw::NumberAsToken);
}

/// Two leaders proclaim while the session of the first ends: the later one's value is what stays.
fn proclaim_against_expiry(name: &'static str, flaw: Flaw) {
    let refused = Count::default();
    let refused_in = refused.clone();
    Model::new(name).check(move || {
        let world = World::new(Flaw::None);
        let (first, second) = (world.connect(), world.connect());
        let leadership = block_on(election(&first, LATCH, flaw).campaign()).expect("the session lives");
        let other = world.clone();
        let next = loom::thread::spawn(move || {
            other.server.expire(&first);
            let leadership = block_on(election(&second, LATCH, flaw).campaign()).expect("the session lives");
            block_on(leadership.proclaim("second")).expect("a valid leader's value");
        });
        let outcome = block_on(leadership.proclaim("first"));
        let is_expected = matches!(outcome, Ok(()) | Err(Error::Refused(_) | Error::SessionExpired));
        assert!(is_expected, "{outcome:?}");
        refused_in.add(outcome.is_err());
        drop(leadership);
        next.join().expect("no panic");
        let (data, _) = block_on(world.connect().get(&path())).expect("the node is there");
        assert!(data.ends_with(b"second"), "the earlier leader proclaimed last");
    });
    refused.assert_reached("the earlier leader's value is refused");
}

#[test]
fn proclaim_needs_the_leadership() {
    proclaim_against_expiry("proclaim_needs_the_leadership", Flaw::None);
}

#[test]
#[should_panic(expected = "the earlier leader proclaimed last")]
fn planted_proclaim_unguarded() {
    proclaim_against_expiry("planted_proclaim_unguarded", Flaw::WriteUnguarded);
}
