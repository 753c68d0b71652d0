//! Nothing is told.

use std::time::Duration;

use herdless_core::{Error, EventKind, Request};

use super::Life;
use crate::state::Reason;

pub(crate) struct Meter;

impl Meter {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn accepted(&self) {}

    pub(crate) fn turned(&self, _: Reason) {}

    pub(crate) fn session(&self, _: Life) {}

    pub(crate) fn request(&self, _: &Request, _: Option<&Error>) {}

    pub(crate) fn replied(&self, _: u64, _: Duration) {}

    pub(crate) fn event(&self, _: EventKind) {}

    pub(crate) fn committed(&self, _: usize, _: Duration) {}
}
