//! Accepting connections, also when file descriptors have run out.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// For how long nothing is accepted after a failure that the reserve does not help against.
const PAUSE: Duration = Duration::from_millis(50);

/// So many connections may wait to be accepted, where the system allows it: in a burst, those beyond it lose a second or more
/// until they ask again.
const BACKLOG: u32 = 4_096;

/// Listens on the first of these addresses that can be had.
pub(crate) fn listen(addresses: &[SocketAddr]) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "there is no such address");
    for address in addresses {
        match listen_on(*address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that is started again is not kept waiting by the last connections of the one before. On Windows this would
    // let two of them have one address.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A listener that keeps a file descriptor in reserve: with none left it can still accept a connection in order to close it. The
/// client learns at once that it has to go elsewhere, instead of waiting in the system's queue.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    reserve: Option<File>,
}

/// What has come.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(TcpStream, SocketAddr),
    /// One that had to be closed at once.
    Refused(SocketAddr),
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, reserve: reserve() }
    }

    /// The next connection.
    ///
    /// # Cancel safety
    ///
    /// Nothing that was accepted is lost.
    pub(crate) async fn accept(&mut self) -> Accepted {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if self.reserve.is_none() {
                        self.reserve = reserve();
                    }
                    return Accepted::Connection(stream, peer);
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    if let Some(peer) = self.refuse().await {
                        return Accepted::Refused(peer);
                    }
                    // Some descriptors will come free.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Closes a connection that waits, with the descriptor in reserve.
    async fn refuse(&mut self) -> Option<SocketAddr> {
        drop(self.reserve.take()?);
        let next = poll_fn(|cx| Poll::Ready(self.listener.poll_accept(cx))).await;
        let peer = match next {
            Poll::Ready(io::Result::Ok((stream, peer))) => {
                drop(stream);
                Some(peer)
            }
            _ => None,
        };
        self.reserve = reserve();
        peer
    }
}

/// Any open file will do; where there is no such one, there is no reserve.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
