//! Nodes come and go.

use herdless_core::{Client, ClientExt, CreateMode, NodePath, Refusal, Stat, Version, Zxid};

use crate::expect::{expect_names, expect_refused};
use crate::{Backend, Scene};

const PERSISTENT: CreateMode = CreateMode::Persistent;

pub(crate) async fn a_created_node_is_there_with_its_data<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other, path) = (scene.connect().await, scene.connect().await, scene.path("a"));
    let created = client.create(&path, "hello", PERSISTENT).await.unwrap();
    assert_eq!(created.path, path);
    assert_eq!(client.get(&path).await.unwrap(), ("hello".into(), created.stat));
    other.settle(&path).await.unwrap();
    assert_eq!(other.get(&path).await.unwrap(), ("hello".into(), created.stat));
    assert_eq!(other.exists(&path).await.unwrap(), Some(created.stat));
}

pub(crate) async fn a_new_node_has_the_stat_of_its_creation<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let stat = client.create(&scene.path("a"), "four", PERSISTENT).await.unwrap().stat;
    assert!(stat.czxid > Zxid(0));
    let Stat { czxid, ctime, .. } = stat;
    let expected = Stat { czxid, mzxid: czxid, pzxid: czxid, ctime, mtime: ctime, data_length: 4, ..Stat::default() };
    assert_eq!(stat, expected);
}

pub(crate) async fn an_ephemeral_node_names_its_session<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let created = client.create(&scene.path("a"), "", CreateMode::Ephemeral).await.unwrap();
    assert_eq!(created.stat.ephemeral_owner, client.session().id().0);
    assert_ne!(created.stat.ephemeral_owner, other.session().id().0);
    assert_ne!(created.stat.ephemeral_owner, 0);
}

pub(crate) async fn a_node_that_exists_is_not_created_again<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, stat) = scene.node(&client, "a").await;
    for mode in [PERSISTENT, CreateMode::Ephemeral, CreateMode::Container] {
        expect_refused(client.create(&path, "other", mode).await, Refusal::NodeExists);
        expect_refused(other.create(&path, "other", mode).await, Refusal::NodeExists);
    }
    assert_eq!(client.get(&path).await.unwrap(), ("x".into(), stat));
}

pub(crate) async fn a_node_without_a_parent_is_not_created<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let modes = [PERSISTENT, CreateMode::PersistentSequential, CreateMode::Ephemeral, CreateMode::Container];
    for mode in modes {
        expect_refused(client.create(&scene.path("nowhere/a"), "", mode).await, Refusal::NoNode);
    }
    assert_eq!(client.children(&scene.root()).await.unwrap().0, Vec::<String>::new());
}

pub(crate) async fn the_root_is_neither_created_nor_deleted<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    expect_refused(client.create(&NodePath::root(), "", PERSISTENT).await, Refusal::NodeExists);
    expect_refused(client.delete(&NodePath::root(), Version::ANY).await, Refusal::BadArguments);
    assert!(client.exists(&NodePath::root()).await.unwrap().is_some());
}

pub(crate) async fn ephemeral_nodes_have_no_children<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let stat = client.create(&scene.path("a"), "", CreateMode::Ephemeral).await.unwrap().stat;
    for mode in [PERSISTENT, CreateMode::Ephemeral, CreateMode::EphemeralSequential, CreateMode::Container] {
        expect_refused(client.create(&scene.path("a/b"), "", mode).await, Refusal::NoChildrenForEphemerals);
    }
    assert_eq!(client.exists(&scene.path("a")).await.unwrap(), Some(stat));
}

pub(crate) async fn a_deleted_node_is_gone<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    client.delete(&path, Version::ANY).await.unwrap();
    assert_eq!(client.exists(&path).await.unwrap(), None);
    expect_names(client.children(&scene.root()).await.unwrap().0, &[]);
}

pub(crate) async fn a_missing_node_is_refused_by_what_needs_one<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("nowhere"));
    expect_refused(client.delete(&path, Version::ANY).await, Refusal::NoNode);
    expect_refused(client.get(&path).await, Refusal::NoNode);
    expect_refused(client.set(&path, "", Version::ANY).await, Refusal::NoNode);
    expect_refused(client.children(&path).await, Refusal::NoNode);
    expect_refused(client.acl(&path).await, Refusal::NoNode);
    expect_refused(client.set_acl(&path, herdless_core::Acl::open(), Version::ANY).await, Refusal::NoNode);
    expect_refused(client.delete(&scene.path("nowhere/deeper"), Version::ANY).await, Refusal::NoNode);
    // These are no refusals.
    assert_eq!(client.exists(&path).await.unwrap(), None);
    client.settle(&path).await.unwrap();
}

pub(crate) async fn a_node_with_children_is_not_deleted<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    let (child, _) = scene.node(&client, "a/b").await;
    expect_refused(client.delete(&path, Version::ANY).await, Refusal::NotEmpty);
    assert!(client.exists(&child).await.unwrap().is_some());
    client.delete(&child, Version::ANY).await.unwrap();
    client.delete(&path, Version::ANY).await.unwrap();
}

pub(crate) async fn data_is_any_bytes_and_none<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    let every_byte: Vec<u8> = (0..=255).collect();
    client.create(&path, every_byte.clone(), PERSISTENT).await.unwrap();
    let (data, stat) = client.get(&path).await.unwrap();
    assert_eq!((&*data, stat.data_length), (&*every_byte, 256));
    client.set(&path, "", Version::ANY).await.unwrap();
    let (data, stat) = client.get(&path).await.unwrap();
    assert_eq!((data.len(), stat.data_length), (0, 0));
}

pub(crate) async fn large_data_comes_back_whole<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    let large: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect();
    client.create(&path, large.clone(), PERSISTENT).await.unwrap();
    let (data, stat) = client.get(&path).await.unwrap();
    assert!(data == large, "other data");
    assert_eq!(stat.data_length, 1_000_000);
}

pub(crate) async fn names_are_any_text<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let mut names = ["a b", "...", ".hidden", "ä", "日本", "%20", "zookeeper", "-1", "A", "a"];
    for name in names {
        let path = scene.root().child(name).unwrap();
        assert_eq!(client.create(&path, name, PERSISTENT).await.unwrap().path, path);
        assert_eq!(client.get(&path).await.unwrap().0, name);
    }
    names.sort_unstable();
    expect_names(client.children(&scene.root()).await.unwrap().0, &names);
}

pub(crate) async fn children_are_told_by_their_names<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    for below in ["a", "b", "b/deeper", "bb"] {
        scene.node(&client, below).await;
    }
    let (names, stat) = client.children(&scene.root()).await.unwrap();
    expect_names(names, &["a", "b", "bb"]);
    assert_eq!(stat.num_children, 3);
    assert_eq!(client.exists(&scene.root()).await.unwrap(), Some(stat));
    expect_names(client.children(&scene.path("b")).await.unwrap().0, &["deeper"]);
    expect_names(client.children(&scene.path("a")).await.unwrap().0, &[]);
}

pub(crate) async fn a_node_made_again_is_another<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, first) = scene.node(&client, "a").await;
    client.set(&path, "y", Version::ANY).await.unwrap();
    scene.node(&client, "a/b").await;
    client.delete(&scene.path("a/b"), Version::ANY).await.unwrap();
    client.delete(&path, Version::ANY).await.unwrap();
    let (_, second) = scene.node(&client, "a").await;
    assert!(second.czxid > first.czxid);
    assert_eq!((second.version, second.cversion, second.pzxid), (0, 0, second.czxid));
}

pub(crate) async fn every_mode_makes_a_node<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let modes = [
        (PERSISTENT, false),
        (CreateMode::PersistentSequential, false),
        (CreateMode::Ephemeral, true),
        (CreateMode::EphemeralSequential, true),
        (CreateMode::Container, false),
    ];
    for (i, (mode, is_ephemeral)) in modes.into_iter().enumerate() {
        let created = client.create(&scene.path(&format!("n{i}")), "", mode).await.unwrap();
        assert_eq!(client.exists(&created.path).await.unwrap(), Some(created.stat), "{mode:?}");
        assert_eq!(created.stat.ephemeral_owner != 0, is_ephemeral, "{mode:?}");
        client.delete(&created.path, Version(0)).await.unwrap();
        assert_eq!(client.exists(&created.path).await.unwrap(), None, "{mode:?}");
    }
}
