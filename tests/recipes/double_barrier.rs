//! The double barrier: rounds of members that enter and leave together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use herdless::{DoubleBarrier, TokioClient};

use crate::support::{Meter, World, is_pending, scenarios};

scenarios! {
    members_enter_and_leave_together_round_after_round
    to_enter_costs_one_event
    who_dies_inside_keeps_nobody
    who_dies_on_the_way_in_is_not_counted
}

fn barrier(client: &TokioClient, world: &World, size: usize) -> DoubleBarrier<TokioClient> {
    DoubleBarrier::new(client.clone(), world.path(), size.try_into().unwrap()).unwrap()
}

async fn members_enter_and_leave_together_round_after_round(world: &World) {
    const MEMBERS: usize = 5;
    const ROUNDS: usize = 20;
    // How often somebody began to enter, and to leave.
    let begun = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let members = (0..MEMBERS).map(|_| {
        let begun = begun.clone();
        async move {
            let client = world.connect().await;
            let barrier = barrier(&client, world, MEMBERS);
            let mut generations = Vec::new();
            for round in 1..=ROUNDS {
                begun[0].fetch_add(1, Ordering::SeqCst);
                let inside = barrier.enter().await.unwrap();
                assert!(begun[0].load(Ordering::SeqCst) >= round * MEMBERS, "not all had come");
                generations.push(inside.generation());
                begun[1].fetch_add(1, Ordering::SeqCst);
                inside.leave().await.unwrap();
                assert!(begun[1].load(Ordering::SeqCst) >= round * MEMBERS, "not all were leaving");
            }
            generations
        }
    });
    let generations = join_all(members).await;
    assert!(generations[0].is_sorted_by(|one, next| one < next), "they grow");
    assert!(generations.iter().all(|others| *others == generations[0]), "all were in the same rounds");
    world.until_empty(&world.connect().await).await;
}

async fn to_enter_costs_one_event(world: &World) {
    const MEMBERS: usize = 20;
    let clients = join_all((0..MEMBERS).map(|_| world.connect())).await;
    let barriers: Vec<_> = clients.iter().map(|client| barrier(client, world, MEMBERS)).collect();
    // The directory is made, and none of its making counted.
    let observer = world.connect().await;
    barrier(&observer, world, 1).enter().await.unwrap().leave().await.unwrap();
    let meters: Vec<_> = clients.iter().map(Meter::start).collect();
    let (last, first) = barriers.split_last().unwrap();
    let mut entering = Box::pin(join_all(first.iter().map(DoubleBarrier::enter)));
    assert!(is_pending(&mut entering).await);
    world.until_in_line(&observer, MEMBERS - 1).await;
    assert!(is_pending(&mut entering).await, "one is missing");
    let (rounds, last) = tokio::join!(entering, last.enter());
    let rounds: Vec<_> = rounds.into_iter().chain([last]).map(Result::unwrap).collect();
    let mut costs = Vec::new();
    for meter in &meters {
        costs.push(meter.read().await);
    }
    // Three that leave together, and a read.
    assert_eq!(costs[..MEMBERS - 1], [(4, 1); MEMBERS - 1]);
    // The last one has the event of its own change.
    assert_eq!(costs[MEMBERS - 1], (4, 1));
    for left in join_all(rounds.into_iter().map(|round| round.leave())).await {
        left.unwrap();
    }
    world.until_empty(&observer).await;
}

async fn who_dies_inside_keeps_nobody(world: &World) {
    let proxy = world.proxy().await;
    let unlucky = proxy.short_session().connect().await.unwrap();
    let (one, other) = (world.connect().await, world.connect().await);
    for (first, second) in [(&one, &unlucky), (&unlucky, &one)] {
        // In this order: the first member of a round leaves last.
        let first = barrier(first, world, 3);
        let mut entering = Box::pin(first.enter());
        assert!(is_pending(&mut entering).await);
        let is_in_line = world.until_in_line(&other, 1);
        tokio::select! { _ = &mut entering => panic!("alone"), () = is_in_line => {} }
        let (second, third) = (barrier(second, world, 3), barrier(&other, world, 3));
        let (first, second, third) = tokio::join!(entering, second.enter(), third.enter());
        let rounds = [first.unwrap(), second.unwrap(), third.unwrap()];
        let generation = rounds[0].generation();
        proxy.down();
        let mut lost = 0;
        for left in join_all(rounds.map(|round| round.leave())).await {
            lost += usize::from(left.is_err());
        }
        assert_eq!(lost, 1, "who died is told, and nobody else");
        proxy.up();
        world.until_empty(&other).await;
        // And the next round is a new one.
        let round = barrier(&one, world, 1).enter().await.unwrap();
        assert!(round.generation() > generation);
        round.leave().await.unwrap();
    }
}

async fn who_dies_on_the_way_in_is_not_counted(world: &World) {
    let proxy = world.proxy().await;
    let unlucky = proxy.short_session().connect().await.unwrap();
    let (one, other) = (world.connect().await, world.connect().await);
    let waiting = barrier(&unlucky, world, 2);
    let waiting = tokio::spawn(async move { waiting.enter().await.map(|round| round.generation()) });
    world.until_in_line(&one, 1).await;
    proxy.down();
    waiting.await.unwrap().expect_err("its session has ended");
    world.until_empty(&one).await;
    let (first, second) = (barrier(&one, world, 2), barrier(&other, world, 2));
    let mut first = Box::pin(first.enter());
    assert!(is_pending(&mut first).await);
    let given_up = barrier(&other, world, 2);
    world.until_in_line(&other, 1).await;
    assert!(is_pending(&mut first).await, "alone");
    drop(given_up);
    let (first, second) = tokio::join!(first, second.enter());
    let (first, second) = (first.unwrap(), second.unwrap());
    let (first, second) = tokio::join!(first.leave(), second.leave());
    first.and(second).unwrap();
    world.until_empty(&one).await;
}
