//! Sessions beyond one client and one kind of server: taken over, read-only, and lost for good.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "sessions/history.rs"]
mod history;
#[path = "sessions/quorum.rs"]
mod quorum;
#[path = "sessions/read_only.rs"]
mod read_only;
#[path = "sessions/scripted.rs"]
mod scripted;
#[path = "sessions/takeover.rs"]
mod takeover;

mod support;
