//! A TCP proxy that fails on demand.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use herdless::Connector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::world::connector;
use super::{Dice, until};

/// Stands between clients and a server. Dropping it ends it and cuts all connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    servers: Vec<String>,
    /// How many connections there were: each goes to the next server.
    connections: AtomicUsize,
    rules: watch::Sender<Rules>,
    faults: Mutex<Faults>,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    /// How often all connections were cut: one that began under another number ends.
    cuts: u64,
    /// The last bytes that a client gets before the cut.
    farewell: Arc<[u8]>,
    /// Whether new connections are closed at once.
    is_down: bool,
    /// Whether nothing is passed on, in either direction.
    is_paused: bool,
}

#[derive(Debug, Default)]
struct Faults {
    /// How many more bytes of what the server sends are passed on; the others vanish.
    replies: Option<usize>,
    vanished: usize,
    /// After how many bytes, of both directions, a new connection is cut.
    lifetimes: Option<(Dice, Range<usize>)>,
    breaks: usize,
}

impl Proxy {
    /// A proxy to this server, on a free port.
    pub(crate) async fn to(server: &str) -> Self {
        Self::to_each_of(vec![server.to_owned()]).await
    }

    /// A proxy to these servers, on a free port: the first connection is to the first of them, the next to the second.
    pub(crate) async fn to_each_of(servers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            servers,
            connections: AtomicUsize::new(0),
            rules: watch::Sender::default(),
            faults: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, accepting }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The server that the last connection was to.
    pub(crate) fn server(&self) -> &str {
        let number = self.shared.connections.load(Ordering::Relaxed).saturating_sub(1);
        &self.shared.servers[number % self.shared.servers.len()]
    }

    /// Options for a client of the server by way of this proxy.
    pub(crate) fn connector(&self) -> Connector {
        connector(&self.address())
    }

    /// As [`connector`](Self::connector), with a session that ends soon. Not at once: a busy machine has to get its
    /// pings out in time.
    pub(crate) fn short_session(&self) -> Connector {
        self.connector().session_timeout(Duration::from_secs(2))
    }

    /// Cuts all connections. Clients may come back. Nothing that either side sends after this call gets to the other
    /// one over a connection of before.
    pub(crate) fn cut(&self) {
        self.cut_with(b"");
    }

    /// Cuts all connections, each after these bytes to its client.
    pub(crate) fn cut_with(&self, farewell: &[u8]) {
        self.shared.rules.send_modify(|rules| {
            rules.cuts += 1;
            rules.farewell = farewell.into();
        });
    }

    /// As [`cut`](Self::cut), and lets nobody come back until [`up`](Self::up).
    pub(crate) fn down(&self) {
        self.shared.rules.send_modify(|rules| {
            rules.cuts += 1;
            rules.farewell = Arc::default();
            rules.is_down = true;
        });
    }

    /// Lets clients in again.
    pub(crate) fn up(&self) {
        self.shared.rules.send_modify(|rules| rules.is_down = false);
    }

    /// Keeps back what both sides send, until [`resume`](Self::resume).
    pub(crate) fn pause(&self) {
        self.shared.rules.send_modify(|rules| rules.is_paused = true);
    }

    /// Passes everything on again, what was kept back first.
    pub(crate) fn resume(&self) {
        self.shared.rules.send_modify(|rules| rules.is_paused = false);
    }

    /// Passes on this many more bytes of what the server sends; what follows vanishes until
    /// [`pass_replies`](Self::pass_replies). A connection that has lost bytes is then to be cut.
    pub(crate) fn lose_replies_after(&self, bytes: usize) {
        self.faults(|faults| {
            faults.replies = Some(bytes);
            faults.vanished = 0;
        });
    }

    /// Waits until something that the server sent has vanished.
    pub(crate) async fn until_lost(&self) {
        until("a lost reply", async || self.has_lost().then_some(())).await;
    }

    /// Whether something that the server sent has vanished since [`lose_replies_after`](Self::lose_replies_after).
    pub(crate) fn has_lost(&self) -> bool {
        self.faults(|faults| faults.vanished > 0)
    }

    /// The server is heard again.
    pub(crate) fn pass_replies(&self) {
        self.faults(|faults| faults.replies = None);
    }

    /// From now on cuts each new connection after a number of bytes that is thrown for it.
    pub(crate) fn break_after(&self, dice: Dice, bytes: Range<usize>) {
        self.faults(|faults| faults.lifetimes = Some((dice, bytes)));
    }

    /// New connections live again.
    pub(crate) fn stop_breaking(&self) {
        self.faults(|faults| faults.lifetimes = None);
    }

    /// How many connections were cut because of [`break_after`](Self::break_after).
    pub(crate) fn breaks(&self) -> usize {
        self.faults(|faults| faults.breaks)
    }

    fn faults<T>(&self, f: impl FnOnce(&mut Faults) -> T) -> T {
        self.shared.faults(f)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn faults<T>(&self, f: impl FnOnce(&mut Faults) -> T) -> T {
        f(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let rules = shared.rules.borrow().clone();
        if !rules.is_down {
            tokio::spawn(relay(client, rules.cuts, shared.clone()));
        }
    }
}

async fn relay(mut client: TcpStream, cuts: u64, shared: Arc<Shared>) {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    let Ok(mut server) = TcpStream::connect(&shared.servers[number % shared.servers.len()]).await else {
        return;
    };
    // A delayed packet would be a timer in every test.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let lifetime = shared.faults(|faults| {
        let (dice, bytes) = faults.lifetimes.as_mut()?;
        Some(AtomicUsize::new(dice.within(bytes.clone())))
    });
    let mut rules = shared.rules.subscribe();
    let farewell = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let requests = pump(from_client, to_server, cuts, &shared, lifetime.as_ref(), false);
        let replies = pump(from_server, to_client, cuts, &shared, lifetime.as_ref(), true);
        tokio::select! {
            rules = rules.wait_for(|rules| rules.cuts != cuts) => rules.map(|rules| rules.farewell.clone()).ok(),
            () = requests => None,
            () = replies => None,
        }
    };
    if let Some(farewell) = farewell.filter(|farewell| !farewell.is_empty()) {
        // The client may have gone already, which is no matter.
        let _ = client.write_all(&farewell).await;
        let _ = client.shutdown().await;
        // Unread bytes would turn the close into a reset, which overtakes what was just written.
        let _ =
            tokio::time::timeout(Duration::from_secs(5), tokio::io::copy(&mut client, &mut tokio::io::sink())).await;
    }
}

/// Passes one direction on, until either side is done or the connection has lived long enough.
async fn pump(
    mut from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    cuts: u64,
    shared: &Shared,
    lifetime: Option<&AtomicUsize>,
    are_replies: bool,
) {
    let mut rules = shared.rules.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if rules.wait_for(|rules| !rules.is_paused).await.is_err() {
            return;
        }
        let mut bytes = &buffer[..count];
        if are_replies {
            shared.faults(|faults| {
                if let Some(left) = &mut faults.replies {
                    let passed = count.min(*left);
                    *left -= passed;
                    faults.vanished += count - passed;
                    bytes = &bytes[..passed];
                }
            });
        }
        let mut is_over = false;
        if let Some(left) = lifetime {
            // Both directions draw on it, so what is left may be less by now than it was.
            let before = left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(count)))
                .unwrap_or_default();
            is_over = before <= count;
            bytes = &bytes[..bytes.len().min(before)];
        }
        if pass_on(bytes, &to, cuts, &rules).await.is_err() {
            return;
        }
        if is_over {
            shared.faults(|faults| faults.breaks += 1);
            return;
        }
    }
}

/// Writes all of this, unless the connection is cut.
async fn pass_on(mut bytes: &[u8], to: &WriteHalf<'_>, cuts: u64, rules: &watch::Receiver<Rules>) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        // Looked at and written in one piece: who cuts waits for this borrow, and is obeyed from then on.
        let rules = rules.borrow();
        if rules.cuts != cuts {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match to.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
