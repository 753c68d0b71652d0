//! How much a server holds, at most.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use herdless_memory::Caps;
use herdless_proto::MAX_FRAME;

/// How much clients may have of a server: [`Builder::limits`](crate::Builder::limits).
///
/// ```
/// use herdless_server::{Limits, Server};
///
/// let limits = Limits { connections: 10_000, ..Limits::default() };
/// let builder = Server::builder().limits(limits);
/// ```
///
/// Whatever would be more is refused, in one of three ways:
///
/// - a *connection* or a session is turned away: the connection is closed without a word, as Apache ZooKeeper does. Clients try
///   again after a pause, and get in once there is room;
/// - a *request* is refused, and has changed nothing: with `QuotaExceeded` (-125) what would make more nodes or bytes, with
///   `Throttled` (-127) what would leave more watches;
/// - a *client that does not take what it is sent* is let go. Its session lives on, and it may come back.
///
/// Time has no limit of its own. One connection's requests are carried out for 5 ms at a time, or for up to eight of them if those
/// take longer, and the others wait so long. A session does not end because the server was late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. More are closed at once. The default is 1,024; each takes a file descriptor.
    pub connections: usize,
    /// Connections from one address that is not of this machine (`maxClientCnxns`); 0 for no limit but that of all. More are
    /// closed at once. The default is 60, as of Apache ZooKeeper.
    pub connections_per_address: usize,
    /// Connections from one loopback address; 0 for no limit but that of all. The default is 0: the clients of one machine are
    /// many processes, or one test with many clients, and share an address.
    pub connections_per_loopback_address: usize,
    /// For how long a connection may be without a session, the handshake of TLS included. The default is 5 seconds.
    pub handshake: Duration,
    /// Wrong passwords from one address in a second. While a session's connection is heard from, no more are compared with its
    /// password: the connection that brought them is closed. The default is 5.
    pub wrong_passwords_per_second: u32,
    /// Sessions, with a connection or without. A client that asks for one more has its connection closed. The default is 10,000.
    pub sessions: usize,
    /// Bytes of one request, its header included (`jute.maxbuffer`). Who sends a larger one is disconnected; a reply may be of
    /// any size. The default is 1,048,575, as of Apache ZooKeeper. A handshake may have 8,192 at most.
    pub request: usize,
    /// Requests of one connection whose replies were not sent yet, as they wait for the disk or for each other; more wait,
    /// unread. So do those after replies of one megabyte. The default is 1,000, the least 1.
    pub outstanding_per_connection: usize,
    /// Bytes of events that wait for one client, which is let go when there are more: they cannot be held back, as replies are.
    /// The default is 16 MiB.
    pub unsent: usize,
    /// Bytes that are held for all connections together: those that were received and are no whole request yet, and those that
    /// clients do not take. As it is used up, each connection may have less: who holds more than what is left, and
    /// more than 16 KiB, is let go. The default is 256 MiB, so that one connection alone may have 128.
    pub buffered: usize,
    /// For how long a client may take nothing of what is sent to it. The default is 30 seconds.
    pub stall: Duration,
    /// Watches of one session; `Throttled`. One that stays on a node is two: on its data, and on its children. The default is
    /// 100,000.
    pub watches_per_session: usize,
    /// Watches of all sessions; `Throttled`. A client that comes back and has too many to re-arm is let go, as it would not
    /// learn from a refusal that it has lost them. The default is 1,000,000.
    pub watches: usize,
    /// Bytes of the paths of all watches; `Throttled`. The default is 256 MiB.
    pub watch_bytes: usize,
    /// Ephemeral nodes of one session; `QuotaExceeded`. The default is 10,000.
    pub ephemerals_per_session: usize,
    /// Nodes, the root and those below `/zookeeper` included; `QuotaExceeded`, as for the quotas that clients set. The default is 10,000,000.
    pub nodes: usize,
    /// Bytes of the paths, the data and the access control lists of all nodes; `QuotaExceeded`. The default is 4 GiB. A node takes
    /// some 300 bytes more than that.
    pub bytes: usize,
    /// Bytes of the identities of one connection, its address included; `AuthFailed`, and it is closed. The default is 8 KiB, some
    /// 200 of the scheme `digest`.
    pub identity_bytes: usize,
    /// Bytes of names or of data that one reply may list (`getChildren`, `getEphemerals`, `multiRead`); `Marshalling`. The
    /// default is 64 MiB, far more than clients accept unless `jute.maxbuffer` says so.
    pub list_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_per_address: 60,
            connections_per_loopback_address: 0,
            handshake: Duration::from_secs(5),
            wrong_passwords_per_second: 5,
            sessions: 10_000,
            request: MAX_FRAME,
            outstanding_per_connection: 1_000,
            unsent: 16 << 20,
            buffered: 256 << 20,
            stall: Duration::from_secs(30),
            watches_per_session: 100_000,
            watches: 1_000_000,
            watch_bytes: 256 << 20,
            ephemerals_per_session: 10_000,
            nodes: 10_000_000,
            bytes: 4 << 30,
            identity_bytes: 8 * 1024,
            list_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// How many connections there may be from this address.
    pub(crate) fn connections_from(&self, address: IpAddr) -> usize {
        let limit = match address.is_loopback() {
            true => self.connections_per_loopback_address,
            false => self.connections_per_address,
        };
        if limit == 0 { usize::MAX } else { limit }
    }

    pub(crate) fn caps(&self) -> Caps {
        Caps {
            nodes: self.nodes,
            bytes: self.bytes,
            ephemerals_per_session: self.ephemerals_per_session,
            watches_per_session: self.watches_per_session,
            watches: self.watches,
            watch_bytes: self.watch_bytes,
            identity_bytes: self.identity_bytes,
            list_bytes: self.list_bytes,
        }
    }
}

/// One line, for the log.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_address = |limit: usize| if limit == 0 { "any number".into() } else { limit.to_string() };
        write!(
            f,
            "{} connections, {} from one address, {} from one of this machine; {} sessions; {} watches, {} of one session; \
             {} nodes of {} bytes, {} ephemeral ones of one session; {} bytes held for connections",
            self.connections,
            per_address(self.connections_per_address),
            per_address(self.connections_per_loopback_address),
            self.sessions,
            self.watches,
            self.watches_per_session,
            self.nodes,
            self.bytes,
            self.ephemerals_per_session,
            self.buffered,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_have_a_limit_of_their_own() {
        let limits = Limits::default();
        for (address, limit) in [("127.0.0.1", usize::MAX), ("::1", usize::MAX), ("10.1.2.3", 60), ("2001:db8::1", 60)]
        {
            assert_eq!(limits.connections_from(address.parse().unwrap()), limit, "{address}");
        }
        let limits = Limits { connections_per_address: 0, connections_per_loopback_address: 2, ..limits };
        assert_eq!(limits.connections_from("127.0.0.9".parse().unwrap()), 2);
        assert_eq!(limits.connections_from("10.1.2.3".parse().unwrap()), usize::MAX);
    }
}
