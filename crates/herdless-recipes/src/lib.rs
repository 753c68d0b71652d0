//! Coordination recipes over any [`Client`](herdless_core::Client).
//!
//! Recipes know neither bytes nor the tree, read no clock, and spawn nothing. Every async function is cancel-safe, so
//! a deadline is the caller's: `timeout(d, lock.acquire())` in any runtime.
//!
//! One engine stands under all that wait in line (`contend`): a contender makes an ephemeral sequential node, watches
//! only the one before its own, and leaves. One departure wakes one contender and costs the same bytes at any length
//! of the line.
//!
//! # A session that goes on in another process
//!
//! A guard belongs to the client that got it. Where a transport lets another client take the session over, all guards of
//! the first are lost at once, and the second has none: the nodes of the recipes are there, for as long as the session
//! lives, and stand in everybody's way, that of the session's next client included. So release what is held before a
//! session is left to another. What was not released can still be removed ([`Lock::evict`]); claims of queues and permits
//! of semaphores go back when the session ends.
//!
//! # A read-only server
//!
//! Where a recipe has to change something, such a server refuses it as
//! [`NotReadOnly`](herdless_core::Refusal::NotReadOnly), and what is read there may be old. A guard that was there before
//! is valid for as long as if no server answered, and what its release has to do waits for a server that can do it.

mod barrier;
mod contend;
mod counter;
mod double_barrier;
mod election;
mod guard;
mod layout;
mod lease_lock;
mod lock;
mod multi_lock;
mod parents;
mod queue;
mod receipt;
mod reentrant;
mod rw_lock;
mod semaphore;
mod value;

pub use barrier::Barrier;
pub use contend::{Contender, End, Observation, Observer, Token};
pub use counter::{CounterChanges, CounterFormat, SharedCounter, SharedCounterBuilder};
pub use double_barrier::{DoubleBarrier, DoubleBarrierBuilder, Round};
pub use election::{Election, ElectionBuilder, ElectionLayout, Leader, Leaders, Leadership, Led};
pub use guard::Grant;
pub use layout::Layout;
pub use lease_lock::{LeaseGuard, LeaseLock, LeaseLockBuilder};
pub use lock::{Lock, LockBuilder, LockGuard, Ticket};
pub use multi_lock::{MultiGuard, MultiLock, MultiLockBuilder};
pub use queue::{
    AtMostOnceConsumer, Consumer, ConsumerBuilder, DeadLetter, DelayQueue, DelayQueueBuilder, Delivery, ForeignItem,
    ForeignQueue, ForeignQueueBuilder, ForeignQueueLayout, Item, PriorityQueue, PriorityQueueBuilder, Queue,
    QueueBuilder,
};
pub use reentrant::{Owner, ReentrantGuard, ReentrantLock, ReentrantRwLock};
pub use rw_lock::{ReadGuard, RwLock, RwLockBuilder, WriteGuard};
pub use semaphore::{Permit, PermitContender, Semaphore, SemaphoreBuilder};
pub use value::{Changes, SharedValue, SharedValueBuilder, Versioned};
