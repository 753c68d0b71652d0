//! The embedded server is started again, on the data that it has left, under clients that are not told.

use crate::support::{Peer, Scratch, World, free_port, is_pending, run};
use crate::transcript::on_disk;

async fn ok(peer: &Peer, command: &str) {
    assert_eq!(peer.ask(command).await, "ok", "{command}");
}

/// Their sessions go on: so who holds the lock when the server ends holds it when the server is back, and who waits in
/// line is still in line.
async fn survive(name: &str, start: impl AsyncFn(&World) -> Option<Peer>) {
    const ROUNDS: usize = 3;
    let scratch = Scratch::new(name);
    let address = format!("127.0.0.1:{}", free_port());
    let mut server = on_disk(scratch.file("data"), &address).await;
    let world = World::at(&address, name);
    let (Some(holder), Some(waiter)) = (start(&world).await, start(&world).await) else {
        return;
    };
    let client = world.connect().await;
    run(&world, async |world: &World| {
        for round in 1..=ROUNDS {
            let path = world.path();
            ok(&holder, &format!("mutex acquire held {path}")).await;
            let waiting = waiter.ask(&format!("mutex acquire awaited {path}"));
            world.until_in_line(&client, 2).await;
            let line = world.line(&client).await;
            server.shutdown().await;
            server = on_disk(scratch.file("data"), &address).await;
            assert_eq!(world.line(&client).await, line, "round {round}");
            let mut waiting = Box::pin(waiting);
            assert!(is_pending(&mut waiting).await, "round {round}: the lock was lost");
            ok(&holder, "mutex release held").await;
            assert_eq!(waiting.await, "ok", "round {round}");
            ok(&waiter, "mutex release awaited").await;
            world.until_empty(&client).await;
        }
        holder.quit().await;
        waiter.quit().await;
        server.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curator_holds_its_lock_over_restarts() {
    survive("curator-restart", Peer::curator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kazoo_holds_its_lock_over_restarts() {
    survive("kazoo-restart", Peer::kazoo).await;
}
