//! The less common reads.

use herdless_core::{Acl, ClientExt, CreateMode, Error, NodePath, Permissions, ReadOp, ReadReply, Reconfig, Refusal};

use crate::expect::{expect_names, expect_refused};
use crate::{Backend, Scene};

pub(crate) async fn descendants_are_counted_at_any_depth<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    for below in ["a", "a/b", "a/b/c", "ab"] {
        scene.node(&client, below).await;
    }
    assert_eq!(client.all_children_number(&scene.root()).await.unwrap(), 4);
    // Not "ab", which only begins alike.
    assert_eq!(client.all_children_number(&scene.path("a")).await.unwrap(), 2);
    assert_eq!(client.all_children_number(&scene.path("ab")).await.unwrap(), 0);
    expect_refused(client.all_children_number(&scene.path("nowhere")).await, Refusal::NoNode);
}

pub(crate) async fn each_of_several_reads_has_its_own_outcome<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (a, stat) = scene.node(&client, "a").await;
    let nowhere = scene.path("nowhere");
    let closed = Acl { permissions: Permissions::WRITE, ..Acl::open()[0].clone() };
    let closed =
        client.create_with_acl(&scene.path("closed"), "", CreateMode::Persistent, [closed]).await.unwrap().path;
    let reads = vec![
        ReadOp::GetData(nowhere.clone()),
        ReadOp::GetData(a.clone()),
        ReadOp::GetChildren(nowhere),
        ReadOp::GetData(closed.clone()),
        ReadOp::GetChildren(closed),
        ReadOp::GetChildren(a),
        ReadOp::GetChildren(scene.root()),
    ];
    let mut outcomes = client.multi_read(reads).await.unwrap();
    let Some(Ok(ReadReply::Children(names))) = outcomes.pop() else { panic!("{outcomes:?}") };
    expect_names(names, &["a", "closed"]);
    let refused = |refusal| Err(Error::Refused(refusal));
    let expected = [
        refused(Refusal::NoNode),
        Ok(ReadReply::Data("x".into(), stat)),
        refused(Refusal::NoNode),
        refused(Refusal::NoAuth),
        refused(Refusal::NoAuth),
        Ok(ReadReply::Children(Vec::new())),
    ];
    assert_eq!(outcomes, expected);
}

pub(crate) async fn no_reads_have_no_outcomes<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    assert_eq!(client.multi_read(Vec::new()).await.unwrap(), []);
}

pub(crate) async fn many_children_are_all_told<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let calls: Vec<_> =
        (0..500).map(|i| client.create(&scene.path(&format!("child-{i:04}")), "", CreateMode::Ephemeral)).collect();
    for call in calls {
        call.await.unwrap();
    }
    let (mut names, stat) = client.children(&scene.root()).await.unwrap();
    names.sort();
    assert_eq!(names, (0..500).map(|i| format!("child-{i:04}")).collect::<Vec<_>>());
    assert_eq!((stat.num_children, stat.cversion), (500, 500));
    assert_eq!(client.ephemerals(&scene.root()).await.unwrap().len(), 500);
}

pub(crate) async fn own_ephemerals_are_found_by_the_beginning_of_their_paths<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    scene.node(&client, "a").await;
    for below in ["a/one", "ab", "b"] {
        client.create(&scene.path(below), "", CreateMode::Ephemeral).await.unwrap();
    }
    other.create(&scene.path("a/other"), "", CreateMode::Ephemeral).await.unwrap();
    let found = async |prefix: NodePath| {
        let mut paths = client.ephemerals(&prefix).await.unwrap();
        paths.sort();
        paths
    };
    // A beginning of the text, not a subtree.
    assert_eq!(found(scene.path("a")).await, [scene.path("a/one"), scene.path("ab")]);
    assert_eq!(found(scene.path("a/")).await, [scene.path("a/one")]);
    assert_eq!(found(scene.root()).await, [scene.path("a/one"), scene.path("ab"), scene.path("b")]);
    assert_eq!(found(scene.path("nowhere")).await, []);
    assert_eq!(other.ephemerals(&NodePath::root()).await.unwrap(), [scene.path("a/other")]);
}

pub(crate) async fn a_read_after_sync_sees_what_was_written_before<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    for round in 0..20 {
        let path = scene.path(&format!("n{round}"));
        client.create(&path, "", CreateMode::Persistent).await.unwrap();
        let (sync, read) = (other.sync(&path), other.exists(&path));
        sync.await.unwrap();
        assert!(read.await.unwrap().is_some());
    }
}

pub(crate) async fn the_configuration_can_be_read<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (_, stat) = client.config().await.unwrap();
    assert_eq!(stat.ephemeral_owner, 0);
}

pub(crate) async fn a_server_that_stands_alone_has_nothing_to_configure<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    assert_eq!(client.config().await.unwrap().0, "");
    let joining =
        Reconfig { joining: Some("server.2=127.0.0.1:2888:3888;2181".into()), version: -1, ..Reconfig::default() };
    let refusal = client.reconfigure(joining).await.unwrap_err().refusal();
    // Which of the two depends on whether reconfiguration is switched on.
    assert!(matches!(refusal, Some(Refusal::ReconfigDisabled | Refusal::Unimplemented)), "{refusal:?}");
}
