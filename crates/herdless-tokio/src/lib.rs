//! The tokio transport: a [`Client`](herdless_core::Client) that keeps one session over as many connections as it
//! takes.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use herdless_core::{ClientExt, CreateMode, NodePath};
//!
//! let client = herdless_tokio::connect("zk1:2181,zk2:2181,zk3:2181/app").await?;
//! client.create(&NodePath::parse("/greeting")?, "hello", CreateMode::Ephemeral).await?;
//! client.close().await?;
//! # Ok(()) }
//! ```
//!
//! Everything that needs thought is in `herdless-proto`; here are the socket, the clock, the dice and one task. The
//! task (the *driver*) runs on the runtime that `connect` was called on.
//!
//! # What the driver needs
//!
//! The driver has to be polled once in a third of the session timeout, when a ping is due. A runtime all of whose threads are
//! kept busy for more than two thirds of it (computing, blocking I/O, a lock of std that is waited for) costs the session.
//! That is noticed without the driver: a guard's `is_valid` compares the clock with the time until which the server must
//! keep the session, so it is false at the first look after such a pause. Where such pauses happen,
//! [`Connector::dedicated_thread`] gives the driver a thread of its own, and the session outlives them. (What a process
//! that is stopped, or a machine that sleeps, takes away, no thread brings back.)

#![cfg(not(loom))]

mod address;
mod client;
mod connector;
mod dial;
mod driver;
mod probe;
mod protection;
mod room;
#[cfg(feature = "sasl")]
mod sasl;
mod time;
#[cfg(feature = "tls")]
mod tls;
mod watch_slot;

pub use address::{Address, AddressError, Host, Scheme};
pub use client::TokioClient;
pub use connector::{ConnectError, Connector, connect};
pub use dial::{Dial, Stream, TcpDial};
pub use herdless_proto::client::{Counters, CredentialsError, SessionCredentials};
#[cfg(feature = "tls")]
pub use herdless_tls::TlsError;
#[cfg(feature = "sasl")]
pub use sasl::Sasl;
pub use time::TokioTime;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsOptions};
