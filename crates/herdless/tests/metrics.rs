//! What the metrics facade is told of a place in line.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use herdless::memory::MemoryServer;
use herdless::metrics::MetricsObserver;
use herdless::{Lock, NodePath, RwLock};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

/// Counts what is recorded under each name and label.
#[derive(Clone, Default)]
struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

struct Cell(Tally, String);

impl Tally {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(&format!("{name}{{name=orders}}")).copied().unwrap_or(0)
    }
}

impl Cell {
    fn add(&self, count: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += count;
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        assert!(value >= 0.0);
        self.add(1);
    }
}

impl Recorder for Tally {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

#[test]
fn every_turn_of_a_place_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tally = Tally::default();
    with_local_recorder(&tally, || runtime.block_on(contend()));
    let told = [
        ("herdless_grants_total", 4),
        ("herdless_wait_seconds", 4),
        ("herdless_hand_over_seconds", 1),
        ("herdless_hold_seconds", 4),
        ("herdless_given_up_total", 1),
        ("herdless_lost_held_total", 1),
        ("herdless_lost_waiting_total", 1),
    ];
    for (name, count) in told {
        assert_eq!(tally.of(name), count, "{name}");
    }
    assert!(tally.of("herdless_line_length") > 0);
}

/// Four grants (one of them handed over, one lost), one wait given up, one lost.
async fn contend() {
    let server = MemoryServer::new();
    let observer = Arc::new(MetricsObserver::new("orders"));
    let path = || NodePath::parse("/orders").unwrap();
    let (one, two) = (server.connect(), server.connect());
    let lock = |client| Lock::builder(client, path()).observer(observer.clone()).build();
    let (first, second) = (lock(one.clone()), lock(two.clone()));
    let guard = first.acquire().await.unwrap();
    let mut waiting = Box::pin(second.acquire());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    {
        let mut given_up = pin!(first.acquire());
        assert!(given_up.as_mut().poll(&mut cx).is_pending());
    }
    drop(guard);
    drop(waiting.await.unwrap());

    let guard = first.acquire().await.unwrap();
    let ticket = second.enqueue().await.unwrap();
    server.expire(&two);
    assert!(ticket.await.is_err());
    server.expire(&one);
    drop(guard);

    let shared = RwLock::builder(one, NodePath::parse("/config").unwrap()).observer(observer).build();
    drop(shared.read().await.unwrap());
}
