//! Every order: loom.

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use herdless_core::{Locks, Mutex};

use super::panics;
use super::report::{Coverage, Report};

/// The in-memory server on loom's locks.
pub type LoomServer = crate::Backend<LoomLocks>;

/// [loom](https://docs.rs/loom)'s locks.
#[derive(Clone, Copy, Debug)]
pub struct LoomLocks;

impl Locks for LoomLocks {
    type Mutex<T: Send + 'static> = LoomMutex<T>;

    fn is_usable() -> bool {
        // loom's objects panic once more when they are touched while a failed model unwinds, and that aborts.
        !std::thread::panicking()
    }
}

/// loom's mutex as a [`Mutex`].
#[derive(Debug)]
pub struct LoomMutex<T>(loom::sync::Mutex<T>);

impl<T: Send + 'static> Mutex<T> for LoomMutex<T> {
    fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().expect("a panic ends the model"))
    }
}

/// Runs a future to its end on this loom thread. The one of loom itself adds spurious wake-ups and many more executions.
///
/// The waker is an ordinary `Arc` with a loom channel to park on, so that a deadlock in a model is a failed test with a
/// message and not an abort.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Parker::new();
    let waker = Waker::from(parker.clone());
    // On the heap: loom's stacks are 32 KiB, and what a recipe awaits takes a good part of that.
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        parker.park();
    }
}

struct Parker {
    wake: loom::sync::mpsc::Sender<()>,
    // Kept here, so that a watch that fires after its task has ended still finds the receiver.
    woken: std::sync::Mutex<loom::sync::mpsc::Receiver<()>>,
    is_set: AtomicBool,
}

impl Parker {
    fn new() -> Arc<Self> {
        let (wake, woken) = loom::sync::mpsc::channel();
        Arc::new(Self { wake, woken: std::sync::Mutex::new(woken), is_set: AtomicBool::new(false) })
    }

    fn park(&self) {
        // Only the thread that blocks takes this lock, so it is never held by another.
        let woken = self.woken.lock().expect("a panic ends the model");
        woken.recv().expect("the sender is beside the receiver");
        self.is_set.store(false, Ordering::Relaxed);
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        if LoomLocks::is_usable() && !self.is_set.swap(true, Ordering::Relaxed) {
            let _ = self.wake.send(());
        }
    }
}

/// A model: a closure that loom runs once for every order of its steps. At most five threads, the main one included.
#[derive(Clone, Debug)]
pub struct Model {
    name: String,
    preemption_bound: Option<usize>,
    limit: Duration,
}

impl Model {
    /// An exhaustive model.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), preemption_bound: None, limit: Duration::from_secs(120) }
    }

    /// Leaves out the orders in which threads are interrupted more often than this. 3 finds what is to be found in
    /// practice; 1 proves nothing; `None` is exhaustive.
    pub fn preemption_bound(mut self, bound: impl Into<Option<usize>>) -> Self {
        self.preemption_bound = bound.into();
        self
    }

    /// Runs the model, and prints a line with its name, executions and seconds.
    ///
    /// # Panics
    ///
    /// When an execution panics or deadlocks, and when the model was cut short: a model that has not tried everything
    /// has shown nothing.
    #[track_caller]
    pub fn check(self, body: impl Fn() + Send + Sync + 'static) -> Report {
        let mut builder = loom::model::Builder::new();
        builder.max_threads = 5;
        builder.max_branches = 10_000;
        builder.preemption_bound = self.preemption_bound;
        builder.max_permutations = None;
        builder.checkpoint_interval = 100;
        // loom takes its own limit for a success, so it must never be the one that ends a run.
        builder.max_duration = Some(self.limit + Duration::from_secs(1));
        let caller = Location::caller();
        let coverage = self.preemption_bound.map_or(Coverage::Exhaustive, Coverage::PreemptionBound);
        let report = Report::of(self.name, coverage, body, |body| panics::in_loom(|| builder.check(body)));
        let Report { name, executions, elapsed, .. } = &report;
        assert!(*elapsed < self.limit, "model {name} at {caller} was cut short after {executions} executions");
        println!("{report}");
        report
    }
}
