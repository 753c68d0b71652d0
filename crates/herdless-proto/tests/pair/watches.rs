//! Watches: when they fire, and how they come over a reconnect.

use herdless_core::{CreateMode, Error, EventKind, Reply, WatchEvent};

use crate::harness::{Seen, Torn, World, config, path};
use crate::requests::*;

fn fired(tokens: &[u32], kind: EventKind, at: &str) -> Seen {
    Seen::Fired(tokens.to_vec(), Ok(WatchEvent { kind, path: path(at) }))
}

/// A client with a node that it watches, and nothing told so far.
fn watching() -> (World, u32) {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let token = world.submit(watch_data("/a"));
    world.settle();
    world.forget();
    (world, token)
}

#[test]
fn an_event_comes_before_the_reply_that_reflects_the_change() {
    for torn in [Torn::Whole, Torn::Random, Torn::OneByte] {
        let (mut world, watch) = watching();
        world.torn = torn;
        let set = world.submit(set("/a", "new"));
        let read = world.submit(get("/a"));
        world.settle();
        let told = world.told();
        assert_eq!(told[0], fired(&[watch], EventKind::DataChanged, "/a"));
        assert!(matches!(&told[1], Seen::Reply(token, Ok(Reply::Set(_))) if *token == set));
        assert!(matches!(&told[2], Seen::Reply(token, Ok(Reply::Data(data, _)))
            if *token == read && data == "new"));
    }
}

#[test]
fn an_event_right_behind_the_reply_in_the_same_read_finds_its_watch() {
    let mut world = World::new();
    world.torn = Torn::Whole;
    world.other(node("/a")).unwrap();
    let reads = world.client.counters().bytes_in;
    world.hold = true;
    let read = world.submit(watch_data("/a"));
    world.settle();
    world.other(set("/a", "new")).unwrap();
    world.forget();
    world.hold = false;
    world.flush();
    world.settle();
    let told = world.told();
    assert!(matches!(&told[0], Seen::Reply(token, Ok(Reply::Data(..))) if *token == read));
    assert_eq!(told[1], fired(&[read], EventKind::DataChanged, "/a"));
    assert!(world.client.counters().bytes_in > reads);
    assert_eq!(world.log[0].0, world.log[1].0, "both came in one read");
}

#[test]
fn each_kind_of_watch_fires_with_its_event() {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let absent = world.submit(watch_exists("/b"));
    let present = world.submit(watch_exists("/a"));
    let children = world.submit(watch_children("/a"));
    world.settle();
    world.forget();
    world.other(node("/b")).unwrap();
    world.other(node("/a/c")).unwrap();
    world.other(delete("/a/c")).unwrap();
    world.other(delete("/a")).unwrap();
    world.settle();
    assert_eq!(
        world.told(),
        [
            fired(&[absent], EventKind::Created, "/b"),
            fired(&[children], EventKind::ChildrenChanged, "/a"),
            fired(&[present], EventKind::Deleted, "/a"),
        ]
    );
}

#[test]
fn two_watches_on_one_path_fire_together_and_once() {
    let (mut world, first) = watching();
    let second = world.submit(watch_data("/a"));
    world.settle();
    world.forget();
    world.other(set("/a", "1")).unwrap();
    world.other(set("/a", "2")).unwrap();
    world.settle();
    assert_eq!(world.told(), [fired(&[first, second], EventKind::DataChanged, "/a")]);
    assert_eq!(world.tree.watch_count(), 0);
}

#[test]
fn a_read_that_is_refused_leaves_no_watch() {
    let mut world = World::new();
    assert!(world.call(watch_data("/none")).is_err());
    assert!(world.call(watch_children("/none")).is_err());
    world.cut();
    world.settle();
    assert!(world.set_watches.is_empty());
}

#[test]
fn a_watch_comes_over_a_reconnect_and_fires_afterwards() {
    let (mut world, watch) = watching();
    world.cut();
    assert_eq!(world.tree.watch_count(), 0, "the connection took it along");
    world.settle();
    assert_eq!(world.tree.watch_count(), 1);
    assert_eq!(world.told(), [Seen::Suspended, Seen::Resumed]);
    world.other(set("/a", "new")).unwrap();
    world.settle();
    assert_eq!(world.told()[2..], [fired(&[watch], EventKind::DataChanged, "/a")]);
}

#[test]
fn what_changed_during_the_cut_fires_after_it_and_the_rest_is_armed_again() {
    let mut world = World::new();
    for at in ["/set", "/gone", "/kid", "/kidgone", "/same"] {
        world.other(node(at)).unwrap();
    }
    let mut watches = Vec::new();
    for request in [
        watch_data("/set"),
        watch_data("/gone"),
        watch_data("/same"),
        watch_exists("/new"),
        watch_exists("/never"),
        watch_children("/kid"),
        watch_children("/kidgone"),
    ] {
        watches.push(world.submit(request));
    }
    world.settle();
    world.cut();
    for request in [set("/set", ""), delete("/gone"), node("/new"), node("/kid/k"), delete("/kidgone")] {
        world.other(request).unwrap();
    }
    let read = world.submit(get("/set"));
    world.forget();
    world.settle();
    let told = world.told();
    assert_eq!(told[0], Seen::Resumed);
    let mut events = told[1..6].to_vec();
    events.sort_by_key(|seen| match seen {
        Seen::Fired(tokens, _) => tokens[0],
        other => panic!("{other:?} before the events"),
    });
    assert_eq!(
        events,
        [
            fired(&watches[0..1], EventKind::DataChanged, "/set"),
            fired(&watches[1..2], EventKind::Deleted, "/gone"),
            fired(&watches[3..4], EventKind::Created, "/new"),
            fired(&watches[5..6], EventKind::ChildrenChanged, "/kid"),
            fired(&watches[6..7], EventKind::Deleted, "/kidgone"),
        ]
    );
    assert!(matches!(&told[6], Seen::Reply(token, Ok(_)) if *token == read));
    assert_eq!(told.len(), 7);
    assert_eq!(world.tree.watch_count(), 2, "/same and /never");
}

#[test]
fn a_hand_over_shows_as_a_change_but_as_a_deletion_if_a_cut_came_in_between() {
    let (mut world, watch) = watching();
    world.other(set_and_delete("/a")).unwrap();
    world.settle();
    assert_eq!(world.told(), [fired(&[watch], EventKind::DataChanged, "/a")]);

    let (mut world, watch) = watching();
    world.cut();
    world.other(set_and_delete("/a")).unwrap();
    world.settle();
    assert_eq!(world.told()[2..], [fired(&[watch], EventKind::Deleted, "/a")]);
}

#[test]
fn an_event_that_a_cut_has_swallowed_comes_again() {
    // Two watches are fired by one change, and the connection breaks between the two events: both have its zxid, so
    // what the first one says about "seen" must not cost the second.
    for cut in 0..80 {
        let mut world = World::new();
        world.torn = Torn::Whole;
        world.other(node("/a")).unwrap();
        let data = world.submit(watch_data("/a"));
        let children = world.submit(watch_children("/"));
        world.settle();
        world.forget();
        world.other(delete("/a")).unwrap();
        world.cut_at.push_back(world.carried + cut);
        world.settle();
        let told = world.told();
        let both = [fired(&[data], EventKind::Deleted, "/a"), fired(&[children], EventKind::ChildrenChanged, "/")];
        for event in &both {
            let times = told.iter().filter(|seen| *seen == event).count();
            assert_eq!(times, 1, "cut after {cut}: {told:?}");
        }
    }
}

#[test]
fn twenty_thousand_long_paths_are_armed_again_in_frames_of_at_most_128_kib() {
    let mut config = config();
    config.max_in_flight = 100_000;
    let mut world = World::idle(config);
    world.torn = Torn::Whole;
    world.settle();
    let name = "x".repeat(90);
    for i in 0..20_000 {
        world.submit(watch_exists(&format!("/{name}-{i:05}")));
    }
    world.settle();
    let before = world.client.counters();
    world.cut();
    world.settle();
    let after = world.client.counters();
    assert_eq!(world.tree.watch_count(), 20_000);
    assert_eq!(after.requests - before.requests, world.set_watches.len() as u64);
    assert_eq!(world.set_watches.len(), 16);
    for batch in &world.set_watches {
        let paths = batch.exists.iter();
        let length = 28 + paths.map(|path| 4 + path.as_str().len()).sum::<usize>();
        assert!(length <= 128 * 1024, "{length}");
    }
    // Nothing is lost between the batches: each path is there once.
    world.other(node(&format!("/{name}-00000"))).unwrap();
    world.other(node(&format!("/{name}-19999"))).unwrap();
    world.settle();
    let told = world.told();
    let events = told.iter().filter(|seen| matches!(seen, Seen::Fired(..)));
    assert_eq!(events.count(), 2);
}

#[test]
fn a_long_path_does_not_push_a_batch_over_what_a_server_takes() {
    let mut world = World::new();
    world.torn = Torn::Whole;
    let long = |c: char| format!("/{}", c.to_string().repeat(1_000_000));
    for i in 0..1_000 {
        world.submit(watch_exists(&format!("/a{}-{i:03}", "x".repeat(95))));
        world.settle();
    }
    world.submit(watch_exists(&long('b')));
    world.submit(watch_exists(&long('c')));
    world.settle();
    world.cut();
    world.settle();
    assert!(world.server_errors.is_empty(), "{:?}", world.server_errors);
    assert_eq!(world.tree.watch_count(), 1_002);
}

#[test]
fn a_server_that_does_not_arm_the_watches_is_left_for_one_that_does() {
    let (mut world, watch) = watching();
    world.script.refuse_set_watches = 2;
    world.cut();
    world.other(set("/a", "new")).unwrap();
    world.settle();
    let resumed = Seen::Resumed;
    let told = world.told();
    assert_eq!(told.iter().filter(|seen| **seen == resumed).count(), 3);
    assert_eq!(told.last(), Some(&fired(&[watch], EventKind::DataChanged, "/a")));
}

#[test]
fn a_watch_that_nobody_waits_for_is_not_armed_again() {
    let (mut world, _) = watching();
    world.reachable = false;
    world.cut();
    world.sweep(&[]);
    world.reachable = true;
    world.settle();
    assert!(world.set_watches.is_empty());
    assert_eq!(world.served, ["connect"], "the connection took it along");
}

#[test]
fn watches_end_once_with_their_session() {
    let (mut world, data) = watching();
    let children = world.submit(watch_children("/"));
    world.settle();
    world.forget();
    world.expire();
    world.settle();
    let told = world.told();
    let ended = |seen: &&Seen| matches!(seen, Seen::Fired(_, Err(Error::SessionExpired)));
    let ended: Vec<_> = told.iter().filter(ended).collect();
    assert_eq!(ended, [&Seen::Fired(vec![data, children], Err(Error::SessionExpired))]);
    assert!(world.is_connected());
    world.cut();
    world.settle();
    assert!(world.set_watches.is_empty());
}

#[test]
fn an_ephemeral_nodes_own_watch_fires_when_the_session_closes() {
    let mut world = World::new();
    made(&mut world, create("/e", "", CreateMode::Ephemeral));
    let watch = world.submit(watch_data("/e"));
    world.settle();
    world.forget();
    let close = world.submit(herdless_core::Request::CloseSession);
    world.settle();
    let gone = WatchEvent { kind: EventKind::Deleted, path: path("/e") };
    assert_eq!(
        world.told(),
        [Seen::Fired(vec![watch], Ok(gone)), Seen::Reply(close, Ok(Reply::Closed)), Seen::Lost, Seen::Closed],
        "as Apache ZooKeeper tells it, before the answer to the close"
    );
}
