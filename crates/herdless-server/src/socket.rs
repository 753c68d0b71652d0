//! The stream below a connection, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use herdless_core::Identity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use tokio_rustls::{Accept, server::TlsStream};

/// A TCP stream. One that is to speak TLS carries nothing before [`poll_greeted`](Self::poll_greeted) is ready.
pub(crate) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Greeting(Box<Accept<TcpStream>>),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Ready when the peer is known as far as TLS makes it known. An error means that it is not to be served.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::needless_pass_by_ref_mut, unused_variables, reason = "TLS needs it")
    )]
    pub(crate) fn poll_greeted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Identity>>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(None)),
            #[cfg(feature = "tls")]
            Self::Greeting(accept) => {
                let stream = std::task::ready!(Pin::new(accept).poll(cx))?;
                let identity = crate::x509::identity(stream.get_ref().1)?;
                *self = Self::Tls(Box::new(stream));
                Poll::Ready(Ok(identity))
            }
            #[cfg(feature = "tls")]
            Self::Tls(_) => Poll::Ready(Ok(None)),
        }
    }

    /// Says goodbye where that is usual: so the peer can tell the end from a connection that was cut.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::needless_pass_by_ref_mut, unused_variables, reason = "TLS needs it")
    )]
    pub(crate) fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Self::Greeting(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(feature = "tls")]
fn not_greeted<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, out),
            #[cfg(feature = "tls")]
            Self::Greeting(_) => not_greeted(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Greeting(_) => not_greeted(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Greeting(_) => not_greeted(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Greeting(_) => not_greeted(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
