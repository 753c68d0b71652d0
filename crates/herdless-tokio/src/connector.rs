//! Options, and the first connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::{Chroot, Error, SessionId};
use herdless_proto::client::{Config, Machine, SessionCredentials};
use rand::seq::SliceRandom;
use thiserror::Error;
use tracing::Instrument;

use crate::client::{NoSession, Shared, Slot, TokioClient, WatchCell};
use crate::driver::Driver;
use crate::protection::Protection;
use crate::{Address, AddressError, Dial, TcpDial};

/// Connects to the servers of a connect string, with the default options.
///
/// # Errors
///
/// As [`Connector::connect`], and a string that is none.
pub async fn connect(address: &str) -> Result<TokioClient, ConnectError> {
    Connector::new(address)?.connect().await
}

/// Options of a client.
#[derive(Clone, Debug)]
pub struct Connector {
    address: Address,
    session_timeout: Duration,
    patience: Duration,
    max_backoff: Duration,
    max_in_flight: usize,
    request_timeout: Option<Duration>,
    max_reply: usize,
    read_only: bool,
    resume: Option<SessionCredentials>,
    has_thread: bool,
    dial: Arc<dyn Dial>,
    #[cfg(feature = "tls")]
    tls: Option<crate::Tls>,
    #[cfg(feature = "sasl")]
    sasl: Option<crate::Sasl>,
}

/// Why there is no client.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The connect string is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There is no [thread of its own](Connector::dedicated_thread) to be had for the driver.
    #[error("no thread for the driver: {0}")]
    Thread(Arc<str>),
    /// No server gave the client a session in time.
    #[error("no session with {hosts} within {patience:?}: {last}")]
    Unreachable {
        /// The servers that were tried.
        hosts: String,
        /// How long.
        patience: Duration,
        /// What went wrong last.
        last: Arc<str>,
    },
    /// The connect string asks for TLS and there are no options for it ([`Connector::tls`], feature `tls`). Nothing was
    /// dialled.
    #[error("{host} asks for TLS, and the client has no options for it")]
    NoTls {
        /// The host that asks.
        host: String,
    },
    /// A password would be proven on a connection that anybody may listen to and change. Nothing was dialled.
    #[error("SASL with {host} without TLS, which is to be allowed explicitly")]
    SaslWithoutTls {
        /// The host that is not spoken to by TLS.
        host: String,
    },
    /// SASL has failed, and will fail again: there are no further attempts.
    #[error("not authenticated: {reason}")]
    AuthFailed {
        /// Why.
        reason: Arc<str>,
    },
    /// The session that was to be taken over is no more, by the word of a server; or the password is not its own, which
    /// servers tell in the same way.
    #[error("session {session} is over")]
    SessionExpired {
        /// The session.
        session: SessionId,
    },
}

impl Connector {
    /// The servers to connect to: `host[:port][,host[:port]..][/chroot]`, each host as [`Address`] has it.
    ///
    /// # Errors
    ///
    /// A string that is none.
    pub fn new(address: &str) -> Result<Self, AddressError> {
        Ok(Self {
            address: address.parse()?,
            session_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(10),
            max_backoff: Duration::from_secs(2),
            max_in_flight: 10_000,
            request_timeout: None,
            max_reply: 4 << 20,
            read_only: false,
            resume: None,
            has_thread: false,
            dial: Arc::new(TcpDial),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "sasl")]
            sasl: None,
        })
    }

    /// The session timeout to ask for. The server clamps it, to between 4 and 40 seconds unless configured otherwise.
    /// The default is 10 seconds.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How long [`connect`](Self::connect) tries to get the first session. The default is 10 seconds.
    pub fn connect_within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The longest pause between two dials, at least a millisecond; the default is 2 seconds. While there is a session, a sixth
    /// of its timeout is the longest in any case, so that it is not lost to a pause.
    ///
    /// After a lost connection the first pause is drawn at random from 0 to half of this (at most a second), each further
    /// one from the upper half of a bound that doubles from there up to this. The pauses become short again by a connection
    /// that lives for as long as this, and not by one that was merely accepted. So of a client there are **at most two
    /// dials at once, and then one in half of this** (at most a second), whatever servers do: with the default one per
    /// second, or, at a session timeout of 10 seconds, per 0.83 seconds. With [`read_only`](Self::read_only) a read-write
    /// server that was searched for and found is dialled without a pause, too; the search slows down, so that is ever more
    /// seldom. A crowd of clients that lost its server comes back spread over this time, or over half of it where the next
    /// server is there at once.
    ///
    /// Where few clients share a server and being back at once matters more, take less: with 50 ms the first dial is
    /// 12 ms away on average, and there are at most 40 per second.
    pub fn max_backoff(mut self, pause: Duration) -> Self {
        self.max_backoff = pause.max(Duration::from_millis(1));
        self
    }

    /// How many requests may wait for an answer; more are refused as `Overloaded`. Releases are not counted. The default
    /// is 10,000. [`TokioClient::ready`] waits for room.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// How long a request may wait for its answer, from its submission. The default is no limit: a request ends with its
    /// answer, its connection or its session.
    ///
    /// One that was not sent by then, because there was no connection, ends as [`NotSent`](herdless_core::Error::NotSent): it
    /// will not be. One that was sent ends as [`TIMED_OUT`](herdless_core::Error::TIMED_OUT): it may or may not have
    /// happened, or still happen. Only its caller is told; the connection goes on, where ZooKeeper's own client drops it
    /// (`zookeeper.request.timeout`) and makes every other request uncertain too, at a server that is just slow. A server
    /// that is dead is found by its silence, with this or without. Until its answer comes, the request takes part in
    /// [`max_in_flight`](Self::max_in_flight), and if its caller has gone, the answer still goes to where it is to go
    /// ([`Response::on_abandon`](herdless_core::Response::on_abandon)).
    ///
    /// Recipes deal with it as with a lost connection where they write, and pass it on where they read. Clean-up
    /// (releases, searches, the close) and `authenticate` have no limit.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = Some(limit);
        self
    }

    /// Runs the driver on a thread of its own, named `herdless`, with a runtime of its own. Then pings go out, and guards stay
    /// valid, while the caller's runtime is kept busy ([what the driver needs](crate#what-the-driver-needs)), and after
    /// that runtime has ended.
    ///
    /// The thread ends when the client is closed or its last clone dropped: at once where the server answers, otherwise
    /// with the session. Dropping a client never waits for it. A request costs two changes of thread more.
    pub fn dedicated_thread(mut self) -> Self {
        self.has_thread = true;
        self
    }

    /// The largest reply that is read, in bytes; a larger one is its request's error. The default is 4 MiB.
    pub fn max_reply(mut self, bytes: usize) -> Self {
        self.max_reply = bytes;
        self
    }

    /// Whether a server will do that has lost the majority of its ensemble (and has `readonlymode.enabled`). Without it the
    /// client looks for another server until the session ends.
    ///
    /// At such a server the session's state is [`ReadOnly`](herdless_core::SessionState::ReadOnly): what is read may be
    /// old, changes are refused, and clean-up (releases, the search for a node whose creation was not answered) waits.
    /// Such a server cannot keep a session alive, so guards turn invalid as they would with no server, and after that the
    /// client has a session of that server's own, whose end is the end of the connection.
    ///
    /// ZooKeeper 3.8 has conditions of its own: such a server opens sessions only where `localSessionsEnabled` is set, and
    /// turns those of the ensemble away (ZOOKEEPER-3864), so the client comes to it once its session is lost.
    ///
    /// Meanwhile the client asks one server after the other whether it is read-write, after pauses of up to 100 ms that
    /// double up to a minute, and moves over at once when one is. The pauses become short again by a read-write connection
    /// that lives for as long as [`max_backoff`](Self::max_backoff).
    pub fn read_only(mut self, will_do: bool) -> Self {
        self.read_only = will_do;
        self
    }

    /// Takes a session over that another client has left ([`TokioClient::detach`]), or that a process has had which is no
    /// more. Its timeout is asked for again, in place of that of [`session_timeout`](Self::session_timeout).
    ///
    /// The nodes of the session are there, and its identities and watches are not: those were the connection's. Recipes
    /// do not know the nodes as theirs, because a guard is bound to the client that got it: a lock that was held by the
    /// session is held, and waiting for it in the same session waits until somebody has deleted the node. What is to be
    /// kept over a change of processes is best kept in ephemeral nodes of one's own.
    ///
    /// The session goes on with a majority of the ensemble, or not at all: see [`connect`](Self::connect).
    pub fn resume(mut self, credentials: SessionCredentials) -> Self {
        self.session_timeout = credentials.timeout();
        self.resume = Some(credentials);
        self
    }

    /// How streams are opened. The default is [`TcpDial`].
    pub fn dial(mut self, dial: impl Dial) -> Self {
        self.dial = Arc::new(dial);
        self
    }

    /// Speaks TLS, over what [`dial`](Self::dial) opens, to each host that is not `tcp://`. Without it no TLS is spoken.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Proves by SASL who the client is, on every connection before anything else. A failure is final: the client is
    /// closed, and what is asked of it is refused as `AuthFailed`.
    #[cfg(feature = "sasl")]
    pub fn sasl(mut self, sasl: crate::Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    #[cfg(feature = "tls")]
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls(&self) -> bool {
        false
    }

    fn protection(&self) -> Protection {
        #[cfg(feature = "sasl")]
        let needs_tls = self.sasl.as_ref().is_some_and(|sasl| !sasl.is_allowed_without_tls());
        #[cfg(not(feature = "sasl"))]
        let needs_tls = false;
        Protection { has_tls: self.has_tls(), needs_tls }
    }

    fn dialler(&self) -> Arc<dyn Dial> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Arc::new(crate::tls::TlsDial::new(self.dial.clone(), tls.clone()));
        }
        self.dial.clone()
    }

    fn machine(&self, config: Config) -> Machine<Slot, WatchCell> {
        let machine = match self.resume.clone() {
            Some(credentials) => Machine::resume(config, credentials),
            None => Machine::new(config),
        };
        #[cfg(feature = "sasl")]
        if let Some(sasl) = &self.sasl {
            return machine.with_sasl(sasl.mechanism());
        }
        machine
    }

    /// Connects, and waits for a session. The hosts are tried in random order, again and again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up, and closes the session if it was just opened. One that was to be
    /// [taken over](Self::resume) is left as it is.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] with the last cause, when there is no session in time;
    /// [`ConnectError::SessionExpired`] when the one to be taken over is no more, and no other is opened then; `NoTls`,
    /// `SaslWithoutTls`, `AuthFailed` and `Thread` as they say.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O enabled.
    pub async fn connect(self) -> Result<TokioClient, ConnectError> {
        let protection = self.protection();
        protection.check(&self.address.hosts)?;
        let mut hosts = self.address.hosts.clone();
        hosts.shuffle(&mut rand::rng());
        let config = Config {
            hosts: hosts.len(),
            session_timeout: self.session_timeout,
            // Two dials fit into what is left of a session when silence has been noticed.
            connect_timeout: (self.session_timeout / 6).max(Duration::from_millis(200)),
            max_backoff: self.max_backoff,
            max_in_flight: self.max_in_flight,
            request_timeout: self.request_timeout,
            max_reply: self.max_reply,
            read_only: self.read_only,
        };
        let names = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let connect_timeout = config.connect_timeout;
        let wanted = self.resume.as_ref().map(SessionCredentials::id);
        let shared = Arc::new(Shared::new(self.machine(config)));
        let span = tracing::debug_span!("herdless", hosts = names);
        let driver = {
            let (shared, dial) = (shared.clone(), self.dialler());
            // Its timer is bound to the runtime that it is made on.
            async move { Driver::new(shared, dial, hosts, connect_timeout).await }.instrument(span)
        };
        let handle = Chroot::new(crate::client::Handle::new(shared.clone()), self.address.chroot);
        let client = TokioClient::new(handle, protection);
        if self.has_thread {
            run_on_thread(driver).map_err(|error| ConnectError::Thread(error.to_string().into()))?;
        } else {
            tokio::spawn(driver);
        }
        // Goes before the client, which would close the session.
        let mut leaving = Leaving(wanted.map(|_| shared.clone()));
        let outcome = tokio::time::timeout(self.patience, shared.first_session()).await;
        let last = match (outcome, wanted) {
            (Ok(Ok(())), _) => {
                leaving.0 = None;
                return Ok(client);
            }
            (Ok(Err(NoSession::Unproven(failure))), _) => {
                return Err(ConnectError::AuthFailed { reason: failure.to_string().into() });
            }
            (Ok(Err(NoSession::Ended(Error::SessionExpired))), Some(session)) => {
                return Err(ConnectError::SessionExpired { session });
            }
            (Ok(Err(NoSession::Ended(cause))), _) => cause.to_string().into(),
            // Dropping the client ends the driver.
            (Err(_), _) => shared.last_error(),
        };
        Err(ConnectError::Unreachable { hosts: names, patience: self.patience, last })
    }
}

/// Leaves a session that is being taken over as it is, whatever happens meanwhile.
struct Leaving(Option<Arc<Shared>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.detach();
        }
    }
}

fn run_on_thread(driver: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let run = move || {
        runtime.block_on(driver);
        // A look-up of a name may be under way, which nobody waits for.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("herdless".into()).spawn(run).map(drop)
}
