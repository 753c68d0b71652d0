//! What is known of the current connection.

use std::time::{Duration, Instant};

use herdless_core::Zxid;
use thiserror::Error;

use crate::codec::Malformed;
use crate::frame::FrameError;

/// The connection as the machine sees it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    /// There is none; the transport is dialling, or pausing before it does.
    Down,
    /// The handshake was sent; or it was answered, and an identity is being proven by SASL, since then.
    Handshake { sent: Instant },
    /// Requests and replies flow.
    Up(Up),
    /// The client was closed.
    Closed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Up {
    pub(super) last_sent: Instant,
    pub(super) last_received: Instant,
    pub(super) ping_sent: Option<Instant>,
    /// When the last answered request was sent.
    pub(super) confirmed: Instant,
}

impl Up {
    /// A connection whose handshake was sent then and answered now.
    pub(super) fn new(sent: Instant, now: Instant) -> Self {
        Self { last_sent: now, last_received: now, ping_sent: None, confirmed: sent }
    }

    /// After a third of the timeout without a request, a ping: so that the session is never older than two thirds when
    /// the next sign of life is due. After a third without a request *that was answered* too: a handshake that took
    /// long has used up part of the lease already.
    pub(super) fn ping_at(&self, timeout: Duration) -> Option<Instant> {
        self.ping_sent.is_none().then(|| self.last_sent.min(self.confirmed) + timeout / 3)
    }

    /// After two thirds of silence the connection is taken for dead, and a third is left to find another server. A
    /// server that talks but answers nothing is given up at the end of the lease: the session is not certain after it.
    pub(super) fn dead_at(&self, timeout: Duration, lease: Instant) -> Instant {
        (self.last_received + timeout * 2 / 3).min(lease)
    }
}

/// Why a connection cannot go on. The session lives on; the transport hangs up and dials again.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkError {
    /// A frame of a length that is not accepted.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A reply to another request than the one that is due, or to none.
    #[error("reply to request {got}, expected {expected:?}")]
    OutOfOrder {
        /// The request that it answers.
        got: i32,
        /// The request that is due, if any.
        expected: Option<i32>,
    },
    /// The session has moved to another server, by the book of this one: it will not carry out anything of it any more.
    #[error("the session has moved to another server")]
    SessionMoved,
    /// The server did not re-arm the watches. The next connection tries again: without them events would be missed.
    #[error("watches not re-armed: server error {code}")]
    NotRearmed {
        /// ZooKeeper's code.
        code: i32,
    },
    /// The server is read-only, and was not asked for that.
    #[error("the server is read-only")]
    ReadOnly,
    /// The server has forgotten what it, or another, had told this session. The session is lost.
    #[error("the server's history went back: zxid {answered} after {seen}")]
    HistoryLost {
        /// The latest change that the session had seen.
        seen: Zxid,
        /// The one that the server calls its latest.
        answered: Zxid,
    },
}
