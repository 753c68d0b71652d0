//! What the server sends.

use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use herdless_core::{Error, NodePath, Reply, SessionId, WatchKind, Zxid};
use zeroize::Zeroize;

use super::super::event::Event;
use super::super::link::{Link, LinkError, Up};
use super::{InFlight, Machine, OpenSession, Password, Purpose, Waiting, WatchAsked};
use crate::codec::{
    AUTH_XID, ConnectResponse, NOTIFICATION_XID, PING_XID, Reader, ReplyHeader, SET_WATCHES_XID, read_event, read_reply,
};
use crate::frame::{self, FrameError};

/// `KeeperException.Code.SESSIONMOVED`.
const SESSION_MOVED: i32 = -118;

impl<T, W: Clone + Default> Machine<T, W> {
    /// Reads what the server sent, as far as it is there in whole frames.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol: hang up, and call [`disconnected`](Self::disconnected).
    pub fn receive(&mut self, now: Instant, buffer: &mut BytesMut) -> Result<(), LinkError> {
        if let Link::Up(up) = &mut self.link {
            up.last_received = now;
        }
        loop {
            if self.skip > 0 {
                let part = self.skip.min(buffer.len());
                buffer.advance(part);
                self.skip -= part;
                self.counters.bytes_in += part as u64;
            }
            if matches!(self.link, Link::Down | Link::Closed) {
                buffer.clear();
                return Ok(());
            }
            let length = match frame::next_frame(buffer, self.config.max_reply) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(()),
                Err(error) => match self.oversized(now, error, buffer)? {
                    true => continue,
                    false => return Ok(()),
                },
            };
            let mut reader = Reader::new(&buffer[4..4 + length]);
            match self.link {
                Link::Handshake { .. } if self.sasl.is_under_way() => self.sasl_answered(now, &mut reader)?,
                Link::Handshake { sent } => {
                    let response = ConnectResponse::read(&mut reader)?;
                    buffer[4..4 + length].zeroize();
                    self.handshake_answered(now, sent, &response)?;
                }
                _ => self.reply(now, &mut reader)?,
            }
            frame::consume(buffer, length);
            self.counters.bytes_in += 4 + length as u64;
        }
    }

    /// A reply that is too large is that one request's error. Whether its header was there; its body is skipped.
    pub(super) fn oversized(
        &mut self,
        now: Instant,
        error: FrameError,
        buffer: &mut BytesMut,
    ) -> Result<bool, LinkError> {
        let (Ok(length), Link::Up(_)) = (usize::try_from(error.length), self.link) else {
            return Err(error.into());
        };
        let Some(header) = buffer.get(4..20) else {
            return Ok(false);
        };
        let header = ReplyHeader::read(&mut Reader::new(header))?;
        let entry = self.expect(header.xid)?;
        let error = Error::TooLarge { what: "reply", length, limit: error.limit };
        match entry.purpose {
            Purpose::User { token, .. } => self.answer(token, Err(error)),
            Purpose::Errand(key) => self.end_errand(now, key, Err(error)),
            Purpose::Removal => self.removal_answered(now, &Err(error)),
            Purpose::Unasked | Purpose::Lessening(_) => {}
        }
        buffer.advance(4);
        self.counters.bytes_in += 4;
        self.skip = length;
        Ok(true)
    }

    pub(super) fn handshake_answered(
        &mut self,
        now: Instant,
        sent: Instant,
        response: &ConnectResponse,
    ) -> Result<(), LinkError> {
        let is_read_only = response.read_only == Some(true);
        if is_read_only && !self.does_with_read_only() {
            return Err(LinkError::ReadOnly);
        }
        let id = SessionId(response.session_id);
        // Another session than the one asked for is an expiry too, whatever the server calls it.
        let is_over = |asked: SessionId| asked != id || response.timeout_ms <= 0;
        if self.taking_over.as_ref().is_some_and(|wanted| is_over(wanted.id)) {
            self.not_taken_over();
        }
        if self.session.as_ref().is_some_and(|session| is_over(session.id)) {
            self.lose_session(&Error::SessionExpired);
        }
        if matches!(self.link, Link::Closed) {
            return Ok(());
        }
        let Ok(timeout @ 1..) = u64::try_from(response.timeout_ms) else {
            self.link = Link::Down;
            self.dial();
            return Ok(());
        };
        let timeout = Duration::from_millis(timeout);
        let known = self.session.take();
        self.session = Some(OpenSession {
            id,
            password: Password::new(response.password),
            timeout,
            is_told: known.as_ref().is_some_and(|session| session.is_told),
            is_local: is_read_only && known.is_none(),
            lease: known.filter(|_| is_read_only).map_or(sent + timeout, |session| session.lease),
            asked: sent,
            is_read_only,
        });
        self.counters.connects += 1;
        if !self.begin_sasl(now) {
            self.go_up(now);
        }
        Ok(())
    }

    /// The connection can be used from here on.
    pub(super) fn go_up(&mut self, now: Instant) {
        let Some(session) = &mut self.session else {
            return;
        };
        let (id, timeout, is_read_only) = (session.id, session.timeout, session.is_read_only);
        let resumed = std::mem::replace(&mut session.is_told, true);
        self.link = Link::Up(Up::new(session.asked, now));
        self.taking_over = None;
        self.hosts.accepted(now);
        self.events.push_back(match resumed {
            true => Event::Resumed { timeout, is_read_only },
            false => Event::Opened { id, timeout, is_read_only },
        });
        self.prove_all();
        self.rearm(now);
        if resumed {
            self.tell_gap();
        }
        self.begin_search();
        self.send_waiting(now);
    }

    fn send_waiting(&mut self, now: Instant) {
        self.resume_errands(now);
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Errand(key) if self.holds_back(key) => self.waiting.push_back(Waiting::Errand(key)),
                Waiting::Errand(key) => {
                    // While there was no connection others may have removed the node, and its name been given again.
                    if let Some((errand, _)) = self.errands.get_mut(&key) {
                        errand.lost();
                    }
                    self.send_step(now, key);
                }
                Waiting::Request(request, token, due) => {
                    if let Err((token, error)) = self.send_user(now, request, token, due) {
                        self.answer(token, Err(error));
                    }
                }
            }
        }
    }

    pub(super) fn reply(&mut self, now: Instant, r: &mut Reader<'_>) -> Result<(), LinkError> {
        let header = ReplyHeader::read(r)?;
        match header.xid {
            NOTIFICATION_XID => {
                self.counters.watch_events += 1;
                if let Some(event) = read_event(r)? {
                    self.tell(event);
                }
                return Ok(());
            }
            PING_XID => {
                if let Link::Up(up) = &mut self.link
                    && let Some(sent) = up.ping_sent.take()
                {
                    self.renew_lease(sent);
                }
                return Ok(());
            }
            AUTH_XID => return self.auth_answered(header.err),
            SET_WATCHES_XID if header.err != 0 => {
                return Err(LinkError::NotRearmed { code: header.err });
            }
            SET_WATCHES_XID => return Ok(()),
            _ => {}
        }
        let entry = self.expect(header.xid)?;
        // What a refusal calls the last change is not always one (`-1` for an unknown operation).
        if header.err == 0 && 0 < header.zxid && header.zxid < self.last_zxid {
            return Err(self.history_lost(entry, Zxid(header.zxid)));
        }
        let outcome = match read_reply(entry.opcode, header.err, r) {
            // Most servers hang up without a word; older ones say it of a multi, over and over again (ZOOKEEPER-2886). It is
            // told as what it is elsewhere, a lost connection, and errands go on on the next.
            Ok(Err(Error::Uncertain(SESSION_MOVED))) => {
                self.in_flight.push_front(entry);
                return Err(LinkError::SessionMoved);
            }
            Ok(outcome) => outcome,
            Err(malformed) => {
                match entry.purpose {
                    Purpose::User { token, .. } => {
                        let error = Error::Protocol(malformed.to_string().into());
                        self.answer(token, Err(error));
                    }
                    // Clean-up goes on after the reconnect, as if the reply had been lost.
                    Purpose::Errand(_) | Purpose::Removal => self.in_flight.push_front(entry),
                    Purpose::Unasked | Purpose::Lessening(_) => {}
                }
                return Err(malformed.into());
            }
        };
        // Only here: the events of one change share its zxid, and taking it from the first would lose the others if
        // the connection went in between.
        self.last_zxid = self.last_zxid.max(header.zxid);
        if outcome != Err(Error::SessionExpired) {
            self.renew_lease(entry.sent);
        }
        match entry.purpose {
            Purpose::User { token, watch, .. } => {
                let (watch, stream) = match watch {
                    WatchAsked::Nothing => (None, None),
                    WatchAsked::Once { path, is_covered } => (self.leave_watch(now, path, is_covered, &outcome), None),
                    WatchAsked::Staying(asked) => (None, self.watch_answered(now, asked, &outcome)),
                    WatchAsked::Removal(removal) => {
                        if outcome.is_ok() {
                            self.watches_removed(now, &removal);
                        }
                        (None, None)
                    }
                };
                self.events.push_back(Event::Reply { token, outcome, watch, stream });
            }
            Purpose::Unasked => {}
            Purpose::Removal => self.removal_answered(now, &outcome),
            Purpose::Lessening(path) => self.lessened(now, path, &outcome),
            Purpose::Errand(key) => self.advance_errand(now, key, outcome),
        }
        Ok(())
    }

    /// On one connection the last change only grows, and a server that is behind what the client has seen is to turn it
    /// away in the handshake (`ZooKeeperServer.processConnectRequest`). So what was seen is no more, and what the session
    /// believes stands on it.
    fn history_lost(&mut self, entry: InFlight<T>, answered: Zxid) -> LinkError {
        let seen = Zxid(self.last_zxid);
        self.in_flight.push_front(entry);
        self.link = Link::Down;
        self.lose_session(&Error::HistoryLost { seen, answered });
        LinkError::HistoryLost { seen, answered }
    }

    pub(super) fn expect(&mut self, xid: i32) -> Result<InFlight<T>, LinkError> {
        let expected = self.in_flight.front().map(|entry| entry.xid);
        match self.in_flight.pop_front() {
            Some(entry) if entry.xid == xid => Ok(entry),
            other => {
                // It stays in flight: the disconnect that follows tells it.
                if let Some(entry) = other {
                    self.in_flight.push_front(entry);
                }
                Err(LinkError::OutOfOrder { got: xid, expected })
            }
        }
    }

    pub(super) fn leave_watch(
        &mut self,
        now: Instant,
        path: NodePath,
        was_covered: bool,
        outcome: &Result<Reply, Error>,
    ) -> Option<W> {
        let kind = match outcome {
            Ok(Reply::Exists(None)) => WatchKind::Exists,
            Ok(Reply::Exists(Some(_)) | Reply::Data(..)) => WatchKind::Data,
            Ok(Reply::Children(..)) => WatchKind::Children,
            _ => return None,
        };
        let watch = W::default();
        self.watches.add(kind, path.clone(), watch.clone());
        if was_covered && !self.streams.stand(&path) {
            // The watch that was to tell is gone, or was refused.
            self.rearm_path(now, &path);
        }
        Some(watch)
    }
}
