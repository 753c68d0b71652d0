//! One conversation, cut after every single byte of it in turn.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use herdless_core::{CreateMode, Created, Error, Reply, Request};
use herdless_memory::Tree;

use crate::harness::{OTHER, Seen, TIMEOUT, Torn, World, Xorshift, config, path};
use crate::requests::*;

/// What a recipe does when a creation is not answered: look for the node, and create it again if it is not there.
fn acquire(world: &mut World, data: &str) -> Option<Created> {
    loop {
        match world.call(place("/q/n-", data.to_owned())) {
            Ok(Reply::Created(created)) => return Some(created),
            Err(Error::ConnectionLost) => match world.call(find("/q/n-", data.to_owned())) {
                Ok(Reply::Found(Some(found))) => return Some(found),
                Ok(Reply::Found(None)) => {}
                Err(Error::SessionExpired) => return None,
                other => panic!("{other:?}"),
            },
            Err(Error::SessionExpired) => return None,
            other => panic!("{other:?}"),
        }
    }
}

/// Repeats what may be repeated.
fn insist(world: &mut World, request: &Request) -> Reply {
    for _ in 0..5 {
        match world.call(request.clone()) {
            Ok(reply) => return reply,
            Err(Error::ConnectionLost | Error::SessionExpired) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("lost each time: {:?}", world.told());
}

/// Once the queue is empty, it is made anew, and others stand in it under the names that were ours.
fn remake_if_empty(tree: &mut Tree) {
    let queue = tree.stat(&path("/q")).filter(|stat| stat.num_children == 0);
    let Some(stat) = queue.filter(|stat| stat.cversion > 0) else {
        return;
    };
    let mut apply = |request| tree.apply(OTHER, &request, 0, &mut Vec::new()).unwrap();
    apply(delete("/q"));
    apply(node("/q"));
    // The client-visible number counts creations and deletions.
    for _ in 0..stat.cversion / 2 {
        apply(place("/q/n-", "other"));
    }
}

fn conversation(world: &mut World) {
    world.settle();
    let mut watched = None;
    for data in ["one", "two"] {
        // A session may be lost in between; then this round has nothing to release.
        if let Some(mine) = acquire(world, data) {
            if watched.is_none() {
                insist(world, &watch_data("/w"));
                watched = Some(());
                world.other(set("/w", "new")).unwrap();
            }
            let pipelined = [
                world.submit(exists("/w")),
                world.submit(release(&mine, data == "one")),
                world.submit(get("/w")),
                world.submit(set("/w", data.to_owned())),
            ];
            world.settle();
            let released = world.outcome(pipelined[1]);
            assert!(matches!(released, Some(Ok(Reply::Released(_)) | Err(Error::SessionExpired))), "{released:?}");
        }
    }
    let close = world.submit(Request::CloseSession);
    world.settle();
    assert_eq!(world.outcome(close), Some(Ok(Reply::Closed)));
}

fn prepared() -> World {
    let mut world = World::idle(config());
    world.torn = Torn::Whole;
    world.other(node("/q")).unwrap();
    world.other(node("/w")).unwrap();
    world
}

/// What holds however the connection fares; the harness checks the order of the session's events and that nothing is
/// answered twice all along.
fn check(world: &World, others: usize) {
    world.assert_all_answered();
    assert!(world.is_closed());
    assert!(world.link_errors.is_empty(), "{:?}", world.link_errors);
    assert!(world.server_errors.is_empty(), "{:?}", world.server_errors);
    let stats = world.tree.paths().filter_map(|at| world.tree.stat(at));
    let ephemeral = stats.filter(|stat| stat.ephemeral_owner != 0);
    let owners: Vec<_> = ephemeral.map(|stat| stat.ephemeral_owner).collect();
    assert_eq!(owners, vec![OTHER.0; others], "ours are gone, theirs are there");
    assert_eq!(world.tree.watch_count(), 0);
}

fn whole_length() -> u64 {
    let mut world = prepared();
    conversation(&mut world);
    check(&world, 0);
    assert!(world.when(&Seen::Suspended).is_empty());
    world.carried
}

#[test]
fn a_cut_at_every_byte_keeps_the_promises() {
    let length = whole_length();
    for offset in 0..length {
        println!("cut after {offset} of {length}");
        let mut world = prepared();
        world.cut_at.push_back(offset);
        conversation(&mut world);
        assert!(world.cut_at.is_empty());
        check(&world, 0);
    }
}

#[test]
fn a_cut_at_every_byte_spares_the_nodes_that_others_have_made_under_the_same_names() {
    let length = whole_length();
    let mut remade = 0;
    for offset in 0..length {
        println!("cut after {offset} of {length}");
        let mut world = prepared();
        world.cut_at.push_back(offset);
        let made = Rc::new(Cell::new(0));
        let count = made.clone();
        world.on_cut = Some(Box::new(move |tree| {
            remake_if_empty(tree);
            let stats = tree.paths().filter_map(|at| tree.stat(at));
            count.set(stats.filter(|stat| stat.ephemeral_owner == OTHER.0).count());
        }));
        conversation(&mut world);
        check(&world, made.get());
        remade += usize::from(made.get() > 0);
    }
    assert!(remade > 50, "the case was met {remade} times");
}

#[test]
fn two_cuts_at_random_bytes_keep_the_promises() {
    let length = whole_length() as usize;
    let mut rng = Xorshift::new(0x2c0_ffee);
    for _ in 0..1_500 {
        let mut cuts = [rng.below(length), rng.below(length + 200)].map(|cut| cut as u64);
        cuts.sort_unstable();
        println!("cuts after {cuts:?}");
        let mut world = prepared();
        world.torn = Torn::Random;
        world.cut_at = cuts.into();
        conversation(&mut world);
        check(&world, 0);
    }
}

#[test]
fn a_cut_after_which_the_session_expires_keeps_the_promises_too() {
    let length = whole_length();
    for offset in (0..length).step_by(3) {
        let mut world = prepared();
        // Runs up to the cut; then nobody can be reached until the session is over.
        world.cut_at.push_back(offset);
        world.settle();
        let mut tokens = Vec::new();
        for data in ["one", "two", "three"] {
            tokens.push(world.submit(create("/q/n-", data, CreateMode::EphemeralSequential)));
            tokens.push(world.submit(watch_data("/w")));
            tokens.push(world.submit(find("/q/n-", data)));
        }
        world.settle();
        world.reachable = false;
        if world.is_connected() {
            world.cut();
        }
        world.advance(TIMEOUT + Duration::from_secs(1));
        world.reachable = true;
        world.advance(Duration::from_secs(1));
        assert!(world.is_connected());
        assert_eq!(world.when(&Seen::Lost).len(), 1, "cut after {offset}");
        world.assert_all_answered();
        let paths = world.tree.paths();
        let ours = paths.filter(|at| at.as_str().starts_with("/q/")).count();
        assert_eq!(ours, 0, "the server has removed them");
        world.submit(Request::CloseSession);
        world.settle();
        check(&world, 0);
    }
}
