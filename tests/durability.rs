//! What the embedded server keeps on disk, and what it does when the disk fails.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

#[path = "durability/backup.rs"]
mod backup;
#[path = "durability/directory.rs"]
mod directory;
#[path = "durability/errors.rs"]
mod errors;
#[path = "durability/full.rs"]
mod full;
#[path = "durability/held.rs"]
mod held;
#[path = "durability/history.rs"]
mod history;
#[path = "durability/kills.rs"]
mod kills;
#[path = "durability/power.rs"]
mod power;
#[path = "durability/relaxed.rs"]
mod relaxed;
#[path = "durability/restart.rs"]
mod restart;
#[path = "durability/sweep.rs"]
mod sweep;

mod support;
