//! What all connections share: the tree, the sessions, and what is to be sent to whom.

mod durable;
mod faults;
mod figures;
mod held;
#[cfg(feature = "metrics")]
mod levels;
mod refusals;
mod requests;
mod room;
mod sessions;
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
use herdless_core::{Identity, Mutex, NodePath, SessionId, StdMutex, Zxid};
use herdless_memory::{Fired, Tree};
use herdless_proto::FourLetterWord;
use herdless_proto::server::{Counters, Machine};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::limits::Limits;
use crate::meter::Meter;
use crate::store::{Durability, Loaded, SessionRecord, StoreError};

use durable::Progress;
use faults::{Rules, Suffering};
use figures::{Activity, Latency, sum};
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
    /// When it is to be looked at: its only entry in `State::due`.
    due: Instant,
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
            let due = now + timeout;
            self.due.insert((due, id));
            self.sessions.insert(id, Session { password, timeout, last_heard: now, due, link: None });
        }
    }

    /// Takes a connection in, if there is room for it.
    pub(crate) fn open_link(&mut self, peer: SocketAddr) -> Option<u64> {
        // A socket for both families says `::ffff:10.1.2.3`. Access lists and logs know the client by 10.1.2.3, as Java does.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
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
        let was_held = !link.held.is_empty();
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
        let is_released = was_held && link.held.is_empty();
        let is_done = is_closing && link.held.is_empty() && out.is_empty();
        if is_released {
            // From here on its silence is its own: so far it may have known of no session, or was not read from.
            self.hear(id, Instant::now());
        }
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

    fn close_later(&mut self, id: u64, wakers: &mut Wakers) {
        if let Some(link) = self.links.get_mut(&id) {
            link.is_closing = true;
            wakers.0.extend(link.waker.take());
        }
    }

    /// Looks from this path on for nodes whose time is over; where to go on. There may be millions, and clients are not to wait for
    /// all of them.
    pub(crate) fn reap(&mut self, from: &NodePath) -> (Option<NodePath>, Wakers) {
        const AT_ONCE: usize = 1_000;
        let (mut fired, mut wakers) = (Fired::new(), Wakers::default());
        if self.is_read_only() {
            return (None, wakers);
        }
        let next = self.tree.reap_some(from, AT_ONCE, unix_ms(), &mut fired);
        self.notify(fired, &mut wakers);
        self.note_changes(&mut wakers);
        (next, wakers)
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
