//! The recipes, each on the embedded server and on ZooKeeper: what they promise, what they cost, and what they do when
//! something goes wrong. What is the same for all of them is said once, for a table of them.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "recipes/all.rs"]
mod all;
#[path = "recipes/bad_input.rs"]
mod bad_input;
#[path = "recipes/barrier.rs"]
mod barrier;
#[path = "recipes/bytes.rs"]
mod bytes;
#[path = "recipes/counter.rs"]
mod counter;
#[path = "recipes/deliveries.rs"]
mod deliveries;
#[path = "recipes/double_barrier.rs"]
mod double_barrier;
#[path = "recipes/election.rs"]
mod election;
#[path = "recipes/faults.rs"]
mod faults;
#[path = "recipes/multi_lock.rs"]
mod multi_lock;
#[path = "recipes/processes.rs"]
mod processes;
#[path = "recipes/queue.rs"]
mod queue;
#[path = "recipes/rw_lock.rs"]
mod rw_lock;
#[path = "recipes/semaphore.rs"]
mod semaphore;

mod support;
