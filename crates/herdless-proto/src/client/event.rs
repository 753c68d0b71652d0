//! What goes into the machine at the start, and what comes out of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use herdless_core::{Error, Notice, Reply, SessionId, WatchEvent};

/// The number of a stream of events.
pub type StreamId = u64;

/// What a client machine is told at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of hosts; the machine names them by their index.
    pub hosts: usize,
    /// The session timeout to ask for.
    pub session_timeout: Duration,
    /// How long a handshake may take.
    pub connect_timeout: Duration,
    /// The longest pause between two dials. While there is a session, no pause is longer than a sixth of its timeout: it is
    /// not to be lost to a pause.
    pub max_backoff: Duration,
    /// How many requests may wait for an answer, clean-up not counted.
    pub max_in_flight: usize,
    /// How long a request may wait for its answer, clean-up and identities not counted.
    pub request_timeout: Option<Duration>,
    /// The largest reply that is read, in bytes.
    pub max_reply: usize,
    /// Whether a server without a majority will do, until one that has it is found.
    pub read_only: bool,
}

/// What the machine has done, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests sent, pings and handshakes not counted.
    pub requests: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Watch events received.
    pub watch_events: u64,
    /// Handshakes that a server accepted.
    pub connects: u64,
}

/// What the machine wants done, or known. To be taken with [`Machine::poll_event`](super::Machine::poll_event) after every other call.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver has to deal with each")]
pub enum Event<T, W> {
    /// Drop the stream if there is one, or give up the dial under way; after a pause drawn from `pause`, dial this host. Then
    /// call
    /// [`connected`](super::Machine::connected) or [`disconnected`](super::Machine::disconnected).
    Dial {
        /// The index of the host.
        host: usize,
        /// The shortest and the longest pause.
        pause: RangeInclusive<Duration>,
    },
    /// A server gave the client a new session, or the one that it was to take over.
    Opened {
        /// Its id.
        id: SessionId,
        /// The negotiated timeout.
        timeout: Duration,
        /// Whether the server is read-only.
        is_read_only: bool,
    },
    /// The session goes on, on a new connection.
    Resumed {
        /// The negotiated timeout, which may be another than before.
        timeout: Duration,
        /// Whether the server is read-only.
        is_read_only: bool,
    },
    /// The server is read-only. After a random part of `pause`, ask this host over a connection of its own whether it
    /// is not, with the word `isro`, to which a read-write server answers `rw`. Then call
    /// [`probed`](super::Machine::probed). A question under way is dropped with the stream.
    Probe {
        /// The index of the host.
        host: usize,
        /// The upper bound of the pause.
        pause: Duration,
    },
    /// The connection was lost. The session may well live on.
    Suspended,
    /// The session is over.
    Lost,
    /// The client is closed; nothing follows. Drop the stream.
    Closed {
        /// What is told to those who still ask: [`Closed`](Error::Closed), or what has ended the client.
        cause: Error,
    },
    /// A request has its outcome.
    Reply {
        /// What was given with the request.
        token: T,
        /// The outcome.
        outcome: Result<Reply, Error>,
        /// The watch that was left, if one was asked for.
        watch: Option<W>,
        /// The stream of events that an `AddWatch` has begun, until it ends or is given up
        /// ([`unwatch`](super::Machine::unwatch)).
        stream: Option<StreamId>,
    },
    /// A request that was sent has no answer after [`Config::request_timeout`]. Its [`Reply`](Self::Reply) is still to
    /// come; until then it is open whether it has taken effect.
    Overdue {
        /// What was given with the request.
        token: T,
    },
    /// Streams have something to tell, or ended with this error.
    Noticed {
        /// Which.
        streams: Vec<StreamId>,
        /// What.
        notice: Result<Notice, Error>,
    },
    /// Watches have fired, or ended with their session.
    Fired {
        /// Which.
        watches: Vec<W>,
        /// With what.
        outcome: Result<WatchEvent, Error>,
    },
}
