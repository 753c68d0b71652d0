//! Several operations, all or none.

use std::time::Duration;

use herdless_core::{
    Acl, Client, ClientExt, Create, CreateMode, Error, EventKind, MultiOp, MultiReply, Permissions, Refusal, SessionId,
    Version,
};

use crate::expect::{expect_event, expect_multi_refused, expect_names, expect_quiet};
use crate::{Ability, Backend, Scene};

const PERSISTENT: CreateMode = CreateMode::Persistent;

pub(crate) async fn a_multi_of_nothing_does_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    assert_eq!(client.multi(Vec::new()).await.unwrap(), []);
}

pub(crate) async fn each_operation_has_its_result<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (old, _) = scene.node(&client, "old").await;
    let (kept, _) = scene.node(&client, "kept").await;
    let new = scene.path("new");
    let replies = client
        .multi(vec![
            MultiOp::check(&kept, Version(0)),
            MultiOp::create(&new, "data", PERSISTENT),
            MultiOp::set(&kept, "longer", Version(0)),
            MultiOp::delete(&old, Version(0)),
            MultiOp::create(&scene.path("n-"), "", CreateMode::EphemeralSequential),
        ])
        .await
        .unwrap();
    let sequential = scene.path("n-0000000003");
    let stat = client.exists(&kept).await.unwrap().unwrap();
    assert_eq!(replies.len(), 5);
    assert_eq!(replies[0], MultiReply::Checked);
    // The Stat of a created node is in the reply of newer servers only.
    assert!(matches!(&replies[1], MultiReply::Created(path, _) if *path == new), "{replies:?}");
    assert_eq!(replies[2], MultiReply::Set(stat));
    assert_eq!(replies[3], MultiReply::Deleted);
    assert!(matches!(&replies[4], MultiReply::Created(path, _) if *path == sequential), "{replies:?}");
    expect_names(client.children(&scene.root()).await.unwrap().0, &["kept", "n-0000000003", "new"]);
}

pub(crate) async fn a_multi_is_one_change<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (old, _) = scene.node(&client, "old").await;
    let (a, b) = (scene.path("a"), scene.path("b"));
    let operations = vec![
        MultiOp::create(&a, "", PERSISTENT),
        MultiOp::create(&b, "", CreateMode::Ephemeral),
        MultiOp::set(&old, "", Version::ANY),
    ];
    client.multi(operations).await.unwrap();
    let zxid = client.exists(&a).await.unwrap().unwrap().czxid;
    let b = client.exists(&b).await.unwrap().unwrap();
    assert_eq!((b.czxid, b.ephemeral_owner), (zxid, client.session().id().0));
    assert_eq!(client.exists(&old).await.unwrap().unwrap().mzxid, zxid);
    assert_eq!(client.exists(&scene.root()).await.unwrap().unwrap().pzxid, zxid);
}

pub(crate) async fn a_refused_multi_names_the_operation_and_changes_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (node, _) = scene.node(&client, "node").await;
    let (gone, _) = scene.node(&client, "node/gone").await;
    let before = (client.get(&node).await.unwrap(), client.get(&gone).await.unwrap());
    let good = [
        MultiOp::set(&node, "other", Version(0)),
        MultiOp::delete(&gone, Version::ANY),
        MultiOp::create(&scene.path("node/new"), "", PERSISTENT),
        MultiOp::create(&scene.path("node/mine-"), "", CreateMode::EphemeralSequential),
    ];
    for index in 0..=good.len() {
        let mut operations = good.to_vec();
        operations.insert(index, MultiOp::check(&node, Version(9)));
        expect_multi_refused(client.multi(operations).await, index, Refusal::BadVersion);
        let after = (client.get(&node).await.unwrap(), client.get(&gone).await.unwrap());
        assert_eq!(after, before, "refused at {index}");
        expect_names(client.children(&node).await.unwrap().0, &["gone"]);
    }
    assert_eq!(client.ephemerals(&scene.root()).await.unwrap(), []);
}

pub(crate) async fn every_refusal_is_told_by_a_multi_as_well<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (node, _) = scene.node(&client, "node").await;
    scene.node(&client, "node/child").await;
    let mine = client.create(&scene.path("mine"), "", CreateMode::Ephemeral).await.unwrap().path;
    let readable = Acl { permissions: Permissions::READ, ..Acl::open()[0].clone() };
    client.create_with_acl(&scene.path("closed"), "", PERSISTENT, [readable]).await.unwrap();
    let missing = scene.path("missing");
    let nobody = Create { path: missing.clone(), data: "".into(), acl: [].into(), mode: PERSISTENT };
    let cases = [
        (MultiOp::create(&node, "", PERSISTENT), Refusal::NodeExists),
        (MultiOp::create(&scene.path("missing/a"), "", PERSISTENT), Refusal::NoNode),
        (MultiOp::create(&mine.child("a").unwrap(), "", PERSISTENT), Refusal::NoChildrenForEphemerals),
        (MultiOp::Create(nobody), Refusal::InvalidAcl),
        (MultiOp::create(&scene.path("closed/a"), "", PERSISTENT), Refusal::NoAuth),
        (MultiOp::set(&scene.path("closed"), "", Version::ANY), Refusal::NoAuth),
        (MultiOp::set(&missing, "", Version::ANY), Refusal::NoNode),
        (MultiOp::set(&node, "", Version(4)), Refusal::BadVersion),
        (MultiOp::delete(&missing, Version::ANY), Refusal::NoNode),
        (MultiOp::delete(&node, Version(4)), Refusal::BadVersion),
        (MultiOp::delete(&node, Version::ANY), Refusal::NotEmpty),
        (MultiOp::check(&missing, Version::ANY), Refusal::NoNode),
        (MultiOp::check(&node, Version(4)), Refusal::BadVersion),
    ];
    for (operation, refusal) in cases {
        let first = MultiOp::set(&node, "changed", Version::ANY);
        expect_multi_refused(client.multi(vec![first, operation]).await, 1, refusal);
    }
    assert_eq!(client.get(&node).await.unwrap().0, "x");
}

pub(crate) async fn an_operation_sees_those_before_it<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (node, _) = scene.node(&client, "node").await;
    let (old, first) = scene.node(&client, "old").await;
    let operations = vec![
        MultiOp::create(&scene.path("a"), "", PERSISTENT),
        MultiOp::create(&scene.path("a/b"), "", PERSISTENT),
        MultiOp::set(&node, "y", Version(0)),
        MultiOp::check(&node, Version(1)),
        MultiOp::set(&node, "z", Version(1)),
        MultiOp::delete(&old, Version(0)),
        MultiOp::create(&old, "again", PERSISTENT),
        MultiOp::delete(&scene.path("a/b"), Version::ANY),
    ];
    client.multi(operations).await.unwrap();
    let (data, stat) = client.get(&node).await.unwrap();
    assert_eq!((&*data, stat.version), (&b"z"[..], 2));
    let (data, stat) = client.get(&old).await.unwrap();
    assert_eq!((&*data, stat.version), (&b"again"[..], 0));
    assert!(stat.czxid > first.czxid);
    assert_eq!(client.exists(&scene.path("a")).await.unwrap().unwrap().num_children, 0);
    let then =
        vec![MultiOp::delete(&scene.path("a"), Version::ANY), MultiOp::create(&scene.path("a/b"), "", PERSISTENT)];
    expect_multi_refused(client.multi(then).await, 1, Refusal::NoNode);
}

pub(crate) async fn numbers_count_within_a_multi<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.node(&client, "d").await;
    let operation = MultiOp::create(&scene.path("d/n"), "", CreateMode::PersistentSequential);
    client.multi(vec![operation.clone(), operation.clone(), operation]).await.unwrap();
    let names = client.children(&scene.path("d")).await.unwrap().0;
    expect_names(names, &["n0000000000", "n0000000001", "n0000000002"]);
}

pub(crate) async fn a_multi_fires_what_its_operations_fire<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (set, _) = scene.node(&client, "set").await;
    let (gone, _) = scene.node(&client, "gone").await;
    let (root, new) = (scene.root(), scene.path("new"));
    other.settle(&root).await.unwrap();
    let (_, on_set) = other.get_and_watch(&set).await.unwrap();
    let (_, on_gone) = other.get_and_watch(&gone).await.unwrap();
    let (_, on_new) = other.exists_and_watch(&new).await.unwrap();
    let (_, on_root) = other.children_and_watch(&root).await.unwrap();
    let operations = vec![
        MultiOp::set(&set, "", Version::ANY),
        MultiOp::delete(&gone, Version::ANY),
        MultiOp::create(&new, "", PERSISTENT),
    ];
    client.multi(operations).await.unwrap();
    expect_event(&other, on_set, EventKind::DataChanged, &set).await;
    expect_event(&other, on_gone, EventKind::Deleted, &gone).await;
    expect_event(&other, on_new, EventKind::Created, &new).await;
    expect_event(&other, on_root, EventKind::ChildrenChanged, &root).await;
}

pub(crate) async fn a_refused_multi_fires_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (node, _) = scene.node(&client, "node").await;
    other.settle(&node).await.unwrap();
    let (_, mut on_node) = other.get_and_watch(&node).await.unwrap();
    let (_, mut on_root) = other.children_and_watch(&scene.root()).await.unwrap();
    let operations = vec![
        MultiOp::set(&node, "", Version::ANY),
        MultiOp::create(&scene.path("new"), "", PERSISTENT),
        MultiOp::check(&node, Version(9)),
    ];
    expect_multi_refused(client.multi(operations).await, 2, Refusal::BadVersion);
    expect_quiet(&other, &mut on_node).await;
    expect_quiet(&other, &mut on_root).await;
}

pub(crate) async fn a_multi_meant_for_another_session_is_not_done<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (node, stat) = scene.node(&client, "node").await;
    let id = client.session().id();
    let operations = || vec![MultiOp::set(&node, "y", Version::ANY)];
    let other = client.multi_in(SessionId(id.0 ^ 1), operations()).await;
    assert_eq!(other, Err(Error::SessionExpired));
    assert_eq!(client.get(&node).await.unwrap(), ("x".into(), stat));
    client.multi_in(id, operations()).await.unwrap();
    assert_eq!(client.get(&node).await.unwrap().0, "y");
}

pub(crate) async fn refusals_depend_on_what_came_before_in_the_multi<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (node, _) = scene.node(&client, "node").await;
    let (a, below) = (scene.path("a"), scene.path("a/b"));
    let create = |mode| MultiOp::create(&a, "", mode);
    let cases = [
        (create(PERSISTENT), create(PERSISTENT), Refusal::NodeExists),
        (create(CreateMode::Ephemeral), MultiOp::create(&below, "", PERSISTENT), Refusal::NoChildrenForEphemerals),
        (MultiOp::delete(&node, Version::ANY), MultiOp::set(&node, "", Version::ANY), Refusal::NoNode),
        (MultiOp::delete(&node, Version::ANY), MultiOp::delete(&node, Version::ANY), Refusal::NoNode),
        (MultiOp::set(&node, "", Version(0)), MultiOp::set(&node, "", Version(0)), Refusal::BadVersion),
        (
            MultiOp::create(&node.child("a").unwrap(), "", PERSISTENT),
            MultiOp::delete(&node, Version::ANY),
            Refusal::NotEmpty,
        ),
    ];
    for (first, second, refusal) in cases {
        expect_multi_refused(client.multi(vec![first, second]).await, 1, refusal);
    }
    expect_names(client.children(&scene.root()).await.unwrap().0, &["node"]);
}

pub(crate) async fn the_root_is_refused_in_a_multi_as_well<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let root = herdless_core::NodePath::root();
    let create = vec![MultiOp::create(&root, "", PERSISTENT)];
    expect_multi_refused(client.multi(create).await, 0, Refusal::NodeExists);
    let delete = vec![MultiOp::delete(&root, Version::ANY)];
    expect_multi_refused(client.multi(delete).await, 0, Refusal::BadArguments);
}

pub(crate) async fn what_comes_and_goes_in_a_multi_is_told<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (replaced, _) = scene.node(&client, "replaced").await;
    let brief = scene.path("brief");
    other.settle(&scene.root()).await.unwrap();
    let (_, on_replaced) = other.get_and_watch(&replaced).await.unwrap();
    let (_, on_brief) = other.exists_and_watch(&brief).await.unwrap();
    let operations = vec![
        MultiOp::delete(&replaced, Version::ANY),
        MultiOp::create(&replaced, "new", PERSISTENT),
        MultiOp::create(&brief, "", PERSISTENT),
        MultiOp::delete(&brief, Version::ANY),
    ];
    client.multi(operations).await.unwrap();
    expect_event(&other, on_replaced, EventKind::Deleted, &replaced).await;
    expect_event(&other, on_brief, EventKind::Created, &brief).await;
    assert_eq!(other.exists(&brief).await.unwrap(), None);
}

pub(crate) async fn a_multi_counts_in_the_parents_stat<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (parent, _) = scene.node(&client, "p").await;
    scene.node(&client, "p/old").await;
    let operations = vec![
        MultiOp::delete(&scene.path("p/old"), Version::ANY),
        MultiOp::create(&scene.path("p/1"), "", PERSISTENT),
        MultiOp::create(&scene.path("p/2"), "", PERSISTENT),
        MultiOp::delete(&scene.path("p/1"), Version::ANY),
    ];
    client.multi(operations).await.unwrap();
    let stat = client.exists(&parent).await.unwrap().unwrap();
    assert_eq!((stat.cversion, stat.num_children), (5, 1));
    assert_eq!(stat.pzxid, client.exists(&scene.path("p/2")).await.unwrap().unwrap().czxid);
    let next = client.create(&scene.path("p/n"), "", CreateMode::PersistentSequential).await.unwrap();
    assert_eq!(next.path, scene.path("p/n0000000003"));
}

pub(crate) async fn every_mode_works_in_a_multi<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let mut modes = vec![
        PERSISTENT,
        CreateMode::PersistentSequential,
        CreateMode::Ephemeral,
        CreateMode::EphemeralSequential,
        CreateMode::Container,
    ];
    if scene.has(Ability::TimeToLive) {
        let hour = Duration::from_secs(3600);
        modes.extend([CreateMode::PersistentWithTtl(hour), CreateMode::PersistentSequentialWithTtl(hour)]);
    }
    let path = |i: usize| scene.path(&format!("n{i}-"));
    let operations = modes.iter().enumerate().map(|(i, mode)| MultiOp::create(&path(i), "", *mode)).collect();
    let replies = client.multi(operations).await.unwrap();
    for (i, (mode, reply)) in modes.into_iter().zip(replies).enumerate() {
        let digits = if mode.is_sequential() { format!("{i:010}") } else { String::new() };
        let MultiReply::Created(made, _) = reply else { panic!("{reply:?}") };
        assert_eq!(made.as_str(), format!("{}{digits}", path(i)));
        let stat = client.exists(&made).await.unwrap().unwrap();
        assert_eq!(stat.ephemeral_owner != 0, mode.is_ephemeral(), "{mode:?}");
    }
}
