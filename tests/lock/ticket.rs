//! Places in line, and trying without one.

use herdless::{Client, ClientExt};

use crate::support::{World, is_pending, scenarios};

scenarios! {
    a_ticket_tells_how_many_are_ahead
    a_ticket_dropped_in_the_middle_disturbs_nobody
    the_first_ticket_needs_no_wait
    trying_takes_a_free_lock
    trying_does_not_wait_for_a_taken_lock
    a_dropped_guard_releases_without_a_runtime
}

async fn a_ticket_tells_how_many_are_ahead(world: &World) {
    let (lock, other) = (world.lock().await, world.lock().await);
    let mut tickets = Vec::new();
    for ahead in 0..5 {
        let ticket = [&lock, &other][ahead % 2].enqueue().await.unwrap();
        assert_eq!(ticket.ahead() as usize, ahead);
        tickets.push(ticket);
    }
    let client = world.connect().await;
    assert_eq!(world.line(&client).await.len(), 5);
    drop(tickets);
    world.until_empty(&client).await;
    assert_eq!(lock.enqueue().await.unwrap().ahead(), 0);
}

async fn a_ticket_dropped_in_the_middle_disturbs_nobody(world: &World) {
    let (first, second) = (world.lock().await, world.lock().await);
    let client = world.connect().await;
    let third = herdless::Lock::new(client.clone(), world.path());
    let holder = first.acquire().await.unwrap();
    let middle = second.enqueue().await.unwrap();
    let last = third.enqueue().await.unwrap();
    let token = last.token();
    let mut last = Box::pin(last.wait());
    assert!(is_pending(&mut last).await);

    drop(middle);
    world.until_in_line(&client, 2).await;
    // The one that was watched is gone, so the last looks for another, and finds the holder.
    for _ in 0..5 {
        client.exists(&world.path()).await.unwrap();
        assert!(is_pending(&mut last).await, "the lock is held");
    }

    holder.release().await.unwrap();
    assert_eq!(last.await.unwrap().token(), token);
}

async fn the_first_ticket_needs_no_wait(world: &World) {
    let lock = world.lock().await;
    let ticket = lock.enqueue().await.unwrap();
    assert_eq!(ticket.ahead(), 0);
    let path = ticket.path().clone();
    let mut granted = Box::pin(ticket.wait());
    let std::task::Poll::Ready(guard) = futures::poll!(granted.as_mut()) else {
        panic!("a first ticket has nothing to wait for");
    };
    assert_eq!(guard.unwrap().path(), &path);
}

async fn trying_takes_a_free_lock(world: &World) {
    let lock = world.lock().await;
    for _ in 0..3 {
        let guard = lock.try_acquire().await.unwrap().expect("it is free");
        assert!(guard.is_valid());
        guard.release().await.unwrap();
    }
}

async fn trying_does_not_wait_for_a_taken_lock(world: &World) {
    let (lock, other) = (world.lock().await, world.lock().await);
    let guard = lock.acquire().await.unwrap();
    let before = world.line(&world.connect().await).await;
    for lock in [&lock, &other] {
        assert!(lock.try_acquire().await.unwrap().is_none());
    }
    let client = world.connect().await;
    assert_eq!(world.line(&client).await, before, "nothing was written");
    guard.release().await.unwrap();
    assert!(other.try_acquire().await.unwrap().is_some());
}

async fn a_dropped_guard_releases_without_a_runtime(world: &World) {
    let lock = world.lock().await;
    let guard = lock.acquire().await.unwrap();
    let session = guard.session().id();
    assert_eq!(session, lock.holders().await.unwrap()[0].session);
    // A thread that no runtime knows, as a destructor may run on.
    std::thread::scope(|scope| {
        scope.spawn(move || drop(guard)).join().unwrap();
    });
    let other = world.connect().await;
    assert_ne!(other.session().id(), session);
    world.until_empty(&other).await;
    drop(herdless::Lock::new(other, world.path()).acquire().await.unwrap());
}
