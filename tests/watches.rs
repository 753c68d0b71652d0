//! Watches that fire once, over real connections: what is dropped, and what follows a node.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use herdless::{
    ClientExt, CreateMode, Error, EventKind, NodePath, Refusal, TokioClient, TokioTime, Version, Watch, WatcherType,
};

mod support;

use support::{World, scenarios, until};

scenarios! {
    the_server_forgets_the_watches_that_were_dropped
    another_holder_of_the_same_node_is_not_harmed
    a_few_dropped_watches_cost_no_request
    whoever_follows_a_node_sees_its_last_state_over_cut_connections
}

fn name(world: &World, at: usize) -> NodePath {
    world.beside(&format!("{at:03}"))
}

async fn leave(world: &World, client: &TokioClient, at: usize) -> Watch {
    client.exists_and_watch(&name(world, at)).await.unwrap().1
}

/// How many of the first `count` nodes the server has a watch on.
async fn watched(world: &World, client: &TokioClient, count: usize) -> usize {
    let asked = (0..count).map(|at| client.check_watches(&name(world, at), WatcherType::Data));
    let outcomes = futures::future::join_all(asked).await;
    let is_watched = |outcome: &Result<(), Error>| match outcome {
        Ok(()) => true,
        Err(Error::Refused(Refusal::NoWatcher)) => false,
        Err(error) => panic!("{error}"),
    };
    outcomes.iter().filter(|outcome| is_watched(outcome)).count()
}

async fn the_server_forgets_the_watches_that_were_dropped(world: &World) {
    let client = world.connect().await;
    let mut watches = Vec::new();
    for at in 0..300 {
        watches.push(leave(world, &client, at).await);
    }
    assert_eq!(watched(world, &client, 300).await, 300);
    let live = watches.split_off(250);
    drop(watches);
    until("at most as many as live ones, or 64", async || {
        (watched(world, &client, 300).await <= live.len() + 64).then_some(())
    })
    .await;
    // The same place again and again.
    for _ in 0..1_000 {
        drop(leave(world, &client, 0).await);
    }
    assert!(watched(world, &client, 300).await <= live.len() + 64);
    // Those that are waited for are there.
    for (at, watch) in (250..300).zip(live) {
        client.create(&name(world, at), "", CreateMode::Ephemeral).await.unwrap();
        assert_eq!(watch.await.unwrap().kind, EventKind::Created);
    }
}

async fn another_holder_of_the_same_node_is_not_harmed(world: &World) {
    let client = world.connect().await;
    let path = world.path();
    client.create(&path, "", CreateMode::Persistent).await.unwrap();
    let (_, data) = client.get_and_watch(&path).await.unwrap();
    let (_, exists) = client.exists_and_watch(&path).await.unwrap();
    let (_, children) = client.children_and_watch(&path).await.unwrap();
    for at in 0..100 {
        drop(client.get_and_watch(&path).await.unwrap());
        drop(client.children_and_watch(&path).await.unwrap());
        drop(leave(world, &client, at).await);
    }
    until("most are forgotten", async || (watched(world, &client, 100).await <= 64).then_some(())).await;
    client.set(&path, "x", Version::ANY).await.unwrap();
    client.create(&path.child("c").unwrap(), "", CreateMode::Ephemeral).await.unwrap();
    assert_eq!(data.await.unwrap().kind, EventKind::DataChanged);
    assert_eq!(exists.await.unwrap().kind, EventKind::DataChanged);
    assert_eq!(children.await.unwrap().kind, EventKind::ChildrenChanged);
}

async fn a_few_dropped_watches_cost_no_request(world: &World) {
    let client = world.connect().await;
    for at in 0..63 {
        drop(leave(world, &client, at).await);
    }
    assert_eq!(client.counters().requests, 63);
    client.exists(&world.path()).await.unwrap();
    assert_eq!(client.counters().requests, 64, "nor later");
}

async fn whoever_follows_a_node_sees_its_last_state_over_cut_connections(world: &World) {
    const LAST: usize = 300;
    let (writer, path) = (world.connect().await, world.path());
    writer.create(&path, "0", CreateMode::Persistent).await.unwrap();
    let first = path.child("first").unwrap();
    writer.create(&first, "", CreateMode::Ephemeral).await.unwrap();
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let write = async {
        for number in 1..=LAST {
            writer.set(&path, number.to_string(), Version::ANY).await.unwrap();
            writer.create(&path.child(&format!("n{number}")).unwrap(), "", CreateMode::Ephemeral).await.unwrap();
            if number % 60 == 0 {
                proxy.cut();
            }
        }
        writer.delete(&first, Version::ANY).await.unwrap();
    };
    let data = async {
        let mut states = client.follow_data(&path).reconcile_every(Duration::from_secs(600), TokioTime::new());
        let (mut last, mut items) = (0, 0);
        while last < LAST {
            let (data, _) = states.next().await.unwrap().unwrap().state.unwrap();
            let now = String::from_utf8(data.to_vec()).unwrap().parse().unwrap();
            assert!(items == 0 || now > last, "it goes back: {last}, {now}");
            (last, items) = (now, items + 1);
        }
        assert_eq!(states.next().now_or_never(), None);
        items
    };
    let children = async {
        let mut states = client.follow_children(&path);
        loop {
            let (names, _) = states.next().await.unwrap().unwrap().state.unwrap();
            if names.len() == LAST && !names.contains(&"first".to_owned()) {
                return;
            }
        }
    };
    let existence = async {
        let mut states = client.follow_existence(&first);
        while states.next().await.unwrap().unwrap().state.is_some() {}
    };
    let ((), items, (), ()) = tokio::join!(write, data, children, existence);
    assert!(items <= LAST + 1);
}
