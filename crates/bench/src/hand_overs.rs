//! How long it takes from one holder to the next.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use herdless::TokioClient;

use crate::AnyError;
use crate::report::{Measurement, Report, now};

/// The hand-overs of one thing that is passed on, each from just before it is let go to the next grant.
pub(crate) struct HandOvers {
    name: &'static str,
    clients: Vec<TokioClient>,
    wanted: usize,
    state: Mutex<State>,
}

struct State {
    /// How many are still not counted.
    warm_up: usize,
    left: usize,
    released: Option<Instant>,
    measurement: Option<Measurement>,
    report: Option<Report>,
}

impl HandOvers {
    /// Measures `wanted` of them, the first `warm_up` left out.
    pub(crate) fn new(name: &'static str, clients: &[TokioClient], warm_up: usize, wanted: usize) -> Self {
        let measurement = (warm_up == 0).then(|| Measurement::start(name, clients));
        let state = State { warm_up, left: wanted, released: None, measurement, report: None };
        Self { name, clients: clients.to_vec(), wanted, state: Mutex::new(state) }
    }

    /// Somebody holds it now.
    pub(crate) fn granted(&self) {
        let mut state = self.state();
        let Some(released) = state.released.take() else { return };
        let time = released.elapsed();
        if let Some(measurement) = &mut state.measurement {
            measurement.took(time);
            state.left -= 1;
            if state.left == 0 {
                state.report = state.measurement.take().map(|measurement| measurement.end(self.wanted));
            }
        } else if state.report.is_none() {
            state.warm_up -= 1;
            if state.warm_up == 0 {
                state.measurement = Some(Measurement::start(self.name, &self.clients));
            }
        }
    }

    /// Who holds it lets it go now.
    pub(crate) fn releasing(&self) {
        self.state().released = Some(now());
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().report.is_some()
    }

    /// What was measured, once that [is over](Self::is_over).
    pub(crate) fn report(&self) -> Result<Report, AnyError> {
        self.state().report.take().ok_or_else(|| "the hand-overs ended early".into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
