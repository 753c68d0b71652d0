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
//! It is one node. Whoever needs more points the same code at an Apache ZooKeeper ensemble.
//!
//! # What is kept
//!
//! Without a data directory everything is in memory: when the process ends, it is gone. With one a reply means that what it shows
//! is on disk: after a crash, a kill or a loss of power a server that is started on the same directory has everything that was
//! ever acknowledged, and its clients go on with their sessions, ephemeral nodes and locks.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("herdless-server-{}", std::process::id()));
//! use herdless_server::Server;
//!
//! let server = Server::builder().data_dir(&directory).bind("127.0.0.1:0").await?;
//! # server.shutdown().await;
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok(()) }
//! ```
//!
//! [`Durability::Relaxed`] acknowledges at once and loses a bounded time of changes. A disk that fails ends the server, which
//! [`Server::failed`] tells; a disk that is full has it refuse changes (`NotReadOnly`), and no sessions begin or end, until there
//! is room. A disk that takes its time holds replies back, up to [a limit](Limits::outstanding_per_connection) beyond which nothing
//! more is read from that connection; pings are answered meanwhile. [`Server::backup`] writes one file while the server runs, of which
//! [`restore`] makes a data directory.
//!
//! An operator asks it how it is as he asks Apache ZooKeeper, with four letters: `printf srvr | nc 127.0.0.1 2181`. Others than
//! `srvr` are answered where [`Builder::four_letter_words`] says so.
//!
//! What clients may have of it is limited: [`Limits`] has the defaults, and says what becomes of whoever wants more.
//!
//! # Figures
//!
//! With the feature `metrics` a server tells the recorder that is installed when it is bound, by the [`metrics`] facade:
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `herdless_server_connections` | gauge | | open connections |
//! | `herdless_server_connections_accepted_total` | counter | | connections accepted |
//! | `herdless_server_connections_turned_away_total` | counter | `reason` | connections refused or cut off |
//! | `herdless_server_sessions` | gauge | | open sessions |
//! | `herdless_server_sessions_total` | counter | `event` | what has happened to sessions |
//! | `herdless_server_requests_total` | counter | `kind` | requests of sessions |
//! | `herdless_server_refusals_total` | counter | `error` | requests refused |
//! | `herdless_server_request_seconds` | histogram | | from the reading of a request until its reply is ready |
//! | `herdless_server_watch_events_total` | counter | `event` | events told |
//! | `herdless_server_packets_total` | counter | `direction` | frames |
//! | `herdless_server_nodes`, `.._ephemeral_nodes`, `.._watches` | gauge | | how many there are |
//! | `herdless_server_data_bytes` | gauge | | paths and data of all nodes |
//! | `herdless_server_commit_seconds` | histogram | | transactions on disk, the sync included |
//! | `herdless_server_committed_records_total` | counter | | nodes and sessions written, removals included |
//! | `herdless_server_held_replies` | gauge | | replies that wait for the disk |
//! | `herdless_server_read_only` | gauge | | 1 while changes are refused because the disk is full |
//! | `herdless_server_uptime_seconds` | gauge | | since the start |
//!
//! | label | values |
//! |---|---|
//! | `reason` | that of [`Refused`], by its name |
//! | `event` of a session | `opened`, `resumed`, `closed`, `expired`; `refused`: the password is wrong, or the session is over |
//! | `event` of a watch | `created`, `deleted`, `data_changed`, `children_changed` |
//! | `kind` | [`Request::name`](herdless_core::Request::name) |
//! | `error` | [`Refusal`](herdless_core::Refusal), by its name |
//! | `direction` | `received`, `sent` |
//!
//! Gauges and frames are as of the last call of `Server::look`. No label has values without number. Requests that were read
//! together count as long as all of them took.
//!
//! [`metrics`]: https://docs.rs/metrics
//!
//! # Embedding
//!
//! [`Server::bind`] runs on the caller's runtime, [`Builder::start`] on a thread of its own. [`Server::faults`] is for tests: it
//! expires sessions, cuts and freezes connections, loses replies.
//!
//! It listens on the machine itself alone, unless it speaks TLS and requires client certificates (`Builder::tls`, with the feature
//! `tls`), or is told otherwise in so many words. Access control lists are enforced for `world`, `digest`, `ip` and `auth`, and
//! with TLS for `x509`; other schemes are refused.
//!
//! # Quotas
//!
//! They are set as on Apache ZooKeeper (zkCli's `setquota`), by nodes below `/zookeeper/quota`, and counted there. They are
//! enforced where [`Builder::enforce_quotas`] says so.
//!
//! # What it does not do yet
//!
//! No SASL. Reconfiguration is refused, as by an Apache ZooKeeper that stands alone.

#![cfg(not(loom))]

mod accept;
mod builder;
mod connection;
mod faults;
mod limits;
mod meter;
mod server;
mod serving;
mod socket;
mod startup;
mod state;
mod store;
#[cfg(feature = "tls")]
mod tls;
mod usage;
#[cfg(feature = "tls")]
mod x509;

pub use builder::{BindError, Builder};
pub use faults::Faults;
pub use herdless_proto::FourLetterWord;
#[cfg(feature = "tls")]
pub use herdless_tls::TlsError;
pub use limits::Limits;
pub use server::Server;
pub use store::{Disk, Durability, StoreError, backup, import, restore};
#[cfg(feature = "tls")]
pub use tls::{ServerTls, ServerTlsOptions};
pub use usage::{Refused, Usage};
