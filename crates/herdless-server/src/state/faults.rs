//! What is to go wrong on purpose.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use bytes::BytesMut;
use herdless_core::{Request, SessionId};
use herdless_proto::server::Ticket;
use tokio::time::Instant;

use super::{Link, Output, State, Wakers};

/// The faults that are on.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) refuses_connections: bool,
    /// Every connection, those to come too.
    freezes_all: bool,
    delay: Duration,
    losses: BTreeMap<SessionId, Loss>,
}

/// What is lost together with its connection.
pub(crate) struct Loss {
    pub(crate) lost: Lost,
    /// The first request that this holds for.
    pub(crate) is_meant: Box<dyn FnMut(&Request) -> bool + Send>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is never carried out.
    Request,
    /// It is carried out.
    Reply,
}

impl fmt::Debug for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loss").field(&self.lost).finish()
    }
}

/// What a connection has to suffer.
#[derive(Debug, Default)]
pub(super) struct Suffering {
    /// Frozen as the connection of this session.
    frozen: Option<SessionId>,
    /// What is sent later, each part with the time when it could have been.
    late: VecDeque<(Instant, BytesMut)>,
    late_bytes: usize,
}

/// Beyond this many bytes that are sent later, nothing more is read from a client.
const MAX_LATE: usize = 1 << 20;
/// A year, which no clock runs over.
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 3600);
/// No connection has it.
const NO_LINK: u64 = 0;

impl Suffering {
    /// How many bytes are sent later.
    pub(super) fn late(&self) -> usize {
        self.late_bytes
    }
}

impl Rules {
    /// Whether nothing is read from this connection nor sent to it.
    pub(super) fn freezes(&self, link: &Link) -> bool {
        self.freezes_all || link.suffering.frozen.is_some()
    }

    /// Whether there is something to keep, or something kept, for a while.
    pub(super) fn delays(&self, link: &Link) -> bool {
        !self.delay.is_zero() || !link.suffering.late.is_empty()
    }

    /// Moves into `out`, which is empty, what is due: `at_once` all of what is on disk. Until when to wait for more, if there is
    /// more.
    pub(super) fn take_due(&self, link: &mut Link, durable: i64, at_once: bool, out: &mut BytesMut) -> Option<Output> {
        let now = Instant::now();
        let delay = if at_once { Duration::ZERO } else { self.delay };
        let suffering = &mut link.suffering;
        // What does not fit stays where it is counted against the limit for slow readers.
        if suffering.late_bytes <= MAX_LATE {
            let mut part = BytesMut::new();
            link.held.release(durable, link.machine.transmit(), &mut part);
            suffering.late_bytes += part.len();
            suffering.late.extend((!part.is_empty()).then_some((now, part)));
        }
        while let Some((made, part)) = suffering.late.front() {
            let at = *made + delay;
            if at > now {
                let may_read = suffering.late_bytes <= MAX_LATE;
                return out.is_empty().then_some(Output::Until { at, may_read });
            }
            suffering.late_bytes -= part.len();
            out.extend_from_slice(part);
            suffering.late.pop_front();
        }
        None
    }
}

impl State {
    pub(crate) fn refuses_connections(&self) -> bool {
        self.rules.refuses_connections
    }

    pub(crate) fn is_frozen(&self, id: u64) -> bool {
        !self.is_closing && self.links.get(&id).is_some_and(|link| self.rules.freezes(link))
    }

    pub(crate) fn refuse_connections(&mut self, refuse: bool) {
        self.rules.refuses_connections = refuse;
    }

    /// The open sessions, each with whether it has a connection.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (SessionId, bool)> {
        self.sessions.iter().map(|(id, record)| (*id, record.link.is_some()))
    }

    fn link_of(&self, session: SessionId) -> Option<u64> {
        self.sessions.get(&session).and_then(|record| record.link)
    }

    /// Ends a session as if it had not been heard of for too long. Whether it has.
    pub(crate) fn expire_now(&mut self, session: SessionId) -> (bool, Wakers) {
        let mut wakers = Wakers::default();
        if self.is_read_only() || !self.sessions.contains_key(&session) {
            return (false, wakers);
        }
        self.end_session(session, &mut wakers);
        self.note_changes(&mut wakers);
        (true, wakers)
    }

    /// Cuts a session's connection, with all that was not sent. Whether it had one.
    pub(crate) fn disconnect(&mut self, session: SessionId) -> (bool, Wakers) {
        let mut wakers = Wakers::default();
        let link = self.link_of(session);
        if let Some(id) = link {
            self.sever(id, &mut wakers);
        }
        (link.is_some(), wakers)
    }

    /// Cuts every connection; how many there were.
    pub(crate) fn disconnect_all(&mut self) -> (usize, Wakers) {
        let mut wakers = Wakers::default();
        let links: Vec<_> = self.links.keys().copied().collect();
        links.iter().for_each(|id| self.sever(*id, &mut wakers));
        (links.len(), wakers)
    }

    fn sever(&mut self, id: u64, wakers: &mut Wakers) {
        self.close_later(id, wakers);
        self.close_link(id);
    }

    /// Freezes a session's connection. Whether it has one.
    pub(crate) fn freeze(&mut self, session: SessionId) -> bool {
        let link = self.link_of(session).and_then(|id| self.links.get_mut(&id));
        link.map(|link| link.suffering.frozen = Some(session)).is_some()
    }

    pub(crate) fn freeze_all(&mut self) {
        self.rules.freezes_all = true;
    }

    /// Thaws the connections that were frozen as this session's.
    pub(crate) fn thaw(&mut self, session: SessionId) -> Wakers {
        self.thaw_if(|frozen| frozen == session)
    }

    pub(crate) fn thaw_all(&mut self) -> Wakers {
        self.rules.freezes_all = false;
        self.thaw_if(|_| true)
    }

    fn thaw_if(&mut self, is_meant: impl Fn(SessionId) -> bool) -> Wakers {
        for link in self.links.values_mut() {
            link.suffering.frozen = link.suffering.frozen.filter(|session| !is_meant(*session));
        }
        self.all_wakers()
    }

    pub(crate) fn delay(&mut self, delay: Duration) -> Wakers {
        self.rules.delay = delay.min(LONGEST_DELAY);
        self.all_wakers()
    }

    fn all_wakers(&mut self) -> Wakers {
        let mut wakers = Wakers::default();
        wakers.0.extend(self.links.values_mut().filter_map(|link| link.waker.take()));
        wakers
    }

    /// Whether there is such a session.
    pub(crate) fn lose(&mut self, session: SessionId, loss: Loss) -> bool {
        let is_open = self.sessions.contains_key(&session);
        if is_open {
            self.rules.losses.insert(session, loss);
        }
        is_open
    }

    pub(crate) fn lose_nothing(&mut self) {
        self.rules.losses.clear();
    }

    /// Whether this request, or its reply, was lost, and its connection with it. What was sent before is not.
    pub(super) fn is_lost(
        &mut self,
        id: u64,
        session: SessionId,
        ticket: &Ticket,
        request: &Request,
        now_ms: i64,
        wakers: &mut Wakers,
    ) -> bool {
        let is_meant = |loss: &mut Loss| (loss.is_meant)(request);
        if self.rules.losses.is_empty() || !self.rules.losses.get_mut(&session).is_some_and(is_meant) {
            return false;
        }
        // From now on nothing more is written for the client, nor read from it. Its identities go last.
        if let Some(link) = self.links.get_mut(&id) {
            link.session = None;
        }
        if let Some(record) = self.sessions.get_mut(&session) {
            record.link = None;
            record.last_heard = Instant::now();
        }
        let lost = self.rules.losses.remove(&session).map(|loss| loss.lost);
        if lost == Some(Lost::Reply) {
            self.request(NO_LINK, session, ticket, request, now_ms, wakers);
        }
        self.tree.disconnect(session);
        self.close_later(id, wakers);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use herdless_core::Mutex;
    use herdless_proto::codec::{ConnectRequest, Writer};

    use super::*;
    use crate::limits::Limits;
    use crate::state::requests::Received;
    use crate::state::{Settings, Shared};

    fn shared() -> Shared {
        let settings = Settings {
            port: 0,
            session_timeouts: Duration::from_secs(1)..=Duration::from_secs(40),
            limits: Limits::default(),
            allow_ttl: false,
            has_tls: false,
            enforce_quotas: false,
            words: BTreeSet::new(),
        };
        Shared::new(settings, Duration::from_secs(1), None)
    }

    fn frame(write: impl FnOnce(&mut Writer<'_>)) -> BytesMut {
        let mut bytes = BytesMut::new();
        let mut writer = Writer::frame(&mut bytes);
        write(&mut writer);
        writer.finish();
        bytes
    }

    fn handshake() -> BytesMut {
        let timeout_ms = 10_000;
        let new = ConnectRequest { last_zxid_seen: 0, timeout_ms, session_id: 0, password: [0; 16], read_only: None };
        frame(|w| new.write(w))
    }

    /// Creates `/a`.
    fn creation() -> BytesMut {
        frame(|w| {
            w.int(1);
            w.int(1);
            w.string("/a");
            w.buffer(b"");
            w.int(1);
            w.int(31);
            w.string("world");
            w.string("anyone");
            w.int(0);
        })
    }

    fn receive(state: &mut State, link: u64, bytes: &mut BytesMut) -> Received {
        let received = state.receive(link, bytes, &mut Wakers::default());
        assert!(received.error.is_none(), "{received:?}");
        received
    }

    /// What takes long is made to: each request is looked at by a fault first.
    #[test]
    fn a_connection_whose_requests_take_long_gives_way_to_others() {
        shared().state.with(|state| {
            let link = state.open_link(([127, 0, 0, 1], 1).into()).unwrap();
            receive(state, link, &mut handshake());
            let (session, _) = state.sessions().next().unwrap();
            #[expect(clippy::disallowed_methods, reason = "work that takes long")]
            let is_meant = Box::new(|_: &Request| {
                std::thread::sleep(Duration::from_millis(10));
                false
            });
            assert!(state.lose(session, Loss { lost: Lost::Request, is_meant }));
            let mut bytes = creation();
            bytes.extend_from_slice(&creation());
            let received = receive(state, link, &mut bytes);
            assert!(received.is_behind && received.gives_way, "{received:?}");
            assert_eq!(bytes, creation(), "one at a time");
            let received = receive(state, link, &mut bytes);
            assert!(bytes.is_empty() && !received.is_behind && !received.gives_way, "{received:?}");
        });
    }

    #[test]
    fn a_session_is_in_the_timer_once_and_only_while_it_is_open() {
        shared().state.with(|state| {
            let connect = |state: &mut State, session_id, password| {
                let link = state.open_link(([127, 0, 0, 1], 1).into()).unwrap();
                let (last_zxid_seen, timeout_ms, read_only) = (0, 10_000, None);
                let asked = ConnectRequest { last_zxid_seen, timeout_ms, session_id, password, read_only };
                receive(state, link, &mut frame(|w| asked.write(w)));
                let mut out = BytesMut::new();
                state.take_output(link, &mut out, std::task::Waker::noop());
                (link, i64::from_be_bytes(out[12..20].try_into().unwrap()), out[24..40].try_into().unwrap())
            };
            let (mut link, session, password) = connect(state, 0, [0; 16]);
            for _ in 0..10 {
                (link, _, _) = connect(state, session, password);
                assert_eq!(state.due.len(), 1);
            }
            // It closes itself.
            let mut closing = frame(|w| {
                w.int(1);
                w.int(-11);
            });
            receive(state, link, &mut closing);
            assert_eq!((state.sessions().count(), state.due.len()), (0, 0));
            let (_, session, _) = connect(state, 0, [0; 16]);
            let (is_there, wakers) = state.expire_now(SessionId(session));
            wakers.wake();
            assert!(is_there && state.due.is_empty());
        });
    }

    #[test]
    fn no_session_ends_because_the_server_is_late() {
        shared().state.with(|state| {
            let link = state.open_link(([127, 0, 0, 1], 1).into()).unwrap();
            receive(state, link, &mut handshake());
            let due = state.next_expiry();
            let late = due + Duration::from_secs(3);
            state.expire(late).wake();
            assert_eq!(state.sessions().count(), 1, "what its client has sent may not have been read");
            assert_eq!(state.next_expiry(), late + Duration::from_secs(10));
            state.expire(late + Duration::from_secs(10)).wake();
            assert_eq!(state.sessions().count(), 0, "but that was in time");
        });
    }

    /// A connection that has looked whether it is frozen may be so before it comes to read.
    #[test]
    fn what_was_read_of_a_frozen_connection_is_carried_out_once_it_thaws() {
        shared().state.with(|state| {
            let link = state.open_link(([127, 0, 0, 1], 1).into()).unwrap();
            let mut bytes = handshake();
            state.freeze_all();
            assert!(receive(state, link, &mut bytes).is_behind);
            assert_eq!((bytes.as_ref(), state.sessions().count()), (handshake().as_ref(), 0));
            state.thaw_all().wake();
            assert!(!receive(state, link, &mut bytes).is_behind);
            assert!(bytes.is_empty());
            let (session, _) = state.sessions().next().unwrap();

            let zxid = state.tree.last_zxid();
            let mut bytes = creation();
            assert!(state.freeze(session));
            assert!(receive(state, link, &mut bytes).is_behind);
            assert_eq!((bytes.as_ref(), state.tree.last_zxid()), (creation().as_ref(), zxid));
            // One that is not frozen goes on.
            let other = state.open_link(([127, 0, 0, 1], 2).into()).unwrap();
            assert!(!receive(state, other, &mut handshake()).is_behind);
            assert_eq!(state.sessions().count(), 2);
            state.thaw(session).wake();
            let before = state.tree.last_zxid();
            assert!(!receive(state, link, &mut bytes).is_behind);
            assert!(bytes.is_empty() && state.tree.last_zxid() > before);
        });
    }
}
