//! The client machine.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use herdless_core::{
    Error, Exists, GetChildren, GetData, NodePath, Refusal, Reply, Request, SessionId, WatchEvent,
    WatchKind, WatchTable,
};

use super::errand::{Errand, Next};
use super::hosts::Hosts;
use super::link::{Link, LinkError, Up};
use crate::codec::{
    ConnectRequest, ConnectResponse, NOTIFICATION_XID, OpCode, PING_XID, Reader, ReplyHeader,
    SET_WATCHES_XID, SetWatches, Writer, read_event, read_reply, write_ping, write_request,
    write_set_watches,
};
use crate::frame::{self, FrameError, MAX_FRAME};

/// What a client machine is told at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of hosts; the machine names them by their index.
    pub hosts: usize,
    /// The session timeout to ask for.
    pub session_timeout: Duration,
    /// How long a handshake may take.
    pub connect_timeout: Duration,
    /// The longest pause between two dials.
    pub max_backoff: Duration,
    /// How many requests may wait for an answer, clean-up not counted.
    pub max_in_flight: usize,
    /// The largest reply that is read, in bytes.
    pub max_reply: usize,
}

/// What the machine has done, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests sent, pings and handshakes not counted.
    pub requests: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Watch events received.
    pub watch_events: u64,
    /// Handshakes that a server accepted.
    pub connects: u64,
}

/// What the machine wants done, or known. To be taken with [`Machine::poll_event`] after every other call.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver has to deal with each")]
pub enum Event<T, W> {
    /// Drop the stream if there is one; after a random part of `pause`, dial this host. Then call
    /// [`connected`](Machine::connected) or [`disconnected`](Machine::disconnected).
    Dial {
        /// The index of the host.
        host: usize,
        /// The upper bound of the pause.
        pause: Duration,
    },
    /// A server gave the client a new session.
    Opened {
        /// Its id.
        id: SessionId,
        /// The negotiated timeout.
        timeout: Duration,
    },
    /// The session goes on, on a new connection.
    Resumed {
        /// The negotiated timeout, which may be another than before.
        timeout: Duration,
    },
    /// The connection was lost. The session may well live on.
    Suspended,
    /// The session is over.
    Lost,
    /// The client is closed; nothing follows. Drop the stream.
    Closed,
    /// A request has its outcome.
    Reply {
        /// What was given with the request.
        token: T,
        /// The outcome.
        outcome: Result<Reply, Error>,
        /// The watch that was left, if one was asked for.
        watch: Option<W>,
    },
    /// Watches have fired, or ended with their session.
    Fired {
        /// Which.
        watches: Vec<W>,
        /// With what.
        outcome: Result<WatchEvent, Error>,
    },
}

/// The client's end of the protocol.
///
/// `T` is what the caller wants back with a reply. `W` stands for a watch: the machine makes one for each read that
/// leaves a watch, yields it with the reply, keeps a clone, and yields that when the watch fires. It makes it itself,
/// because the event may stand right behind the reply in the same read.
///
/// # Driving it
///
/// After any call, take all events ([`poll_event`](Self::poll_event)), send all bytes ([`transmit`](Self::transmit)),
/// and ask for the next deadline ([`poll_timeout`](Self::poll_timeout)); when it has passed, call
/// [`handle_timeout`](Self::handle_timeout). `now` never goes back.
pub struct Machine<T, W> {
    config: Config,
    hosts: Hosts,
    link: Link,
    session: Option<OpenSession>,
    closing: bool,
    last_zxid: i64,
    last_xid: i32,
    out: BytesMut,
    /// Bytes still to be dropped of a reply that was too large.
    skip: usize,
    in_flight: VecDeque<InFlight<T>>,
    /// Submitted while no connection was up.
    waiting: VecDeque<Waiting<T>>,
    errands: BTreeMap<u64, (Errand, T)>,
    /// Errands whose step was in flight when the connection was lost.
    interrupted: Vec<u64>,
    next_errand: u64,
    watches: WatchTable<W>,
    events: VecDeque<Event<T, W>>,
    counters: Counters,
}

struct OpenSession {
    id: SessionId,
    password: [u8; 16],
    timeout: Duration,
    /// Until when the server must keep the session: the sending of the last answered request + timeout.
    lease: Instant,
}

struct InFlight<T> {
    xid: i32,
    opcode: OpCode,
    sent: Instant,
    purpose: Purpose<T>,
}

enum Purpose<T> {
    User { token: T, watch: Option<NodePath> },
    Errand(u64),
}

enum Waiting<T> {
    Request(Request, T),
    Errand(u64),
}

/// SetWatches goes out in frames of about this many bytes (`ClientCnxn.SET_WATCHES_MAX_LENGTH`).
const SET_WATCHES_BATCH: usize = 128 * 1024;

impl<T, W: Clone + Default> Machine<T, W> {
    /// A client that wants a session. The first event is a [`Event::Dial`].
    pub fn new(config: Config) -> Self {
        let mut machine = Self {
            hosts: Hosts::new(config.hosts),
            link: Link::Down,
            session: None,
            closing: false,
            last_zxid: 0,
            last_xid: 0,
            out: BytesMut::new(),
            skip: 0,
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            errands: BTreeMap::new(),
            interrupted: Vec::new(),
            next_errand: 0,
            watches: WatchTable::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            config,
        };
        machine.dial();
        machine
    }

    /// Gives a request its place. Its outcome comes as an [`Event::Reply`] with `token`.
    ///
    /// # Errors
    ///
    /// The token back, and why the request was not accepted: `Overloaded`, `Closed`, `TooLarge`. Nothing was sent.
    pub fn submit(&mut self, now: Instant, request: Request, token: T) -> Result<(), (T, Error)> {
        if self.closing {
            return Err((token, Error::Closed));
        }
        match Errand::new(request) {
            Ok(errand) => self.start_errand(now, errand, token),
            Err(_) if self.in_flight.len() + self.waiting.len() >= self.config.max_in_flight => {
                return Err((token, Error::Overloaded));
            }
            Err(request) if self.is_up() => return self.send_user(now, request, token),
            Err(request) => self.waiting.push_back(Waiting::Request(request, token)),
        }
        Ok(())
    }

    fn start_errand(&mut self, now: Instant, errand: Errand, token: T) {
        self.closing = errand.is_close();
        self.next_errand += 1;
        let key = self.next_errand;
        self.errands.insert(key, (errand, token));
        if self.is_up() {
            self.send_step(now, key);
        } else {
            self.waiting.push_back(Waiting::Errand(key));
        }
        if self.closing && self.session.is_none() {
            self.finish();
        }
    }

    /// A stream to the dialled host is open: the handshake is written.
    pub fn connected(&mut self, now: Instant) {
        self.out.clear();
        self.skip = 0;
        let session = self.session.as_ref();
        let request = ConnectRequest {
            last_zxid_seen: self.last_zxid,
            timeout_ms: i32::try_from(self.config.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: session.map_or(0, |session| session.id.0),
            password: session.map_or([0; 16], |session| session.password),
            read_only: Some(false),
        };
        self.write_frame(|w| request.write(w));
        self.link = Link::Handshake { sent: now };
    }

    /// The dial failed, or the stream is gone. Requests in flight are told; errands go on on the next connection.
    pub fn disconnected(&mut self, now: Instant) {
        if matches!(self.link, Link::Closed) {
            return;
        }
        if self.is_up() {
            self.events.push_back(Event::Suspended);
        }
        self.link = Link::Down;
        self.out.clear();
        for entry in std::mem::take(&mut self.in_flight) {
            match entry.purpose {
                Purpose::User { token, .. } => self.answer(token, Err(Error::ConnectionLost), None),
                Purpose::Errand(key) => {
                    if let Some((errand, _)) = self.errands.get_mut(&key) {
                        errand.lost();
                        self.interrupted.push(key);
                    }
                }
            }
        }
        self.check_lease(now);
        self.dial();
    }

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
                Err(error) => match self.oversized(error, buffer)? {
                    true => continue,
                    false => return Ok(()),
                },
            };
            let frame = buffer.split_to(4 + length);
            self.counters.bytes_in += frame.len() as u64;
            let mut reader = Reader::new(&frame[4..]);
            match self.link {
                Link::Handshake { sent } => {
                    let response = ConnectResponse::read(&mut reader)?;
                    self.handshake_answered(now, sent, &response);
                }
                _ => self.reply(now, &mut reader)?,
            }
        }
    }

    /// A reply that is too large is that one request's error. Whether its header was there; its body is skipped.
    fn oversized(&mut self, error: FrameError, buffer: &mut BytesMut) -> Result<bool, LinkError> {
        let (Ok(length), Link::Up(_)) = (usize::try_from(error.length), self.link) else {
            return Err(error.into());
        };
        let Some(header) = buffer.get(4..20) else {
            return Ok(false);
        };
        let header = ReplyHeader::read(&mut Reader::new(header))?;
        let entry = self.expect(header.xid)?;
        let error = Error::TooLarge {
            what: "reply",
            length,
            limit: error.limit,
        };
        match entry.purpose {
            Purpose::User { token, .. } => self.answer(token, Err(error), None),
            Purpose::Errand(key) => self.end_errand(key, Err(error)),
        }
        buffer.advance(4);
        self.skip = length;
        Ok(true)
    }

    fn handshake_answered(&mut self, now: Instant, sent: Instant, response: &ConnectResponse) {
        let id = SessionId(response.session_id);
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.id != id || response.timeout_ms <= 0)
        {
            // Another session than the one asked for is an expiry too, whatever the server calls it.
            self.lose_session();
        }
        let Ok(timeout @ 1..) = u64::try_from(response.timeout_ms) else {
            self.link = Link::Down;
            self.dial();
            return;
        };
        if matches!(self.link, Link::Closed) {
            return;
        }
        let timeout = Duration::from_millis(timeout);
        let resumed = self.session.is_some();
        self.session = Some(OpenSession {
            id,
            password: response.password,
            timeout,
            lease: sent + timeout,
        });
        self.link = Link::Up(Up::new(now));
        self.hosts.accepted();
        self.counters.connects += 1;
        self.events.push_back(if resumed {
            Event::Resumed { timeout }
        } else {
            Event::Opened { id, timeout }
        });
        self.rearm();
        for key in std::mem::take(&mut self.interrupted) {
            self.send_step(now, key);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Errand(key) => self.send_step(now, key),
                Waiting::Request(request, token) => {
                    if let Err((token, error)) = self.send_user(now, request, token) {
                        self.answer(token, Err(error), None);
                    }
                }
            }
        }
    }

    /// Sends the watches again that the last connection took with it. They go first: what has changed meanwhile fires
    /// before any reply that could reflect it.
    fn rearm(&mut self) {
        let kinds = [WatchKind::Data, WatchKind::Exists, WatchKind::Children];
        let all: Vec<_> = kinds
            .iter()
            .flat_map(|&kind| {
                self.watches
                    .paths(kind)
                    .map(move |path| (kind, path.clone()))
            })
            .collect();
        let mut batch = SetWatches {
            relative_zxid: self.last_zxid,
            ..SetWatches::default()
        };
        let mut length = 0;
        for (kind, path) in all {
            length += 4 + path.as_str().len();
            match kind {
                WatchKind::Data => &mut batch.data,
                WatchKind::Exists => &mut batch.exists,
                WatchKind::Children => &mut batch.children,
            }
            .push(path);
            if length >= SET_WATCHES_BATCH {
                self.send_set_watches(&batch);
                batch = SetWatches {
                    relative_zxid: self.last_zxid,
                    ..SetWatches::default()
                };
                length = 0;
            }
        }
        if length > 0 {
            self.send_set_watches(&batch);
        }
    }

    fn send_set_watches(&mut self, batch: &SetWatches) {
        self.counters.requests += 1;
        self.write_frame(|w| write_set_watches(w, batch));
    }

    fn reply(&mut self, now: Instant, r: &mut Reader<'_>) -> Result<(), LinkError> {
        let header = ReplyHeader::read(r)?;
        match header.xid {
            NOTIFICATION_XID => {
                self.counters.watch_events += 1;
                if let Some(event) = read_event(r)? {
                    let watches = self.watches.fire(&event);
                    self.events.push_back(Event::Fired {
                        watches,
                        outcome: Ok(event),
                    });
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
            SET_WATCHES_XID => return Ok(()),
            _ => {}
        }
        let entry = self.expect(header.xid)?;
        // Only here: the events of one change share its zxid, and taking it from the first would lose the others if
        // the connection went in between.
        self.last_zxid = self.last_zxid.max(header.zxid);
        self.renew_lease(entry.sent);
        let outcome = read_reply(entry.opcode, header.err, r)?;
        match entry.purpose {
            Purpose::User { token, watch } => {
                let watch = watch.and_then(|path| self.leave_watch(path, &outcome));
                self.answer(token, outcome, watch);
            }
            Purpose::Errand(key) => self.advance_errand(now, key, outcome),
        }
        Ok(())
    }

    fn expect(&mut self, xid: i32) -> Result<InFlight<T>, LinkError> {
        match self.in_flight.pop_front() {
            Some(entry) if entry.xid == xid => Ok(entry),
            other => {
                let expected = other.as_ref().map(|entry| entry.xid);
                self.in_flight.extend(other);
                self.in_flight.rotate_right(usize::from(expected.is_some()));
                Err(LinkError::OutOfOrder { got: xid, expected })
            }
        }
    }

    fn leave_watch(&mut self, path: NodePath, outcome: &Result<Reply, Error>) -> Option<W> {
        let kind = match outcome {
            Ok(Reply::Exists(None)) => WatchKind::Exists,
            Ok(Reply::Exists(Some(_)) | Reply::Data(..)) => WatchKind::Data,
            Ok(Reply::Children(..)) => WatchKind::Children,
            _ => return None,
        };
        let watch = W::default();
        self.watches.add(kind, path, watch.clone());
        Some(watch)
    }

    fn advance_errand(&mut self, now: Instant, key: u64, outcome: Result<Reply, Error>) {
        let Some(session) = self.session.as_ref().map(|session| session.id) else {
            return;
        };
        let Some((errand, _)) = self.errands.get_mut(&key) else {
            return;
        };
        match errand.advance(session, outcome) {
            Next::Step => self.send_step(now, key),
            Next::Done(outcome) => self.end_errand(key, outcome),
        }
    }

    fn end_errand(&mut self, key: u64, outcome: Result<Reply, Error>) {
        let Some((errand, token)) = self.errands.remove(&key) else {
            return;
        };
        if errand.is_close() {
            self.answer(token, outcome, None);
            self.finish();
        } else {
            self.answer(token, outcome, None);
        }
    }

    fn send_step(&mut self, now: Instant, key: u64) {
        let Some((errand, _)) = self.errands.get(&key) else {
            return;
        };
        let current = self.session.as_ref().map(|session| session.id);
        if errand
            .session()
            .is_some_and(|session| Some(session) != current)
        {
            return self.end_errand(key, Err(Error::SessionExpired));
        }
        match self.send(now, &errand.request()) {
            Ok((xid, opcode)) => {
                self.in_flight.push_back(InFlight {
                    xid,
                    opcode,
                    sent: now,
                    purpose: Purpose::Errand(key),
                });
            }
            Err(error) => self.end_errand(key, Err(error)),
        }
    }

    fn send_user(&mut self, now: Instant, request: Request, token: T) -> Result<(), (T, Error)> {
        match self.send(now, &request) {
            Ok((xid, opcode)) => {
                let watch = watched_path(request);
                self.in_flight.push_back(InFlight {
                    xid,
                    opcode,
                    sent: now,
                    purpose: Purpose::User { token, watch },
                });
                Ok(())
            }
            Err(error) => Err((token, error)),
        }
    }

    fn send(&mut self, now: Instant, request: &Request) -> Result<(i32, OpCode), Error> {
        let xid = if self.last_xid == i32::MAX {
            1
        } else {
            self.last_xid + 1
        };
        let mut writer = Writer::frame(&mut self.out);
        let Some(opcode) = write_request(&mut writer, xid, request) else {
            writer.abort();
            return Err(Refusal::Unimplemented.into());
        };
        let length = writer.len();
        if length > MAX_FRAME {
            // The server would drop the connection, and every other request with it.
            writer.abort();
            return Err(Error::TooLarge {
                what: "request",
                length,
                limit: MAX_FRAME,
            });
        }
        writer.finish();
        self.last_xid = xid;
        self.counters.requests += 1;
        self.counters.bytes_out += 4 + length as u64;
        if let Link::Up(up) = &mut self.link {
            up.last_sent = now;
        }
        Ok((xid, opcode))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due. It changes with every other call; a deadline that was
    /// given earlier and is now too early does no harm.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (&self.link, &self.session) {
            (Link::Up(up), Some(session)) => {
                let dead = up.dead_at(session.timeout);
                Some(
                    up.ping_at(session.timeout)
                        .map_or(dead, |ping| ping.min(dead)),
                )
            }
            (Link::Handshake { sent }, session) => {
                let late = *sent + self.config.connect_timeout;
                Some(
                    session
                        .as_ref()
                        .map_or(late, |session| session.lease.min(late)),
                )
            }
            (Link::Down, Some(session)) => Some(session.lease),
            _ => None,
        }
    }

    /// Does what is due: a ping, the end of a connection that is silent, the end of a session that no server has
    /// confirmed in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        match (&mut self.link, &self.session) {
            (Link::Up(up), Some(session)) if now >= up.dead_at(session.timeout) => {
                self.disconnected(now)
            }
            (Link::Up(up), Some(session))
                if up.ping_at(session.timeout).is_some_and(|ping| now >= ping) =>
            {
                up.ping_sent = Some(now);
                up.last_sent = now;
                self.write_frame(write_ping);
            }
            (Link::Handshake { sent }, _) if now >= *sent + self.config.connect_timeout => {
                self.disconnected(now)
            }
            (Link::Handshake { .. } | Link::Down, Some(session)) if now >= session.lease => {
                // A handshake under way asks for the session that is given up here, so it is given up too.
                let redial = matches!(self.link, Link::Handshake { .. });
                self.lose_session();
                if redial && !matches!(self.link, Link::Closed) {
                    self.link = Link::Down;
                    self.dial();
                }
            }
            _ => {}
        }
    }

    /// Until when the server must keep the current session.
    pub fn lease(&self) -> Option<Instant> {
        self.session.as_ref().map(|session| session.lease)
    }

    /// What is to be done or known next.
    pub fn poll_event(&mut self) -> Option<Event<T, W>> {
        self.events.pop_front()
    }

    /// The bytes to send; the caller takes out what it has sent. Empty while no stream is open.
    pub fn transmit(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// What the machine has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Forgets watches that nobody waits for, so that they are not re-armed. The server keeps them until they fire.
    pub fn retain_watches(&mut self, keep: impl Fn(&W) -> bool) {
        self.watches.retain(keep);
    }

    fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    fn dial(&mut self) {
        if self.closing && self.session.is_none() {
            return self.finish();
        }
        let (host, pause) = self.hosts.next(self.config.max_backoff);
        self.events.push_back(Event::Dial { host, pause });
    }

    fn renew_lease(&mut self, sent: Instant) {
        if let Some(session) = &mut self.session {
            session.lease = session.lease.max(sent + session.timeout);
        }
    }

    fn check_lease(&mut self, now: Instant) {
        if self
            .session
            .as_ref()
            .is_some_and(|session| now >= session.lease)
        {
            self.lose_session();
        }
    }

    /// Everything that was bound to the session is told, once. What is submitted from here on is for the next one.
    fn lose_session(&mut self) {
        self.session = None;
        self.events.push_back(Event::Lost);
        self.fail_all(&Error::SessionExpired);
        if self.closing {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if matches!(self.link, Link::Closed) {
            return;
        }
        self.link = Link::Closed;
        self.out.clear();
        if self.session.take().is_some() {
            self.events.push_back(Event::Lost);
        }
        self.fail_all(&Error::Closed);
        self.events.push_back(Event::Closed);
    }

    fn fail_all(&mut self, error: &Error) {
        let watches = self.watches.drain();
        if !watches.is_empty() {
            self.events.push_back(Event::Fired {
                watches,
                outcome: Err(error.clone()),
            });
        }
        self.interrupted.clear();
        for entry in std::mem::take(&mut self.in_flight) {
            if let Purpose::User { token, .. } = entry.purpose {
                self.answer(token, Err(error.clone()), None);
            }
        }
        for waiting in std::mem::take(&mut self.waiting) {
            if let Waiting::Request(_, token) = waiting {
                self.answer(token, Err(error.clone()), None);
            }
        }
        for (errand, token) in std::mem::take(&mut self.errands).into_values() {
            // A session that is over is what a close asks for.
            let outcome = if errand.is_close() {
                Ok(Reply::Closed)
            } else {
                Err(error.clone())
            };
            self.answer(token, outcome, None);
        }
    }

    fn answer(&mut self, token: T, outcome: Result<Reply, Error>, watch: Option<W>) {
        self.events.push_back(Event::Reply {
            token,
            outcome,
            watch,
        });
    }

    fn write_frame(&mut self, fill: impl FnOnce(&mut Writer<'_>)) {
        let mut writer = Writer::frame(&mut self.out);
        fill(&mut writer);
        self.counters.bytes_out += 4 + writer.len() as u64;
        writer.finish();
    }
}

fn watched_path(request: Request) -> Option<NodePath> {
    match request {
        Request::Exists(Exists { path, watch: true })
        | Request::GetData(GetData { path, watch: true })
        | Request::GetChildren(GetChildren { path, watch: true }) => Some(path),
        _ => None,
    }
}

// The session's password must not reach a log.
impl<T, W> fmt::Debug for Machine<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("link", &self.link)
            .field("session", &self.session.as_ref().map(|session| session.id))
            .field("in_flight", &self.in_flight.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}
