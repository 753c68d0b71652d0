//! Whom one trusts.

use std::fmt;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::{TlsError, pem};

/// Certificates that are trusted to sign others. `Default` is none. `Debug` shows how many: what was given for a certificate
/// may be a key.
#[derive(Clone, Default)]
pub struct Roots(Vec<Root>);

#[derive(Clone)]
enum Root {
    Pem(Vec<u8>),
    Der(Vec<u8>),
}

impl Roots {
    /// Adds all that are in a PEM file.
    pub fn add_pem(&mut self, pem: Vec<u8>) {
        self.0.push(Root::Pem(pem));
    }

    /// Adds this certificate.
    pub fn add_der(&mut self, der: Vec<u8>) {
        self.0.push(Root::Der(der));
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many times something was added.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The roots as rustls takes them.
    ///
    /// # Errors
    ///
    /// [`TlsError::Root`] and [`TlsError::NoRoots`].
    pub fn store(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        for root in &self.0 {
            let certificates = match root {
                Root::Der(der) => vec![CertificateDer::from(der.clone())],
                Root::Pem(pem) => pem::certificates(pem).map_err(TlsError::Root)?,
            };
            for certificate in certificates {
                store.add(certificate).map_err(|error| TlsError::Root(error.to_string()))?;
            }
        }
        if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.len()).finish()
    }
}
