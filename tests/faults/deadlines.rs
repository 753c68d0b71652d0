//! Requests that have a limit of time.

use std::time::Duration;

use herdless::{ClientExt, CreateMode, Error, Lock};

use crate::support::{World, is_pending, scenarios, until_suspended};

scenarios! {
    a_request_without_an_answer_in_time_is_told_and_the_connection_goes_on
    a_request_that_cannot_be_sent_in_time_is_told_so
    a_lock_is_acquired_after_its_creation_was_overdue
    an_acquire_that_is_given_up_and_overdue_leaves_nothing
}

const LIMIT: Duration = Duration::from_millis(200);

async fn a_request_without_an_answer_in_time_is_told_and_the_connection_goes_on(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().request_timeout(LIMIT).connect().await.unwrap();
    proxy.pause();
    let node = world.beside("node");
    let start = tokio::time::Instant::now();
    let (create, read) = (client.create(&node, "", CreateMode::Ephemeral), client.get_and_watch(&node));
    assert_eq!(create.await.unwrap_err(), Error::TIMED_OUT);
    assert!(start.elapsed() >= LIMIT);
    assert_eq!(read.await.unwrap_err(), Error::TIMED_OUT);
    proxy.resume();
    // It did happen, and what is late is not taken for the answer to something else.
    while client.exists(&node).await != Ok(None) {
        match client.delete(&node, herdless::Version::ANY).await {
            Ok(()) | Err(Error::Uncertain(_) | Error::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(client.counters().connects, 1);
}

async fn a_request_that_cannot_be_sent_in_time_is_told_so(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().request_timeout(LIMIT).connect().await.unwrap();
    proxy.down();
    until_suspended(&client).await;
    let node = world.beside("node");
    assert_eq!(client.create(&node, "", CreateMode::Ephemeral).await.unwrap_err(), Error::NotSent);
    proxy.up();
    let other = world.connect().await;
    assert_eq!(other.exists(&node).await, Ok(None));
}

async fn a_lock_is_acquired_after_its_creation_was_overdue(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().request_timeout(LIMIT).connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    lock.acquire().await.unwrap().release().await.unwrap();
    proxy.pause();
    let mut acquire = Box::pin(lock.acquire());
    assert!(is_pending(&mut acquire).await);
    // Long enough for the create to be overdue, for which it is asked what has become of it.
    assert!(tokio::time::timeout(2 * LIMIT, &mut acquire).await.is_err());
    proxy.resume();
    let guard = acquire.await.unwrap();
    let other = world.connect().await;
    assert_eq!(world.line(&other).await, [guard.path().name()], "one node and not two");
    guard.release().await.unwrap();
    world.until_empty(&other).await;
    assert_eq!(client.counters().connects, 1);
}

async fn an_acquire_that_is_given_up_and_overdue_leaves_nothing(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().request_timeout(LIMIT).connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    lock.acquire().await.unwrap().release().await.unwrap();
    let other = world.connect().await;
    // What the server answers vanishes at first, so that the node is seen to be there.
    proxy.lose_replies_after(0);
    let mut given_up = Box::pin(lock.acquire());
    assert!(is_pending(&mut given_up).await);
    drop(given_up);
    let mut waits = Box::pin(lock.acquire());
    assert!(is_pending(&mut waits).await);
    world.until_in_line(&other, 2).await;
    assert!(tokio::time::timeout(2 * LIMIT, &mut waits).await.is_err());
    drop(waits);
    proxy.pass_replies();
    proxy.cut();
    world.until_empty(&other).await;
}
