//! A client with figures, for the [`metrics`] facade.

mod sessions;
mod watches;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::{
    Answer, Client, Create, Error, MultiOp, Outcome, ReadReply, Reply, Request, Response, Session, SetData, Time,
};
use metrics::{counter, gauge, histogram};

use sessions::Sessions;

/// A client that tells the installed recorder of everything that passes through it, under the label `name`. Clones share their
/// figures.
///
/// | name | kind | further labels | what |
/// |---|---|---|---|
/// | `herdless_requests_total` | counter | `kind` | requests submitted |
/// | `herdless_requests_in_flight` | gauge | | requests whose outcome somebody waits for |
/// | `herdless_request_seconds` | histogram | `kind` | from the submission until the outcome was taken |
/// | `herdless_outcomes_total` | counter | `kind`, `outcome` | requests that ended |
/// | `herdless_data_bytes_total` | counter | `direction` | bytes of nodes' data in requests and replies |
/// | `herdless_watch_events_total` | counter | `event` | events that were taken |
/// | `herdless_sessions_total` | counter | | sessions, the first included |
/// | `herdless_reconnects_total` | counter | | times that a session was connected again |
///
/// | label | values |
/// |---|---|
/// | `name` | what [`new`](Self::new) was given |
/// | `kind` | [`Request::name`] |
/// | `outcome` | `ok`, [`Error::name`](herdless_core::Error::name), or `dropped`: the response was, and no undo was there to be told |
/// | `direction` | `sent`, `received` |
/// | `event` | `created`, `deleted`, `data_changed`, `children_changed`; `gap` of a stream; `ended`: the watch, without an event |
///
/// No label has a path in it, and none has values without number. Bytes are those of nodes' data; those on the wire, with all
/// that goes with it, are the transport's to tell (`TokioClient::counters`).
///
/// Latency includes the time that an outcome lies ready until somebody takes it. Sessions and reconnects are looked for when a
/// request is submitted and when one ends, or at a call of [`look`](Self::look). However late that is, no reconnect of a session
/// that was seen is missed; a whole session that came and went in between is.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use herdless_memory::{ManualTime, MemoryServer};
/// use herdless_wrappers::Metered;
///
/// // In production `herdless::TokioTime`, and a client of an ensemble.
/// let client = Metered::new(MemoryServer::new().connect(), "orders", Arc::new(ManualTime::new()));
/// ```
pub struct Metered<C> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    client: C,
    name: Arc<str>,
    time: Arc<dyn Time>,
    sessions: Sessions,
}

impl<C: Client> Metered<C> {
    /// `client`, with figures under this name: what it is for, one of a few. Latency is read off `time`.
    pub fn new(client: C, name: impl Into<Arc<str>>, time: Arc<dyn Time>) -> Self {
        let shared = Shared { client, name: name.into(), time, sessions: Sessions::new() };
        shared.look();
        Self { shared: Arc::new(shared) }
    }

    /// Tells of the sessions and reconnects since the last look. To be called before figures are read, by whoever has clients that
    /// submit nothing for a while.
    pub fn look(&self) {
        self.shared.look();
    }
}

impl<C> Metered<C> {
    /// The client underneath.
    pub fn inner(&self) -> &C {
        &self.shared.client
    }
}

impl<C: Client + 'static> Client for Metered<C> {
    fn submit(&self, request: Request) -> Response {
        self.look();
        let under_way = UnderWay::begin(self.shared.clone(), &request);
        self.shared.client.submit(request).map(move |outcome| under_way.end(outcome))
    }

    fn session(&self) -> Session {
        self.shared.client.session()
    }
}

impl<C> Clone for Metered<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C: fmt::Debug> fmt::Debug for Metered<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { client, name, .. } = &*self.shared;
        f.debug_struct("Metered").field("client", client).field("name", name).finish_non_exhaustive()
    }
}

impl<C: Client> Shared<C> {
    fn look(&self) {
        let (sessions, reconnects) = self.sessions.look(&self.client);
        for (total, count) in [("herdless_sessions_total", sessions), ("herdless_reconnects_total", reconnects)] {
            if count > 0 {
                counter!(total, "name" => self.name.clone()).increment(count);
            }
        }
    }
}

impl<C> Shared<C> {
    fn bytes(&self, direction: &'static str, bytes: usize) {
        if bytes > 0 {
            counter!("herdless_data_bytes_total", "name" => self.name.clone(), "direction" => direction)
                .increment(bytes as u64);
        }
    }
}

/// A request until its outcome is taken: goes with the response, or with its undo.
struct UnderWay<C> {
    shared: Arc<Shared<C>>,
    kind: &'static str,
    since: Duration,
    outcome: &'static str,
}

impl<C: Client> UnderWay<C> {
    fn begin(shared: Arc<Shared<C>>, request: &Request) -> Self {
        let (name, kind) = (shared.name.clone(), request.name());
        counter!("herdless_requests_total", "name" => name.clone(), "kind" => kind).increment(1);
        gauge!("herdless_requests_in_flight", "name" => name).increment(1.0);
        shared.bytes("sent", data_sent(request));
        Self { since: shared.time.now(), shared, kind, outcome: "dropped" }
    }

    fn end(mut self, outcome: Outcome) -> Outcome {
        let Shared { name, time, .. } = &*self.shared;
        let latency = time.now().saturating_sub(self.since).as_secs_f64();
        histogram!("herdless_request_seconds", "name" => name.clone(), "kind" => self.kind).record(latency);
        self.outcome = outcome.as_ref().map_or_else(Error::name, |_| "ok");
        // Here as well: where the session ended, this is how it is noticed.
        self.shared.look();
        let Answer { reply, watch, stream } = outcome?;
        self.shared.bytes("received", data_received(&reply));
        let watch = watch.map(|watch| watches::watch(watch, name.clone()));
        let stream = stream.map(|stream| Box::new(watches::stream(*stream, name.clone())));
        Ok(Answer { reply, watch, stream })
    }
}

impl<C> Drop for UnderWay<C> {
    fn drop(&mut self) {
        let name = &self.shared.name;
        gauge!("herdless_requests_in_flight", "name" => name.clone()).decrement(1.0);
        counter!("herdless_outcomes_total", "name" => name.clone(), "kind" => self.kind, "outcome" => self.outcome)
            .increment(1);
    }
}

fn data_sent(request: &Request) -> usize {
    match request {
        Request::Create(Create { data, .. }) | Request::SetData(SetData { data, .. }) => data.len(),
        Request::Multi(multi) => {
            let data = multi.operations.iter().map(|operation| match operation {
                MultiOp::Create(Create { data, .. }) | MultiOp::SetData(SetData { data, .. }) => data.len(),
                MultiOp::Delete(_) | MultiOp::Check { .. } => 0,
            });
            data.sum()
        }
        _ => 0,
    }
}

fn data_received(reply: &Reply) -> usize {
    match reply {
        Reply::Data(data, _) => data.len(),
        Reply::MultiRead(reads) => {
            let data = reads.iter().map(|read| match read {
                Ok(ReadReply::Data(data, _)) => data.len(),
                Ok(ReadReply::Children(_)) | Err(_) => 0,
            });
            data.sum()
        }
        _ => 0,
    }
}
