//! What a connection and a session have due.

use std::time::Instant;

use herdless_core::Error;

use super::super::link::Link;
use super::Machine;
use crate::codec::write_ping;

impl<T, W: Clone + Default> Machine<T, W> {
    pub(super) fn link_deadline(&self) -> Option<Instant> {
        match (&self.link, &self.session) {
            (Link::Up(up), Some(session)) => {
                let dead = up.dead_at(session.timeout, session.lease);
                Some(up.ping_at(session.timeout).map_or(dead, |ping| ping.min(dead)))
            }
            (Link::Handshake { sent }, session) => {
                let late = *sent + self.config.connect_timeout;
                Some(session.as_ref().map_or(late, |session| session.lease.min(late)))
            }
            (Link::Down, Some(session)) => Some(session.lease),
            _ => None,
        }
    }

    /// A ping, the end of a connection that is silent, the end of a session that no server has confirmed in time.
    pub(super) fn do_due(&mut self, now: Instant) {
        match (&mut self.link, &self.session) {
            (Link::Up(up), Some(session)) if now >= up.dead_at(session.timeout, session.lease) => {
                self.disconnected(now)
            }
            (Link::Up(up), Some(session)) if up.ping_at(session.timeout).is_some_and(|ping| now >= ping) => {
                up.ping_sent = Some(now);
                up.last_sent = now;
                self.write_frame(write_ping);
            }
            (Link::Handshake { sent }, _) if now >= *sent + self.config.connect_timeout => self.disconnected(now),
            (Link::Handshake { .. } | Link::Down, Some(session)) if now >= session.lease => {
                // A handshake under way asks for the session that is given up here, so it is given up too.
                let redial = matches!(self.link, Link::Handshake { .. });
                self.lose_session(&Error::SessionExpired);
                if redial && !matches!(self.link, Link::Closed) {
                    self.link = Link::Down;
                    self.dial();
                }
            }
            _ => {}
        }
    }
}
