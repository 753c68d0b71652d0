//! The embedded server: for development, for tests, and for what runs on one machine.
//!
//! # A test with a server of its own
//!
//! A server on a free port costs about as much as a socket, so each test has its own, and none waits for another:
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! #[tokio::main(flavor = "current_thread")] // in your tests: #[tokio::test]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     use herdless::{Client, Lock, NodePath, server::Server};
//!
//!     let server = Server::builder().start("127.0.0.1:0")?;
//!     let client = herdless::connect(&server.address().to_string()).await?;
//!     let guard = Lock::new(client.clone(), NodePath::parse("/lock")?).acquire().await?;
//!
//!     // What does your program do when it loses the lock?
//!     server.faults().expire(client.session().id());
//!     guard.lost().await;
//!     assert!(!guard.is_valid());
//!     Ok(())
//! }
//! # #[cfg(not(feature = "tokio"))] fn main() {}
//! ```
//!
//! [`Builder::start`] gives it a thread and a runtime of its own, so it goes on while your test blocks, and a test without a
//! runtime can have one. [`Server::bind`] takes your runtime. Either way it ends when it is dropped.
//!
//! [`Faults`] are what your program has to survive: sessions that [expire](Faults::expire), connections that are
//! [cut](Faults::disconnect), [frozen](Faults::freeze) or [slow](Faults::delay_replies), a server that
//! [lets nobody in](Faults::refuse_connections), and the one that cannot be had by stopping a server: a request that was
//! carried out though [its reply is lost](Faults::lose_reply). Each has taken effect when the call returns, so no test has to
//! sleep:
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use herdless::{Client, ClientExt, Error, NodePath, Version, server::Server};
//! # let server = Server::builder().start("127.0.0.1:0")?;
//! # let client = herdless::connect(&server.address().to_string()).await?;
//! use herdless::core::Request;
//!
//! server.faults().lose_reply(client.session().id(), |request| matches!(request, Request::SetData(_)));
//! let set = client.set(&NodePath::root(), "paid", Version::ANY).await;
//! assert_eq!(set.unwrap_err(), Error::ConnectionLost);
//! assert_eq!(client.get(&NodePath::root()).await?.0, "paid");
//! # Ok(()) }
//! # #[cfg(not(feature = "tokio"))] fn main() {}
//! ```
//!
//! For every order of every step there are the models of [`testing`](crate::testing), on a server without sockets.

pub use herdless_server::*;
