//! What a SASL mechanism is to the client machine (RFC 4422).

use std::fmt;

use thiserror::Error;

/// A mechanism, and who is to be proven by it: see [`Machine::with_sasl`](super::Machine::with_sasl).
///
/// `Debug` must not show a secret.
pub trait SaslMechanism: fmt::Debug + Send + Sync {
    /// Begins an exchange: there is one on each connection.
    fn begin(&self) -> Box<dyn SaslExchange>;
}

/// The client's part of one exchange.
pub trait SaslExchange: Send {
    /// What the client says first. Empty, as it is unless this is written, where the server has the first word.
    fn initial(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Hears the server and says what is next. A server that has nothing to say is heard as an empty challenge.
    ///
    /// # Errors
    ///
    /// The server broke the rules of the mechanism, or has not proven what it has to: this ends the client.
    fn answer(&mut self, challenge: &[u8]) -> Result<SaslStep, SaslError>;
}

/// What follows a challenge. `Debug` shows how long a word is and no byte of it: of some mechanisms it is the password.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the machine has to deal with each")]
pub enum SaslStep {
    /// The client says this.
    Say(Vec<u8>),
    /// Both sides are content.
    Done,
}

impl fmt::Debug for SaslStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Say(token) => write!(f, "Say({} bytes)", token.len()),
            Self::Done => f.write_str("Done"),
        }
    }
}

/// Why an exchange has failed. It tells nothing of what was said.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SaslError(pub &'static str);
