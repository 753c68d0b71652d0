//! No secret in any log: secrets are planted, everything is logged that can be, and the log is searched.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::collections::BTreeSet;
use std::time::Duration;

use herdless::server::{FourLetterWord, Server};
use herdless_conformance::{Backend, Verdict, cases};

use backend::Watched;
use log::Log;
use secrets::{Secrets, planted};

#[path = "canaries/backend.rs"]
mod backend;
#[path = "tls/front.rs"]
#[allow(dead_code, reason = "each test program uses its own part of this")]
mod front;
#[path = "canaries/keys.rs"]
mod keys;
#[path = "canaries/log.rs"]
mod log;
#[path = "canaries/printed.rs"]
mod printed;
#[path = "canaries/sasl.rs"]
mod sasl;
#[path = "canaries/scenes.rs"]
mod scenes;
#[path = "canaries/secrets.rs"]
mod secrets;
mod support;
#[path = "canaries/takeover.rs"]
mod takeover;

/// The conformance suite, identities, sessions that are resumed, stolen and taken over, keys for TLS, passwords for SASL,
/// servers that speak nonsense, and everything that can be printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_reaches_a_log() {
    let log = Log::of_everything();
    let bounds = Duration::from_millis(200)..=Duration::from_secs(40);
    let server = Server::builder()
        .session_timeouts(bounds)
        .four_letter_words(FourLetterWord::ALL)
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let watched = Watched::new(&server.address().to_string()).await;

    let mut passed = 0;
    for batch in cases::<Watched>().chunks(8) {
        let verdicts = futures::future::join_all(batch.iter().map(|case| case.run(&watched))).await;
        passed += verdicts.iter().filter(|verdict| **verdict == Verdict::Passed).count();
    }
    scenes::identities(&watched).await;
    scenes::sessions(&watched).await;
    scenes::four_letter_words(&server.address().to_string()).await;
    scenes::identity_not_accepted(&watched).await;
    scenes::nonsense().await;
    let key = keys::Key::new().await;
    keys::used(&key).await;
    keys::not_read(&key);
    let sasl = sasl::passwords().await;
    let credentials = [takeover::sessions(&watched).await, takeover::scripted_session().await].concat();
    takeover::not_read();
    printed::everything(&server, watched.connect().await).await;
    printed::of_connections(&key).await;
    printed::wrappers(watched.connect().await).await;
    drop(server);

    let mut secrets = Secrets::of_all_scenes();
    secrets.extend("key for TLS", key.secrets());
    secrets.extend("what a SASL password is proven with", sasl);
    secrets.extend("credentials of a session", credentials);
    let passwords = watched.passwords();
    secrets.extend("password of a session", passwords.iter().cloned());
    let text = log.text();
    println!("{passed} cases, {} sessions, {} secrets, {} bytes of log", passwords.len(), secrets.len(), text.len());
    assert!(passed > 80 && passwords.len() > 100);
    // What is not heard cannot be searched.
    for line in [
        "session opened",
        "session resumed",
        "session lost",
        "connection lost",
        "no connection",
        "dialling",
        "protocol error",
        "herdless_server",
        "closing",
        "TLS refused",
        "not authenticated",
        "not taken over",
        "no credentials",
        "History",
        "panicked",
    ] {
        assert!(text.contains(line), "{line:?} is not in the log");
    }
    assert_eq!(secrets.found_in(&text), BTreeSet::new());
}

/// The search finds each secret in each of its forms, wherever it stands.
#[test]
fn a_planted_leak_is_caught() {
    let mut leaks = 0;
    for (name, secret) in planted() {
        for (form, leaked) in secrets::ways_to_leak(&secret) {
            let log = Log::default();
            tracing::subscriber::with_default(log.subscriber(), || tracing::trace!("before {leaked} behind"));
            let mut secrets = Secrets::default();
            secrets.extend(name, [secret.clone()]);
            let found = secrets.found_in(&log.text());
            assert!(!found.is_empty(), "{name} leaks as {form} unseen: {leaked}");
            leaks += 1;
        }
    }
    println!("{leaks} planted leaks");
    assert!(leaks > 100);
}

/// A log without secrets is not accused.
#[test]
fn what_is_no_leak_is_not_caught() {
    let log = Log::default();
    tracing::subscriber::with_default(log.subscriber(), || {
        tracing::info!(user = "canary", scheme = "digest", session = 0x7, "an identity");
    });
    let mut secrets = Secrets::default();
    planted().into_iter().for_each(|(name, secret)| secrets.extend(name, [secret]));
    assert!(log.text().contains("an identity"));
    assert_eq!(secrets.found_in(&log.text()), BTreeSet::new());
}
