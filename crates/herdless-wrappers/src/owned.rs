//! What has one owner, behind the shared reference that core's sources are given.

use herdless_core::{Mutex, StdMutex};

/// A future, or what drives one. Its lock is not held while it runs: a poll and an undo may call into code of others.
pub(crate) struct Owned<T>(StdMutex<Option<T>>);

impl<T: Send + 'static> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(StdMutex::new(Some(value)))
    }

    /// Runs `f` on it; `None` once it has been taken.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut value = self.take()?;
        let result = f(&mut value);
        self.0.with(|place| *place = Some(value));
        Some(result)
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.with(Option::take)
    }
}
