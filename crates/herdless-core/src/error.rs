//! Errors, sorted by what is known of the effect.

use std::sync::Arc;

use thiserror::Error;

use crate::{NodePath, Zxid};

/// Why a request has no answer, and what is known of its effect.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server said no. Nothing changed.
    #[error("refused: {0}")]
    Refused(Refusal),

    /// The server said no to one operation of a [`Multi`](crate::Multi), so none took effect. Nothing changed.
    #[error("operation {index} of the multi refused: {refusal}")]
    MultiRefused {
        /// Which operation, from 0.
        index: usize,
        /// Why.
        refusal: Refusal,
    },

    /// The request was on its way when the connection was lost: **it may or may not have happened.**
    ///
    /// What was submitted behind it and had not left yet goes over the next connection: who sends changes that build on each
    /// other without waiting makes each depend on the one before, by its version or in one multi.
    #[error("connection lost: the request may or may not have happened")]
    ConnectionLost,

    /// There is no answer that tells: **it may or may not have happened.** The number is ZooKeeper's code
    /// (`KeeperException.Code`) of a server that failed, or that of [`TIMED_OUT`](Self::TIMED_OUT).
    #[error("error {0}: the request may or may not have happened")]
    Uncertain(i32),

    /// The session is over: its ephemeral nodes and its watches are gone. A request that was on its way may or may
    /// not have happened before that; one that was not sent did not.
    #[error("session expired")]
    SessionExpired,

    /// A server answered from before a change that this session has seen: the ensemble has lost data (a member came
    /// back without its disk, a backup was put back), or the server shows its clients an older state than they know.
    /// The session is taken for lost. What was on its way may or may not have happened.
    ///
    /// After a loss of data **fencing tokens may begin anew below those that were granted before**, so whoever compares
    /// them has to be told. No retry helps against that.
    #[error("the server's history went back: zxid {answered} after {seen}")]
    HistoryLost {
        /// The latest change that the session had seen.
        seen: Zxid,
        /// The one that the server calls its latest.
        answered: Zxid,
    },

    /// There was no connection for as long as a request may wait. Nothing was sent.
    #[error("no connection in time: the request was not sent")]
    NotSent,

    /// The client holds as many requests as it may. Nothing was sent.
    #[error("too many requests in flight")]
    Overloaded,

    /// The frame is larger than the one side sends or the other takes. A request that is too large was not sent; one
    /// whose *reply* is too large was carried out, and reading less is the way to get an answer.
    #[error("{what} of {length} bytes; the limit is {limit}")]
    TooLarge {
        /// Which of the two: "request" or "reply".
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },

    /// What was asked for makes no sense (a semaphore of no permits, more permits than there are, ..). Nothing changed.
    #[error("{0}")]
    Invalid(Arc<str>),

    /// A node holds something else than the recipe keeps there. Nothing changed.
    #[error("the data of {path} is not {expected}")]
    Malformed {
        /// The node.
        path: NodePath,
        /// What should be there.
        expected: &'static str,
    },

    /// The client was closed. Nothing was sent.
    #[error("client closed")]
    Closed,

    /// The peer broke the protocol, or an answer does not fit its request; the connection was dropped. The request
    /// may or may not have happened.
    #[error("protocol error: {0}")]
    Protocol(Arc<str>),
}

impl Error {
    /// The request was sent and not answered in the time that requests have, by the client's clock or the server's: **it may
    /// or may not have happened**, or still happen (`KeeperException.Code.REQUESTTIMEOUT`).
    pub const TIMED_OUT: Self = Self::Uncertain(-122);

    /// Why the server said no, if it did: the one of [`Refused`](Self::Refused) or [`MultiRefused`](Self::MultiRefused).
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) | Self::MultiRefused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether it is certain that nothing changed.
    pub fn is_without_effect(&self) -> bool {
        use Error::{Closed, Invalid, Malformed, MultiRefused, NotSent, Overloaded, Refused};
        matches!(self, Refused(_) | MultiRefused { .. } | NotSent | Overloaded | Invalid(_) | Malformed { .. } | Closed)
    }

    /// A short name of its kind, for metrics; the two kinds of refusal have the same.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) | Self::MultiRefused { .. } => "refused",
            Self::ConnectionLost => "connection_lost",
            Self::Uncertain(_) => "uncertain",
            Self::SessionExpired => "session_expired",
            Self::HistoryLost { .. } => "history_lost",
            Self::NotSent => "not_sent",
            Self::Overloaded => "overloaded",
            Self::TooLarge { .. } => "too_large",
            Self::Invalid(_) => "invalid",
            Self::Malformed { .. } => "malformed",
            Self::Closed => "closed",
            Self::Protocol(_) => "protocol",
        }
    }

    /// What was asked for makes no sense, for this reason.
    pub fn invalid(reason: impl Into<Arc<str>>) -> Self {
        Self::Invalid(reason.into())
    }

    pub(crate) fn mismatch(expected: &'static str) -> Self {
        Self::Protocol(format!("the answer is not that of {expected}").into())
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a server says no (the definite ones of `KeeperException.Code`). Nothing changed.
        #[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[$doc])* #[error($text)] $name,)*
        }

        impl Refusal {
            /// ZooKeeper's code, a negative number.
            pub fn code(self) -> i32 {
                match self { $(Self::$name => $code,)* }
            }

            /// The refusal with this code; `None` for a code that is unknown or leaves the effect open.
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

refusals! {
    /// The server could not read the request.
    Marshalling = -5, "the server could not read the request";
    /// The server does not know, or does not allow, this operation.
    Unimplemented = -6, "operation not supported by the server";
    /// The request makes no sense: an invalid path, a root that cannot be deleted, ..
    BadArguments = -8, "bad arguments";
    /// No node has this path (or the parent is missing).
    NoNode = -101, "no node";
    /// The access control list forbids it.
    NoAuth = -102, "not authorised";
    /// The node has another version than the request expects.
    BadVersion = -103, "version does not match";
    /// Ephemeral nodes have no children.
    NoChildrenForEphemerals = -108, "an ephemeral node may not have children";
    /// There is a node with this path.
    NodeExists = -110, "node exists";
    /// The node has children.
    NotEmpty = -111, "node has children";
    /// The access control list is empty or not valid.
    InvalidAcl = -114, "invalid access control list";
    /// The identity was not accepted.
    AuthFailed = -115, "authentication failed";
    /// The server is read-only.
    NotReadOnly = -119, "the server is read-only";
    /// A local session may not own ephemeral nodes.
    EphemeralOnLocalSession = -120, "ephemeral node on a local session";
    /// There is no such watch to remove.
    NoWatcher = -121, "no such watch";
    /// Reconfiguration is switched off.
    ReconfigDisabled = -123, "reconfiguration is disabled";
    /// The server wants an identity proven first (by SASL, unless configured otherwise), and hangs up.
    AuthRequired = -124, "the server requires authentication";
    /// The quota of the node or of an ancestor is used up.
    QuotaExceeded = -125, "quota exceeded";
    /// The server is overloaded and dropped the request.
    Throttled = -127, "throttled by the server";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_there_and_back() {
        for code in -200..=0 {
            if let Some(refusal) = Refusal::from_code(code) {
                assert_eq!(refusal.code(), code);
            }
        }
        // "Connection loss" and "operation timeout" say nothing about the effect, so they are no refusals.
        assert_eq!(Refusal::from_code(-4), None);
        assert_eq!(Refusal::from_code(-7), None);
    }
}
