//! shuttle models of the recipes: too many contenders for every order, so orders are drawn at random.
//!
//! What each recipe promises is shown by the loom models, with few contenders and every order; here many contenders meet
//! with sessions ending, acquires being cancelled and replies being lost all at once. As there, each property is shown
//! able to fail by a `planted` model.

mod barrier;
mod counter;
mod delay_queue;
mod election;
mod foreign_queue;
mod gate;
mod harness;
mod lease_lock;
mod lock;
#[expect(dead_code, reason = "some flaws are for the loom models alone")]
#[path = "../models/mod.rs"]
mod models;
mod multi_lock;
mod queue;
mod reentrant;
mod rw_lock;
mod semaphore;
