//! The client machine and the server machine against each other, in virtual time.

#![expect(clippy::unwrap_used, reason = "what is not a test here is a test's helper")]

#[path = "pair/deadlines.rs"]
mod deadlines;
#[path = "pair/errands.rs"]
mod errands;
#[path = "pair/every_request.rs"]
mod every_request;
#[path = "pair/faults.rs"]
mod faults;
#[path = "golden/frames.rs"]
#[expect(dead_code, reason = "only the payloads are of interest here")]
mod frames;
#[path = "pair/fuzz.rs"]
mod fuzz;
#[path = "pair/harness.rs"]
mod harness;
#[path = "pair/history.rs"]
mod history;
#[path = "pair/hosts.rs"]
mod hosts;
#[path = "pair/identities.rs"]
mod identities;
#[path = "pair/limits.rs"]
mod limits;
#[path = "pair/offsets.rs"]
mod offsets;
#[path = "pair/read_only.rs"]
mod read_only;
#[path = "pair/removals.rs"]
mod removals;
#[path = "pair/requests.rs"]
mod requests;
#[path = "pair/sasl.rs"]
mod sasl;
#[path = "pair/scars.rs"]
mod scars;
#[path = "pair/session.rs"]
mod session;
#[path = "pair/streams.rs"]
mod streams;
#[path = "pair/takeover.rs"]
mod takeover;
#[path = "pair/watches.rs"]
mod watches;
