//! The same read-write lock, of others and of ours.

use futures::future::{join_all, try_join_all};
use herdless::{Grant, RwLock, TokioClient};

use crate::support::{Peer, Place, World, is_pending, until_watching};
use crate::theirs::{Theirs, beside, ok};

beside! {
    curator Curator: readers_and_writers_at_full_speed we_wait_for_them they_wait_for_us readers_of_both_hold_together
        we_downgrade_while_they_wait they_downgrade_while_we_wait;
    kazoo Kazoo: readers_and_writers_at_full_speed we_wait_for_them they_wait_for_us readers_of_both_hold_together
        we_downgrade_while_they_wait;
}

fn lock(client: &TokioClient, world: &World, theirs: Theirs) -> RwLock<TokioClient> {
    RwLock::builder(client.clone(), world.path()).layout(theirs.layout()).build()
}

/// What can be held, and what has to wait for it.
const CONFLICTS: [(&str, &str); 3] = [("write", "write"), ("write", "read"), ("read", "write")];

/// Acquires, as a reader or a writer; what comes back releases when it is dropped.
async fn acquire(lock: &RwLock<TokioClient>, kind: &str) -> Box<dyn std::ops::Deref<Target = Grant<TokioClient>>> {
    match kind {
        "read" => Box::new(lock.read().await.unwrap()),
        _ => Box::new(lock.write().await.unwrap()),
    }
}

async fn is_free_for(lock: &RwLock<TokioClient>, kind: &str) -> bool {
    match kind {
        "read" => lock.try_read().await.unwrap().is_some(),
        _ => lock.try_write().await.unwrap().is_some(),
    }
}

async fn readers_and_writers_at_full_speed(world: &World, peer: &Peer, theirs: Theirs) {
    const ROUNDS: u64 = 100;
    const EACH: usize = 2; // readers, and writers, of either side
    let place = Place::new(world).await;
    let client = world.connect().await;
    // Nobody begins before all are in line.
    let gate = lock(&client, world, theirs).write().await.unwrap();
    let mut answers = Vec::new();
    for kind in ["read", "write"].repeat(EACH) {
        answers.push(peer.ask(&format!("loop {kind} {} {ROUNDS} {}", world.path(), place.path())));
        world.until_in_line(&client, 1 + answers.len()).await;
    }
    let mut tasks = Vec::new();
    for kind in ["read", "write"].repeat(EACH) {
        let (lock, place) = (lock(&world.connect().await, world, theirs), place.clone());
        tasks.push(tokio::spawn(async move {
            let mut company = 0;
            for _ in 0..ROUNDS {
                if kind == "read" {
                    let guard = lock.read().await.unwrap();
                    company += u64::from(place.visit_shared(2 * EACH).await);
                    drop(guard);
                } else {
                    let guard = lock.write().await.unwrap();
                    place.visit_alone().await;
                    drop(guard);
                }
            }
            company
        }));
        world.until_in_line(&client, 1 + answers.len() + tasks.len()).await;
    }
    drop(gate);
    let company: u64 = try_join_all(tasks).await.unwrap().iter().sum();
    for (number, answer) in join_all(answers).await.iter().enumerate() {
        assert!(answer.starts_with("ok "), "{answer}");
        assert!(number % 2 == 0 || answer == "ok 0", "a writer in company: {answer}");
    }
    let (visits, turns) = place.tally().await;
    println!("our readers met others {company} times; {turns} times it was another's turn to write");
    assert_eq!(visits, 2 * EACH as u64 * ROUNDS, "updates were lost");
    assert!(turns > 20, "hardly any interleaving: {turns}");
    world.until_empty(&client).await;
}

async fn we_wait_for_them(world: &World, peer: &Peer, theirs: Theirs) {
    let client = world.connect().await;
    for (held, wanted) in CONFLICTS {
        ok(peer, &format!("{held} acquire it {}", world.path())).await;
        // With a look of its own each time: one that had to wait expects to wait again.
        let lock = lock(&client, world, theirs);
        assert!(!is_free_for(&lock, wanted).await, "{held} and {wanted}");
        let holder = lock.holders().await.unwrap().into_iter().next().expect("theirs");
        assert_eq!(holder.is_shared, held == "read");
        let mut wait = Box::pin(acquire(&lock, wanted));
        until_watching(&client, &mut wait).await;
        ok(peer, &format!("{held} release it")).await;
        let grant = wait.await;
        assert!(grant.token() > holder.token);
        drop(grant);
        world.until_empty(&client).await;
    }
}

async fn they_wait_for_us(world: &World, peer: &Peer, theirs: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let lock = lock(&client, world, theirs);
    for (held, wanted) in CONFLICTS {
        let grant = acquire(&lock, held).await;
        assert_eq!(peer.ask(&format!("{wanted} try hasty {path} 50")).await, "no", "{held} and {wanted}");
        let mut wait = Box::pin(peer.ask(&format!("{wanted} acquire it {path}")));
        world.until_in_line(&client, 2).await;
        // By the time that one gives up who asked later, the first has looked.
        assert_eq!(peer.ask(&format!("write try hasty {path} 50")).await, "no");
        assert!(is_pending(&mut wait).await, "{held} and {wanted}");
        drop(grant);
        assert_eq!(wait.await, "ok");
        ok(peer, &format!("{wanted} release it")).await;
        world.until_empty(&client).await;
    }
}

async fn readers_of_both_hold_together(world: &World, peer: &Peer, theirs: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let lock = lock(&client, world, theirs);
    ok(peer, &format!("read acquire it {path}")).await;
    let first = lock.read().await.unwrap();
    ok(peer, &format!("read acquire that {path}")).await;
    assert_eq!(lock.holders().await.unwrap().len(), 3);
    // A writer of ours waits for all of them, whatever they leave in which order, and readers behind it for it.
    let mut write = Box::pin(lock.write());
    until_watching(&client, &mut write).await;
    assert_eq!(peer.ask(&format!("read try hasty {path} 50")).await, "no", "a writer is ahead");
    assert!(lock.try_read().await.unwrap().is_none(), "a writer is ahead");
    ok(peer, "read release that").await;
    until_watching(&client, &mut write).await;
    drop(first);
    until_watching(&client, &mut write).await;
    ok(peer, "read release it").await;
    write.await.unwrap().release().await.unwrap();
    world.until_empty(&client).await;
}

async fn we_downgrade_while_they_wait(world: &World, peer: &Peer, theirs: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let lock = lock(&client, world, theirs);
    let writing = lock.write().await.unwrap();
    let token = writing.token();
    let mut read = Box::pin(peer.ask(&format!("read acquire reader {path}")));
    world.until_in_line(&client, 2).await;
    let mut write = Box::pin(peer.ask(&format!("write acquire writer {path}")));
    world.until_in_line(&client, 3).await;
    assert_eq!(peer.ask(&format!("read try hasty {path} 50")).await, "no");
    assert!(is_pending(&mut read).await, "we write");

    let reading = writing.downgrade().await.unwrap();
    assert_eq!(reading.token(), token);
    assert_eq!(read.await, "ok", "who waited right behind us reads with us");
    assert_eq!(peer.ask(&format!("read try hasty {path} 50")).await, "no", "a writer is ahead");
    assert!(lock.try_read().await.unwrap().is_none(), "a writer is ahead");
    assert!(is_pending(&mut write).await, "two readers hold it");
    ok(peer, "read release reader").await;
    assert_eq!(peer.ask(&format!("write try hasty {path} 50")).await, "no");
    assert!(is_pending(&mut write).await, "we read");
    reading.release().await.unwrap();
    assert_eq!(write.await, "ok");
    ok(peer, "write release writer").await;
    world.until_empty(&client).await;
}

/// Curator's way: the writer acquires read as well, and releases write.
async fn they_downgrade_while_we_wait(world: &World, peer: &Peer, theirs: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    ok(peer, &format!("write acquire it {path}")).await;
    ok(peer, &format!("read acquire it {path}")).await;
    let (behind, last) = (lock(&client, world, theirs), lock(&client, world, theirs));
    let mut read = Box::pin(behind.read());
    until_watching(&client, &mut read).await;
    let mut write = Box::pin(last.write());
    until_watching(&client, &mut write).await;
    ok(peer, "write release it").await;
    let reading = read.await.unwrap();
    until_watching(&client, &mut write).await;
    reading.release().await.unwrap();
    until_watching(&client, &mut write).await;
    ok(peer, "read release it").await;
    write.await.unwrap().release().await.unwrap();
    world.until_empty(&client).await;
}
