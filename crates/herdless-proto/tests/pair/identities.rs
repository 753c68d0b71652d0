//! Identities: proven before anything else, on every connection.

use herdless_core::{Acl, Create, CreateMode, Error, Identity, Permissions, Refusal, Reply, Request, WhoAmI};

use crate::harness::{Seen, World, config, path};
use crate::requests::*;

fn who_am_i(world: &mut World) -> Vec<Identity> {
    match world.call(Request::WhoAmI(WhoAmI)) {
        Ok(Reply::Identities(identities)) => identities,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_proven_anew_before_watches_and_requests() {
    let mut world = World::new();
    assert_eq!(world.call(auth("me:secret")), Ok(Reply::Authenticated));
    let own = Request::Create(Create {
        path: path("/mine"),
        data: "x".into(),
        acl: [Acl::creator(Permissions::ALL)].into(),
        mode: CreateMode::Persistent,
    });
    world.call(own).unwrap();
    world.submit(watch_data("/mine"));
    world.settle();
    world.forget();
    world.cut();
    world.submit(get("/mine"));
    world.settle();
    assert_eq!(world.served, ["connect", "auth", "set_watches", "get_data"]);
    assert_eq!(who_am_i(&mut world), [Identity { scheme: "digest".into(), id: "me".into() }]);
    // A later session is the same somebody.
    world.expire();
    world.settle();
    assert_eq!(who_am_i(&mut world).len(), 1);
    assert!(matches!(world.call(get("/mine")), Ok(Reply::Data(..))));
}

#[test]
fn a_proof_whose_answer_is_lost_is_answered_on_the_next_connection() {
    let mut world = World::new();
    let token = world.submit(auth("me:secret"));
    world.cut_replies();
    assert_eq!(world.outcome(token), None);
    world.settle();
    assert_eq!(world.outcome(token), Some(Ok(Reply::Authenticated)));
    let offline = {
        world.reachable = false;
        world.cut();
        world.submit(auth("also:me"))
    };
    world.reachable = true;
    world.settle();
    assert_eq!(world.outcome(offline), Some(Ok(Reply::Authenticated)));
    assert_eq!(who_am_i(&mut world).len(), 2);
}

#[test]
fn proven_twice_it_is_sent_once_on_the_next_connection() {
    let mut world = World::new();
    for _ in 0..2 {
        assert_eq!(world.call(auth("me:secret")), Ok(Reply::Authenticated));
    }
    world.forget();
    world.cut();
    world.settle();
    assert_eq!(world.served, ["connect", "auth"]);
}

#[test]
fn who_is_not_believed_is_no_client_any_more() {
    let mut world = World::new();
    world.submit(watch_exists("/a"));
    world.settle();
    world.forget();
    let refused = Request::Auth(herdless_core::Auth { scheme: "sms".into(), credentials: "me".into() });
    world.hold = true;
    let before = world.submit(get("/a"));
    let token = world.submit(refused);
    world.settle();
    world.hold = false;
    let after = world.submit(get("/a"));
    world.flush();
    world.settle();
    let failed = Error::Refused(Refusal::AuthFailed);
    assert_eq!(world.outcome(token), Some(Err(failed.clone())));
    assert_eq!(world.outcome(before), Some(Err(Error::Refused(Refusal::NoNode))), "answered before");
    assert_eq!(world.outcome(after), Some(Err(Error::ConnectionLost)), "it was on its way");
    assert!(world.told().contains(&Seen::Lost) && world.is_closed());
    assert_eq!(world.try_submit(get("/a")), Err(failed));
    world.assert_all_answered();
}

#[test]
fn proofs_that_wait_count_against_the_limit() {
    let mut world = World::idle(herdless_proto::client::Config { max_in_flight: 2, ..config() });
    assert!(world.try_submit(auth("a:1")).is_ok());
    assert!(world.try_submit(auth("a:1")).is_ok());
    assert_eq!(world.try_submit(auth("a:1")), Err(Error::Overloaded));
    assert_eq!(world.try_submit(get("/")), Err(Error::Overloaded));
    world.settle();
    world.assert_all_answered();
}
