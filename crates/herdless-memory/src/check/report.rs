//! What a run of a checker tells.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How a model went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Which orders were tried.
    pub coverage: Coverage,
    /// How many executions there were.
    pub executions: u64,
    /// How long they took.
    pub elapsed: Duration,
}

/// Which orders of a model's steps were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coverage {
    /// All.
    Exhaustive,
    /// All in which threads are interrupted no more often than this.
    PreemptionBound(usize),
    /// Some, drawn at random.
    Random,
}

impl Report {
    /// Runs a checker on `body`, and counts.
    pub(super) fn of(
        name: String,
        coverage: Coverage,
        body: impl Fn() + Send + Sync + 'static,
        run: impl FnOnce(Box<dyn Fn() + Send + Sync>),
    ) -> Self {
        let executions = Count::default();
        let count = executions.clone();
        #[expect(clippy::disallowed_methods, reason = "how long the checker took, not anything that is checked")]
        let start = Instant::now();
        run(Box::new(move || {
            count.add(true);
            body();
        }));
        Self { name, coverage, executions: executions.total(), elapsed: start.elapsed() }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhaustive => f.pad("exhaustive"),
            Self::PreemptionBound(bound) => f.pad(&format!("bound {bound}")),
            Self::Random => f.pad("random"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, coverage, executions, elapsed } = self;
        let seconds = elapsed.as_secs_f64();
        write!(f, "model {name:<44} {coverage:>10} {executions:>9} executions {seconds:>7.2} s")
    }
}

/// Counts over all executions of a model: proves that a branch ran. Clones are the same count.
///
/// A model whose interesting branch is never reached passes and has shown nothing.
///
/// ```
/// use herdless_memory::check::Count;
///
/// let contended = Count::default();
/// let contended_in = contended.clone();
/// let body = move |waited: bool| contended_in.add(waited); // ... in the model's closure
/// body(true);
/// contended.assert_reached("somebody waits"); // ... after the model
/// ```
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// Adds one if it happened.
    pub fn add(&self, happened: bool) {
        self.0.fetch_add(u64::from(happened), Ordering::Relaxed);
    }

    /// How often it happened.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Says that it must have happened.
    ///
    /// # Panics
    ///
    /// When it never did.
    #[track_caller]
    pub fn assert_reached(&self, what: &str) {
        assert!(self.total() > 0, "never reached: {what}");
    }
}
