//! How sessions begin, go on in another connection, and end.

use std::net::SocketAddr;
use std::time::Duration;

use herdless_core::{Identity, SessionId};
use herdless_memory::Fired;
use herdless_proto::codec::{ConnectRequest, ConnectResponse};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::refusals::Reason;
use super::{Session, State, Wakers};
use crate::meter::Life;

/// How a client that asks for an old session is answered.
enum Claim {
    Granted(SessionId),
    /// That session is no more, or the password is another.
    Refused,
    /// Too many wrong passwords came from this address.
    NotLookedAt,
}

impl State {
    pub(super) fn connect(&mut self, id: u64, connect: &ConnectRequest, now: Instant, wakers: &mut Wakers) -> bool {
        if self.refuses_connections() {
            self.close_later(id, wakers);
            return false;
        }
        if connect.last_zxid_seen > self.tree.last_zxid().0 {
            // The client has seen more than there is here; Apache ZooKeeper closes without a word, too.
            self.close_later(id, wakers);
            return false;
        }
        let wanted = Duration::from_millis(u64::try_from(connect.timeout_ms).unwrap_or(0));
        let is_read_only = self.is_read_only();
        let bounds = &self.settings.session_timeouts;
        let timeout = wanted.clamp(*bounds.start(), *bounds.end());
        let peer = self.links.get(&id).map(|link| link.peer);
        let mut password = connect.password;
        let (session, is_new) = match connect.session_id {
            // There is no room to keep it. Apache ZooKeeper hangs up too where it cannot have a session.
            0 if is_read_only => {
                self.close_later(id, wakers);
                return false;
            }
            0 if self.sessions.len() >= self.settings.limits.sessions => {
                self.refuse(Reason::Sessions, peer);
                self.close_later(id, wakers);
                return false;
            }
            0 => {
                let (id, new) = self.open_session(timeout, now);
                password = new;
                (Some(id), true)
            }
            old => match self.resume(SessionId(old), &password, peer, now, wakers) {
                Claim::Granted(session) => (Some(session), false),
                Claim::Refused => (None, false),
                Claim::NotLookedAt => {
                    self.refuse(Reason::Passwords, peer);
                    self.close_later(id, wakers);
                    return false;
                }
            },
        };
        let Some(session) = session else {
            self.meter.session(Life::Refused);
            let gone = ConnectResponse {
                timeout_ms: 0,
                session_id: 0,
                password: [0; 16],
                read_only: connect.read_only.map(|_| false),
            };
            if let Some(link) = self.links.get_mut(&id) {
                link.machine.accept(&gone);
            }
            self.close_later(id, wakers);
            return false;
        };
        let Some(record) = self.sessions.get_mut(&session) else {
            return false;
        };
        // What is kept must be what the client counts on after a restart. While there is no room it is what it was.
        let timeout = if is_read_only { record.timeout } else { timeout };
        if std::mem::replace(&mut record.timeout, timeout) != timeout && self.store.is_some() {
            self.tree.renew_session(session);
        }
        record.last_heard = now;
        record.link = Some(id);
        let accepted = ConnectResponse {
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: session.0,
            password,
            read_only: connect.read_only.map(|_| false),
        };
        self.due.remove(&(record.due, session));
        record.due = now + timeout;
        self.due.insert((record.due, session));
        if let Some(link) = self.links.get_mut(&id) {
            link.session = Some(session);
            link.activity.operation = "SESS";
            link.machine.accept(&accepted);
            let address = Identity { scheme: "ip".into(), id: link.peer.ip().to_string() };
            self.tree.identify(session, address);
            if let Some(identity) = link.proven.clone() {
                self.tree.identify(session, identity);
            }
        }
        self.meter.session(if is_new { Life::Opened } else { Life::Resumed });
        tracing::debug!(%session, ?timeout, is_new, "session");
        true
    }

    fn open_session(&mut self, timeout: Duration, now: Instant) -> (SessionId, [u8; 16]) {
        let id = loop {
            // Positive, so that it is never that of a container or a TTL node (`EphemeralType`).
            let id = SessionId(i64::from(rand::random::<u32>() >> 9) << 32 | i64::from(rand::random::<u32>()) | 1);
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let password: [u8; 16] = rand::random();
        let session =
            Session { password: Sha256::digest(password).into(), timeout, last_heard: now, due: now, link: None };
        self.sessions.insert(id, session);
        self.tree.open_session(id);
        (id, password)
    }

    /// The password is compared before the session's present connection is touched, in a time that tells nothing.
    ///
    /// An address that has brought too many wrong ones is not looked at, but for a session that nobody is heard from: its
    /// client, which may share the address, is not to lose it because somebody else tries to steal it.
    fn resume(
        &mut self,
        id: SessionId,
        password: &[u8; 16],
        peer: Option<SocketAddr>,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Claim {
        let (Some(record), Some(peer)) = (self.sessions.get(&id), peer) else {
            return Claim::Refused;
        };
        let address = peer.ip();
        // Clients are heard from in each third of their timeout.
        let is_heard = record.link.is_some() && now.duration_since(record.last_heard) < record.timeout / 3;
        if is_heard && self.failures.are_too_many(address, self.settings.limits.wrong_passwords_per_second, now) {
            return Claim::NotLookedAt;
        }
        if !bool::from(record.password.ct_eq(&*Sha256::digest(password))) {
            self.failures.note(address, now);
            return Claim::Refused;
        }
        if let Some(old) = record.link {
            self.tree.disconnect(id);
            if let Some(link) = self.links.get_mut(&old) {
                link.session = None;
            }
            self.close_later(old, wakers);
        }
        Claim::Granted(id)
    }

    /// A connection's client has shown then that it lives.
    pub(crate) fn hear(&mut self, id: u64, now: Instant) {
        let session = self.links.get(&id).and_then(|link| link.session);
        if let Some(record) = session.and_then(|session| self.sessions.get_mut(&session)) {
            record.last_heard = now;
        }
    }

    /// When the next session is to be looked at.
    pub(crate) fn next_expiry(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(3600);
        if self.is_read_only() {
            // An end that cannot be kept would be taken back.
            return Instant::now() + FAR;
        }
        self.due.first().map_or_else(|| Instant::now() + FAR, |(due, _)| *due)
    }

    /// Ends the sessions that were not heard of in time.
    ///
    /// Where this comes late, the server had no time, and what clients have sent meanwhile may not have been read: they all have
    /// their timeout once more.
    pub(crate) fn expire(&mut self, now: Instant) -> Wakers {
        const LATE: Duration = Duration::from_secs(1);
        let mut wakers = Wakers::default();
        if self.is_read_only() {
            return wakers;
        }
        let is_late = self.due.first().is_some_and(|(due, _)| now.saturating_duration_since(*due) > LATE);
        while let Some(&(due, id)) = self.due.first().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            let Some(record) = self.sessions.get_mut(&id) else {
                continue;
            };
            // Whose replies wait for the disk may be read no further, so that no sign of life is seen: it is the server that is late.
            let waits = record.link.and_then(|link| self.links.get(&link)).is_some_and(|link| !link.held.is_empty());
            let end = if waits || is_late { now } else { record.last_heard } + record.timeout;
            if end > now {
                record.due = end;
                self.due.insert((end, id));
                continue;
            }
            self.end_session(id, &mut wakers);
        }
        self.note_changes(&mut wakers);
        wakers
    }

    /// Forgets a session, which is not to be looked at any more.
    pub(super) fn remove_session(&mut self, id: SessionId) -> Option<Session> {
        let record = self.sessions.remove(&id)?;
        self.due.remove(&(record.due, id));
        Some(record)
    }

    /// Ends a session that nobody is heard from any more.
    pub(super) fn end_session(&mut self, id: SessionId, wakers: &mut Wakers) {
        let Some(record) = self.remove_session(id) else {
            return;
        };
        tracing::debug!(session = %id, "session expired");
        self.meter.session(Life::Expired);
        let mut fired = Fired::new();
        self.tree.close_session(id, &mut fired);
        self.notify(fired, wakers);
        if let Some(link) = record.link {
            self.close_later(link, wakers);
        }
    }
}
