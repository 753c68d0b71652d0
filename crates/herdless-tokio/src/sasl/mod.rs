//! SASL: who the client is.

mod digest_md5;
mod directives;

use std::fmt;
use std::sync::Arc;

use herdless_core::Secret;
use herdless_proto::client::SaslMechanism;

use digest_md5::DigestMd5;

/// Who a client is, proven by SASL with the mechanism DIGEST-MD5 (RFC 2831): to servers with the scheme `sasl`
/// (`SASLAuthenticationProvider`) and a section `Server` in their JAAS file.
///
/// The password itself is not sent; but who listens can try passwords against what is, and who stands in between can take
/// the connection over once the password was proven (RFC 6331). So it is refused on connections without TLS
/// ([`ConnectError::SaslWithoutTls`](crate::ConnectError)), unless that is allowed explicitly.
///
/// The password is overwritten in memory when the last clone is dropped, and `Debug` leaves it out.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use herdless_tokio::{Connector, Sasl};
///
/// let sasl = Sasl::digest_md5("orders", std::env::var("ZOOKEEPER_PASSWORD")?).insecure_without_tls();
/// let client = Connector::new("zk1,zk2,zk3")?.sasl(sasl).connect().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sasl {
    mechanism: Arc<DigestMd5>,
    is_allowed_without_tls: bool,
}

impl Sasl {
    /// This user, by this password.
    pub fn digest_md5(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        let mechanism = Arc::new(DigestMd5::new(username.into(), password.into()));
        Self { mechanism, is_allowed_without_tls: false }
    }

    /// Also on connections that are not encrypted by [`Connector::tls`](crate::Connector::tls): in a network where nobody
    /// listens, or over a [`Dial`](crate::Dial) that encrypts by itself.
    pub fn insecure_without_tls(mut self) -> Self {
        self.is_allowed_without_tls = true;
        self
    }

    pub(crate) fn is_allowed_without_tls(&self) -> bool {
        self.is_allowed_without_tls
    }

    pub(crate) fn mechanism(&self) -> Arc<dyn SaslMechanism> {
        self.mechanism.clone()
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("is_allowed_without_tls", &self.is_allowed_without_tls)
            .finish()
    }
}
