//! Reconnects and sessions, as far as a session's own counter tells of them.

use herdless_core::{Client, Mutex, Session, SessionState, StdMutex};

/// What has been told already.
pub(super) struct Sessions(StdMutex<Option<Told>>);

struct Told {
    session: Session,
    reconnects: u64,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self(StdMutex::new(None))
    }

    /// How many sessions were opened, and how often one was connected again, since the last look.
    pub(super) fn look(&self, client: &impl Client) -> (u64, u64) {
        let session = client.session();
        let (counts, _dropped_after_the_lock) = self.0.with(|told| match told {
            Some(told) => {
                let mut reconnects = told.catch_up();
                if told.session.id() == session.id() {
                    return ((0, reconnects), None);
                }
                let mut next = Told { session, reconnects: 0 };
                reconnects += next.catch_up();
                ((1, reconnects), Some(std::mem::replace(told, next)))
            }
            None => {
                let mut first = Told { session, reconnects: 0 };
                let reconnects = first.catch_up();
                *told = Some(first);
                ((1, reconnects), None)
            }
        });
        counts
    }
}

impl Told {
    fn catch_up(&mut self) -> u64 {
        let now = reconnects(&self.session).max(self.reconnects);
        now - std::mem::replace(&mut self.reconnects, now)
    }
}

/// How often the session was connected again since it began. Its revision begins with 1, connected, and grows by 1 as it is
/// suspended and as it is connected again; its end is a change as well.
fn reconnects(session: &Session) -> u64 {
    // The revision first: where the session ends in between, one is counted too few, and right at the next look.
    let revision = session.revision();
    revision.saturating_sub(1 + u64::from(session.state() == SessionState::Lost)) / 2
}
