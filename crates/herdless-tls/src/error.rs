//! What can be wrong with options.

use thiserror::Error;

/// Why options are not accepted. It tells nothing of a key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no root: nobody would be trusted.
    #[error("no trusted root")]
    NoRoots,
    /// A root cannot be read.
    #[error("not a trusted root: {0}")]
    Root(String),
    /// One's own certificates cannot be read.
    #[error("not a certificate: {0}")]
    Certificate(String),
    /// One's own key cannot be read, is of an unknown kind, or is encrypted with another passphrase or with none.
    #[error("not a private key: {0}")]
    Key(String),
    /// Certificate and key are not accepted together: the one is not of the other.
    #[error("certificate and key do not fit: {0}")]
    Identity(String),
    /// A server that requires client certificates would do so no more, though it may listen where it does because it
    /// does.
    #[error("client certificates are required, and would not be any more")]
    ClientsUnproven,
}
