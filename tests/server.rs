//! The embedded server, as those see it who run it.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "server/bystander.rs"]
mod bystander;
#[path = "server/connections.rs"]
mod connections;
#[path = "server/descriptors.rs"]
mod descriptors;
#[path = "server/faults.rs"]
mod faults;
#[path = "server/floods.rs"]
mod floods;
#[path = "server/kazoo.rs"]
mod kazoo;
#[path = "server/life.rs"]
mod life;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/slow.rs"]
mod slow;
#[path = "server/startup.rs"]
mod startup;
#[path = "server/thread.rs"]
mod thread;
#[path = "server/tls.rs"]
mod tls;
#[path = "server/waiting.rs"]
mod waiting;
#[path = "server/words.rs"]
mod words;

mod support;
