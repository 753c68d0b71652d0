//! What the lock promises to whoever uses it rightly.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "lock/cancel.rs"]
mod cancel;
#[path = "lock/exclusion.rs"]
mod exclusion;
#[path = "lock/guard.rs"]
mod guard;
#[path = "lock/look.rs"]
mod look;
#[path = "lock/surroundings.rs"]
mod surroundings;
#[path = "lock/ticket.rs"]
mod ticket;

mod support;
