//! Looking at a line from outside.

use herdless::{Client, ClientExt, CreateMode, Lock};

use crate::support::{World, scenarios};

scenarios! {
    a_line_of_nobody_is_empty
    everybody_in_line_is_listed_in_order
    the_owner_may_be_any_text
    what_is_no_contender_is_not_listed
}

async fn a_line_of_nobody_is_empty(world: &World) {
    let lock = world.lock().await;
    // Neither where there is no node at all ..
    assert!(lock.holders().await.unwrap().is_empty());
    assert!(lock.waiters().await.unwrap().is_empty());
    lock.acquire().await.unwrap().release().await.unwrap();
    // .. nor where there is one without children.
    assert!(lock.contenders().await.unwrap().is_empty());
}

async fn everybody_in_line_is_listed_in_order(world: &World) {
    let clients = [world.connect().await, world.connect().await, world.connect().await];
    let named =
        |place: usize| Lock::builder(clients[place].clone(), world.path()).owner(format!("party {place}")).build();
    let holder = named(0).acquire().await.unwrap();
    let (next, last) = (named(1).enqueue().await.unwrap(), named(2).enqueue().await.unwrap());

    let lock = world.lock().await;
    let contenders = lock.contenders().await.unwrap();
    for (place, contender) in contenders.iter().enumerate() {
        assert_eq!(contender.owner, format!("party {place}"));
        assert_eq!(contender.session, clients[place].session().id());
    }
    let tokens = [holder.token(), next.token(), last.token()];
    let paths = [holder.path(), next.path(), last.path()];
    assert!(contenders.iter().map(|one| one.token).eq(tokens));
    assert!(contenders.iter().map(|one| &one.path).eq(paths));
    assert_eq!(lock.holders().await.unwrap(), contenders[..1]);
    assert_eq!(lock.waiters().await.unwrap(), contenders[1..]);

    drop(next);
    world.until_in_line(&clients[0], 2).await;
    let waiters = lock.waiters().await.unwrap();
    assert_eq!(waiters, contenders[2..]);
}

async fn the_owner_may_be_any_text(world: &World) {
    let client = world.connect().await;
    for owner in ["", "host-1", "two\nlines", "ends in a line\n", "Grüße, 世界", "\0"] {
        let lock = Lock::builder(client.clone(), world.path()).owner(owner).build();
        let guard = lock.acquire().await.unwrap();
        assert_eq!(lock.holders().await.unwrap()[0].owner, owner);
        guard.release().await.unwrap();
    }
    // Without one it says something that helps to find the process.
    let lock = Lock::new(client, world.path());
    let _guard = lock.acquire().await.unwrap();
    let owner = lock.holders().await.unwrap().remove(0).owner;
    assert!(owner.contains(&std::process::id().to_string()), "{owner}");
}

async fn what_is_no_contender_is_not_listed(world: &World) {
    let lock = world.lock().await;
    let guard = lock.acquire().await.unwrap();
    let client = world.connect().await;
    for name in ["config", "lock-", "lock-12", "latch-0000000000"] {
        let path = world.path().child(name).unwrap();
        client.create(&path, "", CreateMode::Ephemeral).await.unwrap();
    }
    let contenders = lock.contenders().await.unwrap();
    assert_eq!(contenders.len(), 1);
    assert_eq!(contenders[0].path, *guard.path());
}
