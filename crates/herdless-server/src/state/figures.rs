//! What is counted, for those who ask with four letters.

use std::fmt;
use std::time::Duration;

use herdless_core::Request;
use herdless_proto::server::Counters;

/// How long requests took from their arrival to their reply, in milliseconds (`AvgMinMaxCounter`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    requests: u64,
    total: u64,
    pub(super) last: u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Latency {
    /// `requests` of them took this long.
    pub(super) fn record(&mut self, requests: u64, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.min = if self.requests == 0 { millis } else { self.min.min(millis) };
        self.max = self.max.max(millis);
        self.last = millis;
        self.requests = self.requests.saturating_add(requests);
        self.total = self.total.saturating_add(millis.saturating_mul(requests));
    }

    /// To four digits behind the point.
    pub(super) fn average(&self) -> f64 {
        let average = self.total as f64 / self.requests.max(1) as f64;
        (average * 10_000.0).round() / 10_000.0
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}/{}", self.min, self.average(), self.max)
    }
}

/// What a connection did last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activity {
    pub(super) operation: &'static str,
    pub(super) xid: i32,
    pub(super) zxid: i64,
    /// When its last reply was made, in milliseconds since the server began.
    pub(super) replied_ms: u128,
    pub(super) latency: Latency,
}

impl Activity {
    pub(super) const NONE: Self = Self {
        operation: "NA",
        xid: 0,
        zxid: 0,
        replied_ms: 0,
        latency: Latency { requests: 0, total: 0, last: 0, min: 0, max: 0 },
    };
}

/// The name of an operation among a connection's figures (`FinalRequestProcessor.processRequest`).
pub(super) fn short_name(request: &Request) -> &'static str {
    match request {
        Request::Create(_) => "CREA",
        Request::Delete(_) => "DELE",
        Request::Exists(_) => "EXIS",
        Request::GetData(_) | Request::GetConfig(_) => "GETD",
        Request::SetData(_) => "SETD",
        Request::GetChildren(_) => "GETC",
        Request::GetEphemerals(_) => "GETE",
        Request::AddWatch(_) => "ADDW",
        Request::CheckWatches(_) => "CHKW",
        Request::RemoveWatches(_) => "REMW",
        Request::GetAllChildrenNumber(_) => "GETACN",
        Request::GetAcl(_) => "GETA",
        Request::SetAcl(_) => "SETA",
        Request::Sync(_) => "SYNC",
        Request::Multi(_) => "MULT",
        Request::MultiRead(_) => "MLTR",
        Request::WhoAmI(_) => "HOMI",
        Request::Reconfig(_) => "RECO",
        Request::CloseSession => "CLOS",
        _ => "NA",
    }
}

/// The sum of two counts.
pub(super) fn sum(a: Counters, b: Counters) -> Counters {
    Counters { received: a.received + b.received, sent: a.sent + b.sent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_of_all_requests() {
        let mut latency = Latency::default();
        assert_eq!(latency.to_string(), "0/0.0/0");
        latency.record(1, Duration::from_millis(7));
        latency.record(2, Duration::from_millis(1));
        assert_eq!(latency.to_string(), "1/3.0/7");
        latency.record(4, Duration::ZERO);
        assert_eq!(latency.to_string(), "0/1.2857/7");
    }
}
