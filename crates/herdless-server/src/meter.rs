//! What is told to the [`metrics`](https://docs.rs/metrics) facade: nothing, and at no cost, where the feature is off.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

#[cfg(not(feature = "metrics"))]
pub(crate) use off::Meter;
#[cfg(feature = "metrics")]
pub(crate) use on::{Levels, Meter};

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Opened,
    Resumed,
    /// Asked for with a wrong password, or after its end.
    Refused,
    Closed,
    Expired,
}
