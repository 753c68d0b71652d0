//! What a guard knows, and what it can do while it is held.

use std::time::Duration;

use herdless::{
    Client, ClientExt, CreateMode, Error, Lock, LockGuard, MultiOp, Refusal, SessionState, TokioClient, Version,
};

use crate::support::{Proxy, World, connector, is_pending, run, scenarios, until};

scenarios! {
    guarded_writes_work_while_the_lock_is_held
    a_guarded_write_names_the_operation_that_was_refused
    a_guarded_write_is_refused_on_another_node_of_the_same_name
    a_guarded_write_is_refused_on_another_node_after_earlier_writes
    a_guarded_write_is_refused_once_the_node_is_gone
    a_lost_guard_knows_before_anybody_else_holds
    a_lost_guard_can_do_no_harm
    a_guard_that_is_cut_off_for_a_moment_stays_valid
}

async fn guarded_writes_work_while_the_lock_is_held(world: &World) {
    let client = world.connect().await;
    let note = world.beside("note");
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    let made = guard.multi(vec![MultiOp::create(&note, "0", CreateMode::Persistent)]).await.unwrap();
    assert_eq!(made.len(), 1, "the guard's own check is not told");
    for round in 1..5 {
        let replies = guard
            .multi(vec![
                MultiOp::set(&note, round.to_string(), Version(round - 1)),
                MultiOp::check(&note, Version(round)),
            ])
            .await
            .unwrap();
        assert_eq!(replies.len(), 2);
    }
    assert_eq!(client.get(&note).await.unwrap().0, "4");
    // None at all is a question: is the lock still mine?
    assert!(guard.multi(Vec::new()).await.unwrap().is_empty());
    guard.release().await.unwrap();
}

async fn a_guarded_write_names_the_operation_that_was_refused(world: &World) {
    let client = world.connect().await;
    let note = world.beside("note");
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    let create = MultiOp::create(&note, "", CreateMode::Persistent);
    let error = guard.multi(vec![create, MultiOp::check(&note, Version(7))]).await.unwrap_err();
    let refusal = Refusal::BadVersion;
    assert_eq!(error, Error::MultiRefused { index: 1, refusal });
    assert!(guard.is_valid(), "that says nothing about the lock");
    assert!(client.exists(&note).await.unwrap().is_none(), "all or none");
}

/// Takes the guard's node away and makes another of the same name: what an administrator does, or a server that has
/// removed the empty directory and numbers anew.
async fn replace(world: &World, guard: &LockGuard<TokioClient>) -> TokioClient {
    let other = world.connect().await;
    other.delete(guard.path(), Version::ANY).await.unwrap();
    other.create(guard.path(), "another's", CreateMode::Ephemeral).await.unwrap();
    other
}

/// A guarded write that must not happen; the error.
async fn forbidden(world: &World, guard: &LockGuard<TokioClient>) -> Error {
    let note = world.beside("forbidden");
    let create = MultiOp::create(&note, "", CreateMode::Persistent);
    let error = guard.multi(vec![create]).await.unwrap_err();
    let client = world.connect().await;
    client.sync(&note).await.unwrap();
    assert!(client.exists(&note).await.unwrap().is_none());
    error
}

async fn a_guarded_write_is_refused_on_another_node_of_the_same_name(world: &World) {
    let guard = world.lock().await.acquire().await.unwrap();
    let _other = replace(world, &guard).await;
    let error = forbidden(world, &guard).await;
    assert_eq!(error, Error::Refused(Refusal::NoNode));
}

async fn a_guarded_write_is_refused_on_another_node_after_earlier_writes(world: &World) {
    let client = world.connect().await;
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    guard.multi(Vec::new()).await.unwrap();
    let _other = replace(world, &guard).await;
    // The event of the change is here before the answer to anything that was asked after it.
    client.exists(&world.path()).await.unwrap();
    let error = forbidden(world, &guard).await;
    assert_eq!(error, Error::Refused(Refusal::NoNode));
}

async fn a_guarded_write_is_refused_once_the_node_is_gone(world: &World) {
    let (first, second) = (world.lock().await.acquire().await.unwrap(), world.connect().await);
    first.multi(Vec::new()).await.unwrap();
    second.delete(first.path(), Version::ANY).await.unwrap();
    // Here the check itself says no, whether the event was heard of or not.
    let error = forbidden(world, &first).await;
    assert_eq!(error, Error::Refused(Refusal::NoNode));
    assert_eq!(first.release().await, Err(Error::Refused(Refusal::NoNode)), "lost before");
}

/// A guard whose session can be ended.
async fn cut_off(world: &World) -> (Proxy, TokioClient, LockGuard<TokioClient>) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    (proxy, client, guard)
}

async fn a_lost_guard_knows_before_anybody_else_holds(world: &World) {
    let (proxy, _client, guard) = cut_off(world).await;
    let other = world.lock().await;
    let mut next = Box::pin(other.acquire());
    assert!(is_pending(&mut next).await);
    assert!(guard.is_valid());
    let mut lost = Box::pin(guard.lost());
    assert!(is_pending(&mut lost).await);

    proxy.down();
    let next = next.await.unwrap();
    assert!(!guard.is_valid(), "two holders");
    assert!(next.is_valid());
    lost.await;
    assert_eq!(guard.session().state(), SessionState::Lost);
    assert!(next.token() > guard.token());
}

async fn a_lost_guard_can_do_no_harm(world: &World) {
    let (proxy, client, guard) = cut_off(world).await;
    let old = guard.session().id();
    proxy.down();
    guard.lost().await;
    let other = world.lock().await;
    let next = other.acquire().await.unwrap();
    proxy.up();
    until("a new session", async || (client.session().state() == SessionState::Connected).then_some(())).await;
    assert_ne!(client.session().id(), old);
    assert!(!guard.is_valid(), "a later session holds nothing");

    let error = forbidden(world, &guard).await;
    assert!(matches!(error, Error::Refused(Refusal::NoNode) | Error::SessionExpired), "{error}");
    assert_eq!(guard.release().await, Err(Error::SessionExpired));
    next.multi(Vec::new()).await.unwrap();
    next.release().await.unwrap();
}

async fn a_guard_that_is_cut_off_for_a_moment_stays_valid(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    let mut lost = Box::pin(guard.lost());
    let session = guard.session().id();
    for connects in 1..4 {
        guard.multi(Vec::new()).await.unwrap();
        proxy.cut();
        until("the next connection", async || (client.counters().connects > connects).then_some(())).await;
        assert!(guard.is_valid());
        assert!(is_pending(&mut lost).await);
    }
    guard.multi(Vec::new()).await.unwrap();
    assert_eq!(client.session().id(), session);
    guard.release().await.unwrap();
}

/// What a process is that was stopped, or whose thread is kept busy: nothing of the client runs, no ping leaves, and no
/// end of the session is heard of. The guard is asked all the same, and knows by the clock alone.
fn stall(world: impl AsyncFnOnce() -> Option<World>) {
    let others = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let Some(world) = others.block_on(world()) else { return };
    // It runs only while something is waited for in it.
    let stalled = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = stalled.block_on(async {
        let connector = connector(&world.address).session_timeout(Duration::from_secs(2));
        let lock = Lock::new(connector.connect().await.unwrap(), world.path());
        lock.acquire().await.unwrap()
    });
    others.block_on(run(&world, async |world: &World| {
        let next = world.lock().await.acquire().await.unwrap();
        assert!(!guard.is_valid(), "two holders");
        assert!(next.is_valid());
        assert_eq!(guard.session().state(), SessionState::Connected, "it has heard nothing");
    }));
}

#[test]
fn embedded_a_guard_turns_invalid_though_nothing_of_its_client_runs() {
    stall(async || Some(World::embedded("stalled").await));
}

#[test]
fn zookeeper_a_guard_turns_invalid_though_nothing_of_its_client_runs() {
    stall(async || World::zookeeper("stalled"));
}
