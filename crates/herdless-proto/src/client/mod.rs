//! The client's end: one session over as many connections as it takes.

mod errand;
mod event;
mod hosts;
mod link;
mod machine;
mod sasl;

pub use event::{Config, Counters, Event, StreamId};
pub use link::LinkError;
pub use machine::Machine;
pub use sasl::{SaslError, SaslExchange, SaslMechanism, SaslStep};
