//! Faults for tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::{Mutex, Request, SessionId};

use crate::state::{Loss, Lost, Shared};

/// What goes wrong between clients and a server, on purpose: so that you can test how your program recovers. From
/// [`Server::faults`](crate::Server::faults). Cheap to clone: clones are for the same server.
///
/// Each method has taken effect when it returns. What the server has handed to the operating system before that is on its way
/// and still arrives.
///
/// A client's session is known by its id, `client.session().id()`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use herdless_core::{Client, ClientExt, CreateMode, Error, NodePath};
/// use herdless_server::Server;
///
/// let server = Server::bind("127.0.0.1:0").await?;
/// let client = herdless_tokio::connect(&server.address().to_string()).await?;
/// let session = client.session();
///
/// // Was it carried out? Nobody is told; only a look can tell.
/// let orders = NodePath::parse("/orders")?;
/// server.faults().lose_reply(session.id(), |_| true);
/// let created = client.create(&orders, "", CreateMode::Persistent).await;
/// assert_eq!(created.unwrap_err(), Error::ConnectionLost);
/// assert!(client.exists(&orders).await?.is_some());
///
/// server.faults().expire(session.id());
/// session.lost().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The sessions that are open, in the order of their ids; connected or not.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.shared.state.with(|state| state.sessions().map(|(id, _)| id).collect())
    }

    /// Whether this session is open and has a connection.
    pub fn is_connected(&self, session: SessionId) -> bool {
        self.shared.state.with(|state| state.sessions().any(|other| other == (session, true)))
    }

    /// Ends a session as if nothing had been heard of its client for too long: its ephemeral nodes are gone, and whoever
    /// watched them is told. Its connection is closed; the client learns why when it comes back. Whether it has: there
    /// may be no such session, and none ends while there is no room on the disk.
    pub fn expire(&self, session: SessionId) -> bool {
        let (was_open, wakers) = self.shared.state.with(|state| state.expire_now(session));
        wakers.wake();
        was_open
    }

    /// Cuts a session's connection: what the server has not sent is lost, and what it has not read is never carried out. The
    /// session lives on, and its client may come back. Whether there was a connection.
    pub fn disconnect(&self, session: SessionId) -> bool {
        let (was_connected, wakers) = self.shared.state.with(|state| state.disconnect(session));
        wakers.wake();
        was_connected
    }

    /// Cuts all connections, as [`disconnect`](Self::disconnect) does; how many there were. With
    /// [`refuse_connections`](Self::refuse_connections) before, nobody comes back.
    pub fn disconnect_all(&self) -> usize {
        let (connections, wakers) = self.shared.state.with(|state| state.disconnect_all());
        wakers.wake();
        connections
    }

    /// Freezes a session's present connection: nothing is read from it and nothing sent, not even its end, until
    /// [`thaw`](Self::thaw). The session gets no sign of life by it, and expires when its timeout is over, unless its client
    /// gives the connection up before and comes back with another one, which is not frozen. Whether there was a connection.
    pub fn freeze(&self, session: SessionId) -> bool {
        self.shared.state.with(|state| state.freeze(session))
    }

    /// Freezes every connection, those that are made meanwhile too: the server is there, and silent, until
    /// [`thaw_all`](Self::thaw_all). The time of sessions goes on, so they expire.
    pub fn freeze_all(&self) {
        self.shared.state.with(|state| state.freeze_all());
    }

    /// Ends what [`freeze`](Self::freeze) began: what the client has sent meanwhile is carried out, and what was to be sent to
    /// it is.
    pub fn thaw(&self, session: SessionId) {
        self.shared.state.with(|state| state.thaw(session)).wake();
    }

    /// Ends what [`freeze`](Self::freeze) and [`freeze_all`](Self::freeze_all) began, for every connection.
    pub fn thaw_all(&self) {
        self.shared.state.with(|state| state.thaw_all()).wake();
    }

    /// Sends everything, replies and events, this much later than it could be, in the same order. Requests are carried out at
    /// once. It is for all connections and for what waits already: with a delay of zero that is sent now.
    pub fn delay_replies(&self, delay: Duration) {
        self.shared.state.with(|state| state.delay(delay)).wake();
    }

    /// Lets nobody in: a new connection is closed at once, and no session is opened or taken up again. Connections with a
    /// session go on; see [`disconnect_all`](Self::disconnect_all).
    pub fn refuse_connections(&self) {
        self.shared.state.with(|state| state.refuse_connections(true));
    }

    /// Lets clients in again.
    pub fn accept_connections(&self) {
        self.shared.state.with(|state| state.refuse_connections(false));
    }

    /// Carries the session's next request out that `is_meant`, and then cuts its connection instead of answering. Replies to
    /// earlier requests arrive, later requests are not carried out. `|_| true` means the next request, whatever it is; pings and
    /// re-armed watches are none. It is done once; what was asked for before, by this or
    /// [`lose_request`](Self::lose_request), is forgotten. Whether there is such a session.
    ///
    /// `is_meant` is called under the server's lock: it must not block, nor call the server.
    pub fn lose_reply(&self, session: SessionId, is_meant: impl FnMut(&Request) -> bool + Send + 'static) -> bool {
        self.lose(session, Lost::Reply, is_meant)
    }

    /// As [`lose_reply`](Self::lose_reply), but the request is not carried out: to its client the two look alike.
    pub fn lose_request(&self, session: SessionId, is_meant: impl FnMut(&Request) -> bool + Send + 'static) -> bool {
        self.lose(session, Lost::Request, is_meant)
    }

    fn lose(&self, session: SessionId, lost: Lost, is_meant: impl FnMut(&Request) -> bool + Send + 'static) -> bool {
        let loss = Loss { lost, is_meant: Box::new(is_meant) };
        self.shared.state.with(|state| state.lose(session, loss))
    }

    /// Ends all that goes on: connections are accepted, thawed and not delayed, and nothing more is lost.
    pub fn heal(&self) {
        self.shared.state.with(|state| state.lose_nothing());
        self.accept_connections();
        self.delay_replies(Duration::ZERO);
        self.thaw_all();
    }
}

// What is shared holds the passwords of sessions.
impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}
