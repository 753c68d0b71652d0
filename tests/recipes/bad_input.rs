//! What makes no sense, and what the server refuses: a typed error, and a tree that is as it was.

use std::collections::{BTreeMap, BTreeSet};

use herdless::{
    Bytes, ClientExt, CounterFormat, CreateMode, DoubleBarrier, Error, ForeignQueue, ForeignQueueLayout, NodePath,
    Permissions, Refusal, SharedCounter, SharedValue, Stat, TokioClient, Version,
};

use crate::all::{Setup, create_with, operations};
use crate::support::{World, scenarios};

scenarios! {
    missing_parents_are_made
    an_access_list_that_refuses_is_said_and_nothing_is_made
    nothing_is_made_below_an_ephemeral_node
    text_over_the_limit_is_not_sent
    what_is_no_path_makes_no_path
    counts_that_make_no_sense_are_not_sent
    a_counter_that_would_overflow_stays
    what_is_no_number_stays
    what_is_no_round_stays
    what_is_no_item_stays_until_it_is_skipped
    what_others_keep_in_the_directory_stays
}

/// Every node from `path` on, and its Stat.
async fn tree(client: &TokioClient, path: &NodePath) -> BTreeMap<NodePath, Stat> {
    let mut found = BTreeMap::new();
    let mut paths = vec![path.clone()];
    while let Some(path) = paths.pop() {
        if let Ok((names, stat)) = client.children(&path).await {
            paths.extend(names.iter().map(|name| path.child(name).unwrap()));
            found.insert(path, stat);
        }
    }
    found
}

/// A directory of this name, with what is in it so far.
async fn directory(world: &World, client: &TokioClient, name: &str) -> NodePath {
    let path = world.beside(name);
    client.create(&path, "", CreateMode::Persistent).await.unwrap();
    path
}

async fn missing_parents_are_made(world: &World) {
    let client = world.connect().await;
    for operation in operations() {
        let base = world.beside(operation.name);
        let path = base.child("a").unwrap().child("b").unwrap();
        let done = (operation.run)(Setup::new(&client, path)).await;
        assert_eq!(done, Ok(()), "{}", operation.name);
        for (path, stat) in tree(&client, &base).await {
            assert_eq!(stat.ephemeral_owner, 0, "{}: {path} was left", operation.name);
        }
    }
}

async fn an_access_list_that_refuses_is_said_and_nothing_is_made(world: &World) {
    let client = world.connect().await;
    for operation in operations() {
        let base = world.beside(operation.name);
        create_with(&client, &base, Permissions::READ).await;
        let before = tree(&client, &base).await;
        for path in [base.child("it").unwrap(), base.child("a").unwrap().child("b").unwrap()] {
            let done = (operation.run)(Setup::new(&client, path)).await;
            assert_eq!(done, Err(Error::Refused(Refusal::NoAuth)), "{}", operation.name);
        }
        assert_eq!(tree(&client, &base).await, before, "{}", operation.name);
    }
}

async fn nothing_is_made_below_an_ephemeral_node(world: &World) {
    let client = world.connect().await;
    for operation in operations() {
        let base = world.beside(operation.name);
        client.create(&base, "", CreateMode::Ephemeral).await.unwrap();
        let before = tree(&client, &base).await;
        let done = (operation.run)(Setup::new(&client, base.child("it").unwrap())).await;
        assert_eq!(done, Err(Error::Refused(Refusal::NoChildrenForEphemerals)), "{}", operation.name);
        assert_eq!(tree(&client, &base).await, before, "{}", operation.name);
    }
}

async fn text_over_the_limit_is_not_sent(world: &World) {
    let client = world.connect().await;
    for operation in operations().into_iter().filter(|operation| operation.has_text) {
        let base = directory(world, &client, operation.name).await;
        let before = tree(&client, &base).await;
        let text = "x".repeat(1 << 20);
        let setup = Setup { text, ..Setup::new(&client, base.child("it").unwrap()) };
        let error = (operation.run)(setup).await.unwrap_err();
        let name = operation.name;
        assert!(matches!(error, Error::TooLarge { what: "request", length: 1_048_576.., .. }), "{name}: {error}");
        let left = tree(&client, &base).await;
        let left: Vec<_> = left.keys().collect();
        assert_eq!(left, before.keys().collect::<Vec<_>>(), "{name}");
        // And the session goes on.
        let setup = Setup::new(&client, base.child("it").unwrap());
        assert_eq!((operation.run)(setup).await, Ok(()), "{name}");
        assert_eq!(client.counters().connects, 1, "{name}");
    }
}

/// Recipes take paths and not strings, so what is no path is told before there is a recipe.
async fn what_is_no_path_makes_no_path(world: &World) {
    let path = world.path();
    for name in ["a/b", "/", "a\0b", "", ".", ".."] {
        assert!(path.child(name).is_err(), "{name:?}");
    }
    for text in ["", "it", "/it/", "/a//b", "/a\0b", "/a/../b", "/a/./b"] {
        assert!(NodePath::parse(text).is_err(), "{text:?}");
    }
    let error = NodePath::parse("/a\0b").unwrap_err().to_string();
    assert!(error.contains("character"), "{error}");
}

fn is_invalid<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Invalid(_)))
}

async fn counts_that_make_no_sense_are_not_sent(world: &World) {
    let client = world.connect().await;
    let before = client.counters().requests;
    assert!(is_invalid(DoubleBarrier::new(client.clone(), world.path(), 0)));
    let queue = |layout| ForeignQueue::new(client.clone(), world.path(), layout);
    let (kazoo, curator) = (queue(ForeignQueueLayout::Kazoo), queue(ForeignQueueLayout::Curator));
    assert!(is_invalid(kazoo.put_with_priority("a", 1000).await));
    assert!(is_invalid(curator.put_with_priority("a", 5).await));
    assert!(is_invalid(curator.put_many([]).await));
    assert!(is_invalid(kazoo.put_many(["a", "b"].map(Bytes::from)).await));
    let narrow = SharedCounter::builder(client.clone(), world.path()).format(CounterFormat::AtomicInteger).build();
    assert!(is_invalid(narrow.set(1 << 31).await));
    assert!(is_invalid(narrow.compare_and_set(0, -(1 << 31) - 1).await));
    assert_eq!(client.counters().requests, before);
}

async fn a_counter_that_would_overflow_stays(world: &World) {
    let client = world.connect().await;
    let limits = [
        (CounterFormat::AtomicLong, i64::MIN, i64::MAX),
        (CounterFormat::AtomicInteger, i32::MIN.into(), i32::MAX.into()),
        (CounterFormat::Kazoo, i64::MIN, i64::MAX),
    ];
    for (format, least, greatest) in limits {
        let path = world.beside(&format!("{format:?}"));
        let counter = SharedCounter::builder(client.clone(), path.clone()).format(format).build();
        counter.set(greatest).await.unwrap();
        assert!(is_invalid(counter.increment().await), "{format:?}");
        assert_eq!(counter.get().await, Ok(greatest));
        counter.set(least).await.unwrap();
        let before = client.exists(&path).await.unwrap().unwrap();
        assert!(is_invalid(counter.subtract(1).await), "{format:?}");
        assert!(is_invalid(counter.add(i64::MIN).await), "{format:?}");
        let after = client.exists(&path).await.unwrap().unwrap();
        assert_eq!((after.mzxid, after.version), (before.mzxid, before.version), "{format:?}: written");
    }
}

async fn what_is_no_number_stays(world: &World) {
    let client = world.connect().await;
    for format in [CounterFormat::AtomicLong, CounterFormat::AtomicInteger, CounterFormat::Kazoo] {
        let path = world.beside(&format!("{format:?}"));
        client.create(&path, "seven", CreateMode::Persistent).await.unwrap();
        let before = client.exists(&path).await.unwrap();
        let counter = SharedCounter::builder(client.clone(), path.clone()).format(format).build();
        for result in [counter.get().await, counter.increment().await] {
            assert!(matches!(&result, Err(Error::Malformed { path: told, .. }) if *told == path), "{result:?}");
        }
        assert!(matches!(counter.compare_and_set(0, 1).await, Err(Error::Malformed { .. })));
        assert_eq!(client.exists(&path).await.unwrap(), before, "{format:?}");
        counter.set(7).await.unwrap();
        assert_eq!(counter.get().await, Ok(7), "{format:?}");
    }
}

async fn what_is_no_round_stays(world: &World) {
    let (client, path) = (world.connect().await, world.path());
    client.create(&path, "something else", CreateMode::Persistent).await.unwrap();
    let barrier = DoubleBarrier::new(client.clone(), path.clone(), 1).unwrap();
    let entered = barrier.enter().await.map(|round| round.generation());
    assert!(matches!(&entered, Err(Error::Malformed { path: told, .. }) if *told == path), "{entered:?}");
    world.until_empty(&client).await;
    assert_eq!(client.get(&path).await.unwrap().0, "something else");
}

async fn what_is_no_item_stays_until_it_is_skipped(world: &World) {
    let (client, path) = (world.connect().await, world.path());
    let mut queue = ForeignQueue::new(client.clone(), path.clone(), ForeignQueueLayout::Curator);
    client.create(&path, "", CreateMode::Persistent).await.unwrap();
    let stem = path.child("queue-").unwrap();
    let strange = client.create(&stem, "not Curator's", CreateMode::PersistentSequential).await.unwrap().path;
    queue.put("a").await.unwrap();
    for _ in 0..2 {
        let error = queue.take().await.unwrap_err();
        assert!(matches!(&error, Error::Malformed { path, .. } if *path == strange), "{error}");
    }
    queue.skip(&strange);
    assert_eq!(queue.take().await.unwrap().unwrap().data, ["a"]);
    assert_eq!(queue.take().await.unwrap(), None);
    assert_eq!(world.line(&client).await, [strange.name()]);
    client.delete(&strange, Version::ANY).await.unwrap();
}

async fn what_others_keep_in_the_directory_stays(world: &World) {
    let client = world.connect().await;
    for operation in operations() {
        // Opening a barrier removes its node, which is its whole state: nobody keeps anything there.
        if operation.name == "Barrier" {
            continue;
        }
        let path = directory(world, &client, operation.name).await;
        for name in ["config", "lock-x", "entry-", "a name with spaces"] {
            client.create(&path.child(name).unwrap(), "theirs", CreateMode::Persistent).await.unwrap();
        }
        let before = client.children(&path).await.unwrap().0;
        let alone = world.beside(&format!("{}-alone", operation.name));
        for path in [&path, &alone] {
            let done = (operation.run)(Setup::new(&client, path.clone())).await;
            assert_eq!(done, Ok(()), "{}", operation.name);
        }
        // What was sent when the last handle went was answered before the list.
        client.sync(&path).await.unwrap();
        let after: BTreeSet<_> = client.children(&path).await.unwrap().0.into_iter().collect();
        // Some keep directories of their own.
        let own = client.children(&alone).await.map(|(names, _)| names).unwrap_or_default();
        let before: BTreeSet<_> = before.into_iter().chain(own).collect();
        assert_eq!(after, before, "{}", operation.name);
    }
    let value = SharedValue::new(client.clone(), world.beside("SharedValue"));
    assert_eq!(value.read().await.unwrap().unwrap().data, "some text");
}
