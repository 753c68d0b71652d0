//! A request is carried out, and its reply is lost.

use herdless_core::{Client, ClientExt, CreateMode, Error, FindOwn, Release, Version};

use crate::{Backend, Scene};

pub(crate) async fn a_write_whose_reply_is_lost_is_neither_done_nor_refused<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, _) = scene.node(&client, "a").await;
    scene.lose_next_reply(&client).await;
    assert_eq!(client.set(&path, "y", Version(0)).await, Err(Error::ConnectionLost));
    // It was carried out, once.
    let (data, stat) = client.get(&path).await.unwrap();
    assert_eq!((&*data, stat.version), (&b"y"[..], 1));
}

pub(crate) async fn a_node_whose_creation_was_not_answered_is_found<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let prefix = scene.path("n-");
    scene.lose_next_reply(&client).await;
    let create = client.create(&prefix, "mine", CreateMode::EphemeralSequential).await;
    assert_eq!(create, Err(Error::ConnectionLost));
    let found = client.call(FindOwn { prefix, data: "mine".into() }).await.unwrap().unwrap();
    assert_eq!(found.path, scene.path("n-0000000000"));
    assert_eq!(found.stat.ephemeral_owner, client.session().id().0);
    assert_eq!(client.exists(&found.path).await.unwrap(), Some(found.stat));
}

pub(crate) async fn a_release_whose_reply_is_lost_is_done_for_certain<B: Backend>(scene: &Scene<'_, B>) {
    for hand_over in [false, true] {
        let (client, other, path) = (scene.connect().await, scene.connect().await, scene.path("a"));
        let czxid = client.create(&path, "", CreateMode::Ephemeral).await.unwrap().stat.czxid;
        let release =
            Release { path: path.clone(), czxid, session: client.session().id(), hand_over, may_be_gone: false };
        scene.lose_next_reply(&client).await;
        // Whether it was still there to be deleted the second time cannot be told.
        client.call(release).await.unwrap();
        other.settle(&path).await.unwrap();
        assert_eq!(other.exists(&path).await.unwrap(), None);
    }
}

pub(crate) async fn an_undo_is_told_that_the_reply_is_lost<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let told = std::sync::Arc::new(herdless_core::OneShot::<Result<(), Error>>::new());
    let teller = told.clone();
    scene.lose_next_reply(&client).await;
    let call = client.create(&scene.path("a"), "", CreateMode::Persistent);
    drop(call.on_abandon(move |outcome| teller.put(outcome.map(drop)).run()));
    assert_eq!(std::future::poll_fn(|cx| told.poll_take(cx)).await, Err(Error::ConnectionLost));
    assert!(client.exists(&scene.path("a")).await.unwrap().is_some());
}
