//! Every kind of request, its connection cut at every byte.
//!
//! Before it is sent, in the middle of its frame, after it took effect, in the middle of its reply; with a session that
//! survives the cut and one that does not; submitted while there is a connection and while there is none; and cut once
//! more at any byte of what follows the first cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use herdless_core::{
    Acl, AddWatchMode, CheckWatches, Create, CreateMode, Created, Delete, Error, GetAcl, GetAllChildrenNumber,
    GetConfig, GetEphemerals, Multi, MultiOp, MultiRead, NodeData, NodePath, ReadOp, Reconfig, RemoveWatches, Reply,
    Request, SessionId, SetAcl, Stat, Sync, Version, WatcherType, WhoAmI, Zxid,
};

use crate::harness::{Seen, Torn, World, path};
use crate::requests::*;

/// The session that the client gets at first.
const SESSION: SessionId = SessionId(0x10001);

/// A request, and what it has to do with watches.
struct Example {
    request: Request,
    /// Watches that are there before.
    watches: usize,
    /// Watches that are there once it is carried out.
    leaves: usize,
}

fn plain(request: Request) -> Example {
    Example { request, watches: 0, leaves: 0 }
}

fn leaving(request: Request) -> Example {
    Example { leaves: 1, ..plain(request) }
}

fn created(mode: CreateMode) -> Request {
    Request::Create(Create { path: path("/a/new"), data: "data".into(), acl: Acl::open(), mode })
}

/// At least one of each kind (`every_kind_of_request_is_among_the_examples`); `mine` is the client's ephemeral node.
fn examples(mine: &Created) -> Vec<Example> {
    let any = WatcherType::Any;
    let multi = |operations, session| Request::Multi(Multi { operations, session });
    let writes = || {
        vec![
            MultiOp::check(&path("/a"), Version::ANY),
            MultiOp::create(&path("/a/new"), "data", CreateMode::Persistent),
            MultiOp::set(&path("/a"), "set", Version::ANY),
            MultiOp::delete(&path("/a/b"), Version::ANY),
        ]
    };
    let refused = vec![MultiOp::set(&path("/a"), "set", Version::ANY), MultiOp::delete(&path("/no"), Version::ANY)];
    vec![
        plain(created(CreateMode::Persistent)),
        plain(created(CreateMode::Ephemeral)),
        plain(created(CreateMode::EphemeralSequential)),
        plain(created(CreateMode::Container)),
        plain(created(CreateMode::PersistentWithTtl(Duration::from_secs(60)))),
        plain(node("/a")),
        plain(delete("/a/b")),
        plain(Request::Delete(Delete { path: path("/a/b"), version: Version(7) })),
        plain(exists("/a")),
        leaving(watch_exists("/a")),
        leaving(watch_exists("/none")),
        plain(get("/a")),
        leaving(watch_data("/a")),
        plain(watch_data("/none")),
        plain(set("/a", "set")),
        plain(children("/a")),
        leaving(watch_children("/a")),
        plain(Request::GetEphemerals(GetEphemerals { prefix: path("/") })),
        leaving(add_watch("/a", AddWatchMode::Persistent)),
        leaving(add_watch("/a", AddWatchMode::PersistentRecursive)),
        Example { watches: 1, leaves: 1, ..plain(Request::CheckWatches(CheckWatches { path: path("/a"), kind: any })) },
        plain(Request::CheckWatches(CheckWatches { path: path("/a"), kind: any })),
        Example { watches: 1, ..plain(Request::RemoveWatches(RemoveWatches { path: path("/a"), kind: any })) },
        plain(Request::RemoveWatches(RemoveWatches { path: path("/a"), kind: any })),
        plain(Request::GetAllChildrenNumber(GetAllChildrenNumber { path: path("/") })),
        plain(Request::GetAcl(GetAcl { path: path("/a") })),
        plain(Request::SetAcl(SetAcl { path: path("/a"), acl: Acl::open(), version: Version::ANY })),
        plain(Request::Sync(Sync { path: path("/") })),
        plain(multi(writes(), None)),
        plain(multi(writes(), Some(SESSION))),
        plain(multi(refused, None)),
        plain(Request::MultiRead(MultiRead {
            operations: vec![ReadOp::GetData(path("/a")), ReadOp::GetChildren(path("/none"))],
        })),
        plain(auth("also:me")),
        plain(Request::WhoAmI(WhoAmI)),
        plain(Request::GetConfig(GetConfig)),
        plain(Request::Reconfig(Reconfig { joining: Some("server.4=host:1:2".into()), ..Reconfig::default() })),
        plain(release(mine, false)),
        plain(release(mine, true)),
        plain(find("/q/n-", "me")),
        plain(find("/q/n-", "nobody")),
        plain(Request::CloseSession),
    ]
}

/// A client that has proven who it is and has a place in a queue, with nothing told so far.
fn ready() -> (World, Created) {
    let mut world = World::new();
    (world.torn, world.clock_stands) = (Torn::Whole, true);
    world.tree.allow_ttl(true);
    world.call(auth("me:secret")).unwrap();
    for at in ["/a", "/a/b", "/q"] {
        world.other(node(at)).unwrap();
    }
    let mine = made(&mut world, place("/q/n-", "me"));
    (world, mine)
}

/// Everything that can be read of the tree, its zxids by their order: waiting for what was on its way takes some.
type Image = Vec<(NodePath, NodeData, Stat, Vec<Acl>)>;

fn image(world: &mut World) -> Image {
    let paths: Vec<_> = world.tree.paths().cloned().collect();
    let mut read = |at: &NodePath| {
        let Ok(Reply::Data(data, stat)) = world.other(get(at.as_str())) else { panic!("{at}") };
        let Ok(Reply::Acl(acl, _)) = world.other(Request::GetAcl(GetAcl { path: at.clone() })) else { panic!("{at}") };
        (data, stat, acl)
    };
    let mut image: Image =
        paths.into_iter().map(|at| (read(&at), at)).map(|((data, stat, acl), at)| (at, data, stat, acl)).collect();
    let zxids: BTreeSet<_> = image.iter().flat_map(|(_, _, stat, _)| [stat.czxid, stat.mzxid, stat.pzxid]).collect();
    for (_, _, stat, _) in &mut image {
        for zxid in [&mut stat.czxid, &mut stat.mzxid, &mut stat.pzxid] {
            *zxid = Zxid(zxids.range(..*zxid).count() as i64);
        }
    }
    image
}

/// What an example does where nothing goes wrong.
struct Expected {
    outcome: Result<Reply, Error>,
    /// The tree by whether it was carried out and whether the session has ended after that.
    images: BTreeMap<(bool, bool), Image>,
    /// The bytes of its own frame, those until the second request is answered, and those of a reconnect after that.
    frame: u64,
    whole: u64,
    reconnect: u64,
}

impl Expected {
    fn of(nth: usize) -> Self {
        let mut images = BTreeMap::new();
        let mut seen = None;
        for (is_done, is_over) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut world, _, example) = prepared(nth);
            if is_done {
                let (begin, sent) = (world.carried, world.client.counters().bytes_out);
                let token = world.submit(example.request.clone());
                let frame = world.client.counters().bytes_out - sent;
                world.try_submit(get("/a")).ok();
                world.settle();
                let whole = world.carried - begin;
                seen = Some((world.outcome(token).expect("answered"), frame, whole));
            }
            if is_over {
                world.tree.close_session(SESSION, &mut Vec::new());
            }
            images.insert((is_done, is_over), image(&mut world));
        }
        let (outcome, frame, whole) = seen.expect("two of the four are done");
        let (mut world, ..) = prepared(nth);
        let begin = world.carried;
        world.cut();
        world.settle();
        Self { outcome, images, frame, whole, reconnect: world.carried - begin }
    }
}

fn prepared(nth: usize) -> (World, Created, Example) {
    let (mut world, mine) = ready();
    let example = examples(&mine).swap_remove(nth);
    for _ in 0..example.watches {
        world.call(watch_data("/a")).unwrap();
    }
    world.forget();
    (world, mine, example)
}

/// Where the connection is cut, and what becomes of the session then.
#[derive(Clone, Debug)]
struct Fault {
    /// Whether the request is submitted while there is no connection.
    offline: bool,
    /// In bytes from the submission.
    cuts: Vec<u64>,
    /// Whether the session ends with the last of them.
    expires: bool,
}

/// What was met of the phases of a request: not carried out, carried out and not answered, answered.
type Phases = BTreeSet<(bool, bool)>;

fn run(nth: usize, expected: &Expected, fault: &Fault, phases: &mut Phases) {
    let (mut world, mine, example) = prepared(nth);
    if fault.offline {
        world.cut();
    }
    world.cut_at = fault.cuts.iter().map(|cut| world.carried + cut).collect();
    if fault.expires {
        let mut left = fault.cuts.len();
        world.on_cut = Some(Box::new(move |tree| {
            left = left.saturating_sub(1);
            if left == 0 {
                tree.close_session(SESSION, &mut Vec::new());
            }
        }));
    }
    let token = world.submit(example.request.clone());
    let behind = world.try_submit(get("/a")).ok();
    world.settle();
    let was_cut = world.cut_at.is_empty();
    world.cut_at.clear();
    let context = format!("{} (example {nth}), {fault:?}: {:#?}", example.request.name(), world.told());

    world.assert_all_answered();
    assert!(world.link_errors.is_empty() && world.server_errors.is_empty(), "{context}");
    let outcome = world.outcome(token).expect("answered");
    let carried_out = carried_out(&world, &example.request);
    phases.insert((carried_out > 0, outcome == expected.outcome));
    assert!(carried_out <= 1, "sent again: {:?} {context}", world.served);
    check_outcome(&example.request, expected, fault, &outcome, carried_out > 0, &context);
    if outcome == Err(Error::ConnectionLost) {
        // Only what is on its way can be lost: not what still waits, and not what was answered.
        let told = world.told();
        let lost = told.iter().position(|seen| *seen == Seen::Reply(token, Err(Error::ConnectionLost)));
        let was_sent = !fault.offline || told.iter().take(lost.unwrap_or(0)).any(|seen| *seen == Seen::Resumed);
        assert!(was_sent && (fault.offline || fault.cuts[0] < expected.whole), "{context}");
    }
    if let Some(behind) = behind {
        let behind = world.outcome(behind).expect("answered");
        let fits = matches!(behind, Ok(Reply::Data(..)) | Err(Error::ConnectionLost | Error::SessionExpired));
        assert!(fits, "{behind:?} {context}");
        let is_errand = example.request.is_clean_up() || matches!(example.request, Request::Auth(_));
        // Replies are in order: nobody is told of the second without having been told of the first.
        assert!(is_errand || behind.is_err() || outcome == expected.outcome, "{behind:?} {context}");
    }
    let is_over = fault.expires && was_cut || example.request == Request::CloseSession;
    let last = expected.images[&(carried_out > 0, is_over)].clone();
    assert_eq!(image(&mut world), last, "whole or none: {context}");
    check_identity(&world, &context);
    check_watches(&world, &example, fault.expires && was_cut, &outcome, &context);
    if example.request != Request::CloseSession {
        // And the client is as good as new.
        assert!(world.is_connected(), "{context}");
        let Ok(Reply::Identities(identities)) = world.call(Request::WhoAmI(WhoAmI)) else { panic!("{context}") };
        assert_eq!(identities.len(), 1 + usize::from(matches!(example.request, Request::Auth(_))), "{context}");
        if !is_over && !matches!(example.request, Request::Release(_)) {
            assert_eq!(world.tree.stat(&mine.path), Some(mine.stat), "its other nodes are untouched: {context}");
        }
    }
}

/// How often the server has carried the request out, as far as it does anything.
fn carried_out(world: &World, request: &Request) -> usize {
    let acts = match request {
        Request::Release(release) if release.hand_over => "multi",
        Request::Release(_) => "delete",
        // Neither changes anything, so that it may be carried out as often as it takes.
        Request::Auth(_) | Request::FindOwn(_) => return 1,
        other => other.name(),
    };
    let times = world.served.iter().filter(|name| *name == acts).count();
    // A session may be closed again; and the second request is of the same kind as one of the examples.
    match request {
        Request::CloseSession => times.min(1),
        Request::GetData(_) => times.div_ceil(2),
        _ => times,
    }
}

fn check_outcome(
    request: &Request,
    expected: &Expected,
    fault: &Fault,
    outcome: &Result<Reply, Error>,
    carried_out: bool,
    context: &str,
) {
    match (request, outcome) {
        // What survives its session.
        (Request::Auth(_), outcome) => assert_eq!(*outcome, Ok(Reply::Authenticated), "{context}"),
        (Request::CloseSession, outcome) => assert_eq!(*outcome, Ok(Reply::Closed), "{context}"),
        // What survives its connection: it is done, or the session is over.
        (Request::Release(_) | Request::FindOwn(_), Err(error)) => {
            assert!(fault.expires && *error == Error::SessionExpired, "{context}");
        }
        // Whether this attempt did it or the one before, it is done.
        (Request::Release(_), Ok(reply)) => assert!(matches!(reply, Reply::Released(_)) && carried_out, "{context}"),
        (_, Err(Error::ConnectionLost)) => {}
        // It was never sent, and the session it was meant for is no more.
        (_, Err(Error::SessionExpired)) => assert!(fault.offline && fault.expires && !carried_out, "{context}"),
        (_, outcome) => assert!(carried_out && *outcome == expected.outcome, "{outcome:?} {context}"),
    }
}

/// On every connection it proves who it is before it sends anything else.
fn check_identity(world: &World, context: &str) {
    for pair in world.served.windows(2) {
        if pair[0] == "connect" {
            assert!(pair[1] == "auth" || pair[1] == "connect", "{:?} {context}", world.served);
        }
    }
}

/// The server watches for exactly those who were told that they have a watch, and everybody is told of its end.
fn check_watches(world: &World, example: &Example, expired: bool, outcome: &Result<Reply, Error>, context: &str) {
    let told = world.told();
    let ended = told.iter().map(|seen| match seen {
        Seen::Fired(tokens, Err(Error::SessionExpired | Error::Closed)) => tokens.len(),
        Seen::Noticed(tokens, Err(Error::SessionExpired | Error::Closed)) => tokens.len(),
        _ => 0,
    });
    let ended = ended.sum::<usize>();
    let is_over = expired || example.request == Request::CloseSession;
    let has = if outcome.is_ok() { example.leaves } else { example.watches };
    // Where a reply was lost it has none of it: told to nobody, and not left again.
    assert_eq!(world.tree.watch_count(), if is_over { 0 } else { has }, "{context}");
    assert_eq!(ended, if is_over { has } else { 0 }, "{context}");
    assert!(!told.iter().any(|seen| matches!(seen, Seen::Fired(_, Ok(_)))), "nothing has changed: {context}");
}

#[test]
fn every_kind_of_request_is_among_the_examples() {
    let examples = examples(&ready().1);
    let kinds: BTreeSet<_> = examples.iter().map(|example| example.request.name()).collect();
    assert_eq!(kinds, Request::NAMES.iter().copied().collect());
}

/// Runs all faults that `faults` makes of an example; prints and returns how many there were.
fn enumerate(title: &str, faults: impl Fn(&Expected) -> Vec<Fault>) -> usize {
    let count = examples(&ready().1).len();
    let (mut points, mut met): (usize, BTreeMap<&str, Phases>) = (0, BTreeMap::new());
    for nth in 0..count {
        let expected = Expected::of(nth);
        let name = examples(&ready().1)[nth].request.name();
        let faults = faults(&expected);
        points += faults.len();
        for fault in faults {
            run(nth, &expected, &fault, met.entry(name).or_default());
        }
    }
    println!("{title}: {points} fault points of {count} requests of {} kinds", met.len());
    for (name, phases) in met {
        // What goes on on the next connection is known to have happened in the end, or not to matter.
        let goes_on = ["auth", "find_own", "release", "close_session"].contains(&name);
        let phase =
            |carried_out: bool, answered: bool| goes_on && !carried_out || phases.contains(&(carried_out, answered));
        assert!(phase(true, true), "{title}: {name} was never answered");
        assert!(goes_on || phase(true, false), "{title}: no reply to {name} was lost");
        assert!(phase(false, false), "{title}: {name} was carried out each time");
    }
    points
}

fn crossed(offline: bool, cuts: impl Iterator<Item = Vec<u64>>) -> Vec<Fault> {
    cuts.flat_map(|cuts| [false, true].map(|expires| Fault { offline, cuts: cuts.clone(), expires })).collect()
}

#[test]
fn a_request_that_is_cut_at_any_byte_is_answered_once_and_done_whole_or_not_at_all() {
    let points = enumerate("one cut", |expected| crossed(false, (0..=expected.whole).map(|cut| vec![cut])));
    assert!(points > 10_000, "{points}");
}

#[test]
fn a_request_that_waits_for_a_connection_is_sent_once_whatever_byte_that_one_breaks_at() {
    let points = enumerate("submitted while cut off", |expected| {
        crossed(true, (0..=expected.reconnect + expected.whole).map(|cut| vec![cut]))
    });
    assert!(points > 20_000, "{points}");
}

#[test]
fn a_second_cut_at_any_byte_after_the_first_changes_nothing_of_that() {
    let points = enumerate("two cuts", |expected| {
        let (frame, whole) = (expected.frame, expected.whole);
        // Before it is sent, within its frame, once it took effect, within the replies, and behind them.
        let firsts = [0, frame / 2, frame, (frame + whole) / 2, whole];
        let seconds = move |first| (0..=expected.reconnect + whole).map(move |more| vec![first, first + more]);
        crossed(false, firsts.into_iter().flat_map(seconds))
    });
    assert!(points > 20_000, "{points}");
}
