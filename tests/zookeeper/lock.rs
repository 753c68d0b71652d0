//! The same lock, held in turns by kazoo and by us. With Curator: `curator.rs`.

use herdless::{Lock, TokioClient};

use crate::support::{Peer, Place, World, is_pending, until_watching};
use crate::theirs::{Theirs, beside, ok};

beside! {
    kazoo Kazoo: we_take_turns we_wait_for_them they_wait_for_us;
}

fn lock(client: &TokioClient, world: &World, theirs: Theirs) -> Lock<TokioClient> {
    Lock::builder(client.clone(), world.path()).layout(theirs.layout()).build()
}

async fn we_take_turns(world: &World, peer: &Peer, theirs: Theirs) {
    const ROUNDS: u64 = 200;
    let place = Place::new(world).await;
    let client = world.connect().await;
    let lock = lock(&client, world, theirs);
    // Nobody begins before the other is in line.
    let mut guard = lock.acquire().await.unwrap();
    let looping = peer.ask(&format!("loop mutex {} {ROUNDS} {}", world.path(), place.path()));
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
    let (visits, turns) = place.tally().await;
    assert_eq!(visits, 2 * ROUNDS, "updates were lost");
    println!("{turns} times it was the other's turn");
    assert!(turns > 20, "hardly any interleaving: {turns}");
    world.until_empty(&client).await;
}

async fn we_wait_for_them(world: &World, peer: &Peer, theirs: Theirs) {
    let client = world.connect().await;
    let lock = lock(&client, world, theirs);
    ok(peer, &format!("mutex acquire it {}", world.path())).await;
    assert!(lock.try_acquire().await.unwrap().is_none());
    let holder = lock.holders().await.unwrap().into_iter().next().expect("theirs");
    // kazoo writes the contender's name into its node, as we write the owner.
    assert_eq!(holder.owner, "it");
    let mut wait = Box::pin(lock.acquire());
    until_watching(&client, &mut wait).await;
    ok(peer, "mutex release it").await;
    let guard = wait.await.unwrap();
    assert!(guard.token() > holder.token);
    guard.release().await.unwrap();
    world.until_empty(&client).await;
}

async fn they_wait_for_us(world: &World, peer: &Peer, theirs: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let lock = lock(&client, world, theirs);
    let guard = lock.acquire().await.unwrap();
    assert_eq!(peer.ask(&format!("mutex try hasty {path} 50")).await, "no");
    let mut acquired = Box::pin(peer.ask(&format!("mutex acquire it {path}")));
    world.until_in_line(&client, 2).await;
    let behind = lock.enqueue().await.unwrap();
    let mut behind = Box::pin(behind.wait());
    until_watching(&client, &mut behind).await;
    // By the time that one gives up who asked later, the first has looked.
    assert_eq!(peer.ask(&format!("mutex try hasty {path} 50")).await, "no");
    assert!(is_pending(&mut acquired).await, "the lock is held");
    guard.release().await.unwrap();
    assert_eq!(acquired.await, "ok");
    // And who came after them comes after them.
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert!(is_pending(&mut behind).await);
    ok(peer, "mutex release it").await;
    behind.await.unwrap().release().await.unwrap();
    world.until_empty(&client).await;
}
