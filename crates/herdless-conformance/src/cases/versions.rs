//! What a Stat counts.

use herdless_core::{Acl, ClientExt, CreateMode, Refusal, Stat, Version};

use crate::expect::expect_refused;
use crate::{Backend, Scene};

pub(crate) async fn a_write_counts_the_version_and_takes_a_zxid<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, mut before) = scene.node(&client, "a").await;
    for version in 0..5 {
        let stat = client.set(&path, "longer", Version(version)).await.unwrap();
        assert!(stat.mzxid > before.mzxid && stat.mtime >= before.mtime);
        let expected = Stat { version: version + 1, mzxid: stat.mzxid, mtime: stat.mtime, data_length: 6, ..before };
        assert_eq!(stat, expected, "and nothing else");
        assert_eq!(client.exists(&path).await.unwrap(), Some(stat));
        before = stat;
    }
}

pub(crate) async fn a_write_counts_even_if_the_data_is_the_same<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, before) = scene.node(&client, "a").await;
    let stat = client.set(&path, "x", Version::ANY).await.unwrap();
    assert_eq!(stat.version, 1);
    assert!(stat.mzxid > before.mzxid);
}

pub(crate) async fn a_write_for_another_version_changes_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    let stat = client.set(&path, "second", Version(0)).await.unwrap();
    for version in [0, 2, i32::MAX, i32::MIN, -2] {
        expect_refused(client.set(&path, "third", Version(version)).await, Refusal::BadVersion);
        expect_refused(client.delete(&path, Version(version)).await, Refusal::BadVersion);
    }
    assert_eq!(client.get(&path).await.unwrap(), ("second".into(), stat));
    client.delete(&path, Version(1)).await.unwrap();
}

pub(crate) async fn any_version_will_do_where_none_is_named<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    for version in 1..4 {
        assert_eq!(client.set(&path, "", Version::ANY).await.unwrap().version, version);
    }
    client.delete(&path, Version::ANY).await.unwrap();
}

pub(crate) async fn one_of_two_writes_for_a_version_wins<B: Backend>(scene: &Scene<'_, B>) {
    let clients = [scene.connect().await, scene.connect().await];
    let (path, _) = scene.node(&clients[0], "a").await;
    let sets = clients.each_ref().map(|client| client.set(&path, "", Version(0)));
    let mut won = 0;
    for set in sets {
        match set.await {
            Ok(stat) => {
                assert_eq!(stat.version, 1);
                won += 1;
            }
            error => expect_refused(error, Refusal::BadVersion),
        }
    }
    assert_eq!(won, 1);
}

pub(crate) async fn children_count_in_the_parents_stat<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, made) = scene.node(&client, "a").await;
    let (first, first_stat) = scene.node(&client, "a/1").await;
    let (_, second_stat) = scene.node(&client, "a/2").await;
    assert!(second_stat.czxid > first_stat.czxid);
    let expected = Stat { cversion: 2, num_children: 2, pzxid: second_stat.czxid, ..made };
    assert_eq!(client.exists(&path).await.unwrap(), Some(expected));
    client.delete(&first, Version::ANY).await.unwrap();
    let stat = client.exists(&path).await.unwrap().unwrap();
    assert!(stat.pzxid > second_stat.czxid, "a deletion counts");
    assert_eq!(stat, Stat { cversion: 3, num_children: 1, pzxid: stat.pzxid, ..made });
}

pub(crate) async fn only_a_nodes_own_children_are_in_its_stat<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    let (child, _) = scene.node(&client, "a/b").await;
    let before = client.exists(&path).await.unwrap();
    client.set(&child, "data", Version::ANY).await.unwrap();
    client.set_acl(&child, Acl::open(), Version::ANY).await.unwrap();
    scene.node(&client, "a/b/c").await;
    client.delete(&scene.path("a/b/c"), Version::ANY).await.unwrap();
    assert_eq!(client.exists(&path).await.unwrap(), before);
}

pub(crate) async fn a_childs_end_counts_like_its_deletion<B: Backend>(scene: &Scene<'_, B>) {
    let (client, owner) = (scene.connect().await, scene.connect().await);
    let (path, made) = scene.node(&client, "a").await;
    for name in ["1", "2"] {
        owner.create(&path.child(name).unwrap(), "", CreateMode::Ephemeral).await.unwrap();
    }
    owner.close().await.unwrap();
    client.settle(&path).await.unwrap();
    let stat = client.exists(&path).await.unwrap().unwrap();
    assert_eq!((stat.cversion, stat.num_children), (4, 0));
    assert!(stat.pzxid > made.pzxid);
}

pub(crate) async fn zxids_grow_with_every_change_of_anybody<B: Backend>(scene: &Scene<'_, B>) {
    let clients = [scene.connect().await, scene.connect().await];
    let mut last = scene.node(&clients[0], "a").await.1.czxid;
    for i in 0..6 {
        let client = &clients[i % 2];
        let created = client.create(&scene.path(&format!("n{i}")), "", CreateMode::Persistent).await.unwrap();
        let set = client.set(&scene.path("a"), "", Version::ANY).await.unwrap();
        assert!(last < created.stat.czxid && created.stat.czxid < set.mzxid);
        last = set.mzxid;
    }
}

pub(crate) async fn what_was_refused_left_no_trace<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    scene.node(&client, "a/b").await;
    let before = (client.get(&path).await.unwrap(), client.acl(&path).await.unwrap());
    expect_refused(client.create(&scene.path("a/b"), "", CreateMode::Ephemeral).await, Refusal::NodeExists);
    expect_refused(client.delete(&path, Version::ANY).await, Refusal::NotEmpty);
    expect_refused(client.delete(&scene.path("a/c"), Version::ANY).await, Refusal::NoNode);
    expect_refused(client.set(&path, "", Version(7)).await, Refusal::BadVersion);
    expect_refused(client.set_acl(&path, Acl::open(), Version(7)).await, Refusal::BadVersion);
    assert_eq!((client.get(&path).await.unwrap(), client.acl(&path).await.unwrap()), before);
}
