//! Waiting for what is to happen, instead of for a time in which it should have.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::poll;
use herdless::{Client, ClientExt, ConnectError, Connector, NodePath, SessionState, TokioClient};

/// As long as nothing here takes on any machine: who waits that long, waits for ever.
pub(crate) const GENEROUS: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see.
///
/// # Panics
///
/// When there is nothing after a generous time.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            // Often enough that nobody waits for it, seldom enough that others get to run.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(GENEROUS, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Has so much time pass at once, in steps in which every timer gets to run. For a runtime of one thread.
pub(crate) async fn let_pass(time: Duration) {
    const STEP: Duration = Duration::from_millis(500);
    let mut left = time;
    while !left.is_zero() {
        let step = STEP.min(left);
        tokio::time::pause();
        tokio::time::advance(step).await;
        tokio::time::resume();
        left -= step;
    }
}

/// Waits until an acquire behind others is in line and watches the one ahead. How many requests that was, beside the
/// acquire's own.
///
/// # Panics
///
/// When the lock is acquired instead.
pub(crate) async fn until_watching<F: Future>(client: &TokioClient, wait: &mut Pin<Box<F>>) -> u64 {
    // Two round trips, and the answer to what is asked here comes behind theirs; a third where parents are made.
    const ROUNDS: u64 = 4;
    for _ in 0..ROUNDS {
        assert!(is_pending(wait).await, "somebody is ahead");
        client.exists(&NodePath::root()).await.unwrap();
    }
    assert!(is_pending(wait).await, "somebody is ahead");
    ROUNDS
}

/// Waits until the client knows that its connection is gone. What a proxy cuts is on its way for a moment longer.
pub(crate) async fn until_suspended(client: &TokioClient) {
    until("the end of the connection", async || (client.session().state() != SessionState::Connected).then_some(()))
        .await;
}

/// Polls once. What is to be pending is polled again after a round trip of its client, so that all that the server had
/// to say has been heard.
pub(crate) async fn is_pending<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> bool {
    poll!(future.as_mut()).is_pending()
}

/// Checks that this client is not let in, and is told so: with these words, once it has been tried for long enough. A
/// machine that is busy may take longer than one client waits, and an alert may be overtaken by the end of its connection.
pub(crate) async fn refused(connector: Connector, words: &str) {
    let connector = connector.connect_within(Duration::from_millis(500));
    until(words, async || match connector.clone().connect().await {
        Err(ConnectError::Unreachable { last, .. }) => last.contains(words).then_some(()),
        other => panic!("{other:?}"),
    })
    .await;
}
