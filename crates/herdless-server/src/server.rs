//! Listening, and the end of it.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::Mutex;
use herdless_proto::FourLetterWord;
use thiserror::Error;
use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::connection::Connection;
use crate::state::{Settings, Shared, unix_time};

/// A running server. Dropping it ends it; [`shutdown`](Self::shutdown) also waits for the end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<Notify>,
    serving: Option<JoinHandle<()>>,
}

/// Options of a server.
#[derive(Clone, Debug)]
pub struct Builder {
    session_timeouts: RangeInclusive<Duration>,
    max_connections: usize,
    allow_remote: bool,
    allow_ttl: bool,
    words: BTreeSet<FourLetterWord>,
}

/// Why a server does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address is taken, not ours, or does not exist.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// The address, as far as it is known.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The address can be reached from other machines, and there is neither encryption nor authentication.
    #[error("{0} is not a loopback address; see Builder::insecure_allow_remote")]
    NotLoopback(SocketAddr),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            // 2 and 20 ticks of 2 seconds, as Apache ZooKeeper.
            session_timeouts: Duration::from_secs(4)..=Duration::from_secs(40),
            max_connections: 1024,
            allow_remote: false,
            allow_ttl: false,
            words: BTreeSet::from([FourLetterWord::Srvr]),
        }
    }
}

impl Builder {
    /// Between which bounds a session timeout may be; what a client asks for is clamped. The default is from 4 to 40
    /// seconds.
    pub fn session_timeouts(mut self, bounds: RangeInclusive<Duration>) -> Self {
        self.session_timeouts = bounds;
        self
    }

    /// How many connections there may be; more are closed at once. The default is 1024.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Whether nodes with a time to live may be created (`zookeeper.extendedTypesEnabled`). The default is no, as of Apache
    /// ZooKeeper.
    pub fn allow_ttl(mut self, allow: bool) -> Self {
        self.allow_ttl = allow;
        self
    }

    /// Which four-letter words are answered (`4lw.commands.whitelist`): `FourLetterWord::ALL` for all of them. They ask for no
    /// identity, some tell paths and sessions, and `dump`, `wchc` and `wchp` look at all there is. The default is `srvr` alone,
    /// as of Apache ZooKeeper.
    pub fn four_letter_words<'a>(mut self, words: impl IntoIterator<Item = &'a FourLetterWord>) -> Self {
        self.words = words.into_iter().copied().collect();
        self
    }

    /// Listens on addresses that other machines can reach, although anybody who does can read and change everything.
    pub fn insecure_allow_remote(mut self) -> Self {
        self.allow_remote = true;
        self
    }

    /// Starts the server. Port 0 takes a free one; [`Server::address`] tells which.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O enabled.
    pub async fn bind(self, address: impl ToSocketAddrs) -> Result<Server, BindError> {
        let io = |address: String| move |source| BindError::Io { address, source };
        let addresses: Vec<_> = lookup_host(address).await.map_err(io("the address".into()))?.collect();
        if let Some(remote) = addresses.iter().find(|address| !address.ip().is_loopback() && !self.allow_remote) {
            return Err(BindError::NotLoopback(*remote));
        }
        let listener = TcpListener::bind(&*addresses).await.map_err(io(format!("{addresses:?}")))?;
        let address = listener.local_addr().map_err(io(format!("{addresses:?}")))?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "no encryption, no authentication: everybody who reaches this may change everything");
        }
        tracing::info!(%address, "serving from memory: the data ends with the process");
        let stop = Arc::new(Notify::new());
        let serving = tokio::spawn(serve(listener, self, stop.clone()));
        Ok(Server { address, stop, serving: Some(serving) })
    }
}

impl Server {
    /// Starts a server with the default options.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub async fn bind(address: impl ToSocketAddrs) -> Result<Self, BindError> {
        Self::builder().bind(address).await
    }

    /// The options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the server: it stops listening, sends what is ready to be sent, closes every connection, and is gone when
    /// this returns.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the server all the same, without waiting.
    pub async fn shutdown(mut self) {
        self.stop.notify_one();
        if let Some(serving) = self.serving.take() {
            // An error says that the runtime took the task down already.
            let _ = serving.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// How often containers are looked through (`znode.container.checkIntervalMs`).
const REAP_INTERVAL: Duration = Duration::from_secs(60);
/// How long a shutdown waits for slow readers.
const DRAIN: Duration = Duration::from_secs(1);

async fn serve(listener: TcpListener, options: Builder, stop: Arc<Notify>) {
    let settings = Settings {
        port: listener.local_addr().map_or(0, |address| address.port()),
        session_timeouts: options.session_timeouts,
        max_connections: options.max_connections,
        allow_ttl: options.allow_ttl,
        words: options.words,
    };
    let shared = Arc::new(Shared::new(settings, unix_time()));
    let mut connections = JoinSet::new();
    let mut reap = tokio::time::interval(REAP_INTERVAL);
    let next_expiry = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(next_expiry);
    loop {
        tokio::select! {
            () = stop.notified() => break,
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= options.max_connections => {
                    tracing::warn!(limit = options.max_connections, "too many connections");
                }
                Ok((stream, peer)) => {
                    // A reply that waits for more to come is a reply that waits.
                    let _ = stream.set_nodelay(true);
                    tracing::debug!(%peer, "accepted");
                    connections.spawn(Connection::new(shared.clone(), stream, peer));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: some will come free.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = shared.sooner.notified() => {
                next_expiry.as_mut().reset(shared.state.with(|state| state.next_expiry()));
            }
            () = &mut next_expiry => {
                let wakers = shared.state.with(|state| state.expire(tokio::time::Instant::now()));
                wakers.wake();
                next_expiry.as_mut().reset(shared.state.with(|state| state.next_expiry()));
            }
            _ = reap.tick() => shared.state.with(|state| state.reap()).wake(),
        }
    }
    drop(listener);
    shared.state.with(|state| state.close()).wake();
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    connections.shutdown().await;
}
