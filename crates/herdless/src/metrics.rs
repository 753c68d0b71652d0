//! Figures of waiting and holding, for the [`metrics`] facade. Those of requests are
//! [`wrappers::Metered`](crate::wrappers::Metered)'s.
//!
//! ```
//! use std::sync::Arc;
//! use herdless::metrics::MetricsObserver;
//! use herdless::{Client, Lock, NodePath};
//!
//! fn orders<C: Client + Clone + 'static>(client: C, path: NodePath) -> Lock<C> {
//!     Lock::builder(client, path).observer(Arc::new(MetricsObserver::new("orders"))).build()
//! }
//! ```

use std::time::Instant;

use herdless_core::NodePath;
use herdless_recipes::{End, Observation, Observer};
use metrics::{counter, histogram};

/// Tells the installed recorder of every place in line that a recipe takes, under the label `name`.
///
/// | name | kind | what |
/// |---|---|---|
/// | `herdless_wait_seconds` | histogram | from asking to the grant |
/// | `herdless_hold_seconds` | histogram | from the grant to the release |
/// | `herdless_hand_over_seconds` | histogram | from the wake-up to the grant, for those who waited |
/// | `herdless_line_length` | histogram | how many were ahead at most, where it is known |
/// | `herdless_grants_total` | counter | |
/// | `herdless_given_up_total` | counter | waits that ended without a grant, by the one who waited |
/// | `herdless_lost_waiting_total` | counter | waits that ended with the session |
/// | `herdless_lost_held_total` | counter | grants that ended with the session |
#[derive(Clone, Debug)]
pub struct MetricsObserver {
    name: String,
}

impl MetricsObserver {
    /// For what `name` says: a lock's purpose, not its path, if there are paths without number.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Observer for MetricsObserver {
    fn asked(&self, _: &NodePath) -> Box<dyn Observation> {
        Box::new(Measured { name: self.name.clone(), since: now(), woken: None, has_ended: false })
    }
}

struct Measured {
    name: String,
    /// The asking, and then the grant.
    since: Instant,
    woken: Option<Instant>,
    has_ended: bool,
}

impl Measured {
    /// The seconds since the last turn, which is now.
    fn turn(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.since, now());
        (self.since - before).as_secs_f64()
    }
}

impl Observation for Measured {
    fn entered(&mut self, ahead: Option<u32>) {
        if let Some(ahead) = ahead {
            histogram!("herdless_line_length", "name" => self.name.clone()).record(f64::from(ahead));
        }
    }

    fn woken(&mut self) {
        self.woken = Some(now());
    }

    fn granted(&mut self) {
        histogram!("herdless_wait_seconds", "name" => self.name.clone()).record(self.turn());
        if let Some(woken) = self.woken {
            let seconds = (self.since - woken).as_secs_f64();
            histogram!("herdless_hand_over_seconds", "name" => self.name.clone()).record(seconds);
        }
        counter!("herdless_grants_total", "name" => self.name.clone()).increment(1);
    }

    fn ended(&mut self, how: End) {
        self.has_ended = true;
        let count = |total| counter!(total, "name" => self.name.clone()).increment(1);
        match how {
            End::GivenUp => count("herdless_given_up_total"),
            End::LostWaiting => count("herdless_lost_waiting_total"),
            End::LostHeld => count("herdless_lost_held_total"),
            End::Released => {}
        }
        if matches!(how, End::Released | End::LostHeld) {
            histogram!("herdless_hold_seconds", "name" => self.name.clone()).record(self.turn());
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if !self.has_ended {
            self.ended(End::GivenUp);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "figures are read off a clock; nothing depends on them")]
fn now() -> Instant {
    Instant::now()
}
