use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Measures a phase on the wall clock and on the clock of this process' processor time.
pub(crate) struct Stopwatch {
    started: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), cpu: cpu_time() }
    }

    /// Ends the phase, in which `ops` operations were done.
    pub(crate) fn stop(self, ops: usize) -> Report {
        let secs = self.started.elapsed().as_secs_f64();
        let cpu = cpu_time() - self.cpu;
        Report {
            ops,
            secs,
            per_s: ops as f64 / secs,
            cpu_s: cpu.as_secs_f64(),
            latencies: Vec::new(),
            more: Vec::new(),
        }
    }
}

/// User and system time of all threads of this process: the crate has one of its own for I/O.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).expect("processor time is not negative")
}

pub(crate) struct Report {
    pub(crate) ops: usize,
    pub(crate) secs: f64,
    pub(crate) per_s: f64,
    pub(crate) cpu_s: f64,
    /// Empty where the time of one operation says nothing, as behind a full window.
    pub(crate) latencies: Vec<Duration>,
    /// What only some scenarios report.
    pub(crate) more: Vec<(&'static str, Option<f64>)>,
}

impl Report {
    pub(crate) fn with_latencies(mut self, latencies: Vec<Duration>) -> Self {
        self.latencies = latencies;
        self
    }

    pub(crate) fn into_json(mut self, scenario: &str) -> Value {
        self.latencies.sort_unstable();
        let mut report = json!({
            "peer": "zookeeper-client",
            "scenario": scenario,
            "ops": self.ops,
            "secs": round(self.secs, 6),
            "per_s": round(self.per_s, 1),
            "p50_us": self.percentile(50),
            "p99_us": self.percentile(99),
            "cpu_s": round(self.cpu_s, 6),
        });
        for (key, value) in self.more {
            report[key] = value.into();
        }
        report
    }

    /// Microseconds; the latencies are in order.
    fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = self.latencies.len() * percent / 100;
        let latency = self.latencies.get(rank)?;
        Some(round(latency.as_secs_f64() * 1e6, 1))
    }
}

pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
