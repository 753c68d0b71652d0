//! The options of a lock with a maximum hold.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::{Acl, Client, Error, NodePath, Time};

use super::LeaseLock;
use super::record::owner_who_agrees;
use crate::contend::{Line, Naming, Observer, Role};
use crate::layout::Layout;

/// Options of a [`LeaseLock`].
#[derive(Clone)]
pub struct LeaseLockBuilder<C, T> {
    lock: LeaseLock<C, T>,
    line: Line,
    max_hold_ms: u64,
}

impl<C: Client + Clone + 'static, T: Time + Clone + 'static> LeaseLockBuilder<C, T> {
    pub(super) fn new(client: C, path: NodePath, time: T, max_hold: Duration) -> Result<Self, Error> {
        let max_hold_ms =
            u64::try_from(max_hold.as_millis()).map_err(|_| Error::invalid("a maximum hold without end"))?;
        if max_hold_ms == 0 {
            return Err(Error::invalid("a maximum hold of no time"));
        }
        let line = Line::new(path, Naming::CURATOR_LOCK, Role::Exclusive);
        // What others read in our node must not be less than what we go by.
        let max_hold = Duration::from_millis(max_hold_ms);
        let (lock_delay, evicts_foreign) = (Duration::ZERO, false);
        let lock = LeaseLock { client, line: Arc::new(line.clone()), time, max_hold, lock_delay, evicts_foreign };
        Ok(Self { lock, line, max_hold_ms })
    }

    /// What people will read about the holder in the lock's node: a host, a service, a task. The default is the process id.
    ///
    /// Behind it are lines of ours, the maximum hold and the number of the attempt: Curator shows them too.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.line.owner = owner.into();
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.line.acl = acl.into();
        self
    }

    /// As [`LockBuilder::confirm_hand_over`](crate::LockBuilder::confirm_hand_over). Needed only where others write the data of
    /// contenders; that somebody deletes them does no harm here.
    pub fn confirm_hand_over(mut self, confirm: bool) -> Self {
        self.line.confirm = confirm;
        self
    }

    /// How the nodes of contenders are named. The default is Curator's.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.line = self.line.with_naming(match layout {
            Layout::Curator => Naming::CURATOR_LOCK,
            Layout::Kazoo => Naming::KAZOO_LOCK,
        });
        self
    }

    /// Who keeps figures of every place in the line. The default is nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.line.observer = Some(observer);
        self
    }

    /// How long the next holder waits before it holds, if the one before did not release: so that what a holder sent before its
    /// end has arrived by then, as Consul's `LockDelay` does. The record keeps the lock meanwhile. The default is zero: no delay.
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.lock.lock_delay = delay;
        self
    }

    /// Whether to remove also those who never agreed to a maximum hold, Curator's processes and plain [`Lock`](crate::Lock)s, when they
    /// have been first in line for this lock's own. The default is no.
    ///
    /// Such a holder is not told: it takes itself for the holder until it looks at its node. Only where every write is guarded, or
    /// compares tokens, no harm comes of it.
    pub fn evict_foreign(mut self, evict: bool) -> Self {
        self.lock.evicts_foreign = evict;
        self
    }

    /// The lock.
    pub fn build(mut self) -> LeaseLock<C, T> {
        self.line.owner = owner_who_agrees(&self.line.owner, self.max_hold_ms);
        self.lock.line = Arc::new(self.line);
        self.lock
    }
}

impl<C, T> fmt::Debug for LeaseLockBuilder<C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseLockBuilder").field("line", &self.line).field("lock", &self.lock).finish_non_exhaustive()
    }
}
