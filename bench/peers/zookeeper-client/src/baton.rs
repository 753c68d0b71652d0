use std::time::{Duration, Instant};

use crate::report::{Report, Stopwatch};

/// Times the hand-overs of one lock, from just before a release to the next grant.
/// The first `warmup` ones are not counted.
pub(crate) struct Baton {
    warmup: usize,
    wanted: usize,
    granted: usize,
    released: Instant,
    latencies: Vec<Duration>,
    watch: Option<Stopwatch>,
    report: Option<Report>,
}

impl Baton {
    pub(crate) fn new(warmup: usize, wanted: usize) -> Self {
        Self {
            warmup,
            wanted,
            granted: 0,
            released: Instant::now(),
            latencies: Vec::with_capacity(wanted),
            watch: None,
            report: None,
        }
    }

    /// Counts a grant. Returns whether more are wanted.
    pub(crate) fn grant(&mut self) -> bool {
        if self.watch.is_some() {
            self.latencies.push(self.released.elapsed());
        }
        if self.granted == self.warmup {
            self.watch = Some(Stopwatch::start());
        }
        if self.latencies.len() == self.wanted
            && let Some(watch) = self.watch.take()
        {
            self.report = Some(watch.stop(self.wanted));
        }
        self.granted += 1;
        self.report.is_none()
    }

    pub(crate) fn release(&mut self) {
        self.released = Instant::now();
    }

    pub(crate) fn into_report(self) -> Option<Report> {
        Some(self.report?.with_latencies(self.latencies))
    }
}
