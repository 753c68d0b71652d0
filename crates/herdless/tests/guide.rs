//! The code of `docs/TESTING.md`, and a check that it is the same there.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::time::Duration;

use herdless::core::Request;
use herdless::testing::shuttle::rand::{Rng, thread_rng};
use herdless::testing::{
    Count, LoomLocks, LoomServer, ManualTime, MemoryClient, MemoryServer, Model, Schedules, ShuttleServer, Tampered,
    block_on, loom, poll_times, shuttle, sound,
};
use herdless::{Client, ClientExt, CreateMode, Error, Lock, MultiOp, NodePath, Time, Version};

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

/// Adds one to the number at /count, one process at a time.
async fn add_one<C: Client + Clone + 'static>(client: &C) -> Result<(), Error> {
    let guard = Lock::new(client.clone(), path("/lock")).acquire().await?;
    let count = count(client).await?;
    // Refused if the lock was lost meanwhile.
    guard.multi(vec![MultiOp::set(&path("/count"), (count + 1).to_string(), Version::ANY)]).await?;
    Ok(())
}

async fn count(client: &impl Client) -> Result<u64, Error> {
    let (data, _) = client.get(&path("/count")).await?;
    Ok(std::str::from_utf8(&data).unwrap().parse().unwrap())
}

async fn set_up(client: &impl Client) {
    client.create(&path("/lock"), "", CreateMode::Container).await.unwrap();
    client.create(&path("/count"), "0", CreateMode::Persistent).await.unwrap();
}

#[tokio::test]
async fn adds_one_although_somebody_else_has_the_lock_and_dies() {
    let server = MemoryServer::new();
    let (client, other) = (server.connect(), server.connect());
    set_up(&client).await;
    let _held = Lock::new(other.clone(), path("/lock")).acquire().await.unwrap();
    let adding = tokio::spawn(async move { add_one(&client).await });
    // It waits when two nodes stand in line.
    while server.inspect(|tree| tree.stat(&path("/lock")).unwrap().num_children) < 2 {
        tokio::task::yield_now().await;
    }
    server.expire(&other);
    adding.await.unwrap().unwrap();
    assert_eq!(count(&server.connect()).await, Ok(1));
}

#[test]
fn two_add() {
    let waited = Count::default();
    let waited_in = waited.clone();
    Model::new("two_add").check(move || {
        let server = LoomServer::with_locks();
        let (mine, other) = (server.connect(), server.connect());
        block_on(set_up(&mine));
        let thread = loom::thread::spawn(move || block_on(add_one(&other)).unwrap());
        block_on(add_one(&mine)).unwrap();
        thread.join().unwrap();
        assert_eq!(block_on(count(&mine)), Ok(2));
        waited_in.add(server.wake_ups() > 0);
    });
    waited.assert_reached("one waits for the other");
}

/// The session of one ends at any point: its write must not undo that of the other.
fn session_ends<C: Client + Clone + 'static>(name: &str, wrap: fn(MemoryClient<LoomLocks>) -> C) {
    let refused = Count::default();
    let refused_in = refused.clone();
    Model::new(name).check(move || {
        let server = LoomServer::with_locks();
        let (mine, other) = (server.connect(), server.connect());
        block_on(set_up(&other));
        let (its_server, victim) = (server.clone(), mine.clone());
        let thread = loom::thread::spawn(move || {
            its_server.expire(&victim);
            block_on(add_one(&wrap(other))).unwrap();
        });
        let added = block_on(add_one(&wrap(mine))).is_ok();
        thread.join().unwrap();
        refused_in.add(!added);
        assert_eq!(block_on(count(&server.connect())), Ok(1 + u64::from(added)), "as many as were told so");
    });
    refused.assert_reached("the session ends before the write");
}

#[test]
fn session_ends_at_any_point() {
    session_ends("session_ends_at_any_point", |client| client);
}

#[test]
#[should_panic(expected = "as many as were told so")]
fn planted_no_check_of_the_lock() {
    session_ends("planted_no_check_of_the_lock", |client| {
        Tampered::new(client, |client, mut request| {
            if let Request::Multi(multi) = &mut request {
                // In this session alone, and while the lock's node is there: neither.
                multi.session = None;
                multi.operations[0] = MultiOp::check(&path("/count"), Version::ANY);
            }
            sound(client, request)
        })
    });
}

#[test]
fn reply_lost_at_any_point() {
    let uncertain = Count::default();
    for replies in 0..8 {
        let uncertain = uncertain.clone();
        Model::new(format!("reply_lost_at_any_point/{replies}")).check(move || {
            let server = LoomServer::with_locks();
            let (mine, other) = (server.connect(), server.connect());
            block_on(set_up(&other));
            server.lose_reply_after(&mine, replies);
            let thread = loom::thread::spawn(move || block_on(add_one(&other)).unwrap());
            let outcome = block_on(add_one(&mine));
            thread.join().unwrap();
            let count = block_on(count(&server.connect())).unwrap();
            match outcome {
                Ok(()) => assert_eq!(count, 2),
                Err(Error::ConnectionLost) => assert!(count == 1 || count == 2, "{count}"),
                Err(error) => panic!("{error}"),
            }
            uncertain.add(outcome.is_err());
        });
    }
    uncertain.assert_reached("it is not known whether one was added");
}

#[test]
fn cancelled_at_any_point() {
    let (cancelled, added) = (Count::default(), Count::default());
    for polls in 0..10 {
        let (cancelled, added) = (cancelled.clone(), added.clone());
        Model::new(format!("cancelled_at_any_point/{polls}")).preemption_bound(3).check(move || {
            let server = LoomServer::with_locks();
            let (mine, other) = (server.connect(), server.connect());
            block_on(set_up(&other));
            server.delay_replies(&mine);
            let thread = loom::thread::spawn(move || block_on(add_one(&other)).unwrap());
            let outcome = poll_times(polls, add_one(&mine));
            thread.join().unwrap();
            cancelled.add(outcome.is_none());
            added.add(outcome == Some(Ok(())));
            // Nobody waits for a lock that nobody holds.
            server.inspect(|tree| assert_eq!(tree.stat(&path("/lock")).unwrap().num_children, 0));
        });
    }
    cancelled.assert_reached("it is dropped before its end");
    added.assert_reached("it ends before it is dropped");
}

#[test]
fn eight_add() {
    let refused = Count::default();
    let refused_in = refused.clone();
    Schedules::new("eight_add").iterations(2_000).check(move || {
        let server = ShuttleServer::with_locks();
        shuttle::future::block_on(set_up(&server.connect()));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (server, client) = (server.clone(), server.connect());
                shuttle::thread::spawn(move || {
                    let victim = client.clone();
                    let ends = thread_rng().gen_bool(0.3);
                    let end = ends.then(|| shuttle::thread::spawn(move || server.expire(&victim)));
                    let added = shuttle::future::block_on(add_one(&client)).is_ok();
                    end.into_iter().for_each(|thread| thread.join().unwrap());
                    added
                })
            })
            .collect();
        let added = threads.into_iter().map(|thread| u64::from(thread.join().unwrap())).sum();
        assert_eq!(shuttle::future::block_on(count(&server.connect())), Ok(added));
        refused_in.add(added < 8);
    });
    refused.assert_reached("a session ends before the write");
}

/// Adds one every minute.
async fn keep_adding<C: Client + Clone + 'static>(client: &C, time: &impl Time) -> Result<(), Error> {
    loop {
        add_one(client).await?;
        time.sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test]
async fn adds_one_every_minute() {
    let (server, time) = (MemoryServer::new(), ManualTime::new());
    let (client, clock) = (server.connect(), time.clone());
    set_up(&client).await;
    let adding = tokio::spawn(async move { keep_adding(&client, &clock).await });
    for minutes in 1..=3 {
        while time.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(count(&server.connect()).await, Ok(minutes));
        time.advance(Duration::from_secs(60));
    }
    adding.abort();
}

/// Every piece of Rust in the guide is in this file, word for word.
#[test]
fn the_guide_has_this_code() {
    let (guide, here) = (include_str!("../../../docs/TESTING.md"), include_str!("guide.rs"));
    let pieces: Vec<_> = guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(pieces.len() > 5, "{} pieces", pieces.len());
    for piece in pieces {
        assert!(here.contains(piece), "not in guide.rs:\n{piece}");
    }
}
