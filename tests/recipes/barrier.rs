//! The barrier.

use futures::future::join_all;
use herdless::{Barrier, Client, ClientExt, CreateMode, Error, Refusal, Version};

use crate::support::{Meter, World, is_pending, scenarios, until_suspended};

scenarios! {
    all_who_wait_go_on_for_one_event_and_one_read_each
    closing_and_opening_cost_what_is_documented
    who_waits_outlives_its_session
    a_barrier_that_holds_something_is_not_opened
}

async fn all_who_wait_go_on_for_one_event_and_one_read_each(world: &World) {
    const WAITERS: usize = 50;
    let barrier = Barrier::new(world.connect().await, world.path());
    barrier.close().await.unwrap();
    let clients = join_all((0..WAITERS).map(|_| world.connect())).await;
    let barriers: Vec<_> = clients.iter().map(|client| Barrier::new(client.clone(), world.path())).collect();
    let mut waits = Box::pin(join_all(barriers.iter().map(Barrier::wait)));
    for _ in 0..3 {
        assert!(is_pending(&mut waits).await, "it is closed");
        join_all(clients.iter().map(|client| client.sync(&world.path()))).await;
    }
    let meters: Vec<_> = clients.iter().map(Meter::start).collect();
    barrier.open().await.unwrap();
    for done in waits.await {
        done.unwrap();
    }
    for meter in meters {
        // One look, with the catching up that leaves together with it.
        assert_eq!(meter.read().await, (2, 1));
    }
}

async fn closing_and_opening_cost_what_is_documented(world: &World) {
    let client = world.connect().await;
    let barrier = Barrier::new(client.clone(), world.path());
    // To open it the server catches up and the node is read, in one round trip, and deleted.
    for (requests, closed) in [(1, true), (1, true), (3, false), (2, false)] {
        let meter = Meter::start(&client);
        match closed {
            true => barrier.close().await.unwrap(),
            false => barrier.open().await.unwrap(),
        }
        assert_eq!(meter.read().await, (requests, 0), "closed: {closed}");
        assert_eq!(barrier.is_closed().await, Ok(closed));
    }
    let meter = Meter::start(&client);
    barrier.wait().await.unwrap();
    assert_eq!(meter.read().await, (2, 0), "two that leave together");
    client.create(&world.path(), "", CreateMode::Persistent).await.unwrap();
    client.delete(&world.path(), Version::ANY).await.unwrap();
    assert_eq!(meter.read().await.1, 0, "who has passed left no watch");
}

async fn who_waits_outlives_its_session(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let closing = Barrier::new(world.connect().await, world.path());
    closing.close().await.unwrap();
    let barrier = Barrier::new(client.clone(), world.path());
    let mut wait = Box::pin(barrier.wait());
    assert!(is_pending(&mut wait).await);
    let session = client.session();
    proxy.down();
    until_suspended(&client).await;
    session.lost().await;
    assert!(is_pending(&mut wait).await);
    proxy.up();
    client.sync(&world.path()).await.unwrap();
    assert!(is_pending(&mut wait).await, "it is closed");
    closing.open().await.unwrap();
    wait.await.unwrap();
}

async fn a_barrier_that_holds_something_is_not_opened(world: &World) {
    let client = world.connect().await;
    let barrier = Barrier::new(client.clone(), world.path());
    barrier.close().await.unwrap();
    let child = world.path().child("something").unwrap();
    client.create(&child, "", CreateMode::Persistent).await.unwrap();
    assert_eq!(barrier.open().await, Err(Error::Refused(Refusal::NotEmpty)));
    assert_eq!(barrier.is_closed().await, Ok(true));
    client.delete(&child, Version::ANY).await.unwrap();
    barrier.open().await.unwrap();
    assert!(client.exists(&world.path()).await.unwrap().is_none());
}
