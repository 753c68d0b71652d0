//! Costs, counted at the client.

use herdless::transport::Counters;
use herdless::{ClientExt, NodePath, TokioClient};

/// What a client has sent and received in between.
pub(crate) struct Meter<'a> {
    client: &'a TokioClient,
    before: Counters,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(client: &'a TokioClient) -> Self {
        Self { client, before: client.counters() }
    }

    /// Requests and watch events. Nothing is on its way: whatever was sent has been answered.
    pub(crate) async fn read(&self) -> (u64, u64) {
        // The answer to a last request comes behind all others.
        self.client.sync(&NodePath::root()).await.unwrap();
        let after = self.client.counters();
        assert_eq!(after.connects, 1, "the connection was never lost");
        (after.requests - self.before.requests - 1, after.watch_events - self.before.watch_events)
    }
}
