//! The conformance suite on the embedded server and on Apache ZooKeeper, each case a test of its own.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::sync::Arc;
use std::time::Duration;

use herdless::core::{Request, Response};
use herdless::server::Server;
use herdless::{Client, Connector, Session, SessionState, TokioClient};
use herdless_conformance::{Ability, Backend, Verdict, case, cases};

use support::{GENEROUS, NO_ZOOKEEPER, Proxy, connector, skipped, until, until_suspended};

mod support;

/// A server, and clients that each have a proxy of their own before it.
struct OverTcp {
    address: String,
    allows_ttl: bool,
    /// Ends with the test.
    _server: Option<Server>,
}

/// A client whose connection can be cut.
#[derive(Clone, Debug)]
struct Cuttable {
    client: TokioClient,
    proxy: Arc<Proxy>,
}

impl Client for Cuttable {
    fn submit(&self, request: Request) -> Response {
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

impl OverTcp {
    async fn embedded(allows_ttl: bool) -> Self {
        let bounds = Duration::from_millis(200)..=Duration::from_secs(40);
        let server = Server::builder().session_timeouts(bounds).allow_ttl(allows_ttl).bind("127.0.0.1:0");
        let server = server.await.unwrap();
        Self { address: server.address().to_string(), allows_ttl, _server: Some(server) }
    }

    fn zookeeper() -> Option<Self> {
        let Ok(address) = std::env::var("HERDLESS_ZOOKEEPER") else {
            skipped(NO_ZOOKEEPER);
            return None;
        };
        Some(Self { address, allows_ttl: true, _server: None })
    }

    async fn proxied(&self, options: impl FnOnce(Connector) -> Connector) -> Cuttable {
        let proxy = Proxy::to(&self.address).await;
        let client = options(connector(&proxy.address())).connect().await.unwrap();
        Cuttable { client, proxy: Arc::new(proxy) }
    }

    /// Runs the case of this name, which is not to hang.
    async fn run(&self, name: &str) {
        let case = case(name).expect("a case of the list");
        match tokio::time::timeout(2 * GENEROUS, case.run(self)).await {
            Ok(Verdict::Passed) => {}
            Ok(Verdict::LeftOut(ability)) => println!("left out: {name} needs {ability:?}"),
            Err(_) => panic!("the case hangs"),
        }
    }

    /// What does not run here.
    fn left_out(&self) -> Vec<&'static str> {
        cases().iter().filter(|case| case.lacks(self).is_some()).map(|case| case.name()).collect()
    }
}

impl Backend for OverTcp {
    type Client = Cuttable;

    async fn connect(&self) -> Cuttable {
        self.proxied(|options| options).await
    }

    fn has(&self, ability: Ability) -> bool {
        match ability {
            Ability::TimeToLive => self.allows_ttl,
            Ability::NoTimeToLive => !self.allows_ttl,
            // A server looks for nodes whose time is over once a minute, by its own clock.
            Ability::PassTime => false,
            _ => true,
        }
    }

    async fn connect_mortal(&self) -> Cuttable {
        self.proxied(|options| options.session_timeout(Duration::from_secs(2))).await
    }

    async fn connect_limited(&self, in_flight: usize) -> Cuttable {
        self.proxied(|options| options.max_in_flight(in_flight)).await
    }

    async fn disconnect(&self, client: &Cuttable) {
        client.proxy.down();
        until_suspended(&client.client).await;
    }

    async fn reconnect(&self, client: &Cuttable) {
        client.proxy.up();
    }

    async fn expire(&self, client: &Cuttable) {
        let session = client.session();
        client.proxy.down();
        session.lost().await;
        client.proxy.up();
        until("the next session", async || (client.session().state() == SessionState::Connected).then_some(())).await;
    }

    async fn lose_next_reply(&self, client: &Cuttable) {
        client.proxy.lose_replies_after(0);
        let proxy = client.proxy.clone();
        tokio::spawn(async move {
            while !proxy.has_lost() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Nobody may come back before the proxy passes on again.
            proxy.down();
            proxy.pass_replies();
            proxy.up();
        });
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::OverTcp::embedded(true).await.run(stringify!($name)).await;
            })*
        }

        mod zookeeper {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(zookeeper) = super::OverTcp::zookeeper() {
                    zookeeper.run(stringify!($name)).await;
                }
            })*
        }
    };
}

herdless_conformance::for_each_case!(tests);

/// What a server that allows nodes with a time to live does not show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_time_to_live() {
    OverTcp::embedded(false).await.run("a_time_to_live_is_refused_where_it_is_not_allowed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_is_known() {
    let left_out = OverTcp::embedded(true).await.left_out();
    let expected = [
        "a_container_goes_some_time_after_its_last_child",
        "a_container_that_was_never_used_stays",
        "a_time_to_live_is_refused_where_it_is_not_allowed",
        "a_node_goes_when_its_time_to_live_is_over",
        "a_write_begins_the_time_to_live_anew",
        "a_node_with_children_outlives_its_time",
    ];
    assert_eq!(left_out, expected);
    println!("{} cases, {} of them left out", cases::<OverTcp>().len(), left_out.len());
    if let Some(zookeeper) = OverTcp::zookeeper() {
        assert_eq!(zookeeper.left_out(), expected);
    }
}
