//! TLS in front of the embedded server: which servers are trusted, and how a client proves who it is.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "tls/front.rs"]
mod front;
#[path = "tls/identity.rs"]
mod identity;
#[path = "tls/options.rs"]
mod options;
#[path = "tls/trust.rs"]
mod trust;

mod support;
