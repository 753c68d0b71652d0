//! The embedded server, as those see it who run it.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "server/connections.rs"]
mod connections;
#[path = "server/faults.rs"]
mod faults;
#[path = "server/kazoo.rs"]
mod kazoo;
#[path = "server/life.rs"]
mod life;
#[path = "server/thread.rs"]
mod thread;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/words.rs"]
mod words;

mod support;
