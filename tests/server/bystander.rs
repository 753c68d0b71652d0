//! Somebody who behaves, while others do not.

use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use herdless::server::{Limits, Server};
use herdless::{ClientExt, CreateMode, NodePath, TokioClient, Version};
use tokio::task::JoinHandle;

use crate::support::{connector, until};

/// A server with these limits, and its address.
pub(crate) async fn serve(limits: Limits) -> (Server, String) {
    watch_for_panics();
    let server = Server::builder().limits(limits).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    (server, address)
}

/// A client that writes and reads one node after another, each time expecting to find what it has written.
pub(crate) struct Bystander {
    client: TokioClient,
    rounds: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Bystander {
    pub(crate) async fn start(address: &str) -> Self {
        let client = connector(address).connect().await.unwrap();
        let node = NodePath::parse("/bystander").unwrap();
        client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
        let (rounds, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn({
            let (client, rounds, is_over) = (client.clone(), rounds.clone(), is_over.clone());
            async move {
                while !is_over.load(Ordering::Relaxed) {
                    let written = rounds.load(Ordering::Relaxed).to_string();
                    client.set(&node, written.clone(), Version::ANY).await.expect("a write of the bystander");
                    let (data, _) = client.get(&node).await.expect("a read of the bystander");
                    assert_eq!(data, written);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let bystander = Self { client, rounds, is_over, task };
        bystander.goes_on().await;
        bystander
    }

    /// Waits until it has done something more.
    pub(crate) async fn goes_on(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        until("the bystander", async || {
            assert!(!self.task.is_finished(), "the bystander is served");
            (self.rounds.load(Ordering::Relaxed) > before + 1).then_some(())
        })
        .await;
    }

    /// Nothing has happened to it: all it asked for was done, on one connection, and it goes on.
    pub(crate) async fn unharmed(self) {
        self.goes_on().await;
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        assert_eq!(self.client.counters().connects, 1);
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "panics in the server");
    }
}

/// A panic while a connection is served would end that connection alone, and nobody might notice.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Those of the tests themselves are told anyway.
            if !info.location().is_some_and(|at| at.file().starts_with("tests")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
}

/// How much of this process is in memory, in bytes; 0 where the system does not tell.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
