//! Fuzz targets: each is a function of bytes that panics where a promise is broken.
//!
//! `tests/fuzz` gives them to libFuzzer; `tests/corpus.rs` replays on any toolchain what it has found.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the run")]

mod client_machine;
#[path = "../../herdless-proto/tests/pair/harness.rs"]
#[allow(dead_code, reason = "the tests of the pair use the rest")]
mod harness;
mod import_files;
mod pair;
mod path_validator;
mod reply_decode;
mod request_decode;
mod script;
mod server_machine;

pub use client_machine::client_machine;
pub use import_files::{DIGEST, HAS_DIGEST, import_files};
pub use pair::pair;
pub use path_validator::path_validator;
pub use reply_decode::reply_decode;
pub use request_decode::request_decode;
pub use server_machine::server_machine;

/// A function that panics where the bytes break a promise.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and of the directory of its corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("client_machine", client_machine),
    ("import_files", import_files),
    ("pair", pair),
    ("path_validator", path_validator),
    ("reply_decode", reply_decode),
    ("request_decode", request_decode),
    ("server_machine", server_machine),
];

/// One frame without its length.
fn encode(fill: impl FnOnce(&mut herdless_proto::codec::Writer<'_>)) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    let mut writer = herdless_proto::codec::Writer::frame(&mut out);
    fill(&mut writer);
    writer.finish();
    out[4..].to_vec()
}
