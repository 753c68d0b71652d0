//! The conformance suite on the embedded server and on Apache ZooKeeper, each case a test of its own; and all of it on an
//! ensemble whose leader is killed in the middle.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::sync::Arc;
use std::time::Duration;

use herdless::core::{Request, Response};
use herdless::server::Server;
use herdless::{Client, Connector, Session, SessionState, TokioClient};
use herdless_conformance::{Ability, Backend, Verdict, case, cases};

use support::{GENEROUS, NO_ZOOKEEPER, Proxy, announce, connector, skipped, until, until_suspended};

use ensemble::OfEnsemble;

#[path = "conformance/ensemble.rs"]
mod ensemble;
mod support;

/// Servers, and clients that each have a proxy of their own before them.
struct OverTcp {
    /// Each client is connected to the first, and to the next whenever it comes back.
    servers: Vec<String>,
    allows_ttl: bool,
    /// Where the servers have a leader.
    ensemble: Option<OfEnsemble>,
    /// Ends with the test.
    server: Option<Server>,
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
        Self { servers: vec![server.address().to_string()], allows_ttl, ensemble: None, server: Some(server) }
    }

    fn zookeeper() -> Option<Self> {
        let Ok(address) = std::env::var("HERDLESS_ZOOKEEPER") else {
            skipped(NO_ZOOKEEPER);
            return None;
        };
        Some(Self { servers: vec![address], allows_ttl: true, ensemble: None, server: None })
    }

    async fn proxied(&self, options: impl FnOnce(Connector) -> Connector) -> Cuttable {
        self.proxied_to(0, options).await
    }

    async fn proxied_to(&self, first: usize, options: impl FnOnce(Connector) -> Connector) -> Cuttable {
        let mut servers = self.servers.clone();
        servers.rotate_left(first);
        let proxy = Proxy::to_each_of(servers).await;
        let client = options(connector(&proxy.address())).connect().await.unwrap();
        if let Some(of) = &self.ensemble {
            of.enter(&client);
        }
        Cuttable { client, proxy: Arc::new(proxy) }
    }

    /// Lets no client come to a server that is behind what others have been told.
    async fn catch_up(&self) {
        if let Some(of) = &self.ensemble {
            of.servers.catch_up().await;
        }
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
            Ability::OwnWatches => self.server.is_some(),
            Ability::Alone => self.ensemble.is_none(),
            Ability::LoseLeader => self.ensemble.is_some(),
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
        if let Some(of) = self.ensemble.as_ref().filter(|of| of.is_deadly) {
            of.lose_leader(Some(&client.client)).await;
        }
    }

    async fn reconnect(&self, client: &Cuttable) {
        self.catch_up().await;
        client.proxy.up();
    }

    async fn expire(&self, client: &Cuttable) {
        let session = client.session();
        client.proxy.down();
        session.lost().await;
        self.catch_up().await;
        client.proxy.up();
        until("the next session", async || (client.session().state() == SessionState::Connected).then_some(())).await;
    }

    async fn lose_next_reply(&self, client: &Cuttable) {
        client.proxy.lose_replies_after(0);
        let proxy = client.proxy.clone();
        let ensemble = self.ensemble.as_ref().map(|of| of.servers.clone());
        tokio::spawn(async move {
            while !proxy.has_lost() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Nobody may come back before the proxy passes on again.
            proxy.down();
            proxy.pass_replies();
            if let Some(ensemble) = ensemble {
                ensemble.catch_up().await;
            }
            proxy.up();
        });
    }

    async fn lose_leader(&self) {
        self.ensemble.as_ref().expect("it has the ability").lose_leader(None).await;
    }

    async fn connect_elsewhere(&self, client: &Cuttable) -> Cuttable {
        let its = client.proxy.server();
        let elsewhere = self.servers.iter().position(|server| *server != its).expect("there are several");
        self.proxied_to(elsewhere, |options| options).await
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
    let mut left_out = OverTcp::embedded(true).await.left_out();
    let is_of_topic = |name: &&str| case::<OverTcp>(name).is_some_and(|case| case.topic() == "leaders");
    assert_eq!(left_out.iter().filter(|name| is_of_topic(name)).count(), 6, "one server has no leader to lose");
    let all = left_out.len();
    left_out.retain(|name| !is_of_topic(name));
    let expected = [
        "a_container_goes_some_time_after_its_last_child",
        "a_container_that_was_never_used_stays",
        "a_time_to_live_is_refused_where_it_is_not_allowed",
        "a_node_goes_when_its_time_to_live_is_over",
        "a_write_begins_the_time_to_live_anew",
        "a_node_with_children_outlives_its_time",
    ];
    assert_eq!(left_out, expected);
    let each = cases::<OverTcp>().len() - all;
    announce(&format!(
        "embedded server: {each} cases, each a test; {all} left out: of leaders, {}",
        left_out.join(", ")
    ));
    if let Some(zookeeper) = OverTcp::zookeeper() {
        let mut theirs = zookeeper.left_out();
        theirs.retain(|name| !is_of_topic(name));
        let own = theirs.remove(0);
        assert_eq!((own, theirs), ("one_is_told_of_ones_own_watches_only", left_out));
        let (each, all) = (each - 1, all + 1);
        announce(&format!("ZooKeeper alone: {each} cases, each a test; {all} left out: the same, and {own}"));
    }
}
