//! Time, for the few promises that have time in them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A clock and a timer, given to a recipe whose promise has time in it (a maximum hold, a delay). No recipe reads a clock
/// of its own; whoever can wait without one does.
///
/// The transport brings one on tokio's timer; the in-memory backend brings one that a test moves by hand.
pub trait Time: Send + Sync {
    /// The time since some fixed moment, by a clock that never goes back.
    fn now(&self) -> Duration;

    /// Milliseconds since 1970-01-01 UTC, by this machine's wall clock, which may be set forth and back.
    fn unix_millis(&self) -> u64;

    /// Waits for `duration`. Cancel safe.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The future of [`Time::sleep`].
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<T: Time + ?Sized> Time for Arc<T> {
    fn now(&self) -> Duration {
        (**self).now()
    }

    fn unix_millis(&self) -> u64 {
        (**self).unix_millis()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        (**self).sleep(duration)
    }
}
