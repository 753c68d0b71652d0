//! The client's end: one session over as many connections as it takes.

mod errand;
mod hosts;
mod link;
mod machine;

pub use link::LinkError;
pub use machine::{Config, Counters, Event, Machine};
