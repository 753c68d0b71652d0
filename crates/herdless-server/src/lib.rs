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
//! An operator asks it how it is as he asks Apache ZooKeeper, with four letters: `printf srvr | nc 127.0.0.1 2181`. Others than
//! `srvr` are answered where [`Builder::four_letter_words`] says so.
//!
//! # What it does not do yet
//!
//! No durability, and neither TLS nor SASL: it binds loopback only, unless told otherwise in so many words. Access control
//! lists are enforced for `world`, `digest`, `ip` and `auth`; other schemes are refused. There is no `/zookeeper` subtree, and
//! so there are no quotas; reconfiguration is refused, as by an Apache ZooKeeper that stands alone.

#![cfg(not(loom))]

mod connection;
mod server;
mod state;
mod store;

pub use herdless_proto::FourLetterWord;
pub use server::{BindError, Builder, Server};
pub use store::{Disk, Durability, StoreError, restore};
