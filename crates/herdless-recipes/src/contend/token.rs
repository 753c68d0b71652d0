//! Fencing tokens.

use std::fmt;

use herdless_core::Zxid;

/// A fencing token: the change that created the holder's node. No other grant ever has it, and a later grant has a
/// greater one, over all locks of the ensemble.
///
/// Send it along with every write to the resource that the lock protects, and let the resource refuse a token smaller
/// than one it has seen. Then a holder that was paused past the end of its session cannot do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub Zxid);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
