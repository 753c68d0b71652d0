//! Sessions that go on in another client.

use std::cell::RefCell;
use std::rc::Rc;

use herdless_core::{CreateMode, Error, Reply, Request, SessionId};
use herdless_proto::client::{LinkError, Machine, SessionCredentials};
use herdless_proto::codec::ConnectResponse;

use crate::harness::{Seen, TIMEOUT, World, config, path};
use crate::requests::*;

const FIRST: SessionId = SessionId(0x10001);

/// A world whose client has an ephemeral node, `/e`, and has seen a change.
fn world() -> World {
    let mut world = World::new();
    made(&mut world, create("/e", "", CreateMode::Ephemeral));
    world
}

/// Leaves the session alone, and takes it over with a client of these credentials, which came as bytes.
fn take_over(world: &mut World, credentials: &SessionCredentials) {
    world.client.abort();
    world.settle();
    let written_down = credentials.encode();
    let credentials = SessionCredentials::decode(written_down.expose()).unwrap();
    world.replace_client(Machine::resume(config(), credentials));
}

#[test]
fn a_session_goes_on_in_another_client_and_its_nodes_live_on() {
    let mut world = world();
    let credentials = world.client.credentials().unwrap();
    assert_eq!((credentials.id(), credentials.timeout()), (FIRST, TIMEOUT));
    assert_eq!(credentials.last_zxid(), world.tree.last_zxid());
    take_over(&mut world, &credentials);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let heard = asked.clone();
    world.script.connect = Some(Box::new(move |request| {
        heard.borrow_mut().push((request.session_id, request.last_zxid_seen));
        None
    }));
    world.settle();
    assert_eq!(world.told(), [Seen::Opened(FIRST)]);
    assert_eq!(*asked.borrow(), [(FIRST.0, credentials.last_zxid().0)]);
    let Ok(Reply::Exists(Some(stat))) = world.call(exists("/e")) else {
        panic!("{:?}", world.told());
    };
    assert_eq!(stat.ephemeral_owner, FIRST.0);
    assert!(world.client.lease().is_some());
    assert!(world.client.credentials().is_some(), "and may be handed on");
    world.call(Request::CloseSession).unwrap();
    assert_eq!(world.tree.stat(&path("/e")), None);
}

#[test]
fn a_client_that_leaves_its_session_tells_who_waits_and_says_nothing_to_the_server() {
    let mut world = world();
    let watch = world.submit(watch_exists("/x"));
    world.settle();
    world.forget();
    let in_flight = world.submit(node("/open"));
    world.client.abort();
    world.settle();
    assert_eq!(world.try_submit(exists("/")), Err(Error::Closed));
    assert_eq!(
        world.told(),
        [
            Seen::Lost,
            Seen::Fired(vec![watch], Err(Error::Closed)),
            Seen::Reply(in_flight, Err(Error::ConnectionLost)),
            Seen::Closed,
        ]
    );
    assert!(!world.served.contains(&"close_session".into()));
    assert!(world.tree.stat(&path("/e")).is_some());
}

#[test]
fn a_session_that_is_over_is_not_taken_over_and_no_other_is_opened() {
    let mut world = world();
    let credentials = world.client.credentials().unwrap();
    take_over(&mut world, &credentials);
    world.expire();
    let waiting = [world.submit(node("/never")), world.submit(auth("a:b"))];
    world.advance(TIMEOUT);
    assert_eq!(
        world.told(),
        [
            Seen::Reply(waiting[1], Err(Error::SessionExpired)),
            Seen::Reply(waiting[0], Err(Error::SessionExpired)),
            Seen::Closed
        ]
    );
    assert_eq!(world.served, ["connect"]);
    assert_eq!(world.client.counters().connects, 0);
}

#[test]
fn a_password_that_is_not_accepted_ends_the_client() {
    let mut world = world();
    let credentials = world.client.credentials().unwrap();
    let mut bytes = credentials.encode().expose().to_vec();
    bytes[9] ^= 1;
    let wrong = SessionCredentials::decode(&bytes).unwrap();
    take_over(&mut world, &wrong);
    world.settle();
    assert_eq!(world.told(), [Seen::Closed]);
    assert!(world.tree.stat(&path("/e")).is_some(), "the session has nothing to do with that");
}

/// As ClickHouse Keeper does with a session that it does not know.
#[test]
fn a_server_that_opens_another_session_instead_is_not_believed() {
    let mut world = world();
    let credentials = world.client.credentials().unwrap();
    take_over(&mut world, &credentials);
    let other = world.open_session(TIMEOUT);
    world.script.connect = Some(Box::new(move |_| Some(other.clone())));
    let waiting = world.submit(node("/never"));
    world.advance(TIMEOUT);
    assert_eq!(world.told(), [Seen::Reply(waiting, Err(Error::SessionExpired)), Seen::Closed]);
    assert_eq!(world.served, ["connect"], "nothing moves over");
    assert_eq!(world.client.credentials(), None);
}

#[test]
fn servers_that_do_not_answer_say_nothing_of_the_session() {
    let mut world = world();
    let credentials = world.client.credentials().unwrap();
    take_over(&mut world, &credentials);
    (world.reachable, world.silent) = (false, true);
    world.advance(TIMEOUT / 3);
    world.reachable = true;
    world.advance(TIMEOUT / 3);
    assert_eq!(world.told(), []);
    world.silent = false;
    world.advance(TIMEOUT / 3 - TIMEOUT / 30);
    assert_eq!(world.told(), [Seen::Opened(FIRST)]);
}

#[test]
fn a_session_is_taken_over_at_a_majority_only() {
    let mut world = world();
    let credentials = world.client.credentials().unwrap();
    world.client.abort();
    world.settle();
    let mut config = config();
    config.read_only = true;
    world.replace_client(Machine::resume(config, credentials));
    // One that does not look at what it is asked.
    world.script.connect = Some(Box::new(|request| {
        assert_eq!(request.read_only, Some(false));
        let (timeout_ms, session_id, password) = (request.timeout_ms, request.session_id, request.password);
        Some(ConnectResponse { timeout_ms, session_id, password, read_only: Some(true) })
    }));
    world.advance(TIMEOUT / 3);
    assert_eq!(world.told(), []);
    assert_eq!(world.link_errors[0], LinkError::ReadOnly);
    world.script.connect = None;
    world.advance(TIMEOUT / 3);
    assert_eq!(world.told(), [Seen::Opened(FIRST)]);
}

#[test]
fn there_are_no_credentials_without_a_session() {
    let mut world = World::idle(config());
    assert_eq!(world.client.credentials(), None);
    world.settle();
    assert!(world.client.credentials().is_some());
    world.cut();
    assert!(world.client.credentials().is_some(), "it may well live on");
    world.settle();
    world.submit(Request::CloseSession);
    assert_eq!(world.client.credentials(), None);
    world.settle();
    assert_eq!(world.client.credentials(), None);
}
