//! loom models of the recipes, over the in-memory backend.
//!
//! Each model states its property in a doc line. Each property is shown able to fail: a `planted` model runs the same
//! contenders with one [`Flaw`](models::flaw::Flaw) and must panic. Counters prove that the interesting branches ran.

#[path = "../models/mod.rs"]
mod models;

mod barrier;
mod delay_queue;
mod election;
mod follow;
mod foreign_queue;
mod harness;
mod lease_lock;
mod lock;
mod multi_lock;
mod queue;
mod rw_lock;
mod semaphore;
mod slot;
mod value;
mod world;
