//! The semaphore.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use herdless::{ClientExt, CounterFormat, CreateMode, Error, NodePath, Semaphore, SharedCounter, TokioClient, Version};

use crate::support::{Meter, Place, World, is_pending, scenarios, until, until_watching};

scenarios! {
    no_more_than_the_permits_are_held_at_full_speed
    free_permits_cost_what_is_documented
    a_release_wakes_one_and_a_grant_the_next
    bytes_do_not_grow_with_the_line
    numbers_that_make_no_sense_are_not_sent
    a_grant_over_the_limit_is_not_made
    a_number_that_is_none_stays
    what_others_keep_with_the_leases_is_a_permit_each
    what_others_keep_in_the_line_stands_in_nobodys_way
}

const PERMITS: u32 = 3;

fn semaphore(world: &World, client: &TokioClient) -> Semaphore<TokioClient> {
    Semaphore::new(client.clone(), world.path(), PERMITS).unwrap()
}

/// One whose directories are there, so that making them is not counted.
async fn warm(world: &World, client: &TokioClient) -> Semaphore<TokioClient> {
    let semaphore = semaphore(world, client);
    semaphore.acquire(1).await.unwrap().release().await.unwrap();
    semaphore
}

fn below(world: &World, directory: &str) -> NodePath {
    world.path().child(directory).unwrap()
}

/// Waits until nobody holds or waits.
async fn until_free(semaphore: &Semaphore<TokioClient>) {
    until("all permits", async || (semaphore.available().await.unwrap() == PERMITS).then_some(())).await;
    assert_eq!(semaphore.waiters().await.unwrap(), []);
    assert_eq!(semaphore.holders().await.unwrap(), []);
}

async fn no_more_than_the_permits_are_held_at_full_speed(world: &World) {
    const CLIENTS: usize = 6;
    const ROUNDS: usize = 30;
    let place = Place::new(world).await;
    let all = semaphore(world, &world.connect().await);
    // Nobody begins before all have asked.
    let gate = all.acquire(PERMITS).await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..CLIENTS {
        let (client, place, path) = (world.connect().await, place.clone(), world.path());
        let semaphore = Semaphore::builder(client, path, PERMITS).one_node_per_permit(number % 2 == 0);
        let semaphore = semaphore.build().unwrap();
        tasks.push(tokio::spawn(async move {
            let mut company = 0;
            for round in 0..ROUNDS {
                // Whoever has all of them is alone.
                if (number + round) % CLIENTS == 0 {
                    let permit = semaphore.acquire(PERMITS).await.unwrap();
                    place.visit_alone().await;
                    drop(permit);
                } else {
                    let permit = semaphore.acquire(1).await.unwrap();
                    company += u64::from(place.visit_shared(PERMITS as usize).await);
                    drop(permit);
                }
            }
            company
        }));
        until("its place", async || (all.waiters().await.unwrap().len() == tasks.len()).then_some(())).await;
    }
    drop(gate);
    let company: u64 = try_join_all(tasks).await.unwrap().iter().sum();
    assert!(company > 0, "never more than one at once");
    assert_eq!(place.tally().await.0, ROUNDS as u64, "one of the clients in each round");
    until_free(&all).await;
}

async fn free_permits_cost_what_is_documented(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    let semaphore = warm(world, &client).await;
    for _ in 0..3 {
        let meter = Meter::start(&client);
        semaphore.acquire(2).await.unwrap().release().await.unwrap();
        assert_eq!(meter.read().await, (5, 0), "three that leave together, the grant, the release");
    }
    let one = warm(world, &other).await.acquire(1).await.unwrap();
    let meter = Meter::start(&client);
    assert!(semaphore.try_acquire(PERMITS).await.unwrap().is_none());
    assert_eq!(meter.read().await, (2, 0), "reads that leave together");
    let meter = Meter::start(&client);
    drop(semaphore.try_acquire(2).await.unwrap().expect("two are free"));
    assert_eq!(meter.read().await, (2 + 5, 0), "the same reads, before the rest");
    one.release().await.unwrap();
    let split = Semaphore::builder(client.clone(), world.path(), PERMITS).one_node_per_permit(true).build().unwrap();
    let meter = Meter::start(&client);
    split.acquire(PERMITS).await.unwrap().release().await.unwrap();
    assert_eq!(meter.read().await, (4 + u64::from(PERMITS), 0), "a release for each node");
}

async fn a_release_wakes_one_and_a_grant_the_next(world: &World) {
    const WAITERS: usize = 6;
    let holder = world.connect().await;
    let mut permit = warm(world, &holder).await.acquire(2).await.unwrap();
    let clients = join_all((0..WAITERS).map(|_| world.connect())).await;
    let mut waits = Vec::new();
    for client in &clients {
        let semaphore = semaphore(world, client);
        let mut wait = Box::pin(async move { semaphore.acquire(2).await });
        until_watching(client, &mut wait).await;
        waits.push(wait);
    }
    for turn in 0..WAITERS {
        let meters: Vec<_> = clients.iter().map(Meter::start).collect();
        drop(permit);
        let mut waits = waits.iter_mut().skip(turn);
        permit = waits.next().expect("one is left").await.unwrap();
        // It has counted, and taken. Its own lease uses up the watch that it counted with, and wakes nobody.
        let mut costs = [(2, 2), (0, 0)];
        if let (Some(next), Some(client)) = (waits.next(), clients.get(turn + 1)) {
            // It counts, now that it is the first in line, and watches.
            costs[1] = (1 + until_watching(client, next).await, 1);
        }
        for (place, meter) in meters.into_iter().enumerate() {
            let expected = match place.checked_sub(turn) {
                Some(behind @ (0 | 1)) => costs[behind],
                // The one before has sent its release.
                None if place + 1 == turn => (1, 0),
                _ => (0, 0),
            };
            assert_eq!(meter.read().await, expected, "client {place} at turn {turn}");
        }
    }
    drop(permit);
    until_free(&semaphore(world, &holder)).await;
}

/// The bytes, in both directions, of a wait behind so many others.
async fn bytes_of_a_wait(world: &World, ahead: usize) -> u64 {
    let (holder, client) = (world.connect().await, world.connect().await);
    let all = warm(world, &holder).await;
    let permit = all.acquire(PERMITS).await.unwrap();
    let mut line: Vec<_> = (0..ahead).map(|_| Box::pin(all.acquire(1))).collect();
    for wait in &mut line {
        assert!(is_pending(wait).await);
    }
    until("the line", async || (all.waiters().await.unwrap().len() == ahead).then_some(())).await;
    let last = semaphore(world, &client);
    let before = client.counters();
    let mut wait = Box::pin(last.acquire(1));
    until_watching(&client, &mut wait).await;
    let after = client.counters();
    drop((wait, line, permit));
    client.sync(&world.path()).await.unwrap();
    holder.sync(&world.path()).await.unwrap();
    until_free(&all).await;
    (after.bytes_in + after.bytes_out) - (before.bytes_in + before.bytes_out)
}

async fn bytes_do_not_grow_with_the_line(world: &World) {
    let (few, many) = (bytes_of_a_wait(world, 2).await, bytes_of_a_wait(world, 100).await);
    println!("bytes of a wait: {few} behind 2, {many} behind 100");
    // A number may have a digit more.
    assert!(many.abs_diff(few) < 16 && many < 2048, "{few} behind 2, {many} behind 100");
}

fn is_invalid<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Invalid(_)))
}

async fn numbers_that_make_no_sense_are_not_sent(world: &World) {
    let client = world.connect().await;
    let before = client.counters().requests;
    let builder = |permits| Semaphore::builder(client.clone(), world.path(), permits);
    assert!(is_invalid(builder(0).build()));
    assert!(is_invalid(builder(0).shared().build()));
    assert!(is_invalid(builder(1 << 31).shared().build()));
    let semaphore = builder(PERMITS).build().unwrap();
    for weight in [0, PERMITS + 1, u32::MAX] {
        assert!(is_invalid(semaphore.acquire(weight).await), "{weight}");
        assert!(is_invalid(semaphore.try_acquire(weight).await), "{weight}");
    }
    assert!(is_invalid(semaphore.set_permits(5).await), "it is not shared");
    let split = builder(5000).one_node_per_permit(true).build().unwrap();
    assert!(is_invalid(split.acquire(1001).await));
    assert!(is_invalid(builder(1).shared().build().unwrap().set_permits(u32::MAX).await));
    assert_eq!(client.counters().requests, before);
    assert!(client.exists(&world.path()).await.unwrap().is_none());
}

async fn a_grant_over_the_limit_is_not_made(world: &World) {
    let client = world.connect().await;
    let builder = Semaphore::builder(client.clone(), world.path(), 1000).owner("x".repeat(2048));
    let semaphore = builder.one_node_per_permit(true).build().unwrap();
    let error = semaphore.acquire(1000).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "request", .. }), "{error}");
    until("an empty line", async || semaphore.waiters().await.unwrap().is_empty().then_some(())).await;
    assert_eq!(semaphore.available().await, Ok(1000));
    // It keeps nobody from anything.
    semaphore.acquire(10).await.unwrap().release().await.unwrap();
    assert_eq!(client.counters().connects, 1);
}

async fn a_number_that_is_none_stays(world: &World) {
    let client = world.connect().await;
    let semaphore = Semaphore::builder(client.clone(), world.path(), PERMITS).shared().build().unwrap();
    drop(semaphore.acquire(1).await.unwrap());
    let number = below(world, "permits");
    for malformed in [&b"seven"[..], b"", b"\xff\xff\xff\xff", b"\0\0\0\0\x01"] {
        client.set(&number, malformed, Version::ANY).await.unwrap();
        let before = client.exists(&number).await.unwrap();
        let is_told = |error: Error| matches!(error, Error::Malformed { path, .. } if path == number);
        assert!(is_told(semaphore.acquire(1).await.unwrap_err()));
        assert!(is_told(semaphore.try_acquire(1).await.unwrap_err()));
        assert!(is_told(semaphore.available().await.unwrap_err()));
        assert_eq!(client.exists(&number).await.unwrap(), before);
        until("an empty line", async || semaphore.waiters().await.unwrap().is_empty().then_some(())).await;
    }
    semaphore.set_permits(2).await.unwrap();
    assert_eq!(semaphore.available().await, Ok(2));
    let counter = SharedCounter::builder(client, number).format(CounterFormat::AtomicInteger).build();
    assert_eq!(counter.get().await, Ok(2));
}

/// As Curator's `InterProcessSemaphoreV2` counts them.
async fn what_others_keep_with_the_leases_is_a_permit_each(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    let semaphore = warm(world, &client).await;
    let leases = below(world, "leases");
    let [config, strange] = ["config", "lease-x"].map(|name| leases.child(name).unwrap());
    for path in [&config, &strange] {
        other.create(path, "theirs", CreateMode::Persistent).await.unwrap();
    }
    client.sync(&leases).await.unwrap();
    assert_eq!(semaphore.available().await, Ok(PERMITS - 2));
    let mut wait = Box::pin(semaphore.acquire(2));
    until_watching(&client, &mut wait).await;
    other.delete(&strange, Version::ANY).await.unwrap();
    let permit = wait.await.unwrap();
    let holders = semaphore.holders().await.unwrap();
    let weights: BTreeMap<_, _> = holders.into_iter().map(|holder| (holder.contender.path, holder.weight)).collect();
    assert_eq!(weights, BTreeMap::from([(config.clone(), 1), (permit.path().clone(), 2)]));
    permit.release().await.unwrap();
    assert_eq!(client.children(&leases).await.unwrap().0, ["config"]);
    assert_eq!(client.get(&config).await.unwrap().0, "theirs");
}

async fn what_others_keep_in_the_line_stands_in_nobodys_way(world: &World) {
    let client = world.connect().await;
    let semaphore = warm(world, &client).await;
    let line = below(world, "locks");
    for name in ["config", "lock-x", "a name with spaces"] {
        client.create(&line.child(name).unwrap(), "theirs", CreateMode::Persistent).await.unwrap();
    }
    semaphore.acquire(PERMITS).await.unwrap().release().await.unwrap();
    assert!(semaphore.try_acquire(1).await.unwrap().is_none(), "it counts all children, and reads none");
    let mut names = client.children(&line).await.unwrap().0;
    names.sort_unstable();
    assert_eq!(names, ["a name with spaces", "config", "lock-x"]);
    assert_eq!(client.children(&below(world, "leases")).await.unwrap().0, [""; 0]);
}
