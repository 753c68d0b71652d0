//! ZooKeeper's wire protocol without I/O: no socket, no clock, no future, no task.
//!
//! ```text
//!              submit(now, request, token)                 receive(bytes)
//!                        |                                       |
//!                        v                                       v
//!              +-------------------+   transmit    +-------------------+
//!              |  client::Machine  | ------------> |  server::Machine  |
//!              |                   | <------------ |                   |
//!              +-------------------+    receive    +-------------------+
//!                        |                                       |
//!                        v                                       v
//!              poll_event() -> Reply(token, ..)        poll() -> (xid, request)
//! ```
//!
//! Time is an argument, bytes go in and out of buffers, and what the caller wants back with a reply is a type parameter.
//! So both ends run against each other in a test with torn reads and virtual time, and a fuzzer needs no network.

pub mod client;
pub mod codec;
mod four_letter_word;
mod frame;
pub mod server;

pub use four_letter_word::FourLetterWord;
pub use frame::{FrameError, MAX_FRAME, MAX_HANDSHAKE};
