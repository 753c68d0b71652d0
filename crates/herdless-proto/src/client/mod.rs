//! The client's end: one session over as many connections as it takes.

mod balance;
mod credentials;
mod errand;
mod event;
mod hosts;
mod link;
mod machine;
mod sasl;

pub use credentials::{CredentialsError, SessionCredentials};
pub use event::{Config, Counters, Event, StreamId};
pub use link::LinkError;
pub use machine::Machine;
pub use sasl::{SaslError, SaslExchange, SaslMechanism, SaslStep};
