//! Repetitions over real connections.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::sync::Arc;
use std::time::Duration;

use herdless::wrappers::{Backoff, Retrying};
use herdless::{Client, ClientExt, CreateMode, Error, EventKind, TokioClient, TokioTime, Version};

mod support;

use support::{World, is_pending, scenarios, until_suspended};

scenarios! {
    a_read_whose_reply_is_lost_is_answered_after_the_reconnect
    a_read_whose_session_ends_first_is_told_so
}

fn retrying(client: &TokioClient) -> Retrying<TokioClient> {
    let policy = Backoff::new(20).first(Duration::from_millis(1));
    Retrying::new(client.clone(), policy, Arc::new(TokioTime::new()))
}

async fn a_read_whose_reply_is_lost_is_answered_after_the_reconnect(world: &World) {
    let proxy = world.proxy().await;
    let bare = proxy.connector().connect().await.unwrap();
    let (client, path, session) = (retrying(&bare), world.path(), bare.session().id());
    client.create(&path, "x", CreateMode::Persistent).await.unwrap();
    proxy.lose_replies_after(0);
    let mut read = Box::pin(client.get_and_watch(&path));
    assert!(is_pending(&mut read).await);
    proxy.until_lost().await;
    proxy.down();
    until_suspended(&bare).await;
    assert!(is_pending(&mut read).await, "the caller is not told of it");
    proxy.pass_replies();
    proxy.up();
    let ((data, stat), watch) = read.await.unwrap();
    assert_eq!((&*data, client.session().id()), (&b"x"[..], session));
    world.connect().await.set(&path, "y", Version(stat.version)).await.unwrap();
    assert_eq!(watch.await.unwrap().kind, EventKind::DataChanged);
}

async fn a_read_whose_session_ends_first_is_told_so(world: &World) {
    let proxy = world.proxy().await;
    let bare = proxy.short_session().connect().await.unwrap();
    let (client, session) = (retrying(&bare), bare.session());
    proxy.lose_replies_after(0);
    let mut read = Box::pin(client.exists(&world.path()));
    assert!(is_pending(&mut read).await);
    proxy.until_lost().await;
    proxy.down();
    session.lost().await;
    assert_eq!(read.await, Err(Error::SessionExpired));
    proxy.pass_replies();
    proxy.up();
    // The client has another session, and repeats there what is asked there.
    assert_eq!(client.exists(&world.path()).await, Ok(None));
}
