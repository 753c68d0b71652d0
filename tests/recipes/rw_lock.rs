//! The read-write lock: what it costs to wait for a writer, whoever else does.

use futures::future::{join_all, try_join_all};
use herdless::{ClientExt, Error, RwLock, TokioClient};

use crate::support::{Meter, World, is_pending, scenarios, until_watching};

scenarios! {
    a_thousand_readers_behind_one_writer_read_nothing
    free_locks_cost_what_is_documented
    a_downgrade_costs_one_request_and_lets_the_readers_in
}

/// A lock whose directory is there, so that making it is not counted.
async fn warm(world: &World, client: &TokioClient) -> RwLock<TokioClient> {
    let lock = RwLock::new(client.clone(), world.path());
    lock.write().await.unwrap().release().await.unwrap();
    lock
}

async fn a_thousand_readers_behind_one_writer_read_nothing(world: &World) {
    const SESSIONS: usize = 100;
    const READERS: usize = 10; // of each session
    let holder = world.connect().await;
    let lock = warm(world, &holder).await;
    let writer = lock.write().await.unwrap();
    let clients = join_all((0..SESSIONS).map(|_| world.connect())).await;
    let locks: Vec<_> = clients.iter().map(|client| RwLock::new(client.clone(), world.path())).collect();
    let readers = try_join_all((0..SESSIONS * READERS).map(|reader| locks[reader % SESSIONS].read()));
    let mut readers = Box::pin(readers);
    assert!(is_pending(&mut readers).await);
    world.until_in_line(&holder, 1 + SESSIONS * READERS).await;
    // Each has asked for its watch, at the latest now, and has been answered.
    for _ in 0..3 {
        assert!(is_pending(&mut readers).await, "the writer holds it");
        try_join_all(clients.iter().map(|client| client.sync(&world.path()))).await.unwrap();
    }
    assert!(is_pending(&mut readers).await, "the writer holds it");
    let before: Vec<_> = clients.iter().map(TokioClient::counters).collect();
    drop(writer);
    let guards = readers.await.unwrap();
    assert_eq!(guards.len(), SESSIONS * READERS);
    // All hold it at once. A session is sent one event for a node, however many of its watches are on it.
    for (client, before) in clients.iter().zip(&before) {
        let after = client.counters();
        assert_eq!(after.requests, before.requests, "nothing is asked");
        assert_eq!(after.watch_events, before.watch_events + 1);
    }
    assert_eq!(lock.holders().await.unwrap().len(), SESSIONS * READERS);
    drop(guards);
    world.until_empty(&holder).await;
    // Nor does it wake anybody that they leave.
    for (client, before) in clients.iter().zip(&before) {
        client.sync(&world.path()).await.unwrap();
        assert_eq!(client.counters().watch_events, before.watch_events + 1);
    }
}

async fn free_locks_cost_what_is_documented(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    let lock = warm(world, &client).await;
    for _ in 0..3 {
        let meter = Meter::start(&client);
        lock.write().await.unwrap().release().await.unwrap();
        assert_eq!(meter.read().await, (3, 0), "two that leave together, and the release");
    }
    let reader = RwLock::new(other.clone(), world.path()).read().await.unwrap();
    let meter = Meter::start(&client);
    lock.read().await.unwrap().release().await.unwrap();
    assert_eq!(meter.read().await, (3, 0), "readers beside readers");
    let meter = Meter::start(&client);
    assert!(lock.try_write().await.unwrap().is_none());
    assert_eq!(meter.read().await, (1, 0));
    reader.release().await.unwrap();
}

async fn a_downgrade_costs_one_request_and_lets_the_readers_in(world: &World) {
    let (holder, client, last) = (world.connect().await, world.connect().await, world.connect().await);
    let writer = warm(world, &holder).await.write().await.unwrap();
    let (token, path) = (writer.token(), writer.path().clone());
    let waiting = RwLock::new(client.clone(), world.path());
    let mut read = Box::pin(waiting.read());
    until_watching(&client, &mut read).await;
    let behind = RwLock::new(last.clone(), world.path());
    let mut write = Box::pin(behind.write());
    until_watching(&last, &mut write).await;
    let before = holder.counters().requests;
    let reader = writer.downgrade().await.unwrap();
    println!("{} requests for a downgrade", holder.counters().requests - before);
    assert_eq!(reader.token(), token);
    assert!(holder.exists(&path).await.unwrap().is_none(), "it stands for another node now");
    let joined = read.await.unwrap();
    last.sync(&world.path()).await.unwrap();
    assert!(is_pending(&mut write).await, "readers hold it");
    let downgraded = reader.path().clone();
    drop(reader);
    drop(joined);
    write.await.unwrap().release().await.unwrap();
    assert!(holder.exists(&downgraded).await.unwrap().is_none());
    world.until_empty(&holder).await;
    // One that was taken away by hand.
    let writer = RwLock::new(holder.clone(), world.path()).write().await.unwrap();
    last.delete(writer.path(), herdless::Version::ANY).await.unwrap();
    let error = writer.downgrade().await.map(|reader| reader.token()).expect_err("it was lost");
    assert_eq!(error, Error::Refused(herdless::Refusal::NoNode));
    world.until_empty(&holder).await;
}
