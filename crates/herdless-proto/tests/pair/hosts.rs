//! How often a client dials, and another list of hosts.

use std::time::Duration;

use herdless_core::{Error, Reply};
use herdless_proto::client::Config;
use herdless_proto::codec::ConnectResponse;

use crate::harness::{Seen, TIMEOUT, World, config};
use crate::requests::*;

/// The longest pause of these tests; a dial every half of it is all that there may be.
const CAP: Duration = Duration::from_millis(400);
const MINUTE: Duration = Duration::from_secs(60);

/// How many dials there were in a minute by a transport that always draws the shortest pause.
fn dials(mut world: World, each: impl Fn(&mut World)) -> usize {
    world.hasty = true;
    world.forget();
    let end = world.now + MINUTE;
    // Without a bound there is no end of it.
    while world.now < end && world.log.len() < 10_000 {
        world.advance(Duration::from_millis(5));
        each(&mut world);
    }
    world.log.iter().filter(|(_, seen)| matches!(seen, Seen::Dial(_))).count()
}

fn assert_bounded(what: &str, dials: usize) {
    println!("{what}: {dials} dials in a minute");
    // Two at the start, and one that is asked for by the end and not begun.
    let most = (MINUTE.as_millis() / (CAP / 2).as_millis()) as usize + 3;
    assert!((20..=most).contains(&dials), "{what}: {dials} dials in a minute, {most} are the most");
}

#[test]
fn however_a_server_turns_a_client_away_it_is_dialled_at_a_bounded_rate() {
    let mut world = World::idle(config());
    world.reachable = false;
    assert_bounded("nobody listens", dials(world, |_| {}));

    assert_bounded(
        "accepted and cut",
        dials(World::new(), |world| {
            if world.is_connected() {
                world.cut()
            }
        }),
    );

    // As a server does that is given something it cannot read, time and again.
    assert_bounded(
        "one request answered, then cut",
        dials(World::new(), |world| {
            if world.is_connected() {
                assert!(matches!(world.call(exists("/")), Ok(Reply::Exists(_))));
                world.cut();
            }
        }),
    );

    let mut world = World::new();
    world.call(watch_exists("/w")).unwrap();
    world.script.refuse_set_watches = usize::MAX;
    world.cut();
    assert_bounded("the watches are never re-armed", dials(world, |_| {}));

    let mut world = World::idle(config());
    world.script.connect =
        Some(Box::new(|_| Some(ConnectResponse { timeout_ms: 0, session_id: 0, password: [0; 16], read_only: None })));
    assert_bounded("no session is ever given", dials(world, |_| {}));

    // The shortest life that counts as one.
    assert_bounded(
        "cut as soon as it has proven itself",
        dials(World::new(), |world| {
            let resumed = [world.when(&Seen::Resumed), vec![Duration::ZERO]].concat();
            let since = world.since_start(world.now) - resumed.into_iter().max().unwrap();
            if world.is_connected() && since >= CAP {
                world.cut();
            }
        }),
    );
}

#[test]
fn no_session_is_lost_to_a_pause() {
    let mut world = World::idle(Config { max_backoff: Duration::from_secs(3_600), ..config() });
    world.settle();
    // The longest pauses, after a silence of two thirds: two dials fit into the last one, and the second succeeds.
    world.silent = true;
    world.advance(TIMEOUT * 2 / 3 - Duration::from_millis(1));
    world.reachable = false;
    world.advance(TIMEOUT / 6);
    (world.silent, world.reachable) = (false, true);
    world.advance(TIMEOUT / 6);
    assert_eq!(world.told()[1..], [Seen::Suspended, Seen::Resumed], "{:?}", world.log);
}

fn dialled(world: &World) -> Vec<usize> {
    let hosts = world.log.iter().map(|(_, seen)| seen);
    hosts.filter_map(|seen| if let Seen::Dial(host) = seen { Some(*host) } else { None }).collect()
}

#[test]
fn a_client_of_a_server_that_is_gone_moves_in_the_same_session() {
    let mut world = World::new();
    let asked = world.submit(exists("/"));
    world.forget();
    // It was connected to the first.
    world.update_hosts(&[None, Some(1)], 1);
    assert_eq!(world.outcome(asked), Some(Err(Error::ConnectionLost)));
    world.settle();
    assert_eq!(dialled(&world).len(), 1);
    assert_eq!(world.told().last(), Some(&Seen::Resumed));
    assert!(world.call(exists("/")).is_ok());
}

#[test]
fn a_client_whose_server_stays_notices_nothing_of_fewer_or_other_servers() {
    for (kept, random) in [(&[Some(0)][..], 1), (&[Some(1), Some(0)], 2), (&[None, Some(0)], 3), (&[], 4)] {
        let mut world = World::new();
        let asked = world.submit(exists("/"));
        world.update_hosts(kept, random);
        world.settle();
        assert!(matches!(world.outcome(asked), Some(Ok(_))));
        assert_eq!(world.client.counters().connects, 1);
    }
}

#[test]
fn of_the_clients_whose_server_stays_the_surplus_moves_to_the_added_ones() {
    let mut moved = 0;
    for random in 0..200 {
        let mut world = World::new();
        world.forget();
        world.update_hosts(&[None, Some(0), Some(1), None], random);
        world.settle();
        if let [host] = dialled(&world)[..] {
            assert!(host == 0 || host == 3, "to an added one");
            moved += 1;
        }
        assert!(world.call(exists("/")).is_ok());
    }
    // One half, from 2 servers to 4. That the shares are even is shown where the rule is.
    assert!((80..=120).contains(&moved), "{moved} of 200");
}

#[test]
fn a_dial_to_a_server_that_is_gone_is_given_up_and_no_other() {
    let mut world = World::new();
    world.reachable = false;
    world.cut();
    assert_eq!(dialled(&world), [0, 1]);
    world.update_hosts(&[Some(1), Some(0)], 9);
    assert_eq!(dialled(&world), [0, 1], "the host is still one of them");
    world.update_hosts(&[Some(1)], 9);
    assert_eq!(dialled(&world), [0, 1, 0], "it is gone");
    world.reachable = true;
    world.advance(2 * CAP);
    assert_eq!(world.told().last(), Some(&Seen::Resumed));
}
