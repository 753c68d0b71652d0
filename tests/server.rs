//! The embedded server, as those see it who run it.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "server/connections.rs"]
mod connections;
#[path = "server/kazoo.rs"]
mod kazoo;
#[path = "server/life.rs"]
mod life;
#[path = "server/words.rs"]
mod words;

mod support;
