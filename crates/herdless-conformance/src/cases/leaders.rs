//! The server that leads is lost, and another one leads.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use herdless_core::{
    AddWatchMode, Client, ClientExt, CreateMode, Error, EventKind, MultiOp, Notice, Refusal, Release, SessionState,
    Version, WatchEvent, Zxid,
};

use crate::expect::{both, expect_event, expect_quiet, expect_refused};
use crate::{Backend, Scene};

/// The higher half of a zxid counts the leaders (`ZxidUtils.getEpochFromZxid`).
fn epoch(zxid: Zxid) -> i64 {
    zxid.0 >> 32
}

pub(crate) async fn a_session_outlives_the_leader_with_all_that_is_its_own<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let other = scene.connect_elsewhere(&client).await;
    let (path, _) = scene.node(&client, "a").await;
    let (mine, new) = (scene.path("mine"), scene.path("new"));
    let stat = client.create(&mine, "", CreateMode::Ephemeral).await.unwrap().stat;
    let (_, mut on_data) = client.get_and_watch(&path).await.unwrap();
    let (_, mut on_children) = client.children_and_watch(&path).await.unwrap();
    let (_, mut on_new) = client.exists_and_watch(&new).await.unwrap();
    let mut stream = client.add_watch(&path, AddWatchMode::PersistentRecursive).await.unwrap();
    let session = client.session();
    let revision = session.revision();

    scene.lose_leader().await;
    assert_eq!(client.exists(&mine).await.unwrap(), Some(stat));
    assert_ne!(session.revision(), revision, "the connection was lost");
    assert_eq!((session.state(), client.session().id()), (SessionState::Connected, session.id()));
    assert!(session.is_valid());
    for watch in [&mut on_data, &mut on_children, &mut on_new] {
        expect_quiet(&client, watch).await;
    }
    let mut next = async || poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await;
    assert_eq!(next().await, Some(Ok(Notice::Gap)));

    let set = other.set(&path, "y", Version::ANY).await.unwrap();
    assert!(epoch(set.mzxid) > epoch(stat.czxid), "another one leads");
    scene.node(&other, "a/b").await;
    scene.node(&other, "new").await;
    expect_event(&client, on_data, EventKind::DataChanged, &path).await;
    expect_event(&client, on_children, EventKind::ChildrenChanged, &path).await;
    expect_event(&client, on_new, EventKind::Created, &new).await;
    for (kind, path) in [(EventKind::DataChanged, path), (EventKind::Created, scene.path("a/b"))] {
        assert_eq!(next().await, Some(Ok(Notice::Event(WatchEvent { kind, path }))));
    }
    client.close().await.unwrap();
    other.settle(&mine).await.unwrap();
    assert_eq!(other.exists(&mine).await.unwrap(), None);
}

/// Writes, one after the other, before, while and after the leader is lost. Each that was acknowledged was done once.
pub(crate) async fn what_was_acknowledged_is_there_under_the_next_leader<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (path, stat) = scene.node(&client, "a").await;
    let is_lost = Cell::new(false);
    let (mut acknowledged, mut unknown) = (0, 0);
    // The data says which write it is.
    let mut last = 0;
    let mut epochs = BTreeSet::from([epoch(stat.czxid)]);
    let lose = async {
        scene.lose_leader().await;
        is_lost.set(true);
    };
    let write = async {
        let mut left = 20;
        for number in 1_u32.. {
            match client.set(&path, number.to_string(), Version::ANY).await {
                Ok(stat) => {
                    acknowledged += 1;
                    last = number;
                    epochs.insert(epoch(stat.mzxid));
                }
                Err(Error::ConnectionLost) => unknown += 1,
                Err(error) => panic!("write {number}: {error}"),
            }
            if is_lost.get() {
                left -= 1;
            }
            if left == 0 {
                return;
            }
        }
    };
    both(lose, write).await;
    assert!(epochs.len() > 1, "writes under both leaders");
    let other = scene.connect_elsewhere(&client).await;
    other.settle(&path).await.unwrap();
    let (data, stat) = other.get(&path).await.unwrap();
    assert_eq!(data, last.to_string());
    assert!((acknowledged..=acknowledged + unknown).contains(&stat.version), "{acknowledged}, {unknown}: {stat:?}");
}

/// As many multis as may be are under way all the time. Those that were lost are told so, and left no half behind.
pub(crate) async fn what_is_under_way_when_the_leader_is_lost_is_done_whole_or_not_at_all<B: Backend>(
    scene: &Scene<'_, B>,
) {
    const UNDER_WAY: usize = 32;
    let client = scene.connect().await;
    let nodes = ["a", "b"].map(|below| scene.path(below));
    for below in ["a", "b"] {
        scene.node(&client, below).await;
    }
    let is_lost = Cell::new(false);
    let (mut acknowledged, mut unknown) = (0, 0);
    let lose = async {
        scene.lose_leader().await;
        is_lost.set(true);
    };
    let write = async {
        let mut calls = VecDeque::new();
        for number in 0_u32.. {
            if !is_lost.get() {
                let write = |path| MultiOp::set(path, number.to_string(), Version::ANY);
                calls.push_back(client.multi(nodes.iter().map(write).collect()));
            } else if calls.is_empty() {
                return;
            }
            if calls.len() == UNDER_WAY || is_lost.get() {
                let Some(call) = calls.pop_front() else { return };
                match call.await {
                    Ok(_) => acknowledged += 1,
                    Err(Error::ConnectionLost) => unknown += 1,
                    Err(error) => panic!("a multi: {error}"),
                }
            }
        }
    };
    both(lose, write).await;
    assert!(unknown > 0, "something was under way");
    assert!(acknowledged > 0, "something was done");
    let other = scene.connect_elsewhere(&client).await;
    other.settle(&scene.root()).await.unwrap();
    let [(a, stat_of_a), (b, stat_of_b)] = [other.get(&nodes[0]).await.unwrap(), other.get(&nodes[1]).await.unwrap()];
    assert_eq!((a, stat_of_a.version, stat_of_a.mzxid), (b, stat_of_b.version, stat_of_b.mzxid));
    let possible = acknowledged..=acknowledged + unknown;
    assert!(possible.contains(&stat_of_a.version), "{acknowledged}, {unknown}: {stat_of_a:?}");
}

pub(crate) async fn a_node_that_stands_for_a_lock_has_one_owner_under_both_leaders<B: Backend>(scene: &Scene<'_, B>) {
    let holder = scene.connect().await;
    let other = scene.connect_elsewhere(&holder).await;
    let lock = scene.path("lock");
    let stat = holder.create(&lock, "", CreateMode::Ephemeral).await.unwrap().stat;
    let is_lost = Cell::new(false);
    let lose = async {
        scene.lose_leader().await;
        is_lost.set(true);
    };
    let contend = async {
        let mut refusals = 0;
        while !is_lost.get() {
            match other.create(&lock, "", CreateMode::Ephemeral).await {
                Err(Error::Refused(Refusal::NodeExists)) => refusals += 1,
                Err(Error::ConnectionLost) => {}
                outcome => panic!("a lock that is held was given away: {outcome:?}"),
            }
        }
        assert!(refusals > 0);
    };
    both(lose, contend).await;
    expect_refused(other.create(&lock, "", CreateMode::Ephemeral).await, Refusal::NodeExists);
    assert_eq!(holder.exists(&lock).await.unwrap(), Some(stat));
    let session = holder.session().id();
    let release = Release { path: lock.clone(), czxid: stat.czxid, session, hand_over: true, may_be_gone: false };
    assert_eq!(holder.call(release).await, Ok(true));
    let next = other.create(&lock, "", CreateMode::Ephemeral).await.unwrap().stat;
    assert!(next.czxid > stat.czxid, "tokens grow over the loss of the leader");
    assert!(epoch(next.czxid) > epoch(stat.czxid), "another one leads");
    assert_eq!(next.ephemeral_owner, other.session().id().0);
}

pub(crate) async fn a_read_after_settling_sees_what_another_server_has_acknowledged<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let other = scene.connect_elsewhere(&client).await;
    let (path, _) = scene.node(&client, "a").await;
    let is_lost = Cell::new(false);
    let lose = async {
        scene.lose_leader().await;
        is_lost.set(true);
    };
    let write_and_read = async {
        let mut reads = 0;
        while !is_lost.get() || reads < 100 {
            let written = match client.set(&path, "", Version::ANY).await {
                Err(Error::ConnectionLost) => continue,
                written => written.unwrap(),
            };
            // A sync would not do: the server that leads answers its own clients at once, and may apply what it has
            // committed after a follower has acknowledged it.
            let (settled, read) = (other.settle(&path), other.exists(&path));
            match (settled.await, read.await) {
                (Err(Error::ConnectionLost), _) | (_, Err(Error::ConnectionLost)) => continue,
                (settled, found) => {
                    settled.unwrap();
                    let found = found.unwrap().expect("it is never deleted");
                    assert!(found.mzxid >= written.mzxid, "{found:?} is older than {written:?}");
                }
            }
            if is_lost.get() {
                reads += 1;
            }
        }
    };
    both(lose, write_and_read).await;
}

pub(crate) async fn numbers_go_on_under_the_next_leader<B: Backend>(scene: &Scene<'_, B>) {
    let client = scene.connect().await;
    let (_, before) = scene.node(&client, "n").await;
    let mut last = None;
    for round in 0..2 {
        for _ in 0..10 {
            let created = client.create(&scene.path("n/"), "", CreateMode::PersistentSequential).await.unwrap();
            assert!(last < Some((created.path.clone(), created.stat.czxid)), "{last:?}, then {created:?}");
            last = Some((created.path, created.stat.czxid));
        }
        if round == 0 {
            scene.lose_leader().await;
        }
    }
    let (path, czxid) = last.expect("there were some");
    assert_eq!(path, scene.path("n/0000000019"));
    assert!(epoch(czxid) > epoch(before.czxid), "another one leads");
    client.settle(&scene.path("n")).await.unwrap();
    assert_eq!(client.children(&scene.path("n")).await.unwrap().0.len(), 20);
}
