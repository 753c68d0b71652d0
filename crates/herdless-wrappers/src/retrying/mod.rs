//! A client that asks again.

mod policy;
mod repeating;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use herdless_core::{Client, Request, Response, Session, Time};

pub use policy::{Backoff, RetryPolicy};
use repeating::Repeating;

/// A client that asks again where the answer was lost, if the request is one that may be carried out twice
/// ([`Request::is_repeatable`]): reads with and without a watch, checks, `sync`. Everything else passes through as it is:
/// what became of a write is for its caller to find out.
///
/// After [`ConnectionLost`](herdless_core::Error::ConnectionLost) or [`Uncertain`](herdless_core::Error::Uncertain) it waits until
/// the session is connected, then for the pause of the [`RetryPolicy`], and submits the request again. When the policy has
/// enough, the last error is told. Nothing is spawned: who awaits the response drives the repetition.
///
/// # Sessions
///
/// Nothing is repeated in another session than the one that it was submitted in. Where that ends first, the request ends with
/// [`SessionExpired`](herdless_core::Error::SessionExpired).
///
/// # Order
///
/// A repeated request has its place in the session's order at its last repetition. So that the order is still that of the
/// calls, it is repeated only where nothing has been submitted behind it through this client and its clones. Of several
/// requests that are under way together the last is repeated, and the others end with the error: the answer to a
/// `sync`, or to "is it ready?", is never newer than that of a read that was asked after it.
///
/// Tasks that need no order among each other have a `Retrying` each, around clones of one client; or one that is
/// [`out_of_order`](Self::out_of_order), if none of them relies on the order of two requests that are under way at the same
/// time.
///
/// # Cancel safety
///
/// Dropping a response ends its repetition. An undo ([`Response::on_abandon`]) is told the outcome of the attempt that is under
/// way, or the error of the last where none is.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use herdless_core::{ClientExt, CreateMode, NodePath};
/// use herdless_memory::{ManualTime, MemoryServer};
/// use herdless_wrappers::{Backoff, Retrying};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, path) = (MemoryServer::new(), NodePath::parse("/a")?);
/// let inner = server.connect();
/// let policy = Backoff::new(5);
/// # let policy = policy.first(std::time::Duration::ZERO);
/// let client = Retrying::new(inner.clone(), policy, Arc::new(ManualTime::new()));
/// client.create(&path, "x", CreateMode::Persistent).await?;
/// server.lose_reply_after(&inner, 0);
/// assert_eq!(client.get(&path).await?.0, "x");
/// # Ok(()) }
/// ```
pub struct Retrying<C> {
    shared: Arc<Shared<C>>,
    /// Whether it may be repeated what has something behind it.
    is_out_of_order: bool,
}

pub(crate) struct Shared<C> {
    client: C,
    policy: Arc<dyn RetryPolicy>,
    time: Arc<dyn Time>,
    /// How much has been submitted, repetitions not counted.
    submitted: AtomicU64,
}

impl<C> Retrying<C> {
    /// `client`, with what `policy` says. The pauses are slept by `time`.
    pub fn new(client: C, policy: impl RetryPolicy + 'static, time: Arc<dyn Time>) -> Self {
        let shared = Shared { client, policy: Arc::new(policy), time, submitted: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), is_out_of_order: false }
    }

    /// The same client, which repeats also what has other requests behind it. **The order of requests that are under way
    /// together is then not that of the calls:** the answer to an earlier one may be the newer.
    pub fn out_of_order(self) -> Self {
        Self { is_out_of_order: true, ..self }
    }

    /// The client underneath.
    pub fn inner(&self) -> &C {
        &self.shared.client
    }
}

impl<C: Client + 'static> Client for Retrying<C> {
    fn submit(&self, request: Request) -> Response {
        // Counted before it is submitted: who finds this number unchanged afterwards has nothing behind it.
        let ticket = self.shared.submitted.fetch_add(1, Ordering::SeqCst) + 1;
        if !request.is_repeatable() {
            return self.shared.client.submit(request);
        }
        let session = self.session();
        let first = self.shared.client.submit(request.clone());
        if self.session().id() != session.id() {
            // It is not known in which of the two it has its place.
            return first;
        }
        let ticket = (!self.is_out_of_order).then_some(ticket);
        Response::pending(Arc::new(Repeating::new(self.shared.clone(), ticket, session, request, first)))
    }

    fn session(&self) -> Session {
        self.shared.client.session()
    }
}

impl<C> Clone for Retrying<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), is_out_of_order: self.is_out_of_order }
    }
}

impl<C: fmt::Debug> fmt::Debug for Retrying<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying").field("client", self.inner()).finish_non_exhaustive()
    }
}
