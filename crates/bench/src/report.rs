//! What is measured, and the line that says it.

use std::fmt;
use std::time::{Duration, Instant};

use herdless::TokioClient;
use herdless::transport::Counters;
use serde_json::{Map, Value, json};

/// The line.
pub(crate) struct Report(Map<String, Value>);

/// A measurement under way.
pub(crate) struct Measurement {
    scenario: &'static str,
    clients: Vec<TokioClient>,
    before: Counters,
    cpu_before: Option<Duration>,
    start: Instant,
    micros: Vec<f64>,
}

#[expect(clippy::disallowed_methods, reason = "to measure is to read the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

impl Measurement {
    pub(crate) fn start(scenario: &'static str, clients: &[TokioClient]) -> Self {
        Self {
            scenario,
            clients: clients.to_vec(),
            before: sum(clients),
            cpu_before: cpu(),
            start: now(),
            micros: Vec::new(),
        }
    }

    /// Notes how long one operation took.
    pub(crate) fn took(&mut self, time: Duration) {
        self.micros.push(time.as_secs_f64() * 1e6);
    }

    /// Ends the measurement: `ops` operations were done.
    pub(crate) fn end(mut self, ops: usize) -> Report {
        let (secs, cpu_after) = (self.start.elapsed().as_secs_f64(), cpu());
        let (before, after) = (self.before, sum(&self.clients));
        self.micros.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let index = (self.micros.len() * percent / 100).min(self.micros.len().saturating_sub(1));
            self.micros.get(index).map(|micros| round(*micros, 1))
        };
        let cpu_s = cpu_after.zip(self.cpu_before).map(|(after, before)| (after - before).as_secs_f64());
        let mut report = Report(Map::new());
        report.set("peer", json!("herdless"));
        report.set("scenario", json!(self.scenario));
        report.set("ops", json!(ops));
        report.set("secs", json!(round(secs, 6)));
        report.set("per_s", json!(round(ops as f64 / secs, 1)));
        report.set("p50_us", json!(percentile(50)));
        report.set("p99_us", json!(percentile(99)));
        report.set("cpu_s", json!(cpu_s.map(|secs| round(secs, 6))));
        report.set("requests", json!(after.requests - before.requests));
        report.set("bytes_out", json!(after.bytes_out - before.bytes_out));
        report.set("bytes_in", json!(after.bytes_in - before.bytes_in));
        report.set("watch_events", json!(after.watch_events - before.watch_events));
        report
    }
}

impl Report {
    /// Adds a field, or gives it another value.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// Adds a field with the value of another.
    pub(crate) fn repeat(&mut self, of: &str, key: &str) {
        let value = self.0.get(of).cloned().unwrap_or_default();
        self.set(key, value);
    }

    pub(crate) fn number(&self, key: &str) -> f64 {
        self.0.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Value::Object(self.0.clone()).to_string())
    }
}

pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn sum(clients: &[TokioClient]) -> Counters {
    clients.iter().map(TokioClient::counters).fold(Counters::default(), |mut sum, one| {
        sum.requests += one.requests;
        sum.bytes_out += one.bytes_out;
        sum.bytes_in += one.bytes_in;
        sum.watch_events += one.watch_events;
        sum
    })
}

/// The processor time of all threads of this process so far, user and system (Linux: nanoseconds in schedstat).
fn cpu() -> Option<Duration> {
    let mut total = 0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total += stat.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(total))
}

/// How much of this process is in memory, in bytes (Linux: the kibibytes of `VmRSS`).
pub(crate) fn resident() -> Option<u64> {
    resident_of("self")
}

/// As [`resident`], of the process with this number.
pub(crate) fn resident_of(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
