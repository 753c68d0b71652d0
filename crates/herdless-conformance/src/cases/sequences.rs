//! Sequential nodes and their numbers.

use herdless_core::{ClientExt, CreateMode, MultiOp, Refusal, Version};

use crate::expect::{expect_multi_refused, expect_refused};
use crate::{Backend, Scene};

const SEQUENTIAL: CreateMode = CreateMode::EphemeralSequential;

/// Creates a sequential child, and yields what it is called.
async fn next<B: Backend>(scene: &Scene<'_, B>, client: &B::Client, below: &str) -> String {
    let created = client.create(&scene.path(below), "", SEQUENTIAL).await.unwrap();
    assert!(created.path.as_str().starts_with(scene.path(below).as_str()), "{}", created.path);
    created.path.name().to_owned()
}

pub(crate) async fn numbers_begin_at_zero_and_have_ten_digits<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    assert_eq!(next(scene, &client, "d/n-").await, "n-0000000000");
    assert_eq!(next(scene, &client, "d/n-").await, "n-0000000001");
    let persistent = client.create(&scene.path("d/n-"), "", CreateMode::PersistentSequential).await.unwrap();
    assert_eq!(persistent.path, scene.path("d/n-0000000002"));
    assert_eq!(persistent.stat.ephemeral_owner, 0);
}

pub(crate) async fn all_names_of_a_parent_share_one_count<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    scene.node(&client, "d/plain").await;
    assert_eq!(next(scene, &client, "d/a").await, "a0000000001");
    assert_eq!(next(scene, &client, "d/b").await, "b0000000002");
    client.create(&scene.path("d/container"), "", CreateMode::Container).await.unwrap();
    assert_eq!(next(scene, &client, "d/a").await, "a0000000004");
}

pub(crate) async fn a_name_may_be_all_number<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    assert_eq!(next(scene, &client, "d/").await, "0000000000");
    assert_eq!(next(scene, &client, "d/").await, "0000000001");
}

pub(crate) async fn deletions_give_no_number_back<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    for number in 0..3 {
        let name = next(scene, &client, "d/n").await;
        assert_eq!(name, format!("n{number:010}"));
        client.delete(&scene.path(&format!("d/{name}")), Version::ANY).await.unwrap();
    }
}

pub(crate) async fn numbers_begin_again_with_a_new_parent<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    for _ in 0..2 {
        scene.node(&client, "d").await;
        let name = next(scene, &client, "d/n").await;
        assert_eq!(name, "n0000000000");
        client.delete(&scene.path(&format!("d/{name}")), Version::ANY).await.unwrap();
        client.delete(&scene.path("d"), Version::ANY).await.unwrap();
    }
}

pub(crate) async fn the_stat_tells_the_next_number<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    for _ in 0..4 {
        next(scene, &client, "d/n").await;
    }
    client.delete(&scene.path("d/n0000000001"), Version::ANY).await.unwrap();
    let stat = client.exists(&scene.path("d")).await.unwrap().unwrap();
    assert_eq!((stat.cversion + stat.num_children) / 2, 4);
    assert_eq!(next(scene, &client, "d/n").await, "n0000000004");
}

pub(crate) async fn numbers_are_in_the_order_of_creation<B: Backend>(scene: &Scene<'_, B>) {
    let clients = [scene.connect().await, scene.connect().await];
    scene.node(&clients[0], "d").await;
    clients[1].settle(&scene.root()).await.unwrap();
    let calls: Vec<_> = (0..20).map(|i| clients[i % 2].create(&scene.path("d/n"), "", SEQUENTIAL)).collect();
    let mut made = Vec::new();
    for call in calls {
        let created = call.await.unwrap();
        made.push((created.path.name().to_owned(), created.stat.czxid));
    }
    made.sort();
    let numbers: Vec<_> = made.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(numbers, (0..20).map(|i| format!("n{i:010}")).collect::<Vec<_>>());
    assert!(made.is_sorted_by(|one, next| one.1 < next.1), "{made:?}");
}

pub(crate) async fn what_was_refused_took_no_number<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    scene.node(&client, "d/taken").await;
    expect_refused(client.create(&scene.path("d/taken"), "", CreateMode::Persistent).await, Refusal::NodeExists);
    let operations =
        vec![MultiOp::create(&scene.path("d/n"), "", SEQUENTIAL), MultiOp::check(&scene.path("d"), Version(9))];
    expect_multi_refused(client.multi(operations).await, 1, Refusal::BadVersion);
    assert_eq!(next(scene, &client, "d/n").await, "n0000000001");
}

pub(crate) async fn a_number_whose_name_is_taken_is_refused<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    // The first child takes the name of the second.
    scene.node(&client, "d/n0000000001").await;
    expect_refused(client.create(&scene.path("d/n"), "", SEQUENTIAL).await, Refusal::NodeExists);
    // Which does not count, so that it stays so until somebody else takes the number.
    expect_refused(client.create(&scene.path("d/n"), "", SEQUENTIAL).await, Refusal::NodeExists);
    assert_eq!(next(scene, &client, "d/other").await, "other0000000001");
    assert_eq!(next(scene, &client, "d/n").await, "n0000000002");
}
