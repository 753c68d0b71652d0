//! A client with faults by a script.

mod gate;
mod rule;

use std::fmt;
use std::sync::Arc;

use herdless_core::{Client, Error, Mutex, Request, Response, Session, StdMutex};

use rule::Fault;
pub use rule::{Injected, Rule};

/// A client to which what a test asks for happens: lost requests, lost replies, refusals, late replies. Clones share the
/// script.
///
/// The rules are looked at in the order in which they were injected, and the first that is due happens; each counts all requests
/// that it is for, also those that another rule has happened to. Nothing is random: the same requests meet the same faults.
///
/// # Like a connection, and unlike one
///
/// Whoever is told of a lost connection, be it the caller or an undo, is told what a real one would tell. What survives a lost
/// connection ([`Release`](herdless_core::Release), [`FindOwn`](herdless_core::FindOwn), and the end of a session) is carried out
/// and answered in spite of it, which counts as a hit; an [`Auth`](herdless_core::Auth) likewise.
///
/// Only the one request is lost: those that are under way with it are not, and the session stays connected. Suspended and expired
/// sessions are beyond a wrapper: `herdless_memory::Backend` has `disconnect` and `expire`.
///
/// # Examples
///
/// ```
/// use herdless_core::{ClientExt, CreateMode, Error, NodePath};
/// use herdless_memory::MemoryServer;
/// use herdless_wrappers::{Faulty, Rule};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (client, path) = (Faulty::new(MemoryServer::new().connect()), NodePath::parse("/a")?);
/// let lost = client.inject(Rule::lose_reply().kind("create").nth(1));
/// let created = client.create(&path, "", CreateMode::Persistent).await;
/// assert_eq!((created, lost.hits()), (Err(Error::ConnectionLost), 1));
/// assert!(client.exists(&path).await?.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Faulty<C> {
    client: C,
    script: Arc<StdMutex<Vec<Injected>>>,
}

impl<C> Faulty<C> {
    /// `client`, without a fault.
    pub fn new(client: C) -> Self {
        Self { client, script: Arc::new(StdMutex::new(Vec::new())) }
    }

    /// Has the fault happen from now on. What is returned says how often it has: a test whose fault never happened shows nothing.
    pub fn inject(&self, rule: Rule) -> Injected {
        let injected = Injected::new(rule);
        self.script.with(|script| script.push(injected.clone()));
        injected
    }

    /// The client underneath.
    pub fn inner(&self) -> &C {
        &self.client
    }
}

impl<C: Client> Client for Faulty<C> {
    fn submit(&self, request: Request) -> Response {
        // A condition is the test's own code: it is not run with the lock held.
        let script = self.script.with(|script| script.clone());
        // Each counts, so that which is due does not depend on the others.
        let due: Vec<_> = script.into_iter().filter(|injected| injected.is_due(&request)).collect();
        let Some((fault, gate)) = due.first().map(Injected::hit) else {
            return self.client.submit(request);
        };
        let survives = request.is_clean_up() || matches!(request, Request::Auth(_));
        match fault {
            Fault::LoseRequest | Fault::LoseReply if survives => self.client.submit(request),
            Fault::LoseRequest => Response::ready(Err(Error::ConnectionLost)),
            Fault::LoseReply => self.client.submit(request).map(|outcome| match outcome {
                // A server's reply, which does not arrive.
                Ok(_) | Err(Error::Refused(_) | Error::MultiRefused { .. } | Error::Uncertain(_)) => {
                    Err(Error::ConnectionLost)
                }
                // The client's own knowledge.
                Err(error) => Err(error),
            }),
            Fault::Refuse(refusal) => Response::ready(Err(match request {
                Request::Multi(_) => Error::MultiRefused { index: 0, refusal },
                _ => Error::Refused(refusal),
            })),
            Fault::HoldReply => gate.hold(self.client.submit(request)),
        }
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

impl<C: fmt::Debug> fmt::Debug for Faulty<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("client", &self.client).finish_non_exhaustive()
    }
}
