//! Sessions: what a client's ephemeral nodes and watches live and die with.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use crate::sync::{Locks, Mutex, StdLocks};

/// The id that the server gave a session; it is the `ephemeral_owner` of the session's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these four are what a session can be")]
pub enum SessionState {
    /// A server answers.
    Connected,
    /// A server answers that has no majority of its ensemble behind it. What it says may be old, and it refuses every
    /// change ([`NotReadOnly`](crate::Refusal::NotReadOnly)). Only a client that asked for it comes here.
    ///
    /// Such a server cannot keep a session alive. One that was opened at a read-write server is valid for as long as
    /// it would be with no server at all; one that was opened here ends with its connection.
    ReadOnly,
    /// No server answers. The session, its nodes and its watches may well live on.
    Suspended,
    /// The session is over: expired, closed, or past the time at which the server may have expired it.
    Lost,
}

/// A number that no other attempt of any client has: it is in the data of the nodes that recipes make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptId {
    /// Drawn by the client when it was made.
    pub client: u64,
    /// Counted within the client.
    pub count: u64,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.client, self.count)
    }
}

/// One session of a client. Cheap to clone; speaks for that session for ever, also after the client has another.
#[derive(Clone, Debug)]
pub struct Session(Arc<dyn SessionSource>);

impl Session {
    /// The session that `source` speaks for.
    pub fn new(source: Arc<dyn SessionSource>) -> Self {
        Self(source)
    }

    /// The server's id for it.
    pub fn id(&self) -> SessionId {
        self.0.id()
    }

    /// The timeout that the server agreed to: how long it waits for a sign of life.
    pub fn timeout(&self) -> Duration {
        self.0.timeout()
    }

    /// How it stands now.
    pub fn state(&self) -> SessionState {
        self.0.poll_state(0, None).1
    }

    /// Whether no server can have given this session's nodes away yet: false from *(the sending of the last answered
    /// request) + timeout* on, by a monotonic clock, even if nothing else of this process has run since.
    ///
    /// So it is with one server. On an ensemble it may be late by about *(`syncLimit` + 1) * `tickTime` + timeout / 3*: a server
    /// that is cut off from the leader goes on answering for so long, and the leader does not hear of it (`docs/ARCHITECTURE.md`,
    /// "Known and limited"). A change in the name of a session that is over is refused all the same.
    pub fn is_valid(&self) -> bool {
        self.state() != SessionState::Lost && self.0.is_live()
    }

    /// A number that grows with every change of the state: as long as it is the same, the connection was not lost.
    pub fn revision(&self) -> u64 {
        self.0.poll_state(0, None).0
    }

    /// A number for the next attempt to make a node.
    pub fn next_attempt(&self) -> AttemptId {
        self.0.next_attempt()
    }

    /// The states that follow, the latest value each time: a state that was left again before anybody looked is not
    /// told. Ends after [`SessionState::Lost`].
    pub fn changes(&self) -> SessionChanges {
        let seen = self.0.poll_state(0, None).0;
        SessionChanges { source: self.0.clone(), seen, waiter: None, ended: false }
    }

    /// Waits until the session is lost. On an ensemble that may be told late, as [`is_valid`](Self::is_valid) may be.
    pub fn lost(&self) -> SessionLost {
        SessionLost(SessionChanges { source: self.0.clone(), seen: 0, waiter: None, ended: false })
    }
}

/// What stands behind a [`Session`]; [`SessionCell`] is the one that backends use.
pub trait SessionSource: fmt::Debug + Send + Sync {
    /// The server's id.
    fn id(&self) -> SessionId;
    /// The negotiated timeout.
    fn timeout(&self) -> Duration;
    /// Whether the server cannot have expired the session yet; see [`Session::is_valid`].
    fn is_live(&self) -> bool;
    /// The next attempt's number.
    fn next_attempt(&self) -> AttemptId;
    /// The counter of changes (from 1) and the state. If the counter is still `seen`, leaves `waiter`'s waker under
    /// its key, to be woken by the next change.
    fn poll_state(&self, seen: u64, waiter: Option<(&mut Option<u64>, &Waker)>) -> (u64, SessionState);
    /// Forgets the waker under this key.
    fn forget(&self, key: u64);
}

/// The clock's side of a session: knows until when the server must keep it.
pub trait Lease: fmt::Debug + Send + Sync {
    /// Whether that time is still to come.
    fn is_live(&self) -> bool;
}

/// A session's state and those who wait for it to change.
pub struct SessionCell<L: Locks = StdLocks> {
    id: SessionId,
    timeout_ms: AtomicU64,
    client: u64,
    attempts: Arc<AtomicU64>,
    lease: Arc<dyn Lease>,
    inner: L::Mutex<Inner>,
}

struct Inner {
    state: SessionState,
    changes: u64,
    next_key: u64,
    waiters: BTreeMap<u64, Waker>,
}

impl<L: Locks> SessionCell<L> {
    /// A connected session. `client` and `attempts` make its attempts' numbers: drawn once per client, and counted
    /// over all its sessions.
    pub fn new(id: SessionId, timeout: Duration, client: u64, attempts: Arc<AtomicU64>, lease: Arc<dyn Lease>) -> Self {
        let inner = Inner { state: SessionState::Connected, changes: 1, next_key: 0, waiters: BTreeMap::new() };
        let cell = Self { id, timeout_ms: AtomicU64::new(0), client, attempts, lease, inner: L::Mutex::new(inner) };
        cell.set_timeout(timeout);
        cell
    }

    /// The server agreed to another timeout, as it may at each reconnect.
    pub fn set_timeout(&self, timeout: Duration) {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.timeout_ms.store(millis, Ordering::Relaxed);
    }

    /// Changes the state, except from `Lost`. The caller wakes the returned wakers once it holds no lock.
    #[must_use = "those who wait for the change are to be woken"]
    pub fn set(&self, state: SessionState) -> Vec<Waker> {
        self.inner.with(|inner| {
            if inner.state == state || inner.state == SessionState::Lost {
                return Vec::new();
            }
            inner.state = state;
            inner.changes += 1;
            std::mem::take(&mut inner.waiters).into_values().collect()
        })
    }
}

impl<L: Locks> SessionSource for SessionCell<L> {
    fn id(&self) -> SessionId {
        self.id
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.load(Ordering::Relaxed))
    }

    fn is_live(&self) -> bool {
        self.lease.is_live()
    }

    fn next_attempt(&self) -> AttemptId {
        AttemptId { client: self.client, count: self.attempts.fetch_add(1, Ordering::Relaxed) }
    }

    fn poll_state(&self, seen: u64, waiter: Option<(&mut Option<u64>, &Waker)>) -> (u64, SessionState) {
        self.inner.with(|inner| {
            if let (true, Some((key, waker))) = (inner.changes == seen, waiter) {
                let key = *key.get_or_insert_with(|| {
                    inner.next_key += 1;
                    inner.next_key
                });
                inner.waiters.insert(key, waker.clone());
            }
            (inner.changes, inner.state)
        })
    }

    fn forget(&self, key: u64) {
        if !L::is_usable() {
            return;
        }
        let _dropped_after_the_lock = self.inner.with(|inner| inner.waiters.remove(&key));
    }
}

impl<L: Locks> fmt::Debug for SessionCell<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCell").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The stream of a session's states; see [`Session::changes`].
#[derive(Debug)]
pub struct SessionChanges {
    source: Arc<dyn SessionSource>,
    seen: u64,
    waiter: Option<u64>,
    ended: bool,
}

impl Stream for SessionChanges {
    type Item = SessionState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SessionState>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let (changes, state) = this.source.poll_state(this.seen, Some((&mut this.waiter, cx.waker())));
        if changes == this.seen {
            // A session that was lost before this stream was made has no change to come.
            this.ended = state == SessionState::Lost;
            return if this.ended { Poll::Ready(None) } else { Poll::Pending };
        }
        this.seen = changes;
        this.ended = state == SessionState::Lost;
        Poll::Ready(Some(state))
    }
}

impl Drop for SessionChanges {
    fn drop(&mut self) {
        if let Some(key) = self.waiter {
            self.source.forget(key);
        }
    }
}

/// The future of a session's end; see [`Session::lost`].
#[derive(Debug)]
#[must_use = "a future: await it"]
pub struct SessionLost(SessionChanges);

impl Future for SessionLost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match Pin::new(&mut self.0).poll_next(cx) {
                Poll::Ready(Some(SessionState::Lost) | None) => return Poll::Ready(()),
                Poll::Ready(Some(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Forever;
    impl Lease for Forever {
        fn is_live(&self) -> bool {
            true
        }
    }

    fn cell() -> Arc<SessionCell> {
        Arc::new(SessionCell::new(SessionId(1), Duration::from_secs(1), 7, Arc::default(), Arc::new(Forever)))
    }

    #[test]
    fn changes_are_told_once_and_end_with_the_session() {
        let cell = cell();
        let session = Session::new(cell.clone());
        let mut changes = std::pin::pin!(session.changes());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Pending);
        assert_eq!(cell.set(SessionState::Suspended).len(), 1);
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Ready(Some(SessionState::Suspended)));
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Pending);
        drop(cell.set(SessionState::Connected));
        drop(cell.set(SessionState::Lost));
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Ready(Some(SessionState::Lost)));
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Ready(None));
        assert!(cell.set(SessionState::Connected).is_empty(), "a lost session does not come back");
        assert!(!session.is_valid());
        assert!(std::pin::pin!(session.lost()).poll(&mut cx).is_ready());
    }

    #[test]
    fn a_reader_that_was_away_is_told_the_latest_state_and_nothing_is_kept_for_it() {
        let cell = cell();
        let session = Session::new(cell.clone());
        let mut changes = std::pin::pin!(session.changes());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Pending);
        let before = session.revision();
        for round in 0..10_000 {
            let woken = cell.set(SessionState::Suspended).len() + cell.set(SessionState::ReadOnly).len();
            assert_eq!(woken, usize::from(round == 0), "who has not come back is woken once");
        }
        assert_eq!(session.revision(), before + 20_000, "what was missed can be counted");
        assert_eq!(session.state(), SessionState::ReadOnly);
        assert!(session.is_valid(), "as long as its lease says");
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Ready(Some(SessionState::ReadOnly)));
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Pending);
        assert_eq!(cell.inner.with(|inner| inner.waiters.len()), 1);
        assert_eq!(cell.set(SessionState::Connected).len(), 1);
        assert_eq!(changes.as_mut().poll_next(&mut cx), Poll::Ready(Some(SessionState::Connected)));
    }

    #[test]
    fn a_dropped_waiter_is_forgotten() {
        let cell = cell();
        let session = Session::new(cell.clone());
        let mut lost = Box::pin(session.lost());
        assert!(lost.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(lost);
        assert!(cell.set(SessionState::Lost).is_empty());
    }
}
