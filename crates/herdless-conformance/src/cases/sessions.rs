//! Sessions begin and end.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use herdless_core::{
    Client, ClientExt, CreateMode, Error, EventKind, MultiOp, Refusal, Release, SessionState, Version,
};

use crate::expect::{expect_event, expect_names, poll_once};
use crate::{Backend, Scene};

pub(crate) async fn every_client_has_a_session_of_its_own<B: Backend>(scene: &Scene<'_, B>) {
    let clients = [scene.connect().await, scene.connect().await];
    for client in &clients {
        let session = client.session();
        assert_eq!(session.state(), SessionState::Connected);
        assert!(session.is_valid() && session.timeout() > Duration::ZERO && session.id().0 != 0);
        assert_eq!(client.clone().session().id(), session.id(), "a clone is the same client");
    }
    let [one, other] = clients.map(|client| client.session());
    assert_ne!(one.id(), other.id());
    let attempts = [one.next_attempt(), one.next_attempt(), other.next_attempt()];
    assert!(attempts[0] != attempts[1] && attempts[0] != attempts[2] && attempts[1] != attempts[2]);
}

pub(crate) async fn closing_takes_the_ephemeral_nodes_and_no_others<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    scene.node(&client, "stays").await;
    for below in ["one", "two", "stays/three"] {
        client.create(&scene.path(below), "", CreateMode::Ephemeral).await.unwrap();
    }
    client.create(&scene.path("n"), "", CreateMode::EphemeralSequential).await.unwrap();
    other.create(&scene.path("others"), "", CreateMode::Ephemeral).await.unwrap();
    client.close().await.unwrap();
    other.settle(&scene.root()).await.unwrap();
    expect_names(other.children(&scene.root()).await.unwrap().0, &["others", "stays"]);
    expect_names(other.children(&scene.path("stays")).await.unwrap().0, &[]);
}

pub(crate) async fn a_closed_client_accepts_nothing<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let session = client.session();
    client.close().await.unwrap();
    assert_eq!(client.exists(&scene.root()).await, Err(Error::Closed));
    let create = client.create(&scene.path("late"), "", CreateMode::Persistent).await;
    assert_eq!(create.unwrap_err(), Error::Closed);
    assert_eq!(client.close().await, Err(Error::Closed));
    session.lost().await;
    assert_eq!(session.state(), SessionState::Lost);
    assert!(!session.is_valid());
    assert_eq!(scene.connect().await.exists(&scene.path("late")).await.unwrap(), None);
}

pub(crate) async fn what_was_submitted_before_the_close_is_done<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let path = scene.path("a");
    let created = client.create(&path, "", CreateMode::Persistent);
    let mine = client.create(&scene.path("mine"), "", CreateMode::Ephemeral);
    let closed = client.close();
    closed.await.unwrap();
    created.await.unwrap();
    mine.await.unwrap();
    other.settle(&path).await.unwrap();
    expect_names(other.children(&scene.root()).await.unwrap().0, &["a"]);
}

pub(crate) async fn a_session_ends_in_one_change<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    for below in ["a", "b"] {
        scene.node(&other, below).await;
    }
    client.settle(&scene.root()).await.unwrap();
    for below in ["a/mine", "b/mine"] {
        client.create(&scene.path(below), "", CreateMode::Ephemeral).await.unwrap();
    }
    client.close().await.unwrap();
    other.settle(&scene.root()).await.unwrap();
    let [a, b] = [other.exists(&scene.path("a")), other.exists(&scene.path("b"))];
    assert_eq!(a.await.unwrap().unwrap().pzxid, b.await.unwrap().unwrap().pzxid);
}

pub(crate) async fn anybody_may_delete_an_ephemeral_node<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect().await, scene.connect().await);
    let path = scene.path("a");
    client.create(&path, "", CreateMode::Ephemeral).await.unwrap();
    other.settle(&path).await.unwrap();
    other.set(&path, "by another", Version(0)).await.unwrap();
    other.delete(&path, Version::ANY).await.unwrap();
    client.settle(&path).await.unwrap();
    assert_eq!(client.ephemerals(&scene.root()).await.unwrap(), []);
    // It belongs to who makes it anew, and stays when its first owner goes.
    other.create(&path, "", CreateMode::Ephemeral).await.unwrap();
    client.close().await.unwrap();
    other.settle(&path).await.unwrap();
    assert!(other.exists(&path).await.unwrap().is_some());
}

pub(crate) async fn an_expired_session_loses_its_nodes<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect_mortal().await, scene.connect().await);
    let (mine, stays) = (scene.path("mine"), scene.path("stays"));
    client.create(&mine, "", CreateMode::Ephemeral).await.unwrap();
    client.create(&stays, "", CreateMode::Persistent).await.unwrap();
    other.settle(&mine).await.unwrap();
    let (_, watch) = other.get_and_watch(&mine).await.unwrap();
    let old = client.session();
    scene.expire(&client).await;
    assert_eq!(old.state(), SessionState::Lost);
    assert!(!old.is_valid());
    // The server may take longer than the client to find that the time is over.
    let event = watch.await.unwrap();
    assert_eq!((event.kind, event.path), (EventKind::Deleted, mine.clone()));
    assert!(other.exists(&stays).await.unwrap().is_some());
    expect_names(other.children(&scene.root()).await.unwrap().0, &["stays"]);
}

pub(crate) async fn a_client_outlives_its_session<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect_mortal().await;
    let old = client.session();
    scene.expire(&client).await;
    let created = client.create(&scene.path("new"), "", CreateMode::Ephemeral).await.unwrap();
    let new = client.session();
    assert_ne!(new.id(), old.id());
    assert!(new.is_valid() && !old.is_valid(), "a handle goes on to speak for its own");
    assert_eq!(created.stat.ephemeral_owner, new.id().0);
    let (_, watch) = client.get_and_watch(&created.path).await.unwrap();
    client.set(&created.path, "", Version::ANY).await.unwrap();
    expect_event(&client, watch, EventKind::DataChanged, &created.path).await;
}

pub(crate) async fn watches_are_told_of_the_expiry_and_do_not_move_over<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect_mortal().await;
    let (path, _) = scene.node(&client, "a").await;
    let (_, on_data) = client.get_and_watch(&path).await.unwrap();
    let (_, on_children) = client.children_and_watch(&path).await.unwrap();
    let (_, on_new) = client.exists_and_watch(&scene.path("new")).await.unwrap();
    scene.expire(&client).await;
    for mut watch in [on_data, on_children, on_new] {
        assert_eq!(poll_once(&mut watch).await, Some(Err(Error::SessionExpired)));
    }
    client.set(&path, "y", Version::ANY).await.unwrap();
}

pub(crate) async fn what_is_bound_to_an_expired_session_is_not_done<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect_mortal().await;
    let (path, _) = scene.node(&client, "a").await;
    let mine = client.create(&scene.path("mine"), "", CreateMode::Ephemeral).await.unwrap();
    let old = client.session().id();
    scene.expire(&client).await;
    let multi = client.multi_in(old, vec![MultiOp::set(&path, "y", Version::ANY)]).await;
    assert_eq!(multi, Err(Error::SessionExpired));
    let release =
        Release { path: mine.path, czxid: mine.stat.czxid, session: old, hand_over: false, may_be_gone: false };
    assert_eq!(client.call(release).await, Err(Error::SessionExpired));
    assert_eq!(client.get(&path).await.unwrap().0, "x");
    assert_ne!(client.session().id(), old);
}

pub(crate) async fn ephemerals_of_a_closed_session_do_not_block_a_name<B: Backend>(scene: &Scene<'_, B>) {
    let path = scene.path("leader");
    for _ in 0..3 {
        let client = scene.connect().await;
        client.create(&path, "", CreateMode::Ephemeral).await.unwrap();
        let refused = client.create(&path, "", CreateMode::Ephemeral).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::NodeExists));
        client.close().await.unwrap();
    }
}

pub(crate) async fn what_waits_when_its_session_expires_is_not_done<B: Backend>(scene: &Scene<'_, B>) {
    let (client, other) = (scene.connect_mortal().await, scene.connect().await);
    let old = client.session().id();
    scene.disconnect(&client).await;
    let created = client.create(&scene.path("a"), "", CreateMode::Persistent);
    let read = client.exists(&scene.root());
    scene.expire(&client).await;
    assert_eq!(created.await, Err(Error::SessionExpired));
    assert_eq!(read.await, Err(Error::SessionExpired));
    // What is asked now is for the next session.
    assert!(client.exists(&scene.root()).await.unwrap().is_some());
    assert_ne!(client.session().id(), old);
    other.settle(&scene.root()).await.unwrap();
    assert_eq!(other.exists(&scene.path("a")).await.unwrap(), None);
}

pub(crate) async fn the_states_of_a_session_are_told_in_turn<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let mut changes = pin!(client.session().changes());
    let mut next = async || poll_fn(|cx| Poll::Ready(changes.as_mut().poll_next(cx))).await;
    assert_eq!(next().await, Poll::Pending);
    scene.disconnect(&client).await;
    assert_eq!(next().await, Poll::Ready(Some(SessionState::Suspended)));
    assert_eq!(next().await, Poll::Pending);
    scene.reconnect(&client).await;
    client.exists(&scene.root()).await.unwrap();
    assert_eq!(next().await, Poll::Ready(Some(SessionState::Connected)));
    client.close().await.unwrap();
    assert_eq!(next().await, Poll::Ready(Some(SessionState::Lost)));
    assert_eq!(next().await, Poll::Ready(None));
}
