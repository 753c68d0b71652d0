//! Models of following a node. Its data are followed by the models of the shared value.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use herdless_core::{
    Answer, Client, ClientExt, CreateMode, Exists, Follow, GetChildren, NodePath, Request, Response, Stat, Version,
};
use herdless_memory::MemoryClient;
use herdless_memory::check::{LoomLocks, LoomServer, Model, block_on, loom};

use crate::harness::{Count, Tamper, Tampered, sound, together};

type Loom = MemoryClient<LoomLocks>;
type Act = fn(&Loom);
type Disturb = fn(&LoomServer, &Loom);

fn path(text: &str) -> NodePath {
    NodePath::parse(text).expect("a valid path")
}

fn create(client: &Loom, at: &str) {
    block_on(client.create(&path(at), "", CreateMode::Persistent)).expect("there is none");
}

fn nothing(_: &LoomServer, _: &Loom) {}

fn cut(server: &LoomServer, client: &Loom) {
    server.disconnect(client);
    server.reconnect(client);
}

/// Whoever follows a node sees the last state, whatever happens between its reads; a state that it waits for in vain shows as a
/// deadlock.
fn followed<T: 'static>(
    name: &'static str,
    (before, change): (Act, Act),
    follow: fn(&Tampered) -> Follow<T>,
    is_last: fn(Option<T>) -> bool,
    (disturb, tamper): (Disturb, Tamper),
) {
    let (at_once, later) = (Count::default(), Count::default());
    let (at_once_in, later_in) = (at_once.clone(), later.clone());
    Model::new(name).preemption_bound(3).check(move || {
        let server = LoomServer::with_locks();
        let (writer, follower) = (server.connect(), server.connect());
        before(&writer);
        let (disturbed, victim) = (server.clone(), follower.clone());
        together!(move || change(&writer), move || disturb(&disturbed, &victim); {
            let mut states = follow(&Tampered::new(follower, tamper));
            let mut items = 1;
            while !is_last(block_on(states.next()).expect("it has no end").expect("it goes on").state) {
                items += 1;
            }
            at_once_in.add(items == 1);
            later_in.add(items > 1);
        });
        // The watch for what comes next may be left, and one of a node that was made between two reads.
        server.inspect(|tree| assert!(tree.watch_count() <= 2));
    });
    at_once.assert_reached("the last state is the first that is seen");
    later.assert_reached("it is seen after another");
}

/// A node is made, and a child in it: between the two reads of one that is not there, and between a read and its watch.
fn children(name: &'static str, disturb: Disturb, tamper: Tamper) {
    let change = |client: &Loom| ["/n", "/n/k"].into_iter().for_each(|at| create(client, at));
    let is_last = |state: Option<(Vec<String>, Stat)>| state.is_some_and(|(names, _)| names == ["k"]);
    followed(name, (|_| (), change), |client| client.follow_children(&path("/n")), is_last, (disturb, tamper));
}

/// A node goes.
fn existence(name: &'static str, disturb: Disturb, tamper: Tamper) {
    let change = |client: &Loom| block_on(client.delete(&path("/n"), Version::ANY)).expect("it is there");
    let before = |client: &Loom| create(client, "/n");
    followed(
        name,
        (before, change),
        |client| client.follow_existence(&path("/n")),
        |state| state.is_none(),
        (disturb, tamper),
    );
}

#[test]
fn follow_children() {
    children("follow_children", nothing, sound);
}

#[test]
fn follow_children_over_a_lost_connection() {
    children("follow_children_over_a_lost_connection", cut, sound);
}

#[test]
fn follow_children_over_a_lost_session() {
    children("follow_children_over_a_lost_session", |server, client| server.expire(client), sound);
}

#[test]
fn follow_existence() {
    existence("follow_existence", nothing, sound);
}

#[test]
fn follow_existence_over_a_lost_connection() {
    existence("follow_existence_over_a_lost_connection", cut, sound);
}

#[test]
fn follow_existence_over_a_lost_session() {
    existence("follow_existence_over_a_lost_session", |server, client| server.expire(client), sound);
}

/// The watch is left after the read, not with it.
fn watch_after_the_read(client: &Loom, request: Request) -> Response {
    let bare = match &request {
        Request::Exists(Exists { path, watch: true }) => Request::Exists(Exists { path: path.clone(), watch: false }),
        Request::GetChildren(GetChildren { path, watch: true }) => {
            Request::GetChildren(GetChildren { path: path.clone(), watch: false })
        }
        _ => return client.submit(request),
    };
    let mut read = client.submit(bare);
    match Pin::new(&mut read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(before)) => client.submit(request).map(|outcome| Ok(Answer { reply: before.reply, ..outcome? })),
        _ => client.submit(request),
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_follow_children_watch_after_the_read() {
    children("planted_follow_children_watch_after_the_read", nothing, watch_after_the_read);
}

#[test]
#[should_panic(expected = "deadlock")]
fn planted_follow_existence_watch_after_the_read() {
    existence("planted_follow_existence_watch_after_the_read", nothing, watch_after_the_read);
}
