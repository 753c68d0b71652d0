//! The same counters and values, of others and of ours.

use futures::TryStreamExt;
use herdless::{ClientExt, CounterFormat, NodePath, SharedCounter, SharedValue, TokioClient};

use crate::support::{Peer, World, until};
use crate::theirs::{Theirs, beside, ok};

beside! {
    curator Curator: counts_of_both_sides_sum_up each_reads_the_numbers_of_the_other
        of_two_that_compare_numbers_one_succeeds values_are_those_of_the_other;
    kazoo Kazoo: counts_of_both_sides_sum_up each_reads_the_numbers_of_the_other;
}

/// Their kinds of counters, and what the nodes hold.
fn counters(theirs: Theirs) -> &'static [(&'static str, CounterFormat)] {
    match theirs {
        Theirs::Curator => &[
            ("atomiclong", CounterFormat::AtomicLong),
            ("atomicint", CounterFormat::AtomicInteger),
            ("sharedcount", CounterFormat::AtomicInteger),
        ],
        Theirs::Kazoo => &[("counter", CounterFormat::Kazoo), ("sharedcount", CounterFormat::AtomicInteger)],
    }
}

fn counter(client: TokioClient, path: NodePath, format: CounterFormat) -> SharedCounter<TokioClient> {
    SharedCounter::builder(client, path).format(format).build()
}

/// Waits until a peer, which may learn of it a moment later, gives this answer.
async fn until_answer(peer: &Peer, command: &str, answer: &str) {
    until(&format!("{answer} to {command}"), async || (peer.ask(command).await == answer).then_some(())).await;
}

/// The bytes of a number, as the format's owner writes them.
fn bytes(format: CounterFormat, number: i64) -> Vec<u8> {
    match format {
        CounterFormat::AtomicLong => number.to_be_bytes().to_vec(),
        CounterFormat::AtomicInteger => (number as i32).to_be_bytes().to_vec(),
        _ => number.to_string().into_bytes(),
    }
}

async fn counts_of_both_sides_sum_up(world: &World, peer: &Peer, theirs: Theirs) {
    const ROUNDS: i64 = 100;
    for &(kind, format) in counters(theirs) {
        let path = world.beside(kind);
        let ours = async |client: TokioClient| {
            let counter = counter(client, path.clone(), format);
            let mut last = 0;
            for _ in 0..ROUNDS {
                let sum = counter.increment().await.unwrap();
                assert!(sum > last, "{sum} after {last}");
                last = sum;
            }
        };
        let (one, other) = (world.connect().await, world.connect().await);
        let looping = peer.ask(&format!("loop {kind} {path} {ROUNDS}"));
        let (answer, (), ()) = tokio::join!(looping, ours(one), ours(other));
        assert_eq!(answer, "ok");
        let client = world.connect().await;
        assert_eq!(counter(client.clone(), path.clone(), format).get().await.unwrap(), 3 * ROUNDS, "{kind}");
        until_answer(peer, &format!("{kind} get {path}"), &(3 * ROUNDS).to_string()).await;
        assert_eq!(client.get(&path).await.unwrap().0, bytes(format, 3 * ROUNDS), "{kind}");
        // Nor does a receipt stay behind.
        until("no receipts", async || client.children(&path).await.unwrap().0.is_empty().then_some(())).await;
    }
}

async fn each_reads_the_numbers_of_the_other(world: &World, peer: &Peer, theirs: Theirs) {
    let client = world.connect().await;
    for &(kind, format) in counters(theirs) {
        let path = world.beside(kind);
        let counter = counter(client.clone(), path.clone(), format);
        // A node that is not there, or that they have just made, counts as 0 for both.
        assert_eq!(counter.get().await.unwrap(), 0);
        assert_eq!(peer.ask(&format!("{kind} get {path}")).await, "0", "{kind}");
        assert_eq!(counter.get().await.unwrap(), 0, "{kind}");
        for number in [1, -1, 258, i32::MAX.into(), i32::MIN.into()] {
            counter.set(number).await.unwrap();
            until_answer(peer, &format!("{kind} get {path}"), &number.to_string()).await;
            assert_eq!(client.get(&path).await.unwrap().0, bytes(format, number), "{kind} {number}");
        }
        counter.set(0).await.unwrap();
        until_answer(peer, &format!("{kind} get {path}"), "0").await;
        for number in [7, -7, 70_000] {
            let before = counter.get().await.unwrap();
            let their_way = match (theirs, kind) {
                (Theirs::Curator, "sharedcount") => format!("set {path} {}", before + number),
                _ => format!("add {path} {number}"),
            };
            peer.ask(&format!("{kind} {their_way}")).await;
            assert_eq!(counter.get().await.unwrap(), before + number, "{kind} {number}");
            assert_eq!(client.get(&path).await.unwrap().0, bytes(format, before + number), "{kind} {number}");
        }
    }
}

async fn of_two_that_compare_numbers_one_succeeds(world: &World, peer: &Peer, _: Theirs) {
    let client = world.connect().await;
    for (kind, format) in [("atomiclong", CounterFormat::AtomicLong), ("atomicint", CounterFormat::AtomicInteger)] {
        let path = world.beside(kind);
        let counter = counter(client.clone(), path.clone(), format);
        ok(peer, &format!("{kind} initialize {path} 5")).await;
        assert_eq!(counter.compare_and_set(5, 6).await.unwrap(), Ok(()));
        assert_eq!(peer.ask(&format!("{kind} cas {path} 5 7")).await, "no");
        ok(peer, &format!("{kind} cas {path} 6 7")).await;
        assert_eq!(counter.compare_and_set(6, 8).await.unwrap(), Err(7));
        // Both at once, again and again.
        for number in 7..57 {
            let command = format!("{kind} cas {path} {number} {}", number + 1);
            let (theirs, ours) = tokio::join!(peer.ask(&command), counter.compare_and_set(number, number + 1));
            let succeeded = [theirs == "ok", ours.unwrap().is_ok()];
            assert!(succeeded[0] != succeeded[1], "{kind} {number}: {succeeded:?}");
        }
        assert_eq!(counter.get().await.unwrap(), 57);
        let value = SharedValue::new(client.clone(), path.clone());
        assert!(value.initialize("late").await.unwrap().is_err(), "it is there");
    }
}

async fn values_are_those_of_the_other(world: &World, peer: &Peer, _: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let value = SharedValue::new(client.clone(), path.clone());
    let mut changes = value.changes();
    assert_eq!(changes.try_next().await.unwrap(), Some(None), "it is not there");
    // Theirs writes no bytes where there is no node.
    assert_eq!(peer.ask(&format!("sharedvalue get {path}")).await, "-");
    assert_eq!(value.read().await.unwrap().unwrap().data, "");

    value.set(&[0, 255][..]).await.unwrap();
    until_answer(peer, &format!("sharedvalue get {path}"), "00ff").await;
    let stale = value.read().await.unwrap();
    ok(peer, &format!("sharedvalue tryset {path} 01")).await;
    let there = value.compare_and_set(stale.as_ref(), "lost").await.unwrap().expect_err("theirs came in between");
    assert_eq!(there.as_ref().unwrap().data[..], [1]);
    value.compare_and_set(there.as_ref(), &[2][..]).await.unwrap().expect("nobody came in between");
    until_answer(peer, &format!("sharedvalue get {path}"), "02").await;
    ok(peer, &format!("sharedvalue set {path} -")).await;
    assert_eq!(value.read().await.unwrap().unwrap().data, "");
    ok(peer, &format!("sharedvalue set {path} ff")).await;
    // The last one always comes.
    while changes.try_next().await.unwrap().unwrap().is_none_or(|value| value.data[..] != [255]) {}
}
