//! Watches that stay.

use herdless_core::{
    AddWatchMode, Error, EventKind, Notice, Refusal, RemoveWatches, Reply, Request, WatchEvent, WatcherType,
};

use crate::harness::{Seen, Torn, World, path};
use crate::requests::*;

const ONE: AddWatchMode = AddWatchMode::Persistent;
const ALL: AddWatchMode = AddWatchMode::PersistentRecursive;

fn event(kind: EventKind, at: &str) -> WatchEvent {
    WatchEvent { kind, path: path(at) }
}

fn noticed(tokens: &[u32], kind: EventKind, at: &str) -> Seen {
    Seen::Noticed(tokens.to_vec(), Ok(Notice::Event(event(kind, at))))
}

fn gap(tokens: &[u32]) -> Seen {
    Seen::Noticed(tokens.to_vec(), Ok(Notice::Gap))
}

/// What the streams were told; that nobody's one-shot watch fired is left out.
fn notices(world: &World) -> Vec<Seen> {
    world.told().into_iter().filter(|seen| matches!(seen, Seen::Noticed(..))).collect()
}

/// A client that watches /a in these modes, with nothing told so far.
fn watching(modes: &[AddWatchMode]) -> (World, Vec<u32>) {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    let tokens: Vec<_> = modes.iter().map(|mode| world.submit(add_watch("/a", *mode))).collect();
    world.settle();
    world.assert_all_answered();
    world.forget();
    (world, tokens)
}

/// What happens to /a and below it, done by somebody else.
fn much_happens(world: &mut World) {
    for request in [set("/a", "x"), node("/a/b"), set("/a/b", "x"), delete("/a/b"), delete("/a"), node("/a")] {
        world.other(request).unwrap();
        world.settle();
    }
}

#[test]
fn each_mode_tells_its_events_again_and_again() {
    for torn in [Torn::Whole, Torn::Random, Torn::OneByte] {
        let (mut world, tokens) = watching(&[ONE]);
        world.torn = torn;
        much_happens(&mut world);
        use EventKind::{ChildrenChanged, Created, DataChanged, Deleted};
        let of_one = [DataChanged, ChildrenChanged, ChildrenChanged, Deleted, Created];
        assert_eq!(notices(&world), of_one.map(|kind| noticed(&tokens, kind, "/a")));

        let (mut world, tokens) = watching(&[ALL]);
        world.torn = torn;
        much_happens(&mut world);
        let of_all = [
            (DataChanged, "/a"),
            (Created, "/a/b"),
            (DataChanged, "/a/b"),
            (Deleted, "/a/b"),
            (Deleted, "/a"),
            (Created, "/a"),
        ];
        assert_eq!(notices(&world), of_all.map(|(kind, at)| noticed(&tokens, kind, at)));
    }
}

#[test]
fn an_event_comes_before_the_reply_that_reflects_the_change() {
    let (mut world, tokens) = watching(&[ONE]);
    let set = world.submit(set("/a", "new"));
    world.settle();
    let told = world.told();
    assert_eq!(told[0], noticed(&tokens, EventKind::DataChanged, "/a"));
    assert!(matches!(&told[1], Seen::Reply(token, Ok(Reply::Set(_))) if *token == set), "{told:?}");
}

#[test]
fn after_a_reconnect_there_is_a_gap_and_then_new_events() {
    let (mut world, tokens) = watching(&[ONE, ALL]);
    world.cut();
    world.other(set("/a", "missed")).unwrap();
    world.settle();
    assert_eq!(notices(&world), [gap(&tokens)]);
    let [watches] = &world.set_watches[..] else { panic!("{:?}", world.set_watches) };
    assert_eq!((&watches.persistent, &watches.recursive), (&vec![], &vec![path("/a")]));
    // What is read after the gap is read after the watches were left.
    assert_eq!(world.served, ["connect", "set_watches"]);
    world.forget();
    world.other(set("/a", "heard")).unwrap();
    world.settle();
    assert_eq!(notices(&world), [noticed(&tokens, EventKind::DataChanged, "/a")]);
}

#[test]
fn the_end_of_the_session_ends_it() {
    let (mut world, tokens) = watching(&[ONE, ALL]);
    world.expire();
    world.settle();
    assert_eq!(notices(&world), [Seen::Noticed(tokens, Err(Error::SessionExpired))]);
    world.forget();
    much_happens(&mut world);
    assert_eq!(notices(&world), []);
}

#[test]
fn a_read_under_it_leaves_no_watch_on_the_server_and_still_fires() {
    for (modes, is_left) in [(&[ONE][..], false), (&[ALL], false), (&[], true)] {
        let (mut world, tokens) = watching(modes);
        let watched = |world: &World| world.tree.watch_count();
        let before = watched(&world);
        let read = world.submit(watch_data("/a"));
        world.settle();
        assert_eq!(watched(&world) > before, is_left);
        world.forget();
        for _ in 0..2 {
            world.other(set("/a", "x")).unwrap();
            world.settle();
        }
        let fired = |seen: &&Seen| matches!(seen, Seen::Fired(tokens, Ok(_)) if *tokens == [read]);
        assert_eq!(world.told().iter().filter(fired).count(), 1);
        assert_eq!(notices(&world).len(), 2 * tokens.len().min(1));
    }
}

#[test]
fn a_recursive_one_stands_for_a_watch_on_the_children_too() {
    let (mut world, _) = watching(&[ALL]);
    let list = world.submit(watch_children("/a"));
    world.settle();
    assert_eq!(world.tree.watch_count(), 1);
    world.other(node("/a/b")).unwrap();
    world.settle();
    assert!(world.told().contains(&Seen::Fired(vec![list], Ok(event(EventKind::ChildrenChanged, "/a")))));
}

/// A recursive watch tells nothing of what happened before the server had it, so what the server says of the children at the
/// reconnect is the only word of it.
#[test]
fn what_changed_during_the_cut_fires_a_watch_on_the_children_under_it() {
    for modes in [&[ALL][..], &[ONE, ALL]] {
        let (mut world, tokens) = watching(modes);
        let list = world.submit(watch_children("/a"));
        world.settle();
        world.cut();
        world.other(node("/a/b")).unwrap();
        world.settle();
        let changed = Ok(event(EventKind::ChildrenChanged, "/a"));
        let fired = |world: &World| {
            world.told().iter().filter(|seen| **seen == Seen::Fired(vec![list], changed.clone())).count()
        };
        assert_eq!(fired(&world), 1, "{:?}", world.told());
        assert_eq!(notices(&world), [gap(&tokens)]);
        // It has fired, and a server that has both watches says it of the next change twice.
        world.other(node("/a/c")).unwrap();
        world.settle();
        assert_eq!(fired(&world), 1);
    }
}

#[test]
fn the_servers_watch_goes_with_the_last_stream_and_no_other_does() {
    let (mut world, tokens) = watching(&[ONE, ONE]);
    let read = world.submit(watch_data("/a"));
    world.settle();
    world.unwatch(tokens[0]);
    world.settle();
    assert_eq!(world.served.iter().filter(|name| *name == "remove_watches").count(), 0);
    world.unwatch(tokens[1]);
    world.settle();
    assert_eq!(world.served.last().unwrap(), "set_watches", "{:?}", world.served);
    assert_eq!(world.tree.watch_count(), 1, "that of the read");
    world.forget();
    world.other(set("/a", "x")).unwrap();
    world.settle();
    assert_eq!(world.told(), [Seen::Fired(vec![read], Ok(event(EventKind::DataChanged, "/a")))]);
    assert_eq!(world.tree.watch_count(), 0);
}

/// The change comes while the removal is on its way, so that the event finds neither the stream nor a watch.
#[test]
fn nothing_is_missed_by_a_read_while_the_stream_above_it_is_taken_away() {
    let (mut world, tokens) = watching(&[ONE]);
    let read = world.submit(watch_data("/a"));
    world.settle();
    world.forget();
    world.hold = true;
    world.unwatch(tokens[0]);
    world.settle();
    world.other(set("/a", "x")).unwrap();
    world.hold = false;
    world.flush();
    world.settle();
    let fired = Seen::Fired(vec![read], Ok(event(EventKind::DataChanged, "/a")));
    assert_eq!(world.told().iter().filter(|seen| **seen == fired).count(), 1, "{:?}", world.told());
}

/// The next stream is on its way when it is known that the one on which a read counted is gone, and it does not stand for what
/// was before it.
#[test]
fn nothing_is_missed_by_a_read_between_two_streams() {
    for end in [None, Some(WatcherType::Any), Some(WatcherType::Data)] {
        let (mut world, tokens) = watching(&[ALL]);
        let remove = |kind| Request::RemoveWatches(RemoveWatches { path: path("/a"), kind });
        world.hold = true;
        let read = match end {
            None => {
                let read = world.submit(watch_children("/a"));
                world.unwatch(tokens[0]);
                read
            }
            // It takes away the watches of its kind that were left before it.
            Some(WatcherType::Any) => {
                world.submit(remove(WatcherType::Any));
                world.submit(watch_children("/a"))
            }
            Some(kind) => {
                let read = world.submit(watch_children("/a"));
                world.submit(remove(kind));
                read
            }
        };
        world.settle();
        world.other(node("/a/b")).unwrap();
        let next = world.submit(add_watch("/a", ONE));
        world.hold = false;
        world.flush();
        world.settle();
        let fired = Seen::Fired(vec![read], Ok(event(EventKind::ChildrenChanged, "/a")));
        assert_eq!(world.told().iter().filter(|seen| **seen == fired).count(), 1, "{end:?}: {:?}", world.told());
        world.forget();
        world.other(set("/a", "x")).unwrap();
        world.settle();
        assert_eq!(world.told(), [noticed(&[next], EventKind::DataChanged, "/a")]);
        world.unwatch(next);
        world.settle();
        assert_eq!(world.tree.watch_count(), 0);
    }
}

#[test]
fn a_read_that_counted_on_a_refused_watch_gets_one_of_its_own() {
    let mut world = World::new();
    world.other(node("/a")).unwrap();
    world.script.request = Some(Box::new(|request| {
        matches!(request, Request::AddWatch(_)).then_some(Err(Error::Refused(Refusal::Unimplemented)))
    }));
    let refused = world.submit(add_watch("/a", ONE));
    let read = world.submit(watch_data("/a"));
    world.settle();
    assert_eq!(world.outcome(refused), Some(Err(Error::Refused(Refusal::Unimplemented))));
    world.forget();
    world.other(set("/a", "x")).unwrap();
    world.settle();
    assert_eq!(world.told(), [Seen::Fired(vec![read], Ok(event(EventKind::DataChanged, "/a")))]);
}

/// On a server with one mode for each path the second would take the place of the first.
#[test]
fn the_server_is_asked_for_the_wider_of_two_and_for_less_when_that_is_given_up() {
    for modes in [[ALL, ONE], [ONE, ALL]] {
        let (mut world, tokens) = watching(&modes);
        let at = |mode| tokens[modes.iter().position(|other| *other == mode).unwrap()];
        let kinds = |world: &World, token| {
            let told = notices(world).into_iter();
            told.filter_map(|seen| match seen {
                Seen::Noticed(tokens, Ok(Notice::Event(event))) if tokens.contains(&token) => Some(event.kind),
                _ => None,
            })
            .collect::<Vec<_>>()
        };
        let of_one = {
            use EventKind::{ChildrenChanged, Created, DataChanged, Deleted};
            [DataChanged, ChildrenChanged, ChildrenChanged, Deleted, Created]
        };
        much_happens(&mut world);
        assert_eq!(kinds(&world, at(ONE)), of_one, "{modes:?}");
        assert_eq!(kinds(&world, at(ALL)).len(), 6, "{modes:?}");
        world.forget();
        world.unwatch(at(ALL));
        world.settle();
        assert_eq!(world.served, ["add_watch"]);
        much_happens(&mut world);
        assert_eq!(kinds(&world, at(ONE)), of_one, "{modes:?}");
    }
}

#[test]
fn what_is_given_up_while_less_is_asked_for_leaves_nothing() {
    for is_removed in [false, true] {
        let (mut world, tokens) = watching(&[ALL, ONE]);
        world.hold = true;
        if is_removed {
            world.submit(Request::RemoveWatches(RemoveWatches { path: path("/a"), kind: WatcherType::Any }));
        }
        world.unwatch(tokens[0]);
        if !is_removed {
            world.unwatch(tokens[1]);
        }
        world.settle();
        world.hold = false;
        world.flush();
        world.settle();
        assert_eq!(world.tree.watch_count(), 0);
    }
}

#[test]
fn what_is_given_up_while_there_is_no_connection_is_not_watched_anew() {
    let (mut world, tokens) = watching(&[ONE, ALL]);
    world.reachable = false;
    world.cut();
    world.unwatch(tokens[0]);
    world.unwatch(tokens[1]);
    world.reachable = true;
    world.settle();
    assert!(world.set_watches.is_empty());
    assert_eq!(world.tree.watch_count(), 0);
}

#[test]
fn what_the_user_takes_away_is_told_to_those_who_wait() {
    let (mut world, tokens) = watching(&[ONE]);
    let read = world.submit(watch_data("/a"));
    world.settle();
    world.forget();
    let remove = Request::RemoveWatches(RemoveWatches { path: path("/a"), kind: WatcherType::Any });
    assert_eq!(world.call(remove.clone()), Ok(Reply::WatchesRemoved));
    let gone = Error::Refused(Refusal::NoWatcher);
    assert!(world.told().contains(&Seen::Fired(vec![read], Err(gone.clone()))));
    assert!(world.told().contains(&Seen::Noticed(tokens, Err(gone.clone()))));
    assert_eq!(world.call(remove), Err(gone));
    assert_eq!(world.tree.watch_count(), 0);
}

#[test]
fn what_is_read_after_the_user_took_it_away_has_a_watch_of_its_own() {
    for modes in [&[ONE][..], &[ALL], &[ONE, ALL]] {
        let (mut world, _) = watching(modes);
        let remove = Request::RemoveWatches(RemoveWatches { path: path("/a"), kind: WatcherType::Any });
        assert_eq!(world.call(remove), Ok(Reply::WatchesRemoved));
        let list = world.submit(watch_children("/a"));
        world.settle();
        world.forget();
        world.other(node("/a/b")).unwrap();
        world.settle();
        assert_eq!(world.told(), [Seen::Fired(vec![list], Ok(event(EventKind::ChildrenChanged, "/a")))], "{modes:?}");
        assert_eq!(world.tree.watch_count(), 0);
    }
}

/// What the server takes out of a watch that stays when it is asked for one kind depends on its version. The reads that
/// counted on the watch, and were not meant, get their own.
#[test]
fn who_counted_on_what_the_user_took_in_part_is_still_told() {
    for (modes, kind) in [
        (&[ALL][..], WatcherType::Data),
        (&[ONE], WatcherType::Data),
        (&[ONE, ALL], WatcherType::Data),
        (&[ONE], WatcherType::Children),
    ] {
        let (mut world, tokens) = watching(modes);
        let (read, change, told) = match kind {
            WatcherType::Children => (watch_data("/a"), set("/a", "x"), EventKind::DataChanged),
            _ => (watch_children("/a"), node("/a/b"), EventKind::ChildrenChanged),
        };
        let read = world.submit(read);
        world.settle();
        world.forget();
        assert_eq!(
            world.call(Request::RemoveWatches(RemoveWatches { path: path("/a"), kind })),
            Ok(Reply::WatchesRemoved)
        );
        assert_eq!(notices(&world), [Seen::Noticed(tokens, Err(Error::Refused(Refusal::NoWatcher)))]);
        world.forget();
        world.other(change).unwrap();
        world.settle();
        assert_eq!(world.told(), [Seen::Fired(vec![read], Ok(event(told, "/a")))], "{modes:?}, {kind:?}");
        assert_eq!(world.tree.watch_count(), 0, "{modes:?}, {kind:?}");
    }
}
