//! Connect strings.

use std::fmt;
use std::str::FromStr;

use herdless_core::NodePath;
use thiserror::Error;

/// A parsed connect string: `host[:port][,host[:port]..][/chroot]`, as for the Java client (`ConnectStringParser`).
///
/// ```
/// use herdless_tokio::Address;
///
/// let address: Address = "zk1,zk2:2182,[::1]:2183/app".parse()?;
/// assert_eq!(address.hosts[0].to_string(), "zk1:2181");
/// assert_eq!(address.hosts[2].to_string(), "[::1]:2183");
/// assert_eq!(address.chroot.as_str(), "/app");
/// # Ok::<(), herdless_tokio::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The servers, at least one.
    pub hosts: Vec<Host>,
    /// The node that is seen as `/`.
    pub chroot: NodePath,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// A name or an IP address, without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

const DEFAULT_PORT: u16 = 2181;

/// Why a string is no connect string.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no host, or an empty one between commas.
    #[error("no host in {0:?}")]
    NoHost(String),
    /// What follows the colon is not a port.
    #[error("invalid port in {0:?}")]
    Port(String),
    /// A `[` without its `]`, or an IPv6 address without brackets.
    #[error("invalid IPv6 address in {0:?}")]
    Brackets(String),
    /// The chroot is not a path.
    #[error(transparent)]
    Chroot(#[from] herdless_core::PathError),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (hosts, chroot) = match text.find('/') {
            Some(at) => (&text[..at], NodePath::parse(&text[at..])?),
            None => (text, NodePath::root()),
        };
        let hosts = hosts.split(',').map(|host| parse_host(host.trim())).collect::<Result<_, _>>()?;
        Ok(Self { hosts, chroot })
    }
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').ok_or_else(|| AddressError::Brackets(text.into()))?;
        match rest.strip_prefix(':') {
            Some(port) => (name, Some(port)),
            None if rest.is_empty() => (name, None),
            None => return Err(AddressError::Port(text.into())),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(AddressError::Brackets(text.into()));
            }
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        }
    };
    if name.is_empty() {
        return Err(AddressError::NoHost(text.into()));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port.parse().map_err(|_| AddressError::Port(text.into()))?,
    };
    Ok(Host { name: name.to_owned(), port })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_says_why() {
        let error = |text: &str| text.parse::<Address>().unwrap_err();
        assert_eq!(error(""), AddressError::NoHost("".into()));
        assert_eq!(error("a,,b"), AddressError::NoHost("".into()));
        assert_eq!(error(":2181"), AddressError::NoHost(":2181".into()));
        assert_eq!(error("a:x"), AddressError::Port("a:x".into()));
        assert_eq!(error("a:65536"), AddressError::Port("a:65536".into()));
        assert_eq!(error("a:"), AddressError::Port("a:".into()));
        assert_eq!(error("::1"), AddressError::Brackets("::1".into()));
        assert_eq!(error("[::1"), AddressError::Brackets("[::1".into()));
        assert_eq!(error("[::1]2181"), AddressError::Port("[::1]2181".into()));
        assert!(matches!(error("a/b/"), AddressError::Chroot(_)));
    }

    #[test]
    fn a_lone_slash_is_no_chroot() {
        assert_eq!("a:1/".parse::<Address>().unwrap().chroot, NodePath::root());
    }
}
