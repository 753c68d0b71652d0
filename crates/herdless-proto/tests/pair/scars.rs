//! What other clients got wrong over the years, as far as no test beside this one shows that it is right here.
//!
//! `docs/REGRESSIONS.md` has them all, with the tests.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use herdless_core::{
    AddWatchMode, CreateMode, Error, EventKind, Notice, Refusal, RemoveWatches, Reply, Request, SessionId, WatchEvent,
    WatcherType, Zxid,
};
use herdless_memory::Tree;
use herdless_proto::client::LinkError;
use herdless_proto::codec::ReplyHeader;

use crate::faults::{frame, header};
use crate::harness::{Seen, TIMEOUT, Torn, World, config, path};
use crate::requests::*;

/// `KeeperException.Code.SESSIONMOVED`.
const SESSION_MOVED: i32 = -118;

fn fired(tokens: &[u32], kind: EventKind, at: &str) -> Seen {
    Seen::Fired(tokens.to_vec(), Ok(WatchEvent { kind, path: path(at) }))
}

/// `Watcher.Event.EventType`.
const DELETED: i32 = 2;
const CHILDREN_CHANGED: i32 = 4;

/// An event with a zxid of its own, as servers write it from 3.9 on.
fn event(zxid: i64, kind: i32, at: &str) -> Vec<u8> {
    frame(|w| {
        ReplyHeader { xid: -1, zxid, err: 0 }.write(w);
        w.int(kind);
        w.int(3);
        w.string(at);
    })
}

/// What the client's next handshake says that it has seen.
fn seen_at_reconnect(world: &mut World) -> i64 {
    let seen = Rc::new(Cell::new(None));
    let seen_in = seen.clone();
    world.script.connect = Some(Box::new(move |request| {
        seen_in.set(Some(request.last_zxid_seen));
        None
    }));
    world.cut();
    world.settle();
    world.script.connect = None;
    seen.get().expect("a handshake")
}

// Sessions and transport.

/// ZOOKEEPER-2886, ZOOKEEPER-710. A server that has lost the session to another one refuses each operation of a multi and
/// keeps the connection: a client that sends nothing else would be told so for ever.
#[test]
fn a_multi_that_finds_its_session_moved_leaves_the_connection() {
    let moved = || {
        // Two results as a multi that failed has them, `ErrorResult`, and the end.
        frame(|w| {
            ReplyHeader { xid: 1, zxid: 5, err: 0 }.write(w);
            for code in [-1, -1] {
                w.int(code);
                w.bool(false);
                w.int(SESSION_MOVED);
                w.int(SESSION_MOVED);
            }
            w.int(-1);
            w.bool(true);
            w.int(-1);
        })
    };
    for answer in [moved(), header(1, SESSION_MOVED)] {
        let mut world = World::new();
        world.other(node("/a")).unwrap();
        world.silent = true;
        let token = world.submit(set_and_delete("/a"));
        world.settle();
        world.forget();
        world.inject(&answer);
        world.silent = false;
        world.settle();
        assert_eq!(world.link_errors, [LinkError::SessionMoved]);
        assert_eq!(world.outcome(token), Some(Err(Error::ConnectionLost)));
        assert_eq!(world.told().last(), Some(&Seen::Resumed));
        assert!(matches!(world.call(set_and_delete("/a")), Ok(Reply::Multi(_))));
    }
}

/// The same, of what has to be done on whatever server.
#[test]
fn a_release_goes_on_where_its_session_has_moved_to() {
    for hand_over in [false, true] {
        let mut world = World::new();
        let mine = made(&mut world, create("/e", "", CreateMode::Ephemeral));
        world.silent = true;
        let token = world.submit(release(&mine, hand_over));
        world.settle();
        world.inject(&header(2, SESSION_MOVED));
        world.silent = false;
        world.settle();
        assert_eq!(world.outcome(token), Some(Ok(Reply::Released(true))));
        assert_eq!(world.tree.stat(&path("/e")), None);
    }
}

/// ZOOKEEPER-2775, kazoo #254: what a reply belongs to is never guessed at.
#[test]
fn a_reply_that_comes_twice_ends_the_connection_and_answers_nobody_else() {
    for asked in [1, 2] {
        let mut world = World::new();
        world.silent = true;
        let tokens: Vec<_> = (0..asked).map(|_| world.submit(exists("/"))).collect();
        world.settle();
        let answer = header(1, Refusal::NoNode.code());
        world.inject(&[answer.clone(), answer].concat());
        world.settle();
        let expected = (asked == 2).then_some(2);
        assert_eq!(world.link_errors, [LinkError::OutOfOrder { got: 1, expected }]);
        assert_eq!(world.outcome(tokens[0]), Some(Ok(Reply::Exists(None))));
        if let Some(second) = tokens.get(1) {
            assert_eq!(world.outcome(*second), Some(Err(Error::ConnectionLost)));
        }
    }
}

/// zookeeper-client-rust #32, #39: a server that is behind would be accepted.
#[test]
fn a_handshake_says_what_the_replies_so_far_have_shown() {
    let mut world = World::new();
    assert_eq!(world.client.counters().requests, 0);
    let before = world.tree.last_zxid();
    world.other(node("/a")).unwrap();
    let mut last = 0;
    for _ in 0..3 {
        world.call(set("/a", "x")).unwrap();
        assert!(seen_at_reconnect(&mut world) > last.max(before.0));
        last = world.tree.last_zxid().0;
        assert_eq!(seen_at_reconnect(&mut world), last);
    }
    // In a new session nothing has been seen.
    world.expire();
    world.settle();
    assert!(world.is_connected());
    assert_eq!(seen_at_reconnect(&mut world), 0);
}

/// zookeeper-client-rust #82, zookeeper (Rust) #50, ZOOKEEPER-4655. The events of one change share its zxid from ZooKeeper
/// 3.9 on, so taking it from the first one costs the others if the connection breaks between them; earlier servers send
/// −1, and pings and proofs of identity are answered with what is no zxid of a reply.
#[test]
fn what_was_seen_is_taken_from_replies_alone_and_never_goes_back() {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let watch = world.submit(watch_data("/a"));
    let children = world.submit(watch_children("/"));
    world.settle();
    let last = world.tree.last_zxid().0;
    // The first of two events, and the connection is gone.
    world.inject(&event(last + 1, DELETED, "/a"));
    world.settle();
    assert_eq!(seen_at_reconnect(&mut world), last, "of an event");
    assert!(world.told().contains(&fired(&[watch], EventKind::Deleted, "/a")));
    assert!(!world.told().contains(&fired(&[children], EventKind::ChildrenChanged, "/")));
    // The second one is asked for by what was seen before the first.
    assert_eq!(world.set_watches.last().map(|batch| batch.relative_zxid), Some(last));

    for (zxid, xid) in [(-1, -1), (0, -2), (-1, -2), (last + 100, -2)] {
        let answer = match xid {
            -1 => event(zxid, DELETED, "/none"),
            _ => frame(|w| ReplyHeader { xid, zxid, err: 0 }.write(w)),
        };
        world.inject(&answer);
        world.settle();
        assert_eq!(seen_at_reconnect(&mut world), last, "xid {xid}, zxid {zxid}");
    }
    for (xid, zxid) in [(3, -1), (4, 0)] {
        world.silent = true;
        let token = world.submit(exists("/none"));
        world.settle();
        world.inject(&frame(|w| ReplyHeader { xid, zxid, err: Refusal::NoNode.code() }.write(w)));
        world.settle();
        world.silent = false;
        assert_eq!(world.outcome(token), Some(Ok(Reply::Exists(None))));
        assert_eq!(seen_at_reconnect(&mut world), last, "a reply with zxid {zxid}");
    }
}

/// kazoo #42, ZOOKEEPER-832, go-zookeeper #108: a server that has lost its data hangs up on who has seen more, each time.
#[test]
fn a_server_that_has_lost_its_data_is_used_again_once_the_session_is_given_up() {
    let mut world = World::new();
    made(&mut world, create("/e", "", CreateMode::Ephemeral));
    let watch = world.submit(watch_data("/e"));
    world.settle();
    world.forget();
    world.tree = Tree::new(Zxid(1));
    world.cut();
    let waiting = world.submit(exists("/"));
    world.advance(TIMEOUT * 2);
    assert!(world.is_connected());
    let told = world.told();
    assert_eq!(told[..3], [Seen::Suspended, Seen::Lost, Seen::Fired(vec![watch], Err(Error::SessionExpired)),]);
    assert_eq!(world.outcome(waiting), Some(Err(Error::SessionExpired)));
    // And there were pauses in between.
    let dials = world.served.iter().filter(|name| *name == "connect").count();
    assert!(dials < 60, "{dials} in {TIMEOUT:?}");
}

/// Reliability fault A11. Nobody is waited for longer than the others.
#[test]
fn one_host_that_lives_is_found_among_dead_ones() {
    for alive in 0..4 {
        let mut config = config();
        config.hosts = 4;
        let mut world = World::idle(config.clone());
        world.dead_hosts = (0..4).filter(|host| *host != alive).collect();
        world.advance(config.max_backoff * 4);
        assert!(world.is_connected());
        let dials = |world: &World| {
            let dialled = world.log.iter().filter_map(|(_, seen)| match seen {
                Seen::Dial(host) => Some(*host),
                _ => None,
            });
            dialled.collect::<Vec<_>>()
        };
        assert_eq!(dials(&world), (0..=alive).collect::<Vec<_>>());
        world.forget();
        world.cut();
        world.advance(config.max_backoff * 4);
        // A whole round at most, each host once.
        assert_eq!(world.told(), [Seen::Suspended, Seen::Resumed]);
        assert_eq!(dials(&world), [(alive + 1) % 4, (alive + 2) % 4, (alive + 3) % 4, alive]);
    }
}

/// zookeeper-client-rust #79: a delay that is doubled each time runs over.
#[test]
fn pauses_stay_at_the_cap_however_often_nobody_answers() {
    let mut config = config();
    config.max_backoff = Duration::from_secs(1000);
    let mut world = World::idle(config);
    world.reachable = false;
    world.advance(Duration::from_secs(1000 * 120));
    let dials: Vec<_> = world.log.iter().map(|(at, _)| at.as_secs()).collect();
    let pauses: Vec<_> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() > 100 && pauses[20..].iter().all(|pause| *pause == 1000), "{pauses:?}");
}

// Watches.

/// ZOOKEEPER-1667. The node is there and has its first version, as if nothing had happened.
#[test]
fn a_node_that_was_made_anew_during_a_cut_is_told_of() {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let watches = [watch_data("/a"), watch_exists("/a"), watch_children("/a")].map(|read| world.submit(read));
    world.settle();
    world.forget();
    world.cut();
    world.other(delete("/a")).unwrap();
    world.other(node("/a")).unwrap();
    world.settle();
    let told = world.told();
    for event in
        [fired(&watches[..2], EventKind::DataChanged, "/a"), fired(&watches[2..], EventKind::ChildrenChanged, "/a")]
    {
        assert_eq!(told.iter().filter(|seen| **seen == event).count(), 1, "{told:?}");
    }
    assert_eq!(told.len(), 4, "and the reconnect: {told:?}");
}

/// ZOOKEEPER-3145: the end of a session must leave its mark on the directories that its nodes were in.
#[test]
fn a_node_that_went_with_its_session_during_a_cut_is_told_of() {
    let mut world = World::new();
    world.other(node("/q")).unwrap();
    let other = SessionId(0xbee);
    world.tree.open_session(other);
    world.tree.apply(other, &place("/q/n-", ""), 0, &mut Vec::new()).unwrap();
    let watch = world.submit(watch_children("/q"));
    world.settle();
    world.forget();
    world.cut();
    world.tree.close_session(other, &mut Vec::new());
    world.settle();
    assert_eq!(world.told()[2..], [fired(&[watch], EventKind::ChildrenChanged, "/q")]);
}

/// ZOOKEEPER-4475: a child watch below makes the server tell of children, which a recursive stream is not to hear.
#[test]
fn a_recursive_stream_hears_of_no_children_though_a_read_below_watches_them() {
    let all = AddWatchMode::PersistentRecursive;
    let mut world = World::new();
    for at in ["/a", "/a/b"] {
        world.other(node(at)).unwrap();
    }
    let stream = world.submit(add_watch("/a", all));
    let list = world.submit(watch_children("/a/b"));
    world.settle();
    world.forget();
    world.other(node("/a/b/c")).unwrap();
    world.settle();
    let event = WatchEvent { kind: EventKind::Created, path: path("/a/b/c") };
    let mut told = world.told();
    told.sort_by_key(|seen| matches!(seen, Seen::Noticed(..)));
    assert_eq!(
        told,
        [fired(&[list], EventKind::ChildrenChanged, "/a/b"), Seen::Noticed(vec![stream], Ok(Notice::Event(event))),]
    );
}

/// From 3.9 on a server keeps a child watch beside a recursive one on the same path and tells of both: who shares them is
/// told once.
#[test]
fn a_server_that_tells_of_children_beside_a_recursive_watch_is_not_heard_twice() {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let (one, all) = (AddWatchMode::Persistent, AddWatchMode::PersistentRecursive);
    let tokens = [world.submit(add_watch("/a", all)), world.submit(add_watch("/a", one))];
    world.settle();
    world.forget();
    world.other(node("/a/b")).unwrap();
    world.settle();
    world.inject(&event(-1, CHILDREN_CHANGED, "/a"));
    world.settle();
    let noticed =
        |token, kind, at: &str| Seen::Noticed(vec![token], Ok(Notice::Event(WatchEvent { kind, path: path(at) })));
    assert_eq!(
        world.told(),
        [noticed(tokens[0], EventKind::Created, "/a/b"), noticed(tokens[1], EventKind::ChildrenChanged, "/a"),]
    );
}

/// zookeeper-client-rust #22, #24: the watch fires while its removal is on the way, and the server then knows of none.
#[test]
fn a_removal_that_finds_no_watch_costs_nobody_the_connection() {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let stream = world.submit(add_watch("/a", AddWatchMode::Persistent));
    world.settle();
    world.forget();
    world.script.request = Some(Box::new(|request| {
        matches!(request, Request::RemoveWatches(_)).then_some(Err(Error::Refused(Refusal::NoWatcher)))
    }));
    world.unwatch(stream);
    let asked = Request::RemoveWatches(RemoveWatches { path: path("/a"), kind: WatcherType::Any });
    let asked = world.submit(asked);
    let behind = world.submit(get("/a"));
    world.settle();
    assert_eq!(world.outcome(asked), Some(Err(Error::Refused(Refusal::NoWatcher))));
    assert!(matches!(world.outcome(behind), Some(Ok(Reply::Data(..)))));
    assert!(world.link_errors.is_empty() && world.is_connected());
    assert!(!world.served.contains(&"connect".to_owned()), "{:?}", world.served);
}

/// zookeeper-client-rust's watch.rs (bugs 1 to 3 of the list): watches that stay are left out, batches grow by what the ones
/// before had, and the second answer finds nobody who asked.
#[test]
fn five_kinds_of_watches_over_several_batches_are_each_left_again_once() {
    const EACH: usize = 1_500;
    let mut config = config();
    config.max_in_flight = 100_000;
    let mut world = World::idle(config);
    world.torn = Torn::Whole;
    world.settle();
    let name = |kind: &str, nth: usize| format!("/{kind}-{}-{nth:05}", "x".repeat(90));
    for nth in 0..EACH {
        world.other(node(&name("data", nth))).unwrap();
        world.other(node(&name("children", nth))).unwrap();
        world.submit(watch_data(&name("data", nth)));
        world.submit(watch_exists(&name("exists", nth)));
        world.submit(watch_children(&name("children", nth)));
        world.submit(add_watch(&name("one", nth), AddWatchMode::Persistent));
        world.submit(add_watch(&name("all", nth), AddWatchMode::PersistentRecursive));
    }
    world.settle();
    world.assert_all_answered();
    for _ in 0..2 {
        world.set_watches.clear();
        world.forget();
        world.cut();
        world.settle();
        assert_eq!(world.told().first(), Some(&Seen::Suspended));
        assert_eq!(world.told().get(1), Some(&Seen::Resumed), "one reconnect");
        assert!(world.link_errors.is_empty() && world.server_errors.is_empty());
        let batches = &world.set_watches;
        assert!(batches.len() > 5, "{}", batches.len());
        let sum = |list: fn(&herdless_proto::codec::SetWatches) -> usize| batches.iter().map(list).sum::<usize>();
        let lists = [
            sum(|batch| batch.data.len()),
            sum(|batch| batch.exists.len()),
            sum(|batch| batch.children.len()),
            sum(|batch| batch.persistent.len()),
            sum(|batch| batch.recursive.len()),
        ];
        assert_eq!(lists, [EACH; 5]);
        assert_eq!(world.tree.watch_count(), EACH * 5);
    }
}

/// zookeeper-client-rust #84: what has fired is kept for ever.
#[test]
fn watches_that_have_fired_are_forgotten() {
    let mut world = World::new();
    for nth in 0..50 {
        let at = format!("/n{nth}");
        world.call(watch_exists(&at)).unwrap();
        world.call(watch_children("/")).unwrap();
        world.other(node(&at)).unwrap();
        world.call(watch_data(&at)).unwrap();
        world.other(delete(&at)).unwrap();
        world.settle();
    }
    world.set_watches.clear();
    world.cut();
    world.settle();
    assert!(world.set_watches.is_empty(), "{:?}", world.set_watches);
    assert_eq!(world.tree.watch_count(), 0);
}
