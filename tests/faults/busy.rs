//! A runtime that has no time for its client.

use std::time::{Duration, Instant};

use herdless::{Client, ClientExt, Connector, Lock, LockGuard, NodePath, TokioClient};
use tokio::runtime::{Builder, Runtime};

use crate::support::{World, connector, until};

const TIMEOUT: Duration = Duration::from_secs(2);

/// A server on a runtime of its own, and the runtime that is to be blocked.
fn runtimes() -> (Runtime, World, Runtime) {
    let servers = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = servers.block_on(World::embedded("busy"));
    (servers, world, Builder::new_current_thread().enable_all().build().unwrap())
}

fn options(world: &World) -> Connector {
    connector(&world.address).session_timeout(TIMEOUT)
}

/// Keeps the thread for this long; for how long the guard said that it is valid.
#[expect(clippy::disallowed_methods, reason = "it stands for work that blocks, and looks at the clock meanwhile")]
fn block<C: Client>(guard: &LockGuard<C>, time: Duration) -> Duration {
    let (start, mut valid) = (Instant::now(), Duration::ZERO);
    while start.elapsed() < time {
        let at = start.elapsed();
        if guard.is_valid() {
            valid = at;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    valid
}

#[test]
fn a_guard_of_a_starved_client_is_invalid_at_the_first_look_and_in_time() {
    let (_servers, world, runtime) = runtimes();
    runtime.block_on(async {
        let client = options(&world).connect().await.unwrap();
        let lock = Lock::new(client.clone(), world.path());
        let guard = lock.acquire().await.unwrap();
        let session = guard.session().id();
        assert!(guard.is_valid());
        let valid = block(&guard, TIMEOUT + Duration::from_millis(500));
        assert!(!guard.is_valid(), "nothing else has run since");
        // The last answered request was sent before the block began.
        assert!(valid < TIMEOUT, "still green after {valid:?}");
        guard.lost().await;
        // The client goes on in another session.
        let next = lock.acquire().await.unwrap();
        assert_ne!(next.session().id(), session);
    });
}

#[test]
fn a_client_with_a_thread_of_its_own_keeps_its_session_and_gives_the_thread_back() {
    let (_servers, world, runtime) = runtimes();
    runtime.block_on(async {
        assert_eq!(threads(), 0);
        let client = options(&world).dedicated_thread().connect().await.unwrap();
        assert_eq!(threads(), 1);
        let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
        block(&guard, 2 * TIMEOUT);
        assert!(guard.is_valid(), "with nothing else run since");
        guard.multi(Vec::new()).await.unwrap();
        assert_eq!(client.counters().connects, 1);
        assert_eq!(client.session().id(), guard.session().id());
        guard.release().await.unwrap();

        // By a close, and by the last clone.
        client.close().await.unwrap();
        until("the end of the thread", async || (threads() == 0).then_some(())).await;
        drop(client);
        let client = options(&world).dedicated_thread().connect().await.unwrap();
        let node = world.beside("node");
        client.create(&node, "", herdless::CreateMode::Ephemeral).await.unwrap();
        drop(client);
        until("the end of the thread", async || (threads() == 0).then_some(())).await;
        assert_eq!(world.connect().await.exists(&node).await, Ok(None), "the session was closed");

        // Where no server is reached, the thread goes with the attempt.
        let nowhere = connector("127.0.0.1:1").connect_within(Duration::from_millis(50)).dedicated_thread();
        nowhere.connect().await.unwrap_err();
        until("the end of the thread", async || (threads() == 0).then_some(())).await;
    });
    outlives_its_runtime(&world);
}

/// The client may be used from one runtime after another.
fn outlives_its_runtime(world: &World) {
    let one = || Builder::new_current_thread().enable_all().build().unwrap();
    let client: TokioClient = one().block_on(options(world).dedicated_thread().connect()).unwrap();
    one().block_on(async { client.sync(&NodePath::root()).await.unwrap() });
    assert_eq!(client.counters().connects, 1);
}

/// How many drivers have a thread of their own (Linux).
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "herdless").count()
}
