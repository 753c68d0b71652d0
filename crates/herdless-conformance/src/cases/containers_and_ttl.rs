//! Nodes that the server removes by itself.

use std::time::Duration;

use herdless_core::{ClientExt, CreateMode, EventKind, MultiOp, Refusal, Version};

use crate::expect::{expect_event, expect_multi_refused, expect_refused};
use crate::{Ability, Backend, Scene};

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn a_container_is_a_node_like_others<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let created = client.create(&scene.path("a"), "data", CreateMode::Container).await.unwrap();
    assert_eq!((created.stat.ephemeral_owner, created.stat.data_length), (0, 4));
    scene.node(&client, "a/b").await;
    client.create(&scene.path("a/c"), "", CreateMode::Ephemeral).await.unwrap();
    client.set(&scene.path("a"), "other", Version(0)).await.unwrap();
    expect_refused(client.delete(&scene.path("a"), Version::ANY).await, Refusal::NotEmpty);
    let (_, stat) = client.get(&scene.path("a")).await.unwrap();
    assert_eq!((stat.ephemeral_owner, stat.num_children), (0, 2));
}

pub(crate) async fn a_container_outlives_its_session<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    client.create(&scene.path("a"), "", CreateMode::Container).await.unwrap();
    assert_eq!(client.ephemerals(&scene.root()).await.unwrap(), []);
    client.close().await.unwrap();
    other.settle(&scene.root()).await.unwrap();
    assert!(other.exists(&scene.path("a")).await.unwrap().is_some());
}

pub(crate) async fn a_container_goes_some_time_after_its_last_child<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let path = scene.path("a");
    client.create(&path, "", CreateMode::Container).await.unwrap();
    let (child, _) = scene.node(&client, "a/b").await;
    let (_, watch) = client.get_and_watch(&path).await.unwrap();
    scene.pass_time(MINUTE).await;
    assert!(client.exists(&path).await.unwrap().is_some(), "it has a child");
    client.delete(&child, Version::ANY).await.unwrap();
    scene.pass_time(MINUTE).await;
    expect_event(&client, watch, EventKind::Deleted, &path).await;
    assert_eq!(client.exists(&path).await.unwrap(), None);
}

pub(crate) async fn a_container_that_was_never_used_stays<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    client.create(&scene.path("a"), "", CreateMode::Container).await.unwrap();
    scene.node(&client, "persistent").await;
    scene.pass_time(MINUTE).await;
    assert_eq!(client.children(&scene.root()).await.unwrap().0.len(), 2);
}

pub(crate) async fn a_node_with_a_time_to_live_is_a_node_like_others<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let hour = 60 * MINUTE;
    let created = client.create(&scene.path("a"), "x", CreateMode::PersistentWithTtl(hour)).await.unwrap();
    assert_eq!(created.stat.ephemeral_owner, 0, "its lifetime is not told");
    assert_eq!(client.get(&created.path).await.unwrap(), ("x".into(), created.stat));
    let numbered = CreateMode::PersistentSequentialWithTtl(hour);
    let numbered = client.create(&scene.path("n"), "", numbered).await.unwrap();
    assert_eq!(numbered.path, scene.path("n0000000001"));
    scene.node(&client, "a/child").await;
    expect_refused(client.delete(&created.path, Version::ANY).await, Refusal::NotEmpty);
    assert_eq!(client.ephemerals(&scene.root()).await.unwrap(), []);
    client.close().await.unwrap();
    other.settle(&scene.root()).await.unwrap();
    assert!(other.exists(&created.path).await.unwrap().is_some());
}

pub(crate) async fn the_bounds_of_a_time_to_live<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let longest = Duration::from_millis(0xff_ffff_ffff);
    for (i, limit) in [longest, 60 * MINUTE].into_iter().enumerate() {
        client.create(&scene.path(&format!("n{i}")), "", CreateMode::PersistentWithTtl(limit)).await.unwrap();
    }
    for limit in [Duration::ZERO, longest + Duration::from_millis(1), Duration::MAX] {
        let create = client.create(&scene.path("no"), "", CreateMode::PersistentWithTtl(limit)).await;
        expect_refused(create, Refusal::BadArguments);
        // What comes before it in a multi is judged before it.
        let too_early = MultiOp::delete(&scene.path("none"), Version::ANY);
        let create = MultiOp::create(&scene.path("no"), "", CreateMode::PersistentWithTtl(limit));
        expect_multi_refused(client.multi(vec![create.clone()]).await, 0, Refusal::BadArguments);
        expect_multi_refused(client.multi(vec![too_early, create]).await, 0, Refusal::NoNode);
    }
}

pub(crate) async fn a_time_to_live_is_refused_where_it_is_not_allowed<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    for mode in [CreateMode::PersistentWithTtl(MINUTE), CreateMode::PersistentSequentialWithTtl(MINUTE)] {
        expect_refused(client.create(&scene.path("a"), "", mode).await, Refusal::Unimplemented);
    }
    assert!(!scene.has(Ability::TimeToLive));
}

pub(crate) async fn a_node_goes_when_its_time_to_live_is_over<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let path = scene.path("a");
    client.create(&path, "", CreateMode::PersistentWithTtl(10 * MINUTE)).await.unwrap();
    let (_, watch) = client.exists_and_watch(&path).await.unwrap();
    scene.pass_time(9 * MINUTE).await;
    assert!(client.exists(&path).await.unwrap().is_some());
    scene.pass_time(2 * MINUTE).await;
    expect_event(&client, watch, EventKind::Deleted, &path).await;
}

pub(crate) async fn a_write_begins_the_time_to_live_anew<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let path = scene.path("a");
    client.create(&path, "", CreateMode::PersistentWithTtl(10 * MINUTE)).await.unwrap();
    for _ in 0..3 {
        scene.pass_time(8 * MINUTE).await;
        client.set(&path, "", Version::ANY).await.unwrap();
    }
    scene.pass_time(11 * MINUTE).await;
    assert_eq!(client.exists(&path).await.unwrap(), None);
}

pub(crate) async fn a_node_with_children_outlives_its_time<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let path = scene.path("a");
    client.create(&path, "", CreateMode::PersistentWithTtl(MINUTE)).await.unwrap();
    let (child, _) = scene.node(&client, "a/b").await;
    scene.pass_time(10 * MINUTE).await;
    assert!(client.exists(&path).await.unwrap().is_some());
    client.delete(&child, Version::ANY).await.unwrap();
    scene.pass_time(10 * MINUTE).await;
    assert_eq!(client.exists(&path).await.unwrap(), None);
}
