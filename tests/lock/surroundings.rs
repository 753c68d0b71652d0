//! Where the lock is: its parents, what else is there, and a tree that is only part of one.

use herdless::{ClientExt, CreateMode, Error, Lock, NodePath, Refusal, Version};

use crate::support::{World, is_pending, scenarios};

scenarios! {
    missing_parents_are_made
    many_at_once_make_the_same_parents
    strangers_in_the_directory_are_no_obstacle
    a_chroot_is_a_prefix
    a_chroot_that_does_not_exist_is_said_to
    an_ephemeral_parent_is_refused
}

/// Whether they are containers is seen where a server removes them: no Stat tells.
async fn missing_parents_are_made(world: &World) {
    let client = world.connect().await;
    let top = world.path();
    let middle = top.child("middle").unwrap();
    let deep = middle.child("deep").unwrap();
    let guard = Lock::new(client.clone(), deep.clone()).acquire().await.unwrap();
    assert_eq!(guard.path().parent().unwrap(), deep);
    for level in [&top, &middle, &deep] {
        let stat = client.exists(level).await.unwrap().expect("it was made");
        assert_eq!(stat.ephemeral_owner, 0);
        assert_eq!(stat.num_children, 1);
        assert_eq!(stat.data_length, 0);
    }
    // Who finds them there leaves them as they are.
    let before = client.exists(&top).await.unwrap();
    let beside = Lock::new(client.clone(), middle.child("beside").unwrap());
    let other = beside.acquire().await.unwrap();
    assert_eq!(client.exists(&top).await.unwrap(), before);
    guard.release().await.unwrap();
    other.release().await.unwrap();
}

async fn many_at_once_make_the_same_parents(world: &World) {
    let deep = NodePath::parse(&format!("{}/a/b", world.path())).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let lock = Lock::new(world.connect().await, deep.clone());
        tasks.spawn(async move { lock.acquire().await?.release().await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
}

async fn strangers_in_the_directory_are_no_obstacle(world: &World) {
    let client = world.connect().await;
    let lock = Lock::new(client.clone(), world.path());
    // Each takes a number from the counter that contenders are numbered by.
    client.create(&world.path(), "", CreateMode::Persistent).await.unwrap();
    let stranger = async |name: &str, mode| {
        let path = world.path().child(name).unwrap();
        client.create(&path, "", mode).await.unwrap();
    };
    stranger("config", CreateMode::Persistent).await;
    stranger("read-", CreateMode::PersistentSequential).await;
    stranger("lock-x", CreateMode::Persistent).await;
    let first = lock.acquire().await.unwrap();
    let second = lock.enqueue().await.unwrap();
    // Between two contenders, and under the very number before the next.
    stranger("write-", CreateMode::EphemeralSequential).await;
    let other = world.lock().await;
    let third = other.enqueue().await.unwrap();
    assert!(third.ahead() >= 2, "at most, and never fewer");

    let mut third = Box::pin(third.wait());
    assert!(is_pending(&mut third).await);
    first.release().await.unwrap();
    let second = second.await.unwrap();
    other.contenders().await.unwrap();
    assert!(is_pending(&mut third).await);
    second.release().await.unwrap();
    drop(third.await.unwrap());
}

async fn a_chroot_is_a_prefix(world: &World) {
    let client = world.connect().await;
    let top = world.path();
    client.create(&top, "", CreateMode::Persistent).await.unwrap();
    let below = crate::support::connector(&format!("{}{top}", world.address)).connect().await.unwrap();
    let inside = Lock::new(below.clone(), NodePath::parse("/a/lock").unwrap());
    let outside = Lock::new(client.clone(), NodePath::parse(&format!("{top}/a/lock")).unwrap());

    let guard = inside.acquire().await.unwrap();
    assert!(guard.path().as_str().starts_with("/a/lock/lock-"));
    assert!(outside.try_acquire().await.unwrap().is_none());
    assert_eq!(outside.holders().await.unwrap()[0].path.as_str(), format!("{top}{}", guard.path()));
    let mut waiter = Box::pin(outside.acquire());
    assert!(is_pending(&mut waiter).await);
    // A guarded write, and one that is refused, with paths of the part that is seen.
    let note = NodePath::parse("/note").unwrap();
    let write = || herdless::MultiOp::create(&note, "inside", CreateMode::Persistent);
    guard.multi(vec![write()]).await.unwrap();
    let again = guard.multi(vec![write()]).await.unwrap_err();
    let refusal = Refusal::NodeExists;
    assert_eq!(again, Error::MultiRefused { index: 0, refusal });
    let (data, _) = client.get(&NodePath::parse(&format!("{top}/note")).unwrap()).await.unwrap();
    assert_eq!(data, "inside");
    guard.release().await.unwrap();

    // And the other way round: the event of a hand-over comes with the path of the part.
    let outer = waiter.await.unwrap();
    let waiter = inside.enqueue().await.unwrap();
    let mut waiter = Box::pin(waiter.wait());
    assert!(is_pending(&mut waiter).await);
    outer.release().await.unwrap();
    drop(waiter.await.unwrap());
}

async fn a_chroot_that_does_not_exist_is_said_to(world: &World) {
    let below = crate::support::connector(&format!("{}{}", world.address, world.path())).connect().await.unwrap();
    let lock = Lock::new(below, NodePath::parse("/lock").unwrap());
    let error = lock.acquire().await.unwrap_err();
    assert_eq!(error, Error::Refused(Refusal::NoNode));
}

async fn an_ephemeral_parent_is_refused(world: &World) {
    let client = world.connect().await;
    client.create(&world.path(), "", CreateMode::Ephemeral).await.unwrap();
    let refused = Error::Refused(Refusal::NoChildrenForEphemerals);
    let lock = Lock::new(client.clone(), world.path());
    assert_eq!(lock.acquire().await.unwrap_err(), refused);
    assert_eq!(lock.try_acquire().await.unwrap_err(), refused);
    client.delete(&world.path(), Version::ANY).await.unwrap();
    drop(lock.acquire().await.unwrap());
}
