//! Processes that are killed, and that are stopped for longer than their sessions last, while they hold something.

use std::io::BufRead;
use std::time::Duration;

use futures::future::join_all;
use herdless::{Client, ClientExt, CreateMode, MultiOp, NodePath};

use crate::all::{Holding, Setup, holdings, lease_that_ends};
use crate::support::{GENEROUS, Itself, World, connector, is_pending, scenarios, until};

scenarios! {
    who_waits_for_a_killed_process_goes_on
    a_process_that_was_stopped_for_too_long_knows_and_can_do_no_harm
}

/// How the process that holds is told what to do: the server, the recipe, its path, and a node that it is to make when it
/// has been stopped.
const TASK: &str = "HERDLESS_HOLDER";

/// As short as a session can be that ZooKeeper grants here, times two for a busy machine.
const SESSION: Duration = Duration::from_secs(2);

fn kinds() -> Vec<Holding> {
    [holdings(), vec![lease_that_ends()]].concat()
}

fn say(what: impl std::fmt::Display) {
    println!("\n> {what}");
}

/// Holds, and when it is told to go on, does what one does who has noticed nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a process that the other tests here start"]
async fn holder() {
    let task = std::env::var(TASK).unwrap();
    let [address, name, path, note] = task.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let path = NodePath::parse(path).unwrap();
    let holding = kinds().into_iter().find(|holding| holding.name == name).unwrap();
    // A lease ends while its session lives.
    let is_lease = name == lease_that_ends().name;
    let connector = connector(address);
    let connector = if is_lease { connector } else { connector.session_timeout(SESSION) };
    let client = connector.connect().await.unwrap();
    let grant = (holding.hold)(Setup::new(&client, path)).await.unwrap();
    say(grant.token().0.0);
    let go_on = tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next().unwrap().unwrap());
    assert_eq!(go_on.await.unwrap(), "go on");
    say(grant.is_valid());
    let write = MultiOp::create(&NodePath::parse(note).unwrap(), "late", CreateMode::Persistent);
    say(if grant.multi(vec![write]).await.is_ok() { "written" } else { "not written" });
    // The store looks at the token of every write.
    say(grant.token().0.0);
}

/// What is protected: it takes a write only with the greatest token so far.
#[derive(Default)]
struct Store {
    greatest: i64,
}

impl Store {
    fn write(&mut self, token: i64) -> bool {
        let is_taken = token >= self.greatest;
        self.greatest = self.greatest.max(token);
        is_taken
    }
}

/// A process that holds, and a path beside its own for what it writes.
async fn start(world: &World, holding: Holding) -> (Itself, NodePath, NodePath) {
    let (path, note) = (world.beside(holding.name), world.beside(&format!("{}-note", holding.name)));
    let task = format!("{} {} {path} {note}", world.address, holding.name);
    (Itself::start("processes::holder", TASK, &task), path, note)
}

async fn who_waits_for_a_killed_process_goes_on(world: &World) {
    let all = kinds().into_iter().map(async |holding| {
        let client = world.connect().await;
        let (mut process, path, _) = start(world, holding).await;
        let token: i64 = process.hear().await.parse().unwrap();
        let mut wait = (holding.follow)(Setup::new(&client, path.clone()));
        assert!(is_pending(&mut wait).await);
        until("both in line", async || (holding.sessions(&client, &path).await.len() == 2).then_some(())).await;
        assert!(is_pending(&mut wait).await, "{}: it is held", holding.name);
        process.kill().await;
        let grant = tokio::time::timeout(GENEROUS, wait).await.unwrap().unwrap();
        assert!(grant.token().0.0 > token, "{}", holding.name);
        let nodes = holding.contenders(&client, &path).await;
        assert_eq!(nodes.len(), holding.shape.nodes, "{}: nothing else is left: {nodes:?}", holding.name);
        assert!(nodes.iter().any(|(node, _)| node == grant.path()), "{}", holding.name);
        let own = client.session().id().0;
        assert!(nodes.iter().all(|(_, stat)| stat.ephemeral_owner == own), "{}", holding.name);
    });
    join_all(all).await;
}

async fn a_process_that_was_stopped_for_too_long_knows_and_can_do_no_harm(world: &World) {
    let all = kinds().into_iter().map(async |holding| {
        let client = world.connect().await;
        let mut store = Store::default();
        let (mut process, path, note) = start(world, holding).await;
        let token = process.hear().await.parse().unwrap();
        assert!(store.write(token));
        process.stop().await;
        let grant = (holding.follow)(Setup::new(&client, path.clone())).await.unwrap();
        assert!(store.write(grant.token().0.0), "{}", holding.name);

        process.tell("go on").await;
        process.resume().await;
        assert_eq!(process.hear().await, "false", "{}: is valid", holding.name);
        assert_eq!(process.hear().await, "not written", "{}", holding.name);
        let late = process.hear().await.parse().unwrap();
        assert_eq!(late, token);
        assert!(!store.write(late), "{}: the store takes it", holding.name);
        client.sync(&note).await.unwrap();
        assert!(client.exists(&note).await.unwrap().is_none(), "{}", holding.name);
    });
    join_all(all).await;
}
