//! The end of a client.

use std::task::Poll;

use herdless::{Client, ClientExt, CreateMode, Error, Lock, SessionState};

use crate::support::{World, is_pending, scenarios, until_watching};

scenarios! {
    a_closed_client_accepts_nothing
    closing_deletes_ephemerals_at_once
    dropping_the_last_clone_deletes_ephemerals_at_once
    a_guard_keeps_its_session_without_the_client
    closing_ends_waits_and_guards
    a_guard_is_not_valid_when_its_client_has_closed
    closing_without_a_connection_ends_too
}

async fn a_closed_client_accepts_nothing(world: &World) {
    let client = world.connect().await;
    let lock = Lock::new(client.clone(), world.path());
    client.close().await.unwrap();
    assert_eq!(lock.acquire().await.unwrap_err(), Error::Closed);
    assert_eq!(lock.try_acquire().await.unwrap_err(), Error::Closed);
    assert_eq!(lock.enqueue().await.unwrap_err(), Error::Closed);
    assert_eq!(lock.contenders().await.unwrap_err(), Error::Closed);
    assert_eq!(client.close().await, Err(Error::Closed));
    assert_eq!(client.session().state(), SessionState::Lost);
}

/// The sessions here live for 40 seconds without a sign of life, and a test waits for 60: so each looks once it knows
/// that the server has answered, or at what the server says in answer.
async fn closing_deletes_ephemerals_at_once(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    let node = world.beside("node");
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    assert!(other.exists(&node).await.unwrap().is_some());
    client.close().await.unwrap();
    other.sync(&node).await.unwrap();
    assert!(other.exists(&node).await.unwrap().is_none());
}

async fn dropping_the_last_clone_deletes_ephemerals_at_once(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    let node = world.beside("node");
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    let (stat, watch) = other.exists_and_watch(&node).await.unwrap();
    let timeout = client.session().timeout();
    assert!(stat.is_some());
    let clone = client.clone();
    drop(client);
    clone.exists(&node).await.unwrap();
    assert!(other.exists(&node).await.unwrap().is_some());
    drop(clone);
    tokio::time::timeout(timeout / 2, watch).await.expect("long before the session would end by itself").unwrap();
}

async fn a_guard_keeps_its_session_without_the_client(world: &World) {
    let guard = {
        let client = world.connect().await;
        Lock::new(client, world.path()).acquire().await.unwrap()
    };
    let other = world.connect().await;
    world.until_in_line(&other, 1).await;
    guard.multi(Vec::new()).await.unwrap();
    let session = guard.session().clone();
    assert!(session.is_valid());
    drop(guard);
    world.until_empty(&other).await;
    session.lost().await;

    // And the other way round: a release that is awaited, by the last who knows the client.
    let guard = {
        let client = world.connect().await;
        Lock::new(client, world.path()).acquire().await.unwrap()
    };
    guard.release().await.unwrap();
}

async fn closing_ends_waits_and_guards(world: &World) {
    let holder = world.lock().await.acquire().await.unwrap();
    let client = world.connect().await;
    let lock = Lock::new(client.clone(), world.path());
    let elsewhere = Lock::new(client.clone(), world.beside("elsewhere"));
    let guard = elsewhere.acquire().await.unwrap();
    let mut lost = Box::pin(guard.lost());
    assert!(is_pending(&mut lost).await);
    let mut wait = Box::pin(lock.acquire());
    until_watching(&client, &mut wait).await;
    client.close().await.unwrap();
    assert_eq!(wait.await.unwrap_err(), Error::Closed);
    assert_eq!(futures::poll!(lost), Poll::Ready(()));
    assert!(!guard.is_valid());
    assert!(guard.release().await.is_err());
    let other = world.connect().await;
    other.sync(&world.path()).await.unwrap();
    assert_eq!(world.line(&other).await.len(), 1, "the holder's node");
    holder.release().await.unwrap();
}

/// Who closes a client gives its locks away, and a guard that is still around has to know before anybody else holds.
async fn a_guard_is_not_valid_when_its_client_has_closed(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    let next = world.lock().await.enqueue().await.unwrap();
    // The answer does not come, as it may not for a while.
    proxy.lose_replies_after(0);
    let mut closing = Box::pin(client.close());
    assert!(is_pending(&mut closing).await);
    let next = next.await.unwrap();
    assert!(next.is_valid());
    assert!(!guard.is_valid(), "two holders");
    proxy.pass_replies();
    proxy.cut();
    closing.await.unwrap();
}

async fn closing_without_a_connection_ends_too(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    proxy.down();
    // Nobody is there to tell, so it ends with the session.
    client.close().await.unwrap();
    assert!(!guard.is_valid());
    let other = world.connect().await;
    world.until_empty(&other).await;
}
