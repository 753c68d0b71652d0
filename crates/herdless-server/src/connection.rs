//! One connection: bytes in, bytes out.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use herdless_core::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::socket::Socket;
use crate::state::{Output, Reason, Shared, Wakers};

/// A connection's place among all there may be; free again when it is dropped.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    id: u64,
}

/// Serves one client until either side is done.
pub(crate) struct Connection {
    seat: Seat,
    stream: Socket,
    is_greeted: bool,
    reading: BytesMut,
    writing: BytesMut,
    /// Whether what was read is still to be carried out.
    is_behind: bool,
    /// Whether others come first, as that takes long.
    gives_way: bool,
    /// When there will be more to send, if that is known.
    later: Option<Pin<Box<Sleep>>>,
    /// Until when there must be a session.
    handshake: Option<Pin<Box<Sleep>>>,
    /// Until when the client must take something.
    stall: Option<Pin<Box<Sleep>>>,
}

/// What is left to be sent.
enum Sent {
    /// Nothing now.
    All,
    /// Nothing ever.
    Last,
    /// The connection is no more, whatever was not sent.
    Gone,
}

const READ_CHUNK: usize = 16 * 1024;

impl Seat {
    /// Takes a place; `None` where there is none left.
    pub(crate) fn take(shared: &Arc<Shared>, peer: SocketAddr) -> Option<Self> {
        let id = shared.state.with(|state| state.open_link(peer))?;
        Some(Self { shared: shared.clone(), id })
    }
}

impl Connection {
    pub(crate) fn new(seat: Seat, stream: Socket) -> Self {
        let handshake = Some(Box::pin(tokio::time::sleep(seat.shared.limits.handshake)));
        let (reading, writing) = (BytesMut::new(), BytesMut::new());
        let (is_greeted, is_behind, gives_way, later, stall) = (false, false, false, None, None);
        Self { seat, stream, is_greeted, reading, writing, is_behind, gives_way, later, handshake, stall }
    }

    /// Ready once the peer is known as far as the socket makes it known.
    fn poll_greeted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_greeted {
            return Poll::Ready(Ok(()));
        }
        // There is nothing to send yet, but an end to hear of.
        let (id, writing) = (self.seat.id, &mut self.writing);
        match self.seat.shared.state.with(|state| state.take_output(id, writing, cx.waker())) {
            Output::Open { .. } | Output::Until { .. } => {}
            Output::Frozen => return Poll::Pending,
            Output::Done | Output::Gone => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
        let greeted = self.stream.poll_greeted(cx)?;
        if greeted.is_pending() && self.seat.shared.is_ending() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Some(identity) = ready!(greeted) {
            self.seat.shared.state.with(|state| state.prove(id, identity));
        }
        self.is_greeted = true;
        Poll::Ready(Ok(()))
    }

    /// Sends what there is. Pending when the client does not take it all now, or too much waits for the disk.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Sent>> {
        loop {
            let (id, writing) = (self.seat.id, &mut self.writing);
            let may_read = match self.seat.shared.state.with(|state| state.take_output(id, writing, cx.waker())) {
                Output::Open { may_read } => may_read,
                Output::Until { at, .. } if self.poll_later(at, cx).is_ready() => continue,
                Output::Until { may_read, .. } => may_read,
                Output::Frozen => {
                    // The time in which nothing is sent is not the client's.
                    self.stall = None;
                    return Poll::Pending;
                }
                Output::Done => return Poll::Ready(Ok(Sent::Last)),
                Output::Gone => return Poll::Ready(Ok(Sent::Gone)),
            };
            if self.writing.is_empty() {
                release(&mut self.writing);
                if Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
                    return self.poll_stall(cx).map(Err);
                }
                self.note_progress();
                return if may_read { Poll::Ready(Ok(Sent::All)) } else { Poll::Pending };
            }
            while !self.writing.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.writing) {
                    Poll::Pending => return self.poll_stall(cx).map(Err),
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => {
                        self.writing.advance(count);
                        self.note_progress();
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
        }
    }

    fn poll_later(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let later = self.later.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if later.deadline() != at {
            later.as_mut().reset(at);
        }
        later.as_mut().poll(cx)
    }

    /// Waits for a client that takes nothing, but not for ever: whoever waits no longer reads, its session ends, and the connection
    /// would stay.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Seat { shared, id } = &self.seat;
        if !shared.state.with(|state| state.may_stall(*id)) {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(shared.limits.stall)));
        if stall.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        shared.state.with(|state| state.give_up(*id, Reason::Slow));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Some of what was sent went out. Behind a full socket it has made room by taking something: a sign of life, and the only one
    /// that can be seen, as its pings are not read meanwhile.
    fn note_progress(&mut self) {
        if self.stall.take().is_some() {
            self.seat.shared.state.with(|state| state.hear(self.seat.id, Instant::now()));
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_behind && ready!(read(cx, &mut self.stream, &mut self.reading))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut wakers = Wakers::default();
        let (id, reading) = (self.seat.id, &mut self.reading);
        let received = self.seat.shared.state.with(|state| state.receive(id, reading, &mut wakers));
        wakers.wake();
        release(&mut self.reading);
        (self.is_behind, self.gives_way) = (received.is_behind, received.gives_way);
        if received.is_sooner {
            // Also where something wrong came behind the handshake: the session is there.
            self.seat.shared.sooner.notify_one();
        }
        let Some(error) = received.error else {
            return Poll::Ready(Ok(()));
        };
        tracing::debug!(%error, "closing");
        self.seat.shared.state.with(|state| state.give_up(id, Reason::Malformed));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// Goes as soon as the client does, where the server ends. A socket that is closed with something unread is reset, and
    /// what is on its way to the client would be lost.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.seat.shared.is_ending() || !self.seat.shared.state.with(|state| state.has_session(self.seat.id)) {
            return match self.stream.poll_goodbye(cx) {
                Poll::Pending => self.poll_stall(cx).map(drop),
                Poll::Ready(_) => Poll::Ready(()),
            };
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
        // It is let go when it is heard again.
        if self.seat.shared.state.with(|state| state.is_frozen(self.seat.id)) {
            return false;
        }
        self.handshake = None;
        let Seat { shared, id } = &self.seat;
        let is_late = !shared.state.with(|state| state.has_session(*id));
        if is_late {
            shared.state.with(|state| state.give_up(*id, Reason::Handshake));
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
        if ready!(self.poll_greeted(cx)).is_err() {
            return Poll::Ready(());
        }
        loop {
            // Nothing is read or carried out while the client does not take what it asked for.
            match self.poll_send(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_) | Ok(Sent::Gone)) => return Poll::Ready(()),
                Poll::Ready(Ok(Sent::Last)) => return self.poll_leave(cx),
                Poll::Ready(Ok(Sent::All)) => {}
            }
            if std::mem::take(&mut self.gives_way) {
                // Its first poll has us woken once the others had their turn, and what has arrived for them was looked for.
                return std::pin::pin!(tokio::task::yield_now()).poll(cx);
            }
            match self.poll_receive(cx) {
                // What had arrived was carried out.
                Poll::Pending if self.seat.shared.is_ending() => {
                    self.seat.shared.state.with(|state| state.finish(self.seat.id))
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.state.with(|state| state.close_link(self.id));
    }
}
