//! The same elections, of others and of ours.

use herdless::{Election, ElectionLayout, TokioClient};

use crate::support::{Peer, World, is_pending, until, until_watching};
use crate::theirs::{Theirs, beside, ok};

beside! {
    curator Curator: we_stand_behind_them they_stand_behind_us they_lead_in_turns_with_us;
    kazoo Kazoo: we_stand_behind_them they_stand_behind_us they_lead_in_turns_with_us;
}

/// Their kinds of elections.
fn kinds(theirs: Theirs) -> &'static [(&'static str, ElectionLayout)] {
    match theirs {
        Theirs::Curator => &[("latch", ElectionLayout::LeaderLatch), ("selector", ElectionLayout::LeaderSelector)],
        Theirs::Kazoo => &[("election", ElectionLayout::Kazoo)],
    }
}

/// An election of one kind, on a path of its own.
fn election(world: &World, client: &TokioClient, kind: (&str, ElectionLayout), id: &str) -> Election<TokioClient> {
    Election::builder(client.clone(), world.beside(kind.0)).layout(kind.1).id(id).build()
}

/// Who stands, in order, as we see it.
async fn candidates(election: &Election<TokioClient>) -> Vec<String> {
    election.participants().await.unwrap().into_iter().map(|one| one.owner).collect()
}

async fn until_candidates(election: &Election<TokioClient>, expected: &[&str]) {
    until(&format!("{expected:?}"), async || (candidates(election).await == expected).then_some(())).await;
}

async fn we_stand_behind_them(world: &World, peer: &Peer, theirs: Theirs) {
    let client = world.connect().await;
    for &(name, layout) in kinds(theirs) {
        let election = election(world, &client, (name, layout), "ours");
        ok(peer, &format!("{name} start it {} theirs", election.path())).await;
        ok(peer, &format!("{name} await it")).await;
        assert!(election.try_campaign().await.unwrap().is_none(), "{name}");
        let leader = election.leader().await.unwrap().expect("theirs");
        assert_eq!(leader.id, "theirs", "{name}");
        assert_eq!(leader.value, None, "{name}");
        let mut campaign = Box::pin(election.campaign());
        until_watching(&client, &mut campaign).await;
        assert_eq!(candidates(&election).await, ["theirs", "ours"], "{name}");
        assert_eq!(peer.ask(&format!("{name} participants it")).await, "*theirs ours", "{name}");
        ok(peer, &format!("{name} close it")).await;
        let leadership = campaign.await.unwrap();
        assert!(leadership.term() > leader.term, "{name}");
        leadership.proclaim("here").await.unwrap();
        assert_eq!(election.leader().await.unwrap().unwrap().value.unwrap(), "here", "{name}");
        leadership.resign().await.unwrap();
        assert_eq!(candidates(&election).await, [""; 0], "{name}");
    }
}

async fn they_stand_behind_us(world: &World, peer: &Peer, theirs: Theirs) {
    let client = world.connect().await;
    for &(name, layout) in kinds(theirs) {
        let election = election(world, &client, (name, layout), "ours");
        let leadership = election.campaign().await.unwrap();
        leadership.proclaim("here").await.unwrap();
        ok(peer, &format!("{name} start it {} theirs", election.path())).await;
        until_candidates(&election, &["ours", "theirs"]).await;
        assert_eq!(peer.ask(&format!("{name} participants it")).await, "*ours theirs", "{name}");
        if theirs == Theirs::Curator {
            assert_eq!(peer.ask(&format!("{name} leader it")).await, "ours", "{name}");
        }
        let mut leads = Box::pin(peer.ask(&format!("{name} await it")));
        // One of ours behind them.
        let mut behind = Box::pin(election.campaign());
        until_watching(&client, &mut behind).await;
        assert_eq!(peer.ask(&format!("{name} leads it")).await, "no", "{name}");
        assert!(is_pending(&mut leads).await, "{name}");
        leadership.resign().await.unwrap();
        assert_eq!(leads.await, "ok", "{name}");
        until_watching(&client, &mut behind).await;
        let leader = election.leader().await.unwrap().unwrap();
        assert_eq!((leader.id.as_str(), leader.value), ("theirs", None), "{name}: what was proclaimed went with us");
        ok(peer, &format!("{name} close it")).await;
        behind.await.unwrap().resign().await.unwrap();
        assert_eq!(candidates(&election).await, [""; 0], "{name}");
    }
}

/// One of ours and one of theirs, each back in line before the other leaves.
async fn they_lead_in_turns_with_us(world: &World, peer: &Peer, theirs: Theirs) {
    let client = world.connect().await;
    for &(name, layout) in kinds(theirs) {
        let election = election(world, &client, (name, layout), "ours");
        let mut leadership = election.campaign().await.unwrap();
        let mut term = leadership.term();
        for round in 0..20 {
            let it = format!("it-{round}");
            ok(peer, &format!("{name} start {it} {} theirs", election.path())).await;
            until_candidates(&election, &["ours", "theirs"]).await;
            let mut next = Box::pin(election.campaign());
            until_watching(&client, &mut next).await;
            assert_eq!(peer.ask(&format!("{name} leads {it}")).await, "no", "{name}");
            drop(leadership);
            ok(peer, &format!("{name} await {it}")).await;
            assert!(is_pending(&mut next).await, "{name}: they lead");
            ok(peer, &format!("{name} close {it}")).await;
            leadership = next.await.unwrap();
            assert!(leadership.term() > term, "{name}");
            term = leadership.term();
        }
        leadership.resign().await.unwrap();
        assert_eq!(candidates(&election).await, [""; 0], "{name}");
    }
}
