//! Requests that wait for too long.

use std::time::Duration;

use herdless_core::{CreateMode, Error, Reply, Request};
use herdless_proto::client::Config;

use crate::harness::{Seen, TIMEOUT, World, config, path};
use crate::requests::*;

const LIMIT: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(2);

fn world() -> World {
    let mut world = World::idle(Config { request_timeout: Some(LIMIT), ..config() });
    world.settle();
    world
}

#[test]
fn what_could_not_be_sent_in_time_ends_and_is_never_sent() {
    let mut world = world();
    world.reachable = false;
    world.cut();
    let first = world.submit(node("/first"));
    world.advance(LIMIT / 2);
    let second = world.submit(node("/second"));
    world.advance(LIMIT / 2 - MOMENT);
    assert_eq!(world.outcome(first), None, "not before");
    world.advance(2 * MOMENT);
    assert_eq!(world.outcome(first), Some(Err(Error::NotSent)));
    assert!(Error::NotSent.is_without_effect());
    assert_eq!(world.outcome(second), None, "each by its own time");
    world.reachable = true;
    world.advance(LIMIT);
    assert!(matches!(world.outcome(second), Some(Ok(Reply::Created(_)))));
    assert_eq!(world.tree.stat(&path("/first")), None);
}

#[test]
fn what_was_sent_is_told_overdue_once_and_its_late_answer_is_matched() {
    let mut world = world();
    world.hold = true;
    let late = world.submit(node("/late"));
    world.advance(LIMIT - MOMENT);
    assert!(!world.told().contains(&Seen::Overdue(late)));
    let other = world.submit(exists("/late"));
    world.advance(2 * MOMENT);
    assert_eq!(world.when(&Seen::Overdue(late)).len(), 1);
    assert_eq!(world.outcome(late), None);
    assert!(!Error::TIMED_OUT.is_without_effect());
    world.hold = false;
    world.flush();
    world.settle();
    // The connection goes on, and so does who waits behind it.
    assert!(matches!(world.outcome(late), Some(Ok(Reply::Created(_)))));
    assert!(matches!(world.outcome(other), Some(Ok(Reply::Exists(Some(_))))));
    assert_eq!(world.when(&Seen::Overdue(late)).len(), 1);
    assert_eq!(world.when(&Seen::Overdue(other)).len(), 0);
    assert_eq!(world.client.counters().connects, 1);
}

#[test]
fn what_is_overdue_still_takes_room_and_ends_with_its_connection() {
    let mut world = World::idle(Config { request_timeout: Some(LIMIT), max_in_flight: 1, ..config() });
    world.settle();
    world.silent = true;
    let late = world.submit(exists("/"));
    world.advance(LIMIT + MOMENT);
    assert_eq!(world.when(&Seen::Overdue(late)).len(), 1);
    assert_eq!(world.client.has_room(), Ok(false));
    assert_eq!(world.try_submit(exists("/")), Err(Error::Overloaded));
    world.silent = false;
    world.cut();
    assert_eq!(world.outcome(late), Some(Err(Error::ConnectionLost)));
    assert_eq!(world.client.has_room(), Ok(true));
    world.settle();
    world.assert_all_answered();
}

#[test]
fn the_time_runs_from_the_submission_and_not_from_the_sending() {
    let mut world = world();
    world.reachable = false;
    world.cut();
    let asked = world.submit(exists("/"));
    world.advance(LIMIT - Duration::from_millis(300));
    (world.reachable, world.hold) = (true, true);
    world.advance(Duration::from_millis(300) + MOMENT);
    assert_eq!(world.when(&Seen::Overdue(asked)).len() + world.when(&Seen::Reply(asked, Err(Error::NotSent))).len(), 1);
}

#[test]
fn clean_up_has_all_the_time_in_the_world() {
    let mut world = world();
    let mine = made(&mut world, create("/e", "", CreateMode::Ephemeral));
    world.hold = true;
    let tokens =
        [world.submit(release(&mine, false)), world.submit(find("/e", "")), world.submit(Request::CloseSession)];
    world.advance(LIMIT * 2);
    for token in tokens {
        assert_eq!(world.when(&Seen::Overdue(token)).len(), 0);
    }
    world.hold = false;
    world.flush();
    world.settle();
    world.assert_all_answered();
    assert!(world.is_closed());
}

/// None is told early or more than a moment late, however many there are and whenever they came.
#[test]
fn many_are_told_each_in_its_time_and_without_looking_at_all_of_them_each_time() {
    let mut world = World::idle(Config { request_timeout: Some(LIMIT), max_in_flight: 10_000, ..config() });
    world.settle();
    (world.silent, world.torn) = (true, crate::harness::Torn::Whole);
    let mut submitted = Vec::new();
    for _ in 0..500 {
        submitted.push((world.submit(exists("/")), world.since_start(world.now)));
        world.advance(Duration::from_micros(700));
    }
    world.advance(LIMIT);
    for (token, at) in submitted {
        let [told] = world.when(&Seen::Overdue(token))[..] else {
            panic!("{token}: {:?}", world.when(&Seen::Overdue(token)));
        };
        assert!((LIMIT..=LIMIT + MOMENT).contains(&(told - at)), "{token} after {:?}", told - at);
    }
    assert!(world.now < world.base + TIMEOUT);
}

#[test]
fn a_limit_beyond_all_time_is_none() {
    let mut world = World::idle(Config { request_timeout: Some(Duration::MAX), ..config() });
    world.settle();
    assert!(matches!(world.call(exists("/")), Ok(Reply::Exists(Some(_)))));
    world.silent = true;
    let asked = world.submit(exists("/"));
    world.advance(TIMEOUT / 2);
    assert_eq!(world.when(&Seen::Overdue(asked)).len(), 0);
}
