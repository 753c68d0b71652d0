//! A real server that loses the majority of its ensemble, and gets it back.

use std::time::Duration;

use herdless::{
    Client, ClientExt, ConnectError, CreateMode, Error, Lock, NodePath, Refusal, SessionState, TokioClient,
};

use crate::support::{NO_ZOOKEEPER, Scratch, ZooKeeperProcess, connector, free_port, skipped, until};

/// An ensemble of three, of which two are there at most.
struct Members {
    /// A connect string of all.
    hosts: String,
    processes: Vec<ZooKeeperProcess>,
    _scratch: Scratch,
}

impl Members {
    fn new() -> Option<Self> {
        let scratch = Scratch::new("quorum");
        let members = (1..=3).map(|id| format!("server.{id}=127.0.0.1:{}:{}", free_port(), free_port()));
        // A server without a majority opens sessions of its own only where there are such at all.
        let settings =
            ["initLimit=10", "syncLimit=5", "localSessionsEnabled=true", "localSessionsUpgradingEnabled=true"];
        let settings: Vec<_> = settings.map(str::to_owned).into_iter().chain(members).collect();
        let start = |id: usize| {
            let directory = scratch.file(&id.to_string());
            let options = ["-Dreadonlymode.enabled=true".to_owned()];
            let process = ZooKeeperProcess::new(directory, free_port(), &settings, &options)?;
            std::fs::write(process.directory().join("data/myid"), id.to_string()).unwrap();
            Some(process)
        };
        let processes = (1..=3).map(start).collect::<Option<Vec<_>>>()?;
        let hosts = processes.iter().map(ZooKeeperProcess::address).collect::<Vec<_>>().join(",");
        Some(Self { hosts, processes, _scratch: scratch })
    }

    fn start(&mut self, id: usize) {
        self.processes[id - 1].spawn();
    }

    async fn kill(&mut self, id: usize) {
        self.processes[id - 1].kill().await;
    }
}

async fn until_state(client: &TokioClient, state: SessionState) {
    until(&format!("{state:?}"), async || (client.session().state() == state).then_some(())).await;
}

async fn assert_refused(client: &TokioClient) {
    let path = NodePath::parse("/refused").unwrap();
    let outcome = client.create(&path, "", CreateMode::Ephemeral).await;
    assert!(matches!(outcome, Err(Error::Refused(Refusal::NotReadOnly))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_with_its_server_into_the_minority_and_back() {
    let Some(mut members) = Members::new() else {
        return skipped(NO_ZOOKEEPER);
    };
    members.start(1);
    let connector = || connector(&members.hosts).session_timeout(Duration::from_secs(6));
    let client = connector().read_only(true).connect().await.unwrap();
    let local = client.session();
    assert_eq!(local.state(), SessionState::ReadOnly);
    assert!(client.exists(&NodePath::root()).await.unwrap().is_some());
    assert_refused(&client).await;
    let patience = Duration::from_millis(500);
    let other = connector().connect_within(patience).connect().await;
    assert!(matches!(other, Err(ConnectError::Unreachable { .. })), "{other:?}");

    members.start(2);
    until_state(&client, SessionState::Connected).await;
    let session = client.session();
    assert_eq!(local.state(), SessionState::Lost, "it was the first server's own");
    assert_ne!(session.id(), local.id());
    let path = NodePath::parse("/lock").unwrap();
    let lock = Lock::new(client.clone(), path.clone());
    let guard = lock.acquire().await.unwrap();

    members.kill(2).await;
    // The first server turns a session of the ensemble away for as long as that may live (ZOOKEEPER-3864).
    session.lost().await;
    assert!(!guard.is_valid());
    until_state(&client, SessionState::ReadOnly).await;
    assert_ne!(client.session().id(), session.id());
    assert_refused(&client).await;
    // What is read is what the ensemble had last.
    assert_eq!(client.exists(guard.path()).await.unwrap().unwrap().ephemeral_owner, session.id().0);
    let left = guard.path().clone();
    drop(guard);

    members.start(2);
    until_state(&client, SessionState::Connected).await;
    let guard = lock.acquire().await.unwrap();
    assert!(guard.is_valid());
    assert_eq!(guard.session().id(), client.session().id());
    assert_eq!(client.exists(&left).await.unwrap(), None, "it has gone with its session");
    guard.release().await.unwrap();
}
