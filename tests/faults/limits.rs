//! Too much of something.

use herdless::{ClientExt, CreateMode, Error, Lock, Version};

use crate::support::{World, is_pending, scenarios, until, until_suspended};

scenarios! {
    data_that_is_too_large_is_refused_before_it_is_sent
    a_reply_that_is_too_large_is_one_requests_error
    too_many_requests_are_refused_and_releases_are_not
    what_the_largest_frame_holds_goes_through
    who_waits_for_room_is_never_refused
    twenty_thousand_watches_on_long_paths_survive_a_reconnect
}

async fn data_that_is_too_large_is_refused_before_it_is_sent(world: &World) {
    let client = world.connect().await;
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    let note = world.beside("note");
    let before = client.counters();
    let create = client.create(&note, vec![0; 1 << 20], CreateMode::Persistent);
    let error = create.await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "request", length: 1_048_576.., limit: ..1_048_576 }), "{error}");
    let after = client.counters();
    assert_eq!(after.bytes_out, before.bytes_out, "nothing was sent");
    // What waits beside it has not noticed.
    client.create(&note, "small", CreateMode::Persistent).await.unwrap();
    assert_eq!(client.counters().connects, 1);
    guard.release().await.unwrap();
}

async fn what_the_largest_frame_holds_goes_through(world: &World) {
    let client = world.connect().await;
    let note = world.beside("note");
    let data = vec![7; (1 << 20) - 1024];
    client.create(&note, data.clone(), CreateMode::Persistent).await.unwrap();
    assert_eq!(client.get(&note).await.unwrap().0, data);
    client.delete(&note, Version::ANY).await.unwrap();
    assert_eq!(client.counters().connects, 1);
}

async fn a_reply_that_is_too_large_is_one_requests_error(world: &World) {
    let proxy = world.proxy().await;
    let small = proxy.connector().max_reply(4096).connect().await.unwrap();
    let client = world.connect().await;
    client.create(&world.path(), "", CreateMode::Persistent).await.unwrap();
    let names = (0..100).map(|i| world.path().child(&format!("{i:0>100}")).unwrap());
    let created: Vec<_> = names.map(|path| client.create(&path, "", CreateMode::Ephemeral)).collect();
    for created in created {
        created.await.unwrap();
    }

    // Beside others that leave together with it.
    let (before, large, after) =
        (small.exists(&world.path()), small.children(&world.path()), small.exists(&world.path()));
    let stat = before.await.unwrap().unwrap();
    assert_eq!(stat.num_children, 100);
    let error = large.await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "reply", length: 10_000.., limit: 4096 }), "{error}");
    assert_eq!(after.await.unwrap().unwrap(), stat);
    assert_eq!(small.counters().connects, 1);
    assert_eq!(client.children(&world.path()).await.unwrap().0.len(), 100);
}

async fn too_many_requests_are_refused_and_releases_are_not(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().max_in_flight(4).connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let guard = lock.acquire().await.unwrap();
    let (waiting, other) = (lock.enqueue().await.unwrap(), Lock::new(world.connect().await, world.path()));
    proxy.pause();
    let requests: Vec<_> = (0..4).map(|_| client.exists(&world.path())).collect();
    for _ in 0..3 {
        assert_eq!(client.exists(&world.path()).await.unwrap_err(), Error::Overloaded);
    }
    assert_eq!(lock.acquire().await.unwrap_err(), Error::Overloaded);
    assert_eq!(lock.try_acquire().await.unwrap_err(), Error::Overloaded);
    let mut release = Box::pin(guard.release());
    assert!(is_pending(&mut release).await, "accepted, not answered");
    drop(waiting);

    proxy.resume();
    release.await.unwrap();
    for request in requests {
        request.await.unwrap();
    }
    let client = world.connect().await;
    until("nobody in line", async || other.contenders().await.unwrap().is_empty().then_some(())).await;
    world.until_empty(&client).await;
    lock.acquire().await.unwrap().release().await.unwrap();
}

async fn who_waits_for_room_is_never_refused(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().max_in_flight(4).connect().await.unwrap();
    proxy.pause();
    let held: Vec<_> = (0..4).map(|_| client.exists(&world.path())).collect();
    let mut ready = Box::pin(client.ready());
    assert!(is_pending(&mut ready).await);
    // Many more than there is room for, and some who give up while they wait.
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (client, path) = (client.clone(), world.path());
            tokio::spawn(async move {
                loop {
                    client.ready().await.unwrap();
                    match client.exists(&path).await {
                        Err(Error::Overloaded) => {}
                        outcome => return outcome,
                    }
                }
            })
        })
        .collect();
    for given_up in tasks.iter().step_by(7) {
        given_up.abort();
    }
    proxy.resume();
    ready.await.unwrap();
    for call in held {
        call.await.unwrap();
    }
    for task in tasks {
        match task.await {
            Ok(outcome) => assert_eq!(outcome, Ok(None)),
            Err(gone) => assert!(gone.is_cancelled()),
        }
    }
    let late = client.ready();
    client.close().await.unwrap();
    assert_eq!(late.await, Err(Error::Closed));
}

async fn twenty_thousand_watches_on_long_paths_survive_a_reconnect(world: &World) {
    const WATCHES: usize = 20_000;
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let path = |i: usize| world.beside(&format!("{i:0>200}"));
    let mut calls = Vec::new();
    // One frame of all of them would be four times as long as a server reads.
    for i in 0..WATCHES {
        client.ready().await.unwrap();
        calls.push(client.exists_and_watch(&path(i)));
    }
    let mut watches = Vec::new();
    for call in calls {
        watches.push(call.await.unwrap().1);
    }
    let before = client.counters();
    assert_eq!(before.connects, 1);

    proxy.down();
    until_suspended(&client).await;
    let other = world.connect().await;
    other.create(&path(7), "", CreateMode::Ephemeral).await.unwrap();
    proxy.up();
    client.exists(&path(7)).await.unwrap().unwrap();
    let after = client.counters();
    assert_eq!(after.connects, 2, "nobody has hung up because of them");
    let (requests, bytes) = (after.requests - before.requests - 1, after.bytes_out - before.bytes_out);
    println!("{requests} requests, {bytes} bytes");
    assert!(requests >= bytes / (128 * 1024), "at most 128 KiB each");
    assert!(bytes > WATCHES as u64 * 200);
    for at in (0..WATCHES).step_by(997) {
        other.create(&path(at), "", CreateMode::Ephemeral).await.unwrap();
    }
    for (at, watch) in watches.into_iter().enumerate() {
        if at == 7 || at % 997 == 0 {
            assert_eq!(watch.await.unwrap().path, path(at));
        }
    }
    assert_eq!(client.counters().connects, 2);
}
