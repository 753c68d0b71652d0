//! Taking a session over from another client, and leaving it to another.

use herdless_core::{Error, Zxid};

use super::super::event::Config;
use super::{Machine, SessionCredentials};

impl<T, W: Clone + Default> Machine<T, W> {
    /// A client that takes a session over: its first session is this one ([`Event::Opened`](super::Event::Opened)), or it
    /// ends, as [`SessionExpired`](Error::SessionExpired), where a server says that this is over or answers with another.
    ///
    /// Until then it is not known how long the session lives, so it is asked for again and again, and of servers with a
    /// majority only.
    pub fn resume(config: Config, credentials: SessionCredentials) -> Self {
        let mut machine = Self::new(config);
        machine.last_zxid = credentials.last_zxid.0;
        machine.taking_over = Some(credentials);
        machine
    }

    /// What another client needs to go on with the session. `None` while there is none that another could have: before
    /// the first, after the last, and where a read-only server has opened it.
    pub fn credentials(&self) -> Option<SessionCredentials> {
        let session = self.session.as_ref().filter(|session| session.is_told && !session.is_local && !self.closing)?;
        Some(SessionCredentials {
            id: session.id,
            password: session.password.clone(),
            timeout: session.timeout,
            last_zxid: Zxid(self.last_zxid),
        })
    }

    pub(super) fn not_taken_over(&mut self) {
        self.closing = true;
        self.end = Error::SessionExpired;
        self.finish();
    }
}
