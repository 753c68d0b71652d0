//! Servers without a majority.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use herdless_core::{CreateMode, Error, Refusal, Reply, Request, SessionId};
use herdless_proto::client::LinkError;
use herdless_proto::codec::{ConnectRequest, ConnectResponse};

use crate::harness::{Seen, THIRD, TIMEOUT, World, config, path};
use crate::requests::*;

const FIRST: SessionId = SessionId(0x10001);
/// The longest pause between two dials.
const BACKOFF: Duration = Duration::from_millis(400);
const REFUSED: Error = Error::Refused(Refusal::NotReadOnly);

/// What the server was asked in handshakes: the session, and whether a read-only server would do.
type Asked = Rc<RefCell<Vec<(i64, Option<bool>)>>>;

fn world(session_timeout: Duration) -> World {
    let mut config = config();
    (config.read_only, config.session_timeout) = (true, session_timeout);
    World::idle(config)
}

/// The server has no majority from here on. A new session is one of its own, which `World::open_session` knows nothing of.
fn lose_majority(world: &mut World) -> Asked {
    let asked = Asked::default();
    let heard = asked.clone();
    world.tree.open_session(SessionId(0xffff));
    world.script.connect = Some(Box::new(move |request: &ConnectRequest| {
        heard.borrow_mut().push((request.session_id, request.read_only));
        let id = if request.session_id == 0 { 0xffff } else { request.session_id };
        let timeout_ms = request.timeout_ms;
        Some(ConnectResponse { timeout_ms, session_id: id, password: request.password, read_only: Some(true) })
    }));
    world.script.request = Some(Box::new(|request| {
        // `ReadOnlyRequestProcessor`: a sync is refused too.
        let changes = matches!(request, Request::Create(_) | Request::Delete(_) | Request::Multi(_) | Request::Sync(_));
        changes.then_some(Err(REFUSED))
    }));
    asked
}

fn find_majority(world: &mut World) {
    (world.script.connect, world.script.request) = (None, None);
    world.read_write = Some(0);
}

#[test]
fn who_did_not_ask_for_a_read_only_server_does_not_stay_at_one() {
    let mut world = World::idle(config());
    let asked = lose_majority(&mut world);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.told(), []);
    assert_eq!(world.link_errors[0], LinkError::ReadOnly);
    assert_eq!(asked.borrow()[0], (0, Some(false)));
    assert!(world.link_errors.len() < 8, "it backs off");
}

#[test]
fn a_session_of_a_read_only_server_ends_with_its_connection() {
    let mut world = world(TIMEOUT);
    let asked = lose_majority(&mut world);
    world.settle();
    assert_eq!(world.told(), [Seen::OpenedReadOnly(SessionId(0xffff))]);
    assert_eq!(world.client.credentials(), None, "nobody else could go on with it");
    assert_eq!(world.call(node("/a")), Err(REFUSED));
    let watch = world.submit(watch_exists("/x"));
    world.settle();
    world.forget();
    world.cut();
    world.settle();
    let expired = Err(Error::SessionExpired);
    assert_eq!(
        world.told(),
        [Seen::Suspended, Seen::Lost, Seen::Fired(vec![watch], expired), Seen::OpenedReadOnly(SessionId(0xffff))]
    );
    // Also where the next one has the same id, by chance.
    assert_eq!(*asked.borrow(), [(0, Some(true)), (0, Some(true))]);
}

#[test]
fn a_session_of_a_read_only_server_lives_on_its_pings() {
    let mut world = world(TIMEOUT);
    lose_majority(&mut world);
    world.advance(TIMEOUT * 10);
    assert_eq!(world.told(), [Seen::OpenedReadOnly(SessionId(0xffff))]);
    // One each third, from the sending of the last.
    assert!((29..=31).contains(&world.served.len()), "{:?}", world.served);
}

#[test]
fn a_read_only_server_does_not_renew_the_lease_of_a_session_that_others_decide_on() {
    let mut world = world(TIMEOUT);
    world.settle();
    made(&mut world, create("/e", "", CreateMode::Ephemeral));
    let lease = world.client.lease().unwrap();
    let asked = lose_majority(&mut world);
    world.advance(THIRD / 2);
    world.cut();
    world.forget();
    world.settle();
    assert_eq!(world.told(), [Seen::ResumedReadOnly]);
    assert_eq!(*asked.borrow(), [(FIRST.0, Some(true))]);
    world.script.connect = None;
    for _ in 0..4 {
        world.advance(THIRD / 2);
        world.call(exists("/e")).unwrap();
        assert_eq!(world.client.lease(), Some(lease));
    }
    world.advance(THIRD);
    assert_eq!(world.when(&Seen::Lost), [world.since_start(lease)]);
    let pings = world.served.iter().filter(|name| *name == "ping").count();
    assert!(pings <= 4, "{pings} pings: it asks no more often because the lease runs out");
}

#[test]
fn clean_up_waits_for_a_server_that_can_carry_it_out() {
    let mut world = world(TIMEOUT);
    world.settle();
    let held = made(&mut world, place("/lock-", "mine"));
    made(&mut world, place("/lock-", "searched"));
    lose_majority(&mut world);
    world.cut();
    // One that was asked for before the connection, one after.
    let release = world.submit(release(&held, true));
    world.settle();
    let found = world.submit(find("/lock-", "searched"));
    world.forget();
    world.advance(Duration::from_millis(10));
    assert_eq!((world.outcome(release), world.outcome(found)), (None, None));
    assert!(world.served.is_empty(), "{:?}", world.served);
    assert_eq!(world.call(delete("/lock-0000000000")), Err(REFUSED), "what others ask is asked");

    find_majority(&mut world);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.told()[1..3], [Seen::Suspended, Seen::Resumed]);
    assert_eq!(world.outcome(release), Some(Ok(Reply::Released(true))));
    assert!(matches!(world.outcome(found), Some(Ok(Reply::Found(Some(_))))));
    assert_eq!(world.tree.stat(&held.path), None);
}

#[test]
fn clean_up_that_was_interrupted_waits_too_and_ends_with_the_session() {
    let mut world = world(TIMEOUT);
    world.settle();
    let held = made(&mut world, place("/lock-", "mine"));
    world.hold = true;
    let release = world.submit(release(&held, false));
    lose_majority(&mut world);
    world.hold = false;
    world.cut();
    world.settle();
    assert_eq!(world.outcome(release), None);
    world.advance(TIMEOUT);
    assert_eq!(world.outcome(release), Some(Err(Error::SessionExpired)));
}

#[test]
fn a_close_does_not_wait() {
    let mut world = world(TIMEOUT);
    lose_majority(&mut world);
    world.settle();
    let close = world.submit(Request::CloseSession);
    world.settle();
    assert_eq!(world.outcome(close), Some(Ok(Reply::Closed)));
    assert!(world.is_closed());
}

#[test]
fn the_search_for_a_read_write_server_slows_down_to_one_question_a_minute() {
    let mut world = world(TIMEOUT);
    lose_majority(&mut world);
    world.advance(Duration::from_secs(400));
    let probes: Vec<_> = world.log.iter().filter(|(_, seen)| matches!(seen, Seen::Probe(_))).collect();
    // The next is named when the one before is answered; here that is at once.
    let pauses: Vec<_> = probes.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect();
    let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000];
    assert_eq!(pauses[..12], expected);
    let hosts: Vec<_> = probes.iter().map(|(_, seen)| seen.clone()).take(4).collect();
    assert_eq!(hosts, [Seen::Probe(1), Seen::Probe(0), Seen::Probe(1), Seen::Probe(0)], "each in turn");

    find_majority(&mut world);
    world.advance(Duration::from_secs(200));
    let told = world.told();
    assert!(matches!(told[told.len() - 3..], [Seen::Suspended, Seen::Lost, Seen::Opened(_)]), "{told:?}");
    let probes = world.log.len();
    world.advance(Duration::from_secs(200));
    assert_eq!(world.log.len(), probes, "nothing is searched for any more");
    let (at, dialled) = world.log.iter().rev().find(|(_, seen)| matches!(seen, Seen::Dial(_))).unwrap().clone();
    assert_eq!(dialled, Seen::Dial(0), "the one that was found");
    let moved = world.when(&Seen::Suspended)[0];
    assert_eq!(at, moved, "and at once");
}

/// The word of one server may be wrong about it: the client must not go to and fro without a pause.
#[test]
fn a_server_that_says_it_is_read_write_and_is_not_is_gone_to_ever_more_seldom() {
    let mut world = world(TIMEOUT);
    lose_majority(&mut world);
    world.read_write = Some(1);
    world.advance(Duration::from_secs(60));
    let dials = world.log.iter().filter(|(_, seen)| matches!(seen, Seen::Dial(_))).count();
    assert!((3..=12).contains(&dials), "{dials}");
}

/// The first server has no majority. The second says that it is read-write, accepts sessions, and hangs up after each has lived
/// for so long. The dials of a minute.
fn dials_to_and_fro(life: Duration) -> usize {
    let mut world = world(TIMEOUT);
    // So that it is known who is dialled before the handshake arrives.
    (world.latency, world.hasty, world.read_write) = (Duration::from_millis(4), true, Some(1));
    lose_majority(&mut world);
    let mut without_majority = world.script.connect.take().unwrap();
    let dialled = Rc::new(Cell::new(0));
    let host = dialled.clone();
    world.script.connect = Some(Box::new(move |request: &ConnectRequest| match host.get() {
        0 => without_majority(request),
        _ => None,
    }));
    let end = world.now + Duration::from_secs(60);
    let (mut seen, mut dials, mut since) = (0, 0, world.now);
    while world.now < end && dials < 10_000 {
        world.advance(Duration::from_millis(1));
        for (_, event) in &world.log[seen..] {
            match event {
                Seen::Dial(host) => {
                    dialled.set(*host);
                    dials += 1;
                }
                Seen::Opened(_) | Seen::Resumed => since = world.now,
                _ => {}
            }
        }
        seen = world.log.len();
        if dialled.get() == 1 && world.is_connected() && world.now - since >= life {
            world.cut();
        }
    }
    assert!(world.log.iter().any(|(_, event)| *event == Seen::Resumed), "it was accepted");
    dials
}

/// Two at once, and then one in half of the longest pause, of a client that always draws the shortest.
#[test]
fn a_read_write_server_that_hangs_up_is_dialled_at_a_bounded_rate() {
    for life in [Duration::ZERO, BACKOFF / 2, BACKOFF] {
        let dials = dials_to_and_fro(life);
        let most = (Duration::from_secs(60).as_millis() / (BACKOFF / 2).as_millis()) as usize + 3;
        println!("after {life:?}: {dials} dials in a minute");
        assert!((10..=most).contains(&dials), "after {life:?}: {dials} dials in a minute, {most} are the most");
    }
}

#[test]
fn a_read_write_connection_that_has_lived_makes_the_search_quick_again() {
    for (life, expected) in [(BACKOFF, 100), (BACKOFF / 2, 6_400)] {
        let mut world = world(TIMEOUT);
        lose_majority(&mut world);
        // Questions after 0.1, 0.2, .. 3.2 seconds.
        world.advance(Duration::from_secs(5));
        find_majority(&mut world);
        while !world.told().iter().any(|seen| matches!(seen, Seen::Opened(_))) {
            world.advance(Duration::from_millis(1));
        }
        world.advance(life);
        lose_majority(&mut world);
        world.read_write = None;
        world.forget();
        world.cut();
        world.advance(Duration::from_secs(8));
        let probes: Vec<_> = world.log.iter().filter(|(_, seen)| matches!(seen, Seen::Probe(_))).collect();
        assert_eq!((probes[1].0 - probes[0].0).as_millis(), expected, "after {life:?}");
    }
}

#[test]
fn an_answer_that_comes_too_late_does_nothing() {
    let mut world = world(TIMEOUT);
    lose_majority(&mut world);
    world.settle();
    world.cut();
    let told = world.told();
    world.client.probed(world.now, 1, true);
    world.settle();
    assert_eq!(world.told().len(), told.len() + 1);
    world.client.probed(world.now, 7, true);
    assert_eq!(world.client.poll_event().map(|event| format!("{event:?}")), None);
    find_majority(&mut world);
    world.cut();
    world.settle();
    let told = world.told();
    world.client.probed(world.now, 0, true);
    world.settle();
    assert_eq!(world.told(), told);
    assert!(world.tree.stat(&path("/")).is_some());
}
