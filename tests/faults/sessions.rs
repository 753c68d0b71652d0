//! Sessions that end while somebody waits or holds.

use herdless::{Client, ClientExt, CreateMode, Error, Lock, MultiOp, NodePath, Refusal, Version};

use crate::support::{World, is_pending, scenarios, until, until_suspended, until_watching};

scenarios! {
    a_wait_begins_again_at_the_end_when_its_session_expires
    a_ticket_ends_with_its_session
    an_expired_holder_is_followed_by_the_next_in_line
    requests_of_a_lost_session_are_told_so
    idle_sessions_live_on
    a_wait_whose_node_was_taken_away_ends
    a_wait_whose_line_was_replaced_while_cut_off_does_not_hold
}

async fn a_wait_begins_again_at_the_end_when_its_session_expires(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let session = client.session();
    let other = world.connect().await;
    let lock = Lock::new(other.clone(), world.path());
    let holder = lock.acquire().await.unwrap();
    let unlucky = Lock::new(client.clone(), world.path());
    let waiter = tokio::spawn(async move { unlucky.acquire().await });
    world.until_in_line(&other, 2).await;
    let behind = lock.enqueue().await.unwrap();
    assert_eq!(behind.ahead(), 2);

    proxy.down();
    session.lost().await;
    proxy.up();
    // Whether the server knows by then or not.
    until("the new place, and the end of the old one", async || {
        let line = lock.contenders().await.unwrap();
        let is_new = line.len() == 3 && line.iter().all(|one| one.session != session.id());
        is_new.then_some(())
    })
    .await;
    let line = lock.contenders().await.unwrap();
    assert_eq!(line[0].token, holder.token());
    assert_eq!(line[1].token, behind.token(), "who stayed comes first");
    assert_eq!(line[2].session, client.session().id());
    assert!(!waiter.is_finished());

    holder.release().await.unwrap();
    let behind = behind.await.unwrap();
    client.exists(&world.path()).await.unwrap();
    assert!(!waiter.is_finished(), "two holders");
    behind.release().await.unwrap();
    let guard = waiter.await.unwrap().unwrap();
    assert!(guard.is_valid());
    assert_eq!(guard.token(), line[2].token);
}

async fn a_ticket_ends_with_its_session(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let holder = world.lock().await.acquire().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let (waiting, idle) = (lock.enqueue().await.unwrap(), lock.enqueue().await.unwrap());
    let mut waiting = Box::pin(waiting.wait());
    until_watching(&client, &mut waiting).await;
    proxy.down();
    assert_eq!(waiting.await.unwrap_err(), Error::SessionExpired);
    // One that begins to wait only now.
    proxy.up();
    assert_eq!(idle.await.unwrap_err(), Error::SessionExpired);
    world.until_in_line(&world.connect().await, 1).await;
    holder.release().await.unwrap();
}

async fn an_expired_holder_is_followed_by_the_next_in_line(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let holder = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    let other = world.connect().await;
    let lock = Lock::new(other.clone(), world.path());
    let tickets = [lock.enqueue().await.unwrap(), lock.enqueue().await.unwrap()];
    let tokens = tickets.each_ref().map(|ticket| ticket.token());
    let [next, last] = tickets;
    let mut last = Box::pin(last.wait());
    until_watching(&other, &mut last).await;
    proxy.down();
    let next = next.await.unwrap();
    assert!(!holder.is_valid());
    assert_eq!(next.token(), tokens[0]);
    other.exists(&world.path()).await.unwrap();
    assert!(is_pending(&mut last).await);
    next.release().await.unwrap();
    assert_eq!(last.await.unwrap().token(), tokens[1]);
}

async fn requests_of_a_lost_session_are_told_so(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let node = world.beside("node");
    let (_, watch) = client.exists_and_watch(&node).await.unwrap();
    let session = client.session();
    proxy.down();
    until("the connection to be missed", async || {
        matches!(client.exists(&node).await, Err(Error::SessionExpired)).then_some(())
    })
    .await;
    session.lost().await;
    assert_eq!(watch.await, Err(Error::SessionExpired), "once");
    // What is asked now is for the next session.
    let create = client.create(&node, "", CreateMode::Ephemeral);
    proxy.up();
    let created = create.await.unwrap();
    assert_eq!(created.stat.ephemeral_owner, client.session().id().0);
    assert_ne!(client.session().id(), session.id());
}

async fn idle_sessions_live_on(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.short_session().connect().await.unwrap();
    let session = client.session();
    let node = world.beside("node");
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    let start = tokio::time::Instant::now();
    let requests = client.counters().requests;
    // Nothing but pings, for twice as long as a session lasts without.
    until("two session timeouts", async || {
        assert!(session.is_valid());
        (start.elapsed() > 2 * session.timeout()).then_some(())
    })
    .await;
    assert_eq!(client.counters().requests, requests);
    let other = world.connect().await;
    let stat = other.exists(&node).await.unwrap().unwrap();
    assert_eq!(stat.ephemeral_owner, session.id().0);
}

/// As an administrator does who takes a stuck process out of the line. What contenders do not do to each other needs the
/// confirming mode: without it the one that was taken out would believe the hand-over beside its follower.
async fn a_wait_whose_node_was_taken_away_ends(world: &World) {
    let holder = world.lock().await.acquire().await.unwrap();
    let clients = [world.connect().await, world.connect().await];
    let mut waits = Vec::new();
    for client in &clients {
        let lock = Lock::builder(client.clone(), world.path()).confirm_hand_over(true).build();
        let ticket = lock.enqueue().await.unwrap();
        let path = ticket.path().clone();
        let mut wait = Box::pin(ticket.wait());
        until_watching(client, &mut wait).await;
        waits.push((path, wait));
    }
    let (last, removed) = (waits.pop().unwrap(), waits.pop().unwrap());
    let (_, mut last) = last;
    let (path, removed) = removed;
    let admin = world.connect().await;
    admin.delete(&path, Version::ANY).await.unwrap();
    // Its follower hears of it, and looks for another to wait for.
    until_watching(&clients[1], &mut last).await;
    holder.release().await.unwrap();
    let guard = last.await.unwrap();
    assert!(guard.is_valid());
    let error = removed.await.map(|second| second.is_valid()).expect_err("there is a holder, and it is another");
    assert_eq!(error, Error::Refused(Refusal::NoNode));
}

/// While a waiter is cut off, an administrator clears the directory, and others begin a new line in it with the same
/// numbers. What the waiter watched has "changed" then; but it was no hand-over, and its own place is gone.
async fn a_wait_whose_line_was_replaced_while_cut_off_does_not_hold(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let other = world.connect().await;
    let holder = Lock::new(other.clone(), world.path()).acquire().await.unwrap();
    let old = holder.path().clone();
    let ticket = Lock::new(client.clone(), world.path()).enqueue().await.unwrap();
    let own: NodePath = ticket.path().clone();
    let mut wait = Box::pin(ticket.wait());
    until_watching(&client, &mut wait).await;

    proxy.down();
    until_suspended(&client).await;
    let cleared = [&own, &old].map(|path| MultiOp::delete(path, Version::ANY));
    other.multi(cleared.into()).await.unwrap();
    let third = world.connect().await;
    third.create(&old, "a new line", CreateMode::Ephemeral).await.unwrap();
    proxy.up();
    let error = wait.await.map(|guard| guard.is_valid()).expect_err("its node is gone, and another is the first");
    assert_eq!(error, Error::Refused(Refusal::NoNode));
}
