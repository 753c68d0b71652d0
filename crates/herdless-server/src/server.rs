//! Listening, and the end of it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use herdless_core::Mutex;
use herdless_proto::FourLetterWord;
use thiserror::Error;
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::accept::{self, Accepted, Acceptor};
use crate::connection::{Connection, Seat};
use crate::faults::Faults;
use crate::limits::Limits;
use crate::serving::Serving;
use crate::socket::Socket;
use crate::startup::Announcement;
use crate::state::{Reason, Settings, Shared, first_zxid, unix_time};
use crate::store::{self, Disk, Durability, Place, StoreError, Writer};
use crate::usage::Usage;

/// A running server. Dropping it ends it; [`shutdown`](Self::shutdown) and [`stop`](Self::stop) also wait for the end.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Arc<Notify>,
    serving: Option<Serving>,
}

/// Options of a server.
#[derive(Clone, Debug)]
pub struct Builder {
    session_timeouts: RangeInclusive<Duration>,
    limits: Limits,
    allow_remote: bool,
    allow_ttl: bool,
    enforce_quotas: bool,
    reap_interval: Duration,
    words: BTreeSet<FourLetterWord>,
    place: Option<Place>,
    durability: Durability,
    #[cfg(feature = "tls")]
    tls: Option<crate::ServerTls>,
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
    /// The address can be reached from other machines, and clients need not prove who they are: there is no TLS, or none that
    /// requires client certificates.
    #[error("{0} is not a loopback address: TLS with client certificates, or see Builder::insecure_allow_remote")]
    NotLoopback(SocketAddr),
    /// The [shortest session timeout](Builder::session_timeouts) is longer than the longest.
    #[error("session timeouts cannot be of {shortest:?} at least and {longest:?} at most")]
    SessionTimeouts {
        /// The shortest.
        shortest: Duration,
        /// The longest.
        longest: Duration,
    },
    /// There is no [thread or runtime of its own](Builder::start) to be had.
    #[error("no thread for the server: {0}")]
    Thread(io::Error),
    /// What is kept on disk cannot be served.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            // 2 and 20 ticks of 2 seconds, as Apache ZooKeeper.
            session_timeouts: Duration::from_secs(4)..=Duration::from_secs(40),
            limits: Limits::default(),
            allow_remote: false,
            allow_ttl: false,
            enforce_quotas: false,
            reap_interval: Duration::from_secs(60),
            words: BTreeSet::from([FourLetterWord::Srvr]),
            place: None,
            durability: Durability::Durable,
            #[cfg(feature = "tls")]
            tls: None,
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

    /// How much clients may have. The defaults are those of [`Limits`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether nodes with a time to live may be created (`zookeeper.extendedTypesEnabled`). The default is no, as of Apache
    /// ZooKeeper.
    pub fn allow_ttl(mut self, allow: bool) -> Self {
        self.allow_ttl = allow;
        self
    }

    /// Whether a change that goes beyond the hard limit of a quota is refused
    /// ([`QuotaExceeded`](herdless_core::Refusal::QuotaExceeded), `zookeeper.enforceQuota`). The default is no, as of Apache
    /// ZooKeeper: quotas are set and counted below `/zookeeper/quota`, and nothing is refused.
    pub fn enforce_quotas(mut self, enforce: bool) -> Self {
        self.enforce_quotas = enforce;
        self
    }

    /// How often containers that are empty, and nodes whose time to live is over, are looked for and removed
    /// (`znode.container.checkIntervalMs`). An interval of 0 is one of 1 ms. The default is 60 seconds, as of Apache ZooKeeper.
    pub fn reap_interval(mut self, interval: Duration) -> Self {
        self.reap_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Which four-letter words are answered (`4lw.commands.whitelist`): `FourLetterWord::ALL` for all of them. They ask for no
    /// identity, some tell paths and sessions, and `dump`, `wchc` and `wchp` look at all there is. The default is `srvr` alone,
    /// as of Apache ZooKeeper.
    pub fn four_letter_words<'a>(mut self, words: impl IntoIterator<Item = &'a FourLetterWord>) -> Self {
        self.words = words.into_iter().copied().collect();
        self
    }

    /// Speaks TLS with every client, and with nobody anything else.
    ///
    /// A client that shows a certificate has, beside its address, an identity in the scheme `x509`: the subject of that
    /// certificate as Apache ZooKeeper writes it (`X509AuthenticationProvider`, by Java's `X500Principal.getName`), as in
    /// `CN=orders,OU=shop,O=Example`. Access control lists may name it, and [`Acl::creator`](herdless_core::Acl::creator)
    /// stands for it.
    ///
    /// Where client certificates are required, the server may listen on addresses that other machines can reach.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What there should be against whoever reaches the address, and is not.
    fn insecurity(&self) -> Option<&'static str> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let is_open = !tls.requires_client_certificates();
            return is_open.then_some("no authentication");
        }
        Some("no encryption and no authentication")
    }

    fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    fn socket(&self, stream: TcpStream) -> Socket {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Socket::Greeting(Box::new(tls.acceptor().accept(stream)));
        }
        Socket::Plain(stream)
    }

    /// Listens on addresses that other machines can reach, although anybody who does can read and change everything. TLS that
    /// requires client certificates does not need this.
    pub fn insecure_allow_remote(mut self) -> Self {
        self.allow_remote = true;
        self
    }

    /// Keeps everything in this directory, which is made if it is not there, for its owner alone: nodes, sessions, the last zxid. A
    /// server that is started on it again goes on from there, and its clients go on with their sessions. Without a directory all
    /// is in memory and ends with the process.
    ///
    /// One server at a time has a directory, which holds a file `herdless.redb` and a file `lock`. All of it is also in memory, and
    /// is read when the server starts.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.place = Some(Place::Directory(directory.into()));
        self
    }

    /// As [`data_dir`](Self::data_dir), on a disk of the caller's own: for tests of what happens when it fails. Nothing keeps two
    /// servers from one disk.
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.place = Some(Place::Disk(disk));
        self
    }

    /// When a server with a data directory acknowledges a change. The default is [`Durability::Durable`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Starts the server on the caller's runtime. Port 0 takes a free one; [`Server::address`] tells which.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O enabled.
    pub async fn bind(self, address: impl ToSocketAddrs) -> Result<Server, BindError> {
        let addresses = lookup_host(address).await.map_err(no_such_address)?.collect();
        self.listen(addresses).await
    }

    /// Starts the server on a thread and a runtime of its own, and blocks until it listens. For programs and tests without a
    /// runtime, and for those that keep theirs busy: sessions do not expire and nobody waits because of that. It blocks for no
    /// longer than it takes to look the address up and to bind it, so it may be called in asynchronous code too.
    ///
    /// ```
    /// use herdless_server::Server;
    ///
    /// let server = Server::builder().start("127.0.0.1:0")?;
    /// println!("serving on {}", server.address());
    /// server.stop();
    /// # Ok::<(), herdless_server::BindError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn start(self, address: impl std::net::ToSocketAddrs) -> Result<Server, BindError> {
        let addresses = address.to_socket_addrs().map_err(no_such_address)?.collect();
        let begin = async move || match self.listen(addresses).await {
            Ok(mut server) => {
                let serving = server.serving.take();
                (Ok(server), serving)
            }
            Err(error) => (Err(error), None),
        };
        let (server, serving) = Serving::on_thread(begin).map_err(BindError::Thread)?;
        server.map(|mut server| {
            server.serving = Some(serving);
            server
        })
    }

    async fn listen(self, addresses: Vec<SocketAddr>) -> Result<Server, BindError> {
        let io = |address: String| move |source| BindError::Io { address, source };
        let remote = addresses.iter().find(|address| !address.ip().is_loopback());
        if let Some(remote) = remote.filter(|_| !self.allow_remote && self.insecurity().is_some()) {
            return Err(BindError::NotLoopback(*remote));
        }
        if self.session_timeouts.is_empty() {
            let (shortest, longest) = self.session_timeouts.into_inner();
            return Err(BindError::SessionTimeouts { shortest, longest });
        }
        let listener = accept::listen(&addresses).map_err(io(format!("{addresses:?}")))?;
        let address = listener.local_addr().map_err(io(format!("{addresses:?}")))?;
        let settings = Settings {
            port: address.port(),
            session_timeouts: self.session_timeouts.clone(),
            limits: self.limits,
            allow_ttl: self.allow_ttl,
            has_tls: self.has_tls(),
            enforce_quotas: self.enforce_quotas,
            words: self.words.clone(),
        };
        let now = unix_time();
        let stored = match self.place.clone() {
            None => None,
            Some(place) => Some(store::open(place, self.durability, first_zxid(now)).await?),
        };
        Announcement::new(address, &settings, self.insecurity(), stored.is_some().then_some(self.durability)).log();
        let (shared, writer) = match stored {
            None => (Arc::new(Shared::new(settings, now, None)), None),
            Some((store, loaded)) => {
                let shared = Arc::new(Shared::new(settings, now, Some((self.durability, loaded))));
                let writer = store::start(store, shared.clone())?;
                (shared, Some(writer))
            }
        };
        let stop = Arc::new(Notify::new());
        let serving = Serving::spawn(serve(Acceptor::new(listener), self, shared.clone(), writer, stop.clone()));
        Ok(Server { address, shared, stop, serving: Some(serving) })
    }
}

fn no_such_address(source: io::Error) -> BindError {
    BindError::Io { address: "the address".into(), source }
}

impl Server {
    /// Starts a server with the default options on the caller's runtime.
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

    /// How much is held for clients, and who was turned away. Costs next to nothing: counters are read.
    pub fn usage(&self) -> Usage {
        self.shared.state.with(|state| state.usage())
    }

    /// Whether changes are refused, because the disk is full. They are accepted again once there is room.
    pub fn is_read_only(&self) -> bool {
        self.shared.state.with(|state| state.is_read_only())
    }

    /// Tells the installed recorder what there is at the moment: the gauges of [the figures](crate#figures), and the frames. To be
    /// called before figures are read.
    #[cfg(feature = "metrics")]
    pub fn look(&self) {
        self.shared.state.with(|state| state.look());
    }

    /// Ends the server: it stops listening, carries out what has arrived, sends the replies, closes every connection, writes
    /// what is not on disk yet, and is gone when this returns: what it returns is why not all is on disk. A client that neither
    /// takes its replies nor closes its side is left after a second.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the server all the same, without waiting.
    pub async fn shutdown(mut self) -> Option<Arc<StoreError>> {
        self.stop.notify_one();
        if let Some(serving) = self.serving.take() {
            serving.ended().await;
        }
        self.shared.failure.borrow().clone()
    }

    /// As [`shutdown`](Self::shutdown), and blocks meanwhile: for a server that was [started](Builder::start) on a thread of
    /// its own.
    ///
    /// # Panics
    ///
    /// In asynchronous code, if the server was [bound](Builder::bind): it might run on the thread that is to be blocked.
    pub fn stop(mut self) -> Option<Arc<StoreError>> {
        self.stop.notify_one();
        if let Some(serving) = self.serving.take() {
            serving.wait();
        }
        self.shared.failure.borrow().clone()
    }

    /// Faults to inject, for tests.
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }

    /// Waits until the server has ended by itself, because its disk has failed: then it has closed all connections and
    /// acknowledged nothing more. It is not tried again, since a disk that has failed once may say that all is well when it is
    /// not; what is on it is found out by starting anew. A server that keeps nothing on disk does not fail.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn failed(&self) -> Arc<StoreError> {
        let mut failure = self.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(error)) => error,
            // The sender lives as long as we do.
            _ => std::future::pending().await,
        }
    }

    /// Writes all that is on disk to one new file, while the server goes on: what was acknowledged before this is called is in it,
    /// in a relaxed server but for the last of it. [`restore`](crate::restore) makes a data directory of it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not end the writing. The file has its name once it is whole.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: there is such a file already, or it cannot be written; the server keeps nothing on disk, or has failed.
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<(), StoreError> {
        let path = path.as_ref().to_owned();
        let Some(database) = self.shared.state.with(|state| state.database()) else {
            let source = io::Error::new(io::ErrorKind::Unsupported, "this server keeps nothing on disk");
            return Err(StoreError::Directory { path, source });
        };
        let (done, backed_up) = oneshot::channel();
        let writing = std::thread::Builder::new().name("herdless-backup".into());
        // Whoever asked may be gone.
        let write = move || drop(done.send(store::back_up(&database, &path)));
        writing.spawn(write).map_err(StoreError::Io)?;
        backed_up.await.unwrap_or_else(|_| Err(StoreError::Damaged("reading it failed".into())))
    }
}

// What is shared holds the passwords of sessions.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// How long a shutdown waits for slow readers.
const DRAIN: Duration = Duration::from_secs(1);

async fn serve(
    mut acceptor: Acceptor,
    options: Builder,
    shared: Arc<Shared>,
    writer: Option<Writer>,
    stop: Arc<Notify>,
) {
    let mut failure = shared.failure.subscribe();
    let mut connections = JoinSet::new();
    let mut reap = tokio::time::interval(options.reap_interval);
    let next_expiry = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(next_expiry);
    loop {
        tokio::select! {
            () = stop.notified() => break,
            () = async { drop(failure.wait_for(Option::is_some).await) } => break,
            accepted = acceptor.accept() => match accepted {
                Accepted::Connection(..) if shared.state.with(|state| state.refuses_connections()) => {}
                Accepted::Connection(stream, peer) => {
                    // Before the handshake of TLS, which costs most. Without a seat it is closed here.
                    if let Some(seat) = Seat::take(&shared, peer) {
                        // A reply that waits for more to come is a reply that waits.
                        let _ = stream.set_nodelay(true);
                        shared.meter.accepted();
                        tracing::debug!(%peer, "accepted");
                        connections.spawn(Connection::new(seat, options.socket(stream)));
                    }
                }
                Accepted::Refused(peer) => {
                    shared.state.with(|state| state.refuse(Reason::Descriptors, Some(peer)));
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
    drop(acceptor);
    // A timer runs out behind a look at the sockets: what has arrived by now is known to whom it is for.
    tokio::time::sleep(Duration::from_millis(1)).await;
    shared.end();
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    connections.shutdown().await;
    if let Some(writer) = writer {
        writer.finish().await;
    }
}
