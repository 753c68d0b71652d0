//! How much a server holds.

/// How much a server holds, and whom it has turned away: [`Server::usage`](crate::Server::usage). Each has its limit in
/// [`Limits`](crate::Limits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Connections.
    pub connections: usize,
    /// Sessions, with a connection or without.
    pub sessions: usize,
    /// Watches; one that stays on a node is two.
    pub watches: usize,
    /// Nodes, the root included.
    pub nodes: usize,
    /// Bytes of the paths, the data and the access control lists of all nodes.
    pub bytes: usize,
    /// Bytes that are held for connections: received and no whole request yet, or not taken by the client yet.
    pub buffered: usize,
    /// The most that this ever was.
    pub most_buffered: usize,
    /// Who was turned away or let go, since the server began.
    pub refused: Refused,
}

/// Connections that were turned away or let go, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Too many connections in all.
    pub connections: u64,
    /// Too many from one address.
    pub address: u64,
    /// The process had no file descriptor left.
    pub descriptors: u64,
    /// No session in time.
    pub handshakes: u64,
    /// What was sent cannot be read.
    pub malformed: u64,
    /// Too many sessions.
    pub sessions: u64,
    /// Too many wrong passwords from one address.
    pub passwords: u64,
    /// Too much held for a client, or a client that took nothing for too long.
    pub slow: u64,
    /// Too many watches to re-arm.
    pub watches: u64,
}

impl Refused {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { connections, address, descriptors, handshakes, malformed, sessions, passwords, slow, watches } =
            self;
        connections + address + descriptors + handshakes + malformed + sessions + passwords + slow + watches
    }
}
