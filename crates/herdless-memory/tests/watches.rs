//! Watches that nobody waits for any more.

#![expect(clippy::unwrap_used, reason = "what is not a test here is a test's helper")]

use herdless_core::{AddWatchMode, ClientExt, CreateMode, EventKind, NodePath, Version, Watch, WatcherType};
use herdless_memory::{MemoryClient, MemoryServer};

fn path(name: impl std::fmt::Display) -> NodePath {
    NodePath::parse(&format!("/{name}")).unwrap()
}

async fn watch(client: &MemoryClient, name: impl std::fmt::Display) -> Watch {
    client.exists_and_watch(&path(name)).await.unwrap().1
}

fn count(server: &MemoryServer) -> usize {
    server.inspect(|tree| tree.watch_count())
}

#[tokio::test]
async fn dropped_watches_do_not_pile_up() {
    let server = MemoryServer::new();
    let client = server.connect();
    let kept = watch(&client, "kept").await;
    for n in 0..10_000 {
        drop(watch(&client, n).await);
        assert!(count(&server) <= 64);
    }
    // As many live ones as that, and more.
    let mut live = Vec::new();
    for n in 0..1_000 {
        live.push(watch(&client, format!("live-{n}")).await);
    }
    for n in 0..10_000 {
        drop(watch(&client, n).await);
        assert!(count(&server) <= 2 * (1 + 64 + live.len()));
    }
    client.create(&path("kept"), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(kept.await.unwrap().kind, EventKind::Created);
    client.create(&path("live-999"), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(live.pop().unwrap().await.unwrap().kind, EventKind::Created);
}

#[tokio::test]
async fn others_on_the_same_path_keep_theirs() {
    let server = MemoryServer::new();
    let client = server.connect();
    client.create(&path("a"), "", CreateMode::Persistent).await.unwrap();
    client.create(&path("b"), "", CreateMode::Persistent).await.unwrap();
    let stream = client.add_watch(&path("b"), AddWatchMode::Persistent).await.unwrap();
    let (_, data) = client.get_and_watch(&path("a")).await.unwrap();
    for name in ["a", "b"] {
        drop(client.get_and_watch(&path(name)).await.unwrap());
        drop(client.children_and_watch(&path(name)).await.unwrap());
    }
    for n in 0..100 {
        drop(watch(&client, n).await);
    }
    client.set(&path("a"), "x", Version::ANY).await.unwrap();
    assert_eq!(data.await.unwrap().kind, EventKind::DataChanged);
    // What fires once has fired by then.
    client.set(&path("b"), "x", Version::ANY).await.unwrap();
    client.create(&path("b/c"), "", CreateMode::Persistent).await.unwrap();
    client.check_watches(&path("b"), WatcherType::Any).await.unwrap();
    drop(stream);
    assert!(client.check_watches(&path("b"), WatcherType::Any).await.is_err());
}
