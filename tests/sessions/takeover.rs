//! Sessions that go on in another client.

use std::time::Duration;

use futures::poll;
use herdless::{
    Client, ClientExt, ConnectError, CreateMode, Error, Lock, NodePath, SessionCredentials, SessionState, TokioClient,
};

use crate::support::{GENEROUS, Itself, World, connector, is_pending, scenarios};

scenarios! {
    a_session_goes_on_in_another_process
    the_session_of_a_killed_process_goes_on_in_another
    leaving_a_session_ends_its_guards_and_not_its_nodes
    leaving_a_session_tells_who_waits
    a_session_that_is_over_is_not_taken_over
    a_password_that_is_not_accepted_opens_nothing
    who_gives_up_taking_over_leaves_the_session_as_it_is
}

/// How the other process is told what to do: the server, and the node that it is to make.
const TASK: &str = "HERDLESS_LEAVER";

fn say(what: impl std::fmt::Display) {
    println!("\n> {what}");
}

fn hex(credentials: &SessionCredentials) -> String {
    credentials.encode().expose().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> SessionCredentials {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    let bytes: Vec<_> = (0..text.len()).step_by(2).map(digits).collect();
    SessionCredentials::decode(&bytes).unwrap()
}

/// Makes an ephemeral node, says how to go on with its session, and waits to be told to leave it.
#[tokio::test]
#[ignore = "a process that the other tests here start"]
async fn leaver() {
    let task = std::env::var(TASK).unwrap();
    let (address, node) = task.split_once(' ').unwrap();
    let client = connector(address).connect().await.unwrap();
    client.create(&NodePath::parse(node).unwrap(), "first", CreateMode::Ephemeral).await.unwrap();
    say(hex(&client.credentials().unwrap()));
    let go_on = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().unwrap().unwrap());
    assert_eq!(go_on.await.unwrap(), "leave");
    say(hex(&client.detach().unwrap()));
}

/// What the credentials of a session are worth: it goes on, with its node, and ends as any other.
async fn take_over(world: &World, credentials: SessionCredentials, node: &NodePath) {
    let other = world.connect().await;
    let session = credentials.id();
    let client = connector(&world.address).resume(credentials).connect().await.unwrap();
    assert_eq!(client.session().id(), session);
    assert_eq!(client.session().state(), SessionState::Connected);
    assert!(client.session().is_valid());
    let stat = client.exists(node).await.unwrap().expect("it has not gone with its process");
    assert_eq!(stat.ephemeral_owner, session.0);
    assert_eq!(client.ephemerals(node).await.unwrap(), std::slice::from_ref(node));
    // What the first process made may be changed and removed, and more be made.
    client.set(node, "second", herdless::Version(0)).await.unwrap();
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    assert!(guard.is_valid());
    guard.release().await.unwrap();
    client.close().await.unwrap();
    other.settle(node).await.unwrap();
    assert!(other.exists(node).await.unwrap().is_none());
}

async fn a_session_goes_on_in_another_process(world: &World) {
    let node = world.beside("node");
    let mut first = Itself::start("takeover::leaver", TASK, &format!("{} {node}", world.address));
    let known = first.hear().await;
    first.tell("leave").await;
    let credentials = unhex(&first.hear().await);
    assert_eq!(credentials, unhex(&known));
    take_over(world, credentials, &node).await;
}

async fn the_session_of_a_killed_process_goes_on_in_another(world: &World) {
    let node = world.beside("node");
    let mut first = Itself::start("takeover::leaver", TASK, &format!("{} {node}", world.address));
    let credentials = unhex(&first.hear().await);
    first.kill().await;
    take_over(world, credentials, &node).await;
}

async fn leaving_a_session_ends_its_guards_and_not_its_nodes(world: &World) {
    let client = world.connect().await;
    let lock = Lock::new(client.clone(), world.path());
    let guard = lock.acquire().await.unwrap();
    let (path, mut lost) = (guard.path().clone(), Box::pin(guard.lost()));
    let other = world.connect().await;
    let behind = Lock::new(other.clone(), world.path());
    let mut wait = Box::pin(behind.acquire());
    assert!(is_pending(&mut lost).await);
    assert!(is_pending(&mut wait).await);
    world.until_in_line(&other, 2).await;

    let first = client.session().next_attempt();
    let clone = client.clone();
    let credentials = client.detach().unwrap();
    assert!(!guard.is_valid(), "somebody else may have the session by now");
    assert!(poll!(&mut lost).is_ready());
    assert_eq!(clone.session().state(), SessionState::Lost);
    assert_eq!(clone.exists(&path).await, Err(Error::Closed));
    assert_eq!(clone.credentials(), None);
    assert_eq!(clone.detach(), None);
    // Neither the guard nor the last clone of the client has anything to say to the server.
    drop((guard, lock));

    let next = connector(&world.address).resume(credentials).connect().await.unwrap();
    assert_ne!(next.session().next_attempt().client, first.client, "the numbers of attempts are never the same");
    world.until_in_line(&other, 2).await;
    let mine = next.exists(&path).await.unwrap().unwrap();
    assert_eq!(mine.ephemeral_owner, next.session().id().0);
    // A new contender of the same session stands in line behind the node as anybody does.
    let again = Lock::new(next.clone(), world.path());
    assert!(again.try_acquire().await.unwrap().is_none());
    assert!(is_pending(&mut wait).await);
    let left = again.contenders().await.unwrap().remove(0);
    assert_eq!((&left.path, left.session), (&path, next.session().id()));
    assert!(again.evict(&left).await.unwrap());
    wait.await.unwrap().release().await.unwrap();
}

async fn leaving_a_session_tells_who_waits(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let node = world.beside("node");
    let (_, watch) = client.exists_and_watch(&node).await.unwrap();
    proxy.pause();
    let mut asked = Box::pin(client.create(&node, "", CreateMode::Ephemeral));
    assert!(is_pending(&mut asked).await);
    let waiting = client.clone();
    client.detach().unwrap();
    assert_eq!(asked.await.unwrap_err(), Error::ConnectionLost);
    assert_eq!(watch.await, Err(Error::Closed));
    assert_eq!(waiting.exists(&node).await, Err(Error::Closed));
}

async fn resumed(world: &World, credentials: &SessionCredentials) -> Result<TokioClient, ConnectError> {
    connector(&world.address).resume(credentials.clone()).connect().await
}

async fn a_session_that_is_over_is_not_taken_over(world: &World) {
    let client = world.connect().await;
    let credentials = client.credentials().unwrap();
    client.close().await.unwrap();
    let error = resumed(world, &credentials).await.unwrap_err();
    let ConnectError::SessionExpired { session } = error else {
        panic!("{error}");
    };
    assert_eq!(session, credentials.id());
}

async fn a_password_that_is_not_accepted_opens_nothing(world: &World) {
    let client = world.connect().await;
    let node = world.beside("node");
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    let mut bytes = client.credentials().unwrap().encode().expose().to_vec();
    bytes[20] ^= 1;
    let wrong = SessionCredentials::decode(&bytes).unwrap();
    assert!(matches!(resumed(world, &wrong).await, Err(ConnectError::SessionExpired { .. })));
    let found = match client.exists(&node).await {
        // It closes the session's connection, and then looks at the password (`ZooKeeperServer.processConnectRequest`).
        Err(Error::ConnectionLost) if !world.is_embedded => client.exists(&node).await,
        found => found,
    };
    assert!(found.unwrap().is_some());
    assert!(client.session().is_valid(), "the session has nothing to do with that");
}

async fn who_gives_up_taking_over_leaves_the_session_as_it_is(world: &World) {
    let proxy = world.proxy().await;
    let node = world.beside("node");
    let client = world.connect().await;
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    let credentials = client.detach().unwrap();
    // The server gives the session away, and nobody hears of it.
    proxy.lose_replies_after(0);
    let patient = proxy.connector().connect_within(Duration::from_millis(300)).resume(credentials.clone());
    assert!(matches!(patient.connect().await, Err(ConnectError::Unreachable { .. })));
    let mut dropped = Box::pin(proxy.connector().resume(credentials.clone()).connect());
    assert!(is_pending(&mut dropped).await);
    drop(dropped);
    proxy.pass_replies();
    // Polled until it has the session, and dropped then.
    for _ in 0..20 {
        let connecting = proxy.connector().resume(credentials.clone()).connect();
        let _ = tokio::time::timeout(Duration::from_millis(1), connecting).await.map(|client| client.unwrap().detach());
    }
    let other = world.connect().await;
    other.settle(&node).await.unwrap();
    assert!(other.exists(&node).await.unwrap().is_some());
    let next = tokio::time::timeout(GENEROUS, resumed(world, &credentials)).await.unwrap().unwrap();
    next.close().await.unwrap();
}
