//! Clients of others on the embedded server, as they are: Curator, the Java client and its shell, kazoo, the C client.
//!
//! What they are answered is what Apache ZooKeeper answers them, line for line (`transcript.rs`), and what they are made
//! for works: the recipes of Curator, several clients contending in each, and the tests that kazoo comes with.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "clients/c.rs"]
mod c;
#[path = "clients/curator.rs"]
mod curator;
#[path = "clients/java.rs"]
mod java;
#[path = "clients/kazoo.rs"]
mod kazoo;
#[path = "clients/restart.rs"]
mod restart;
#[path = "clients/shell.rs"]
mod shell;
#[path = "clients/transcript.rs"]
mod transcript;

mod support;
