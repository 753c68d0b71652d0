//! What the connections and the storage thread have to do with each other.

use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Instant;

use herdless_core::{Mutex, Request};
use herdless_memory::Changes;

use super::{Link, Shared, State, Wakers};
use crate::store::{Batch, Durability, Loaded, SessionRecord, StoreError, now};

/// How far the store is behind the tree.
pub(super) struct Progress {
    durability: Durability,
    /// The last change that is on disk.
    durable: i64,
    /// The last that was given to the storage thread.
    taken: i64,
    taken_at: Instant,
    /// When the first change after `durable` was made, or earlier.
    behind_since: Option<Instant>,
    /// The connections with output that waits.
    waiting: Vec<u64>,
    thread: Option<Thread>,
    database: Weak<redb::Database>,
    is_stopping: bool,
    is_full: bool,
    /// The tree is about to be replaced by what is on disk.
    is_away: bool,
}

/// What there is to do for the storage thread.
pub(crate) enum Work {
    Nothing,
    Batch(Batch),
    /// Nothing any more.
    Stop,
}

impl Progress {
    pub(super) fn new(durability: Durability, last: i64) -> Self {
        Self {
            durability,
            durable: last,
            taken: last,
            taken_at: now(),
            behind_since: None,
            waiting: Vec::new(),
            thread: None,
            database: Weak::new(),
            is_stopping: false,
            is_full: false,
            is_away: false,
        }
    }

    /// Whether what shows the change `last` has to wait.
    fn holds(&self, last: i64) -> bool {
        last > self.durable
            && match self.durability {
                Durability::Durable => true,
                // A disk that is full takes no new changes, and those that are there were told of.
                Durability::Relaxed { .. } if self.is_full => false,
                Durability::Relaxed { every } => self.behind_since.is_some_and(|since| since.elapsed() > every),
            }
    }
}

impl Shared {
    /// All up to this change is on disk.
    pub(crate) fn published(&self, zxid: herdless_core::Zxid) {
        self.state.with(|state| state.publish(zxid.0)).wake();
    }

    /// The store has failed: nothing that waits is ever sent.
    pub(crate) fn fail(&self, error: StoreError) {
        self.state.with(|state| state.cut(|_| true)).wake();
        // Whoever asks for it may be gone.
        self.failure.send_replace(Some(Arc::new(error)));
    }

    /// The disk is full; with `is_away` all connections are closed, and none are served until the tree is there again.
    pub(crate) fn disk_is_full(&self, is_away: bool) {
        let wakers = self.state.with(|state| {
            if let Some(store) = &mut state.store {
                (store.is_full, store.is_away) = (true, is_away);
            }
            // Who waits for a relaxed server may wait long: he is to ask again, as after any connection that was lost.
            state.cut(|link| is_away || !link.held.is_empty())
        });
        wakers.wake();
    }

    /// Puts what is on disk in place of what there was.
    pub(crate) fn install(&self, loaded: Loaded, database: Arc<redb::Database>) {
        self.state.with(|state| {
            state.install(loaded);
            let last = state.tree.last_zxid().0;
            if let Some(store) = &mut state.store {
                (store.durable, store.taken, store.behind_since, store.is_away) = (last, last, None, false);
                store.waiting.clear();
            }
            state.set_database(database);
        });
        self.sooner.notify_one();
    }

    /// Changes are accepted again.
    pub(crate) fn disk_has_room(&self, zxid: herdless_core::Zxid) {
        self.state
            .with(|state| {
                if let Some(store) = &mut state.store {
                    store.is_full = false;
                }
                state.publish(zxid.0)
            })
            .wake();
        self.sooner.notify_one();
    }
}

impl State {
    pub(crate) fn set_writer(&mut self, thread: Thread, database: Arc<redb::Database>) {
        if let Some(store) = &mut self.store {
            store.thread = Some(thread);
        }
        self.set_database(database);
    }

    pub(crate) fn set_database(&mut self, database: Arc<redb::Database>) {
        if let Some(store) = &mut self.store {
            store.database = Arc::downgrade(&database);
        }
    }

    /// What is on disk, for a backup.
    pub(crate) fn database(&self) -> Option<Arc<redb::Database>> {
        self.store.as_ref()?.database.upgrade()
    }

    pub(crate) fn stop_writing(&mut self) {
        if let Some(store) = &mut self.store {
            store.is_stopping = true;
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.is_stopping)
    }

    /// All that has changed since the last time, if anything has.
    pub(crate) fn take_batch(&mut self, now: Instant) -> Work {
        let last = self.tree.last_zxid().0;
        let Some(store) = &mut self.store else {
            return Work::Stop;
        };
        if store.taken == last {
            return if store.is_stopping { Work::Stop } else { Work::Nothing };
        }
        (store.taken, store.taken_at) = (last, now);
        let Changes { zxid, nodes, sessions } = self.tree.take_changes();
        let sessions = sessions.into_iter().map(|(id, _)| {
            let record = self.sessions.get(&id);
            (id, record.map(|record| SessionRecord { timeout: record.timeout, password: record.password }))
        });
        Work::Batch(Batch { zxid, sessions: sessions.collect(), nodes })
    }

    /// What can be told to be the last change: nothing that a crash could take back.
    pub(super) fn told_zxid(&self) -> i64 {
        let last = self.tree.last_zxid().0;
        match &self.store {
            Some(store) if store.durability == Durability::Durable => last.min(store.durable),
            _ => last,
        }
    }

    /// The last change that is on disk; where there is no disk, any.
    pub(super) fn durable_zxid(&self) -> i64 {
        self.store.as_ref().map_or(i64::MAX, |store| store.durable)
    }

    /// Whether changes are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_full)
    }

    /// Whether nothing is served.
    pub(super) fn is_away(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_away)
    }

    /// The replies just written to this connection wait, if they show what is not on disk.
    pub(super) fn hold(&mut self, id: u64, replies: usize) {
        let last = self.tree.last_zxid().0;
        let Some(store) = self.store.as_mut().filter(|store| store.holds(last)) else {
            return;
        };
        if let Some(link) = self.links.get_mut(&id) {
            if !std::mem::replace(&mut link.is_waiting, true) {
                store.waiting.push(id);
            }
            link.held.mark(link.machine.transmit().len(), last, replies);
        }
    }

    /// The answer to a ping, which was just written, does not wait: it is taken at any time (`ClientCnxn.SendThread` looks at
    /// pings first), and a disk that takes its time ends no session.
    pub(super) fn let_ping_pass(&mut self, id: u64) {
        let last = self.tree.last_zxid().0;
        let Some(store) = &self.store else {
            return;
        };
        if let Some(link) = self.links.get_mut(&id)
            && (store.holds(last) || !link.held.is_empty())
        {
            link.held.pass(link.machine.transmit(), PING_REPLY);
        }
    }

    /// Has the storage thread look, if there is anything to write.
    pub(super) fn note_changes(&mut self, wakers: &mut Wakers) {
        let last = self.tree.last_zxid().0;
        let Some(store) = self.store.as_mut().filter(|store| store.taken != last) else {
            return;
        };
        if store.behind_since.is_none() {
            store.behind_since = Some(now());
        }
        wakers.1.clone_from(&store.thread);
    }

    fn publish(&mut self, zxid: i64) -> Wakers {
        let last = self.tree.last_zxid().0;
        let mut wakers = Wakers::default();
        let Some(store) = &mut self.store else {
            return wakers;
        };
        store.durable = zxid;
        // What was not in the batch was changed after it was taken.
        store.behind_since = (last > zxid).then_some(store.taken_at);
        for id in std::mem::take(&mut store.waiting) {
            if let Some(link) = self.links.get_mut(&id) {
                wakers.0.extend(link.waker.take());
                link.is_waiting = link.held.waits_beyond(zxid);
                if link.is_waiting {
                    store.waiting.push(id);
                }
            }
        }
        wakers
    }

    /// Closes these connections; what waits is never sent.
    fn cut(&mut self, is_to_go: impl Fn(&Link) -> bool) -> Wakers {
        let durable = self.durable_zxid();
        let mut wakers = Wakers::default();
        for link in self.links.values_mut().filter(|link| is_to_go(link)) {
            link.held.cut(durable, link.machine.transmit());
            link.is_closing = true;
            wakers.0.extend(link.waker.take());
        }
        wakers
    }
}

/// Whether Apache ZooKeeper refuses this when it is read-only (`ReadOnlyRequestProcessor`). It lets a session be closed, which
/// is a change to be kept here.
pub(super) fn is_change(request: &Request) -> bool {
    matches!(
        request,
        Request::Create(_)
            | Request::Delete(_)
            | Request::SetData(_)
            | Request::SetAcl(_)
            | Request::Multi(_)
            | Request::Release(_)
            | Request::Reconfig(_)
            | Request::CloseSession
    )
}

/// The length of the answer to a ping, in bytes: its frame's length, and a header.
const PING_REPLY: usize = 4 + 16;
