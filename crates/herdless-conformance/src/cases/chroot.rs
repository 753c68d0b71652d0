//! A subtree seen as the whole tree.

use herdless_core::{
    Chroot, Client, ClientExt, CreateMode, Error, EventKind, MultiOp, MultiReply, NodePath, ReadOp, ReadReply, Refusal,
    Release, Version,
};

use crate::expect::{expect_event, expect_multi_refused, expect_names, expect_refused};
use crate::{Backend, Scene};

const PERSISTENT: CreateMode = CreateMode::Persistent;

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

/// A client, and the same client below `app`.
async fn inside<B: Backend>(scene: &Scene<'_, B>) -> (B::Client, Chroot<B::Client>) {
    let client = scene.connect().await;
    scene.node(&client, "app").await;
    (client.clone(), Chroot::new(client, scene.path("app")))
}

pub(crate) async fn paths_below_a_chroot_are_its_own<B: Backend>(scene: &Scene<'_, B>) {
    let (client, inside) = inside(scene).await;
    let created = inside.create(&path("/a"), "x", PERSISTENT).await.unwrap();
    assert_eq!(created.path, path("/a"));
    assert_eq!(client.get(&scene.path("app/a")).await.unwrap(), ("x".into(), created.stat));
    assert_eq!(inside.get(&path("/a")).await.unwrap(), ("x".into(), created.stat));
    inside.set(&path("/a"), "y", Version(0)).await.unwrap();
    expect_names(inside.children(&NodePath::root()).await.unwrap().0, &["a"]);
    assert_eq!(inside.all_children_number(&NodePath::root()).await.unwrap(), 1);
    inside.acl(&path("/a")).await.unwrap();
    inside.settle(&path("/a")).await.unwrap();
    inside.delete(&path("/a"), Version(1)).await.unwrap();
    assert_eq!(client.exists(&scene.path("app/a")).await.unwrap(), None);
}

pub(crate) async fn events_below_a_chroot_have_its_paths<B: Backend>(scene: &Scene<'_, B>) {
    let (client, inside) = inside(scene).await;
    let (a, root) = (path("/a"), NodePath::root());
    let (_, on_new) = inside.exists_and_watch(&a).await.unwrap();
    let (_, on_root) = inside.children_and_watch(&root).await.unwrap();
    scene.node(&client, "app/a").await;
    expect_event(&inside, on_new, EventKind::Created, &a).await;
    expect_event(&inside, on_root, EventKind::ChildrenChanged, &root).await;
}

/// ZOOKEEPER-961: left again without the chroot they watch other nodes.
pub(crate) async fn watches_below_a_chroot_are_left_again<B: Backend>(scene: &Scene<'_, B>) {
    let (client, inside) = inside(scene).await;
    let (early, late, root) = (path("/early"), path("/late"), NodePath::root());
    let (_, on_early) = inside.exists_and_watch(&early).await.unwrap();
    let (_, on_late) = inside.exists_and_watch(&late).await.unwrap();
    let (_, on_root) = inside.children_and_watch(&root).await.unwrap();
    let other = scene.connect().await;
    scene.disconnect(&client).await;
    scene.node(&other, "app/early").await;
    scene.reconnect(&client).await;
    expect_event(&inside, on_early, EventKind::Created, &early).await;
    expect_event(&inside, on_root, EventKind::ChildrenChanged, &root).await;
    scene.node(&other, "app/late").await;
    expect_event(&inside, on_late, EventKind::Created, &late).await;
}

pub(crate) async fn sequential_nodes_are_made_at_the_top_of_a_chroot<B: Backend>(scene: &Scene<'_, B>) {
    let (client, inside) = inside(scene).await;
    let created = inside.create(&NodePath::root(), "", CreateMode::EphemeralSequential).await.unwrap();
    assert_eq!(created.path, path("/0000000000"));
    let created = inside.create(&path("/n-"), "", CreateMode::PersistentSequential).await.unwrap();
    assert_eq!(created.path, path("/n-0000000001"));
    expect_names(client.children(&scene.path("app")).await.unwrap().0, &["0000000000", "n-0000000001"]);
}

pub(crate) async fn a_chroot_maps_every_operation_of_a_multi<B: Backend>(scene: &Scene<'_, B>) {
    let (client, inside) = inside(scene).await;
    let operations = vec![
        MultiOp::create(&path("/a"), "x", PERSISTENT),
        MultiOp::set(&path("/a"), "y", Version(0)),
        MultiOp::check(&NodePath::root(), Version(0)),
        MultiOp::create(&path("/n-"), "", PERSISTENT),
        MultiOp::delete(&path("/n-"), Version(0)),
    ];
    let replies = inside.multi(operations).await.unwrap();
    assert!(matches!(&replies[0], MultiReply::Created(made, _) if *made == path("/a")), "{replies:?}");
    assert_eq!(client.get(&scene.path("app/a")).await.unwrap().0, "y");
    expect_multi_refused(inside.multi(vec![MultiOp::delete(&path("/b"), Version::ANY)]).await, 0, Refusal::NoNode);
    let reads = vec![ReadOp::GetData(path("/a")), ReadOp::GetChildren(NodePath::root())];
    let read = inside.multi_read(reads).await.unwrap();
    assert!(matches!(&read[0], Ok(ReadReply::Data(data, _)) if data == "y"), "{read:?}");
    assert_eq!(read[1], Ok(ReadReply::Children(vec!["a".into()])));
}

pub(crate) async fn own_ephemerals_below_a_chroot_have_its_paths<B: Backend>(scene: &Scene<'_, B>) {
    let (client, inside) = inside(scene).await;
    let created = inside.create(&path("/mine"), "", CreateMode::Ephemeral).await.unwrap();
    // One outside, whose path begins alike.
    client.create(&scene.path("apple"), "", CreateMode::Ephemeral).await.unwrap();
    assert_eq!(inside.ephemerals(&NodePath::root()).await.unwrap(), [path("/mine")]);
    let (czxid, session) = (created.stat.czxid, inside.session().id());
    let release = Release { path: path("/mine"), czxid, session, hand_over: true, may_be_gone: false };
    assert_eq!(inside.call(release).await, Ok(true));
    assert_eq!(client.ephemerals(&scene.root()).await.unwrap(), [scene.path("apple")]);
}

pub(crate) async fn a_chroot_that_is_missing_has_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let client = Chroot::new(scene.connect().await, scene.path("missing"));
    assert_eq!(client.exists(&NodePath::root()).await.unwrap(), None);
    expect_refused(client.create(&path("/a"), "", PERSISTENT).await, Refusal::NoNode);
    expect_refused(client.get(&path("/a")).await, Refusal::NoNode);
    // Its own node can be made from inside.
    client.create(&NodePath::root(), "", PERSISTENT).await.unwrap();
    client.create(&path("/a"), "", PERSISTENT).await.unwrap();
}

pub(crate) async fn a_chroot_within_a_chroot_is_one<B: Backend>(scene: &Scene<'_, B>) {
    let (client, outer) = inside(scene).await;
    outer.create(&path("/inner"), "", PERSISTENT).await.unwrap();
    let inner = Chroot::new(outer, path("/inner"));
    // A name that nobody else has given to a node of the root.
    let name = format!("{}-inner", scene.root().name());
    let a = path(&format!("/{name}"));
    let (_, watch) = inner.exists_and_watch(&a).await.unwrap();
    assert_eq!(inner.create(&a, "", PERSISTENT).await.unwrap().path, a);
    expect_event(&inner, watch, EventKind::Created, &a).await;
    assert!(client.exists(&scene.path(&format!("app/inner/{name}"))).await.unwrap().is_some());
    assert_eq!(Chroot::new(client, NodePath::root()).exists(&a).await, Ok::<_, Error>(None));
}
