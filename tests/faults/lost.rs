//! Connections that break at the worst moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use herdless::{ClientExt, CreateMode, Lock, Token};
use tokio::sync::Mutex;

use crate::support::{Dice, World, is_pending, scenarios, until, until_suspended, until_watching};

scenarios! {
    connections_that_break_anywhere_harm_nobody
    a_node_whose_creation_was_not_answered_is_adopted
    a_node_whose_creation_was_not_answered_is_removed_when_nobody_waits
    a_release_that_was_not_answered_is_done_once
    a_reply_torn_at_any_byte_is_got_over
    a_hand_over_that_happened_in_between_is_noticed
    a_connection_that_only_hangs_is_left_in_time
}

async fn connections_that_break_anywhere_harm_nobody(world: &World) {
    const CLIENTS: usize = 4;
    const ACQUIRES: usize = 50;
    let proxy = world.proxy().await;
    // Enough for a handshake and what was waiting for it, so that there is some progress each time; otherwise a cut
    // may come within any frame, of either direction.
    proxy.break_after(Dice::new(), 400..3000);
    let inside = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(Mutex::new(None::<Token>));
    let mut tasks = Vec::new();
    for _ in 0..CLIENTS {
        let client = proxy.connector().max_backoff(Duration::from_millis(2)).connect().await.unwrap();
        let (inside, last) = (inside.clone(), last.clone());
        let lock = Lock::new(client, world.path());
        tasks.push(tokio::spawn(async move {
            for round in 0..ACQUIRES {
                let guard = lock.acquire().await.unwrap();
                assert!(guard.is_valid());
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "overlap");
                let before = last.lock().await.replace(guard.token());
                assert!(before < Some(guard.token()), "tokens increase");
                tokio::task::yield_now().await;
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1, "overlap");
                if round % 2 == 0 {
                    guard.release().await.unwrap();
                }
            }
            lock
        }));
    }
    let locks = try_join_all(tasks).await.unwrap();
    let breaks = proxy.breaks();
    println!("{breaks} connections broke");
    assert!(breaks > 20, "only {breaks} connections broke");
    proxy.stop_breaking();
    // With the sessions still open: no node is left to be taken along by their end.
    let client = world.connect().await;
    world.until_empty(&client).await;
    drop(locks);
}

async fn a_node_whose_creation_was_not_answered_is_adopted(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    lock.acquire().await.unwrap().release().await.unwrap();
    let other = world.connect().await;

    proxy.lose_replies_after(0);
    let waiting = tokio::spawn(async move { lock.acquire().await });
    proxy.until_lost().await;
    world.until_in_line(&other, 1).await;
    let made = world.line(&other).await;
    proxy.pass_replies();
    proxy.cut();
    let guard = waiting.await.unwrap().unwrap();
    assert_eq!(made, [guard.path().name()], "the node that was made");
    assert_eq!(world.line(&other).await, made, "and no other");
    guard.multi(Vec::new()).await.unwrap();
    guard.release().await.unwrap();
    assert!(world.line(&other).await.is_empty());
}

async fn a_node_whose_creation_was_not_answered_is_removed_when_nobody_waits(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    lock.acquire().await.unwrap().release().await.unwrap();
    let other = world.connect().await;

    proxy.lose_replies_after(0);
    let mut wait = Box::pin(lock.acquire());
    assert!(is_pending(&mut wait).await);
    world.until_in_line(&other, 1).await;
    // Given up before anything is known of the node; the session, and with it the node, would live on.
    drop(wait);
    proxy.pass_replies();
    proxy.cut();
    world.until_empty(&other).await;
    assert!(client.counters().connects == 2, "in the same session");
}

async fn a_release_that_was_not_answered_is_done_once(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let other = world.lock().await;
    for is_awaited in [true, false] {
        let guard = lock.acquire().await.unwrap();
        let next = other.enqueue().await.unwrap();
        proxy.lose_replies_after(0);
        let release = if is_awaited {
            Some(tokio::spawn(guard.release()))
        } else {
            drop(guard);
            None
        };
        proxy.until_lost().await;
        let next = next.await.unwrap();
        proxy.pass_replies();
        proxy.cut();
        if let Some(release) = release {
            release.await.unwrap().unwrap();
        }
        client.exists(&world.path()).await.ok();
        // What was repeated after the reconnect has not hit the next one.
        next.multi(Vec::new()).await.unwrap();
        next.release().await.unwrap();
    }
    lock.acquire().await.unwrap().release().await.unwrap();
    world.until_empty(&world.connect().await).await;
}

async fn a_reply_torn_at_any_byte_is_got_over(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().max_backoff(Duration::from_millis(2)).connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    lock.acquire().await.unwrap().release().await.unwrap();
    let other = world.connect().await;
    // The replies to a create and a look are some 250 bytes, those to the search after a reconnect some more.
    for bytes in (0..600).step_by(13) {
        proxy.lose_replies_after(bytes);
        let lock = lock.clone();
        let mut cycle = tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            let name = guard.path().name().to_owned();
            guard.release().await.unwrap();
            name
        });
        // Where there is nothing to be lost the cycle ends by itself.
        let name = tokio::select! {
            name = &mut cycle => name,
            () = proxy.until_lost() => {
                proxy.pass_replies();
                proxy.cut();
                cycle.await
            }
        };
        assert!(name.unwrap().starts_with("lock-"));
        proxy.pass_replies();
        // Whoever was cut between two cycles would be in the middle of a frame.
        proxy.cut();
        world.until_empty(&other).await;
    }
}

async fn a_hand_over_that_happened_in_between_is_noticed(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let other = world.lock().await;
    for round in 0..10 {
        let holder = other.acquire().await.unwrap();
        let mut wait = Box::pin(lock.acquire());
        until_watching(&client, &mut wait).await;
        proxy.down();
        until_suspended(&client).await;
        // Either as the holder leaves, or as any other node is removed.
        if round % 2 == 0 {
            holder.release().await.unwrap();
        } else {
            let path = holder.path().clone();
            let admin = world.connect().await;
            admin.delete(&path, herdless::Version::ANY).await.unwrap();
        }
        // While nobody is connected to hear of it.
        assert!(is_pending(&mut wait).await);
        proxy.up();
        wait.await.unwrap().release().await.unwrap();
    }
}

async fn a_connection_that_only_hangs_is_left_in_time(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().session_timeout(Duration::from_secs(6)).connect().await.unwrap();
    let node = world.beside("node");
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    proxy.pause();
    // Nothing is refused and nothing is closed; silence is all there is to notice it by.
    until("the silence to be noticed", async || {
        (herdless::Client::session(&client).state() != herdless::SessionState::Connected).then_some(())
    })
    .await;
    // In time for another connection: the session still has a third of its life.
    proxy.cut();
    proxy.resume();
    until("the next connection", async || (client.counters().connects == 2).then_some(())).await;
    let stat = client.exists(&node).await.unwrap();
    assert!(stat.is_some(), "the same session");
}
