//! The figures, by the handles that the installed recorder has given out at the start.

use std::collections::BTreeMap;
use std::time::Duration;

use herdless_core::{Error, EventKind, Refusal, Request};
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use super::Life;
use crate::state::Reason;

pub(crate) struct Meter {
    accepted: Counter,
    turned: [(Reason, Counter); 9],
    sessions: [(Life, Counter); 5],
    /// By [`Request::name`]. A look-up in the recorder at each request would cost more than many a request.
    requests: BTreeMap<&'static str, Counter>,
    /// By ZooKeeper's code.
    refusals: BTreeMap<i32, Counter>,
    latency: Histogram,
    commits: Histogram,
    committed: Counter,
    events: [(EventKind, Counter); 4],
    levels: Gauges,
}

/// What is there at the moment.
pub(crate) struct Levels {
    pub(crate) connections: usize,
    pub(crate) sessions: usize,
    pub(crate) nodes: usize,
    pub(crate) ephemerals: usize,
    pub(crate) watches: usize,
    pub(crate) data_bytes: usize,
    /// Replies that wait for the disk.
    pub(crate) held: usize,
    pub(crate) is_read_only: bool,
    pub(crate) uptime: Duration,
    /// Frames since the start: from clients, and to them.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

struct Gauges {
    connections: Gauge,
    sessions: Gauge,
    nodes: Gauge,
    ephemerals: Gauge,
    watches: Gauge,
    data_bytes: Gauge,
    held: Gauge,
    read_only: Gauge,
    uptime: Gauge,
    received: Counter,
    sent: Counter,
}

impl Meter {
    pub(crate) fn new() -> Self {
        describe();
        let turned = |why, reason: &'static str| {
            (why, counter!("herdless_server_connections_turned_away_total", "reason" => reason))
        };
        let session = |life, event: &'static str| (life, counter!("herdless_server_sessions_total", "event" => event));
        let told = |kind, event: &'static str| (kind, counter!("herdless_server_watch_events_total", "event" => event));
        let request = |&kind: &&'static str| (kind, counter!("herdless_server_requests_total", "kind" => kind));
        let refusal = |refusal: Refusal| {
            (refusal.code(), counter!("herdless_server_refusals_total", "error" => format!("{refusal:?}")))
        };
        Self {
            accepted: counter!("herdless_server_connections_accepted_total"),
            turned: [
                turned(Reason::Connections, "connections"),
                turned(Reason::Address, "address"),
                turned(Reason::Descriptors, "descriptors"),
                turned(Reason::Handshake, "handshakes"),
                turned(Reason::Malformed, "malformed"),
                turned(Reason::Sessions, "sessions"),
                turned(Reason::Passwords, "passwords"),
                turned(Reason::Slow, "slow"),
                turned(Reason::Watches, "watches"),
            ],
            sessions: [
                session(Life::Opened, "opened"),
                session(Life::Resumed, "resumed"),
                session(Life::Refused, "refused"),
                session(Life::Closed, "closed"),
                session(Life::Expired, "expired"),
            ],
            requests: Request::NAMES.iter().map(request).collect(),
            refusals: (LAST_CODE..0).filter_map(Refusal::from_code).map(refusal).collect(),
            latency: histogram!("herdless_server_request_seconds"),
            commits: histogram!("herdless_server_commit_seconds"),
            committed: counter!("herdless_server_committed_records_total"),
            events: [
                told(EventKind::Created, "created"),
                told(EventKind::Deleted, "deleted"),
                told(EventKind::DataChanged, "data_changed"),
                told(EventKind::ChildrenChanged, "children_changed"),
            ],
            levels: Gauges::new(),
        }
    }

    pub(crate) fn accepted(&self) {
        self.accepted.increment(1);
    }

    pub(crate) fn turned(&self, why: Reason) {
        count(&self.turned, &why);
    }

    pub(crate) fn session(&self, what: Life) {
        count(&self.sessions, &what);
    }

    /// A request was carried out, or refused.
    pub(crate) fn request(&self, request: &Request, error: Option<&Error>) {
        if let Some(counter) = self.requests.get(request.name()) {
            counter.increment(1);
        }
        if let Some(Error::Refused(refusal) | Error::MultiRefused { refusal, .. }) = error
            && let Some(counter) = self.refusals.get(&refusal.code())
        {
            counter.increment(1);
        }
    }

    /// The replies to that many requests were made, so long after the requests had been read.
    pub(crate) fn replied(&self, requests: u64, time: Duration) {
        self.latency.record_many(time, usize::try_from(requests).unwrap_or(usize::MAX));
    }

    /// That many records are on disk, in one transaction that took so long.
    pub(crate) fn committed(&self, records: usize, time: Duration) {
        self.commits.record(time);
        self.committed.increment(records as u64);
    }

    pub(crate) fn event(&self, kind: EventKind) {
        count(&self.events, &kind);
    }

    pub(crate) fn look(&self, levels: &Levels) {
        let gauges = &self.levels;
        gauges.connections.set(levels.connections as f64);
        gauges.sessions.set(levels.sessions as f64);
        gauges.nodes.set(levels.nodes as f64);
        gauges.ephemerals.set(levels.ephemerals as f64);
        gauges.watches.set(levels.watches as f64);
        gauges.data_bytes.set(levels.data_bytes as f64);
        gauges.held.set(levels.held as f64);
        gauges.read_only.set(f64::from(u8::from(levels.is_read_only)));
        gauges.uptime.set(levels.uptime);
        gauges.received.absolute(levels.received);
        gauges.sent.absolute(levels.sent);
    }
}

impl Gauges {
    fn new() -> Self {
        Self {
            connections: gauge!("herdless_server_connections"),
            sessions: gauge!("herdless_server_sessions"),
            nodes: gauge!("herdless_server_nodes"),
            ephemerals: gauge!("herdless_server_ephemeral_nodes"),
            watches: gauge!("herdless_server_watches"),
            data_bytes: gauge!("herdless_server_data_bytes"),
            held: gauge!("herdless_server_held_replies"),
            read_only: gauge!("herdless_server_read_only"),
            uptime: gauge!("herdless_server_uptime_seconds"),
            received: counter!("herdless_server_packets_total", "direction" => "received"),
            sent: counter!("herdless_server_packets_total", "direction" => "sent"),
        }
    }
}

/// Below all of ZooKeeper's codes (`KeeperException.Code`).
const LAST_CODE: i32 = -256;

fn count<K: PartialEq>(counters: &[(K, Counter)], key: &K) {
    if let Some((_, counter)) = counters.iter().find(|(kind, _)| kind == key) {
        counter.increment(1);
    }
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram};
    counter!("herdless_server_connections_accepted_total", Unit::Count, "Connections that were accepted.");
    counter!(
        "herdless_server_connections_turned_away_total",
        Unit::Count,
        "Connections that were refused or cut off, by reason."
    );
    counter!("herdless_server_sessions_total", Unit::Count, "What has happened to sessions, by event.");
    counter!("herdless_server_requests_total", Unit::Count, "Requests of sessions, by kind; pings are none.");
    counter!("herdless_server_refusals_total", Unit::Count, "Requests that were refused, by error.");
    counter!("herdless_server_watch_events_total", Unit::Count, "Events that sessions were told of, by event.");
    counter!("herdless_server_packets_total", Unit::Count, "Frames from clients and to them, pings included.");
    histogram!(
        "herdless_server_request_seconds",
        Unit::Seconds,
        "From the moment a request was read until its reply was ready to be sent."
    );
    histogram!(
        "herdless_server_commit_seconds",
        Unit::Seconds,
        "How long the transactions on disk took, the sync included."
    );
    counter!(
        "herdless_server_committed_records_total",
        Unit::Count,
        "Nodes and sessions that were written to disk, removals included."
    );
    gauge!("herdless_server_connections", Unit::Count, "Connections that are open.");
    gauge!("herdless_server_sessions", Unit::Count, "Sessions that are open, with or without a connection.");
    gauge!("herdless_server_nodes", Unit::Count, "Nodes in the tree, the root included.");
    gauge!("herdless_server_ephemeral_nodes", Unit::Count, "Ephemeral nodes in the tree.");
    gauge!("herdless_server_watches", Unit::Count, "Watches that sessions have left.");
    gauge!("herdless_server_data_bytes", Unit::Bytes, "Bytes of the paths and the data of all nodes.");
    gauge!("herdless_server_held_replies", Unit::Count, "Replies that wait until what they show is on disk.");
    gauge!("herdless_server_read_only", Unit::Count, "1 while changes are refused because the disk is full.");
    gauge!("herdless_server_uptime_seconds", Unit::Seconds, "Time since the server was started.");
}
