//! Futures that are dropped half way.

use std::time::Duration;

use futures::future::join_all;
use herdless::Lock;

use crate::support::{Dice, World, scenarios};

scenarios! {
    given_up_waits_leave_no_node
    given_up_releases_release
    futures_that_were_never_polled_leave_no_node
}

/// Runs the future for a random while: some are not polled twice, some get to their first reply, some end.
async fn for_a_while<F: Future>(dice: &mut Dice, future: F) -> Option<F::Output> {
    if dice.within(0..3) == 0 {
        let pause = Duration::from_millis(dice.within(0..4) as u64);
        return tokio::time::timeout(pause, future).await.ok();
    }
    let turns = dice.within(0..40);
    let give_up = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        output = future => Some(output),
        () = give_up => None,
    }
}

async fn given_up_waits_leave_no_node(world: &World) {
    let holder = world.lock().await.acquire().await.unwrap();
    let clients = join_all((0..4).map(|_| world.connect())).await;
    let dice = Dice::new();
    let give_up = async |rounds: usize| {
        let tasks = clients.iter().enumerate().map(|(number, client)| {
            let lock = Lock::new(client.clone(), world.path());
            let mut dice = dice.clone();
            (0..number).for_each(|_| _ = dice.number());
            async move {
                let mut granted = 0;
                for _ in 0..rounds {
                    let got = match dice.within(0..3) {
                        0 => for_a_while(&mut dice, lock.acquire()).await.is_some(),
                        1 => for_a_while(&mut dice, async { lock.enqueue().await?.await }).await.is_some(),
                        _ => for_a_while(&mut dice, lock.try_acquire())
                            .await
                            .is_some_and(|tried| tried.unwrap().is_some()),
                    };
                    granted += usize::from(got);
                }
                granted
            }
        });
        join_all(tasks).await.iter().sum::<usize>()
    };
    assert_eq!(give_up(75).await, 0, "the lock is held");
    world.until_in_line(&clients[0], 1).await;
    // Now that it is free some get it, and their guards are dropped, too.
    holder.release().await.unwrap();
    give_up(75).await;
    world.until_empty(&clients[0]).await;
    drop(world.lock().await.acquire().await.unwrap());
}

async fn given_up_releases_release(world: &World) {
    let (lock, other) = (world.lock().await, world.lock().await);
    let mut dice = Dice::new();
    for _ in 0..30 {
        let guard = lock.acquire().await.unwrap();
        // Also where the future is dropped before it has run at all.
        let _ = for_a_while(&mut dice, guard.release()).await;
        other.acquire().await.unwrap().release().await.unwrap();
    }
}

async fn futures_that_were_never_polled_leave_no_node(world: &World) {
    let lock = world.lock().await;
    drop((lock.acquire(), lock.try_acquire(), lock.enqueue()));
    let ticket = lock.enqueue().await.unwrap();
    drop(ticket.wait());
    let client = world.connect().await;
    world.until_empty(&client).await;
}
