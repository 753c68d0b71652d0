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

/// A signal that a server with some options acts on. In others it ends the process, as it would any.
pub(super) struct Wish(Option<Signal>);

impl Wish {
    pub(super) fn new(kind: SignalKind, is_acted_on: bool) -> io::Result<Self> {
        Ok(Self(if is_acted_on { Some(signal(kind)?) } else { None }))
    }

    /// The next of them; never where none is acted on.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}
