//! A server that runs, and what it does until its end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::{Mutex, NodePath};
use tokio::net::ToSocketAddrs;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::accept::{Accepted, Acceptor};
use crate::builder::{BindError, Builder};
use crate::connection::{Connection, Seat};
use crate::faults::Faults;
use crate::serving::Serving;
use crate::state::{Reason, Shared};
use crate::store::{self, StoreError, Writer};
use crate::usage::Usage;

/// A running server. Dropping it ends it; [`shutdown`](Self::shutdown) and [`stop`](Self::stop) also wait for the end.
pub struct Server {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: Arc<Notify>,
    pub(super) serving: Option<Serving>,
}

impl Server {
    /// Starts a server with the default options on the caller's runtime.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub async fn bind(address: impl ToSocketAddrs) -> Result<Self, BindError> {
        Self::builder().bind(address).await
    }

    /// The options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How much is held for clients, and who was turned away. Costs next to nothing: counters are read.
    pub fn usage(&self) -> Usage {
        self.shared.state.with(|state| state.usage())
    }

    /// Whether changes are refused, because the disk is full. They are accepted again once there is room.
    pub fn is_read_only(&self) -> bool {
        self.shared.state.with(|state| state.is_read_only())
    }

    /// Tells the installed recorder what there is at the moment: the gauges of [the figures](crate#figures), and the frames. To be
    /// called before figures are read.
    #[cfg(feature = "metrics")]
    pub fn look(&self) {
        self.shared.state.with(|state| state.look());
    }

    /// Ends the server: it stops listening, carries out what has arrived, sends the replies, closes every connection, writes
    /// what is not on disk yet, and is gone when this returns: what it returns is why not all is on disk. A client that neither
    /// takes its replies nor closes its side is left after a second; a [`backup`](Self::backup) that is not whole is given up.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the server all the same, without waiting.
    pub async fn shutdown(mut self) -> Option<Arc<StoreError>> {
        self.stop.notify_one();
        if let Some(serving) = self.serving.take() {
            serving.ended().await;
        }
        self.shared.failure.borrow().clone()
    }

    /// As [`shutdown`](Self::shutdown), and blocks meanwhile: for a server that was [started](Builder::start) on a thread of
    /// its own.
    ///
    /// # Panics
    ///
    /// In asynchronous code, if the server was [bound](Builder::bind): it might run on the thread that is to be blocked.
    pub fn stop(mut self) -> Option<Arc<StoreError>> {
        self.stop.notify_one();
        if let Some(serving) = self.serving.take() {
            serving.wait();
        }
        self.shared.failure.borrow().clone()
    }

    /// Faults to inject, for tests.
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }

    /// Waits until the server has ended by itself, because its disk has failed: then it has closed all connections and
    /// acknowledged nothing more. It is not tried again, since a disk that has failed once may say that all is well when it is
    /// not; what is on it is found out by starting anew. A server that keeps nothing on disk does not fail.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn failed(&self) -> Arc<StoreError> {
        let mut failure = self.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(error)) => error,
            // The sender lives as long as we do.
            _ => std::future::pending().await,
        }
    }

    /// Writes all that is on disk to one new file, while the server goes on: what was acknowledged before this is called is in it,
    /// in a relaxed server but for the last of it. [`restore`](crate::restore) makes a data directory of it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not end the writing; the end of the server does. The file has its name once it is whole: until
    /// then it is called as that with `.unfinished` behind it, and is removed if it does not come to that. What a process
    /// leaves that is killed is written over by the next backup of that name.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: there is such a file already, another backup is being written to it, or it cannot be written; the
    /// server keeps nothing on disk, or has failed or ended meanwhile.
    pub async fn backup(&self, path: impl AsRef<Path>) -> Result<(), StoreError> {
        let path = path.as_ref().to_owned();
        let Some(database) = self.shared.state.with(|state| state.database()) else {
            let source = io::Error::new(io::ErrorKind::Unsupported, "this server keeps nothing on disk");
            return Err(StoreError::Directory { path, source });
        };
        let (done, backed_up) = oneshot::channel();
        let writing = std::thread::Builder::new().name("herdless-backup".into());
        let shared = self.shared.clone();
        let write = move || {
            let written = store::back_up(&database, &path, || shared.is_ending());
            // Whoever is told that it is over finds nobody at the store.
            drop(database);
            // Whoever asked may be gone.
            let _ = done.send(written);
        };
        writing.spawn(write).map_err(StoreError::Io)?;
        backed_up.await.unwrap_or_else(|_| Err(StoreError::Damaged("reading it failed".into())))
    }
}

// What is shared holds the passwords of sessions.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// How long a shutdown waits for slow readers.
const DRAIN: Duration = Duration::from_secs(1);

/// Serves until it is told to stop, or the store has failed.
pub(super) async fn serve(
    mut acceptor: Acceptor,
    options: Builder,
    shared: Arc<Shared>,
    writer: Option<Writer>,
    stop: Arc<Notify>,
) {
    let mut failure = shared.failure.subscribe();
    let mut connections = JoinSet::new();
    let mut reap = tokio::time::interval(options.reap_interval);
    // Where to go on with what a tick has begun.
    let mut reaping = None::<NodePath>;
    let next_expiry = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(next_expiry);
    loop {
        tokio::select! {
            () = stop.notified() => break,
            () = async { drop(failure.wait_for(Option::is_some).await) } => break,
            accepted = acceptor.accept() => match accepted {
                Accepted::Connection(..) if shared.state.with(|state| state.refuses_connections()) => {}
                Accepted::Connection(stream, peer) => {
                    // Before the handshake of TLS, which costs most. Without a seat it is closed here.
                    if let Some(seat) = Seat::take(&shared, peer) {
                        // A reply that waits for more to come is a reply that waits.
                        let _ = stream.set_nodelay(true);
                        shared.meter.accepted();
                        tracing::debug!(%peer, "accepted");
                        connections.spawn(Connection::new(seat, options.socket(stream)));
                    }
                }
                Accepted::Refused(peer) => {
                    shared.state.with(|state| state.refuse(Reason::Descriptors, Some(peer)));
                }
            },
            Some(_) = connections.join_next() => {}
            () = shared.sooner.notified() => {
                next_expiry.as_mut().reset(shared.state.with(|state| state.next_expiry()));
            }
            () = &mut next_expiry => {
                let wakers = shared.state.with(|state| state.expire(tokio::time::Instant::now()));
                wakers.wake();
                next_expiry.as_mut().reset(shared.state.with(|state| state.next_expiry()));
            }
            _ = reap.tick() => {
                reaping.get_or_insert_with(NodePath::root);
            }
            Some(from) = async { reaping.take() } => {
                let (next, wakers) = shared.state.with(|state| state.reap(&from));
                wakers.wake();
                reaping = next;
                tokio::task::yield_now().await;
            }
        }
    }
    drop(acceptor);
    // A timer runs out behind a look at the sockets: what has arrived by now is known to whom it is for.
    tokio::time::sleep(Duration::from_millis(1)).await;
    shared.end();
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    connections.shutdown().await;
    if let Some(writer) = writer {
        writer.finish().await;
    }
}
