//! The tree behind one mutex, and the clients it serves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use herdless_core::{
    AddWatch, Answer, Error, Lease, Locks, Mutex, Notice, NoticeQueue, Outcome, Refusal, RemoveWatches, Reply, Request,
    Response, Session, SessionCell, SessionId, SessionState, StdLocks, StdMutex, WatchKind, WatchStream, WatchTable,
    WatcherType, Zxid,
};

use crate::client::{Late, MemoryClient};
use crate::endpoint::{Aftermath, Endpoint, FEW_WATCHES, Slot, Staying, WatchCell, watched};
use crate::tree::{Fired, Tree};

/// An in-process server on ordinary locks.
pub type MemoryServer = Backend<StdLocks>;

/// An in-process server: one [`Tree`] behind one mutex. Cheap to clone.
///
/// A request is carried out on the caller's thread when it is submitted, as one step. Sessions end and connections
/// break only when a method here says so, each as one step too; time does not pass.
pub struct Backend<L: Locks = StdLocks> {
    shared: Arc<Shared<L>>,
}

pub(crate) struct Shared<L: Locks> {
    state: L::Mutex<State<L>>,
}

struct State<L: Locks> {
    /// For what comes back from a stream that is dropped.
    shared: Weak<Shared<L>>,
    tree: Tree,
    clients: BTreeMap<u64, Endpoint<L>>,
    last_session: i64,
    last_stream: u64,
    wake_ups: u64,
    /// What the nodes' times say, in milliseconds.
    now_ms: i64,
}

/// No time passes here, so a session ends only when it is expired.
#[derive(Debug)]
struct NoClock;

impl Lease for NoClock {
    fn is_live(&self) -> bool {
        true
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);

impl Backend<StdLocks> {
    /// A server with an empty tree.
    pub fn new() -> Self {
        Self::with_locks()
    }
}

impl Default for Backend<StdLocks> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Locks> Backend<L> {
    /// A server with an empty tree, on the locks of `L`.
    pub fn with_locks() -> Self {
        let mut tree = Tree::new(Zxid(1));
        tree.allow_ttl(true);
        let shared = |shared: &Weak<Shared<L>>| {
            let shared = shared.clone();
            let state = State {
                shared,
                tree,
                clients: BTreeMap::new(),
                last_session: 0,
                last_stream: 0,
                wake_ups: 0,
                now_ms: 0,
            };
            Shared { state: L::Mutex::new(state) }
        };
        Self { shared: Arc::new_cyclic(shared) }
    }

    /// A client with a new session.
    pub fn connect(&self) -> MemoryClient<L> {
        let (key, current) = self.shared.state.with(|state| {
            let key = state.clients.len() as u64 + 1;
            let attempts = Arc::default();
            let (id, session) = state.open_session(key, &attempts);
            let current = Arc::new(StdMutex::new(Session::new(session.clone())));
            let endpoint = Endpoint {
                session,
                current: current.clone(),
                id,
                attempts,
                is_connected: true,
                end: None,
                identities: Vec::new(),
                seen: state.tree.last_zxid(),
                watches: WatchTable::default(),
                sweep_at: FEW_WATCHES,
                streams: BTreeMap::new(),
                waiting: Vec::new(),
                lose_after: None,
                is_late: false,
            };
            state.clients.insert(key, endpoint);
            (key, current)
        });
        MemoryClient::new(self.shared.clone(), key, current)
    }

    /// Expires the client's session, in one step: its ephemeral nodes go, what was bound to it is told, and the client
    /// gets a new one.
    pub fn expire(&self, client: &MemoryClient<L>) {
        self.shared.with(|state, after| state.expire(client.key(), after));
    }

    /// Cuts the client's connection. Its session lives on; its watches are no longer on the server; what it submits
    /// waits.
    pub fn disconnect(&self, client: &MemoryClient<L>) {
        self.shared.with(|state, after| state.disconnect(client.key(), after));
    }

    /// Connects the client again: its watches are re-armed, those of nodes that changed meanwhile fire, and then what
    /// it has submitted is carried out.
    pub fn reconnect(&self, client: &MemoryClient<L>) {
        self.shared.with(|state, after| state.reconnect(client.key(), after));
    }

    /// Lets `replies` more replies reach the client, and loses the one after: its request is carried out, then the
    /// connection is cut and made again. The client is told `ConnectionLost`.
    pub fn lose_reply_after(&self, client: &MemoryClient<L>, replies: u64) {
        self.shared.with(|state, _| state.endpoint(client.key(), |endpoint| endpoint.lose_after = Some(replies)));
    }

    /// From now on every reply to the client is there one poll late, so that a future can be dropped between "carried
    /// out" and "known".
    pub fn delay_replies(&self, client: &MemoryClient<L>) {
        self.shared.with(|state, _| state.endpoint(client.key(), |endpoint| endpoint.is_late = true));
    }

    /// Reads the tree.
    pub fn inspect<R>(&self, look: impl FnOnce(&Tree) -> R) -> R {
        self.shared.state.with(|state| look(&state.tree))
    }

    /// Removes the containers that have had children and have none now, as a server does from time to time, and the nodes whose
    /// time to live is over.
    pub fn reap_containers(&self) {
        self.shared.with(|state, after| state.reap(after));
    }

    /// Lets the server's clock go on, and removes the nodes whose time to live is over. Sessions do not depend on it.
    pub fn pass(&self, time: Duration) {
        self.shared.with(|state, after| {
            state.now_ms = state.now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
            state.reap(after);
        });
    }

    /// How many watches have fired that somebody was waiting for.
    pub fn wake_ups(&self) -> u64 {
        self.shared.state.with(|state| state.wake_ups)
    }
}

impl<L: Locks> Clone for Backend<L> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<L: Locks> fmt::Debug for Backend<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl<L: Locks> Shared<L> {
    pub(crate) fn submit(&self, key: u64, request: Request) -> Response {
        if !L::is_usable() {
            return Response::ready(Err(Error::Closed));
        }
        self.with(|state, after| state.submit(key, request, after))
    }

    /// The reader of a watch that stays has gone.
    fn unwatch(&self, key: u64, stream: u64) {
        if L::is_usable() {
            self.with(|state, _| state.unwatch(key, stream));
        }
    }

    fn with<R>(&self, step: impl FnOnce(&mut State<L>, &mut Aftermath) -> R) -> R {
        let mut after = Aftermath::default();
        let result = self.state.with(|state| step(state, &mut after));
        after.run();
        result
    }
}

impl<L: Locks> State<L> {
    fn reap(&mut self, after: &mut Aftermath) {
        let mut fired = Fired::new();
        self.tree.reap(self.now_ms, &mut fired);
        self.deliver(fired, after);
    }

    fn open_session(&mut self, key: u64, attempts: &Arc<AtomicU64>) -> (SessionId, Arc<SessionCell>) {
        self.last_session += 1;
        let id = SessionId(self.last_session);
        self.tree.open_session(id);
        (id, Arc::new(SessionCell::new(id, TIMEOUT, key, attempts.clone(), Arc::new(NoClock))))
    }

    fn endpoint(&mut self, key: u64, change: impl FnOnce(&mut Endpoint<L>)) {
        if let Some(endpoint) = self.clients.get_mut(&key) {
            change(endpoint);
        }
    }

    fn submit(&mut self, key: u64, request: Request, after: &mut Aftermath) -> Response {
        let Some(endpoint) = self.clients.get_mut(&key) else {
            return Response::ready(Err(Error::Closed));
        };
        if let Some(end) = &endpoint.end {
            return Response::ready(Err(end.clone()));
        }
        if !endpoint.is_connected {
            let slot = Slot::<L>::default();
            endpoint.waiting.push((request, slot.clone()));
            return Response::pending(slot);
        }
        let is_late = endpoint.is_late;
        let outcome = self.carry_out(key, &request, after);
        if is_late { Response::pending(Arc::new(Late::<L>::new(outcome))) } else { Response::ready(outcome) }
    }

    fn carry_out(&mut self, key: u64, request: &Request, after: &mut Aftermath) -> Outcome {
        let Some(id) = self.clients.get(&key).map(|endpoint| endpoint.id) else {
            return Err(Error::Closed);
        };
        let mut fired = Fired::new();
        let outcome = self.tree.apply(id, request, self.now_ms, &mut fired);
        // The events are told before the reply is: the watch has fired by the time the reply is ready.
        self.deliver(fired, after);
        let last_zxid = self.tree.last_zxid();
        let Some(endpoint) = self.clients.get_mut(&key) else {
            return Err(Error::Closed);
        };
        match (request, &outcome) {
            (Request::CloseSession, Ok(_)) => endpoint.end(Error::Closed, after),
            // As of a server: the session goes when its time is over, and the client is told at once.
            (Request::Auth(_), Err(_)) => endpoint.end(Refusal::AuthFailed.into(), after),
            (Request::Auth(auth), Ok(_)) if !endpoint.identities.contains(auth) => {
                endpoint.identities.push(auth.clone())
            }
            _ => {}
        }
        match &mut endpoint.lose_after {
            Some(0) => {
                endpoint.lose_after = None;
                self.disconnect(key, after);
                self.reconnect(key, after);
                // Clean-up survives a reconnect, so its outcome is known all the same.
                return if request.is_clean_up() { outcome.map(Answer::from) } else { Err(Error::ConnectionLost) };
            }
            Some(replies) => *replies -= 1,
            None => {}
        }
        endpoint.seen = last_zxid;
        let reply = outcome?;
        let watch = watched(request, &reply).map(|(kind, path)| {
            let cell = WatchCell::<L>::default();
            endpoint.watches.add(kind, path, cell.clone());
            herdless_core::Watch::new(cell)
        });
        for RemoveWatches { path, kind } in endpoint.sweep() {
            self.tree.remove_watches(endpoint.id, &path, kind);
        }
        if let (Request::RemoveWatches(remove), true) = (request, reply == Reply::WatchesRemoved) {
            endpoint.removed(remove, after);
        }
        let stream = match request {
            Request::AddWatch(AddWatch { path, mode }) => {
                self.last_stream += 1;
                let (id, shared, queue) = (self.last_stream, self.shared.clone(), Arc::<NoticeQueue<L>>::default());
                let staying = Staying { path: path.clone(), mode: *mode, queue: queue.clone() };
                endpoint.streams.insert(id, staying);
                Some(Box::new(WatchStream::new(queue, move || {
                    shared.upgrade().into_iter().for_each(|shared| shared.unwatch(key, id));
                })))
            }
            _ => None,
        };
        Ok(Answer { reply, watch, stream })
    }

    /// What stays on the server is what the client's other streams need: a watch is taken away with the last of its path.
    fn unwatch(&mut self, key: u64, stream: u64) {
        let Some(endpoint) = self.clients.get_mut(&key) else {
            return;
        };
        let Some(Staying { path, .. }) = endpoint.streams.remove(&stream) else {
            return;
        };
        if !endpoint.is_connected || endpoint.streams.values().any(|other| other.path == path) {
            return;
        }
        let id = endpoint.id;
        self.tree.remove_watches(id, &path, WatcherType::Any);
        // Those that fire once are still wanted.
        for kind in WatchKind::ALL {
            if endpoint.watches.has(kind, &path) {
                let now = self.tree.last_zxid();
                self.tree.rearm(id, kind, &path, now, &mut Fired::new());
            }
        }
    }

    /// Hands each event to the cells that wait for it. They are filled here, under the lock, and woken after it.
    fn deliver(&mut self, fired: Fired, after: &mut Aftermath) {
        for (session, event) in fired {
            let Some(endpoint) = self.clients.values_mut().find(|endpoint| endpoint.id == session) else {
                continue;
            };
            for staying in endpoint.streams.values().filter(|staying| staying.hears(&event)) {
                after.wakers.extend(staying.queue.put(Ok(Notice::Event(event.clone()))));
            }
            for cell in endpoint.watches.fire(&event) {
                let completion = cell.put(Ok(event.clone()));
                self.wake_ups += u64::from(completion.has_listener());
                after.watches.push(completion);
            }
        }
    }

    fn expire(&mut self, key: u64, after: &mut Aftermath) {
        let Some(endpoint) = self.clients.get_mut(&key) else {
            return;
        };
        let (id, attempts, is_closed) = (endpoint.id, endpoint.attempts.clone(), endpoint.end.is_some());
        let mut fired = Fired::new();
        // Who is expired was cut off, and is told of nothing but that.
        self.tree.disconnect(id);
        self.tree.close_session(id, &mut fired);
        self.deliver(fired, after);
        if is_closed {
            return;
        }
        let (id, session) = self.open_session(key, &attempts);
        let Some(endpoint) = self.clients.get_mut(&key) else {
            return;
        };
        endpoint.lose_session(&Error::SessionExpired, after);
        for auth in &endpoint.identities {
            let _ = self.tree.apply(id, &Request::Auth(auth.clone()), self.now_ms, &mut Fired::new());
        }
        endpoint.id = id;
        let current = Session::new(session.clone());
        after.sessions.push(endpoint.current.with(|old| std::mem::replace(old, current)));
        endpoint.session = session;
        endpoint.is_connected = true;
    }

    fn disconnect(&mut self, key: u64, after: &mut Aftermath) {
        let Some(endpoint) = self.clients.get_mut(&key).filter(|endpoint| endpoint.is_connected) else {
            return;
        };
        endpoint.is_connected = false;
        after.wakers.extend(endpoint.session.set(SessionState::Suspended));
        let id = endpoint.id;
        self.tree.disconnect(id);
    }

    fn reconnect(&mut self, key: u64, after: &mut Aftermath) {
        let Some(endpoint) = self.clients.get_mut(&key).filter(|endpoint| !endpoint.is_connected) else {
            return;
        };
        endpoint.is_connected = true;
        after.wakers.extend(endpoint.session.set(SessionState::Connected));
        let (id, seen) = (endpoint.id, endpoint.seen);
        let waiting = std::mem::take(&mut endpoint.waiting);
        let mut fired = Fired::new();
        for staying in endpoint.streams.values() {
            self.tree.add_watch(id, staying.mode, &staying.path);
            after.wakers.extend(staying.queue.put(Ok(Notice::Gap)));
        }
        for auth in &endpoint.identities {
            let _ = self.tree.apply(id, &Request::Auth(auth.clone()), self.now_ms, &mut fired);
        }
        for kind in WatchKind::ALL {
            for path in endpoint.watches.paths(kind) {
                self.tree.rearm(id, kind, path, seen, &mut fired);
            }
        }
        self.deliver(fired, after);
        for (request, slot) in waiting {
            let outcome = self.carry_out(key, &request, after);
            after.replies.push(slot.put(outcome));
        }
    }
}
