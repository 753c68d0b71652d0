//! Who one is.

use std::fmt;

use herdless_core::Secret;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{TlsError, pem};

/// A chain of certificates, one's own first, and the key of that. `Debug` shows neither.
#[derive(Clone)]
pub struct TlsIdentity {
    chain: Vec<u8>,
    key: Secret,
    #[cfg(feature = "encrypted-keys")]
    passphrase: Option<Secret>,
}

impl TlsIdentity {
    /// Both in PEM. The key is not encrypted: PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) or SEC1
    /// (`EC PRIVATE KEY`).
    pub fn new(chain: Vec<u8>, key: Secret) -> Self {
        Self {
            chain,
            key,
            #[cfg(feature = "encrypted-keys")]
            passphrase: None,
        }
    }

    /// Both in PEM. The key is encrypted with a passphrase: PKCS#8 (`ENCRYPTED PRIVATE KEY`) by PBES2, with PBKDF2 (of
    /// SHA-2) or scrypt, and AES.
    #[cfg(feature = "encrypted-keys")]
    pub fn encrypted(chain: Vec<u8>, key: Secret, passphrase: Secret) -> Self {
        Self { chain, key, passphrase: Some(passphrase) }
    }

    /// The certificates, at least one.
    ///
    /// # Errors
    ///
    /// [`TlsError::Certificate`].
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        pem::certificates(&self.chain).map_err(TlsError::Certificate)
    }

    /// The key.
    ///
    /// # Errors
    ///
    /// [`TlsError::Key`].
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        #[cfg(feature = "encrypted-keys")]
        if let Some(passphrase) = &self.passphrase {
            return decrypt(self.key.expose(), passphrase);
        }
        pem::key(self.key.expose()).map_err(TlsError::Key)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

#[cfg(feature = "encrypted-keys")]
fn decrypt(pem: &[u8], passphrase: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    use pkcs8::EncryptedPrivateKeyInfoRef;
    use pkcs8::der::pem::PemLabel;
    use rustls::pki_types::PrivatePkcs8KeyDer;

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
