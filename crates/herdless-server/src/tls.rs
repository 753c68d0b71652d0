//! TLS, by rustls with its provider ring.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use herdless_core::Secret;
use herdless_tls::{Roots, TlsError, TlsIdentity};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

/// Who a server is, and which clients it lets in. For a [`ServerTls`].
///
/// TLS 1.3 and 1.2 are spoken, and nothing older. Without roots for clients no client is asked for a certificate; with them
/// each needs one, unless [`optional_client_certificates`](Self::optional_client_certificates) says otherwise.
///
/// `Debug` shows how many roots there are, and no key.
#[derive(Clone, Debug)]
pub struct ServerTlsOptions {
    identity: TlsIdentity,
    client_roots: Roots,
    are_clients_free: bool,
    is_tls13_only: bool,
}

impl ServerTlsOptions {
    /// The server shows this certificate. `chain` is PEM, the server's own certificate first and then those that lead to a
    /// root; `key` is PEM, unencrypted: PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`).
    pub fn new(chain: impl Into<Vec<u8>>, key: impl Into<Secret>) -> Self {
        Self::of(TlsIdentity::new(chain.into(), key.into()))
    }

    /// As [`new`](Self::new), with a key that is encrypted with a passphrase: PKCS#8 (`ENCRYPTED PRIVATE KEY`) by PBES2,
    /// with PBKDF2 (of SHA-2) or scrypt, and AES. What `openssl pkcs8 -topk8` writes is one.
    #[cfg(feature = "tls-encrypted-keys")]
    pub fn encrypted(chain: impl Into<Vec<u8>>, key: impl Into<Secret>, passphrase: impl Into<Secret>) -> Self {
        Self::of(TlsIdentity::encrypted(chain.into(), key.into(), passphrase.into()))
    }

    fn of(identity: TlsIdentity) -> Self {
        Self { identity, client_roots: Roots::default(), are_clients_free: false, is_tls13_only: false }
    }

    /// Asks each client for a certificate that leads to one of these: all that are in a PEM file. Who it names is the
    /// client's identity in the scheme `x509` (see [`Builder::tls`](crate::Builder::tls)).
    pub fn client_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.client_roots.add_pem(pem.into());
        self
    }

    /// As [`client_roots_pem`](Self::client_roots_pem), with one certificate.
    pub fn client_root_der(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.client_roots.add_der(der.into());
        self
    }

    /// Lets clients in that have no certificate (`ssl.clientAuth=want`), without an identity. One that has the wrong one is
    /// refused all the same.
    pub fn optional_client_certificates(mut self) -> Self {
        self.are_clients_free = true;
        self
    }

    /// Refuses TLS 1.2.
    pub fn tls13_only(mut self) -> Self {
        self.is_tls13_only = true;
        self
    }

    fn requires_clients(&self) -> bool {
        !self.client_roots.is_empty() && !self.are_clients_free
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        let config = ServerConfig::builder_with_provider(herdless_tls::provider())
            .with_protocol_versions(herdless_tls::versions(self.is_tls13_only))
            .expect("there are suites of both versions");
        let config = if self.client_roots.is_empty() {
            config.with_no_client_auth()
        } else {
            let roots = Arc::new(self.client_roots.store()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, herdless_tls::provider());
            let verifier = if self.are_clients_free { verifier.allow_unauthenticated() } else { verifier };
            config.with_client_cert_verifier(verifier.build().map_err(|error| TlsError::Root(error.to_string()))?)
        };
        let mut config = config
            .with_single_cert(self.identity.chain()?, self.identity.key()?)
            .map_err(|error| TlsError::Identity(error.to_string()))?;
        // A certificate that has run out, or whose root is no more trusted, is not good for another connection by way of
        // an old one's ticket.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// TLS for a server, by options that can be replaced. Cheap to clone: clones share the options.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use herdless_server::{Server, ServerTls, ServerTlsOptions};
///
/// let options = || -> std::io::Result<ServerTlsOptions> {
///     let own = ServerTlsOptions::new(std::fs::read("server.pem")?, std::fs::read("server.key")?);
///     Ok(own.client_roots_pem(std::fs::read("client-ca.pem")?))
/// };
/// let tls = ServerTls::new(&options()?)?;
/// let server = Server::builder().tls(tls.clone()).bind("0.0.0.0:2281").await?;
/// // When the files have changed:
/// tls.replace(&options()?)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Current>>);

#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    requires_clients: bool,
}

impl Current {
    fn new(options: &ServerTlsOptions) -> Result<Self, TlsError> {
        Ok(Self { config: Arc::new(options.config()?), requires_clients: options.requires_clients() })
    }
}

impl ServerTls {
    /// TLS by these options.
    ///
    /// # Errors
    ///
    /// Something that cannot be read, or does not fit together.
    pub fn new(options: &ServerTlsOptions) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(Current::new(options)?))))
    }

    /// Takes other options for every connection that is made from now on, to all servers that share them. Those that are
    /// open go on.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`TlsError::ClientsUnproven`] where client certificates were required and would not be
    /// any more; the old options stay.
    pub fn replace(&self, options: &ServerTlsOptions) -> Result<(), TlsError> {
        let new = Current::new(options)?;
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if current.requires_clients && !new.requires_clients {
            return Err(TlsError::ClientsUnproven);
        }
        *current = new;
        Ok(())
    }

    /// Whether no client is let in without a certificate. Once it is so, it stays so.
    pub fn requires_client_certificates(&self) -> bool {
        self.current().requires_clients
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    fn current(&self) -> Current {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// The configuration of rustls holds the key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("requires_client_certificates", &self.requires_client_certificates())
            .finish_non_exhaustive()
    }
}
