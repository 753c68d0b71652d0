//! What the process is told from outside.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Being told to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// A signal that asks a server for something, or ends it in order. It is listened to whatever the options: left alone it would
/// end the process at once.
pub(super) struct Wish(Option<Signal>);

impl Wish {
    pub(super) fn new(kind: SignalKind) -> io::Result<Self> {
        signal(kind).map(|signal| Self(Some(signal)))
    }

    /// SIGHUP, which stays ignored where the process was started so (`nohup`) and the server has nothing to do at it.
    pub(super) fn hangup(is_acted_on: bool) -> io::Result<Self> {
        if is_acted_on || !is_hangup_ignored() { Self::new(SignalKind::hangup()) } else { Ok(Self(None)) }
    }

    /// The next of them.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Whether the process was started with SIGHUP ignored, as far as the system tells.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A mask, in which SIGHUP, the first signal, has the lowest bit.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
