//! What the service manager is told, where there is one that asks (`sd_notify(3)`).

use std::error::Error;
use std::time::Duration;

use sd_notify::NotifyState::{Ready, Status, Stopping, Watchdog};
use sd_notify::{NotifyState, notify};

pub(super) fn ready(status: &str) {
    tell(&[Ready, Status(status)]);
}

pub(super) fn stopping() {
    tell(&[Stopping, Status("ending: what has arrived is carried out")]);
}

/// It ends by itself.
pub(super) fn failed(error: &dyn Error) {
    tell(&[Stopping, Status(&error.to_string())]);
}

/// The main task is not stuck.
pub(super) fn alive() {
    tell(&[Watchdog]);
}

/// How often it wants to hear that: twice in the time after which it gives up.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2).filter(|pause| !pause.is_zero())
}

fn tell(state: &[NotifyState<'_>]) {
    // A server that serves is not ended because nobody hears of it.
    if let Err(error) = notify(state) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
