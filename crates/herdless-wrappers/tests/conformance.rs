//! The suite on the in-memory backend through each wrapper: it changes nothing but what it is there for.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::sync::Arc;
use std::time::Duration;

use herdless_conformance::{Ability, Backend, run_all};
use herdless_core::{Chroot, Client, ClientExt, CreateMode, NodePath, Request, Response, Session};
use herdless_memory::{ManualTime, MemoryClient, MemoryServer};
use herdless_wrappers::{Backoff, Entry, Faulty, History, Retrying};

/// A client of the server, and what is around it.
#[derive(Clone)]
struct Wrapped {
    bare: MemoryClient,
    outer: Arc<dyn Client>,
}

impl Client for Wrapped {
    fn submit(&self, request: Request) -> Response {
        self.outer.submit(request)
    }

    fn session(&self) -> Session {
        self.outer.session()
    }
}

struct Memory<F> {
    server: MemoryServer,
    wrap: F,
}

impl<F: Fn(MemoryClient) -> Arc<dyn Client> + 'static> Backend for Memory<F> {
    type Client = Wrapped;

    async fn connect(&self) -> Wrapped {
        let bare = self.server.connect();
        Wrapped { outer: (self.wrap)(bare.clone()), bare }
    }

    fn has(&self, ability: Ability) -> bool {
        !matches!(ability, Ability::Limit | Ability::LoseLeader | Ability::Loopback | Ability::NoTimeToLive)
    }

    async fn disconnect(&self, client: &Wrapped) {
        self.server.disconnect(&client.bare);
    }

    async fn reconnect(&self, client: &Wrapped) {
        self.server.reconnect(&client.bare);
    }

    async fn expire(&self, client: &Wrapped) {
        self.server.expire(&client.bare);
    }

    async fn lose_next_reply(&self, client: &Wrapped) {
        self.server.lose_reply_after(&client.bare, 0);
    }

    async fn pass_time(&self, time: Duration) {
        self.server.pass(time);
    }
}

/// Runs all cases, and yields those that are not kept. If all are, the server holds what it held before and nothing else.
async fn failed(
    server: MemoryServer,
    wrap: impl Fn(MemoryClient) -> Arc<dyn Client> + 'static,
) -> Vec<(&'static str, String)> {
    let left = |server: &MemoryServer| server.inspect(|tree| (tree.paths().count(), tree.watch_count()));
    let before = left(&server);
    let memory = Memory { server, wrap };
    let report = run_all(&memory).await;
    println!("{report}");
    assert!(report.passed.len() > 150 && report.left_out.len() == 9, "{report}");
    // A case that is not kept does not clean up.
    if report.failed.is_empty() {
        assert_eq!(left(&memory.server), before);
    }
    report.failed
}

async fn conforms(wrap: impl Fn(MemoryClient) -> Arc<dyn Client> + 'static) {
    assert_eq!(failed(MemoryServer::new(), wrap).await, []);
}

fn retrying(client: impl Client + 'static) -> Retrying<impl Client + 'static> {
    Retrying::new(client, Backoff::new(3).first(Duration::ZERO), Arc::new(ManualTime::new()))
}

#[tokio::test]
async fn through_retrying() {
    conforms(|client| Arc::new(retrying(client))).await;
    conforms(|client| Arc::new(retrying(client).out_of_order())).await;
}

#[tokio::test]
async fn through_a_recorder() {
    let history = History::new(100_000);
    let recorded = history.clone();
    conforms(move |client| Arc::new(recorded.record(client))).await;
    let entries: Vec<_> = history.drain().collect();
    assert!(entries.len() > 500 && entries.iter().all(|entry| matches!(entry, Entry::Invocation(_))));
    assert_eq!(history.entries().count(), 0, "what is under way when all is over");
}

#[tokio::test]
async fn through_faulty_without_a_fault() {
    conforms(|client| Arc::new(Faulty::new(client))).await;
}

/// Every wrapper at once, over a subtree.
#[tokio::test]
async fn through_a_stack() {
    let server = MemoryServer::new();
    let (root, history) = (NodePath::parse("/app").unwrap(), History::new(10));
    server.connect().create(&root, "", CreateMode::Persistent).await.unwrap();
    let failed = failed(server, move |client| {
        let inner: Arc<dyn Client> = Arc::new(history.record(Chroot::new(client, root.clone())));
        let client = retrying(Faulty::new(inner));
        #[cfg(feature = "metrics")]
        let client = herdless_wrappers::Metered::new(client, "suite", Arc::new(ManualTime::new()));
        Arc::new(client)
    })
    .await;
    // What is `/` of a subtree is an ordinary node, which may be made and deleted.
    let of_the_root = ["the_root_is_neither_created_nor_deleted", "the_root_is_refused_in_a_multi_as_well"];
    assert!(failed.iter().map(|(name, _)| *name).eq(of_the_root), "{failed:?}");
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn through_metered() {
    let time = Arc::new(ManualTime::new());
    conforms(move |client| Arc::new(herdless_wrappers::Metered::new(client, "suite", time.clone()))).await;
}
