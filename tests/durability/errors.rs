//! The disk fails.

use std::sync::Arc;
use std::time::Duration;

use herdless::server::{BindError, Server, StoreError};

use super::history;
use crate::support::{FakeDisk, GENEROUS, connector};

const CHANGES: usize = 30;

/// Whatever fails: nothing is acknowledged after it, the server ends and says why, and what was acknowledged before is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_after_an_error() {
    let mut failed = 0;
    // Until nothing fails any more before all is done.
    for at in 0.. {
        let disk = FakeDisk::new();
        disk.fail_at(at);
        let server = match Server::builder().disk(disk.clone()).bind("127.0.0.1:0").await {
            Ok(server) => server,
            Err(BindError::Store(StoreError::Io(_))) => continue,
            Err(error) => panic!("{error}"),
        };
        let connector = connector(&server.address().to_string()).connect_within(Duration::from_millis(500));
        let mut told = None;
        if let Ok(client) = connector.connect().await
            && history::begin(&client).await.is_ok()
        {
            told = Some(0);
            // One by one, so that there are as many commits.
            while let Ok(last) = history::go_on(&client, told.unwrap_or(0), 1, |number| told = Some(number)).await {
                if last == CHANGES {
                    assert!(!disk.has_failed(), "nobody was told of the error at {at}");
                    assert!(failed > CHANGES, "{failed} of {at} after it had started");
                    return;
                }
            }
        }
        failed += 1;
        let error = tokio::time::timeout(GENEROUS, server.failed()).await.unwrap();
        assert!(matches!(*error, StoreError::Io(_)), "{error}");
        assert!(server.shutdown().await.is_some());
        // The least that can be left when the power goes then: an acknowledgement of anything later would be a lie.
        let kept = FakeDisk::of(disk.synced_only());
        let last = last(kept).await;
        assert!(last >= told, "failed at {at}: {told:?} was acknowledged and {last:?} is there");
    }
}

async fn last(disk: Arc<FakeDisk>) -> Option<usize> {
    let server = Server::builder().disk(disk).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    history::last(&client).await
}
