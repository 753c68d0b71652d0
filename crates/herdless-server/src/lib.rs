//! An embedded server that speaks ZooKeeper's wire protocol, for development, tests and single machines.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use herdless_server::Server;
//!
//! let server = Server::bind("127.0.0.1:0").await?;
//! let client = herdless_tokio::connect(&server.address().to_string()).await?;
//! # drop(client);
//! server.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! It is one node and keeps the tree in memory: when the process ends, the data is gone. Whoever needs more points the
//! same code at an Apache ZooKeeper ensemble.
//!
//! # What it does not do yet
//!
//! No durability, no TLS, no authentication: it binds loopback only, unless told otherwise in so many words. Access
//! control lists may name `world:anyone` with any permissions, which are enforced; any other identity is refused as
//! `InvalidAcl` and not accepted without effect. Not served: TTL nodes (refused as Apache ZooKeeper does by default),
//! persistent watches, reconfiguration, quotas, four-letter words.

#![cfg(not(loom))]

mod connection;
mod server;
mod state;

pub use server::{BindError, Builder, Server};
