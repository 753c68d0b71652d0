//! Connect strings.

use std::fmt;
use std::str::FromStr;

use herdless_core::NodePath;
use thiserror::Error;

/// A parsed connect string: `host[:port][,host[:port]..][/chroot]`, as for the Java client (`ConnectStringParser`).
///
/// Each host may say how it is spoken to: `tls://host` or `tcp://host` (`tcp+tls://` is read as `tls://`). One that does not
/// is spoken to by TLS if and only if the client has options for it.
///
/// ```
/// use herdless_tokio::Address;
///
/// let address: Address = "zk1,zk2:2182,[::1]:2183/app".parse()?;
/// assert_eq!(address.hosts[0].to_string(), "zk1:2181");
/// assert_eq!(address.hosts[2].to_string(), "[::1]:2183");
/// assert_eq!(address.chroot.as_str(), "/app");
/// let address: Address = "tls://zk1:2281,tcp://10.0.0.1".parse()?;
/// assert_eq!(address.hosts[0].to_string(), "tls://zk1:2281");
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
    /// How it is spoken to, where that is said.
    pub scheme: Option<Scheme>,
}

/// What a server is spoken to over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// TCP alone, also where the client has options for TLS.
    Tcp,
    /// TLS over TCP. A client without options for it does not connect.
    Tls,
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
    /// What stands before `://` is neither `tls` nor `tcp` nor `tcp+tls`.
    #[error("unknown scheme in {0:?}")]
    Scheme(String),
    /// The chroot is not a path.
    #[error(transparent)]
    Chroot(#[from] herdless_core::PathError),
    /// It is not the one that the client has.
    #[error("{0} is not the client's chroot")]
    OtherChroot(NodePath),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (hosts, chroot) = match chroot_at(text) {
            Some(at) => (&text[..at], NodePath::parse(&text[at..])?),
            None => (text, NodePath::root()),
        };
        let hosts = hosts.split(',').map(|host| parse_host(host.trim())).collect::<Result<_, _>>()?;
        Ok(Self { hosts, chroot })
    }
}

/// Where the chroot begins: at the first slash that is not of a `://`.
fn chroot_at(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find('/')?;
        if !(text[..at].ends_with(':') && text[at..].starts_with("//")) {
            return Some(at);
        }
        from = at + 2;
    }
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    let (scheme, text) = match text.split_once("://") {
        None => (None, text),
        Some(("tls" | "tcp+tls", rest)) => (Some(Scheme::Tls), rest),
        Some(("tcp", rest)) => (Some(Scheme::Tcp), rest),
        Some(_) => return Err(AddressError::Scheme(text.into())),
    };
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
    Ok(Host { name: name.to_owned(), port, scheme })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            None => "",
            Some(Scheme::Tcp) => "tcp://",
            Some(Scheme::Tls) => "tls://",
        })?;
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
        assert!(matches!(error("a//b"), AddressError::Chroot(_)));
        assert_eq!(error("https://a"), AddressError::Scheme("https://a".into()));
        assert_eq!(error("tls://"), AddressError::NoHost("".into()));
        assert_eq!(error("tls://tcp://a"), AddressError::Port("tcp://a".into()));
        assert_eq!(error("a:/b"), AddressError::Port("a:".into()));
    }

    #[test]
    fn each_host_has_a_scheme_of_its_own() {
        let address: Address = "tls://a:1, tcp://[::1]:2,tcp+tls://c,d/app".parse().unwrap();
        let schemes: Vec<_> = address.hosts.iter().map(|host| host.scheme).collect();
        assert_eq!(schemes, [Some(Scheme::Tls), Some(Scheme::Tcp), Some(Scheme::Tls), None]);
        let names: Vec<_> = address.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["tls://a:1", "tcp://[::1]:2", "tls://c:2181", "d:2181"]);
        assert_eq!(address.chroot.as_str(), "/app");
    }

    #[test]
    fn a_lone_slash_is_no_chroot() {
        assert_eq!("a:1/".parse::<Address>().unwrap().chroot, NodePath::root());
    }
}
