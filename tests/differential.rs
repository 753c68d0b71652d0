//! The embedded server beside Apache ZooKeeper: the same requests of several sessions, drawn at random, must have the same
//! replies, the same Stats (times aside), the same watch events and the same tree in the end.
//!
//! The seed of each sequence follows from the one that is printed. It is the same one each time, so that whoever changes nothing
//! here sees nothing new; `HERDLESS_SEED` sets another (`any` for one that nobody has seen), and `HERDLESS_SEQUENCES` how many
//! are played.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "differential/draw.rs"]
mod draw;
#[path = "differential/play.rs"]
mod play;
#[path = "differential/transcript.rs"]
mod transcript;

mod support;

use std::collections::BTreeMap;

use herdless::NodePath;
use herdless::server::Server;

use draw::Script;
use support::{Dice, NO_ZOOKEEPER, ZooKeeper, skipped};

/// What is played unless another is named.
const SEED: u64 = 0x5eed;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_requests_have_the_same_replies_events_and_tree() {
    let Ok(theirs) = std::env::var("HERDLESS_ZOOKEEPER") else {
        return skipped(NO_ZOOKEEPER);
    };
    let server = Server::builder().allow_ttl(true).bind("127.0.0.1:0").await.unwrap();
    let ours = server.address().to_string();
    let seed = match std::env::var("HERDLESS_SEED").as_deref() {
        Ok("any") => Dice::new().number(),
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => SEED,
    };
    let sequences = number("HERDLESS_SEQUENCES").unwrap_or(2000);
    let (mut requests, mut events, mut again) = (BTreeMap::<String, u64>::new(), 0, 0);
    for sequence in 0..sequences {
        let script = Script::draw(&mut Dice::with_seed(seed.wrapping_add(sequence)));
        let mut outcome = compare(&script, &ours, &theirs, format!("{seed:x}-{sequence}")).await;
        if outcome.is_err() {
            // Once a minute either server removes empty containers, and a sequence that was just then at it shows that. A
            // difference between the servers shows again.
            again += 1;
            outcome = compare(&script, &ours, &theirs, format!("{seed:x}-{sequence}-again")).await;
        }
        match outcome {
            Ok(fired) => events += fired,
            Err(difference) => panic!("HERDLESS_SEED={seed}, sequence {sequence}: {difference}"),
        }
        script.count(&mut requests);
    }
    println!(
        "{sequences} sequences of seed {seed}: 0 differences; {again} played again; {events} events; {requests:?}"
    );
    assert!(again <= 2 + sequences / 200, "containers are removed once a minute, not this often: {again}");
    if sequences >= 500 {
        assert!(requests.len() >= 20, "every kind of request was drawn: {requests:?}");
        assert!(events as u64 > sequences / 4, "watches have fired: {events}");
    }
}

#[tokio::test]
async fn a_new_server_has_the_same_nodes() {
    let Some(theirs) = ZooKeeper::start("new-server", &[]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let ours = Server::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = (play::tree(&ours.address().to_string()).await, play::tree(&theirs.address).await);
    assert_eq!(ours.compare(&theirs), Ok(()));
    // `/`, `/zookeeper`, `/zookeeper/config` and `/zookeeper/quota`.
    assert_eq!(ours.mark(), 4 * 4);
}

/// How many events there were; else where the servers differ first.
async fn compare(script: &Script, ours: &str, theirs: &str, name: String) -> Result<usize, String> {
    let root = NodePath::parse(&format!("/differential-{name}")).unwrap();
    let (ours, theirs) = (play::play(script, ours, &root).await, play::play(script, theirs, &root).await);
    ours.compare(&theirs).map(|()| ours.events())
}
