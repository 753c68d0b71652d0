//! The options of a server, and its start.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use herdless_proto::FourLetterWord;
use thiserror::Error;
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::sync::Notify;

use crate::accept::{self, Acceptor};
use crate::limits::Limits;
use crate::server::{Server, serve};
use crate::serving::Serving;
use crate::socket::Socket;
use crate::startup::Announcement;
use crate::state::{Settings, Shared, first_zxid, unix_time};
use crate::store::{self, Disk, Durability, Place, StoreError};

/// Options of a server.
#[derive(Clone, Debug)]
pub struct Builder {
    session_timeouts: RangeInclusive<Duration>,
    limits: Limits,
    allow_remote: bool,
    allow_ttl: bool,
    enforce_quotas: bool,
    pub(super) reap_interval: Duration,
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

    pub(super) fn socket(&self, stream: TcpStream) -> Socket {
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
    /// runtime, and for those that keep theirs busy: sessions do not expire and nobody waits because of that. It blocks as
    /// long as it takes to look the address up, to bind it, and to read the whole store where there is one. It waits for nothing of
    /// the caller's runtime, so in asynchronous code it costs that time and nothing else.
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
