//! tokio's clock, for recipes with time in their promise.

use std::time::{Duration, SystemTime};

use herdless_core::{Sleep, Time};
use tokio::time::Instant;

/// Time by tokio's timer, and the wall clock of this machine. Under tokio's paused clock the first two stand still with it.
#[derive(Clone, Copy, Debug)]
pub struct TokioTime {
    start: Instant,
}

impl TokioTime {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for TokioTime {
    fn default() -> Self {
        Self::new()
    }
}

impl Time for TokioTime {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the transport is where time comes from")]
    fn unix_millis(&self) -> u64 {
        // A clock before 1970 is as good as one that was never set.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}
