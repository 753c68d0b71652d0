//! All that it takes to try a backend of one's own: this file, with another client in it.
use herdless_conformance::{Ability, Backend, run_all};
use herdless_memory::{MemoryClient, MemoryServer};

struct Own(MemoryServer);

impl Backend for Own {
    type Client = MemoryClient;
    async fn connect(&self) -> MemoryClient {
        self.0.connect()
    }
    fn has(&self, ability: Ability) -> bool {
        matches!(ability, Ability::Digest | Ability::Expire)
    }
    async fn expire(&self, client: &MemoryClient) {
        self.0.expire(client);
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let report = run_all(&Own(MemoryServer::new())).await;
    println!("{report}");
    report.assert_passed();
    assert!(report.passed.len() > 150, "{report}");
    assert!(include_str!("own_backend.rs").lines().count() < 30, "as the documentation says");
}
