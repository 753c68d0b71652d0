//! All cases at once, and what became of them.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::{Ability, Backend, Verdict, cases};

/// What became of the cases, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Those that were kept.
    pub passed: Vec<&'static str>,
    /// Those that did not run, with the ability that the backend lacks.
    pub left_out: Vec<(&'static str, Ability)>,
    /// Those that were not kept, with what was found instead. What such a case has created may still be there.
    pub failed: Vec<(&'static str, String)>,
}

/// Runs all cases, one after the other. A case that fails does not keep the others from running.
pub async fn run_all<B: Backend>(backend: &B) -> Report {
    let mut report = Report::default();
    for case in cases() {
        match caught(case.run(backend)).await {
            Ok(Verdict::Passed) => report.passed.push(case.name()),
            Ok(Verdict::LeftOut(ability)) => report.left_out.push((case.name(), ability)),
            Err(message) => report.failed.push((case.name(), message)),
        }
    }
    report
}

impl Report {
    /// # Panics
    ///
    /// If a case failed; with all that did.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failed.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, left_out, failed) = (self.passed.len(), self.left_out.len(), self.failed.len());
        write!(f, "{passed} passed, {left_out} left out, {failed} failed")?;
        for (name, ability) in &self.left_out {
            write!(f, "\nleft out: {name} needs {ability:?}")?;
        }
        for (name, message) in &self.failed {
            write!(f, "\nfailed: {name}: {message}")?;
        }
        Ok(())
    }
}

/// The output, or the message of the panic.
async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
