//! The servers that scenarios run on.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::Once;
use std::time::Duration;

use herdless::server::Server;
use herdless::{ClientExt, Connector, Error, Lock, NodePath, Refusal, TokioClient};

use super::{GENEROUS, Proxy, until};

/// One server and one path on it that no other test uses.
pub(crate) struct World {
    /// `HOST:PORT`.
    pub(crate) address: String,
    /// Whether this is the embedded server, which is this test's alone.
    pub(crate) is_embedded: bool,
    path: NodePath,
    /// Ends with the test.
    _server: Option<Server>,
}

/// The variable by which `.ci/zookeeper` tells where its server is.
const ZOOKEEPER: &str = "HERDLESS_ZOOKEEPER";
pub(crate) const NO_ZOOKEEPER: &str =
    "skipped: no ZooKeeper; install Debian's `zookeeper` and run under `.ci/zookeeper`";

impl World {
    /// A new embedded server.
    pub(crate) async fn embedded(name: &str) -> Self {
        let bounds = Duration::from_millis(200)..=Duration::from_secs(40);
        let server = Server::builder().session_timeouts(bounds).bind("127.0.0.1:0").await.unwrap();
        Self::new(server.address().to_string(), name, Some(server))
    }

    /// The real ZooKeeper, if there is one.
    pub(crate) fn zookeeper(name: &str) -> Option<Self> {
        match std::env::var(ZOOKEEPER) {
            Ok(address) => Some(Self::new(address, name, None)),
            Err(_) => {
                skipped(NO_ZOOKEEPER);
                None
            }
        }
    }

    /// A server that the test holds itself.
    pub(crate) fn at(address: &str, name: &str) -> Self {
        Self::new(address.to_owned(), name, None)
    }

    fn new(address: String, name: &str, server: Option<Server>) -> Self {
        // The server may have served another run of the same test.
        let run = RandomState::new().hash_one(name);
        Self {
            address,
            is_embedded: server.is_some(),
            path: NodePath::parse(&format!("/{name}-{run:016x}")).unwrap(),
            _server: server,
        }
    }

    /// The path of the test's lock.
    pub(crate) fn path(&self) -> NodePath {
        self.path.clone()
    }

    /// A path beside the lock's.
    pub(crate) fn beside(&self, name: &str) -> NodePath {
        NodePath::parse(&format!("{}-{name}", self.path)).unwrap()
    }

    /// A client with a session so long that no slow machine ends it.
    pub(crate) async fn connect(&self) -> TokioClient {
        connector(&self.address).connect().await.unwrap()
    }

    /// A lock on the test's path, with a session of its own.
    pub(crate) async fn lock(&self) -> Lock<TokioClient> {
        Lock::new(self.connect().await, self.path())
    }

    /// A proxy in front of the server.
    pub(crate) async fn proxy(&self) -> Proxy {
        Proxy::to(&self.address).await
    }

    /// The names of the nodes in the lock's directory; none where there is no directory.
    pub(crate) async fn line(&self, client: &TokioClient) -> Vec<String> {
        children(client, &self.path).await
    }

    /// Waits until nobody is left in the lock's directory: a release that was not awaited is on its way.
    pub(crate) async fn until_empty(&self, client: &TokioClient) {
        until("an empty line", async || self.line(client).await.is_empty().then_some(())).await;
    }

    /// Waits until this many are in line.
    pub(crate) async fn until_in_line(&self, client: &TokioClient, count: usize) {
        until(&format!("a line of {count}"), async || (self.line(client).await.len() == count).then_some(())).await;
    }
}

/// Options for a client whose session does not end by itself, and that is soon back after a lost connection.
pub(crate) fn connector(address: &str) -> Connector {
    Connector::new(address)
        .unwrap()
        .session_timeout(Duration::from_secs(40))
        .connect_within(GENEROUS)
        .max_backoff(Duration::from_millis(50))
}

async fn children(client: &TokioClient, path: &NodePath) -> Vec<String> {
    loop {
        match client.children(path).await {
            Ok((names, _)) => return names,
            Err(Error::Refused(Refusal::NoNode)) => return Vec::new(),
            Err(Error::ConnectionLost) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs a scenario, which is not to hang.
pub(crate) async fn run(world: &World, scenario: impl AsyncFnOnce(&World)) {
    if tokio::time::timeout(2 * GENEROUS, scenario(world)).await.is_err() {
        panic!("the scenario hangs");
    }
}

/// Says, once, that something is not tested here. Where everything has to be tested it is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    static ONCE: Once = Once::new();
    ONCE.call_once(|| announce(why));
}

/// Says something past the test harness, which keeps what passing tests print to itself.
pub(crate) fn announce(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}
