//! Options, and the first connection.

use std::sync::Arc;
use std::time::Duration;

use herdless_core::Chroot;
use herdless_proto::client::{Config, Machine};
use rand::seq::SliceRandom;
use thiserror::Error;
use tracing::Instrument;

use crate::client::{Shared, Slot, TokioClient, WatchCell};
use crate::driver::Driver;
use crate::{Address, AddressError, Dial, Host, Scheme, TcpDial};

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
    max_reply: usize,
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
            max_reply: 4 << 20,
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

    /// The longest pause between two dials. Each is drawn at random from 0 to a bound that doubles from 50 ms up to
    /// this. The default is 2 seconds.
    pub fn max_backoff(mut self, pause: Duration) -> Self {
        self.max_backoff = pause;
        self
    }

    /// How many requests may wait for an answer; more are refused as `Overloaded`. Releases are not counted. The default
    /// is 10,000.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// The largest reply that is read, in bytes; a larger one is its request's error. The default is 4 MiB.
    pub fn max_reply(mut self, bytes: usize) -> Self {
        self.max_reply = bytes;
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

    /// Whether TLS is spoken to this host.
    fn is_encrypted(&self, host: &Host) -> bool {
        self.has_tls() && host.scheme != Some(Scheme::Tcp)
    }

    /// What is asked for fits together.
    fn check(&self) -> Result<(), ConnectError> {
        for host in self.address.hosts.iter().filter(|host| !self.is_encrypted(host)) {
            if host.scheme == Some(Scheme::Tls) {
                return Err(ConnectError::NoTls { host: host.to_string() });
            }
            #[cfg(feature = "sasl")]
            if self.sasl.as_ref().is_some_and(|sasl| !sasl.is_allowed_without_tls()) {
                return Err(ConnectError::SaslWithoutTls { host: host.to_string() });
            }
        }
        Ok(())
    }

    fn dialler(&self) -> Arc<dyn Dial> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Arc::new(crate::tls::TlsDial::new(self.dial.clone(), tls.clone()));
        }
        self.dial.clone()
    }

    fn machine(&self, config: Config) -> Machine<Slot, WatchCell> {
        let machine = Machine::new(config);
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
    /// Dropping the future gives the attempt up, and closes the session if it was just opened.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] with the last cause, when there is no session in time; `NoTls`, `SaslWithoutTls` and
    /// `AuthFailed` as they say.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O enabled.
    pub async fn connect(self) -> Result<TokioClient, ConnectError> {
        self.check()?;
        let mut hosts = self.address.hosts.clone();
        hosts.shuffle(&mut rand::rng());
        let config = Config {
            hosts: hosts.len(),
            session_timeout: self.session_timeout,
            // Two dials fit into what is left of a session when silence has been noticed.
            connect_timeout: (self.session_timeout / 6).max(Duration::from_millis(200)),
            max_backoff: self.max_backoff,
            max_in_flight: self.max_in_flight,
            max_reply: self.max_reply,
        };
        let names = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let connect_timeout = config.connect_timeout;
        let shared = Arc::new(Shared::new(self.machine(config)));
        let driver = Driver::new(shared.clone(), self.dialler(), hosts, connect_timeout);
        let client = TokioClient::new(Chroot::new(crate::client::Handle::new(shared.clone()), self.address.chroot));
        tokio::spawn(driver.instrument(tracing::debug_span!("herdless", hosts = names)));
        match tokio::time::timeout(self.patience, shared.first_session()).await {
            Ok(Ok(())) => Ok(client),
            Ok(Err(failure)) => Err(ConnectError::AuthFailed { reason: failure.to_string().into() }),
            // Dropping the client ends the driver.
            Err(_) => {
                Err(ConnectError::Unreachable { hosts: names, patience: self.patience, last: shared.last_error() })
            }
        }
    }
}
