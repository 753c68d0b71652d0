//! The read-write lock and the reentrant locks over the in-memory backend: what they cost, and what their methods say.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::task::Poll;

use futures::FutureExt;
use herdless_core::{ClientExt, CreateMode, Error, NodePath, Refusal, Version};
use herdless_memory::MemoryServer;
use herdless_recipes::{Layout, Lock, Owner, ReentrantLock, ReentrantRwLock, RwLock};

mod support;

use support::{Counting, paths, poll};

fn path() -> NodePath {
    NodePath::parse("/config").unwrap()
}

async fn used(server: &MemoryServer) -> (Counting, RwLock<Counting>) {
    let client = Counting::new(server);
    let lock = RwLock::new(client.clone(), path());
    drop(lock.write().await.unwrap());
    client.requests();
    (client, lock)
}

#[tokio::test]
async fn readers_beside_readers_cost_one_round_trip() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let _first = lock.read().await.unwrap();
    let _second = lock.read().await.unwrap();
    assert_eq!(client.requests(), ["create", "get_children", "create", "get_children"]);
    assert_eq!(lock.holders().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_free_lock_costs_a_writer_one_round_trip() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let guard = lock.write().await.unwrap();
    assert_eq!(client.requests(), ["create", "exists"]);
    drop(guard);
    assert_eq!(client.requests(), ["release"]);
}

#[tokio::test]
async fn a_writer_that_leaves_wakes_the_readers_behind_it_and_nobody_else() {
    let server = MemoryServer::new();
    let (_, lock) = used(&server).await;
    let writer = lock.write().await.unwrap();
    let mut clients = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let client = Counting::new(&server);
        let mut reader = {
            let lock = RwLock::new(client.clone(), path());
            async move { lock.read().await }
        }
        .boxed();
        assert!(poll(&mut reader).is_pending());
        assert_eq!(client.requests(), ["create", "get_children", "get_data"]);
        clients.push(client);
        readers.push(reader);
    }
    let mut second = lock.write().boxed();
    assert!(poll(&mut second).is_pending());
    let mut late = lock.read().boxed();
    assert!(poll(&mut late).is_pending());
    drop(writer);
    assert_eq!(server.wake_ups(), 20);
    let mut guards = Vec::new();
    for reader in &mut readers {
        let Poll::Ready(guard) = poll(reader) else { panic!("a reader right behind the writer waits") };
        guards.push(guard.unwrap());
    }
    assert!(clients.iter().all(|client| client.requests().is_empty()), "nothing is read");
    assert!(poll(&mut second).is_pending() && poll(&mut late).is_pending());

    // The last reader alone is watched, and it is told to nobody else.
    let last = guards.pop().unwrap();
    drop(guards);
    assert_eq!(server.wake_ups(), 20);
    drop(last);
    assert_eq!(server.wake_ups(), 21);
    let guard = second.await.unwrap();
    assert!(poll(&mut late).is_pending());
    drop(guard);
    assert!(poll(&mut late).is_ready());
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_proof_for_the_writer_behind_it() {
    let server = MemoryServer::new();
    let (_, lock) = used(&server).await;
    let (first, second) = (lock.read().await.unwrap(), lock.read().await.unwrap());
    let mut writer = lock.write().boxed();
    assert!(poll(&mut writer).is_pending());
    drop(second);
    assert!(poll(&mut writer).is_pending(), "the first reader is still there");
    drop(first);
    assert!(poll(&mut writer).is_ready());
}

#[tokio::test]
async fn a_downgrade_keeps_the_place_and_the_token() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let writer = lock.write().await.unwrap();
    let token = writer.token();
    let mut next_writer = lock.write().boxed();
    assert!(poll(&mut next_writer).is_pending());
    let mut reader = lock.read().boxed();
    assert!(poll(&mut reader).is_pending());
    client.requests();
    let downgraded = writer.downgrade().await.unwrap();
    assert_eq!(client.requests(), ["multi", "exists"], "one round trip");
    assert_eq!(downgraded.token(), token, "a later writer must have a greater one");
    assert!(poll(&mut next_writer).is_pending() && poll(&mut reader).is_pending(), "no writer gets in between");
    downgraded.release().await.unwrap();
    let guard = next_writer.await.unwrap();
    assert!(guard.token() > token);
    drop(guard);
    drop(reader.await.unwrap());
    assert_eq!(paths(&server), ["/config"]);
}

#[tokio::test]
async fn readers_right_behind_join_a_downgraded_writer() {
    let server = MemoryServer::new();
    let (_, lock) = used(&server).await;
    let writer = lock.write().await.unwrap();
    let mut reader = lock.read().boxed();
    assert!(poll(&mut reader).is_pending());
    let downgraded = writer.downgrade().await.unwrap();
    assert!(poll(&mut reader).is_ready());
    drop(downgraded);
    assert_eq!(paths(&server).len(), 1);
}

#[tokio::test]
async fn a_downgrade_of_a_lost_lock_says_so() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let guard = lock.write().await.unwrap();
    server.connect().delete(guard.path(), Version::ANY).await.unwrap();
    assert_eq!(guard.downgrade().await.unwrap_err(), Error::Refused(Refusal::NoNode));
    let guard = lock.write().await.unwrap();
    server.expire(&client.client);
    assert!(guard.downgrade().await.is_err());
    assert_eq!(paths(&server), ["/config"]);
}

#[tokio::test]
async fn a_downgrade_of_a_lost_lock_leaves_the_next_holder_of_the_name_alone() {
    let server = MemoryServer::new();
    let client = server.connect();
    let lost = RwLock::new(client.clone(), path()).write().await.unwrap();
    server.expire(&client);
    // Empty, the directory is removed, and its numbers begin anew.
    server.reap_containers();
    let holder = RwLock::new(server.connect(), path()).write().await.unwrap();
    assert_eq!(holder.path(), lost.path());
    assert_eq!(lost.downgrade().await.unwrap_err(), Error::SessionExpired);
    assert_eq!(paths(&server), ["/config", "/config/__WRIT__0000000000"]);
}

#[tokio::test]
async fn what_is_taken_is_told_by_one_read() {
    let server = MemoryServer::new();
    let (client, lock) = used(&server).await;
    let reader = lock.try_read().await.unwrap().unwrap();
    client.requests();
    assert!(lock.try_write().await.unwrap().is_none());
    assert_eq!(client.requests(), ["exists"]);
    let other = lock.try_read().await.unwrap().unwrap();
    assert_eq!(client.requests(), ["get_children", "create", "get_children"]);
    drop((reader, other));
    client.requests();
    let _writer = lock.try_write().await.unwrap().unwrap();
    client.requests();
    assert!(lock.try_read().await.unwrap().is_none());
    assert_eq!(client.requests(), ["get_children"]);
}

#[tokio::test]
async fn people_can_read_who_holds_and_who_waits() {
    let server = MemoryServer::new();
    let (_, lock) = used(&server).await;
    assert_eq!(lock.holders().await.unwrap(), []);
    let readers = (lock.read().await.unwrap(), lock.read().await.unwrap());
    let mut writer = lock.write().boxed();
    let mut late = lock.read().boxed();
    assert!(poll(&mut writer).is_pending() && poll(&mut late).is_pending());
    let shared = |contenders: Vec<herdless_recipes::Contender>| -> Vec<bool> {
        contenders.iter().map(|contender| contender.is_shared).collect()
    };
    assert_eq!(shared(lock.holders().await.unwrap()), [true, true]);
    assert_eq!(shared(lock.waiters().await.unwrap()), [false, true]);
    drop(readers);
    let _guard = writer.await.unwrap();
    assert_eq!(shared(lock.holders().await.unwrap()), [false]);
}

#[tokio::test]
async fn contenders_with_curators_and_kazoos_names_are_waited_for() {
    for (layout, write, read) in [
        (Layout::Curator, "_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-__WRIT__", "_c_a-__READ__"),
        (Layout::Kazoo, "5f1a8f247b5c4b3e8b538e2a4c7d9e10__lock__", "a__rlock__"),
    ] {
        let server = MemoryServer::new();
        let lock = RwLock::builder(server.connect(), path()).layout(layout).build();
        drop(lock.write().await.unwrap());
        let theirs = server.connect();
        let make = |name: &str| theirs.create(&path().child(name).unwrap(), "", CreateMode::EphemeralSequential);
        let reading = make(read).await.unwrap();
        let reader = lock.read().await.unwrap();
        let mut writer = lock.write().boxed();
        assert!(poll(&mut writer).is_pending());
        let writing = make(write).await.unwrap();
        let mut late = lock.read().boxed();
        assert!(poll(&mut late).is_pending());
        drop(reader);
        assert!(poll(&mut writer).is_pending(), "{layout:?}: their reader is still there");
        theirs.delete(&reading.path, Version::ANY).await.unwrap();
        drop(writer.await.unwrap());
        assert!(poll(&mut late).is_pending(), "{layout:?}: their writer is still there");
        theirs.delete(&writing.path, Version::ANY).await.unwrap();
        assert!(late.await.unwrap().is_valid());
    }
}

#[tokio::test]
async fn an_owner_takes_its_lock_again_without_a_request() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let lock = ReentrantLock::new(Lock::new(client.clone(), path()));
    let (owner, other) = (Owner::new(), Owner::new());
    let first = lock.acquire(owner).await.unwrap();
    client.requests();
    let (again, copy) = (lock.acquire(owner).await.unwrap(), first.clone());
    assert_eq!(client.requests(), [] as [&str; 0]);
    assert_eq!(again.token(), first.token());
    let mut waiting = lock.acquire(other).boxed();
    assert!(poll(&mut waiting).is_pending());
    drop(first);
    copy.release().await.unwrap();
    assert!(poll(&mut waiting).is_pending(), "held as long as one of the guards is there");
    again.release().await.unwrap();
    drop(waiting.await.unwrap());
    drop(lock.acquire(owner).await.unwrap());
    assert_eq!(paths(&server), ["/config"]);
}

#[tokio::test]
async fn calls_of_one_owner_take_one_place_in_line() {
    let server = MemoryServer::new();
    let lock = ReentrantLock::new(Lock::new(server.connect(), path()));
    let holder = lock.acquire(Owner::new()).await.unwrap();
    let owner = Owner::new();
    let mut calls: Vec<_> = (0..3).map(|_| lock.acquire(owner).boxed()).collect();
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    assert_eq!(paths(&server).len(), 3, "the directory, the holder, one waiter");
    // The one that stands in line gives up: another takes its turn.
    drop(calls.remove(0));
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    assert_eq!(paths(&server).len(), 3);
    drop(holder);
    let guards: Vec<_> = futures::future::try_join_all(calls).await.unwrap();
    assert_eq!(guards[0].token(), guards[1].token());
}

#[tokio::test]
async fn a_reader_that_asks_to_write_is_refused() {
    let server = MemoryServer::new();
    let client = Counting::new(&server);
    let lock = ReentrantRwLock::new(RwLock::new(client.clone(), path()));
    let owner = Owner::new();
    let reading = lock.read(owner).await.unwrap();
    client.requests();
    assert!(matches!(lock.write(owner).await, Err(Error::Invalid(_))));
    assert_eq!(client.requests(), [] as [&str; 0]);
    reading.release().await.unwrap();
    let writing = lock.write(owner).await.unwrap();
    let reading = lock.read(owner).await.unwrap();
    assert_eq!(reading.token(), writing.token());
    drop(writing);
    let mut other = lock.read(Owner::new()).boxed();
    assert!(poll(&mut other).is_pending(), "held for writing until its last guard goes");
    drop(reading);
    assert!(poll(&mut other).is_ready());
}

#[tokio::test]
async fn a_lost_hold_cannot_be_joined() {
    let server = MemoryServer::new();
    let client = server.connect();
    let lock = ReentrantLock::new(Lock::new(client.clone(), path()));
    let owner = Owner::new();
    let lost = lock.acquire(owner).await.unwrap();
    server.expire(&client);
    assert_eq!(lock.acquire(owner).await.unwrap_err(), Error::SessionExpired);
    drop(lost);
    assert!(lock.acquire(owner).await.unwrap().is_valid());
}
