//! The transport in front of peers that are slow, rude or deaf. The server's side is the server machine, answered by hand.

#![expect(clippy::unwrap_used, reason = "what is not a test here is a test's helper")]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use herdless_core::{Client, ClientExt, Error, Exists, NodePath, Reply, Request, Stat};
use herdless_proto::codec::ConnectResponse;
use herdless_proto::server::{Incoming, Machine, Ticket};
use herdless_tokio::{Connector, Dial, Host, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const TIMEOUT: Duration = Duration::from_secs(6);

/// How long a test may take. It only says that one hangs.
const GENEROUS: Duration = Duration::from_secs(30);

/// Runs a test that may hang for good, with a lock held: a thread that is left behind does not keep the others.
fn ends(test: impl Future<Output = ()> + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "a test that hangs is to be left behind, on whatever thread it is")]
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(test);
        done.send(()).ok();
    });
    assert_ne!(ended.recv_timeout(GENEROUS), Err(RecvTimeoutError::Timeout), "it hangs");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The server's end of one connection.
struct Peer<S> {
    stream: S,
    machine: Machine,
    buffer: BytesMut,
}

impl<S: Stream> Peer<S> {
    /// Reads the handshake and accepts it.
    async fn greet(stream: S, timeout: Duration) -> Self {
        let mut peer = Self { stream, machine: Machine::new(), buffer: BytesMut::new() };
        assert!(matches!(peer.next().await, Some(Incoming::Connect(_))));
        let timeout_ms = timeout.as_millis() as i32;
        peer.machine.accept(&ConnectResponse { timeout_ms, session_id: 7, password: [7; 16], read_only: None });
        peer.send().await;
        peer
    }

    /// The next thing that the client says; `None` when it has hung up.
    async fn next(&mut self) -> Option<Incoming> {
        loop {
            if let Some(incoming) = self.machine.poll(&mut self.buffer, 1).unwrap() {
                return Some(incoming);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn request(&mut self) -> Option<(Ticket, Request)> {
        loop {
            match self.next().await? {
                Incoming::Request { ticket, request } => return Some((ticket, request)),
                _ => self.send().await,
            }
        }
    }

    async fn send(&mut self) {
        // Who has hung up does not read it.
        self.stream.write_all_buf(self.machine.transmit()).await.ok();
    }

    /// Answers everything: of nodes there are none, and data is what was asked for, twenty times over.
    async fn serve(mut self) {
        while let Some((ticket, request)) = self.request().await {
            let outcome = match &request {
                Request::GetData(get) => Ok(Reply::Data(get.path.as_str().repeat(20).into(), Stat::default())),
                Request::CloseSession => Ok(Reply::Closed),
                _ => Ok(Reply::Exists(None)),
            };
            self.machine.reply(&ticket, 1, &outcome);
            self.send().await;
        }
    }
}

/// Dials a pipe of this many bytes in each direction; the other ends are sent to the test.
#[derive(Debug)]
struct Pipes {
    bytes: usize,
    others: mpsc::UnboundedSender<DuplexStream>,
}

#[async_trait]
impl Dial for Pipes {
    async fn dial(&self, _: &Host) -> io::Result<Box<dyn Stream>> {
        let (ours, other) = tokio::io::duplex(self.bytes);
        self.others.send(other).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(ours))
    }
}

fn pipes(bytes: usize) -> (Connector, mpsc::UnboundedReceiver<DuplexStream>) {
    let (others, accepted) = mpsc::unbounded_channel();
    (Connector::new("pipe").unwrap().dial(Pipes { bytes, others }).session_timeout(TIMEOUT), accepted)
}

async fn listening() -> (Connector, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connector = Connector::new(&listener.local_addr().unwrap().to_string()).unwrap();
    (connector.session_timeout(TIMEOUT), listener)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.unwrap().0
}

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

/// Reliability fault A10: each write takes one byte, each read yields one.
#[test]
fn a_stream_that_takes_a_byte_at_a_time_carries_everything_in_order() {
    ends(async {
        let (connector, mut accepted) = pipes(1);
        let server = tokio::spawn(async move {
            let stream = accepted.recv().await.unwrap();
            Peer::greet(stream, TIMEOUT).await.serve().await;
            accepted.try_recv().is_err()
        });
        let client = connector.connect().await.unwrap();
        let paths: Vec<_> = (0..50).map(|nth| path(&format!("/node-{nth}"))).collect();
        let reads: Vec<_> = paths.iter().map(|path| client.get(path)).collect();
        for (path, read) in paths.iter().zip(reads) {
            assert_eq!(read.await.unwrap().0, path.as_str().repeat(20));
        }
        client.close().await.unwrap();
        assert!(server.await.unwrap(), "it took one connection");
    });
}

/// Reliability fault A10: a peer that stops reading. What is held for it is bounded, and silence ends it.
#[test]
fn a_peer_that_reads_nothing_more_is_held_a_window_of_requests_and_is_left() {
    ends(async {
        const WINDOW: usize = 20;
        let (connector, mut accepted) = pipes(64);
        let timeout = Duration::from_millis(600);
        let connecting = tokio::spawn(connector.session_timeout(timeout).max_in_flight(WINDOW).connect());
        let deaf = Peer::greet(accepted.recv().await.unwrap(), timeout).await;
        let client = connecting.await.unwrap().unwrap();
        let root = NodePath::root();
        let calls: Vec<_> = (0..WINDOW).map(|_| client.exists(&root)).collect();
        for _ in 0..1_000 {
            assert_eq!(client.exists(&root).await, Err(Error::Overloaded));
        }
        for call in calls {
            assert_eq!(call.await, Err(Error::ConnectionLost));
        }
        drop(deaf);
        let next = accepted.recv().await.unwrap();
        let server = tokio::spawn(async move { Peer::greet(next, TIMEOUT).await.serve().await });
        assert_eq!(client.exists(&root).await, Ok(None));
        drop(client);
        server.await.unwrap();
    });
}

/// zookeeper-async #9: a connection that is given up is closed, or each reconnect costs a file descriptor.
#[test]
fn a_connection_that_is_given_up_is_closed_before_the_next_is_opened() {
    ends(async {
        let (connector, listener) = listening().await;
        let connecting = tokio::spawn(connector.connect());
        let mut rude = Peer::greet(accept(&listener).await, TIMEOUT).await;
        let client = connecting.await.unwrap().unwrap();
        for _ in 0..3 {
            // No reply has this number.
            rude.stream.write_all(&[0, 0, 0, 16, 0, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
            let next = accept(&listener).await;
            assert!(rude.next().await.is_none(), "still open when the next one is");
            rude = Peer::greet(next, TIMEOUT).await;
        }
        let server = tokio::spawn(rude.serve());
        assert_eq!(client.exists(&NodePath::root()).await, Ok(None));
        drop(client);
        server.await.unwrap();
    });
}

/// zookeeper-async #10, zookeeper-client-rust #35, samuel/go-zookeeper #38: a peer that takes a connection and drops it is
/// not dialled as fast as the machine can.
#[test]
fn a_peer_that_hangs_up_at_once_is_dialled_at_growing_pauses() {
    ends(async {
        let (connector, listener) = listening().await;
        let dials = Arc::new(AtomicUsize::new(0));
        let counted = dials.clone();
        let server = tokio::spawn(async move {
            loop {
                drop(accept(&listener).await);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let patience = Duration::from_millis(700);
        assert!(connector.connect_within(patience).connect().await.is_err());
        // Pauses of up to 50, 100, 200, 400 ms. Drawn at random they may be short, but not twenty of them.
        let dials = dials.load(Ordering::Relaxed);
        assert!((1..20).contains(&dials), "{dials} dials in {patience:?}");
        server.abort();
    });
}

/// Uses the client in the moment that it is woken.
struct Eager<C> {
    client: C,
    slot: Mutex<Option<herdless_core::Response>>,
    done: mpsc::UnboundedSender<()>,
}

impl<C: Client> Wake for Eager<C> {
    fn wake(self: Arc<Self>) {
        let root = Request::Exists(Exists { path: NodePath::root(), watch: false });
        let mut slot = self.slot.lock().unwrap();
        if slot.is_none() {
            *slot = Some(self.client.submit(root));
            self.client.session().state();
            self.done.send(()).ok();
        }
    }
}

/// go-zookeeper #101, kazoo #458: nobody is woken, and no callback runs, with a lock held that the client needs.
#[test]
fn who_is_woken_may_use_the_client_at_once() {
    ends(async {
        let (connector, listener) = listening().await;
        let connecting = tokio::spawn(connector.connect());
        let peer = Peer::greet(accept(&listener).await, TIMEOUT).await;
        let client = connecting.await.unwrap().unwrap();
        let (done, mut woken) = mpsc::unbounded_channel();
        let eager = Arc::new(Eager { client: client.clone(), slot: Mutex::default(), done });
        let root = Request::Exists(Exists { path: NodePath::root(), watch: false });
        let mut first = client.submit(root);
        let waker = Waker::from(eager.clone());
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
        let server = tokio::spawn(peer.serve());
        woken.recv().await.unwrap();
        let second = eager.slot.lock().unwrap().take().unwrap();
        assert_eq!(second.await.unwrap().reply, Reply::Exists(None));
        drop((client, eager, first, waker));
        server.await.unwrap();
    });
}
