//! What happens when something goes wrong: a typed error or a recovery, and never a hang.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "faults/busy.rs"]
mod busy;
#[path = "faults/closing.rs"]
mod closing;
#[path = "faults/connecting.rs"]
mod connecting;
#[path = "faults/deadlines.rs"]
mod deadlines;
#[path = "faults/hosts.rs"]
mod hosts;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/lost.rs"]
mod lost;
#[path = "faults/sessions.rs"]
mod sessions;

mod support;
