//! The same lock, held in turns by Curator and by us.

use herdless::{ClientExt, Lock, TokioClient, Version};

use crate::support::{Peer, Place, World, is_pending, run, until_watching};

/// ZooKeeper, and Curator to contend with.
async fn curator(name: &str) -> Option<(World, Peer)> {
    let world = World::zookeeper(name)?;
    let curator = Peer::curator(&world).await?;
    Some((world, curator))
}

async fn take_turns(world: &World, curator: Peer, lock: Lock<TokioClient>) {
    const ROUNDS: u64 = 200;
    let place = Place::new(world).await;
    let client = world.connect().await;
    // Nobody begins before the other is in line.
    let mut guard = lock.acquire().await.unwrap();
    let looping = curator.ask(&format!("loop mutex {} {ROUNDS} {}", world.path(), place.path()));
    world.until_in_line(&client, 2).await;
    for round in 1..=ROUNDS {
        place.visit_alone().await;
        if round < ROUNDS {
            // In line again before it leaves, so that neither side is ever alone for long.
            let next = lock.enqueue().await.unwrap();
            drop(guard);
            guard = next.await.unwrap();
        }
    }
    guard.release().await.unwrap();
    assert_eq!(looping.await, "ok 0");
    curator.quit().await;
    let (visits, turns) = place.tally().await;
    assert_eq!(visits, 2 * ROUNDS, "updates were lost");
    println!("{turns} times it was the other's turn");
    assert!(turns > 20, "hardly any interleaving: {turns}");
    world.until_empty(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curator_and_we_take_turns() {
    if let Some((world, curator)) = curator("turns").await {
        run(&world, async |world: &World| {
            take_turns(world, curator, world.lock().await).await;
        })
        .await;
    }
}

/// And somebody writes `__REVOKE__` into the nodes of those in line all the while, as Curator's `Revoker` does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curator_and_we_take_turns_while_locks_are_revoked() {
    let Some((world, curator)) = curator("revoked").await else {
        return;
    };
    run(&world, async |world: &World| {
        let lock = Lock::builder(world.connect().await, world.path()).confirm_hand_over(true).build();
        let client = world.connect().await;
        let mut written = 0;
        let revoking = async {
            loop {
                for name in world.line(&client).await {
                    let node = world.path().child(&name).unwrap();
                    // It may have gone by now.
                    let set = client.set(&node, "__REVOKE__", Version::ANY).await;
                    written += usize::from(set.is_ok());
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = take_turns(world, curator, lock) => {}
            () = revoking => {}
        }
        assert!(written > 20, "only {written} were revoked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_wait_for_curator() {
    let Some((world, curator)) = curator("wait").await else {
        return;
    };
    run(&world, async |world: &World| {
        assert_eq!(curator.ask(&format!("mutex acquire it {}", world.path())).await, "ok");
        let client = world.connect().await;
        let lock = Lock::new(client.clone(), world.path());
        assert!(lock.try_acquire().await.unwrap().is_none());
        let holder = lock.holders().await.unwrap().into_iter().next().expect("Curator");
        assert!(holder.path.name().contains("-lock-"), "{holder:?}");
        let mut wait = Box::pin(lock.acquire());
        until_watching(&client, &mut wait).await;
        assert_eq!(curator.ask("mutex release it").await, "ok");
        let guard = wait.await.unwrap();
        assert!(guard.token() > holder.token);
        curator.quit().await;
        guard.multi(Vec::new()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curator_waits_for_us() {
    let Some((world, curator)) = curator("waits").await else {
        return;
    };
    run(&world, async |world: &World| {
        let client = world.connect().await;
        let lock = Lock::new(client.clone(), world.path());
        let guard = lock.acquire().await.unwrap();
        let mut acquired = Box::pin(curator.ask(&format!("mutex acquire it {}", world.path())));
        world.until_in_line(&client, 2).await;
        let behind = lock.enqueue().await.unwrap();
        let mut behind = Box::pin(behind.wait());
        until_watching(&client, &mut behind).await;
        assert!(is_pending(&mut acquired).await, "the lock is held");
        guard.release().await.unwrap();
        assert_eq!(acquired.await, "ok");
        // And who came after Curator comes after Curator.
        client.exists(&world.path()).await.unwrap();
        assert!(is_pending(&mut behind).await);
        assert_eq!(curator.ask("mutex release it").await, "ok");
        behind.await.unwrap().release().await.unwrap();
        curator.quit().await;
    })
    .await;
}
