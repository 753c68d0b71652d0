//! What was asked and answered, in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use herdless_core::{Error, Mutex, Outcome, Reply, Request, SessionId, StdMutex};

use super::{Recorder, redact};

/// A history of the requests of any number of clients. Clones are the same history.
///
/// Its clock is a counter: every submission and every outcome that is taken has a number of its own. If one request has returned
/// before another was invoked by these numbers, it has in real time, and everything a request does happens between its two.
///
/// It holds a limited number of requests. What comes when it is full is not kept, and it says so: see [`Entry::Overflow`].
#[derive(Clone)]
pub struct History(Arc<StdMutex<Inner>>);

struct Inner {
    capacity: usize,
    clock: u64,
    processes: u64,
    /// By the time of their invocation.
    invocations: BTreeMap<u64, Kept>,
    overflow: Option<Overflow>,
}

struct Kept {
    invocation: Invocation,
    is_under_way: bool,
}

/// One entry of a [`History`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "either something is known, or it is known that it is not")]
#[expect(clippy::large_enum_variant, reason = "there is at most one of the small ones")]
pub enum Entry {
    /// A request, and how it ended.
    Invocation(Invocation),
    /// There was no room. A checker that passes over this checks another history than what happened.
    Overflow(Overflow),
}

/// A request, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invocation {
    /// Which client of the history, from 1, in the order of [`History::record`].
    pub process: u64,
    /// The client's session when it was submitted.
    pub session: SessionId,
    /// What was asked, without credentials.
    pub request: Request,
    /// When, by the history's clock.
    pub invoked: u64,
    /// How it ended. `None` while it is under way, and for ever where its response was dropped: it may or may not have been
    /// carried out, at any time from its invocation on.
    pub returned: Option<Returned>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Returned {
    /// When its outcome was taken, by the history's clock.
    pub at: u64,
    /// The reply, or the error, which says what is known of the effect.
    pub outcome: Result<Reply, Error>,
}

/// Requests that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overflow {
    /// How many.
    pub requests: u64,
    /// When the first was submitted, by the history's clock.
    pub first: u64,
    /// When the last was.
    pub last: u64,
}

impl History {
    /// An empty history with room for so many requests.
    pub fn new(capacity: usize) -> Self {
        let (invocations, overflow) = (BTreeMap::new(), None);
        Self(Arc::new(StdMutex::new(Inner { capacity, clock: 0, processes: 0, invocations, overflow })))
    }

    /// A client around `client` whose requests are kept here, as those of the next process.
    pub fn record<C>(&self, client: C) -> Recorder<C> {
        let process = self.0.with(|inner| {
            inner.processes += 1;
            inner.processes
        });
        Recorder::new(client, self.clone(), process)
    }

    /// All that is kept, in the order of submission, what is under way as well.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<> {
        let (invocations, overflow) = self.0.with(|inner| {
            let kept = inner.invocations.values().map(|kept| kept.invocation.clone());
            (kept.collect::<Vec<_>>(), inner.overflow)
        });
        in_order(invocations, overflow)
    }

    /// Takes out what has ended, be it with an outcome or because its response was dropped, and the mark of what is missing. What
    /// is under way stays until it has ended.
    pub fn drain(&self) -> impl Iterator<Item = Entry> + use<> {
        let (invocations, overflow) = self.0.with(|inner| {
            let all = std::mem::take(&mut inner.invocations);
            let (under_way, ended): (BTreeMap<_, _>, _) = all.into_iter().partition(|(_, kept)| kept.is_under_way);
            inner.invocations = under_way;
            let ended: Vec<_> = ended.into_values().map(|kept: Kept| kept.invocation).collect();
            (ended, inner.overflow.take())
        });
        in_order(invocations, overflow)
    }

    /// Notes a submission; yields its time, if there was room.
    pub(super) fn invoked(&self, process: u64, session: SessionId, request: &Request) -> Option<u64> {
        self.0.with(|inner| {
            inner.clock += 1;
            let invoked = inner.clock;
            if inner.invocations.len() >= inner.capacity {
                let mark = inner.overflow.get_or_insert(Overflow { requests: 0, first: invoked, last: invoked });
                mark.requests += 1;
                mark.last = invoked;
                return None;
            }
            let request = redact::request(request);
            let invocation = Invocation { process, session, request, invoked, returned: None };
            inner.invocations.insert(invoked, Kept { invocation, is_under_way: true });
            Some(invoked)
        })
    }

    pub(super) fn returned(&self, invoked: u64, outcome: &Outcome) {
        let outcome = outcome.as_ref().map(|answer| redact::reply(&answer.reply)).map_err(Error::clone);
        self.0.with(|inner| {
            inner.clock += 1;
            let at = inner.clock;
            if let Some(kept) = inner.invocations.get_mut(&invoked) {
                kept.is_under_way = false;
                kept.invocation.returned = Some(Returned { at, outcome });
            }
        });
    }

    /// Nobody will take the outcome any more.
    pub(super) fn dropped(&self, invoked: u64) {
        self.0.with(|inner| {
            if let Some(kept) = inner.invocations.get_mut(&invoked) {
                kept.is_under_way = false;
            }
        });
    }
}

fn in_order(invocations: Vec<Invocation>, overflow: Option<Overflow>) -> impl Iterator<Item = Entry> {
    let mut entries: Vec<_> = invocations.into_iter().map(Entry::Invocation).collect();
    if let Some(overflow) = overflow {
        let place = entries.partition_point(|entry| entry.invoked() < overflow.first);
        entries.insert(place, Entry::Overflow(overflow));
    }
    entries.into_iter()
}

impl Entry {
    /// When it began, by the history's clock.
    pub fn invoked(&self) -> u64 {
        match self {
            Self::Invocation(invocation) => invocation.invoked,
            Self::Overflow(overflow) => overflow.first,
        }
    }
}

/// A line for each entry; see [`Entry`]'s.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

/// One line: the two times, who, the request, the outcome. What nodes hold is shown; credentials are not.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invocation(Invocation { process, session, request, invoked, returned }) => {
                let (at, outcome) = match returned {
                    Some(Returned { at, outcome: Ok(reply) }) => (at.to_string(), format!("{reply:?}")),
                    Some(Returned { at, outcome: Err(error) }) => (at.to_string(), format!("{error:?}")),
                    None => (String::new(), "open".to_owned()),
                };
                write!(f, "[{invoked}, {at}] process {process}, session {session}: {request:?} -> {outcome}")
            }
            Self::Overflow(Overflow { requests, first, last }) => {
                write!(f, "[{first}, {last}] overflow: {requests} requests are missing")
            }
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}
