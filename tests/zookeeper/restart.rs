//! A server that dies, and one that tidies up.

use herdless::{Client, ClientExt, Lock, NodePath, SessionState};

use crate::support::{NO_ZOOKEEPER, ZooKeeper, connector, skipped, until, until_suspended};

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_outlives_a_server_that_is_killed() {
    let Some(mut server) = ZooKeeper::start("restart", &[]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let (client, other) =
        (connector(&server.address).connect().await.unwrap(), connector(&server.address).connect().await.unwrap());
    let (lock, behind) = (Lock::new(client.clone(), path("/lock")), Lock::new(other.clone(), path("/lock")));
    let guard = lock.acquire().await.unwrap();
    let session = guard.session().id();
    let waiter = tokio::spawn(async move { behind.acquire().await });
    until("the waiter in line", async || (lock.contenders().await.unwrap().len() == 2).then_some(())).await;

    server.kill().await;
    for client in [&client, &other] {
        until_suspended(client).await;
        assert_eq!(client.session().state(), SessionState::Suspended);
    }
    assert!(guard.is_valid(), "no server can have given it away");
    server.start_again().await;
    // What is asked meanwhile is answered by the new one.
    guard.multi(Vec::new()).await.unwrap();
    assert!(guard.is_valid());
    assert_eq!(client.session().id(), session, "the same session");
    let line = lock.contenders().await.unwrap();
    assert_eq!(line.len(), 2, "nobody has lost the place in line");
    assert_eq!(line[0].token, guard.token());
    assert!(!waiter.is_finished());

    let token = guard.token();
    guard.release().await.unwrap();
    let next = waiter.await.unwrap().unwrap();
    assert!(next.token() > token);
    assert_eq!(next.token(), line[1].token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_while_the_server_is_down_is_made_up_for() {
    let Some(mut server) = ZooKeeper::start("release", &[]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let client = connector(&server.address).connect().await.unwrap();
    let lock = Lock::new(client.clone(), path("/lock"));
    let guard = lock.acquire().await.unwrap();
    server.kill().await;
    until_suspended(&client).await;
    drop(guard);
    server.start_again().await;
    let other = connector(&server.address).connect().await.unwrap();
    let guard = Lock::new(other, path("/lock")).acquire().await.unwrap();
    assert!(guard.is_valid());
    assert_eq!(client.counters().connects, 2, "the first session lives on");
}

/// Missing parents are made as containers: the server takes them away again, and the lock makes them anew, also where
/// the one comes in between the steps of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_empty_directories_of_locks_are_removed_and_made_again() {
    let often = ["-Dznode.container.checkIntervalMs=20"];
    let Some(server) = ZooKeeper::start("containers", &often).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let client = connector(&server.address).connect().await.unwrap();
    let (top, deep) = (path("/locks"), path("/locks/orders/eu"));
    let lock = Lock::new(client.clone(), deep.clone());
    let mut last = None;
    let mut removals = 0;
    for round in 0..200 {
        if round % 20 == 0 {
            until("the directories to go", async || client.exists(&top).await.unwrap().is_none().then_some(())).await;
            removals += 1;
        }
        let guard = lock.acquire().await.unwrap();
        assert!(last < Some(guard.token()), "also where numbers begin anew");
        last = Some(guard.token());
        guard.release().await.unwrap();
    }
    assert_eq!(removals, 10);
}
