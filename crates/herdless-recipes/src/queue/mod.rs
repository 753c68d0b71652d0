//! Queues.

mod foreign;

pub use foreign::{ForeignItem, ForeignQueue, ForeignQueueBuilder, ForeignQueueLayout};
