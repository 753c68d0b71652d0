//! What the metrics facade is told of a client.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use herdless_core::{
    AddWatchMode, ClientExt, CreateMode, Error, MultiOp, NodePath, ReadOp, Refusal, Version, WatchStream,
};
use herdless_memory::{ManualTime, MemoryClient, MemoryServer};
use herdless_wrappers::{Faulty, Metered, Rule};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

/// What was recorded under each name and its labels: sums of counters, values of gauges, all values of histograms.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Cell(Told, String);

impl Told {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Cell(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn values(&self, name: &str, labels: &str) -> Vec<f64> {
        self.0.lock().unwrap().get(&format!("herdless_{name}{{name=orders{labels}}}")).cloned().unwrap_or_default()
    }

    fn sum(&self, name: &str, labels: &str) -> f64 {
        self.values(name, labels).into_iter().sum()
    }
}

impl Cell {
    fn push(&self, value: f64) {
        self.0.0.lock().unwrap().entry(self.1.clone()).or_default().push(value);
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.push(value as f64);
    }

    fn absolute(&self, _: u64) {
        unreachable!("not asked for here");
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.push(value);
    }

    fn decrement(&self, value: f64) {
        self.push(-value);
    }

    fn set(&self, _: f64) {
        unreachable!("not asked for here");
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

struct World {
    server: MemoryServer,
    bare: MemoryClient,
    faulty: Faulty<MemoryClient>,
    time: ManualTime,
    client: Metered<Faulty<MemoryClient>>,
}

/// What is told while `scene` runs.
fn told(scene: impl AsyncFnOnce(World)) -> Told {
    let told = Told::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    with_local_recorder(&told, || {
        let (server, time) = (MemoryServer::new(), ManualTime::new());
        let bare = server.connect();
        let faulty = Faulty::new(bare.clone());
        let client = Metered::new(faulty.clone(), "orders", Arc::new(time.clone()));
        runtime.block_on(scene(World { server, bare, faulty, time, client }));
    });
    told
}

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn requests_and_how_they_end() {
    let told = told(async |World { faulty, client, .. }| {
        client.create(&path("/a"), "", CreateMode::Persistent).await.unwrap();
        assert_eq!(client.get(&path("/b")).await, Err(Refusal::NoNode.into()));
        drop(client.get(&path("/a")));
        drop(client.get(&path("/a")).on_abandon(|_| {}));
        assert!(client.multi(vec![MultiOp::delete(&path("/b"), Version::ANY)]).await.is_err());
        let lost = faulty.inject(Rule::lose_reply());
        assert_eq!(client.clone().get(&path("/a")).await, Err(Error::ConnectionLost));
        assert_eq!(lost.hits(), 1);
    });
    for (kind, count) in [("create", 1.0), ("get_data", 4.0), ("multi", 1.0), ("exists", 0.0)] {
        assert_eq!(told.sum("requests_total", &format!(",kind={kind}")), count, "{kind}");
    }
    let outcomes = [
        ("create", "ok", 1.0),
        ("get_data", "ok", 1.0),
        ("get_data", "refused", 1.0),
        ("get_data", "dropped", 1.0),
        ("get_data", "connection_lost", 1.0),
        ("multi", "refused", 1.0),
    ];
    for (kind, outcome, count) in outcomes {
        let labels = format!(",kind={kind},outcome={outcome}");
        assert_eq!(told.sum("outcomes_total", &labels), count, "{labels}");
    }
    let names = told.0.lock().unwrap();
    assert_eq!(names.keys().filter(|name| name.contains("outcomes")).count(), outcomes.len(), "{names:?}");
    assert!(names.keys().all(|name| !name.contains('/')), "a path is a label");
}

#[test]
fn what_is_in_flight_and_how_long() {
    let told = told(async |World { faulty, time, client, .. }| {
        let held = faulty.inject(Rule::hold_reply());
        let (mut first, second) = (client.exists(&path("/a")), client.exists(&path("/b")));
        time.advance(Duration::from_millis(1500));
        assert!(poll(&mut first).is_pending());
        held.lift();
        assert!(poll(&mut first).is_ready());
        drop(second);
        // Where the undo is told late, that is when it ends.
        let held = faulty.inject(Rule::hold_reply());
        drop(client.sync(&path("/a")).on_abandon(|_| {}));
        time.advance(Duration::from_millis(250));
        held.lift();
    });
    assert_eq!(told.values("requests_in_flight", ""), [1.0, 1.0, -1.0, -1.0, 1.0, -1.0]);
    assert_eq!(told.values("request_seconds", ",kind=exists"), [1.5], "the one that was dropped has no latency");
    assert_eq!(told.values("request_seconds", ",kind=sync"), [0.25]);
}

#[test]
fn bytes_are_those_of_the_data() {
    let told = told(async |World { client, .. }| {
        let a = path("/a");
        client.create(&a, "123", CreateMode::Persistent).await.unwrap();
        client.set(&a, "12345", Version::ANY).await.unwrap();
        let create = MultiOp::create(&path("/b"), "1234567", CreateMode::Persistent);
        client
            .multi(vec![create, MultiOp::set(&a, "12", Version::ANY), MultiOp::check(&a, Version::ANY)])
            .await
            .unwrap();
        client.get(&path("/b")).await.unwrap();
        let reads = vec![ReadOp::GetData(a), ReadOp::GetChildren(NodePath::root()), ReadOp::GetData(path("/c"))];
        client.multi_read(reads).await.unwrap();
    });
    assert_eq!(told.sum("data_bytes_total", ",direction=sent"), 3.0 + 5.0 + 7.0 + 2.0);
    assert_eq!(told.sum("data_bytes_total", ",direction=received"), 7.0 + 2.0);
}

#[test]
fn events_are_counted_when_they_are_taken() {
    let told = told(async |World { server, bare, client, .. }| {
        let (a, other) = (path("/a"), server.connect());
        let next =
            async |stream: &mut WatchStream| std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await;
        let (_, watch) = client.exists_and_watch(&a).await.unwrap();
        let mut stream = client.add_watch(&a, AddWatchMode::Persistent).await.unwrap();
        let (_, dropped) = client.exists_and_watch(&a).await.unwrap();
        drop(dropped);
        other.create(&a, "", CreateMode::Persistent).await.unwrap();
        watch.await.unwrap();
        assert!(next(&mut stream).await.is_some());
        server.disconnect(&bare);
        server.reconnect(&bare);
        assert!(next(&mut stream).await.is_some());
        let (_, watch) = client.get_and_watch(&a).await.unwrap();
        server.expire(&bare);
        assert!(watch.await.is_err());
        assert!(next(&mut stream).await.unwrap().is_err());
        assert!(next(&mut stream).await.is_none());
    });
    for (event, count) in [("created", 2.0), ("gap", 1.0), ("ended", 2.0), ("deleted", 0.0)] {
        assert_eq!(told.sum("watch_events_total", &format!(",event={event}")), count, "{event}");
    }
}

/// A stream that is dropped frees the server's watch through the wrapper.
#[test]
fn a_dropped_stream_is_gone() {
    told(async |World { server, client, .. }| {
        let stream = client.add_watch(&path("/a"), AddWatchMode::Persistent).await.unwrap();
        assert_eq!(server.inspect(|tree| tree.watch_count()), 1);
        drop(stream);
        assert_eq!(server.inspect(|tree| tree.watch_count()), 0);
    });
}

/// However late somebody looks.
#[test]
fn no_reconnect_of_a_session_that_was_seen_is_missed() {
    let counts = |told: &Told| (told.sum("sessions_total", ""), told.sum("reconnects_total", ""));
    let told = told(async |World { server, bare, client, .. }| {
        let reconnect = || {
            server.disconnect(&bare);
            server.reconnect(&bare);
        };
        reconnect();
        reconnect();
        client.sync(&path("/a")).await.unwrap();
        server.disconnect(&bare);
        client.look();
        server.reconnect(&bare);
        // A session that ended while it was suspended was not connected again; one that ended while connected had been.
        reconnect();
        server.disconnect(&bare);
        server.expire(&bare);
        reconnect();
        server.expire(&bare);
        client.look();
        client.look();
    });
    // The second session came and went without anybody looking: neither it nor its reconnect is known.
    assert_eq!(counts(&told), (2.0, 4.0));
}
