//! Recipes on an ensemble whose leader is killed under them.

use std::sync::Mutex;

use futures::future::{join, join_all};
use herdless::{ClientExt, Connector, Election, Error, Lock, NodePath, Token, TokioClient};

use crate::support::{Ensemble, NO_ZOOKEEPER, announce, connector, skipped, until};

const CONTENDERS: usize = 4;
const KILLS: usize = 3;
/// How often each contender is to have its turn before the first kill, between two, and after the last.
const TURNS: usize = 5;

/// What is to be used by one at a time, and says so if it is not.
#[derive(Debug, Default)]
struct Resource {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    inside: Option<usize>,
    last: Option<Token>,
    turns: [usize; CONTENDERS],
    is_over: bool,
}

impl Resource {
    fn enter(&self, contender: usize, token: Token) {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.inside, None, "{contender} comes in");
        assert!(state.last < Some(token), "{:?}, then {token:?}", state.last);
        (state.inside, state.last) = (Some(contender), Some(token));
    }

    /// Whether that was the contender's last turn.
    fn leave(&self, contender: usize) -> bool {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.inside.take(), Some(contender));
        state.turns[contender] += 1;
        state.is_over
    }

    fn turns(&self) -> [usize; CONTENDERS] {
        self.state.lock().unwrap().turns
    }

    /// Waits until everybody has had so many turns more.
    async fn until_turns(&self) {
        let before = self.turns();
        let have_all = || self.turns().iter().zip(before).all(|(now, before)| *now >= before + TURNS);
        until("a turn of everybody's", async || have_all().then_some(())).await;
    }
}

/// What a contender does with the resource: something that takes a while, and is lost with the leader now and then.
async fn work(client: &TokioClient) {
    match client.sync(&NodePath::root()).await {
        Ok(()) | Err(Error::ConnectionLost) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Lets contenders take turns, and kills one leader after the other meanwhile. Each turn is taken with a client that knows
/// all servers.
async fn take_turns(name: &str, turns: impl AsyncFn(&Resource, usize, TokioClient)) {
    let Some(ensemble) = Ensemble::start(name).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let connector: Connector = connector(&ensemble.addresses().join(","));
    let resource = Resource::default();
    let contend = async |contender| turns(&resource, contender, connector.clone().connect().await.unwrap()).await;
    let nemesis = async {
        for _ in 0..KILLS {
            resource.until_turns().await;
            let turns: usize = resource.turns().iter().sum();
            announce(&format!("{name}: after {turns} turns: {}", ensemble.kill_leader().await));
        }
        resource.until_turns().await;
        resource.state.lock().unwrap().is_over = true;
    };
    join(join_all((0..CONTENDERS).map(contend)), nemesis).await;
    let turns = resource.turns();
    assert_eq!(ensemble.kills().await.len(), KILLS);
    announce(&format!("{name}: {} turns of {CONTENDERS}, {KILLS} leaders killed", turns.iter().sum::<usize>()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_held_by_one_at_a_time_over_lost_leaders() {
    take_turns("lock", async |resource, contender, client| {
        let lock = Lock::new(client.clone(), NodePath::parse("/lock").unwrap());
        loop {
            let guard = lock.acquire().await.unwrap();
            resource.enter(contender, guard.token());
            work(&client).await;
            assert!(guard.is_valid(), "no session has ended");
            let is_last = resource.leave(contender);
            guard.release().await.unwrap();
            if is_last {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_at_a_time_over_lost_leaders() {
    take_turns("election", async |resource, contender, client| {
        let election = Election::new(client.clone(), NodePath::parse("/election").unwrap());
        loop {
            let leadership = election.campaign().await.unwrap();
            resource.enter(contender, leadership.term());
            work(&client).await;
            assert!(leadership.is_valid(), "no session has ended");
            let is_last = resource.leave(contender);
            leadership.resign().await.unwrap();
            if is_last {
                return;
            }
        }
    })
    .await;
}
