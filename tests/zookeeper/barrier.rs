//! The same barrier, of others and of ours. The double barrier is not shared with anybody: its layout is its own, because
//! those of Curator and kazoo cannot keep rounds apart.

use herdless::{Barrier, ClientExt, NodePath};

use crate::support::{Peer, World, is_pending};
use crate::theirs::{Theirs, beside, ok};

beside! {
    curator Curator: they_close_and_open_it we_close_and_open_it each_opens_what_the_other_closed;
    kazoo Kazoo: they_close_and_open_it we_close_and_open_it each_opens_what_the_other_closed;
}

async fn they_close_and_open_it(world: &World, peer: &Peer, _: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let barrier = Barrier::new(client.clone(), path.clone());
    barrier.wait().await.unwrap();
    for _ in 0..20 {
        ok(peer, &format!("barrier set {path}")).await;
        // Their server's answer came before we ask.
        assert!(barrier.is_closed().await.unwrap());
        let mut wait = Box::pin(barrier.wait());
        assert!(is_pending(&mut wait).await);
        client.exists(&NodePath::root()).await.unwrap();
        assert!(is_pending(&mut wait).await, "it is closed");
        ok(peer, &format!("barrier remove {path}")).await;
        wait.await.unwrap();
        assert!(!barrier.is_closed().await.unwrap());
    }
}

async fn we_close_and_open_it(world: &World, peer: &Peer, _: Theirs) {
    let (client, path) = (world.connect().await, world.path());
    let barrier = Barrier::new(client.clone(), path.clone());
    ok(peer, &format!("barrier wait {path}")).await;
    for _ in 0..20 {
        barrier.close().await.unwrap();
        let mut wait = Box::pin(peer.ask(&format!("barrier wait {path}")));
        assert_eq!(peer.ask(&format!("barrier wait {path} 20")).await, "no");
        assert!(is_pending(&mut wait).await, "it is closed");
        barrier.open().await.unwrap();
        assert_eq!(wait.await, "ok");
        assert!(client.exists(&path).await.unwrap().is_none());
    }
}

async fn each_opens_what_the_other_closed(world: &World, peer: &Peer, _: Theirs) {
    let path = world.path();
    let barrier = Barrier::new(world.connect().await, path.clone());
    ok(peer, &format!("barrier set {path}")).await;
    barrier.close().await.unwrap();
    barrier.open().await.unwrap();
    ok(peer, &format!("barrier wait {path}")).await;

    barrier.close().await.unwrap();
    ok(peer, &format!("barrier set {path}")).await;
    ok(peer, &format!("barrier remove {path}")).await;
    barrier.wait().await.unwrap();
    assert!(!barrier.is_closed().await.unwrap());
}
