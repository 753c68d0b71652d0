//! A connection is lost; the session is not.

use herdless_core::{Client, ClientExt, CreateMode, Error, EventKind, SessionState, Version, Zxid};

use crate::expect::{expect_event, expect_quiet, poll_once};
use crate::{Backend, Scene};

pub(crate) async fn a_session_outlives_its_connection<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let stat = client.create(&scene.path("mine"), "", CreateMode::Ephemeral).await.unwrap().stat;
    let session = client.session();
    let revision = session.revision();
    scene.disconnect(&client).await;
    assert_eq!(session.state(), SessionState::Suspended);
    assert_ne!(session.revision(), revision);
    assert_eq!(other.exists(&scene.path("mine")).await.unwrap(), Some(stat));
    scene.reconnect(&client).await;
    assert_eq!(client.exists(&scene.path("mine")).await.unwrap(), Some(stat));
    assert_eq!(session.state(), SessionState::Connected);
    assert!(session.is_valid());
    assert_eq!(client.session().id(), session.id());
}

pub(crate) async fn requests_wait_for_the_connection_in_their_order<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    scene.disconnect(&client).await;
    let mut sets: Vec<_> = (0..10).map(|version| client.set(&path, "", Version(version))).collect();
    let get = client.get(&path);
    assert!(poll_once(&mut sets[0]).await.is_none(), "there is no server to ask");
    scene.reconnect(&client).await;
    assert_eq!(get.await.unwrap().1.version, 10);
    for set in sets {
        set.await.unwrap();
    }
}

pub(crate) async fn a_dropped_request_that_waits_is_carried_out<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    scene.disconnect(&client).await;
    drop(client.create(&scene.path("a"), "", CreateMode::Persistent));
    scene.reconnect(&client).await;
    assert!(client.exists(&scene.path("a")).await.unwrap().is_some());
}

pub(crate) async fn watches_are_left_again_after_a_reconnect<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let (path, _) = scene.node(&client, "a").await;
    let new = scene.path("new");
    let (_, mut on_data) = client.get_and_watch(&path).await.unwrap();
    let (_, mut on_children) = client.children_and_watch(&path).await.unwrap();
    let (_, mut on_new) = client.exists_and_watch(&new).await.unwrap();
    scene.disconnect(&client).await;
    scene.reconnect(&client).await;
    for watch in [&mut on_data, &mut on_children, &mut on_new] {
        expect_quiet(&client, watch).await;
    }
    other.set(&path, "y", Version::ANY).await.unwrap();
    scene.node(&other, "a/b").await;
    scene.node(&other, "new").await;
    expect_event(&client, on_data, EventKind::DataChanged, &path).await;
    expect_event(&client, on_children, EventKind::ChildrenChanged, &path).await;
    expect_event(&client, on_new, EventKind::Created, &new).await;
}

pub(crate) async fn what_changed_meanwhile_is_told_after_the_reconnect<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    for below in ["set", "gone", "parent", "empty", "same"] {
        scene.node(&client, below).await;
    }
    let at = |below| scene.path(below);
    let (_, on_set) = client.get_and_watch(&at("set")).await.unwrap();
    let (_, on_gone) = client.get_and_watch(&at("gone")).await.unwrap();
    let (_, on_new) = client.exists_and_watch(&at("new")).await.unwrap();
    let (_, on_parent) = client.children_and_watch(&at("parent")).await.unwrap();
    let (_, on_empty) = client.children_and_watch(&at("empty")).await.unwrap();
    let (_, mut on_same) = client.get_and_watch(&at("same")).await.unwrap();
    scene.disconnect(&client).await;
    other.settle(&scene.root()).await.unwrap();
    other.set(&at("set"), "y", Version::ANY).await.unwrap();
    other.delete(&at("gone"), Version::ANY).await.unwrap();
    scene.node(&other, "new").await;
    scene.node(&other, "parent/child").await;
    other.delete(&at("empty"), Version::ANY).await.unwrap();
    scene.reconnect(&client).await;
    expect_event(&client, on_set, EventKind::DataChanged, &at("set")).await;
    expect_event(&client, on_gone, EventKind::Deleted, &at("gone")).await;
    expect_event(&client, on_new, EventKind::Created, &at("new")).await;
    expect_event(&client, on_parent, EventKind::ChildrenChanged, &at("parent")).await;
    expect_event(&client, on_empty, EventKind::Deleted, &at("empty")).await;
    expect_quiet(&client, &mut on_same).await;
}

pub(crate) async fn only_the_last_state_of_what_changed_is_told<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    scene.node(&client, "a").await;
    let (path, brief) = (scene.path("a"), scene.path("brief"));
    let (_, on_node) = client.get_and_watch(&path).await.unwrap();
    let (_, mut on_brief) = client.exists_and_watch(&brief).await.unwrap();
    scene.disconnect(&client).await;
    other.settle(&path).await.unwrap();
    other.set(&path, "y", Version::ANY).await.unwrap();
    other.delete(&path, Version::ANY).await.unwrap();
    scene.node(&other, "brief").await;
    other.delete(&brief, Version::ANY).await.unwrap();
    scene.reconnect(&client).await;
    expect_event(&client, on_node, EventKind::Deleted, &path).await;
    // It came and went unseen.
    expect_quiet(&client, &mut on_brief).await;
    scene.node(&other, "brief").await;
    expect_event(&client, on_brief, EventKind::Created, &brief).await;
}

pub(crate) async fn many_watches_are_left_again<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    // More than one frame of `SetWatches` holds.
    let long = "x".repeat(400);
    let paths: Vec<_> = (0..500).map(|i| scene.path(&format!("{long}-{i}"))).collect();
    let reads: Vec<_> = paths.iter().map(|path| client.exists_and_watch(path)).collect();
    let mut watches = Vec::new();
    for read in reads {
        watches.push(read.await.unwrap().1);
    }
    scene.disconnect(&client).await;
    scene.reconnect(&client).await;
    client.settle(&scene.root()).await.unwrap();
    let creates: Vec<_> = paths.iter().map(|path| other.create(path, "", CreateMode::Ephemeral)).collect();
    for create in creates {
        create.await.unwrap();
    }
    client.settle(&scene.root()).await.unwrap();
    for (mut watch, path) in watches.into_iter().zip(paths) {
        let event = poll_once(&mut watch).await.expect("the event").unwrap();
        assert_eq!((event.kind, event.path), (EventKind::Created, path));
    }
}

pub(crate) async fn a_reconnected_session_sees_what_it_saw_before<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    let mut last = Zxid(0);
    for version in 0..3 {
        let stat = client.set(&path, "", Version(version)).await.unwrap();
        scene.disconnect(&client).await;
        scene.reconnect(&client).await;
        assert_eq!(client.exists(&path).await.unwrap(), Some(stat));
        assert!(stat.mzxid > last);
        last = stat.mzxid;
    }
}

pub(crate) async fn more_than_the_limit_is_refused_at_once<B: Backend>(scene: &Scene<'_, B>) {
    const LIMIT: usize = 4;
    let client = scene.connect_limited(LIMIT).await;
    let mine = client.create(&scene.path("mine"), "", CreateMode::Ephemeral).await.unwrap();
    scene.disconnect(&client).await;
    let accepted: Vec<_> = (0..LIMIT).map(|_| client.exists(&mine.path)).collect();
    for _ in 0..3 {
        let mut refused = client.create(&scene.path("refused"), "", CreateMode::Persistent);
        assert_eq!(poll_once(&mut refused).await, Some(Err(Error::Overloaded)));
    }
    // Clean-up is taken all the same: refusing it would leave a node behind.
    let (path, czxid) = (mine.path, mine.stat.czxid);
    let release = herdless_core::Release {
        path: path.clone(),
        czxid,
        session: client.session().id(),
        hand_over: false,
        may_be_gone: false,
    };
    let released = client.call(release);
    scene.reconnect(&client).await;
    for call in accepted {
        assert_eq!(call.await.unwrap(), Some(mine.stat));
    }
    assert_eq!(released.await, Ok(true));
    assert_eq!(client.children(&scene.root()).await.unwrap().0, Vec::<String>::new());
}
