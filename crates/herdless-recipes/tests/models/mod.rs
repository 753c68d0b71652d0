//! What the models of every checker share: planted bugs, and the resource that a lock protects.

pub(crate) mod flaw;
pub(crate) mod store;
pub(crate) mod tamper;
pub(crate) mod wire;
