//! One at a time, in the order of asking.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::{join_all, try_join_all};
use herdless::{ClientExt, CreateMode, Lock, Token, Version};
use tokio::sync::mpsc;

use crate::support::{World, is_pending, scenarios};

scenarios! {
    tasks_over_sessions_never_overlap
    tasks_that_confirm_hand_overs_never_overlap
    first_come_first_served
    the_next_in_line_gets_it_before_a_newcomer
    a_waiter_whose_predecessors_data_is_written_waits_on
}

/// What a lock is for: reading, being interrupted, and writing loses updates unless nobody else is inside.
#[derive(Debug, Default)]
struct Racy {
    count: AtomicUsize,
    inside: AtomicUsize,
    grants: Mutex<Vec<Token>>,
}

impl Racy {
    async fn visit(&self, token: Token) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "overlap");
        let before = self.count.load(Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        self.count.store(before + 1, Ordering::SeqCst);
        self.grants.lock().unwrap().push(token);
        assert_eq!(self.inside.fetch_sub(1, Ordering::SeqCst), 1, "overlap");
    }
}

async fn take_turns(world: &World, confirm: bool) {
    const SESSIONS: usize = 4;
    const TASKS: usize = 8;
    const ROUNDS: usize = 25;
    let racy = Arc::new(Racy::default());
    let clients = join_all((0..SESSIONS).map(|_| world.connect())).await;
    let tasks = (0..TASKS).map(|task| {
        let lock = Lock::builder(clients[task % SESSIONS].clone(), world.path()).confirm_hand_over(confirm).build();
        let racy = racy.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let guard = lock.acquire().await.unwrap();
                assert!(guard.is_valid());
                racy.visit(guard.token()).await;
                // Both ways of leaving, next to each other.
                if round % 2 == 0 {
                    guard.release().await.unwrap();
                }
            }
        })
    });
    try_join_all(tasks).await.unwrap();
    assert_eq!(racy.count.load(Ordering::SeqCst), TASKS * ROUNDS);
    let grants = racy.grants.lock().unwrap().clone();
    assert!(grants.is_sorted_by(|a, b| a < b), "{grants:?}");
    world.until_empty(&clients[0]).await;
}

async fn tasks_over_sessions_never_overlap(world: &World) {
    take_turns(world, false).await;
}

async fn tasks_that_confirm_hand_overs_never_overlap(world: &World) {
    take_turns(world, true).await;
}

async fn first_come_first_served(world: &World) {
    let locks = join_all((0..3).map(|_| world.lock())).await;
    let holder = locks[0].acquire().await.unwrap();
    let mut tickets = Vec::new();
    for place in 0..12 {
        tickets.push((place, locks[place % 3].enqueue().await.unwrap()));
    }
    let promised: Vec<_> = tickets.iter().map(|(_, ticket)| ticket.token()).collect();
    let (granted, mut grants) = mpsc::unbounded_channel();
    // Whoever begins to wait first has nothing from it: the place in line counts.
    for (place, ticket) in tickets.into_iter().rev() {
        let granted = granted.clone();
        tokio::spawn(async move {
            let guard = ticket.await.unwrap();
            granted.send((place, guard.token())).unwrap();
        });
    }
    drop((holder, granted));
    let mut order = Vec::new();
    while let Some((place, token)) = grants.recv().await {
        assert_eq!(token, promised[place], "the token that the ticket named");
        order.push(place);
    }
    assert_eq!(order, (0..12).collect::<Vec<_>>());
    assert!(promised.is_sorted_by(|a, b| a < b), "{promised:?}");
}

async fn the_next_in_line_gets_it_before_a_newcomer(world: &World) {
    let (first, second, third) = (world.lock().await, world.lock().await, world.lock().await);
    let holder = first.acquire().await.unwrap();
    let next = second.enqueue().await.unwrap();
    holder.release().await.unwrap();
    // The lock is nobody's at this moment, but it is not free.
    assert!(third.try_acquire().await.unwrap().is_none());
    let mut newcomer = Box::pin(third.acquire());
    assert!(is_pending(&mut newcomer).await);
    let next = next.await.unwrap();
    third.contenders().await.unwrap();
    assert!(is_pending(&mut newcomer).await);
    next.release().await.unwrap();
    drop(newcomer.await.unwrap());
}

/// As Curator's `Revoker` does: it asks a holder to give up by writing to its node.
async fn a_waiter_whose_predecessors_data_is_written_waits_on(world: &World) {
    let (first, second) = (world.lock().await, world.lock().await);
    let client = world.connect().await;
    let third = Lock::builder(client.clone(), world.path()).confirm_hand_over(true).build();
    let holder = first.acquire().await.unwrap();
    let before = second.enqueue().await.unwrap();
    let mut waiter = Box::pin(third.acquire());
    assert!(is_pending(&mut waiter).await);
    for _ in 0..3 {
        // Every round trip of the waiter's client lets the wait go one step on: in line, watching, woken, watching.
        for _ in 0..3 {
            client.exists(&world.path()).await.unwrap();
            assert!(is_pending(&mut waiter).await);
        }
        client.set(before.path(), "__REVOKE__", Version::ANY).await.unwrap();
        assert!(is_pending(&mut waiter).await, "two are ahead, whatever is written to their nodes");
    }
    holder.release().await.unwrap();
    let before = before.await.unwrap();
    client.exists(&world.path()).await.unwrap();
    assert!(is_pending(&mut waiter).await);
    // A node that is none of the line's makes no difference either.
    let other = world.path().child("other").unwrap();
    client.create(&other, "", CreateMode::Ephemeral).await.unwrap();
    before.release().await.unwrap();
    drop(waiter.await.unwrap());
}
