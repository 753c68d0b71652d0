//! The client machine.

mod deadline;
mod identity;
mod read_only;
mod receive;
mod removals;
mod resumption;
mod sasl;
mod send;
mod streams;
mod takeover;
mod timeout;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use herdless_core::{Error, NodePath, RemoveWatches, Reply, Request, SessionId, WatchTable};

use super::credentials::{Password, SessionCredentials};
use super::errand::Errand;
use super::event::{Config, Counters, Event};
use super::hosts::Hosts;
use super::link::Link;
use crate::codec::{ConnectRequest, OpCode};
use identity::Identities;
use read_only::Search;
use removals::Removals;
use resumption::Resumption;
use sasl::Sasl;
use streams::{Asked, Streams};

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
    /// The session that the first server is to confirm.
    taking_over: Option<SessionCredentials>,
    search: Search,
    closing: bool,
    /// What is told to those who come when it is closing.
    end: Error,
    identities: Identities<T>,
    sasl: Sasl,
    last_zxid: i64,
    last_xid: i32,
    out: BytesMut,
    /// How many of the requests in flight are still in `out`.
    unsent: usize,
    /// Whether something in `out` is not to wait for company.
    is_urgent: bool,
    /// Bytes still to be dropped of a reply that was too large.
    skip: usize,
    in_flight: VecDeque<InFlight<T>>,
    /// Submitted while no connection was up.
    waiting: VecDeque<Waiting<T>>,
    /// When to look for requests that have waited for too long; at the latest when the next one has.
    overdue_at: Option<Instant>,
    errands: BTreeMap<u64, (Errand, T)>,
    resumption: Resumption,
    next_errand: u64,
    /// Whether the servers are thought to know GetEphemerals.
    lists_ephemerals: bool,
    watches: WatchTable<W>,
    removals: Removals,
    streams: Streams,
    events: VecDeque<Event<T, W>>,
    counters: Counters,
}

struct OpenSession {
    id: SessionId,
    password: Password,
    timeout: Duration,
    /// Until when the server that answered must keep the session: the sending of the last answered request + timeout.
    lease: Instant,
    /// Whether an event has told of it, which is once it can be used.
    is_told: bool,
    /// Whether a read-only server has opened it: no other knows it, and that one gives it to no second connection.
    is_local: bool,
    /// When the current connection has asked for it, and whether its server is read-only.
    asked: Instant,
    is_read_only: bool,
}

struct InFlight<T> {
    xid: i32,
    opcode: OpCode,
    sent: Instant,
    purpose: Purpose<T>,
}

enum Purpose<T> {
    User {
        token: T,
        watch: WatchAsked,
        /// When it has waited for too long, unless that was told already.
        due: Option<Instant>,
    },
    Errand(u64),
    /// The machine's own, whose outcome changes nothing.
    Unasked,
    /// The machine's own: a watch that nobody waits for.
    Removal,
    /// The machine's own: a watch of the node alone in place of one of all below it.
    Lessening(NodePath),
}

/// What is to be done about watches when a reply is there.
enum WatchAsked {
    Nothing,
    /// A read leaves one; by the server's book it does, unless that had one that stays.
    Once {
        path: NodePath,
        is_covered: bool,
    },
    Staying(Asked),
    Removal(RemoveWatches),
}

enum Waiting<T> {
    Request(Request, T, Option<Instant>),
    Errand(u64),
}

/// With fewer requests than this on the wire, nothing waits for company.
const MANY: usize = 16;

impl<T, W: Clone + Default> Machine<T, W> {
    /// A client that wants a session. The first event is a [`Event::Dial`].
    pub fn new(config: Config) -> Self {
        let mut machine = Self {
            hosts: Hosts::new(config.hosts),
            link: Link::Down,
            session: None,
            taking_over: None,
            search: Search::default(),
            closing: false,
            end: Error::Closed,
            identities: Identities::default(),
            sasl: Sasl::default(),
            last_zxid: 0,
            last_xid: 0,
            out: BytesMut::new(),
            unsent: 0,
            is_urgent: false,
            skip: 0,
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            overdue_at: None,
            errands: BTreeMap::new(),
            resumption: Resumption::default(),
            next_errand: 0,
            lists_ephemerals: true,
            watches: WatchTable::default(),
            removals: Removals::default(),
            streams: Streams::default(),
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
    /// The token back, and why the request was not accepted: `Overloaded`, `Closed`, `TooLarge`, or `SessionExpired` where
    /// it is meant for a session that the client does not have any more. Nothing was sent.
    pub fn submit(&mut self, now: Instant, request: Request, token: T) -> Result<(), (T, Error)> {
        if self.closing {
            return Err((token, self.end.clone()));
        }
        if self.is_of_another_session(&request) {
            return Err((token, Error::SessionExpired));
        }
        match Errand::new(request) {
            Ok(errand) => self.start_errand(now, errand, token),
            Err(_) if self.ordinary() >= self.config.max_in_flight => {
                return Err((token, Error::Overloaded));
            }
            Err(Request::Auth(auth)) => return self.prove(auth, token),
            Err(request) => {
                let due = self.due(now);
                if self.is_up() {
                    return self.send_user(now, request, token, due);
                }
                self.waiting.push_back(Waiting::Request(request, token, due));
            }
        }
        Ok(())
    }

    /// No session comes back, so there is nothing to wait for.
    fn is_of_another_session(&self, request: &Request) -> bool {
        let current = self.session.as_ref().map(|session| session.id);
        request.session().is_some_and(|session| Some(session) != current)
    }

    /// How many requests wait for an answer that are not clean-up: each errand stands in exactly one of the three, and each
    /// removal in the first.
    fn ordinary(&self) -> usize {
        let errands_included = self.in_flight.len() + self.waiting.len() + self.resumption.len();
        errands_included - self.errands.len() - self.removals.in_flight() + self.identities.waiting()
    }

    fn start_errand(&mut self, now: Instant, errand: Errand, token: T) {
        self.closing = errand.is_close();
        self.next_errand += 1;
        let key = self.next_errand;
        self.errands.insert(key, (errand, token));
        if self.is_up() && !self.holds_back(key) {
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
        if matches!(self.link, Link::Closed) {
            return;
        }
        self.out.clear();
        self.skip = 0;
        let known = self.session.as_ref().map(|session| (session.id.0, *session.password));
        let wanted = self.taking_over.as_ref().map(|wanted| (wanted.id.0, *wanted.password));
        let (session_id, password) = known.or(wanted).unwrap_or_default();
        let request = ConnectRequest {
            last_zxid_seen: self.last_zxid,
            timeout_ms: i32::try_from(self.config.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id,
            password,
            read_only: Some(self.does_with_read_only()),
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
        let was_read_only = self.is_read_only();
        self.link = Link::Down;
        if self.hosts.disconnected(now, self.config.max_backoff) && !was_read_only {
            self.search = Search::default();
        }
        self.identities.disconnected();
        self.sasl.disconnected();
        self.streams.disconnected();
        self.resumption.disconnected();
        self.search.disconnected();
        self.removals.disconnected();
        for entry in std::mem::take(&mut self.in_flight) {
            match entry.purpose {
                Purpose::User { token, .. } => self.answer(token, Err(Error::ConnectionLost)),
                Purpose::Errand(key) => {
                    if let Some((errand, _)) = self.errands.get_mut(&key) {
                        errand.lost();
                        self.resumption.interrupted(key);
                    }
                }
                Purpose::Unasked | Purpose::Removal | Purpose::Lessening(_) => {}
            }
        }
        self.check_lease(now);
        self.dial();
    }

    /// The hosts are others from now on: `kept` tells of each which of the present ones it is. From `random`, drawn by the
    /// caller from all numbers, the client decides whether it leaves its server, so that all clients spread evenly over the
    /// new list: the rule of ZooKeeper's client (`StaticHostProvider.updateServerList`). It stays where it can. An empty
    /// list changes nothing.
    pub fn update_hosts(&mut self, now: Instant, kept: &[Option<usize>], random: u64) {
        if kept.is_empty() || matches!(self.link, Link::Closed) {
            return;
        }
        if !self.hosts.update(kept, random) {
            // A search under way asks a host by its old number.
            if self.is_read_only() {
                self.begin_search();
            }
            return;
        }
        match self.link {
            Link::Up(_) | Link::Handshake { .. } => self.disconnected(now),
            // The host that is being dialled is none any more.
            Link::Down | Link::Closed => self.dial(),
        }
    }

    /// Whether one more request would be accepted.
    ///
    /// # Errors
    ///
    /// Nothing is accepted any more, for this reason.
    pub fn has_room(&self) -> Result<bool, Error> {
        match self.closing {
            true => Err(self.end.clone()),
            false => Ok(self.ordinary() < self.config.max_in_flight),
        }
    }

    /// Until when the server must keep the current session.
    pub fn lease(&self) -> Option<Instant> {
        self.session.as_ref().filter(|session| session.is_told).map(|session| session.lease)
    }

    /// What is to be done or known next.
    pub fn poll_event(&mut self) -> Option<Event<T, W>> {
        self.events.pop_front()
    }

    /// As [`poll_event`](Self::poll_event), all of them at once, into an empty queue.
    pub fn swap_events(&mut self, events: &mut VecDeque<Event<T, W>>) {
        if events.is_empty() {
            std::mem::swap(&mut self.events, events);
        } else {
            events.append(&mut self.events);
        }
    }

    /// Ends the client at once, without a word to the server: whoever waits is told `Closed`, and of what was sent, and may
    /// have happened, `ConnectionLost`.
    pub fn abort(&mut self) {
        self.closing = true;
        self.finish();
    }

    /// The bytes to send; the caller takes out what it has sent. Empty while no stream is open.
    pub fn transmit(&mut self) -> &mut BytesMut {
        (self.unsent, self.is_urgent) = (0, false);
        &mut self.out
    }

    /// Whether the bytes to send may wait for more: many requests are on the wire already, and few are to follow.
    ///
    /// The server works off what is on the wire in order, so these few would wait there as long; and its replies are due,
    /// so there will be another occasion. Meanwhile a stream of requests goes out in a fraction of the system calls.
    pub fn may_wait(&self) -> bool {
        let on_the_wire = self.in_flight.len().saturating_sub(self.unsent);
        !self.is_urgent && on_the_wire >= MANY && self.unsent * 4 < on_the_wire
    }

    /// What the machine has done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    fn dial(&mut self) {
        if self.closing && self.session.is_none() {
            return self.finish();
        }
        self.out.clear();
        let patience = self.session.as_ref().map(|session| session.timeout / 6);
        let cap = patience.map_or(self.config.max_backoff, |patience| patience.min(self.config.max_backoff));
        let (host, pause) = self.hosts.next(cap);
        self.events.push_back(Event::Dial { host, pause });
    }

    /// A request that was sent then has an answer.
    fn renew_lease(&mut self, sent: Instant) {
        if let (Link::Up(up), Some(session)) = (&mut self.link, &mut self.session) {
            up.confirmed = up.confirmed.max(sent);
            // Those who decide whether a session lives do not hear of it through a server without a majority.
            if session.is_local || !session.is_read_only {
                session.lease = session.lease.max(sent + session.timeout);
            }
        }
    }

    fn check_lease(&mut self, now: Instant) {
        if self.session.as_ref().is_some_and(|session| session.is_local || now >= session.lease) {
            self.lose_session(&Error::SessionExpired);
        }
    }

    /// Everything that was bound to the session is told, once. What is submitted from here on is for the next one.
    fn lose_session(&mut self, error: &Error) {
        // With one that nobody could use nothing is lost, and those who wait are waiting for the first they can.
        if self.session.take().is_some_and(|session| session.is_told) {
            // What was seen is bound to the session, too: a server that has lost its data may still open a new one.
            self.last_zxid = 0;
            self.events.push_back(Event::Lost);
            self.fail_all(error);
        }
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
        if self.session.take().is_some_and(|session| session.is_told) {
            self.events.push_back(Event::Lost);
        }
        let cause = self.end.clone();
        for token in self.identities.drain() {
            self.answer(token, Err(cause.clone()));
        }
        self.fail_all(&cause);
        self.events.push_back(Event::Closed { cause });
    }

    /// Answers everything. What was sent already may have happened, which the end of a session says too, and that of the client
    /// does not.
    fn fail_all(&mut self, error: &Error) {
        let of_sent = match error {
            Error::SessionExpired | Error::HistoryLost { .. } => error.clone(),
            _ => Error::ConnectionLost,
        };
        let watches = self.watches.drain();
        if !watches.is_empty() {
            self.events.push_back(Event::Fired { watches, outcome: Err(error.clone()) });
        }
        self.end_streams(error);
        self.resumption = Resumption::default();
        self.removals.disconnected();
        for entry in std::mem::take(&mut self.in_flight) {
            if let Purpose::User { token, .. } = entry.purpose {
                self.answer(token, Err(of_sent.clone()));
            }
        }
        let mut unsent = BTreeSet::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Request(_, token, _) => self.answer(token, Err(error.clone())),
                Waiting::Errand(key) => {
                    unsent.insert(key);
                }
            }
        }
        for (key, (errand, token)) in std::mem::take(&mut self.errands) {
            let outcome = if errand.is_close() {
                // A session that is over is what a close asks for.
                Ok(Reply::Closed)
            } else if unsent.contains(&key) {
                Err(error.clone())
            } else {
                // A step of it is on its way, or was when a connection was lost.
                Err(of_sent.clone())
            };
            self.answer(token, outcome);
        }
    }

    fn answer(&mut self, token: T, outcome: Result<Reply, Error>) {
        self.events.push_back(Event::Reply { token, outcome, watch: None, stream: None });
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

#[cfg(test)]
mod tests;
