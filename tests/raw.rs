//! The embedded server beside Apache ZooKeeper, byte by byte: the same frames, good and bad, must have the same answers, the
//! same ends of connections, the same events and the same tree in the end. What may differ is masked (`raw/mask.rs`): times,
//! session numbers, passwords, zxids beside their distance, and the order of what Java keeps in a hash set.
//!
//! Both servers are this test's alone. Each conversation is drawn from a seed that follows from the one that is printed. It is
//! the same one each time; `HERDLESS_SEED` sets another (`any` for one that nobody has seen), and `HERDLESS_SEQUENCES` how many
//! conversations are drawn.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "raw/body.rs"]
mod body;
#[path = "raw/draw.rs"]
mod draw;
#[path = "raw/mask.rs"]
mod mask;
#[path = "raw/play.rs"]
mod play;
#[path = "raw/table.rs"]
mod table;

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use herdless::server::{Limits, Server};

use play::{Conversation, Side};
use support::{Dice, NO_ZOOKEEPER, ZooKeeper, skipped};

/// What is played unless another is named.
const SEED: u64 = 0x5eed;

/// The largest request that either server takes, in bytes: small, so that its end is near.
const MAX_REQUEST: usize = 65_536;

/// When containers are removed: each server would do so at a time of its own.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// So many differences are shown at most.
const ENOUGH: usize = 10;

/// Both servers, each with a connection that looks on.
struct Pair {
    ours: Side,
    theirs: Side,
    _server: Server,
    _zookeeper: ZooKeeper,
}

impl Pair {
    async fn start(name: &str) -> Option<Self> {
        let options = [
            "-Dzookeeper.enforceQuota=true".to_owned(),
            format!("-Djute.maxbuffer={MAX_REQUEST}"),
            format!("-Dznode.container.checkIntervalMs={}", NEVER.as_millis()),
        ];
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let Some(zookeeper) = ZooKeeper::start(name, &options).await else {
            skipped(NO_ZOOKEEPER);
            return None;
        };
        let server = Server::builder()
            .allow_ttl(true)
            .enforce_quotas(true)
            .limits(Limits { request: MAX_REQUEST, ..Limits::default() })
            .reap_interval(NEVER)
            // As `ZooKeeperProcess` is configured.
            .session_timeouts(Duration::from_secs(1)..=Duration::from_secs(40))
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        let ours = Side::watch(server.address().to_string()).await;
        let theirs = Side::watch(zookeeper.address.clone()).await;
        Some(Self { ours, theirs, _server: server, _zookeeper: zookeeper })
    }

    /// Plays a conversation on both. How many frames were answered; else where the answers differ first.
    async fn compare(&mut self, conversation: &Conversation, name: &str) -> Result<usize, String> {
        let (ours, theirs) = futures::join!(self.ours.play(conversation, name), self.theirs.play(conversation, name));
        play::compare(&ours, &theirs).map(|()| ours.len())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_named_cases_are_answered_alike() {
    let Some(mut pair) = Pair::start("raw-table").await else {
        return;
    };
    let (mut differences, mut cases) = (Vec::new(), 0);
    for (name, conversation) in table::all() {
        cases += 1;
        if let Err(difference) = pair.compare(&conversation, name).await {
            differences.push(format!("{name}: {difference}"));
        }
    }
    println!("{cases} cases");
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_conversations_are_answered_alike() {
    let Some(mut pair) = Pair::start("raw-drawn").await else {
        return;
    };
    let seed = match std::env::var("HERDLESS_SEED").as_deref() {
        Ok("any") => Dice::new().number(),
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => SEED,
    };
    let conversations = std::env::var("HERDLESS_SEQUENCES").map_or(2000, |text| text.parse().expect("a number"));
    let (mut frames, mut drawn, mut differences) = (0, BTreeMap::new(), Vec::new());
    for number in 0..conversations {
        let conversation = draw::conversation(&mut Dice::with_seed(seed.wrapping_add(number)), &mut drawn);
        match pair.compare(&conversation, &format!("{number:08}")).await {
            Ok(answered) => frames += answered,
            Err(difference) => differences.push(format!("HERDLESS_SEED={seed}, conversation {number}: {difference}")),
        }
        if differences.len() >= ENOUGH {
            break;
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    println!("{conversations} conversations of seed {seed}: {frames} answers, 0 differences; {drawn:?}");
    assert!(conversations < 500 || frames > 10 * conversations as usize, "only {frames} answers");
}
