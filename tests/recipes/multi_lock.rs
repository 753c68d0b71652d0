//! Several locks as one.

use futures::future::join_all;
use herdless::{
    ClientExt, CreateMode, Error, Lock, MultiLock, MultiOp, NodePath, Permissions, Refusal, TokioClient, Version,
};

use crate::all::create_with;
use crate::support::{Dice, Meter, Place, World, scenarios, until, until_watching};

scenarios! {
    sets_in_any_order_exclude_each_other_and_never_deadlock
    free_locks_cost_what_is_documented
    a_wait_costs_one_event
    bytes_are_those_of_so_many_locks
    a_guarded_write_needs_every_lock
    no_paths_are_not_sent
    where_one_is_refused_none_is_held
    what_others_keep_stays
}

fn paths<const N: usize>(world: &World, names: [&str; N]) -> [NodePath; N] {
    names.map(|name| world.path().child(name).unwrap())
}

/// Locks whose directories are there, so that making them is not counted.
async fn warm(world: &World, client: &TokioClient) -> MultiLock<TokioClient> {
    let locks = MultiLock::new(client.clone(), paths(world, ["c", "a", "b"])).unwrap();
    locks.acquire().await.unwrap().release().await.unwrap();
    locks
}

/// Waits until nobody is in line: a release that was not awaited is on its way.
async fn until_empty(world: &World, client: &TokioClient, names: &[&str]) {
    for name in names {
        let path = world.path().child(name).unwrap();
        until("an empty line", async || client.children(&path).await.unwrap().0.is_empty().then_some(())).await;
    }
}

async fn sets_in_any_order_exclude_each_other_and_never_deadlock(world: &World) {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 20;
    let places = join_all(NAMES.map(|name| Place::of(world, name))).await;
    let tasks = (0..CLIENTS).map(async |_| {
        let client = world.connect().await;
        let mut dice = Dice::new();
        let mut visits = 0;
        for _ in 0..ROUNDS {
            let (one, other) = (dice.within(0..NAMES.len()), dice.within(0..NAMES.len()));
            let locks = MultiLock::new(client.clone(), paths(world, [NAMES[one], NAMES[other]])).unwrap();
            let guard = match dice.within(0..3) {
                0 => locks.try_acquire().await.unwrap(),
                _ => Some(locks.acquire().await.unwrap()),
            };
            let Some(guard) = guard else { continue };
            assert_eq!(guard.tokens().count(), if one == other { 1 } else { 2 });
            places[one].visit_alone().await;
            places[other].visit_alone().await;
            visits += 2;
        }
        visits
    });
    let visits: u64 = join_all(tasks).await.into_iter().sum();
    let mut seen = 0;
    for place in &places {
        seen += place.tally().await.0;
    }
    assert_eq!(seen, visits, "a visit was overwritten");
    assert!(visits > 2 * (CLIENTS * ROUNDS / 3) as u64, "most were let in");
    until_empty(world, &world.connect().await, &NAMES).await;
}

async fn free_locks_cost_what_is_documented(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    let locks = warm(world, &client).await;
    let meter = Meter::start(&client);
    locks.acquire().await.unwrap().release().await.unwrap();
    assert_eq!(meter.read().await, (3 * 3, 0), "as each of them alone");
    let meter = Meter::start(&client);
    locks.try_acquire().await.unwrap().expect("all are free").release().await.unwrap();
    assert_eq!(meter.read().await, (3 + 1 + 1 + 3 + 3, 0), "looks, the change, its Stat, looks, releases");
    let [last] = paths(world, ["c"]);
    let taken = Lock::new(other, last).acquire().await.unwrap();
    let meter = Meter::start(&client);
    assert!(locks.try_acquire().await.unwrap().is_none());
    assert_eq!(meter.read().await, (3, 0), "reads");
    taken.release().await.unwrap();
}

async fn a_wait_costs_one_event(world: &World) {
    let (holder, client) = (world.connect().await, world.connect().await);
    let guard = warm(world, &holder).await.acquire().await.unwrap();
    let locks = MultiLock::new(client.clone(), paths(world, ["a", "b", "c"])).unwrap();
    let meter = Meter::start(&client);
    let mut wait = Box::pin(locks.acquire());
    let looks = until_watching(&client, &mut wait).await;
    guard.release().await.unwrap();
    drop(wait.await.unwrap());
    // Create and look for each, one watch, and the releases.
    assert_eq!(meter.read().await, (3 * 2 + 1 + 3 + looks, 1));
    until_empty(world, &holder, &["a", "b", "c"]).await;
}

fn bytes(client: &TokioClient) -> u64 {
    let counters = client.counters();
    counters.bytes_in + counters.bytes_out
}

async fn bytes_are_those_of_so_many_locks(world: &World) {
    let client = world.connect().await;
    let locks = warm(world, &client).await;
    let before = bytes(&client);
    locks.acquire().await.unwrap().release().await.unwrap();
    let together = bytes(&client) - before;
    let before = bytes(&client);
    for path in locks.paths() {
        Lock::new(client.clone(), path.clone()).acquire().await.unwrap().release().await.unwrap();
    }
    let alone = bytes(&client) - before;
    println!("bytes: {together} together, {alone} one by one");
    // The attempt's number may have a digit more.
    assert!(together.abs_diff(alone) < 64, "{together} together, {alone} one by one");
}

async fn a_guarded_write_needs_every_lock(world: &World) {
    let (client, admin) = (world.connect().await, world.connect().await);
    let state = world.beside("state");
    client.create(&state, "", CreateMode::Persistent).await.unwrap();
    let guard = warm(world, &client).await.acquire().await.unwrap();
    let write = || vec![MultiOp::set(&state, "x", Version::ANY)];
    let meter = Meter::start(&client);
    guard.multi(write()).await.unwrap();
    assert_eq!(meter.read().await, (3 + 1, 0));
    let meter = Meter::start(&client);
    guard.multi(write()).await.unwrap();
    assert_eq!(meter.read().await, (1, 0));
    let [last] = paths(world, ["c"]);
    let taken = Lock::new(admin.clone(), last).holders().await.unwrap().remove(0);
    admin.delete(&taken.path, Version::ANY).await.unwrap();
    assert_eq!(guard.multi(write()).await, Err(Error::Refused(Refusal::NoNode)));
    assert_eq!(admin.exists(&state).await.unwrap().unwrap().version, 2, "nothing was written");
    assert_eq!(guard.release().await, Err(Error::Refused(Refusal::NoNode)));
    until_empty(world, &admin, &["a", "b", "c"]).await;
}

async fn no_paths_are_not_sent(world: &World) {
    let client = world.connect().await;
    let before = client.counters().requests;
    assert!(matches!(MultiLock::new(client.clone(), []), Err(Error::Invalid(_))));
    assert_eq!(client.counters().requests, before);
}

async fn where_one_is_refused_none_is_held(world: &World) {
    let client = world.connect().await;
    create_with(&client, &world.path(), Permissions::ALL).await;
    let [open, closed] = paths(world, ["a", "b"]);
    client.create(&open, "", CreateMode::Persistent).await.unwrap();
    create_with(&client, &closed, Permissions::READ).await;
    let locks = MultiLock::new(client.clone(), [closed, open]).unwrap();
    let refused = Err(Error::Refused(Refusal::NoAuth));
    assert_eq!(locks.acquire().await.map(drop), refused);
    assert_eq!(locks.try_acquire().await.map(drop), refused);
    until_empty(world, &client, &["a", "b"]).await;

    let [fleeting] = paths(world, ["c"]);
    client.create(&fleeting, "", CreateMode::Ephemeral).await.unwrap();
    let locks = MultiLock::new(client.clone(), paths(world, ["a", "c"])).unwrap();
    let refused = Err(Error::Refused(Refusal::NoChildrenForEphemerals));
    assert_eq!(locks.acquire().await.map(drop), refused);
    assert_eq!(locks.try_acquire().await.map(drop), refused);
    until_empty(world, &client, &["a", "c"]).await;
}

async fn what_others_keep_stays(world: &World) {
    let client = world.connect().await;
    let locks = warm(world, &client).await;
    let [directory] = paths(world, ["b"]);
    for name in ["config", "lock-x"] {
        client.create(&directory.child(name).unwrap(), "theirs", CreateMode::Persistent).await.unwrap();
    }
    locks.acquire().await.unwrap().release().await.unwrap();
    assert!(locks.try_acquire().await.unwrap().is_none(), "every child counts as a contender");
    let mut names = client.children(&directory).await.unwrap().0;
    names.sort_unstable();
    assert_eq!(names, ["config", "lock-x"]);
    until_empty(world, &client, &["a", "c"]).await;
}
