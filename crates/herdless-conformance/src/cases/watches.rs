//! Which change fires which watch: the table of `DataTree.createNode`, `deleteNode`, `setData` and `setACL`.
//!
//! No case waits for an event: by the contract it is there before any reply that could reflect the change.

use herdless_core::{Acl, ClientExt, CreateMode, Error, EventKind, MultiOp, Refusal, Version, WatchEvent};

use crate::expect::{expect_event, expect_quiet, expect_refused, poll_once};
use crate::{Backend, Scene};

const PERSISTENT: CreateMode = CreateMode::Persistent;

/// Somebody who changes, and somebody who watches and sees the nodes that are there.
async fn two<B: Backend>(scene: &Scene<'_, B>, nodes: &[&str]) -> (B::Client, B::Client) {
    let (writer, watcher) = (scene.connect().await, scene.connect().await);
    for below in nodes {
        scene.node(&writer, below).await;
    }
    watcher.settle(&scene.root()).await.unwrap();
    (writer, watcher)
}

pub(crate) async fn a_data_watch_tells_of_a_write<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let ((data, _), watch) = watcher.get_and_watch(&path).await.unwrap();
    assert_eq!(data, "x");
    writer.set(&path, "y", Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::DataChanged, &path).await;
}

pub(crate) async fn a_write_of_the_same_data_is_told_too<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, watch) = watcher.get_and_watch(&path).await.unwrap();
    writer.set(&path, "x", Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::DataChanged, &path).await;
}

pub(crate) async fn a_data_watch_tells_of_the_deletion<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, watch) = watcher.get_and_watch(&path).await.unwrap();
    writer.delete(&path, Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::Deleted, &path).await;
}

pub(crate) async fn a_data_watch_does_not_tell_of_children<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a", "a/old"]).await;
    let (_, mut watch) = watcher.get_and_watch(&scene.path("a")).await.unwrap();
    scene.node(&writer, "a/new").await;
    writer.set(&scene.path("a/old"), "", Version::ANY).await.unwrap();
    writer.delete(&scene.path("a/old"), Version::ANY).await.unwrap();
    expect_quiet(&watcher, &mut watch).await;
}

pub(crate) async fn an_exists_watch_tells_of_the_creation<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a/new");
    let (found, mut watch) = watcher.exists_and_watch(&path).await.unwrap();
    assert_eq!(found, None);
    scene.node(&writer, "a/other").await;
    expect_quiet(&watcher, &mut watch).await;
    scene.node(&writer, "a/new").await;
    expect_event(&watcher, watch, EventKind::Created, &path).await;
}

pub(crate) async fn an_exists_watch_outlives_the_lack_of_a_parent<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &[]).await;
    let path = scene.path("a/b");
    let (_, mut watch) = watcher.exists_and_watch(&path).await.unwrap();
    scene.node(&writer, "a").await;
    expect_quiet(&watcher, &mut watch).await;
    scene.node(&writer, "a/b").await;
    expect_event(&watcher, watch, EventKind::Created, &path).await;
}

pub(crate) async fn an_exists_watch_on_a_node_tells_of_its_change_and_end<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (stat, watch) = watcher.exists_and_watch(&path).await.unwrap();
    assert!(stat.is_some());
    writer.set(&path, "y", Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::DataChanged, &path).await;
    let (_, watch) = watcher.exists_and_watch(&path).await.unwrap();
    writer.delete(&path, Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::Deleted, &path).await;
}

pub(crate) async fn a_child_watch_tells_of_a_new_child<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, watch) = watcher.children_and_watch(&path).await.unwrap();
    scene.node(&writer, "a/b").await;
    expect_event(&watcher, watch, EventKind::ChildrenChanged, &path).await;
}

pub(crate) async fn a_child_watch_tells_of_a_childs_end<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a", "a/b"]).await;
    let path = scene.path("a");
    let (_, watch) = watcher.children_and_watch(&path).await.unwrap();
    writer.delete(&scene.path("a/b"), Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::ChildrenChanged, &path).await;
}

pub(crate) async fn a_child_watch_tells_of_the_nodes_own_end<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, watch) = watcher.children_and_watch(&path).await.unwrap();
    writer.delete(&path, Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::Deleted, &path).await;
}

pub(crate) async fn a_child_watch_does_not_tell_of_data_or_grandchildren<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a", "a/b", "a/b/old"]).await;
    let (_, mut watch) = watcher.children_and_watch(&scene.path("a")).await.unwrap();
    writer.set(&scene.path("a"), "y", Version::ANY).await.unwrap();
    writer.set(&scene.path("a/b"), "y", Version::ANY).await.unwrap();
    scene.node(&writer, "a/b/new").await;
    writer.delete(&scene.path("a/b/old"), Version::ANY).await.unwrap();
    expect_quiet(&watcher, &mut watch).await;
}

pub(crate) async fn access_lists_fire_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, mut on_data) = watcher.get_and_watch(&path).await.unwrap();
    let (_, mut on_exists) = watcher.exists_and_watch(&path).await.unwrap();
    let (_, mut on_children) = watcher.children_and_watch(&path).await.unwrap();
    writer.set_acl(&path, Acl::open(), Version::ANY).await.unwrap();
    for watch in [&mut on_data, &mut on_exists, &mut on_children] {
        expect_quiet(&watcher, watch).await;
    }
}

pub(crate) async fn refused_writes_fire_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a", "a/b"]).await;
    let path = scene.path("a");
    let (_, mut on_data) = watcher.get_and_watch(&path).await.unwrap();
    let (_, mut on_children) = watcher.children_and_watch(&path).await.unwrap();
    let (_, mut on_new) = watcher.exists_and_watch(&scene.path("a/b/c/d")).await.unwrap();
    expect_refused(writer.create(&path, "", PERSISTENT).await, Refusal::NodeExists);
    expect_refused(writer.create(&scene.path("a/b"), "", PERSISTENT).await, Refusal::NodeExists);
    expect_refused(writer.create(&scene.path("a/b/c/d"), "", PERSISTENT).await, Refusal::NoNode);
    expect_refused(writer.set(&path, "", Version(5)).await, Refusal::BadVersion);
    expect_refused(writer.delete(&path, Version(5)).await, Refusal::BadVersion);
    expect_refused(writer.delete(&path, Version::ANY).await, Refusal::NotEmpty);
    for watch in [&mut on_data, &mut on_children, &mut on_new] {
        expect_quiet(&watcher, watch).await;
    }
}

pub(crate) async fn reads_fire_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let (reader, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, mut on_data) = watcher.get_and_watch(&path).await.unwrap();
    let (_, mut on_children) = watcher.children_and_watch(&path).await.unwrap();
    for client in [&reader, &watcher] {
        client.get(&path).await.unwrap();
        client.children(&path).await.unwrap();
        client.acl(&path).await.unwrap();
        client.multi(vec![MultiOp::check(&path, Version(0))]).await.unwrap();
    }
    expect_quiet(&watcher, &mut on_data).await;
    expect_quiet(&watcher, &mut on_children).await;
}

pub(crate) async fn a_watch_tells_of_the_first_change_only<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, watch) = watcher.get_and_watch(&path).await.unwrap();
    writer.set(&path, "y", Version::ANY).await.unwrap();
    writer.delete(&path, Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::DataChanged, &path).await;
    let (_, watch) = watcher.exists_and_watch(&path).await.unwrap();
    scene.node(&writer, "a").await;
    writer.set(&path, "y", Version::ANY).await.unwrap();
    expect_event(&watcher, watch, EventKind::Created, &path).await;
}

pub(crate) async fn a_new_watch_tells_of_the_next_change<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    for version in 0..5 {
        let ((_, stat), mut watch) = watcher.get_and_watch(&path).await.unwrap();
        assert_eq!(stat.version, version);
        expect_quiet(&watcher, &mut watch).await;
        writer.set(&path, "", Version(version)).await.unwrap();
        expect_event(&watcher, watch, EventKind::DataChanged, &path).await;
    }
}

pub(crate) async fn the_event_is_there_before_the_reply_of_ones_own_write<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    for _ in 0..20 {
        let (_, mut on_data) = client.get_and_watch(&path).await.unwrap();
        let (_, mut on_root) = client.children_and_watch(&scene.root()).await.unwrap();
        client.set(&path, "", Version::ANY).await.unwrap();
        let event = WatchEvent { kind: EventKind::DataChanged, path: path.clone() };
        assert_eq!(poll_once(&mut on_data).await, Some(Ok(event)));
        client.create(&scene.path("n"), "", PERSISTENT).await.unwrap();
        let event = WatchEvent { kind: EventKind::ChildrenChanged, path: scene.root() };
        assert_eq!(poll_once(&mut on_root).await, Some(Ok(event)));
        client.delete(&scene.path("n"), Version::ANY).await.unwrap();
    }
}

pub(crate) async fn the_event_is_there_before_a_read_shows_the_change<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    for version in 0..20 {
        let (_, mut watch) = watcher.get_and_watch(&path).await.unwrap();
        // Not awaited: the reads run beside it until one sees it.
        let set = writer.set(&path, "", Version(version));
        while watcher.get(&path).await.unwrap().1.version == version {}
        assert!(poll_once(&mut watch).await.is_some(), "the change was seen before the event");
        set.await.unwrap();
    }
}

pub(crate) async fn a_deletion_is_told_to_data_and_child_watches<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, on_data) = watcher.get_and_watch(&path).await.unwrap();
    let (_, on_exists) = watcher.exists_and_watch(&path).await.unwrap();
    let (_, on_children) = watcher.children_and_watch(&path).await.unwrap();
    writer.delete(&path, Version::ANY).await.unwrap();
    for watch in [on_data, on_exists, on_children] {
        expect_event(&watcher, watch, EventKind::Deleted, &path).await;
    }
}

pub(crate) async fn data_and_child_watches_of_a_node_are_apart<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, on_data) = watcher.get_and_watch(&path).await.unwrap();
    let (_, mut on_children) = watcher.children_and_watch(&path).await.unwrap();
    writer.set(&path, "", Version::ANY).await.unwrap();
    expect_event(&watcher, on_data, EventKind::DataChanged, &path).await;
    expect_quiet(&watcher, &mut on_children).await;
    let (_, mut on_data) = watcher.get_and_watch(&path).await.unwrap();
    scene.node(&writer, "a/b").await;
    expect_event(&watcher, on_children, EventKind::ChildrenChanged, &path).await;
    expect_quiet(&watcher, &mut on_data).await;
}

pub(crate) async fn everybody_who_watches_is_told<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let third = scene.connect().await;
    third.settle(&path).await.unwrap();
    let (_, first) = watcher.get_and_watch(&path).await.unwrap();
    let (_, second) = watcher.get_and_watch(&path).await.unwrap();
    let (_, others) = third.get_and_watch(&path).await.unwrap();
    let (_, own) = writer.get_and_watch(&path).await.unwrap();
    writer.set(&path, "", Version::ANY).await.unwrap();
    for (client, watch) in [(&watcher, first), (&watcher, second), (&third, others), (&writer, own)] {
        expect_event(client, watch, EventKind::DataChanged, &path).await;
    }
}

pub(crate) async fn a_dropped_watch_harms_no_other<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, dropped) = watcher.get_and_watch(&path).await.unwrap();
    let (_, kept) = watcher.get_and_watch(&path).await.unwrap();
    let (_, children) = watcher.children_and_watch(&path).await.unwrap();
    drop(dropped);
    drop(watcher.get_and_watch(&path));
    watcher.settle(&path).await.unwrap();
    writer.set(&path, "", Version::ANY).await.unwrap();
    expect_event(&watcher, kept, EventKind::DataChanged, &path).await;
    drop(children);
    // One that comes after a dropped one is as good as the first.
    let (_, again) = watcher.children_and_watch(&path).await.unwrap();
    scene.node(&writer, "a/b").await;
    expect_event(&watcher, again, EventKind::ChildrenChanged, &path).await;
}

pub(crate) async fn a_refused_read_leaves_no_watch<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &[]).await;
    let path = scene.path("a");
    expect_refused(watcher.get_and_watch(&path).await, Refusal::NoNode);
    expect_refused(watcher.children_and_watch(&path).await, Refusal::NoNode);
    // Events that nobody waits for would fire what is left here.
    scene.node(&writer, "a").await;
    watcher.settle(&path).await.unwrap();
    let (_, mut on_data) = watcher.get_and_watch(&path).await.unwrap();
    let (_, mut on_children) = watcher.children_and_watch(&path).await.unwrap();
    expect_quiet(&watcher, &mut on_data).await;
    expect_quiet(&watcher, &mut on_children).await;
}

pub(crate) async fn the_end_of_a_session_fires_for_its_nodes<B: Backend>(scene: &Scene<'_, B>) {
    let (owner, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a/mine");
    owner.create(&path, "", CreateMode::Ephemeral).await.unwrap();
    watcher.settle(&path).await.unwrap();
    let (_, on_node) = watcher.get_and_watch(&path).await.unwrap();
    let parent = scene.path("a");
    let (_, on_parent) = watcher.children_and_watch(&parent).await.unwrap();
    owner.close().await.unwrap();
    expect_event(&watcher, on_node, EventKind::Deleted, &path).await;
    expect_event(&watcher, on_parent, EventKind::ChildrenChanged, &parent).await;
}

pub(crate) async fn watches_end_with_their_client<B: Backend>(scene: &Scene<'_, B>) {
    let (writer, watcher) = two(scene, &["a"]).await;
    let path = scene.path("a");
    let (_, on_data) = watcher.get_and_watch(&path).await.unwrap();
    let (_, on_children) = watcher.children_and_watch(&path).await.unwrap();
    let (_, on_new) = watcher.exists_and_watch(&scene.path("new")).await.unwrap();
    watcher.close().await.unwrap();
    for watch in [on_data, on_children, on_new] {
        assert_eq!(watch.await, Err(Error::Closed));
    }
    writer.set(&path, "", Version::ANY).await.unwrap();
}

pub(crate) async fn the_end_of_ones_own_nodes_is_told_at_the_close<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let path = scene.path("own");
    client.create(&path, "", CreateMode::Ephemeral).await.unwrap();
    let (_, watch) = client.get_and_watch(&path).await.unwrap();
    client.close().await.unwrap();
    assert_eq!(watch.await, Ok(WatchEvent { kind: EventKind::Deleted, path }));
}
