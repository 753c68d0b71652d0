//! Time that a test moves.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use herdless_core::{Sleep, Time};

/// A clock that stands still until [`advance`](Self::advance) moves it. Clones are the same clock.
///
/// ```
/// use std::time::Duration;
/// use herdless_core::Time;
/// use herdless_memory::ManualTime;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let time = ManualTime::new();
/// let sleep = time.sleep(Duration::from_secs(60));
/// time.advance(Duration::from_secs(60));
/// sleep.await;
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualTime(Arc<Mutex<Clock>>);

#[derive(Debug, Default)]
struct Clock {
    now: Duration,
    next_key: u64,
    sleepers: Vec<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    key: u64,
    until: Duration,
    waker: Waker,
}

impl ManualTime {
    /// A clock at zero, which is also 1970-01-01.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock, and wakes those whose time has come.
    pub fn advance(&self, duration: Duration) {
        let due: Vec<_> = self.with(|clock| {
            clock.now += duration;
            let now = clock.now;
            clock.sleepers.extract_if(.., |sleeper| sleeper.until <= now).collect()
        });
        due.into_iter().for_each(|sleeper| sleeper.waker.wake());
    }

    /// How many sleep now: tells a test that somebody has come to wait.
    pub fn sleepers(&self) -> usize {
        self.with(|clock| clock.sleepers.len())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Clock) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Time for ManualTime {
    fn now(&self) -> Duration {
        self.with(|clock| clock.now)
    }

    fn unix_millis(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let (until, key) = self.with(|clock| {
            clock.next_key += 1;
            (clock.now.saturating_add(duration), clock.next_key)
        });
        Box::pin(Sleeping { time: self.clone(), until, key })
    }
}

struct Sleeping {
    time: ManualTime,
    until: Duration,
    key: u64,
}

impl Future for Sleeping {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned, and the old one dropped, outside the lock: both may be operations of a model checker.
        let waker = cx.waker().clone();
        let (poll, _unused) = self.time.with(|clock| {
            if clock.now >= self.until {
                return (Poll::Ready(()), Some(waker));
            }
            let sleeper = Sleeper { key: self.key, until: self.until, waker };
            let old = match clock.sleepers.iter_mut().find(|other| other.key == self.key) {
                Some(known) => Some(std::mem::replace(known, sleeper).waker),
                None => {
                    clock.sleepers.push(sleeper);
                    None
                }
            };
            (Poll::Pending, old)
        });
        poll
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        let _gone: Vec<_> =
            self.time.with(|clock| clock.sleepers.extract_if(.., |sleeper| sleeper.key == self.key).collect());
    }
}
