//! The same lock, held in turns by Curator and by us.

use std::path::{Path, PathBuf};
use std::time::Duration;

use herdless::{ClientExt, Lock, TokioClient, Version};
use tokio::io::AsyncWriteExt;

use crate::support::{Java, Party, Scratch, World, is_pending, run, skipped, until_watching};

const JARS: [&str; 3] = ["curator-recipes.jar", "curator-framework.jar", "slf4j-nop.jar"];

/// ZooKeeper, and Curator to contend with. One compilation each: they are few.
async fn curator(name: &str) -> Option<(World, Java)> {
    let world = World::zookeeper(name)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/CuratorLock.java");
    let java = Java::compile(name, &source, &JARS).await;
    if java.is_none() {
        skipped("skipped: no Curator; install Debian's `libcurator-recipes-java` and a JDK");
    }
    Some((world, java?))
}

/// A file that both count in, and its log, as the comment in `CuratorLock.java` has it.
struct Counter {
    scratch: Scratch,
}

impl Counter {
    fn new(name: &str) -> Self {
        Self { scratch: Scratch::new(name) }
    }

    fn file(&self) -> PathBuf {
        self.scratch.file("counter")
    }

    fn log(&self) -> PathBuf {
        self.scratch.file("counter.log")
    }

    /// As `CuratorLock` does it: an update is lost if anybody else is inside.
    async fn visit(&self) {
        self.note("enter").await;
        let before = match tokio::fs::read_to_string(self.file()).await {
            Ok(text) => text.trim().parse::<u64>().unwrap(),
            Err(_) => 0,
        };
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::fs::write(self.file(), format!("{}\n", before + 1)).await.unwrap();
        self.note("leave").await;
    }

    async fn note(&self, what: &str) {
        let line = format!("{what} herdless {}\n", std::process::id());
        let mut log = tokio::fs::OpenOptions::new().create(true).append(true).open(self.log()).await.unwrap();
        log.write_all(line.as_bytes()).await.unwrap();
        log.flush().await.unwrap();
    }

    /// Who was inside, in order; nobody while somebody else was.
    fn visits(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap();
        let lines: Vec<_> = log.lines().collect();
        let visits = lines.chunks(2).map(|visit| {
            let [enter, leave] = visit else {
                panic!("{visit:?} alone");
            };
            let who = enter.strip_prefix("enter ").expect("first in");
            assert_eq!(Some(who), leave.strip_prefix("leave "), "overlap");
            who.split_once(' ').unwrap().0.to_owned()
        });
        visits.collect()
    }

    fn count(&self) -> u64 {
        let text = std::fs::read_to_string(self.file()).unwrap();
        text.trim().parse().unwrap()
    }
}

fn party(java: &Java, world: &World, counter: &Counter, rounds: usize, mode: &str) -> Party {
    java.run(&[&world.address, world.path().as_str(), &rounds.to_string(), counter.file().to_str().unwrap(), mode])
}

async fn take_turns(world: &World, java: &Java, lock: Lock<TokioClient>) {
    const ROUNDS: usize = 200;
    let counter = Counter::new(world.path().name());
    let client = world.connect().await;
    // Nobody begins before the other is in line.
    let mut guard = lock.acquire().await.unwrap();
    let curator = party(java, world, &counter, ROUNDS, "rounds");
    world.until_in_line(&client, 2).await;
    for round in 1..=ROUNDS {
        counter.visit().await;
        if round < ROUNDS {
            // In line again before it leaves, so that neither side is ever alone for long.
            let next = lock.enqueue().await.unwrap();
            drop(guard);
            guard = next.await.unwrap();
        }
    }
    guard.release().await.unwrap();
    curator.end().await;
    assert_eq!(counter.count(), 2 * ROUNDS as u64, "updates were lost");
    let visits = counter.visits();
    assert_eq!(visits.len(), 2 * ROUNDS);
    let turns = visits.windows(2).filter(|pair| pair[0] != pair[1]).count();
    println!("{turns} times it was the other's turn");
    assert!(turns > 20, "hardly any interleaving: {turns}");
    world.until_empty(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curator_and_we_take_turns() {
    if let Some((world, java)) = curator("turns").await {
        run(&world, async |world: &World| {
            take_turns(world, &java, world.lock().await).await;
        })
        .await;
    }
}

/// And somebody writes `__REVOKE__` into the nodes of those in line all the while, as Curator's `Revoker` does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curator_and_we_take_turns_while_locks_are_revoked() {
    let Some((world, java)) = curator("revoked").await else {
        return;
    };
    run(&world, async |world: &World| {
        let lock = Lock::builder(world.connect().await, world.path()).confirm_hand_over(true).build();
        let client = world.connect().await;
        let mut written = 0;
        let revoking = async {
            loop {
                for name in world.line(&client).await {
                    let node = world.path().child(&name).unwrap();
                    // It may have gone by now.
                    let set = client.set(&node, "__REVOKE__", Version::ANY).await;
                    written += usize::from(set.is_ok());
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = take_turns(world, &java, lock) => {}
            () = revoking => {}
        }
        assert!(written > 20, "only {written} were revoked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn we_wait_for_curator() {
    let Some((world, java)) = curator("wait").await else {
        return;
    };
    run(&world, async |world: &World| {
        let counter = Counter::new("wait");
        let mut curator = party(&java, world, &counter, 1, "hold");
        assert_eq!(curator.line().await.unwrap(), "ACQUIRED");
        let client = world.connect().await;
        let lock = Lock::new(client.clone(), world.path());
        assert!(lock.try_acquire().await.unwrap().is_none());
        let holder = lock.holders().await.unwrap().into_iter().next().expect("Curator");
        assert!(holder.path.name().contains("-lock-"), "{holder:?}");
        let mut wait = Box::pin(lock.acquire());
        until_watching(&client, &mut wait).await;
        curator.nudge().await;
        let guard = wait.await.unwrap();
        assert!(guard.token() > holder.token);
        assert_eq!(curator.line().await.unwrap(), "RELEASED");
        curator.end().await;
        guard.multi(Vec::new()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curator_waits_for_us() {
    let Some((world, java)) = curator("waits").await else {
        return;
    };
    run(&world, async |world: &World| {
        let counter = Counter::new("waits");
        let client = world.connect().await;
        let lock = Lock::new(client.clone(), world.path());
        let guard = lock.acquire().await.unwrap();
        let mut curator = party(&java, world, &counter, 1, "hold");
        world.until_in_line(&client, 2).await;
        let behind = lock.enqueue().await.unwrap();
        let mut behind = Box::pin(behind.wait());
        until_watching(&client, &mut behind).await;
        {
            let mut line = Box::pin(curator.line());
            assert!(is_pending(&mut line).await, "the lock is held");
            guard.release().await.unwrap();
            assert_eq!(line.await.unwrap(), "ACQUIRED");
        }
        // And who came after Curator comes after Curator.
        client.exists(&world.path()).await.unwrap();
        assert!(is_pending(&mut behind).await);
        curator.nudge().await;
        behind.await.unwrap().release().await.unwrap();
        curator.end().await;
    })
    .await;
}
