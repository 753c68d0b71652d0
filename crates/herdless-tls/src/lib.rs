//! What both ends of a connection configure TLS with: whom they trust, and who they are. By rustls, with its provider ring.
//!
//! Used by `herdless-tokio` and `herdless-server`, each with its feature `tls`; nobody else is meant to need it.

mod error;
mod identity;
mod pem;
mod roots;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedProtocolVersion, version};

pub use error::TlsError;
pub use identity::TlsIdentity;
pub use roots::Roots;

/// The cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The versions that are spoken, the best first. There are suites of each in [`provider`].
pub fn versions(is_tls13_only: bool) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    if is_tls13_only { &BOTH[..1] } else { BOTH }
}
