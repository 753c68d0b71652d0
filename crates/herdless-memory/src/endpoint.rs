//! What the in-memory server and one of its clients know of each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Waker;

use herdless_core::{
    AddWatchMode, Auth, Completion, Error, Exists, GetChildren, GetData, Locks, NodePath, NoticeQueue, OneShot,
    Outcome, Refusal, RemoveWatches, Reply, Request, Session, SessionCell, SessionId, SessionState, StdMutex,
    WatchEvent, WatchKind, WatchOutcome, WatchTable, Zxid,
};

pub(crate) type WatchCell<L> = Arc<OneShot<WatchOutcome, L>>;
pub(crate) type Slot<L> = Arc<OneShot<Outcome, L>>;

/// The server's and the client's side of one client.
pub(crate) struct Endpoint<L: Locks> {
    pub(crate) session: Arc<SessionCell>,
    /// Where the client finds its session. On a lock of std, like the session itself: both change only in a step under
    /// the tree's lock, and a checker would pay for every look.
    pub(crate) current: Arc<StdMutex<Session>>,
    pub(crate) id: SessionId,
    pub(crate) attempts: Arc<AtomicU64>,
    pub(crate) is_connected: bool,
    /// Why nothing is accepted any more.
    pub(crate) end: Option<Error>,
    /// What it has proven, and proves again in its next session.
    pub(crate) identities: Vec<Auth>,
    pub(crate) seen: Zxid,
    pub(crate) watches: WatchTable<WatchCell<L>>,
    /// With how many watches the next sweep is due.
    pub(crate) sweep_at: usize,
    pub(crate) streams: BTreeMap<u64, Staying<L>>,
    pub(crate) waiting: Vec<(Request, Slot<L>)>,
    /// How many more replies come before one is lost.
    pub(crate) lose_after: Option<u64>,
    pub(crate) is_late: bool,
}

/// A watch that stays.
pub(crate) struct Staying<L: Locks> {
    pub(crate) path: NodePath,
    pub(crate) mode: AddWatchMode,
    pub(crate) queue: Arc<NoticeQueue<L>>,
}

/// What is left to do once the lock is released: wake-ups and undos may come back here.
#[derive(Default)]
pub(crate) struct Aftermath {
    pub(crate) watches: Vec<Completion<WatchOutcome>>,
    pub(crate) replies: Vec<Completion<Outcome>>,
    pub(crate) wakers: Vec<Waker>,
    /// Old sessions are dropped outside too.
    pub(crate) sessions: Vec<Session>,
}

impl Aftermath {
    pub(crate) fn run(self) {
        self.watches.into_iter().for_each(Completion::run);
        self.wakers.into_iter().for_each(Waker::wake);
        self.replies.into_iter().for_each(Completion::run);
        drop(self.sessions);
    }
}

impl<L: Locks> Staying<L> {
    pub(crate) fn hears(&self, event: &WatchEvent) -> bool {
        self.mode.hears(&self.path, event)
    }
}

/// So many watches are kept without a look at whether anybody waits for them. No model has as many, so none pays for the look.
pub(crate) const FEW_WATCHES: usize = 64;

impl<L: Locks> Endpoint<L> {
    /// Once there are twice as many watches as were left by the last sweep, forgets those that nobody waits for. Yields what the
    /// server need not have any more.
    pub(crate) fn sweep(&mut self) -> Vec<RemoveWatches> {
        if self.watches.len() < self.sweep_at {
            return Vec::new();
        }
        let emptied = self.watches.retain(|cell| !cell.is_abandoned());
        self.sweep_at = FEW_WATCHES.max(2 * self.watches.len());
        let removals = emptied.into_iter().map(|(kind, path)| RemoveWatches { path, kind: kind.into() });
        // What a stream stands on goes with the stream.
        removals.filter(|removal| !self.is_watching(removal)).collect()
    }

    fn is_watching(&self, RemoveWatches { path, kind }: &RemoveWatches) -> bool {
        let mut kinds = WatchKind::ALL.into_iter().filter(|other| kind.means(*other));
        kinds.any(|kind| self.watches.has(kind, path)) || self.streams.values().any(|staying| staying.path == *path)
    }

    /// Tells those who waited for what was taken away.
    pub(crate) fn removed(&mut self, remove: &RemoveWatches, after: &mut Aftermath) {
        let gone = || Err(Refusal::NoWatcher.into());
        for kind in WatchKind::ALL.into_iter().filter(|kind| remove.kind.means(*kind)) {
            after.watches.extend(self.watches.take(kind, &remove.path).into_iter().map(|cell| cell.put(gone())));
        }
        self.streams.retain(|_, staying| {
            let is_meant = staying.path == remove.path && remove.kind.means_staying(staying.mode);
            after.wakers.extend(is_meant.then(|| staying.queue.put(Err(Refusal::NoWatcher.into()))).flatten());
            !is_meant
        });
    }

    /// The client is over.
    pub(crate) fn end(&mut self, error: Error, after: &mut Aftermath) {
        self.lose_session(&error, after);
        self.end = Some(error);
    }

    /// The session is over: what was bound to it is told.
    pub(crate) fn lose_session(&mut self, error: &Error, after: &mut Aftermath) {
        after.wakers.extend(self.session.set(SessionState::Lost));
        for staying in std::mem::take(&mut self.streams).into_values() {
            after.wakers.extend(staying.queue.put(Err(error.clone())));
        }
        after.watches.extend(self.watches.drain().into_iter().map(|cell| cell.put(Err(error.clone()))));
        for (_, slot) in std::mem::take(&mut self.waiting) {
            after.replies.push(slot.put(Err(error.clone())));
        }
    }
}

/// Which list a client keeps the watch of this read in, if it left one.
pub(crate) fn watched(request: &Request, reply: &Reply) -> Option<(WatchKind, NodePath)> {
    match (request, reply) {
        (Request::Exists(Exists { path, watch: true }), Reply::Exists(None)) => Some((WatchKind::Exists, path.clone())),
        (Request::Exists(Exists { path, watch: true }) | Request::GetData(GetData { path, watch: true }), _) => {
            Some((WatchKind::Data, path.clone()))
        }
        (Request::GetChildren(GetChildren { path, watch: true }), _) => Some((WatchKind::Children, path.clone())),
        _ => None,
    }
}
