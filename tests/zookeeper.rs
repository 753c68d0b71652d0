//! Apache ZooKeeper alone: what cannot be had, or need not be asked, of the embedded server.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "zookeeper/curator.rs"]
mod curator;
#[path = "zookeeper/paths.rs"]
mod paths;
#[path = "zookeeper/peers.rs"]
mod peers;
#[path = "zookeeper/restart.rs"]
mod restart;

mod support;
