//! Which request a fault is for, and which fault.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use herdless_core::{Refusal, Request};

use super::gate::Gate;

/// A fault, and the requests that it is for: all, unless it is told otherwise. See [`Faulty::inject`](super::Faulty::inject).
///
/// ```
/// use herdless_core::Refusal;
/// use herdless_wrappers::Rule;
///
/// // The second create below /orders is not carried out, and its client is not told so.
/// let lost = Rule::lose_request().kind("create").path_prefix("/orders/").nth(2);
/// // Nobody may read a node whose name ends in x.
/// let refused = Rule::refuse(Refusal::NoAuth).when(|request| match request {
///     herdless_core::Request::GetData(get) => get.path.name().ends_with('x'),
///     _ => false,
/// });
/// ```
pub struct Rule {
    fault: Fault,
    kind: Option<String>,
    prefix: Option<String>,
    when: Option<When>,
    nth: Option<u64>,
}

type When = Box<dyn Fn(&Request) -> bool + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    LoseRequest,
    LoseReply,
    Refuse(Refusal),
    HoldReply,
}

impl Rule {
    fn new(fault: Fault) -> Self {
        Self { fault, kind: None, prefix: None, when: None, nth: None }
    }

    /// The connection is lost before the request is sent: it is not carried out, and ends with `ConnectionLost`.
    pub fn lose_request() -> Self {
        Self::new(Fault::LoseRequest)
    }

    /// The connection is lost before the reply arrives: the request is carried out, and ends with `ConnectionLost`. The watch
    /// that it left is lost as well.
    pub fn lose_reply() -> Self {
        Self::new(Fault::LoseReply)
    }

    /// The server says no: nothing is carried out. Of a multi it is the first operation that is refused.
    pub fn refuse(refusal: Refusal) -> Self {
        Self::new(Fault::Refuse(refusal))
    }

    /// The reply is late: the request is carried out in its place, and its outcome, or that of its undo, comes after
    /// [`Injected::lift`].
    pub fn hold_reply() -> Self {
        Self::new(Fault::HoldReply)
    }

    /// Only requests of this kind, by [`Request::name`].
    pub fn kind(self, name: impl Into<String>) -> Self {
        Self { kind: Some(name.into()), ..self }
    }

    /// Only requests with a path that begins with this text. What has no path never does.
    pub fn path_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), ..self }
    }

    /// Only requests that `when` says yes to.
    pub fn when(self, when: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        Self { when: Some(Box::new(when)), ..self }
    }

    /// Only the n-th, from 1, of the requests that it is for. Otherwise each of them.
    pub fn nth(self, n: u64) -> Self {
        Self { nth: Some(n), ..self }
    }

    fn is_for(&self, request: &Request) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind == request.name())
            && self.prefix.as_ref().is_none_or(|prefix| has_path(request, prefix))
            && self.when.as_ref().is_none_or(|when| when(request))
    }
}

fn has_path(request: &Request, prefix: &str) -> bool {
    let mut found = false;
    request.clone().map_paths(|path, _| {
        found |= path.as_str().starts_with(prefix);
        path.clone()
    });
    found
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, kind, prefix, when: _, nth } = self;
        let mut debug = f.debug_struct("Rule");
        debug
            .field("fault", fault)
            .field("kind", kind)
            .field("prefix", prefix)
            .field("nth", nth)
            .finish_non_exhaustive()
    }
}

/// A rule at work. Clones are the same one.
#[derive(Clone)]
pub struct Injected(Arc<Inner>);

struct Inner {
    rule: Rule,
    gate: Arc<Gate>,
    is_lifted: AtomicBool,
    matched: AtomicU64,
    hits: AtomicU64,
}

impl Injected {
    pub(super) fn new(rule: Rule) -> Self {
        let (matched, hits) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { rule, gate: Arc::default(), is_lifted: AtomicBool::new(false), matched, hits }))
    }

    /// How many requests the fault has happened to.
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    /// The fault happens to nothing more, and the answers that it holds back go on.
    pub fn lift(&self) {
        self.0.is_lifted.store(true, Ordering::Relaxed);
        self.0.gate.open();
    }

    /// Counts the request, if the rule is for it; whether it is due.
    pub(super) fn is_due(&self, request: &Request) -> bool {
        let Inner { rule, is_lifted, matched, .. } = &*self.0;
        if is_lifted.load(Ordering::Relaxed) || !rule.is_for(request) {
            return false;
        }
        let number = matched.fetch_add(1, Ordering::Relaxed) + 1;
        rule.nth.is_none_or(|nth| nth == number)
    }

    /// The fault happens.
    pub(super) fn hit(&self) -> (Fault, Arc<Gate>) {
        self.0.hits.fetch_add(1, Ordering::Relaxed);
        (self.0.rule.fault, self.0.gate.clone())
    }
}

impl fmt::Debug for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injected").field("rule", &self.0.rule).field("hits", &self.hits()).finish_non_exhaustive()
    }
}
