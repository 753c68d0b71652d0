//! Watches that stay, over real connections.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use futures::{FutureExt, StreamExt};
use herdless::{
    AddWatchMode, ClientExt, CreateMode, Error, EventKind, NodePath, Notice, Refusal, TokioClient, Version, WatchEvent,
    WatchStream, WatcherType,
};

mod support;

use support::{World, scenarios, until};

scenarios! {
    everything_below_a_node_is_told_of
    several_watches_on_one_node_do_not_take_each_others_place
    a_dropped_stream_frees_the_servers_watch_and_no_others
    after_a_reconnect_there_is_a_gap_and_then_news
    after_a_reconnect_a_read_under_a_recursive_one_is_told_what_it_missed
    who_counted_on_what_is_taken_away_is_still_told
}

const ONE: AddWatchMode = AddWatchMode::Persistent;
const ALL: AddWatchMode = AddWatchMode::PersistentRecursive;

async fn with_node(world: &World) -> (TokioClient, NodePath) {
    let client = world.connect().await;
    client.create(&world.path(), "", CreateMode::Persistent).await.unwrap();
    (client, world.path())
}

async fn event(stream: &mut WatchStream) -> (EventKind, NodePath) {
    match stream.next().await.unwrap().unwrap() {
        Notice::Event(WatchEvent { kind, path }) => (kind, path),
        Notice::Gap => panic!("the connection was not lost"),
    }
}

async fn is_watched(client: &TokioClient, path: &NodePath) -> bool {
    match client.check_watches(path, WatcherType::Any).await {
        Ok(()) => true,
        Err(Error::Refused(Refusal::NoWatcher)) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn everything_below_a_node_is_told_of(world: &World) {
    use EventKind::{ChildrenChanged, Created, DataChanged, Deleted};
    let (client, path) = with_node(world).await;
    let other = world.connect().await;
    let child = path.child("child").unwrap();
    let mut one = client.add_watch(&path, ONE).await.unwrap();
    let mut all = client.add_watch(&path, ALL).await.unwrap();
    for _ in 0..3 {
        other.create(&child, "", CreateMode::Persistent).await.unwrap();
        other.set(&child, "x", Version::ANY).await.unwrap();
        other.delete(&child, Version::ANY).await.unwrap();
        other.set(&path, "x", Version::ANY).await.unwrap();
        for kind in [ChildrenChanged, ChildrenChanged, DataChanged] {
            assert_eq!(event(&mut one).await, (kind, path.clone()));
        }
        for kind in [Created, DataChanged, Deleted] {
            assert_eq!(event(&mut all).await, (kind, child.clone()));
        }
        assert_eq!(event(&mut all).await, (DataChanged, path.clone()));
    }
    client.close().await.unwrap();
    assert_eq!(one.next().await, Some(Err(Error::Closed)));
    assert_eq!(one.next().await, None);
}

/// Apache ZooKeeper has one mode for each path and connection before 3.9.
async fn several_watches_on_one_node_do_not_take_each_others_place(world: &World) {
    use EventKind::{ChildrenChanged, Created, DataChanged, Deleted};
    let (client, path) = with_node(world).await;
    let other = world.connect().await;
    let child = path.child("child").unwrap();
    // The recursive one first, which the second would take the place of.
    let mut all = client.add_watch(&path, ALL).await.unwrap();
    let mut one = client.add_watch(&path, ONE).await.unwrap();
    for round in 0..3 {
        let (_, data) = client.get_and_watch(&path).await.unwrap();
        let (_, exists) = client.exists_and_watch(&path).await.unwrap();
        let (_, children) = client.children_and_watch(&path).await.unwrap();
        other.set(&path, round.to_string(), Version::ANY).await.unwrap();
        assert_eq!(data.await.unwrap().kind, DataChanged);
        assert_eq!(exists.await.unwrap().kind, DataChanged);
        other.create(&child, "", CreateMode::Persistent).await.unwrap();
        assert_eq!(children.await.unwrap().kind, ChildrenChanged);
        other.delete(&child, Version::ANY).await.unwrap();
        for kind in [DataChanged, ChildrenChanged, ChildrenChanged] {
            assert_eq!(event(&mut one).await, (kind, path.clone()));
        }
        assert_eq!(event(&mut all).await, (DataChanged, path.clone()));
        assert_eq!(event(&mut all).await, (Created, child.clone()));
        assert_eq!(event(&mut all).await, (Deleted, child.clone()));
    }
}

async fn a_dropped_stream_frees_the_servers_watch_and_no_others(world: &World) {
    let (client, path) = with_node(world).await;
    let other = world.connect().await;
    let (first, mut second) =
        (client.add_watch(&path, ONE).await.unwrap(), client.add_watch(&path, ALL).await.unwrap());
    let (_, read) = client.get_and_watch(&path).await.unwrap();
    drop(first);
    assert!(is_watched(&client, &path).await);
    other.set(&path, "x", Version::ANY).await.unwrap();
    assert_eq!(event(&mut second).await.0, EventKind::DataChanged);
    assert_eq!(read.await.unwrap().kind, EventKind::DataChanged);

    let (_, read) = client.get_and_watch(&path).await.unwrap();
    drop(second);
    assert!(is_watched(&client, &path).await, "by the read");
    other.set(&path, "y", Version::ANY).await.unwrap();
    assert_eq!(read.await.unwrap().kind, EventKind::DataChanged);
    assert!(!is_watched(&client, &path).await);

    let abandoned = client.add_watch(&path, ONE);
    drop(abandoned);
    until("nothing is watched", async || (!is_watched(&client, &path).await).then_some(())).await;
}

async fn after_a_reconnect_there_is_a_gap_and_then_news(world: &World) {
    let (other, path) = with_node(world).await;
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let mut streams = Vec::new();
    for mode in [ONE, ALL] {
        streams.push(client.add_watch(&path, mode).await.unwrap());
    }
    proxy.down();
    other.set(&path, "missed", Version::ANY).await.unwrap();
    proxy.up();
    for stream in &mut streams {
        assert_eq!(stream.next().await, Some(Ok(Notice::Gap)));
    }
    // Read after the gap, so not older than it.
    let (data, _) = client.get(&path).await.unwrap();
    assert_eq!(data, "missed");
    other.set(&path, "heard", Version::ANY).await.unwrap();
    for stream in &mut streams {
        assert_eq!(event(stream).await, (EventKind::DataChanged, path.clone()));
        assert_eq!(stream.next().now_or_never(), None);
    }
}

async fn after_a_reconnect_a_read_under_a_recursive_one_is_told_what_it_missed(world: &World) {
    let (other, path) = with_node(world).await;
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let mut all = client.add_watch(&path, ALL).await.unwrap();
    let (_, children) = client.children_and_watch(&path).await.unwrap();
    proxy.down();
    other.create(&path.child("missed").unwrap(), "", CreateMode::Persistent).await.unwrap();
    proxy.up();
    assert_eq!(children.await.unwrap().kind, EventKind::ChildrenChanged);
    assert_eq!(all.next().await, Some(Ok(Notice::Gap)));
}

/// What a server takes out of a watch that stays, when it is asked for one kind, depends on its version.
async fn who_counted_on_what_is_taken_away_is_still_told(world: &World) {
    let (client, path) = with_node(world).await;
    let other = world.connect().await;
    for (name, mode) in [("one", ONE), ("all", ALL)] {
        let mut stream = client.add_watch(&path, mode).await.unwrap();
        let (_, children) = client.children_and_watch(&path).await.unwrap();
        client.remove_watches(&path, WatcherType::Data).await.unwrap();
        assert_eq!(stream.next().await, Some(Err(Error::Refused(Refusal::NoWatcher))));
        other.create(&path.child(name).unwrap(), "", CreateMode::Persistent).await.unwrap();
        assert_eq!(children.await.unwrap().kind, EventKind::ChildrenChanged);
        assert!(!is_watched(&client, &path).await);
    }
}
