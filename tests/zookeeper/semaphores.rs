//! The same semaphore, of Curator and of ours.

use futures::future::{join_all, try_join_all};
use herdless::{CounterFormat, Semaphore, SharedCounter, TokioClient};

use crate::support::{Peer, Place, World, is_pending, until, until_watching};
use crate::theirs::{Theirs, beside, ok};

beside! {
    curator Curator: no_more_than_the_permits_at_full_speed we_wait_for_them they_wait_for_us
        our_weights_count_for_them both_set_the_number_of_permits;
}

const PERMITS: u32 = 3;

fn semaphore(client: &TokioClient, world: &World) -> Semaphore<TokioClient> {
    Semaphore::builder(client.clone(), world.path(), PERMITS).one_node_per_permit(true).build().unwrap()
}

/// Waits until all permits are back: a release that was not awaited is on its way.
async fn until_free(semaphore: &Semaphore<TokioClient>) {
    until("all permits", async || (semaphore.available().await.unwrap() == PERMITS).then_some(())).await;
    assert_eq!(semaphore.waiters().await.unwrap(), []);
    assert_eq!(semaphore.holders().await.unwrap(), []);
}

async fn until_waiting(semaphore: &Semaphore<TokioClient>, count: usize) {
    until(&format!("{count} in line"), async || (semaphore.waiters().await.unwrap().len() == count).then_some(()))
        .await;
}

async fn no_more_than_the_permits_at_full_speed(world: &World, peer: &Peer, _: Theirs) {
    const ROUNDS: u64 = 100;
    const EACH: usize = 3; // contenders of either side
    let place = Place::new(world).await;
    let all = semaphore(&world.connect().await, world);
    // Nobody begins before all have asked.
    let gate = all.acquire(PERMITS).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..EACH {
        let (path, place) = (world.path(), place.path());
        answers.push(peer.ask(&format!("loop semaphore {path} {PERMITS} {ROUNDS} {place}")));
        until_waiting(&all, answers.len()).await;
    }
    let mut tasks = Vec::new();
    for _ in 0..EACH {
        let (semaphore, place) = (semaphore(&world.connect().await, world), place.clone());
        tasks.push(tokio::spawn(async move {
            let mut company = 0;
            for _ in 0..ROUNDS {
                let permit = semaphore.acquire(1).await.unwrap();
                company += u64::from(place.visit_shared(PERMITS as usize).await);
                drop(permit);
            }
            company
        }));
        until_waiting(&all, answers.len() + tasks.len()).await;
    }
    drop(gate);
    let ours: u64 = try_join_all(tasks).await.unwrap().iter().sum();
    let theirs = join_all(answers).await;
    println!("ours met others {ours} times; theirs: {theirs:?}");
    let company = theirs.iter().map(|answer| answer.strip_prefix("ok ").and_then(|times| times.parse::<u64>().ok()));
    let company: Option<u64> = company.sum();
    let company = company.unwrap_or_else(|| panic!("{theirs:?}"));
    assert!(ours > 0 && company > 0, "never more than one at once");
    until_free(&all).await;
}

async fn we_wait_for_them(world: &World, peer: &Peer, _: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let semaphore = semaphore(&client, world);
    for _ in 0..PERMITS {
        assert!(semaphore.try_acquire(1).await.unwrap().is_some(), "not all are out");
        until_waiting(&semaphore, 0).await;
        ok(peer, &format!("semaphore acquire it {path} {PERMITS}")).await;
    }
    assert_eq!(semaphore.available().await.unwrap(), 0);
    assert!(semaphore.try_acquire(1).await.unwrap().is_none());
    let mut wait = Box::pin(semaphore.acquire(2));
    until_watching(&client, &mut wait).await;
    ok(peer, "semaphore release it").await;
    until_watching(&client, &mut wait).await; // one of two
    ok(peer, "semaphore release it").await;
    let permit = wait.await.unwrap();
    assert_eq!(semaphore.available().await.unwrap(), 0);
    permit.release().await.unwrap();
    ok(peer, "semaphore release it").await;
    until_free(&semaphore).await;
}

async fn they_wait_for_us(world: &World, peer: &Peer, _: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let semaphore = semaphore(&client, world);
    let one = semaphore.acquire(1).await.unwrap();
    let others = semaphore.acquire(PERMITS - 1).await.unwrap();
    assert_eq!(peer.ask(&format!("semaphore try hasty {path} {PERMITS} 50")).await, "no");
    let mut wait = Box::pin(peer.ask(&format!("semaphore acquire it {path} {PERMITS}")));
    until_waiting(&semaphore, 1).await;
    // By the time that one gives up who asked later, the first has looked.
    assert_eq!(peer.ask(&format!("semaphore try hasty {path} {PERMITS} 50")).await, "no");
    assert!(is_pending(&mut wait).await);
    one.release().await.unwrap();
    assert_eq!(wait.await, "ok");
    others.release().await.unwrap();
    ok(peer, "semaphore release it").await;
    until_free(&semaphore).await;
}

/// They count nodes.
async fn our_weights_count_for_them(world: &World, peer: &Peer, _: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let semaphore = semaphore(&client, world);
    let permit = semaphore.acquire(PERMITS - 1).await.unwrap();
    ok(peer, &format!("semaphore try it {path} {PERMITS} 60000")).await;
    assert_eq!(peer.ask(&format!("semaphore try hasty {path} {PERMITS} 50")).await, "no");
    permit.release().await.unwrap();
    for _ in 1..PERMITS {
        ok(peer, &format!("semaphore try it {path} {PERMITS} 60000")).await;
    }
    assert_eq!(semaphore.available().await.unwrap(), 0);
    for _ in 0..PERMITS {
        ok(peer, "semaphore release it").await;
    }
    until_free(&semaphore).await;
}

/// The number is a `SharedCount` of theirs.
async fn both_set_the_number_of_permits(world: &World, peer: &Peer, _: Theirs) {
    let (client, number) = (world.connect().await, world.path().child("permits").unwrap());
    let semaphore = Semaphore::builder(client.clone(), world.path(), PERMITS).shared().build().unwrap();
    let first = semaphore.acquire(PERMITS).await.unwrap();
    let answer = peer.ask(&format!("sharedcount get {number}")).await;
    assert_eq!(answer, PERMITS.to_string(), "what the first of us wrote");
    let mut wait = Box::pin(semaphore.acquire(2));
    until_watching(&client, &mut wait).await;
    ok(peer, &format!("sharedcount set {number} {}", PERMITS + 1)).await;
    until_watching(&client, &mut wait).await; // one more, of two
    ok(peer, &format!("sharedcount set {number} {}", PERMITS + 2)).await;
    let second = wait.await.unwrap();
    // Fewer take nothing from those who hold.
    ok(peer, &format!("sharedcount set {number} 1")).await;
    assert!(first.is_valid() && second.is_valid());
    first.release().await.unwrap();
    assert!(semaphore.try_acquire(1).await.unwrap().is_none(), "two are out, of one");
    second.release().await.unwrap();
    drop(semaphore.try_acquire(1).await.unwrap().expect("it is free"));

    semaphore.set_permits(7).await.unwrap();
    until("7", async || (peer.ask(&format!("sharedcount get {number}")).await == "7").then_some(())).await;
    let counter = SharedCounter::builder(client, number).format(CounterFormat::AtomicInteger).build();
    assert_eq!(counter.get().await, Ok(7));
}
