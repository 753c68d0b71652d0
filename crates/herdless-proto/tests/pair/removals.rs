//! Watches that nobody waits for any more: what the server is asked to forget, and who is not to notice.

use herdless_core::{AddWatchMode, Error, EventKind, Notice, Refusal, Reply, Request, WatchEvent};

use crate::harness::{Seen, Torn, World, path};
use crate::requests::*;

fn changed(at: &str) -> WatchEvent {
    WatchEvent { kind: EventKind::DataChanged, path: path(at) }
}

fn fired(token: u32, at: &str) -> Seen {
    Seen::Fired(vec![token], Ok(changed(at)))
}

fn removals(world: &World) -> usize {
    world.served.iter().filter(|name| *name == "remove_watches").count()
}

/// A client that has left these watches, with nothing told so far.
fn watching(requests: impl IntoIterator<Item = Request>) -> (World, Vec<u32>) {
    let mut world = World::new();
    world.torn = Torn::Whole;
    world.other(node("/a")).unwrap();
    let tokens = requests
        .into_iter()
        .map(|request| {
            let token = world.submit(request);
            world.settle();
            token
        })
        .collect();
    world.forget();
    (world, tokens)
}

#[test]
fn the_server_forgets_what_nobody_waits_for() {
    let (mut world, _) = watching([watch_data("/a"), watch_children("/a"), watch_exists("/b")]);
    assert_eq!(world.tree.watch_count(), 3);
    world.sweep(&[]);
    world.settle();
    assert_eq!((world.tree.watch_count(), removals(&world)), (0, 3));
    assert_eq!(world.told(), [], "it is the machine's own affair");
    world.other(set("/a", "x")).unwrap();
    world.other(node("/b")).unwrap();
    world.settle();
    assert_eq!(world.told(), []);
}

#[test]
fn another_holder_of_the_path_keeps_the_servers_watch() {
    let (mut world, tokens) = watching([watch_data("/a"), watch_data("/a"), watch_exists("/a")]);
    for kept in 1..=2 {
        world.sweep(&tokens[kept..]);
        world.settle();
        assert_eq!((world.tree.watch_count(), removals(&world)), (1, 0));
    }
    world.other(set("/a", "x")).unwrap();
    world.settle();
    assert_eq!(world.told(), [fired(tokens[2], "/a")]);
}

#[test]
fn one_kind_goes_and_the_other_stays() {
    let (mut world, tokens) = watching([watch_data("/a"), watch_children("/a")]);
    world.sweep(&tokens[..1]);
    world.settle();
    assert_eq!((world.tree.watch_count(), removals(&world)), (1, 1));
    world.other(node("/a/b")).unwrap();
    world.other(set("/a", "x")).unwrap();
    world.settle();
    assert_eq!(world.told(), [fired(tokens[0], "/a")]);
}

/// On the wire the read is before the removal, and its watch is the one that would be removed.
#[test]
fn a_read_on_its_way_keeps_the_watch_that_it_joins() {
    let (mut world, _) = watching([watch_data("/a")]);
    let read = world.submit(watch_data("/a"));
    world.sweep(&[]);
    world.settle();
    assert_eq!((world.tree.watch_count(), removals(&world)), (1, 0));
    world.other(set("/a", "x")).unwrap();
    world.settle();
    assert_eq!(world.told().last(), Some(&fired(read, "/a")));

    // One that is refused has left none, and what was put off is done with the next sweep.
    let (mut world, _) = watching([watch_exists("/b")]);
    let read = world.submit(watch_data("/b"));
    world.sweep(&[]);
    world.settle();
    assert!(world.outcome(read).unwrap().is_err());
    assert_eq!((world.tree.watch_count(), removals(&world)), (1, 0));
    world.sweep(&[]);
    world.settle();
    assert_eq!((world.tree.watch_count(), removals(&world)), (0, 1));
}

#[test]
fn a_read_behind_the_removal_leaves_a_watch_of_its_own() {
    let (mut world, _) = watching([watch_data("/a")]);
    world.sweep(&[]);
    let read = world.submit(watch_data("/a"));
    world.settle();
    assert_eq!((world.tree.watch_count(), removals(&world)), (1, 1));
    world.other(set("/a", "x")).unwrap();
    world.settle();
    assert_eq!(world.told().last(), Some(&fired(read, "/a")));
}

#[test]
fn an_event_that_crosses_the_removal_reaches_nobody() {
    let (mut world, _) = watching([watch_data("/a")]);
    world.sweep(&[]);
    let read = world.submit(watch_data("/a"));
    world.other(set("/a", "1")).unwrap();
    world.settle();
    assert_eq!(removals(&world), 1);
    let told = world.told();
    assert!(matches!(&told[..], [Seen::Reply(token, Ok(Reply::Data(data, _)))] if *token == read && data == "1"));
    world.other(set("/a", "2")).unwrap();
    world.settle();
    assert_eq!(world.told()[1..], [fired(read, "/a")]);
}

#[test]
fn a_stream_on_the_path_is_not_harmed() {
    let (mut world, _) = watching([watch_data("/a"), watch_children("/a")]);
    let stream = world.submit(add_watch("/a", AddWatchMode::Persistent));
    // Not answered yet, then answered.
    for _ in 0..2 {
        world.sweep(&[]);
        world.settle();
        assert_eq!(removals(&world), 0);
        world.forget();
        world.other(set("/a", "x")).unwrap();
        world.settle();
        assert_eq!(world.told(), [Seen::Noticed(vec![stream], Ok(Notice::Event(changed("/a"))))]);
    }
    world.unwatch(stream);
    world.settle();
    assert_eq!(world.tree.watch_count(), 0);
}

#[test]
fn many_go_a_few_at_a_time_and_take_nobodys_place() {
    let (mut world, _) = watching((0..1_000).map(|n| watch_exists(&format!("/n{n:03}"))));
    let before = world.client.counters().requests;
    world.sweep(&[]);
    assert_eq!(world.client.counters().requests - before, 64);
    // As many as the harness allows.
    let reads: Vec<_> = (0..100).map(|_| world.try_submit(get("/a")).expect("removals are not counted")).collect();
    assert_eq!(world.try_submit(get("/a")), Err(Error::Overloaded));
    world.settle();
    assert!(reads.iter().all(|read| world.outcome(*read).unwrap().is_ok()));
    assert_eq!((world.tree.watch_count(), removals(&world)), (0, 1_000));
}

#[test]
fn what_is_wanted_again_meanwhile_is_left() {
    let (mut world, _) = watching((0..100).map(|n| watch_exists(&format!("/n{n:02}"))));
    world.sweep(&[]);
    let again = world.submit(watch_exists("/n99"));
    world.settle();
    assert_eq!((world.tree.watch_count(), removals(&world)), (1, 99));
    world.other(node("/n99")).unwrap();
    world.settle();
    let created = WatchEvent { kind: EventKind::Created, path: path("/n99") };
    assert_eq!(world.told().last(), Some(&Seen::Fired(vec![again], Ok(created))));
}

#[test]
fn what_the_connection_took_along_is_not_asked_for_on_the_next() {
    let (mut world, tokens) = watching((0..100).map(|n| watch_exists(&format!("/n{n:02}"))));
    world.sweep(&tokens[..1]);
    world.cut();
    world.settle();
    assert_eq!(world.served, ["connect", "set_watches"]);
    assert_eq!(world.tree.watch_count(), 1);
    world.sweep(&tokens[..1]);
    world.settle();
    assert_eq!(removals(&world), 0, "nor when the next are");
}

#[test]
fn a_server_that_knows_no_removal_is_not_asked_again() {
    let (mut world, _) = watching((0..100).map(|n| watch_exists(&format!("/n{n:02}"))));
    world.script.request = Some(Box::new(|request| {
        matches!(request, Request::RemoveWatches(_)).then_some(Err(Error::Refused(Refusal::Unimplemented)))
    }));
    world.script.hang_up = true;
    world.sweep(&[]);
    world.settle();
    assert!(removals(&world) > 0 && world.is_connected());
    world.forget();
    world.submit(watch_data("/a"));
    world.settle();
    world.sweep(&[]);
    world.settle();
    assert_eq!(removals(&world), 0);
}

#[test]
fn a_server_that_hangs_up_on_removals_is_asked_three_times() {
    let (mut world, _) = watching([]);
    let mut asked = Vec::new();
    for _ in 0..5 {
        world.submit(watch_data("/a"));
        world.settle();
        let before = world.client.counters().requests;
        world.sweep(&[]);
        asked.push(world.client.counters().requests - before);
        world.cut();
        world.settle();
    }
    assert_eq!(asked, [1, 1, 1, 0, 0]);
    // An answer in between shows that it was not the removal's fault.
    let (mut world, _) = watching([]);
    for round in 0..8 {
        world.submit(watch_data("/a"));
        world.settle();
        world.forget();
        world.sweep(&[]);
        if round % 2 == 0 {
            world.cut();
        }
        world.settle();
        assert_eq!(removals(&world), round % 2);
    }
}

#[test]
fn a_sweep_is_due_once_half_of_the_watches_may_be_dropped() {
    for (watches, drops) in [(0, 64), (100, 64), (1_000, 500)] {
        let (mut world, _) = watching((0..watches).map(|n| watch_exists(&format!("/n{n:03}"))));
        for _ in 0..2 {
            for drop in 1..drops {
                assert!(!world.client.watch_dropped(), "{drop} of {watches}");
            }
            assert!(world.client.watch_dropped());
            assert!(world.client.is_sweep_due());
            let all: Vec<_> = (0..1_000).collect();
            world.sweep(&all);
        }
    }
    // The others have fired, so those that were dropped are most of what is left.
    let (mut world, _) = watching((0..200).map(|_| watch_data("/a")).chain([watch_exists("/b")]));
    for _ in 0..64 {
        world.client.watch_dropped();
    }
    assert!(!world.client.is_sweep_due());
    world.other(set("/a", "x")).unwrap();
    world.settle();
    assert!(world.client.is_sweep_due());
}
