//! Servers that are not there, and peers that are none.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use herdless::{Client, ClientExt, ConnectError, Connector, Lock, NodePath, TokioClient, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::{GENEROUS, Proxy, World, connector, scenarios, until};

scenarios! {
    a_peer_that_talks_nonsense_at_first_is_got_over
    nonsense_in_the_middle_of_a_session_is_got_over
    one_dead_server_of_several_does_not_matter
}

const PATIENCE: Duration = Duration::from_millis(400);

/// Nobody listens there: the port was ours a moment ago.
async fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Connects in vain; what the error says was the last cause.
async fn unreachable(connector: Connector) -> String {
    let start = Instant::now();
    let connecting = connector.connect_within(PATIENCE).connect();
    let error = tokio::time::timeout(GENEROUS, connecting).await.expect("patience ends").unwrap_err();
    assert!(start.elapsed() >= PATIENCE, "it tries until then");
    let ConnectError::Unreachable { patience, last, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(patience, PATIENCE);
    last.to_string()
}

#[tokio::test]
async fn nobody_listens() {
    let address = dead_address().await;
    let last = unreachable(connector(&address)).await;
    assert!(last.contains("refused"), "{last}");
    // The text for people has all of it.
    let error = Connector::new(&address).unwrap().connect_within(PATIENCE).connect().await.unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_has() {
    // Reserved for this (RFC 2606). How long the resolver takes to say so is up to the machine, so the cause may be
    // that time ran out.
    let last = unreachable(connector("no-such-host.invalid:2181")).await;
    assert!(!last.is_empty());
}

#[tokio::test]
async fn a_connect_string_that_is_none() {
    for text in ["", ":1", "host:port", "[::1", "host:2181/a//b", "host:2181/a/"] {
        assert!(matches!(connect(text).await, Err(ConnectError::Address(_))), "{text:?}");
    }
}

/// What a peer that is no ZooKeeper says to a handshake.
const NONSENSE: [(&str, &[u8]); 8] = [
    ("hangs up", b""),
    ("hangs up in the length", &[0, 0]),
    ("hangs up in the frame", &[0, 0, 0, 37, 0, 0, 0, 0, 0]),
    ("speaks HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ("announces 2 GiB", &[0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4]),
    ("announces less than nothing", &[0xff, 0xff, 0xff, 0xff, 1]),
    ("answers with an empty frame", &[0, 0, 0, 0]),
    ("answers with a frame of zeros", &[0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
];

/// Reads what a client sends first, and answers.
async fn answer(mut stream: TcpStream, bytes: &[u8]) {
    let length = stream.read_u32().await.unwrap_or(0);
    let mut handshake = vec![0; length as usize];
    let _ = stream.read_exact(&mut handshake).await;
    let _ = stream.write_all(bytes).await;
}

#[tokio::test]
async fn a_peer_that_talks_nonsense_is_not_a_server() {
    for (what, bytes) in NONSENSE {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                answer(stream, bytes).await;
            }
        });
        let last = unreachable(connector(&address)).await;
        println!("{what}: {last}");
        assert!(!last.is_empty(), "{what}");
        peer.abort();
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // The system accepts for it.
    unreachable(connector(&address)).await;
    drop(listener);
}

async fn a_peer_that_talks_nonsense_at_first_is_got_over(world: &World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = world.address.clone();
    let peer = tokio::spawn(async move {
        for (_, bytes) in NONSENSE {
            answer(listener.accept().await.unwrap().0, bytes).await;
        }
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let client = connector(&address).connect().await.unwrap();
    let guard = Lock::new(client.clone(), world.path()).acquire().await.unwrap();
    guard.release().await.unwrap();
    client.close().await.unwrap();
    peer.await.unwrap();
}

/// Frames with a header: a number, a zxid and a code.
fn frame(xid: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = ((16 + body.len()) as u32).to_be_bytes().to_vec();
    frame.extend(xid.to_be_bytes());
    frame.extend([0; 12]);
    frame.extend(body);
    frame
}

async fn nonsense_in_the_middle_of_a_session_is_got_over(world: &World) {
    let proxy = world.proxy().await;
    let client = proxy.connector().connect().await.unwrap();
    let lock = Lock::new(client.clone(), world.path());
    let guard = lock.acquire().await.unwrap();
    let session = guard.session().id();
    let too_large = [&0x7fff_ffffu32.to_be_bytes()[..], &[0; 64]].concat();
    let farewells = [
        b"".to_vec(),
        b"\0\0".to_vec(),
        vec![0xff; 100],
        too_large,
        frame(0x1234_5678, b"a reply to nobody"),
        // An event that cannot be read.
        frame(-1, b"\0\0\0"),
        // An event of a path that is none.
        frame(-1, b"\0\0\0\x03\0\0\0\x03\0\0\0\x01x"),
        frame(-2, b""),
    ];
    for (round, farewell) in (1..).zip(farewells) {
        proxy.cut_with(&farewell);
        until("the next connection", async || (client.counters().connects > round).then_some(())).await;
        guard.multi(Vec::new()).await.unwrap();
        assert!(guard.is_valid());
        assert_eq!(guard.session().id(), session);
    }
    guard.release().await.unwrap();
    world.until_empty(&client).await;
}

async fn one_dead_server_of_several_does_not_matter(world: &World) {
    let proxy = Proxy::to(&world.address).await;
    let hosts = format!("{},{},{}", dead_address().await, proxy.address(), dead_address().await);
    let client = connector(&hosts).connect().await.unwrap();
    let path = NodePath::root();
    for connects in 1..4 {
        client.exists(&path).await.unwrap();
        proxy.cut();
        until("the next connection", async || (client.counters().connects > connects).then_some(())).await;
    }
    client.exists(&path).await.unwrap();
}

/// A future that is polled on in the very moment in which it is woken, by whoever wakes it.
struct Eager {
    connecting: Mutex<Option<Pin<Box<dyn Future<Output = TokioClient> + Send>>>>,
    was_valid: OnceLock<bool>,
}

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        // Woken while it is polled, it has its turn already.
        let Ok(mut connecting) = self.connecting.try_lock() else { return };
        let waker = self.clone().into();
        if let Some(future) = connecting.as_mut()
            && let Poll::Ready(client) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            *connecting = None;
            let _ = self.was_valid.set(client.session().is_valid());
        }
    }
}

#[tokio::test]
async fn the_session_of_a_new_client_is_valid_from_the_first_moment() {
    let world = World::embedded("first-moment").await;
    let address = world.address.clone();
    let connecting = async move { connector(&address).connect().await.unwrap() };
    let eager = Arc::new(Eager { connecting: Mutex::new(Some(Box::pin(connecting))), was_valid: OnceLock::new() });
    eager.clone().wake();
    assert!(until("a client", async || eager.was_valid.get().copied()).await);
}
