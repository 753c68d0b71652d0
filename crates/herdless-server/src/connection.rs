//! One connection: bytes in, bytes out.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use herdless_core::Mutex;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::state::{Shared, Wakers};

/// Serves one client until either side is done.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    id: u64,
    stream: TcpStream,
    reading: BytesMut,
    writing: BytesMut,
    /// Until when there must be a session.
    handshake: Option<Pin<Box<Sleep>>>,
}

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
const READ_CHUNK: usize = 16 * 1024;

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Self {
        let id = shared.state.with(|state| state.open_link(peer));
        let handshake = Some(Box::pin(tokio::time::sleep(HANDSHAKE)));
        Self { shared, id, stream, reading: BytesMut::new(), writing: BytesMut::new(), handshake }
    }

    /// Sends what there is. Pending when the client does not take it all now, or too much waits for the disk.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let (id, writing) = (self.id, &mut self.writing);
            let Some(may_read) = self.shared.state.with(|state| state.take_output(id, writing, cx.waker())) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            };
            if self.writing.is_empty() {
                return if may_read { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            while !self.writing.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.writing) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => self.writing.advance(count),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reading.reserve(READ_CHUNK);
        match pin!(self.stream.read_buf(&mut self.reading)).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
        }
        let mut wakers = Wakers::default();
        let (id, reading) = (self.id, &mut self.reading);
        let received = self.shared.state.with(|state| state.receive(id, reading, &mut wakers));
        wakers.wake();
        match received {
            Ok(is_sooner) => {
                if is_sooner {
                    self.shared.sooner.notify_one();
                }
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                tracing::debug!(%error, "closing");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(handshake) = &mut self.handshake else {
            return false;
        };
        if handshake.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.handshake = None;
        !self.shared.state.with(|state| state.has_session(self.id))
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_late(cx) {
            return Poll::Ready(());
        }
        loop {
            // Nothing is read while the client does not take what it asked for: so the replies to one read are all that
            // ever waits here.
            match self.poll_send(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            match self.poll_receive(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.state.with(|state| state.close_link(self.id));
    }
}
