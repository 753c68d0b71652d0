//! What contending looks like from outside: for metrics.

use herdless_core::NodePath;

/// Somebody who keeps figures of the places in line that a recipe takes. It reads the clock itself: recipes have none.
///
/// The methods of an [`Observation`] are called on the task that waits, in the order of the events, and must not block.
///
/// # Examples
///
/// How often each path was asked for:
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Mutex;
/// use herdless_core::NodePath;
/// use herdless_recipes::{Observation, Observer};
///
/// #[derive(Default)]
/// struct Asked(Mutex<BTreeMap<String, u64>>);
///
/// struct Nothing;
/// impl Observation for Nothing {}
///
/// impl Observer for Asked {
///     fn asked(&self, directory: &NodePath) -> Box<dyn Observation> {
///         *self.0.lock().unwrap().entry(directory.to_string()).or_default() += 1;
///         Box::new(Nothing)
///     }
/// }
/// ```
pub trait Observer: Send + Sync {
    /// Somebody asks for a place in the line of `directory`.
    fn asked(&self, directory: &NodePath) -> Box<dyn Observation>;
}

/// What follows on one request for a place. Dropped without [`ended`](Self::ended), the request was given up before it had a
/// place.
pub trait Observation: Send + Sync {
    /// The place is taken; `ahead` is how many were before it at most, where that is known.
    fn entered(&mut self, ahead: Option<u32>) {
        let _ = ahead;
    }

    /// The one ahead has gone. Between this and [`granted`](Self::granted) lies the hand-over.
    fn woken(&mut self) {}

    /// It is the place's turn.
    fn granted(&mut self) {}

    /// The place is left.
    fn ended(&mut self, how: End) {
        let _ = how;
    }
}

/// How a place was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "held or not, alive or not")]
pub enum End {
    /// It waited no longer.
    GivenUp,
    /// Its session ended, or its node went, while it waited.
    LostWaiting,
    /// It was released.
    Released,
    /// Its session ended while it was held.
    LostHeld,
}
