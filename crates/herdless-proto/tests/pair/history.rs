//! Servers that have forgotten what the client has seen.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use herdless_core::{CreateMode, Error, Refusal, Reply, SessionId, Zxid};
use herdless_memory::Tree;
use herdless_proto::client::LinkError;

use crate::harness::{OTHER, Seen, TIMEOUT, World, path};
use crate::requests::*;

const FIRST: SessionId = SessionId(0x10001);

/// A tree as it was before anything happened, where the session is known nevertheless.
fn forgotten() -> Tree {
    let mut tree = Tree::new(Zxid(1));
    tree.open_session(OTHER);
    tree.open_session(FIRST);
    tree
}

/// A world whose client has seen ten changes, and the last of them.
fn world() -> (World, Zxid) {
    let mut world = World::new();
    for i in 0..10 {
        made(&mut world, create(&format!("/e{i}"), "", CreateMode::Ephemeral));
    }
    let seen = world.tree.last_zxid();
    (world, seen)
}

#[test]
fn an_answer_from_before_what_was_seen_ends_the_session_and_says_why() {
    let (mut world, seen) = world();
    let watch = world.submit(watch_exists("/x"));
    world.settle();
    world.tree = forgotten();
    let answered = world.tree.last_zxid();
    world.forget();
    let read = world.submit(exists("/"));
    let [behind, lost] = [world.submit(node("/behind")), world.submit(find("/e", ""))];
    world.advance(Duration::from_millis(20));
    let error = Error::HistoryLost { seen, answered };
    assert_eq!(world.link_errors, [LinkError::HistoryLost { seen, answered }]);
    assert_eq!(
        world.told(),
        [
            Seen::Lost,
            Seen::Fired(vec![watch], Err(error.clone())),
            Seen::Reply(read, Err(error.clone())),
            Seen::Reply(behind, Err(error.clone())),
            Seen::Reply(lost, Err(error)),
        ]
    );
    assert_eq!(world.client.lease(), None);
    // The next session has seen nothing yet.
    world.settle();
    assert_eq!(world.told().last(), Some(&Seen::Opened(SessionId(0x10002))));
    assert!(matches!(world.call(node("/new")), Ok(Reply::Created(_))));
    world.assert_all_answered();
}

#[test]
fn an_answer_that_is_as_old_as_what_was_seen_is_none_from_before_it() {
    let (mut world, _) = world();
    for _ in 0..3 {
        assert!(world.call(exists("/e0")).is_ok());
    }
    assert!(world.link_errors.is_empty());
}

#[test]
fn refusals_pings_and_events_say_nothing_of_the_history() {
    let (mut world, _) = world();
    let tree = std::mem::replace(&mut world.tree, forgotten());
    world.script.request = Some(Box::new(|_| Some(Err(Error::Refused(Refusal::NoAuth)))));
    assert_eq!(world.call(exists("/")), Err(Error::Refused(Refusal::NoAuth)));
    world.advance(TIMEOUT);
    assert!(world.served.contains(&"ping".into()));
    world.inject(&crate::faults::event_frame("/e0"));
    world.settle();
    assert_eq!(world.link_errors, []);
    (world.tree, world.script.request) = (tree, None);
    assert!(matches!(world.call(exists("/e0")), Ok(Reply::Exists(Some(_)))));
    assert_eq!(world.told().iter().filter(|seen| **seen == Seen::Lost).count(), 0);
}

/// All servers have been started without their data (ZOOKEEPER-832): each turns the client away, for as long as it asks
/// for what it has seen.
#[test]
fn where_every_server_is_behind_the_client_backs_off_loses_its_session_and_begins_anew() {
    let (mut world, seen) = world();
    world.tree = Tree::new(Zxid(1));
    let lease = world.client.lease().unwrap();
    let asked = Rc::new(Cell::new(0));
    world.cut();
    world.forget();
    let waiting = world.submit(exists("/e0"));
    world.advance(lease - world.now - Duration::from_millis(1));
    assert_eq!(world.told(), [], "nothing is known of the session");
    let dials = world.served.len();
    // 50, 100, 200 and then 400 ms: and each comes round in two round trips.
    assert!((18..=26).contains(&dials), "{dials} in {TIMEOUT:?}");
    let count = asked.clone();
    world.script.connect = Some(Box::new(move |request| {
        assert_eq!((request.session_id, request.last_zxid_seen), (0, 0));
        count.set(count.get() + 1);
        None
    }));
    world.advance(Duration::from_secs(1));
    assert_eq!(world.when(&Seen::Lost), [world.since_start(lease)]);
    assert_eq!(world.outcome(waiting), Some(Err(Error::SessionExpired)));
    assert_eq!((asked.get(), world.is_connected()), (1, true));
    let Ok(Reply::Created(created)) = world.call(node("/new")) else {
        panic!("{:?}", world.told());
    };
    assert!(created.stat.czxid < seen, "the new history is a new one");
    assert!(world.tree.stat(&path("/new")).is_some());
}
