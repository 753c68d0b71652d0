//! TLS, by rustls with its provider ring.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use herdless_core::Secret;
use thiserror::Error;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

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
    roots: Vec<Root>,
    identity: Option<Identity>,
    is_tls13_only: bool,
}

#[derive(Clone)]
enum Root {
    Pem(Vec<u8>),
    Der(Vec<u8>),
}

#[derive(Clone)]
struct Identity {
    chain: Vec<u8>,
    key: Secret,
    #[cfg(feature = "tls-encrypted-keys")]
    passphrase: Option<Secret>,
}

/// Why options are not accepted. It tells nothing of a key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no root: no server would be trusted.
    #[error("no trusted root")]
    NoRoots,
    /// A root cannot be read.
    #[error("not a trusted root: {0}")]
    Root(String),
    /// The client's certificates cannot be read.
    #[error("not a client certificate: {0}")]
    Certificate(String),
    /// The client's key cannot be read, is of an unknown kind, or is encrypted with another passphrase or with none.
    #[error("not a private key: {0}")]
    Key(String),
    /// Certificate and key are not accepted together: the one is not of the other.
    #[error("certificate and key do not fit: {0}")]
    Identity(String),
}

impl TlsOptions {
    /// Nothing is trusted, and there is no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates: all that are in a PEM file.
    pub fn roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(Root::Pem(pem.into()));
        self
    }

    /// Trusts this certificate.
    pub fn root_der(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(Root::Der(der.into()));
        self
    }

    /// Shows a server that asks for it this certificate. `chain` is PEM, the client's own certificate first and then those
    /// that lead to a root; `key` is PEM, unencrypted: PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) or SEC1
    /// (`EC PRIVATE KEY`).
    pub fn client_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Secret>) -> Self {
        self.identity = Some(Identity {
            chain: chain.into(),
            key: key.into(),
            #[cfg(feature = "tls-encrypted-keys")]
            passphrase: None,
        });
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
        self.identity = Some(Identity { chain: chain.into(), key: key.into(), passphrase: Some(passphrase.into()) });
        self
    }

    /// Refuses TLS 1.2. Without this the newer of the two that the server speaks is spoken.
    pub fn tls13_only(mut self) -> Self {
        self.is_tls13_only = true;
        self
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let versions: &[_] = if self.is_tls13_only { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring has suites of both versions")
            .with_root_certificates(self.root_store()?);
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

    fn root_store(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            let certificates = match root {
                Root::Der(der) => vec![CertificateDer::from(der.clone())],
                Root::Pem(pem) => certificates(pem).map_err(TlsError::Root)?,
            };
            for certificate in certificates {
                store.add(certificate).map_err(|error| TlsError::Root(error.to_string()))?;
            }
        }
        if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
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

impl Identity {
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(&self.chain).map_err(TlsError::Certificate)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        #[cfg(feature = "tls-encrypted-keys")]
        if let Some(passphrase) = &self.passphrase {
            return decrypt(self.key.expose(), passphrase);
        }
        PrivateKeyDer::from_pem_slice(self.key.expose()).map_err(|error| TlsError::Key(not_read(&error).to_owned()))
    }
}

/// All certificates of a PEM file, at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in the PEM file".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(not_read(&error).to_owned()),
    }
}

/// Why a PEM file is not read. The error's own words quote a whole line of it, which is the key where line breaks were lost,
/// or where the key stands in the place of a certificate.
fn not_read(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "nothing of the kind in the PEM file",
        pem::Error::IllegalSectionStart { .. } => "a line of the PEM file that begins a section goes on behind it",
        pem::Error::MissingSectionEnd { .. } => "a section of the PEM file has no end",
        pem::Error::Base64Decode(_) => "a section of the PEM file is not base64",
        _ => "not a PEM file",
    }
}

#[cfg(feature = "tls-encrypted-keys")]
fn decrypt(pem: &[u8], passphrase: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    use pkcs8::EncryptedPrivateKeyInfoRef;
    use pkcs8::der::pem::PemLabel;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    let error = |what: &str| TlsError::Key(what.to_owned());
    let pem = std::str::from_utf8(pem).map_err(|_| error("not a PEM file"))?;
    let (label, document) = pkcs8::SecretDocument::from_pem(pem).map_err(|_| error("not a PEM file"))?;
    EncryptedPrivateKeyInfoRef::validate_pem_label(label).map_err(|_| error("it is not encrypted by PKCS#8"))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .map_err(|_| error("not an encrypted key by PKCS#8"))?;
    let plain = encrypted
        .decrypt(passphrase.expose())
        .map_err(|_| error("the passphrase is another, or the encryption is not supported"))?;
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
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
