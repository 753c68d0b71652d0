//! One connection: bytes in, bytes out.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use herdless_core::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::meter::Turned;
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

/// What is left to be sent.
enum Sent {
    /// Nothing now.
    All,
    /// Nothing ever.
    Last,
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
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Sent>> {
        loop {
            let (id, writing) = (self.id, &mut self.writing);
            let Some(may_read) = self.shared.state.with(|state| state.take_output(id, writing, cx.waker())) else {
                return Poll::Ready(Ok(Sent::Last));
            };
            if self.writing.is_empty() {
                release(&mut self.writing);
                return if may_read { Poll::Ready(Ok(Sent::All)) } else { Poll::Pending };
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
        match read(cx, &mut self.stream, &mut self.reading) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
        }
        let mut wakers = Wakers::default();
        let (id, reading) = (self.id, &mut self.reading);
        let received = self.shared.state.with(|state| state.receive(id, reading, &mut wakers));
        wakers.wake();
        release(&mut self.reading);
        match received {
            Ok(is_sooner) => {
                if is_sooner {
                    self.shared.sooner.notify_one();
                }
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                tracing::debug!(%error, "closing");
                self.shared.meter.turned(Turned::Malformed);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    /// Goes as soon as the client does, where the server ends. A socket that is closed with something unread is reset, and
    /// what is on its way to the client would be lost.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shared.is_ending() || !self.shared.state.with(|state| state.has_session(self.id)) {
            return Poll::Ready(());
        }
        if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            self.reading.clear();
            match read(cx, &mut self.stream, &mut self.reading) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
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
        let is_late = !self.shared.state.with(|state| state.has_session(self.id));
        if is_late {
            self.shared.meter.turned(Turned::Handshake);
        }
        is_late
    }
}

/// Reads what has arrived, up to a chunk. The bytes come over the stack: a buffer for the largest read at each of ten thousand
/// connections, most of which are idle, would be most of the server's memory.
fn read(cx: &mut Context<'_>, stream: &mut (impl AsyncRead + Unpin), bytes: &mut BytesMut) -> Poll<io::Result<usize>> {
    let mut chunk = [const { MaybeUninit::uninit() }; READ_CHUNK];
    let mut chunk = ReadBuf::uninit(&mut chunk);
    Pin::new(stream).poll_read(cx, &mut chunk).map_ok(|()| {
        bytes.extend_from_slice(chunk.filled());
        chunk.filled().len()
    })
}

/// Gives back what is not needed until the client is heard of again, which may be never.
fn release(buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
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
                Poll::Ready(Ok(Sent::Last)) => return self.poll_leave(cx),
                Poll::Ready(Ok(Sent::All)) => {}
            }
            match self.poll_receive(cx) {
                // What had arrived was carried out.
                Poll::Pending if self.shared.is_ending() => self.shared.state.with(|state| state.finish(self.id)),
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
