//! Limits: how many requests, and how large.

use bytes::Bytes;
use herdless_core::{CreateMode, Error, Reply, Request, SessionId};
use herdless_proto::MAX_FRAME;

use crate::harness::{Seen, Torn, World, config};
use crate::requests::*;

#[test]
fn beyond_the_limit_ordinary_requests_are_refused_but_clean_up_is_not() {
    let mut config = config();
    config.max_in_flight = 2;
    let mut world = World::idle(config);
    world.settle();
    let mine = made(&mut world, create("/e", "d", CreateMode::Ephemeral));
    let tokens = [world.submit(exists("/")), world.submit(exists("/"))];
    assert_eq!(world.try_submit(exists("/")), Err(Error::Overloaded));
    let clean_up = [world.submit(find("/e", "d")), world.submit(release(&mine, false))];
    world.settle();
    for token in tokens.into_iter().chain(clean_up) {
        assert!(matches!(world.outcome(token), Some(Ok(_))), "{token}");
    }
    world.submit(exists("/"));
    world.submit(exists("/"));
    world.submit(Request::CloseSession);
    world.settle();
    world.assert_all_answered();
}

#[test]
fn clean_up_takes_no_room_from_ordinary_requests() {
    let mut config = config();
    config.max_in_flight = 2;
    let mut world = World::idle(config);
    world.settle();
    // In flight at first, and then interrupted ones and waiting ones.
    for is_up in [true, false] {
        for _ in 0..10 {
            world.submit(find("/none", ""));
        }
        world.submit(exists("/"));
        world.submit(exists("/"));
        assert_eq!(world.try_submit(exists("/")), Err(Error::Overloaded));
        if is_up {
            world.cut();
        }
    }
    world.settle();
    world.assert_all_answered();
}

#[test]
fn the_limit_holds_while_there_is_no_connection_too() {
    let mut config = config();
    config.max_in_flight = 2;
    let mut world = World::idle(config);
    world.submit(exists("/"));
    world.submit(exists("/"));
    assert_eq!(world.try_submit(exists("/")), Err(Error::Overloaded));
    world.settle();
    world.submit(exists("/"));
    world.settle();
    world.assert_all_answered();
}

/// A create whose frame has this many bytes.
fn of_length(at: &str, length: usize) -> Request {
    // xid, opcode, length and path, length and data, one ACL entry, flags
    let rest = 8 + (4 + at.len()) + 4 + (4 + 4 + (4 + 5) + (4 + 6)) + 4;
    create(at, Bytes::from(vec![7; length - rest]), CreateMode::Persistent)
}

#[test]
fn a_request_that_is_too_large_is_refused_and_nothing_of_it_sent() {
    let mut world = World::new();
    world.torn = Torn::Whole;
    let before = world.client.counters();
    assert_eq!(
        world.try_submit(of_length("/a", MAX_FRAME + 1)),
        Err(Error::TooLarge { what: "request", length: MAX_FRAME + 1, limit: MAX_FRAME })
    );
    assert_eq!(world.client.counters(), before);
    // One byte less, and the server takes it.
    assert!(matches!(world.call(of_length("/a", MAX_FRAME)), Ok(Reply::Created(_))));
    assert!(world.server_errors.is_empty());
}

#[test]
fn a_request_that_is_too_large_and_waits_is_refused_when_its_turn_comes() {
    let mut world = World::idle(config());
    world.torn = Torn::Whole;
    let before = world.submit(node("/b"));
    let large = world.submit(of_length("/a", MAX_FRAME + 1));
    let after = world.submit(node("/c"));
    world.settle();
    assert!(matches!(world.outcome(before), Some(Ok(_))));
    assert!(matches!(world.outcome(large), Some(Err(Error::TooLarge { what: "request", .. }))));
    assert!(matches!(world.outcome(after), Some(Ok(_))));
}

/// A client that reads no more than 1000 bytes at a time, and a node that has more.
fn small_reader() -> World {
    let mut config = config();
    config.max_reply = 1_000;
    let mut world = World::idle(config);
    world.settle();
    world.other(create("/big", vec![7; 5_000], CreateMode::Persistent)).unwrap();
    world
}

#[test]
fn a_reply_that_is_too_large_is_that_requests_error_and_the_connection_goes_on() {
    for torn in [Torn::Whole, Torn::Random, Torn::OneByte] {
        let mut world = small_reader();
        world.torn = torn;
        let tokens = [
            world.submit(exists("/big")),
            world.submit(get("/big")),
            world.submit(exists("/big")),
            world.submit(get("/big")),
        ];
        world.forget();
        world.settle();
        let large = Err(Error::TooLarge { what: "reply", length: 16 + 4 + 5_000 + 68, limit: 1_000 });
        assert!(matches!(world.outcome(tokens[0]), Some(Ok(_))));
        assert_eq!(world.outcome(tokens[1]), Some(large.clone()));
        assert!(matches!(world.outcome(tokens[2]), Some(Ok(_))));
        assert_eq!(world.outcome(tokens[3]), Some(large));
        assert_eq!(world.told().len(), 4, "no cut: {:?}", world.told());
        let counters = world.client.counters();
        assert_eq!(counters.bytes_in + counters.bytes_out, world.carried);
    }
}

#[test]
fn a_cut_inside_a_reply_that_is_too_large_leaves_nothing_to_skip_on_the_next_connection() {
    let mut world = small_reader();
    world.torn = Torn::Whole;
    let token = world.submit(get("/big"));
    world.cut_at.push_back(world.carried + 1_000);
    world.settle();
    assert!(matches!(world.outcome(token), Some(Err(Error::TooLarge { .. }))));
    assert_eq!(world.told().last(), Some(&Seen::Resumed));
    assert!(matches!(world.call(exists("/big")), Ok(Reply::Exists(_))));
}

#[test]
fn a_step_of_an_errand_whose_reply_is_too_large_ends_it() {
    let mut world = small_reader();
    let Ok(Reply::Created(_)) = world.call(create("/e", vec![7; 5_000], CreateMode::Ephemeral)) else {
        panic!("{:?}", world.told());
    };
    assert!(matches!(world.call(find("/e", "")), Err(Error::TooLarge { what: "reply", .. })));
    assert_eq!(world.told()[..1], [Seen::Opened(SessionId(0x10001))], "{:?}", world.told());
    assert!(world.is_connected());
}
