//! A client whose requests are written down.

mod history;
mod redact;

use herdless_core::{Client, Request, Response, Session};

pub use history::{Entry, History, Invocation, Overflow, Returned};

/// A client whose requests and outcomes are kept in a [`History`], for a checker. Clones are the same process of it.
///
/// A request is kept before it is submitted, and its outcome when it is taken, by the caller or by the undo of a response that was
/// dropped. Without an undo a response that is dropped leaves its request open.
///
/// # Examples
///
/// ```
/// use herdless_core::{ClientExt, CreateMode, NodePath};
/// use herdless_memory::MemoryServer;
/// use herdless_wrappers::{Entry, History};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, history, path) = (MemoryServer::new(), History::new(1_000), NodePath::parse("/a")?);
/// let (one, two) = (history.record(server.connect()), history.record(server.connect()));
/// one.create(&path, "x", CreateMode::Persistent).await?;
/// drop(two.get(&path));
/// let text = history.to_string();
/// assert!(text.starts_with(r#"[1, 2] process 1, session 0x1: Create(Create { path: "/a", data: b"x","#));
/// assert!(text.ends_with("GetData(GetData { path: \"/a\", watch: false }) -> open\n"));
/// for entry in history.drain() {
///     let Entry::Invocation(invocation) = entry else { panic!("the history is not whole: {entry}") };
///     assert!(invocation.returned.is_none_or(|returned| returned.at > invocation.invoked));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Recorder<C> {
    client: C,
    history: History,
    process: u64,
}

impl<C> Recorder<C> {
    pub(crate) fn new(client: C, history: History, process: u64) -> Self {
        Self { client, history, process }
    }

    /// Where its requests are kept.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Which process of the history it is.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// The client underneath.
    pub fn inner(&self) -> &C {
        &self.client
    }
}

impl<C: Client> Client for Recorder<C> {
    fn submit(&self, request: Request) -> Response {
        let Some(invoked) = self.history.invoked(self.process, self.session().id(), &request) else {
            return self.client.submit(request);
        };
        let under_way = UnderWay { history: self.history.clone(), invoked };
        self.client.submit(request).map(move |outcome| {
            under_way.history.returned(under_way.invoked, &outcome);
            outcome
        })
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

/// Goes with the response, or with its undo.
struct UnderWay {
    history: History,
    invoked: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.history.dropped(self.invoked);
    }
}
