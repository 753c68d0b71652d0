//! How often to ask again, and after which pauses.

use std::time::Duration;

use herdless_core::{Error, Request};

/// How often a request is repeated, and how long to wait before each time. A closure of the same form is one.
pub trait RetryPolicy: Send + Sync {
    /// The pause before the repetition of this number, from 1, of a request that has ended with `error`; `None`: the error is
    /// told, and nothing repeated. The pause begins when the session is connected.
    fn pause(&self, repetition: u32, request: &Request, error: &Error) -> Option<Duration>;
}

impl<F: Fn(u32, &Request, &Error) -> Option<Duration> + Send + Sync> RetryPolicy for F {
    fn pause(&self, repetition: u32, request: &Request, error: &Error) -> Option<Duration> {
        self(repetition, request, error)
    }
}

/// So many repetitions, each after a random part of a bound that doubles up to a cap ("full jitter"): clients that have lost
/// their connections together do not come back together.
///
/// ```
/// use std::time::Duration;
/// use herdless_wrappers::Backoff;
///
/// let policy = Backoff::new(10).first(Duration::from_millis(20)).cap(Duration::from_secs(1));
/// assert_eq!(policy.bound(1), Duration::from_millis(20));
/// assert_eq!(policy.bound(3), Duration::from_millis(80));
/// assert_eq!(policy.bound(10), Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    repetitions: u32,
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// At most so many repetitions of each request, after pauses of up to 50 ms, doubling to 5 s.
    pub fn new(repetitions: u32) -> Self {
        Self { repetitions, first: Duration::from_millis(50), cap: Duration::from_secs(5) }
    }

    /// The bound of the first pause. Zero: there are no pauses.
    pub fn first(self, first: Duration) -> Self {
        Self { first, ..self }
    }

    /// The highest bound.
    pub fn cap(self, cap: Duration) -> Self {
        Self { cap, ..self }
    }

    /// The longest pause before the repetition of this number, from 1.
    pub fn bound(&self, repetition: u32) -> Duration {
        let doubled = 1_u32.checked_shl(repetition.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(doubled).min(self.cap)
    }
}

impl RetryPolicy for Backoff {
    fn pause(&self, repetition: u32, _: &Request, _: &Error) -> Option<Duration> {
        (repetition <= self.repetitions).then(|| rand::random_range(Duration::ZERO..=self.bound(repetition)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_drawn_from_the_whole_range_and_end() {
        let policy = Backoff::new(100).first(Duration::from_millis(100)).cap(Duration::from_secs(2));
        let pause = |repetition| policy.pause(repetition, &Request::CloseSession, &Error::ConnectionLost);
        let drawn: Vec<_> = (0..1000).map(|_| pause(1).unwrap()).collect();
        assert!(drawn.iter().all(|pause| *pause <= Duration::from_millis(100)));
        // A thousand draws miss a quarter of the range with a probability below 10^-124.
        assert!(drawn.iter().any(|pause| *pause < Duration::from_millis(25)));
        assert!(drawn.iter().any(|pause| *pause > Duration::from_millis(75)));
        for repetition in [33, 64, 100] {
            assert!(pause(repetition).unwrap() <= Duration::from_secs(2));
            assert_eq!(policy.bound(repetition), Duration::from_secs(2));
        }
        assert_eq!(pause(101), None);
        assert_eq!(policy.bound(u32::MAX), Duration::from_secs(2));
        assert_eq!(
            policy.first(Duration::ZERO).pause(100, &Request::CloseSession, &Error::Closed),
            Some(Duration::ZERO)
        );
    }
}
