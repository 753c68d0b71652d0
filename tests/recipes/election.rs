//! Elections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::TryStreamExt;
use futures::future::join_all;
use herdless::{Client, ClientExt, Election, ElectionLayout, TokioClient};

use crate::support::{Meter, World, scenarios, until_watching};

scenarios! {
    everybody_leads_once_and_never_two
    a_hand_over_wakes_one_candidate
    observers_see_every_last_leader
    work_ends_before_another_leads
}

const LAYOUTS: [ElectionLayout; 3] =
    [ElectionLayout::LeaderLatch, ElectionLayout::LeaderSelector, ElectionLayout::Kazoo];

fn election(world: &World, client: &TokioClient, layout: ElectionLayout, id: &str) -> Election<TokioClient> {
    let path = world.beside(&format!("{layout:?}"));
    Election::builder(client.clone(), path).layout(layout).id(id).build()
}

async fn everybody_leads_once_and_never_two(world: &World) {
    const CANDIDATES: usize = 8;
    for layout in LAYOUTS {
        let leads = Arc::new(AtomicBool::new(false));
        let candidates = (0..CANDIDATES).map(async |number| {
            let client = world.connect().await;
            let election = election(world, &client, layout, &format!("{number}"));
            let leads = leads.clone();
            let work = async move |leadership: &herdless::Leadership<TokioClient>| {
                assert!(!leads.swap(true, Ordering::SeqCst), "two lead");
                leadership.proclaim(format!("{number}")).await.unwrap();
                client.exists(leadership.path()).await.unwrap().expect("our node");
                assert!(leads.swap(false, Ordering::SeqCst));
                leadership.term()
            };
            election.lead(work).await.unwrap()
        });
        let mut terms = join_all(candidates).await;
        terms.sort_unstable();
        assert!(terms.is_sorted_by(|one, next| one < next), "{layout:?}: a term each");
        let client = world.connect().await;
        let election = election(world, &client, layout, "last");
        until_nobody(&election).await;
    }
}

async fn until_nobody(election: &Election<TokioClient>) {
    crate::support::until("nobody", async || election.leader().await.unwrap().is_none().then_some(())).await;
}

async fn a_hand_over_wakes_one_candidate(world: &World) {
    const CANDIDATES: usize = 8;
    for layout in LAYOUTS {
        let first = world.connect().await;
        let mut leadership = election(world, &first, layout, "first").campaign().await.unwrap();
        let clients = join_all((0..CANDIDATES).map(|_| world.connect())).await;
        let mut waits = Vec::new();
        for client in &clients {
            let election = election(world, client, layout, "next");
            let mut wait = Box::pin(async move { election.campaign().await });
            until_watching(client, &mut wait).await;
            waits.push(wait);
        }
        // A proclamation wakes none of them.
        leadership.proclaim("here").await.unwrap();
        // What a latch leaves by tells less: a list says the rest.
        let reads = u64::from(layout == ElectionLayout::LeaderLatch);
        for (turn, wait) in waits.into_iter().enumerate() {
            let meters: Vec<_> = clients.iter().map(Meter::start).collect();
            let term = leadership.term();
            drop(leadership);
            leadership = wait.await.unwrap();
            assert!(leadership.term() > term, "{layout:?}");
            for (place, meter) in meters.into_iter().enumerate() {
                // The one before has sent its release.
                let released = u64::from(turn > 0 && place == turn - 1);
                let expected = if place == turn { (reads, 1) } else { (released, 0) };
                assert_eq!(meter.read().await, expected, "{layout:?}: client {place} at turn {turn}");
            }
        }
    }
}

async fn observers_see_every_last_leader(world: &World) {
    let (client, other) = (world.connect().await, world.connect().await);
    for layout in LAYOUTS {
        let standing = election(world, &client, layout, "it");
        let watching = election(world, &other, layout, "nobody");
        let mut leaders = Box::pin(watching.observe());
        let mut terms = Vec::new();
        for round in 0..5 {
            let leadership = standing.campaign().await.unwrap();
            leadership.proclaim(format!("{round}")).await.unwrap();
            loop {
                let seen = leaders.try_next().await.unwrap().expect("it goes on");
                let Some(seen) = seen else { continue };
                terms.push(seen.term);
                if seen.value.as_deref() == Some(format!("{round}").as_bytes()) {
                    assert_eq!((seen.id.as_str(), seen.term), ("it", leadership.term()), "{layout:?}");
                    break;
                }
            }
            leadership.resign().await.unwrap();
        }
        assert!(terms.is_sorted(), "{layout:?}: {terms:?}");
        while leaders.try_next().await.unwrap().expect("it goes on").is_some() {}
    }
}

async fn work_ends_before_another_leads(world: &World) {
    for layout in LAYOUTS {
        let proxy = world.proxy().await;
        let (unlucky, other) = (proxy.short_session().connect().await.unwrap(), world.connect().await);
        let steps = Arc::new(AtomicUsize::new(0));
        let election_of_it = election(world, &unlucky, layout, "it");
        let counted = steps.clone();
        let working = tokio::spawn(async move {
            election_of_it
                .lead_once(async |_| {
                    loop {
                        counted.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                })
                .await
        });
        let next = election(world, &other, layout, "other");
        crate::support::until("its leadership", async || next.leader().await.unwrap()).await;
        let mut campaign = Box::pin(next.campaign());
        until_watching(&other, &mut campaign).await;
        let session = unlucky.session();
        proxy.down();
        let leadership = campaign.await.unwrap();
        let done = steps.load(Ordering::SeqCst);
        assert!(!session.is_valid());
        other.sync(leadership.path()).await.unwrap();
        assert_eq!(steps.load(Ordering::SeqCst), done, "{layout:?}: a step while another leads");
        assert!(done > 0);
        assert!(matches!(working.await.unwrap(), Ok(herdless::Led::<()>::Lost)), "{layout:?}");
        leadership.resign().await.unwrap();
    }
}
