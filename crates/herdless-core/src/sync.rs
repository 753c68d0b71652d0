//! The one place where a model checker is chosen.
//!
//! What has interior races (the reply slot, the watch cell, the in-memory backend) is generic over its family of
//! locks. Ordinary builds use [`StdLocks`]; a model uses the family of the checker. It is a type parameter and not a
//! `cfg`, so that ordinary tests and models live in the same build.

use std::fmt;
use std::sync::PoisonError;

/// A mutual exclusion lock around a value.
///
/// The closure form leaves no guard behind that could be held over an await, or over a call into user code.
pub trait Mutex<T>: Send + Sync + 'static {
    /// Wraps `value`.
    fn new(value: T) -> Self;

    /// Runs `f` on the value with the lock held.
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R;
}

/// A family of locks: the standard library's, or those of a model checker.
pub trait Locks: fmt::Debug + Send + Sync + 'static {
    /// The family's mutex.
    type Mutex<T: Send + 'static>: Mutex<T>;

    /// Whether the locks may be taken now. A model checker's may not while its thread unwinds: a `Drop` then leaves
    /// them alone.
    fn is_usable() -> bool {
        true
    }
}

/// The standard library's locks.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdLocks;

impl Locks for StdLocks {
    type Mutex<T: Send + 'static> = StdMutex<T>;
}

/// [`std::sync::Mutex`] as a [`Mutex`]; a panic under the lock does not poison it.
#[derive(Debug, Default)]
pub struct StdMutex<T>(std::sync::Mutex<T>);

impl<T: Send + 'static> Mutex<T> for StdMutex<T> {
    fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // No code of ours panics half-way through a change, so the value is whole even after somebody's panic.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
