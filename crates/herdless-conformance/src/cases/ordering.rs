//! Requests take effect in the order of their submission, whether anybody listens or not.

use std::future::poll_fn;
use std::sync::Arc;

use herdless_core::{
    Client, ClientExt, Create, CreateMode, Error, EventKind, FindOwn, OneShot, Refusal, Release, SessionId, Version,
    Zxid,
};

use crate::expect::{expect_event, expect_names, expect_refused, poll_once};
use crate::{Backend, Scene};

const PERSISTENT: CreateMode = CreateMode::Persistent;

pub(crate) async fn requests_take_effect_in_the_order_of_submission<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    let created = client.create(&path, "", PERSISTENT);
    let writes: Vec<_> =
        (0..100).map(|version| (client.set(&path, version.to_string(), Version(version)), client.get(&path))).collect();
    let deleted = client.delete(&path, Version(100));
    let gone = client.exists(&path);
    // Awaited in another order than submitted.
    assert_eq!(gone.await.unwrap(), None);
    deleted.await.unwrap();
    for (version, (set, get)) in writes.into_iter().enumerate().rev() {
        let (data, stat) = get.await.unwrap();
        assert_eq!(data, version.to_string());
        assert_eq!(stat, set.await.unwrap());
    }
    created.await.unwrap();
}

pub(crate) async fn a_refusal_does_not_stop_what_comes_behind<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let calls = [
        client.create(&scene.path("a"), "", PERSISTENT),
        client.create(&scene.path("a"), "", PERSISTENT),
        client.create(&scene.path("nowhere/b"), "", PERSISTENT),
        client.create(&scene.path("a/b"), "", PERSISTENT),
    ];
    let [first, exists, nowhere, last] = calls;
    first.await.unwrap();
    expect_refused(exists.await, Refusal::NodeExists);
    expect_refused(nowhere.await, Refusal::NoNode);
    last.await.unwrap();
}

pub(crate) async fn clones_of_a_client_share_one_order<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    let clone = client.clone();
    let created = client.create(&path, "", PERSISTENT);
    let set = clone.set(&path, "y", Version(0));
    let get = client.get(&path);
    assert_eq!(get.await.unwrap().0, "y");
    created.await.unwrap();
    set.await.unwrap();
}

pub(crate) async fn a_dropped_future_is_carried_out<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    drop(client.create(&path, "", PERSISTENT));
    drop(client.set(&path, "y", Version(0)));
    drop(client.create(&scene.path("b"), "", PERSISTENT));
    drop(client.delete(&scene.path("b"), Version::ANY));
    assert_eq!(client.get(&path).await.unwrap().0, "y");
    expect_names(client.children(&scene.root()).await.unwrap().0, &["a"]);
}

pub(crate) async fn a_future_dropped_at_work_is_carried_out<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    let mut create = client.create(&path, "", PERSISTENT);
    let _ = poll_once(&mut create).await;
    drop(create);
    assert!(client.exists(&path).await.unwrap().is_some());
}

pub(crate) async fn the_outcome_of_an_abandoned_call_goes_to_its_undo<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let told = Arc::new(OneShot::<Result<Zxid, Error>>::new());
    for path in [scene.path("a"), scene.path("nowhere/a")] {
        let told = Arc::new(OneShot::<Result<Zxid, Error>>::new());
        let teller = told.clone();
        let call = client.create(&path, "", PERSISTENT);
        drop(call.on_abandon(move |outcome| teller.put(outcome.map(|created| created.stat.czxid)).run()));
        let outcome = poll_fn(|cx| told.poll_take(cx)).await;
        match client.exists(&path).await.unwrap() {
            Some(stat) => assert_eq!(outcome, Ok(stat.czxid)),
            None => assert_eq!(outcome, Err(Error::Refused(Refusal::NoNode))),
        }
    }
    // An undo may submit: that is how what was made for nobody goes away.
    let (teller, undoer) = (told.clone(), client.clone());
    let call = client.create(&scene.path("b"), "", PERSISTENT).on_abandon(move |outcome| {
        let created = outcome.unwrap();
        drop(undoer.delete(&created.path, Version::ANY));
        teller.put(Ok(created.stat.czxid)).run();
    });
    drop(call);
    poll_fn(|cx| told.poll_take(cx)).await.unwrap();
    expect_names(client.children(&scene.root()).await.unwrap().0, &["a"]);
}

pub(crate) async fn an_awaited_call_is_not_undone<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let undone = Arc::new(OneShot::<()>::new());
    let teller = undone.clone();
    let call = client.create(&scene.path("a"), "", PERSISTENT).on_abandon(move |_| teller.put(()).run());
    call.await.unwrap();
    client.settle(&scene.root()).await.unwrap();
    assert!(poll_fn(|cx| std::task::Poll::Ready(undone.poll_take(cx))).await.is_pending());
}

pub(crate) async fn a_node_of_ones_own_is_released_once<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    let stat = client.create(&path, "", CreateMode::Ephemeral).await.unwrap().stat;
    let release = Release {
        path: path.clone(),
        czxid: stat.czxid,
        session: client.session().id(),
        hand_over: false,
        may_be_gone: false,
    };
    assert_eq!(client.call(release.clone()).await, Ok(true));
    assert_eq!(client.exists(&path).await.unwrap(), None);
    assert_eq!(client.call(release).await, Ok(false));
}

pub(crate) async fn a_release_tells_watchers_of_the_end_or_the_hand_over<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other, path) = (scene.connect().await, scene.connect().await, scene.path("a"));
    for (hand_over, kind) in [(false, EventKind::Deleted), (true, EventKind::DataChanged)] {
        let stat = client.create(&path, "", CreateMode::Ephemeral).await.unwrap().stat;
        other.settle(&path).await.unwrap();
        let (_, watch) = other.get_and_watch(&path).await.unwrap();
        let release = Release {
            path: path.clone(),
            czxid: stat.czxid,
            session: client.session().id(),
            hand_over,
            may_be_gone: false,
        };
        assert_eq!(client.call(release).await, Ok(true));
        expect_event(&other, watch, kind, &path).await;
        assert_eq!(other.exists(&path).await.unwrap(), None);
    }
}

pub(crate) async fn a_release_for_another_session_is_not_done<B: Backend>(scene: &Scene<'_, B>) {
    let (client, path) = (scene.connect().await, scene.path("a"));
    let stat = client.create(&path, "", CreateMode::Ephemeral).await.unwrap().stat;
    let session = SessionId(client.session().id().0 ^ 1);
    let release = Release { path: path.clone(), czxid: stat.czxid, session, hand_over: false, may_be_gone: false };
    assert_eq!(client.call(release).await, Err(Error::SessionExpired));
    assert_eq!(client.exists(&path).await.unwrap(), Some(stat));
}

pub(crate) async fn a_node_of_ones_own_is_found_by_its_data<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let prefix = scene.path("n-");
    let mut made = Vec::new();
    for data in ["one", "two", "three"] {
        made.push(client.create(&prefix, data, CreateMode::EphemeralSequential).await.unwrap());
    }
    other.create(&prefix, "others", CreateMode::EphemeralSequential).await.unwrap();
    client.create(&scene.path("n-persistent"), "persistent", PERSISTENT).await.unwrap();
    let find = |data: &'static str| client.call(FindOwn { prefix: prefix.clone(), data: data.into() });
    assert_eq!(find("two").await.unwrap().as_ref(), Some(&made[1]));
    for nowhere in ["", "tw", "four", "others", "persistent"] {
        assert_eq!(find(nowhere).await.unwrap(), None, "{nowhere}");
    }
    let elsewhere = FindOwn { prefix: scene.path("m-"), data: "two".into() };
    assert_eq!(client.call(elsewhere).await.unwrap(), None);
}

pub(crate) async fn the_untyped_way_in_is_the_same<B: Backend>(scene: &Scene<'_, B>) {
    let client: Arc<dyn Client> = Arc::new(scene.connect().await);
    let path = scene.path("a");
    let create = Create { path: path.clone(), data: "".into(), acl: herdless_core::Acl::open(), mode: PERSISTENT };
    let response = client.submit(herdless_core::Request::Create(create));
    let herdless_core::Reply::Created(created) = response.await.unwrap().reply else { panic!("another reply") };
    assert_eq!(client.exists(&path).await.unwrap(), Some(created.stat));
}
