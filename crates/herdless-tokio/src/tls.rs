//! TLS, by rustls with its provider ring.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use herdless_core::Secret;
use herdless_tls::{Roots, TlsError, TlsIdentity};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{Dial, Host, Scheme, Stream};

/// What a client trusts, and how it proves to a server who it is. For a [`Tls`].
///
/// Nothing is trusted by default, not the roots of the operating system either. A server's certificate must lead to one of
/// the roots, and name the host of the connect string as a subject alternative name, a DNS name or an IP address: a common
/// name counts for nothing, and no address is looked up backwards.
///
/// `Debug` shows how many roots there are, and no key.
#[derive(Clone, Default)]
pub struct TlsOptions {
    roots: Roots,
    identity: Option<TlsIdentity>,
    is_tls13_only: bool,
}

impl TlsOptions {
    /// Nothing is trusted, and there is no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates: all that are in a PEM file.
    pub fn roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.add_pem(pem.into());
        self
    }

    /// Trusts this certificate.
    pub fn root_der(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.add_der(der.into());
        self
    }

    /// Shows a server that asks for it this certificate. `chain` is PEM, the client's own certificate first and then those
    /// that lead to a root; `key` is PEM, unencrypted: PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) or SEC1
    /// (`EC PRIVATE KEY`).
    pub fn client_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Secret>) -> Self {
        self.identity = Some(TlsIdentity::new(chain.into(), key.into()));
        self
    }

    /// As [`client_pem`](Self::client_pem), with a key that is encrypted with a passphrase: PKCS#8
    /// (`ENCRYPTED PRIVATE KEY`) by PBES2, with PBKDF2 (of SHA-2) or scrypt, and AES. What
    /// `openssl pkcs8 -topk8` writes is one.
    #[cfg(feature = "tls-encrypted-keys")]
    pub fn client_encrypted_pem(
        mut self,
        chain: impl Into<Vec<u8>>,
        key: impl Into<Secret>,
        passphrase: impl Into<Secret>,
    ) -> Self {
        self.identity = Some(TlsIdentity::encrypted(chain.into(), key.into(), passphrase.into()));
        self
    }

    /// Refuses TLS 1.2. Without this the newer of the two that the server speaks is spoken.
    pub fn tls13_only(mut self) -> Self {
        self.is_tls13_only = true;
        self
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let config = ClientConfig::builder_with_provider(herdless_tls::provider())
            .with_protocol_versions(herdless_tls::versions(self.is_tls13_only))
            .expect("there are suites of both versions")
            .with_root_certificates(self.roots.store()?);
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(identity.chain()?, identity.key()?)
                .map_err(|error| TlsError::Identity(error.to_string()))?,
        };
        // Both sides prove who they are on every connection: a certificate that was replaced, or has run out, is not
        // good for another one by way of an old one's ticket.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("roots", &self.roots.len())
            .field("has_identity", &self.identity.is_some())
            .field("is_tls13_only", &self.is_tls13_only)
            .finish_non_exhaustive()
    }
}

/// TLS for clients, by options that can be replaced. Cheap to clone: clones share the options.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use herdless_tokio::{Connector, Tls, TlsOptions};
///
/// let options = || -> std::io::Result<TlsOptions> {
///     let roots = std::fs::read("ca.pem")?;
///     Ok(TlsOptions::new().roots_pem(roots).client_pem(std::fs::read("client.pem")?, std::fs::read("client.key")?))
/// };
/// let tls = Tls::new(&options()?)?;
/// let client = Connector::new("zk1:2281,zk2:2281")?.tls(tls.clone()).connect().await?;
/// // When the files have changed:
/// tls.replace(&options()?)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ClientConfig>>>);

impl Tls {
    /// TLS by these options.
    ///
    /// # Errors
    ///
    /// No root at all, or something that cannot be read.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(options.config()?)))))
    }

    /// Takes other options for every connection that is dialled from now on, by all clients that share them. Those that
    /// are open go on.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); the old options stay.
    pub fn replace(&self, options: &TlsOptions) -> Result<(), TlsError> {
        let config = Arc::new(options.config()?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn current(&self) -> Arc<ClientConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

// The configuration of rustls holds the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// TLS over the streams of another.
#[derive(Debug)]
pub(crate) struct TlsDial {
    over: Arc<dyn Dial>,
    tls: Tls,
}

impl TlsDial {
    pub(crate) fn new(over: Arc<dyn Dial>, tls: Tls) -> Self {
        Self { over, tls }
    }
}

#[async_trait]
impl Dial for TlsDial {
    async fn dial(&self, host: &Host) -> io::Result<Box<dyn Stream>> {
        let stream = self.over.dial(host).await?;
        if host.scheme == Some(Scheme::Tcp) {
            return Ok(stream);
        }
        let name = ServerName::try_from(host.name.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(self.tls.current()).connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}
