//! Requests of several steps: they survive reconnects, and never touch what is somebody else's.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use herdless_core::{
    Auth, Created, Error, EventKind, Multi, Refusal, Release, Reply, Request, SessionId, WatchEvent, Zxid,
};
use herdless_memory::Tree;

use crate::harness::{OTHER, Seen, THIRD, TIMEOUT, Torn, World, path};
use crate::requests::*;

/// A client with a place in a queue, `/q/n-0000000000`.
fn placed() -> (World, Created) {
    let mut world = World::new();
    world.other(node("/q")).unwrap();
    let mine = made(&mut world, place("/q/n-", "me"));
    world.forget();
    (world, mine)
}

fn apply(tree: &mut Tree, request: Request) {
    let outcome = tree.apply(OTHER, &request, 0, &mut Vec::new());
    assert!(outcome.is_ok(), "{request:?}: {outcome:?}");
}

/// The queue is made anew and the first place in it is another's: same name, other node. If our node is still there,
/// somebody has removed it by hand.
fn remake(tree: &mut Tree) {
    if tree.stat(&path("/q/n-0000000000")).is_some() {
        apply(tree, delete("/q/n-0000000000"));
    }
    apply(tree, delete("/q"));
    apply(tree, node("/q"));
    apply(tree, place("/q/n-", "other"));
}

fn owner(world: &World) -> Option<i64> {
    let stat = world.tree.stat(&path("/q/n-0000000000"));
    stat.map(|stat| stat.ephemeral_owner)
}

#[test]
fn a_release_is_one_request_when_nothing_goes_wrong() {
    let (mut world, mine) = placed();
    assert_eq!(world.call(release(&mine, false)), Ok(Reply::Released(true)));
    assert_eq!(world.served, ["delete"]);
    assert_eq!(owner(&world), None);
    assert_eq!(world.call(release(&mine, false)), Ok(Reply::Released(false)), "it was released before");
}

#[test]
fn a_release_that_hands_over_shows_as_a_change_of_the_data() {
    let (mut world, mine) = placed();
    world.other(watch_data(mine.path.as_str())).unwrap();
    assert_eq!(world.call(release(&mine, true)), Ok(Reply::Released(true)));
    assert_eq!(world.served, ["multi"]);
    assert_eq!(world.other_fired, [WatchEvent { kind: EventKind::DataChanged, path: mine.path }]);
    assert_eq!(owner(&world), None);
}

#[test]
fn a_release_that_was_lost_on_its_way_is_done_after_the_reconnect() {
    for hand_over in [false, true] {
        let (mut world, mine) = placed();
        let token = world.submit(release(&mine, hand_over));
        world.cut();
        world.settle();
        assert_eq!(world.outcome(token), Some(Ok(Reply::Released(true))));
        let act = if hand_over { "multi" } else { "delete" };
        assert_eq!(world.served, ["connect", "settle", "exists", act]);
        assert_eq!(owner(&world), None);
    }
}

#[test]
fn a_release_whose_reply_was_lost_is_not_sent_again() {
    for hand_over in [false, true] {
        let (mut world, mine) = placed();
        let token = world.submit(release(&mine, hand_over));
        world.cut_replies();
        assert_eq!(owner(&world), None, "it took effect");
        world.settle();
        assert_eq!(world.outcome(token), Some(Ok(Reply::Released(true))));
        assert_eq!(world.served[1..], ["connect", "settle", "exists"]);
    }
}

#[test]
fn a_release_that_took_effect_spares_the_name_that_is_anothers_by_then() {
    for hand_over in [false, true] {
        let (mut world, mine) = placed();
        let token = world.submit(release(&mine, hand_over));
        world.cut_replies();
        remake(&mut world.tree);
        world.settle();
        assert!(matches!(world.outcome(token), Some(Ok(Reply::Released(_)))));
        assert_eq!(owner(&world), Some(OTHER.0));
    }
}

#[test]
fn a_release_that_took_no_effect_spares_the_name_that_is_anothers_by_then() {
    for hand_over in [false, true] {
        let (mut world, mine) = placed();
        let token = world.submit(release(&mine, hand_over));
        world.cut();
        remake(&mut world.tree);
        world.settle();
        assert!(matches!(world.outcome(token), Some(Ok(Reply::Released(_)))));
        assert_eq!(owner(&world), Some(OTHER.0));
    }
}

#[test]
fn a_release_waits_for_what_is_on_its_way_before_it_looks() {
    let (mut world, mine) = placed();
    let token = world.submit(release(&mine, false));
    world.cut_replies();
    remake(&mut world.tree);
    // Until a write has gone the way of all writes, this server still shows the node as it was: so does one that leads, even
    // after a sync.
    let (behind, at, stat) = (Rc::new(Cell::new(true)), mine.path.clone(), mine.stat);
    world.script.request = Some(Box::new(move |request| match request {
        Request::Multi(multi) if *multi == Multi::settle(&at) => {
            behind.set(false);
            None
        }
        Request::Exists(_) if behind.get() => Some(Ok(Reply::Exists(Some(stat)))),
        _ => None,
    }));
    world.settle();
    assert!(matches!(world.outcome(token), Some(Ok(Reply::Released(_)))));
    assert_eq!(owner(&world), Some(OTHER.0));
}

fn release_of_what_may_be_gone(created: &Created, hand_over: bool) -> Request {
    let Request::Release(release) = release(created, hand_over) else { unreachable!("it is made as one") };
    Request::Release(Release { may_be_gone: true, ..release })
}

#[test]
fn a_release_of_what_may_be_gone_looks_first() {
    for hand_over in [false, true] {
        let act = if hand_over { "multi" } else { "delete" };
        let (mut world, mine) = placed();
        assert_eq!(world.call(release_of_what_may_be_gone(&mine, hand_over)), Ok(Reply::Released(true)));
        assert_eq!(world.served, ["settle", "exists", act]);
        assert_eq!(owner(&world), None);

        let (mut world, mine) = placed();
        remake(&mut world.tree);
        assert!(matches!(world.call(release_of_what_may_be_gone(&mine, hand_over)), Ok(Reply::Released(_))));
        assert_eq!(owner(&world), Some(OTHER.0));
    }
}

/// What the holder of a lease does whose hand-over was carried out, its answer lost.
#[test]
fn a_release_after_a_departure_that_was_lost_spares_the_name_that_is_anothers_by_then() {
    for is_back in [false, true] {
        let (mut world, mine) = placed();
        let departure = world.submit(set_and_delete(mine.path.as_str()));
        world.cut_replies();
        assert_eq!(world.outcome(departure), Some(Err(Error::ConnectionLost)));
        remake(&mut world.tree);
        if is_back {
            // It is noticed only then.
            world.settle();
        }
        let token = world.submit(release_of_what_may_be_gone(&mine, true));
        world.settle();
        assert!(matches!(world.outcome(token), Some(Ok(Reply::Released(_)))));
        assert_eq!(owner(&world), Some(OTHER.0));
    }
}

/// Others may have removed the node meanwhile, as those do who wait for a lease.
#[test]
fn a_release_that_has_waited_for_a_connection_looks_first() {
    for hand_over in [false, true] {
        let act = if hand_over { "multi" } else { "delete" };
        let (mut world, mine) = placed();
        world.cut();
        let token = world.submit(release(&mine, hand_over));
        world.settle();
        assert_eq!(world.outcome(token), Some(Ok(Reply::Released(true))));
        assert_eq!(world.served, ["connect", "settle", "exists", act]);
        assert_eq!(owner(&world), None);

        let (mut world, mine) = placed();
        world.cut();
        let token = world.submit(release(&mine, hand_over));
        remake(&mut world.tree);
        world.settle();
        assert!(matches!(world.outcome(token), Some(Ok(Reply::Released(_)))));
        assert_eq!(owner(&world), Some(OTHER.0));
    }
}

#[test]
fn a_release_of_an_earlier_session_sends_nothing() {
    let (mut world, mine) = placed();
    world.expire();
    world.settle();
    remake(&mut world.tree);
    world.served.clear();
    assert_eq!(world.try_submit(release(&mine, true)), Err(Error::SessionExpired));
    assert!(world.served.is_empty());
    // Nor does one that is submitted while the client has no session at all: it is told so at once.
    world.expire();
    world.reachable = false;
    world.settle();
    assert_eq!(world.try_submit(release(&mine, true)), Err(Error::SessionExpired));
    world.reachable = true;
    world.settle();
    assert_eq!(owner(&world), Some(OTHER.0));
}

#[test]
fn a_release_that_the_server_refuses_ends_with_its_refusal() {
    let (mut world, mine) = placed();
    let refusal = Error::Refused(Refusal::NoAuth);
    let answer = refusal.clone();
    world.script.request = Some(Box::new(move |_| Some(Err(answer.clone()))));
    assert_eq!(world.call(release(&mine, false)), Err(refusal.clone()));
    assert_eq!(world.call(find("/q/n-", "me")), Err(refusal));
}

#[test]
fn a_search_settles_lists_the_sessions_nodes_and_reads_the_newest_first() {
    let (mut world, mine) = placed();
    let newer = made(&mut world, place("/q/n-", "me too"));
    world.served.clear();
    assert_eq!(world.call(find("/q/n-", "me too")), Ok(Reply::Found(Some(newer))));
    assert_eq!(world.served, ["settle", "get_ephemerals", "get_data"]);
    assert_eq!(world.call(find("/q/n-", "me")), Ok(Reply::Found(Some(mine))));
}

#[test]
fn a_search_finds_neither_other_data_nor_other_sessions_nor_other_names() {
    let (mut world, _) = placed();
    world.other(place("/q/n-", "theirs")).unwrap();
    for missing in [find("/q/n-", "theirs"), find("/q/m-", "me")] {
        assert_eq!(world.call(missing), Ok(Reply::Found(None)));
    }
    // The server that cannot list: the children of the directory are everybody's.
    world.script.request = Some(Box::new(unimplemented));
    for missing in [find("/q/n-", "theirs"), find("/q/m-", "me")] {
        assert_eq!(world.call(missing), Ok(Reply::Found(None)));
    }
    assert_eq!(world.call(find("/none/n-", "me")), Ok(Reply::Found(None)));
}

#[test]
fn a_create_whose_reply_was_lost_is_found() {
    let (mut world, _) = placed();
    let create = world.submit(place("/q/n-", "again"));
    world.cut_replies();
    assert_eq!(world.outcome(create), Some(Err(Error::ConnectionLost)));
    let Ok(Reply::Found(Some(found))) = world.call(find("/q/n-", "again")) else {
        panic!("{:?}", world.told());
    };
    assert_eq!(found.path, path("/q/n-0000000001"));
    // One that did not arrive is not.
    world.submit(place("/q/n-", "lost"));
    world.cut();
    assert_eq!(world.call(find("/q/n-", "lost")), Ok(Reply::Found(None)));
}

/// What ZooKeeper before 3.6 says to GetEphemerals.
fn unimplemented(request: &Request) -> Option<Result<Reply, Error>> {
    matches!(request, Request::GetEphemerals(_)).then_some(Err(Refusal::Unimplemented.into()))
}

#[test]
fn a_server_that_cannot_list_a_sessions_nodes_has_the_directory_listed() {
    let (mut world, mine) = placed();
    world.other(place("/q/n-", "other")).unwrap();
    world.script.request = Some(Box::new(unimplemented));
    assert_eq!(world.call(find("/q/n-", "me")), Ok(Reply::Found(Some(mine))));
    assert_eq!(world.served, ["settle", "get_ephemerals", "get_children", "get_data", "get_data"]);
}

#[test]
fn a_server_that_hangs_up_on_an_unknown_operation_is_asked_it_once() {
    let (mut world, mine) = placed();
    world.script.request = Some(Box::new(unimplemented));
    world.script.hang_up = true;
    assert_eq!(world.call(find("/q/n-", "me")), Ok(Reply::Found(Some(mine.clone()))));
    assert_eq!(world.call(find("/q/n-", "me")), Ok(Reply::Found(Some(mine))));
    let asked = world.served.iter().filter(|name| *name == "get_ephemerals");
    assert_eq!(asked.count(), 1, "each time would cost a connection");
    assert_eq!(world.when(&Seen::Suspended).len(), 1);
}

/// What a server says that has not carried the request out but may next time, or that does not know what has become of it.
fn passing() -> [Error; 2] {
    [Refusal::Throttled.into(), Error::Uncertain(-1)]
}

#[test]
fn what_the_server_is_too_busy_for_goes_on_after_a_pause() {
    for error in passing() {
        for hand_over in [false, true] {
            let (mut world, mine) = placed();
            let mut refusals = vec![error.clone()];
            world.script.request = Some(Box::new(move |_| refusals.pop().map(Err)));
            let token = world.submit(release(&mine, hand_over));
            world.settle();
            assert_eq!(world.outcome(token), None, "nothing is sent again at once");
            assert_eq!(world.served.len(), 1);
            world.advance(TIMEOUT / 6 + THIRD / 10);
            let act = if hand_over { "multi" } else { "delete" };
            assert_eq!(world.outcome(token), Some(Ok(Reply::Released(true))));
            assert_eq!(world.served[1..], ["settle", "exists", act]);
            assert_eq!(owner(&world), None);
        }
    }
}

/// A guard's node that stayed would keep everybody out for the life of a healthy session.
#[test]
fn no_step_of_an_errand_ends_it_because_the_server_is_too_busy() {
    for error in passing() {
        for refused in 0..6 {
            let (mut world, mine) = placed();
            let (mut nth, error) = (0, error.clone());
            world.script.request = Some(Box::new(move |_| {
                nth += 1;
                (nth == refused + 1).then(|| Err(error.clone()))
            }));
            let found = world.submit(find("/q/n-", "me"));
            world.advance(TIMEOUT);
            assert_eq!(world.outcome(found), Some(Ok(Reply::Found(Some(mine.clone())))), "refused: {refused}");
            let released = world.submit(release_of_what_may_be_gone(&mine, true));
            world.advance(TIMEOUT);
            assert_eq!(world.outcome(released), Some(Ok(Reply::Released(true))), "refused: {refused}");
            assert_eq!(owner(&world), None);
        }
    }
}

#[test]
fn a_server_that_stays_too_busy_is_asked_one_thing_for_each_pause() {
    const NODES: usize = 5;
    const PAUSES: usize = 12;
    let mut world = World::new();
    world.other(node("/q")).unwrap();
    let places: Vec<_> = (0..NODES).map(|_| made(&mut world, place("/q/n-", "me"))).collect();
    world.forget();
    world.script.request = Some(Box::new(|_| Some(Err(Refusal::Throttled.into()))));
    let tokens: Vec<_> = places.iter().map(|place| world.submit(release(place, false))).collect();
    world.advance(TIMEOUT / 6 * PAUSES as u32);
    let asked = world.served.iter().filter(|name| *name != "ping").count() - NODES;
    assert!((PAUSES - 2..=PAUSES).contains(&asked), "{asked}: {:?}", world.served);
    assert!(tokens.iter().all(|token| world.outcome(*token).is_none()));
    // It has time again: all goes on, and nothing is left.
    world.script.request = None;
    world.advance(TIMEOUT / 6);
    assert!(tokens.iter().all(|token| world.outcome(*token) == Some(Ok(Reply::Released(true)))));
    assert_eq!(world.tree.stat(&path("/q")).unwrap().num_children, 0);
}

#[test]
fn what_the_server_was_too_busy_for_goes_on_at_once_on_the_next_connection() {
    let (mut world, mine) = placed();
    world.script.request = Some(Box::new(|_| Some(Err(Refusal::Throttled.into()))));
    let token = world.submit(release(&mine, false));
    world.settle();
    world.script.request = None;
    world.cut();
    world.settle();
    assert_eq!(world.outcome(token), Some(Ok(Reply::Released(true))));
}

#[test]
fn what_the_server_is_too_busy_for_ends_with_its_session() {
    let (mut world, mine) = placed();
    world.script.request = Some(Box::new(|_| Some(Err(Refusal::Throttled.into()))));
    let token = world.submit(release(&mine, false));
    world.settle();
    world.expire();
    world.cut();
    world.settle();
    assert_eq!(world.outcome(token), Some(Err(Error::SessionExpired)));
}

#[test]
fn a_search_says_not_found_only_when_that_is_certain() {
    for (refusal, certain) in [(Refusal::NoNode, true), (Refusal::NoAuth, true), (Refusal::BadArguments, false)] {
        let (mut world, _) = placed();
        world.script.request =
            Some(Box::new(move |request| matches!(request, Request::GetData(_)).then_some(Err(refusal.into()))));
        let expected = match certain {
            true => Ok(Reply::Found(None)),
            false => Err(Error::Refused(refusal)),
        };
        assert_eq!(world.call(find("/q/n-", "me")), expected);
    }
}

/// Runs an errand with the connection cut after each number of bytes in turn, until one number is beyond its end.
fn cut_everywhere(start: impl Fn(&mut World) -> u32, check: impl Fn(&World, u32, u64)) {
    for offset in 0.. {
        let (mut world, _) = placed();
        let begin = world.carried;
        world.cut_at = [begin + offset, begin + offset + 120].into();
        let token = start(&mut world);
        world.settle();
        world.assert_all_answered();
        check(&world, token, offset);
        if world.carried < begin + offset {
            return;
        }
    }
}

fn own() -> Created {
    placed().1
}

#[test]
fn a_search_survives_a_cut_at_every_byte() {
    let mine = own();
    for lists in [true, false] {
        cut_everywhere(
            |world| {
                world.script.request = (!lists).then_some(Box::new(unimplemented));
                world.submit(find("/q/n-", "me"))
            },
            |world, token, offset| {
                let found = Some(Ok(Reply::Found(Some(mine.clone()))));
                assert_eq!(world.outcome(token), found, "cut after {offset}");
            },
        );
    }
}

#[test]
fn a_release_survives_a_cut_at_every_byte_and_never_takes_anothers_node() {
    let mine = own();
    for (hand_over, remade) in [(false, false), (true, false), (false, true), (true, true)] {
        cut_everywhere(
            |world| {
                if remade {
                    world.on_cut = Some(Box::new(remake));
                }
                world.submit(release(&mine, hand_over))
            },
            |world, token, offset| {
                let released = matches!(world.outcome(token), Some(Ok(Reply::Released(_))));
                assert!(released, "cut after {offset}: {:?}", world.told());
                let was_cut = !world.when(&Seen::Suspended).is_empty();
                let expected = (remade && was_cut).then_some(OTHER.0);
                assert_eq!(owner(world), expected, "cut after {offset}");
            },
        );
    }
}

#[test]
fn a_close_survives_a_cut_at_every_byte() {
    cut_everywhere(
        |world| world.submit(Request::CloseSession),
        |world, token, offset| {
            let closed = Some(Ok(Reply::Closed));
            assert_eq!(world.outcome(token), closed, "cut after {offset}");
            assert_eq!(owner(world), None, "the session is over");
            assert!(world.is_closed());
        },
    );
}

/// `Closed` and `AuthFailed` say that nothing changed.
#[test]
fn the_end_of_the_client_says_nothing_happened_only_of_what_was_not_sent() {
    let end = |world: &mut World| world.client.abort();
    let sent = |world: &World, tokens: &[u32]| {
        for token in tokens {
            assert_eq!(world.outcome(*token), Some(Err(Error::ConnectionLost)), "{:?}", world.told());
        }
    };
    let (mut world, mine) = placed();
    let on_their_way = [world.submit(release(&mine, false)), world.submit(find("/q/n-", "me"))];
    end(&mut world);
    world.settle();
    sent(&world, &on_their_way);
    world.assert_all_answered();

    // Interrupted: one that goes on, and one that waits for it, or both where there is no connection.
    for (is_back, hand_over) in [(true, false), (true, true), (false, false), (false, true)] {
        let (mut world, mine) = placed();
        let interrupted = [world.submit(release(&mine, hand_over)), world.submit(find("/q/n-", "me"))];
        world.reachable = false;
        world.cut_replies();
        let waiting = [world.submit(release(&mine, hand_over)), world.submit(find("/q/n-", "me"))];
        if is_back {
            world.reachable = true;
            while !world.is_connected() {
                world.advance(Duration::from_millis(1));
            }
        }
        end(&mut world);
        world.settle();
        sent(&world, &interrupted);
        for token in waiting {
            let of_waiting = if is_back { Error::ConnectionLost } else { Error::Closed };
            assert_eq!(world.outcome(token), Some(Err(of_waiting)));
        }
        world.assert_all_answered();
    }
}

#[test]
fn a_client_that_is_not_believed_says_nothing_happened_only_of_what_was_not_sent() {
    let (mut world, mine) = placed();
    world.hold = true;
    let refused = world.submit(Request::Auth(Auth { scheme: "sms".into(), credentials: "me".into() }));
    let release = world.submit(release(&mine, false));
    world.settle();
    world.hold = false;
    world.flush();
    world.settle();
    assert_eq!(world.outcome(refused), Some(Err(Error::Refused(Refusal::AuthFailed))));
    assert_eq!(world.outcome(release), Some(Err(Error::ConnectionLost)));
    world.assert_all_answered();
}

#[test]
fn errands_that_were_interrupted_go_on_before_what_was_waiting() {
    let (mut world, mine) = placed();
    let release = world.submit(release(&mine, false));
    world.cut();
    let waiting = world.submit(children("/q"));
    world.served.clear();
    world.settle();
    assert_eq!(world.served[..3], ["connect", "settle", "get_children"]);
    assert!(matches!(world.outcome(release), Some(Ok(_))));
    assert!(matches!(world.outcome(waiting), Some(Ok(_))));
}

/// All at once, each reconnect would begin with a step of every one of them, and connections that do not live longer than
/// that would never see the second.
#[test]
fn errands_that_were_interrupted_end_however_short_connections_are() {
    const NODES: usize = 12;
    let mut world = World::new();
    world.torn = Torn::Whole;
    world.other(node("/q")).unwrap();
    let places: Vec<_> = (0..NODES).map(|_| made(&mut world, place("/q/n-", "me"))).collect();
    world.silent = true;
    let tokens: Vec<_> = places.iter().map(|place| world.submit(release(place, false))).collect();
    world.settle();
    world.cut();
    world.silent = false;
    world.forget();
    // Enough for a handshake and for one that looks, finds and deletes.
    world.cut_at = (1..=100).map(|nth| world.carried + nth * 700).collect();
    world.settle();
    let connections = world.served.iter().filter(|name| *name == "connect").count();
    assert!((3..=NODES).contains(&connections), "{connections} connections: {:?}", world.served);
    assert!(tokens.iter().all(|token| world.outcome(*token) == Some(Ok(Reply::Released(true)))));
    assert_eq!(world.tree.stat(&path("/q")).unwrap().num_children, 0);
}

#[test]
fn with_each_errand_that_ends_more_go_on_at_a_time() {
    let mut world = World::new();
    world.other(node("/q")).unwrap();
    let places: Vec<_> = (0..7).map(|_| made(&mut world, place("/q/n-", "me"))).collect();
    world.silent = true;
    for place in &places {
        world.submit(release(place, false));
    }
    world.settle();
    world.cut();
    world.silent = false;
    world.forget();
    world.settle();
    let one = ["settle", "exists", "delete"];
    let two = ["settle", "settle", "exists", "exists", "delete", "delete"];
    let four = [
        "settle", "settle", "settle", "settle", "exists", "exists", "exists", "exists", "delete", "delete", "delete",
        "delete",
    ];
    assert_eq!(world.served, [&["connect"][..], &one, &two, &four].concat());
}

#[test]
fn an_expiry_at_any_byte_of_an_errand_ends_it_once() {
    let mine = own();
    let mut expired = 0;
    for offset in 0..600 {
        let (mut world, _) = placed();
        world.cut_at.push_back(world.carried + offset);
        world.on_cut = Some(Box::new(|tree| {
            tree.close_session(SessionId(0x10001), &mut Vec::new());
        }));
        let tokens = [world.submit(release(&mine, true)), world.submit(find("/q/n-", "nothing"))];
        world.settle();
        for token in tokens {
            match world.outcome(token) {
                Some(Err(Error::SessionExpired)) => expired += 1,
                Some(Ok(Reply::Released(true) | Reply::Found(None))) => {}
                other => panic!("cut after {offset}: {other:?}"),
            }
        }
        let lost = world.when(&Seen::Lost).len();
        assert_eq!(lost, world.when(&Seen::Suspended).len(), "cut after {offset}");
    }
    assert!(expired > 300, "{expired}");
}

#[test]
fn what_the_tests_release_is_what_a_recipe_would() {
    let (world, mine) = placed();
    assert_eq!(
        release(&mine, true),
        Request::Release(Release {
            path: path("/q/n-0000000000"),
            czxid: Zxid(world.tree.last_zxid().0),
            session: SessionId(0x10001),
            hand_over: true,
            may_be_gone: false,
        })
    );
}
