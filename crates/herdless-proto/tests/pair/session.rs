//! How sessions begin, go on and end.

use std::time::Duration;

use herdless_core::{
    CreateMode, Error, Multi, MultiOp, MultiRead, NodeData, ReadOp, ReadReply, Reply, Request, SessionId, Version,
};

use crate::harness::{Seen, THIRD, TIMEOUT, Torn, World, accepted, config, path};
use crate::requests::*;

#[test]
fn a_handshake_and_requests_survive_reads_of_one_byte() {
    let mut world = World::idle(config());
    world.torn = Torn::OneByte;
    world.settle();
    assert_eq!(world.told(), [Seen::Opened(SessionId(0x10001))]);
    made(&mut world, create("/a", "data", CreateMode::Persistent));
    let Ok(Reply::Data(data, stat)) = world.call(get("/a")) else {
        panic!("{:?}", world.told());
    };
    assert_eq!((&data[..], stat.data_length), (&b"data"[..], 4));
    assert_eq!(world.client.counters().requests, 2);
    assert_eq!(world.client.counters().connects, 1);
    let counters = world.client.counters();
    assert_eq!(counters.bytes_in + counters.bytes_out, world.carried);
}

/// Apache ZooKeeper keeps null apart from no bytes (length −1 and length 0), and so do both machines and the tree.
#[test]
fn null_goes_to_the_server_and_back_as_null() {
    let mut world = World::new();
    let held = |world: &mut World| match world.call(get("/a")) {
        Ok(Reply::Data(data, stat)) => (data, stat.data_length),
        other => panic!("{other:?}"),
    };
    made(&mut world, create("/a", NodeData::NULL, CreateMode::Persistent));
    assert_eq!(held(&mut world), (NodeData::NULL, 0));
    world.call(set("/a", "")).unwrap();
    assert_eq!(held(&mut world), ("".into(), 0));
    world.call(set("/a", NodeData::NULL)).unwrap();
    assert_eq!(held(&mut world), (NodeData::NULL, 0));
    let both = MultiRead { operations: vec![ReadOp::GetData(path("/a")), ReadOp::GetData(path("/"))] };
    let Ok(Reply::MultiRead(read)) = world.call(Request::MultiRead(both)) else { panic!("{:?}", world.told()) };
    let data: Vec<_> = read
        .into_iter()
        .map(|read| match read {
            Ok(ReadReply::Data(data, _)) => data,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(data, [NodeData::NULL, "".into()]);
    // A multi that fails takes it back.
    let refused = vec![MultiOp::set(&path("/a"), "x", Version::ANY), MultiOp::delete(&path("/none"), Version::ANY)];
    world.call(Request::Multi(Multi { operations: refused, session: None })).unwrap_err();
    assert_eq!(held(&mut world), (NodeData::NULL, 0));
}

#[test]
fn replies_come_in_the_order_of_the_requests_with_their_tokens() {
    for torn in [Torn::Whole, Torn::Random, Torn::OneByte] {
        let mut world = World::new();
        world.torn = torn;
        let tokens: Vec<_> = (0..20)
            .map(|i| match i % 4 {
                0 => world.submit(node(&format!("/n{i}"))),
                1 => world.submit(exists(&format!("/n{}", i - 1))),
                2 => world.submit(get("/none")),
                _ => world.submit(children("/")),
            })
            .collect();
        world.forget();
        world.settle();
        let answered: Vec<_> = world
            .told()
            .into_iter()
            .map(|seen| match seen {
                Seen::Reply(token, outcome) => (token, outcome),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(answered.iter().map(|(token, _)| token).eq(&tokens));
        for (token, outcome) in answered {
            let fits = match token % 4 {
                0 => matches!(outcome, Ok(Reply::Created(_))),
                1 => matches!(outcome, Ok(Reply::Exists(Some(_)))),
                2 => matches!(outcome, Err(Error::Refused(_))),
                _ => matches!(outcome, Ok(Reply::Children(..))),
            };
            assert!(fits, "{token}: {outcome:?}");
        }
    }
}

#[test]
fn what_is_submitted_before_the_first_connection_waits_for_it() {
    let mut world = World::idle(config());
    let token = world.submit(node("/early"));
    assert_eq!(world.outcome(token), None);
    world.settle();
    assert!(matches!(world.outcome(token), Some(Ok(Reply::Created(_)))));
}

#[test]
fn an_idle_client_pings_after_a_third_of_silence_and_so_keeps_its_session() {
    let mut world = World::new();
    world.advance(THIRD - Duration::from_millis(10));
    assert!(!world.served.contains(&"ping".into()));
    world.advance(Duration::from_millis(20));
    assert_eq!(world.served, ["connect", "ping"]);
    world.advance(TIMEOUT * 10);
    assert_eq!(world.served.len(), 2 + 30, "{:?}", world.served);
    assert_eq!(world.told(), [Seen::Opened(SessionId(0x10001))]);
    let lease = world.client.lease().unwrap();
    assert!(lease > world.now + THIRD, "the pings renew the lease");
}

#[test]
fn requests_take_the_place_of_pings() {
    let mut world = World::new();
    world.served.clear();
    for _ in 0..20 {
        world.advance(THIRD / 2);
        world.call(exists("/")).unwrap();
    }
    assert!(world.served.iter().all(|name| name == "exists"));
}

#[test]
fn the_lease_runs_from_the_sending_of_what_was_answered() {
    let mut world = World::new();
    world.latency = Duration::from_millis(300);
    world.advance(Duration::from_secs(1));
    let sent = world.now;
    let token = world.submit(exists("/"));
    let before = world.client.lease().unwrap();
    world.advance(Duration::from_millis(500));
    assert_eq!(world.client.lease(), Some(before), "no answer yet");
    world.advance(Duration::from_millis(200));
    assert!(world.outcome(token).is_some());
    assert_eq!(world.client.lease(), Some(sent + TIMEOUT));
}

#[test]
fn a_silent_server_is_left_after_two_thirds_and_the_session_is_lost_at_the_lease() {
    let mut world = World::new();
    let lease = world.client.lease().unwrap();
    (world.silent, world.torn) = (true, Torn::Whole);
    let token = world.submit(exists("/"));
    let waiting_since = world.since_start(world.now);
    world.advance(TIMEOUT * 2 / 3 + Duration::from_millis(10));
    let [suspended] = world.when(&Seen::Suspended)[..] else {
        panic!("{:?}", world.told());
    };
    assert!(suspended - waiting_since <= TIMEOUT * 2 / 3);
    assert_eq!(world.outcome(token), Some(Err(Error::ConnectionLost)));
    let later = world.submit(exists("/"));
    world.advance(TIMEOUT);
    assert_eq!(world.when(&Seen::Lost), [world.since_start(lease)]);
    assert_eq!(world.outcome(later), Some(Err(Error::SessionExpired)));
    world.silent = false;
    world.advance(TIMEOUT);
    assert!(matches!(world.told().last(), Some(Seen::Opened(_))));
}

#[test]
fn a_server_that_talks_but_answers_nothing_is_given_up_at_the_lease() {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let lease = world.client.lease().unwrap();
    world.silent = true;
    world.submit(exists("/"));
    // An event each second: there is no silence, and no answer either.
    let event = crate::faults::event_frame("/a");
    for _ in 0..TIMEOUT.as_secs() {
        world.advance(Duration::from_secs(1));
        if world.is_connected() {
            world.inject(&event);
        }
    }
    assert_eq!(world.when(&Seen::Lost), [world.since_start(lease)]);
    world.assert_all_answered();
}

#[test]
fn after_a_slow_handshake_a_ping_goes_out_at_once_as_much_of_the_lease_is_used_up() {
    let mut config = config();
    config.connect_timeout = TIMEOUT;
    let mut world = World::idle(config);
    (world.latency, world.torn) = (TIMEOUT * 4 / 10, Torn::Whole);
    let answered = TIMEOUT * 8 / 10;
    world.advance(answered - Duration::from_millis(1));
    world.latency = Duration::from_millis(1);
    world.advance(TIMEOUT / 4);
    assert!(world.client.lease() > Some(world.base + TIMEOUT));
    world.advance(TIMEOUT * 4);
    assert_eq!(world.log[1..], [(answered, Seen::Opened(SessionId(0x10001)))], "and the session goes on");
}

#[test]
fn a_handshake_without_an_answer_is_given_up_and_the_next_host_dialled() {
    let mut world = World::idle(config());
    world.silent = true;
    world.advance(Duration::from_secs(5));
    let hosts: Vec<_> = world.log.iter().map(|(_, seen)| seen.clone()).collect();
    assert_eq!(hosts, [Seen::Dial(0), Seen::Dial(1), Seen::Dial(0)]);
    world.silent = false;
    world.advance(Duration::from_secs(5));
    assert!(world.is_connected());
}

#[test]
fn while_no_host_can_be_reached_the_pauses_grow_up_to_the_cap() {
    let mut world = World::idle(config());
    world.reachable = false;
    world.advance(Duration::from_secs(4));
    let dials: Vec<_> = world.log.iter().map(|(at, _)| at.as_millis()).collect();
    let pauses: Vec<_> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..6], [0, 200, 400, 400, 400, 400]);
    // A connection that lives makes them short again.
    world.reachable = true;
    world.settle();
    world.advance(Duration::from_millis(400));
    world.cut();
    let cut = world.since_start(world.now);
    world.settle();
    let resumed = world.when(&Seen::Resumed)[0];
    assert!(resumed - cut < Duration::from_millis(210), "{:?}", world.log);
}

#[test]
fn a_server_that_is_behind_turns_the_client_away_and_another_is_dialled() {
    let mut world = World::new();
    made(&mut world, node("/a"));
    let tree = std::mem::replace(&mut world.tree, herdless_memory::Tree::new(herdless_core::Zxid(1)));
    world.cut();
    world.advance(Duration::from_millis(300));
    assert!(!world.is_connected());
    world.tree = tree;
    world.settle();
    assert_eq!(world.told().last(), Some(&Seen::Resumed));
}

#[test]
fn after_a_cut_the_session_goes_on_and_its_nodes_are_still_there() {
    let mut world = World::new();
    let mine = made(&mut world, create("/e", "", CreateMode::Ephemeral));
    world.cut();
    world.advance(THIRD);
    assert_eq!(world.told().last(), Some(&Seen::Resumed));
    let Ok(Reply::Exists(Some(stat))) = world.call(exists("/e")) else {
        panic!("{:?}", world.told());
    };
    assert_eq!(stat, mine.stat);
}

#[test]
fn a_cut_tells_what_is_in_flight_once_and_sends_what_waits_after_the_reconnect() {
    let mut world = World::new();
    let in_flight: Vec<_> = (0..5).map(|i| world.submit(node(&format!("/f{i}")))).collect();
    world.cut_replies();
    for token in &in_flight {
        assert_eq!(world.outcome(*token), Some(Err(Error::ConnectionLost)));
    }
    let waiting: Vec<_> = (0..5).map(|i| world.submit(node(&format!("/w{i}")))).collect();
    assert!(waiting.iter().all(|token| world.outcome(*token).is_none()));
    world.forget();
    world.settle();
    assert!(waiting.iter().all(|token| matches!(world.outcome(*token), Some(Ok(Reply::Created(_))))));
    assert_eq!(
        world.served,
        ["connect", "create", "create", "create", "create", "create"],
        "what was in flight is not sent again"
    );
    assert!(world.tree.stat(&path("/f4")).is_some(), "it did happen");
}

#[test]
fn what_waits_goes_on_waiting_over_several_cuts() {
    let mut world = World::new();
    world.cut();
    let token = world.submit(node("/patient"));
    for _ in 0..3 {
        // The connection breaks in the middle of the handshake.
        world.cut_at.push_back(world.carried + 20);
        world.settle();
    }
    world.settle();
    assert!(matches!(world.outcome(token), Some(Ok(Reply::Created(_)))));
    world.assert_all_answered();
}

#[test]
fn an_expired_session_tells_everything_once_and_then_a_new_one_is_opened() {
    let mut world = World::new();
    let mine = made(&mut world, create("/e", "", CreateMode::Ephemeral));
    let watch = world.submit(watch_exists("/x"));
    world.settle();
    world.cut();
    let waiting = [world.submit(node("/never")), world.submit(release(&mine, true)), world.submit(find("/e", ""))];
    world.expire();
    world.forget();
    world.settle();
    let expired = Err(Error::SessionExpired);
    for token in waiting {
        assert_eq!(world.outcome(token), Some(expired.clone()));
    }
    assert_eq!(
        world.told(),
        [
            Seen::Lost,
            Seen::Fired(vec![watch], Err(Error::SessionExpired)),
            Seen::Reply(waiting[0], expired.clone()),
            Seen::Reply(waiting[1], expired.clone()),
            Seen::Reply(waiting[2], expired),
            Seen::Opened(SessionId(0x10002)),
        ]
    );
    assert_eq!(world.served, ["connect", "connect"]);
    assert_eq!(world.tree.stat(&path("/never")), None);
}

#[test]
fn a_server_that_answers_with_another_session_has_lost_the_one_asked_for() {
    let mut world = World::new();
    let watch = world.submit(watch_exists("/x"));
    world.settle();
    world.cut();
    let waiting = world.submit(node("/never"));
    let other = world.open_session(TIMEOUT);
    let id = SessionId(other.session_id);
    world.script.connect = Some(Box::new(move |_| Some(other.clone())));
    world.forget();
    world.settle();
    assert_eq!(
        world.told(),
        [
            Seen::Lost,
            Seen::Fired(vec![watch], Err(Error::SessionExpired)),
            Seen::Reply(waiting, Err(Error::SessionExpired)),
            Seen::Opened(id),
        ]
    );
    assert!(world.set_watches.is_empty(), "nothing moves over");
    assert!(matches!(world.call(node("/new")), Ok(Reply::Created(_))));
}

#[test]
fn the_timeout_is_the_servers_and_may_change_at_a_reconnect() {
    let mut world = World::idle(config());
    let first = world.open_session(Duration::from_secs(40));
    let id = SessionId(first.session_id);
    world.script.connect = Some(Box::new(move |_| Some(first.clone())));
    world.settle();
    let start = world.base;
    assert!(world.client.lease().unwrap() >= start + Duration::from_secs(40));
    world.script.connect = Some(Box::new(move |request| {
        // The wanted timeout is asked for again, not the one that was granted.
        assert_eq!(request.timeout_ms, 9_000);
        Some(accepted(id, Duration::from_secs(4), request.password))
    }));
    world.cut();
    world.settle();
    assert_eq!(world.told().last(), Some(&Seen::Resumed));
    assert!(world.client.lease().unwrap() < world.now + Duration::from_secs(4));
}

#[test]
fn a_closed_client_says_so_last_and_accepts_nothing_more() {
    let mut world = World::new();
    let before = world.submit(create("/e", "", CreateMode::Ephemeral));
    let close = world.submit(Request::CloseSession);
    assert_eq!(world.try_submit(exists("/")), Err(Error::Closed));
    world.settle();
    assert!(matches!(world.outcome(before), Some(Ok(_))));
    let told = world.told();
    assert_eq!(told[told.len() - 3..], [Seen::Reply(close, Ok(Reply::Closed)), Seen::Lost, Seen::Closed]);
    assert_eq!(world.tree.stat(&path("/e")), None);
    // A dial that was under way comes too late.
    world.client.connected(world.now);
    assert!(world.client.transmit().is_empty());
    assert_eq!(world.client.poll_timeout(), None);
    world.advance(TIMEOUT);
    assert_eq!(world.told(), told);
}

#[test]
fn closing_without_a_session_is_done_at_once() {
    let mut world = World::idle(config());
    world.reachable = false;
    let waiting = world.submit(node("/never"));
    let close = world.submit(Request::CloseSession);
    assert_eq!(world.outcome(waiting), Some(Err(Error::Closed)));
    assert_eq!(world.outcome(close), Some(Ok(Reply::Closed)));
    assert!(world.is_closed());
}

#[test]
fn closing_while_no_server_answers_ends_with_the_lease() {
    let mut world = World::new();
    world.reachable = false;
    world.cut();
    let close = world.submit(Request::CloseSession);
    assert_eq!(world.outcome(close), None);
    world.advance(TIMEOUT);
    assert_eq!(world.outcome(close), Some(Ok(Reply::Closed)));
    assert_eq!(world.told().last(), Some(&Seen::Closed));
}

#[test]
fn closing_a_session_that_has_expired_meanwhile_is_told_once() {
    let mut world = World::new();
    world.cut();
    let close = world.submit(Request::CloseSession);
    world.expire();
    world.forget();
    world.settle();
    assert_eq!(world.told(), [Seen::Lost, Seen::Reply(close, Ok(Reply::Closed)), Seen::Closed]);
}

#[test]
fn a_reply_that_says_expired_is_that_requests_outcome_and_does_not_renew_the_lease() {
    let mut world = World::new();
    let lease = world.client.lease();
    world.script.request = Some(Box::new(|_| Some(Err(Error::SessionExpired))));
    world.advance(Duration::from_secs(1));
    assert_eq!(world.call(exists("/")), Err(Error::SessionExpired));
    assert_eq!(world.client.lease(), lease);
}

#[test]
fn the_password_is_in_no_debug_output() {
    let world = World::new();
    let text = format!("{:?}", world.client);
    assert!(text.contains("65537"), "the session is: {text}");
    assert!(!text.contains("password") && !text.contains("1, 1, 1"));
}
