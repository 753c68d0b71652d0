//! What hosts a client may have, by what it was told of TLS and SASL.

use crate::address::Scheme;
use crate::{ConnectError, Host};

/// What goes over the wire protected, and what must.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protection {
    /// Whether TLS is spoken to hosts that do not say otherwise.
    pub(crate) has_tls: bool,
    /// Whether an identity is proven that must not be without TLS.
    pub(crate) needs_tls: bool,
}

impl Protection {
    /// Whether it fits these hosts, the first ones and those that take their place.
    pub(crate) fn check(self, hosts: &[Host]) -> Result<(), ConnectError> {
        let is_encrypted = |host: &&Host| self.has_tls && host.scheme != Some(Scheme::Tcp);
        for host in hosts.iter().filter(|host| !is_encrypted(host)) {
            if host.scheme == Some(Scheme::Tls) {
                return Err(ConnectError::NoTls { host: host.to_string() });
            }
            if self.needs_tls {
                return Err(ConnectError::SaslWithoutTls { host: host.to_string() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    #[test]
    fn a_host_without_the_protection_that_is_needed_is_refused() {
        let check = |has_tls, needs_tls, text: &str| {
            Protection { has_tls, needs_tls }.check(&text.parse::<Address>().unwrap().hosts)
        };
        check(false, false, "a,tcp://b").unwrap();
        check(true, true, "a,tls://b").unwrap();
        check(true, false, "a,tcp://b").unwrap();
        assert!(matches!(check(false, false, "a,tls://b"), Err(ConnectError::NoTls { .. })));
        assert!(matches!(check(true, true, "a,tcp://b"), Err(ConnectError::SaslWithoutTls { .. })));
        assert!(matches!(check(false, true, "a"), Err(ConnectError::SaslWithoutTls { .. })));
    }
}
