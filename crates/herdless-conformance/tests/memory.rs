//! The suite on the in-memory backend.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::io::Write;
use std::time::Duration;

use herdless_conformance::{Ability, Backend, run_all};
use herdless_memory::{MemoryClient, MemoryServer};

struct Memory(MemoryServer);

impl Backend for Memory {
    type Client = MemoryClient;

    async fn connect(&self) -> MemoryClient {
        self.0.connect()
    }

    fn has(&self, ability: Ability) -> bool {
        // There is one server, and nothing between a client and it that could be full, and no address; any node may have a time to
        // live.
        !matches!(ability, Ability::Limit | Ability::LoseLeader | Ability::Loopback | Ability::NoTimeToLive)
    }

    async fn disconnect(&self, client: &MemoryClient) {
        self.0.disconnect(client);
    }

    async fn reconnect(&self, client: &MemoryClient) {
        self.0.reconnect(client);
    }

    async fn expire(&self, client: &MemoryClient) {
        self.0.expire(client);
    }

    async fn lose_next_reply(&self, client: &MemoryClient) {
        self.0.lose_reply_after(client, 0);
    }

    async fn pass_time(&self, time: Duration) {
        self.0.pass(time);
    }
}

#[tokio::test]
async fn all_cases_on_one_server() {
    let memory = Memory(MemoryServer::new());
    let report = run_all(&memory).await;
    // Past the test harness, which keeps what passing tests print to itself.
    writeln!(std::io::stderr(), "in memory: {report}").unwrap();
    report.assert_passed();
    let mut left_out: Vec<_> = report.left_out.iter().map(|(_, ability)| *ability).collect();
    left_out.dedup();
    assert_eq!(left_out, [Ability::Limit, Ability::LoseLeader, Ability::Loopback, Ability::NoTimeToLive]);
    // The suite leaves nothing: no node but the root, and no watch.
    assert_eq!(memory.0.inspect(|tree| (tree.paths().count(), tree.watch_count())), (1, 0));
}
