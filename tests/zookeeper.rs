//! Apache ZooKeeper alone: what cannot be had, or need not be asked, of the embedded server.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "zookeeper/barrier.rs"]
mod barrier;
#[path = "zookeeper/curator.rs"]
mod curator;
#[path = "zookeeper/elections.rs"]
mod elections;
#[path = "zookeeper/import.rs"]
mod import;
#[path = "zookeeper/leaders.rs"]
mod leaders;
#[path = "zookeeper/lock.rs"]
mod lock;
#[path = "zookeeper/paths.rs"]
mod paths;
#[path = "zookeeper/peers.rs"]
mod peers;
#[path = "zookeeper/queues.rs"]
mod queues;
#[path = "zookeeper/restart.rs"]
mod restart;
#[path = "zookeeper/rw_lock.rs"]
mod rw_lock;
#[path = "zookeeper/sasl.rs"]
mod sasl;
#[path = "zookeeper/semaphores.rs"]
mod semaphores;
#[path = "zookeeper/theirs.rs"]
mod theirs;
#[path = "zookeeper/tls.rs"]
mod tls;
#[path = "zookeeper/values.rs"]
mod values;
#[path = "zookeeper/x509.rs"]
mod x509;

mod support;
