//! The suite on three servers of Apache ZooKeeper, whose leader is killed between cases, within cases, and while a
//! client has no connection.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures::{FutureExt, StreamExt, stream};
use herdless::{Client, SessionState, TokioClient};
use herdless_conformance::{Ability, Case, Verdict, cases};

use super::OverTcp;
use crate::support::{Ensemble, GENEROUS, NO_ZOOKEEPER, announce, skipped, until};

/// What the clients of one case have to do with an ensemble.
pub(crate) struct OfEnsemble {
    pub(crate) servers: Arc<Ensemble>,
    /// Whether the leader is killed whenever a case has a client lose its connection.
    pub(crate) is_deadly: bool,
    /// All clients that there were.
    clients: Mutex<Vec<TokioClient>>,
}

impl OfEnsemble {
    /// Says that there is this client.
    pub(crate) fn enter(&self, client: &TokioClient) {
        self.clients.lock().unwrap().push(client.clone());
    }

    /// Has the leader killed. All servers close their connections: returns once all clients have noticed and are back,
    /// except for one that cannot come back now.
    pub(crate) async fn lose_leader(&self, except: Option<&TokioClient>) {
        let except = except.map(|client| client.session().id());
        let mut clients = self.clients.lock().unwrap().clone();
        clients
            .retain(|client| client.session().state() != SessionState::Lost && Some(client.session().id()) != except);
        let before: Vec<_> = clients.iter().map(|client| client.counters().connects).collect();
        self.servers.kill_leader().await;
        for (client, before) in clients.iter().zip(before) {
            let is_back = || client.counters().connects > before && client.session().state() == SessionState::Connected;
            until("a client to come back", async || is_back().then_some(())).await;
        }
    }
}

/// The backend for one case: its clients begin at the server of this number.
fn backend(ensemble: &Arc<Ensemble>, first: usize, is_deadly: bool) -> OverTcp {
    let mut servers = ensemble.addresses().to_vec();
    let count = servers.len();
    servers.rotate_left(first % count);
    let ensemble = OfEnsemble { servers: ensemble.clone(), is_deadly, clients: Mutex::default() };
    OverTcp { servers, allows_ttl: true, ensemble: Some(ensemble), server: None }
}

/// What became of the cases, by name.
#[derive(Debug, Default)]
struct Tally {
    passed: Vec<&'static str>,
    left_out: Vec<(&'static str, Ability)>,
    failed: Vec<&'static str>,
}

impl Tally {
    /// Runs these cases, so many at the same time. The panic of one that fails has been printed.
    async fn run(&mut self, cases: &[Case<OverTcp>], at_once: usize, backend: impl Fn(usize) -> OverTcp) {
        let runs = cases.iter().enumerate().map(async |(number, case)| {
            let backend = backend(number);
            let run = tokio::time::timeout(2 * GENEROUS, case.run(&backend));
            (case.name(), AssertUnwindSafe(run).catch_unwind().await)
        });
        let mut runs = stream::iter(runs).buffer_unordered(at_once);
        while let Some((name, outcome)) = runs.next().await {
            match outcome {
                Ok(Ok(Verdict::Passed)) => self.passed.push(name),
                Ok(Ok(Verdict::LeftOut(ability))) => self.left_out.push((name, ability)),
                Ok(Err(_)) | Err(_) => self.failed.push(name),
            }
        }
    }
}

/// Each case's clients begin at one server, which is the next one for the next case, and come back to another one each
/// time. Many cases run at the same time, but none while the leader is killed, except for those that are about that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_cases_with_the_leader_killed_in_the_middle() {
    const AT_ONCE: usize = 8;
    let Some(ensemble) = Ensemble::start("conformance").await else {
        return skipped(NO_ZOOKEEPER);
    };
    let ensemble = Arc::new(ensemble);
    let is_about_leaders = |case: &Case<OverTcp>| case.needs().contains(&Ability::LoseLeader);
    let (leaders, mut before): (Vec<_>, Vec<_>) = cases().into_iter().partition(is_about_leaders);
    let after = before.split_off(before.len() / 2);

    let mut tally = Tally::default();
    tally.run(&before, AT_ONCE, |number| backend(&ensemble, number, false)).await;
    let kill = ensemble.kill_leader().await;
    announce(&format!("ensemble: after {} cases: {kill}", tally.passed.len()));
    tally.run(&after, AT_ONCE, |number| backend(&ensemble, number, false)).await;
    tally.run(&leaders, 1, |number| backend(&ensemble, number, false)).await;

    // Once more, with the leader killed while the client is away.
    let reconnects: Vec<_> = cases().into_iter().filter(|case| case.topic() == "reconnects").collect();
    let mut again = Tally::default();
    again.run(&reconnects, 1, |number| backend(&ensemble, number, true)).await;

    let kills = ensemble.kills().await;
    let last = kills.last().expect("there was one");
    announce(&format!("ensemble: within cases: {} leaders more, the last one: {last}", kills.len() - 1));
    let Tally { passed, left_out, failed } = tally;
    announce(&format!(
        "ensemble of three: {} cases passed, {} of them with the leader killed within; {} of them once more with the \
         leader killed at each lost connection; left out: {left_out:?}",
        passed.len(),
        leaders.len(),
        again.passed.len(),
    ));
    assert_eq!((failed, again.failed), (Vec::new(), Vec::new()));
    assert_eq!(passed.len() + left_out.len(), cases::<OverTcp>().len());
    assert!(kills.len() > leaders.len() + reconnects.len(), "each of these has seen one");
}
