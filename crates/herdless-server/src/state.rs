//! What all connections share: the tree, the sessions, and what is to be sent to whom.

mod durable;
mod faults;
mod figures;
mod held;
#[cfg(feature = "metrics")]
mod levels;
mod refusals;
mod room;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::thread::Thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use herdless_core::{Error, Identity, Mutex, Refusal, Reply, Request, SessionId, StdMutex, Zxid};
use herdless_memory::{Fired, Tree};
use herdless_proto::FourLetterWord;
use herdless_proto::codec::{ConnectRequest, ConnectResponse, SetWatches};
use herdless_proto::server::{Counters, Incoming, Machine, ReceiveError, Ticket};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::limits::Limits;
use crate::meter::{Life, Meter};
use crate::store::{Durability, Loaded, SessionRecord, StoreError};

use durable::{Progress, is_change};
use faults::{Rules, Suffering};
use figures::{Activity, Latency, short_name, sum};
use held::Held;
use refusals::{Failures, Refusals};
use room::Load;

pub(crate) use durable::Work;
pub(crate) use faults::{Loss, Lost};
pub(crate) use refusals::Reason;

/// What a server is told at the start, as far as its connections are concerned.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    pub(crate) session_timeouts: RangeInclusive<Duration>,
    pub(crate) limits: Limits,
    pub(crate) allow_ttl: bool,
    /// Whether its connections are encrypted, and its clients known by their certificates where they have one.
    pub(crate) has_tls: bool,
    pub(crate) enforce_quotas: bool,
    /// The four-letter words that are answered.
    pub(crate) words: BTreeSet<FourLetterWord>,
}

pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) state: StdMutex<State>,
    pub(crate) meter: Arc<Meter>,
    /// A session may end sooner than the one that was to be the next.
    pub(crate) sooner: Notify,
    /// Why the server has ended by itself.
    pub(crate) failure: watch::Sender<Option<Arc<StoreError>>>,
    is_ending: AtomicBool,
}

pub(crate) struct State {
    tree: Tree,
    sessions: BTreeMap<SessionId, Session>,
    /// When each session is to be looked at. A sign of life does not move the entry: it is found out when it comes up.
    due: BTreeSet<(Instant, SessionId)>,
    links: BTreeMap<u64, Link>,
    /// How many connections there are from each address.
    addresses: BTreeMap<IpAddr, usize>,
    last_link: u64,
    settings: Settings,
    /// Where the tree is kept on disk too.
    store: Option<Progress>,
    rules: Rules,
    is_closing: bool,
    began: Instant,
    latency: Latency,
    meter: Arc<Meter>,
    /// The frames of connections that are gone, or whose figures were begun anew.
    past: Counters,
    /// The frames that were there when the server's figures were begun anew.
    forgotten: Counters,
    refusals: Refusals,
    failures: Failures,
    /// Bytes that are held for all connections.
    buffered: usize,
    most_buffered: usize,
}

struct Session {
    /// SHA-256 of the password: it is not kept.
    password: [u8; 32],
    timeout: Duration,
    last_heard: Instant,
    link: Option<u64>,
}

/// One connection, as the others see it.
struct Link {
    machine: Machine,
    peer: SocketAddr,
    /// Who the client has proven to be before its first request.
    proven: Option<Identity>,
    established_ms: i64,
    activity: Activity,
    session: Option<SessionId>,
    waker: Option<Waker>,
    held: Held,
    /// Whether it is among those that are woken by the next commit.
    is_waiting: bool,
    suffering: Suffering,
    is_closing: bool,
    /// To be closed at once, whatever is left to send.
    is_cut: bool,
    load: Load,
}

/// How it stands with a connection, once what is to be sent was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// It goes on.
    Open { may_read: bool },
    /// It goes on, and more is to be sent then.
    Until { at: Instant, may_read: bool },
    /// It goes on, but not now.
    Frozen,
    /// It is to be closed, and all was sent.
    Done,
    /// It is no more, whatever was not sent.
    Gone,
}

/// The tasks to wake once the lock is released, and the storage thread.
#[derive(Default)]
#[must_use = "what was written is not sent until the connections are woken"]
pub(crate) struct Wakers(Vec<Waker>, Option<Thread>);

impl Wakers {
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
        if let Some(store) = self.1 {
            store.unpark();
        }
    }
}

/// What has come of what a client has sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Whether a session was opened that may be the next to expire.
    pub(crate) is_sooner: bool,
    /// Whether whole requests may be left, which are to wait until the replies have been sent.
    pub(crate) is_behind: bool,
}

/// How a client that asks for an old session is answered.
enum Claim {
    Granted(SessionId),
    /// That session is no more, or the password is another.
    Refused,
    /// Too many wrong passwords came from this address.
    NotLookedAt,
}

impl Shared {
    /// Where there is a store, `stored` is what was in it.
    pub(crate) fn new(settings: Settings, now: Duration, stored: Option<(Durability, Loaded)>) -> Self {
        let limits = settings.limits;
        let meter = Arc::new(Meter::new());
        let mut state = State {
            tree: Tree::new(first_zxid(now)),
            sessions: BTreeMap::new(),
            due: BTreeSet::new(),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            last_link: 0,
            settings,
            store: None,
            rules: Rules::default(),
            is_closing: false,
            began: Instant::now(),
            latency: Latency::default(),
            meter: meter.clone(),
            past: Counters::default(),
            forgotten: Counters::default(),
            refusals: Refusals::default(),
            failures: Failures::default(),
            buffered: 0,
            most_buffered: 0,
        };
        state.prepare_tree();
        if let Some((durability, loaded)) = stored {
            state.store = Some(Progress::new(durability, loaded.tree.last_zxid().0));
            state.install(loaded);
        }
        Self {
            limits,
            state: StdMutex::new(state),
            meter,
            sooner: Notify::new(),
            failure: watch::Sender::new(None),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Ends every connection, once what it has sent was carried out and the replies were sent.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        self.state.with(State::close).wake();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }
}

/// The first change is numbered by the time, in 2^-20 milliseconds: so a server without a store that is started again begins
/// beyond every change that a client, or a fencing token, has seen of the last.
pub(crate) fn first_zxid(now: Duration) -> Zxid {
    Zxid(i64::try_from(now.as_millis()).map_or(1, |millis| (millis << 20) + 1))
}

impl State {
    fn prepare_tree(&mut self) {
        self.tree.allow_ttl(self.settings.allow_ttl);
        self.tree.allow_x509(self.settings.has_tls);
        self.tree.enforce_quotas(self.settings.enforce_quotas);
        self.tree.limit(self.settings.limits.caps());
        self.tree.add_system_nodes();
    }

    /// Takes over what was in the store. Every session gets its full timeout to come back.
    fn install(&mut self, loaded: Loaded) {
        let now = Instant::now();
        self.tree = loaded.tree;
        self.prepare_tree();
        self.sessions.clear();
        self.due.clear();
        for (id, SessionRecord { timeout, password }) in loaded.sessions {
            self.due.insert((now + timeout, id));
            self.sessions.insert(id, Session { password, timeout, last_heard: now, link: None });
        }
    }

    /// Takes a connection in, if there is room for it.
    pub(crate) fn open_link(&mut self, peer: SocketAddr) -> Option<u64> {
        if !self.admits(peer) {
            return None;
        }
        self.last_link += 1;
        let link = Link {
            machine: Machine::with_max_frame(self.settings.limits.request),
            peer,
            proven: None,
            established_ms: unix_ms(),
            activity: Activity::NONE,
            session: None,
            waker: None,
            held: Held::default(),
            is_waiting: false,
            suffering: Suffering::default(),
            is_closing: self.is_closing || self.is_away(),
            is_cut: false,
            load: Load::default(),
        };
        self.links.insert(self.last_link, link);
        Some(self.last_link)
    }

    /// The connection is gone. Its session lives on, without its watches.
    pub(crate) fn close_link(&mut self, id: u64) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        self.make_room(&link);
        self.past = sum(self.past, link.machine.counters());
        let Some(session) = link.session else {
            return;
        };
        if let Some(record) = self.sessions.get_mut(&session).filter(|record| record.link == Some(id)) {
            record.link = None;
            self.tree.disconnect(session);
        }
    }

    /// The connection's client is this one.
    pub(crate) fn prove(&mut self, id: u64, identity: Identity) {
        if let Some(link) = self.links.get_mut(&id) {
            tracing::debug!(peer = %link.peer, scheme = identity.scheme, id = identity.id, "proven");
            link.proven = Some(identity);
        }
    }

    /// Moves what is to be sent into `out`, if that is empty.
    pub(crate) fn take_output(&mut self, id: u64, out: &mut BytesMut, waker: &Waker) -> Output {
        let durable = self.durable_zxid();
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.is_cut) else {
            return Output::Gone;
        };
        if !link.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            link.waker = Some(waker.clone());
        }
        // A server that ends waits for no fault.
        if !self.is_closing && self.rules.freezes(link) {
            return Output::Frozen;
        }
        if out.is_empty() {
            room::shrink(out, link.load.writing);
            if self.rules.delays(link) {
                let until = self.rules.take_due(link, durable, self.is_closing, out);
                link.load.writing = out.len();
                if let Some(until) = until {
                    self.settle(id);
                    return until;
                }
            } else {
                link.held.release(durable, link.machine.transmit(), out);
                link.load.writing = out.len();
            }
        }
        let is_closing = link.is_closing || link.machine.is_closing();
        let is_done = is_closing && link.held.is_empty() && out.is_empty();
        self.settle(id);
        match is_done {
            true => Output::Done,
            false => Output::Open { may_read: !is_closing && !self.is_full(id) },
        }
    }

    /// Whether the client of this connection may take its time for what it is sent, or too much is held for it.
    pub(crate) fn may_stall(&mut self, id: u64) -> bool {
        self.expect_room(id, &mut Wakers::default());
        self.links.get(&id).is_some_and(|link| !link.is_cut)
    }

    pub(crate) fn has_session(&self, id: u64) -> bool {
        self.links.get(&id).is_some_and(|link| link.session.is_some())
    }

    /// Carries out what a client has sent, as far as it is there in whole frames, and until there are replies enough to be sent
    /// first: one read may hold requests for a thousand times as much.
    pub(crate) fn receive(
        &mut self,
        id: u64,
        buffer: &mut BytesMut,
        wakers: &mut Wakers,
    ) -> Result<Received, ReceiveError> {
        if self.is_frozen(id) {
            return Ok(Received { is_sooner: false, is_behind: true });
        }
        let mut answered = 0;
        let received = self.receive_all(id, buffer, &mut answered, wakers);
        if answered > 0 {
            self.hold(id, answered);
        }
        let left = buffer.len();
        if let Some(link) = self.links.get_mut(&id) {
            link.load.reading = left;
        }
        self.settle(id);
        if left > 0 && received.as_ref().is_ok_and(|received| !received.is_behind) {
            self.expect_room(id, wakers);
        }
        self.note_changes(wakers);
        received
    }

    fn receive_all(
        &mut self,
        id: u64,
        buffer: &mut BytesMut,
        answered: &mut usize,
        wakers: &mut Wakers,
    ) -> Result<Received, ReceiveError> {
        let now = Instant::now();
        let now_ms = unix_ms();
        let (mut is_sooner, mut requests, mut is_behind) = (false, 0, false);
        loop {
            let zxid = self.told_zxid();
            let most = self.most_ready();
            let Some(link) = self.links.get_mut(&id).filter(|link| !link.is_closing && !link.is_cut) else {
                buffer.clear();
                break;
            };
            let outstanding = requests + link.held.replies();
            if outstanding >= self.settings.limits.outstanding_per_connection.max(1) || link.has_ready(most) {
                is_behind = true;
                break;
            }
            let Some(incoming) = link.machine.poll(buffer, zxid)? else {
                break;
            };
            *answered += usize::from(!matches!(incoming, Incoming::Ping | Incoming::Word(_)));
            match (incoming, link.session) {
                (Incoming::Connect(connect), _) => is_sooner |= self.connect(id, &connect, now, wakers),
                (Incoming::Request { ticket, request }, Some(session)) => {
                    requests += 1;
                    if self.is_lost(id, session, &ticket, &request, now_ms, wakers) {
                        continue;
                    }
                    self.request(id, session, &ticket, &request, now_ms, wakers);
                }
                (Incoming::Unreadable { ticket, takes_zxid }, _) => self.refuse_unread(id, &ticket, takes_zxid),
                (Incoming::SetWatches { ticket, watches }, Some(session)) => {
                    self.rearm(id, session, &ticket, &watches, wakers);
                }
                (Incoming::Word(word), _) => {
                    let text = self.answer(word, id);
                    if let Some(link) = self.links.get_mut(&id) {
                        link.machine.say(&text);
                    }
                }
                // The machine lets nothing but a handshake through before there is a session.
                (Incoming::Request { .. } | Incoming::SetWatches { .. }, _) => {}
                (Incoming::Ping, _) => self.let_ping_pass(id),
            }
        }
        if requests > 0 {
            self.record(id, requests as u64, now);
        }
        // Every frame is a sign of life, not only a ping.
        let session = self.links.get(&id).and_then(|link| link.session);
        if let Some(record) = session.and_then(|session| self.sessions.get_mut(&session)) {
            record.last_heard = now;
        }
        Ok(Received { is_sooner, is_behind })
    }

    fn record(&mut self, id: u64, requests: u64, received: Instant) {
        let now = Instant::now();
        let time = now.duration_since(received);
        self.latency.record(requests, time);
        self.meter.replied(requests, time);
        let replied_ms = now.duration_since(self.began).as_millis();
        if let Some(link) = self.links.get_mut(&id) {
            link.activity.latency.record(requests, time);
            link.activity.replied_ms = replied_ms;
        }
    }

    fn connect(&mut self, id: u64, connect: &ConnectRequest, now: Instant, wakers: &mut Wakers) -> bool {
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
        self.due.insert((now + timeout, session));
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
        let session = Session { password: Sha256::digest(password).into(), timeout, last_heard: now, link: None };
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
        let address = peer.ip().to_canonical();
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

    fn request(
        &mut self,
        id: u64,
        session: SessionId,
        ticket: &Ticket,
        request: &Request,
        now_ms: i64,
        wakers: &mut Wakers,
    ) {
        let mut fired = Fired::new();
        let outcome = match self.is_read_only() && is_change(request) {
            true => Err(Error::Refused(Refusal::NotReadOnly)),
            false => self.tree.apply(session, request, now_ms, &mut fired),
        };
        self.meter.request(request, outcome.as_ref().err());
        // Before the reply: a client sees the event of a change before it sees the change.
        self.notify(fired, wakers);
        let zxid = self.tree.last_zxid().0;
        if let Some(link) = self.links.get_mut(&id) {
            link.machine.reply(ticket, zxid, &outcome);
            link.activity.operation = short_name(request);
            (link.activity.xid, link.activity.zxid) = (ticket.xid(), zxid);
        }
        if matches!(outcome, Ok(Reply::Closed)) {
            self.meter.session(Life::Closed);
            self.sessions.remove(&session);
            self.close_later(id, wakers);
        }
    }

    fn refuse_unread(&mut self, id: u64, ticket: &Ticket, takes_zxid: bool) {
        if takes_zxid && !self.is_read_only() {
            self.tree.refuse_unread();
        }
        let zxid = self.tree.last_zxid().0;
        if let Some(link) = self.links.get_mut(&id) {
            link.machine.reply(ticket, zxid, &Err(Refusal::Marshalling.into()));
        }
    }

    fn rearm(&mut self, id: u64, session: SessionId, ticket: &Ticket, watches: &SetWatches, wakers: &mut Wakers) {
        if !self.has_room_to_rearm(id, watches) {
            return self.let_go(id, Reason::Watches, wakers);
        }
        let seen = Zxid(watches.relative_zxid);
        let mut fired = Fired::new();
        for (kind, path) in watches.iter() {
            self.tree.rearm(session, kind, path, seen, &mut fired);
        }
        for (mode, path) in watches.staying() {
            self.tree.add_watch(session, mode, path);
        }
        self.notify(fired, wakers);
        let zxid = self.tree.last_zxid().0;
        if let Some(link) = self.links.get_mut(&id) {
            link.machine.rearmed(ticket, zxid);
        }
    }

    fn notify(&mut self, fired: Fired, wakers: &mut Wakers) {
        let mut told = Vec::new();
        for (session, event) in fired {
            let id = self.sessions.get(&session).and_then(|record| record.link);
            let Some((id, link)) = id.and_then(|id| Some((id, self.links.get_mut(&id).filter(|link| !link.is_cut)?)))
            else {
                continue;
            };
            link.machine.notify(&event);
            told.push(id);
            self.meter.event(event.kind);
            wakers.0.extend(link.waker.take());
            self.expect_room_for_events(id, wakers);
        }
        if self.store.is_some() {
            told.into_iter().for_each(|id| self.hold(id, 0));
        }
    }

    fn close_later(&mut self, id: u64, wakers: &mut Wakers) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_closing = true;
            wakers.0.extend(link.waker.take());
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
    pub(crate) fn expire(&mut self, now: Instant) -> Wakers {
        let mut wakers = Wakers::default();
        if self.is_read_only() {
            return wakers;
        }
        while let Some(&(due, id)) = self.due.first().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, id));
            let Some(record) = self.sessions.get(&id) else {
                continue;
            };
            let end = record.last_heard + record.timeout;
            if end > now {
                self.due.insert((end, id));
                continue;
            }
            tracing::debug!(session = %id, "session expired");
            self.meter.session(Life::Expired);
            let link = record.link;
            self.sessions.remove(&id);
            let mut fired = Fired::new();
            self.tree.close_session(id, &mut fired);
            self.notify(fired, &mut wakers);
            if let Some(link) = link {
                self.close_later(link, &mut wakers);
            }
        }
        self.note_changes(&mut wakers);
        wakers
    }

    pub(crate) fn reap(&mut self) -> Wakers {
        let (mut fired, mut wakers) = (Fired::new(), Wakers::default());
        if self.is_read_only() {
            return wakers;
        }
        self.tree.reap(unix_ms(), &mut fired);
        self.notify(fired, &mut wakers);
        self.note_changes(&mut wakers);
        wakers
    }

    /// Wakes every connection, to see that it is to end.
    fn close(&mut self) -> Wakers {
        self.is_closing = true;
        Wakers(self.links.values_mut().filter_map(|link| link.waker.take()).collect(), None)
    }

    /// Nothing more is read from this connection.
    pub(crate) fn finish(&mut self, id: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_closing = true;
        }
    }
}

/// The time for Stats, and for the epoch.
#[expect(clippy::disallowed_methods, reason = "a server keeps the time of its nodes")]
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn unix_ms() -> i64 {
    i64::try_from(unix_time().as_millis()).unwrap_or(i64::MAX)
}
