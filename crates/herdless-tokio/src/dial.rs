//! Opening a byte stream to a server.

use std::fmt;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::Host;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens byte streams: TCP, or whatever a user brings (a proxy, a simulated network).
#[async_trait]
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Opens a stream to `host`. May be dropped at any time, when it takes too long.
    async fn dial(&self, host: &Host) -> io::Result<Box<dyn Stream>>;
}

/// Plain TCP. Names are looked up anew at each dial, and all their addresses are tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDial;

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, host: &Host) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((host.name.as_str(), host.port)).await?;
        // Requests are batched here already; a delayed one only waits.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
