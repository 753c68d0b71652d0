//! A server on a thread of its own.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use herdless::server::{BindError, Server};
use herdless::{ClientExt, CreateMode, NodePath};

use crate::support::{GENEROUS, Raw, connector};

/// Whether the other end has hung up.
fn is_hung_up(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(GENEROUS)).unwrap();
    // One that was not accepted in time is reset.
    stream.read(&mut [0]).map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |count| count == 0)
}

/// Nothing here knows of any runtime.
#[test]
fn it_needs_no_runtime() {
    let server = Server::builder().start("localhost:0").unwrap();
    let address = server.address();
    let stream = TcpStream::connect(address).unwrap();
    assert!(server.faults().sessions().is_empty());
    server.stop();
    assert!(is_hung_up(&stream));
    TcpListener::bind(address).expect("the port is free");
    // And dropped it ends as well.
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(server.address()).unwrap();
    drop(server);
    assert!(is_hung_up(&stream));
}

#[test]
fn why_it_does_not_start_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let error = Server::builder().start(address).unwrap_err();
    assert!(matches!(error, BindError::Io { .. }) && error.to_string().contains(&address.to_string()), "{error}");
    let error = Server::builder().start("nothing").unwrap_err();
    assert!(matches!(error, BindError::Io { .. }), "{error}");
    let error = Server::builder().start("0.0.0.0:0").unwrap_err();
    assert!(matches!(error, BindError::NotLoopback(_)), "{error}");
}

/// One thread, which the caller keeps for itself: what the server has to do, it does meanwhile.
#[tokio::test]
async fn it_goes_on_while_the_callers_runtime_is_busy() {
    let bounds = Duration::from_millis(200)..=Duration::from_secs(40);
    let server = Server::builder().session_timeouts(bounds).start("127.0.0.1:0").unwrap();
    let (mut raw, greeting) = Raw::open(&server.address().to_string(), 200).await;
    assert_eq!(raw.create(b"/node", 1).await, 0);
    let faults = server.faults();
    assert_eq!(faults.sessions().iter().map(|id| id.0).collect::<Vec<_>>(), [greeting.session]);
    // Nobody polls anything here.
    while !faults.sessions().is_empty() {
        std::thread::yield_now();
    }
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    assert!(client.exists(&NodePath::parse("/node").unwrap()).await.unwrap().is_none());
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_outlives_the_runtime_it_was_started_on() {
    let other = tokio::runtime::Runtime::new().unwrap();
    let server = {
        let _entered = other.enter();
        Server::builder().start("127.0.0.1:0").unwrap()
    };
    other.shutdown_background();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    let created = client.create(&NodePath::parse("/node").unwrap(), "", CreateMode::Persistent);
    created.await.unwrap();
    let address = server.address();
    // It may be waited for in asynchronous code, too: it does not run here.
    server.stop();
    TcpListener::bind(address).expect("the port is free");
}

/// On the caller's runtime it may be waited for from outside.
#[test]
fn a_server_of_a_runtime_can_be_stopped_from_another_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Server::bind("127.0.0.1:0")).unwrap();
    let address = server.address();
    server.stop();
    TcpListener::bind(address).expect("the port is free");
    // One whose runtime has gone is gone, too.
    let server = runtime.block_on(Server::bind("127.0.0.1:0")).unwrap();
    drop(runtime);
    server.stop();
}
