//! What things cost, counted at the client: requests, watch events and bytes are numbers that do not depend on the
//! machine.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

mod support;

use futures::future::{join_all, try_join_all};
use herdless::{ClientExt, CreateMode, Error, Lock, MultiOp, NodePath, TokioClient, Version};

use support::{Meter, World, is_pending, scenarios, until_watching};

scenarios! {
    a_free_lock_costs_three_requests
    missing_parents_cost_one_more_round_trip
    trying_a_taken_lock_costs_one_read
    a_wait_costs_one_read_and_one_event
    who_had_to_wait_saves_a_look_the_next_time
    a_hand_over_costs_the_next_one_nothing
    a_confirmed_hand_over_costs_one_list
    a_departure_wakes_one_waiter
    a_guarded_write_costs_one_request_after_the_first
    bytes_per_waiter_do_not_grow_with_the_line
}

/// A lock whose directory is there, so that making it is not counted.
async fn warm(world: &World, client: &TokioClient) -> Lock<TokioClient> {
    let lock = Lock::new(client.clone(), world.path());
    lock.acquire().await.unwrap().release().await.unwrap();
    lock
}

async fn a_free_lock_costs_three_requests(world: &World) {
    let client = world.connect().await;
    let lock = warm(world, &client).await;
    let meter = Meter::start(&client);
    for cycle in 1..=10 {
        // A create and a look that leave together, and the release.
        drop(lock.acquire().await.unwrap());
        assert_eq!(meter.read().await, (3 * cycle + cycle - 1, 0));
    }
    let meter = Meter::start(&client);
    lock.acquire().await.unwrap().release().await.unwrap();
    assert_eq!(meter.read().await, (3, 0));
    let meter = Meter::start(&client);
    drop(lock.try_acquire().await.unwrap().expect("it is free"));
    assert_eq!(meter.read().await, (4, 0), "one more look, before the rest");
}

async fn missing_parents_cost_one_more_round_trip(world: &World) {
    let client = world.connect().await;
    let deep = world.path().child("a").unwrap().child("b").unwrap();
    let meter = Meter::start(&client);
    drop(Lock::new(client.clone(), deep).acquire().await.unwrap());
    // In vain; the three levels, together; once more; the release.
    assert_eq!(meter.read().await, (2 + 3 + 2 + 1, 0));
}

async fn trying_a_taken_lock_costs_one_read(world: &World) {
    let (holder, client) = (world.connect().await, world.connect().await);
    let _guard = warm(world, &holder).await.acquire().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let children = client.exists(&world.path()).await.unwrap().unwrap();
    let meter = Meter::start(&client);
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert_eq!(meter.read().await, (1, 0));
    // And it wrote nothing: the directory counts every creation and deletion.
    let after = client.exists(&world.path()).await.unwrap().unwrap();
    assert_eq!(after.cversion, children.cversion);
}

async fn a_wait_costs_one_read_and_one_event(world: &World) {
    let (holder, client) = (world.connect().await, world.connect().await);
    let guard = warm(world, &holder).await.acquire().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let meter = Meter::start(&client);
    let mut wait = Box::pin(lock.acquire());
    let looks = until_watching(&client, &mut wait).await;
    drop(guard);
    drop(wait.await.unwrap());
    // Create, look, watch, release; and the event.
    assert_eq!(meter.read().await, (4 + looks, 1));
}

async fn who_had_to_wait_saves_a_look_the_next_time(world: &World) {
    let (holder, client) = (world.connect().await, world.connect().await);
    let other = warm(world, &holder).await;
    let lock = Lock::new(client.clone(), world.path());
    for requests in [4, 3, 3] {
        let guard = other.acquire().await.unwrap();
        let meter = Meter::start(&client);
        let mut wait = Box::pin(lock.acquire());
        let looks = until_watching(&client, &mut wait).await;
        drop(guard);
        drop(wait.await.unwrap());
        // From the second time on without the look; create, watch and release remain.
        assert_eq!(meter.read().await, (requests + looks, 1));
    }
    // Where that was wrong, what is asked instead is two reads; and then it is as it was.
    for requests in [4, 3] {
        let meter = Meter::start(&client);
        drop(lock.acquire().await.unwrap());
        assert_eq!(meter.read().await, (requests, 0));
    }
}

async fn a_hand_over_costs_the_next_one_nothing(world: &World) {
    let (holder, client) = (world.connect().await, world.connect().await);
    let guard = warm(world, &holder).await.acquire().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let mut wait = Box::pin(lock.acquire());
    until_watching(&client, &mut wait).await;
    let before = client.counters();
    let releasing = holder.counters().requests;
    drop(guard);
    let guard = wait.await.unwrap();
    let after = client.counters();
    assert_eq!(after.requests, before.requests, "the event says it all");
    assert_eq!(after.watch_events, before.watch_events + 1);
    assert_eq!(holder.counters().requests, releasing + 1);
    drop(guard);
}

async fn a_confirmed_hand_over_costs_one_list(world: &World) {
    let (holder, client) = (world.connect().await, world.connect().await);
    let guard = warm(world, &holder).await.acquire().await.unwrap();
    let lock = Lock::builder(client.clone(), world.path()).confirm_hand_over(true).build();
    let meter = Meter::start(&client);
    let mut wait = Box::pin(lock.acquire());
    let looks = until_watching(&client, &mut wait).await;
    drop(guard);
    drop(wait.await.unwrap());
    // And the list.
    assert_eq!(meter.read().await, (5 + looks, 1));
}

async fn a_departure_wakes_one_waiter(world: &World) {
    const WAITERS: usize = 10;
    let holder = world.connect().await;
    let mut guard = warm(world, &holder).await.acquire().await.unwrap();
    let clients = join_all((0..WAITERS).map(|_| world.connect())).await;
    let mut tickets = Vec::new();
    for client in &clients {
        let lock = Lock::new(client.clone(), world.path());
        let mut wait = Box::pin(async move { lock.acquire().await });
        until_watching(client, &mut wait).await;
        tickets.push(wait);
    }
    for (turn, wait) in tickets.into_iter().enumerate() {
        let before: Vec<_> = clients.iter().map(TokioClient::counters).collect();
        drop(guard);
        guard = wait.await.unwrap();
        for (place, (client, before)) in clients.iter().zip(before).enumerate() {
            client.exists(&world.path()).await.unwrap();
            let events = client.counters().watch_events - before.watch_events;
            assert_eq!(events, u64::from(place == turn), "client {place}");
        }
    }
}

async fn a_guarded_write_costs_one_request_after_the_first(world: &World) {
    let client = world.connect().await;
    let guard = warm(world, &client).await.acquire().await.unwrap();
    let check = || vec![MultiOp::check(guard.path(), Version::ANY)];
    let meter = Meter::start(&client);
    guard.multi(check()).await.unwrap();
    assert_eq!(meter.read().await, (2, 0));
    let meter = Meter::start(&client);
    for _ in 0..10 {
        guard.multi(check()).await.unwrap();
    }
    assert_eq!(meter.read().await, (10, 0));
}

fn bytes(clients: &[TokioClient]) -> u64 {
    let all = clients.iter().map(TokioClient::counters);
    all.map(|counters| counters.bytes_in + counters.bytes_out).sum()
}

/// The bytes, in both directions, that a whole wait costs on average: entering, watching, being woken, leaving.
async fn bytes_per_waiter(world: &World, waiters: usize) -> f64 {
    const SESSIONS: usize = 4;
    let holder = world.connect().await;
    // A path of the usual length: it is in most of what is sent.
    let prefix = NodePath::parse("/locks-").unwrap();
    let mode = CreateMode::PersistentSequential;
    let path = holder.create(&prefix, "", mode).await.unwrap().path;
    let guard = Lock::new(holder.clone(), path.clone()).acquire().await.unwrap();
    let clients = join_all((0..SESSIONS).map(|_| world.connect())).await;
    let look = async || {
        let looks = clients.iter().map(|client| client.exists(&path));
        try_join_all(looks).await.unwrap();
    };
    look().await;
    let start = bytes(&clients);
    look().await;
    let looking = bytes(&clients) - start;

    let start = bytes(&clients);
    let locks: Vec<_> = clients.iter().map(|client| Lock::new(client.clone(), path.clone())).collect();
    let tickets = try_join_all((0..waiters).map(|waiter| locks[waiter % SESSIONS].enqueue())).await.unwrap();
    let turns = tickets.into_iter().map(async |ticket| {
        drop(ticket.await?);
        Ok::<(), Error>(())
    });
    let mut turns = Box::pin(try_join_all(turns));
    // Polled once, each has asked who is ahead; the answer to a look comes behind all of theirs.
    assert!(is_pending(&mut turns).await, "the lock is held");
    look().await;
    drop(guard);
    turns.await.unwrap();
    // The answers to the last releases are part of it.
    look().await;
    (bytes(&clients) - start - 2 * looking) as f64 / waiters as f64
}

async fn bytes_per_waiter_do_not_grow_with_the_line(world: &World) {
    let few = bytes_per_waiter(world, 50).await;
    let many = bytes_per_waiter(world, 400).await;
    println!("bytes per waiter: {few} of 50, {many} of 400");
    for bytes in [few, many] {
        assert!(bytes < 1024.0, "{bytes}");
    }
    assert!((many / few - 1.0).abs() < 0.02, "{few} of 50, {many} of 400");
}
