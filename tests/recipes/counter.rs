//! The shared counter and the shared value.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use futures::future::{join_all, try_join_all};
use herdless::{ClientExt, Error, SharedCounter, SharedValue, Version};

use crate::support::{Meter, World, scenarios, until};

scenarios! {
    counts_of_several_clients_are_exact_and_no_two_the_same
    who_counts_alone_pays_one_request
    of_all_that_expect_the_same_one_writes
    changes_end_with_the_last_value
    a_value_that_is_deleted_with_its_receipts_begins_anew
}

async fn counts_of_several_clients_are_exact_and_no_two_the_same(world: &World) {
    const CLIENTS: i64 = 4;
    const ROUNDS: i64 = 50;
    let clients = join_all((0..CLIENTS).map(|_| world.connect())).await;
    let counting = clients.iter().map(async |client| {
        let counter = SharedCounter::new(client.clone(), world.path());
        let mut steps = Vec::new();
        for _ in 0..ROUNDS {
            steps.push(counter.increment().await?);
        }
        Ok::<_, Error>(steps)
    });
    let steps: Vec<_> = try_join_all(counting).await.unwrap().concat();
    assert_eq!(steps.iter().copied().collect::<BTreeSet<_>>(), (1..=CLIENTS * ROUNDS).collect());
    assert_eq!(steps.len() as i64, CLIENTS * ROUNDS);
    // The receipts go with the handles.
    world.until_empty(&clients[0]).await;
    assert_eq!(SharedCounter::new(clients[0].clone(), world.path()).get().await, Ok(CLIENTS * ROUNDS));
}

async fn who_counts_alone_pays_one_request(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    let counter = SharedCounter::new(client.clone(), world.path());
    counter.increment().await.unwrap();
    let meter = Meter::start(&client);
    for _ in 0..10 {
        counter.increment().await.unwrap();
    }
    assert_eq!(meter.read().await, (10, 0));
    // One conflict: refused, read, written.
    SharedCounter::new(other, world.path()).increment().await.unwrap();
    let meter = Meter::start(&client);
    assert_eq!(counter.increment().await, Ok(13));
    assert_eq!(meter.read().await, (3, 0));
    let meter = Meter::start(&client);
    assert_eq!(counter.get().await, Ok(13));
    assert_eq!(meter.read().await, (1, 0));
}

async fn of_all_that_expect_the_same_one_writes(world: &World) {
    const CLIENTS: usize = 8;
    let clients = join_all((0..CLIENTS).map(|_| world.connect())).await;
    let values: Vec<_> = clients.iter().map(|client| SharedValue::new(client.clone(), world.path())).collect();
    let made = try_join_all(values.iter().map(|value| value.initialize("first"))).await.unwrap();
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    for round in 0..10 {
        let expected = values[0].read().await.unwrap();
        let writes = values.iter().map(|value| value.compare_and_set(expected.as_ref(), format!("{round}")));
        let written = try_join_all(writes).await.unwrap();
        let winners: Vec<_> = written.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "round {round}");
        for loser in written.iter().filter_map(|written| written.as_ref().err()) {
            assert_eq!(loser.as_ref(), Some(winners[0]), "round {round}: what is there instead");
        }
    }
}

async fn changes_end_with_the_last_value(world: &World) {
    let (one, other) = (world.connect().await, world.connect().await);
    let value = SharedValue::new(one, world.path());
    let mut changes = SharedValue::new(other.clone(), world.path()).changes();
    let writing = async {
        for number in 0..100 {
            value.set(format!("{number}")).await.unwrap();
        }
    };
    let reading = async {
        let mut seen = Vec::new();
        loop {
            let Some(now) = changes.try_next().await.unwrap().unwrap() else { continue };
            seen.push(now.zxid);
            if now.data == "99" {
                return seen;
            }
        }
    };
    let ((), seen) = tokio::join!(writing, reading);
    println!("saw {} of 100 values", seen.len());
    assert!(seen.is_sorted_by(|one, next| one < next), "never back, and none twice");
}

async fn a_value_that_is_deleted_with_its_receipts_begins_anew(world: &World) {
    let (client, admin) = (world.connect().await, world.connect().await);
    let value = SharedValue::new(client.clone(), world.path());
    let mut changes = value.changes();
    value.set("old").await.unwrap();
    let known = value.read().await.unwrap();
    for name in world.line(&admin).await {
        admin.delete(&world.path().child(&name).unwrap(), Version::ANY).await.unwrap();
    }
    admin.delete(&world.path(), Version::ANY).await.unwrap();
    client.sync(&world.path()).await.unwrap();
    assert_eq!(value.read().await, Ok(None));
    assert_eq!(value.compare_and_set(known.as_ref(), "lost").await, Ok(Err(None)));
    let made = value.update(|old| if old.is_none() { "new".into() } else { "wrong".into() }).await.unwrap();
    assert_eq!((made.data.as_ref(), made.version), (&b"new"[..], Version(0)));
    let seen = until("the new one", async || {
        let seen = changes.try_next().await.unwrap().unwrap();
        seen.filter(|seen| seen.data == "new")
    })
    .await;
    assert_eq!(seen.zxid, made.zxid);
    drop((value, changes));
    world.until_empty(&admin).await;
}
