//! Opening a byte stream to a server.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use rand::seq::SliceRandom;
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

/// Plain TCP. Names are looked up anew at each dial, and all their addresses are tried, each time in another random order: so
/// the clients spread over the servers behind one name, and an address where nobody answers at all costs some dials and
/// not every one.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDial;

#[async_trait]
impl Dial for TcpDial {
    async fn dial(&self, host: &Host) -> io::Result<Box<dyn Stream>> {
        let addresses = tokio::net::lookup_host((host.name.as_str(), host.port)).await?;
        let stream = connect_any(addresses.collect()).await?;
        // Requests are batched here already; a delayed one only waits.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

async fn connect_any(mut addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    addresses.shuffle(&mut rand::rng());
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await.and_then(to_another) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Refuses a stream that is connected to itself. That happens on the server's own machine while it is down, when the system
/// picks the server's port for the client's end, and TCP lets the two dials that it sees meet. The handshake would
/// come back as its own answer, in which the last zxid stands where an expired session has its timeout of zero; and the
/// server could not have its port again.
fn to_another(stream: TcpStream) -> io::Result<TcpStream> {
    match stream.local_addr()? == stream.peer_addr()? {
        true => Err(io::ErrorKind::ConnectionRefused.into()),
        false => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn of_several_addresses_each_is_the_first_at_times_and_a_dead_one_does_not_matter() {
        let listeners =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        addresses.push(gone.local_addr().unwrap());
        drop(gone);
        let mut reached = BTreeSet::new();
        // That one is never reached is as likely as 1 in 2^60.
        for _ in 0..60 {
            reached.insert(connect_any(addresses.clone()).await.unwrap().peer_addr().unwrap());
        }
        assert!(reached.iter().eq(addresses[..2].iter().collect::<BTreeSet<_>>()));
        assert!(connect_any(Vec::new()).await.is_err(), "a name without an address is an error and no panic");
    }

    /// The way by which the system comes to it, by chance; here on purpose.
    #[tokio::test]
    async fn a_stream_to_itself_is_a_refused_one() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let stream = socket.connect(own).await.expect("TCP has simultaneous opens");
        assert_eq!(to_another(stream).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (name, port) = ("localhost".into(), listener.local_addr().unwrap().port());
        let host = Host { name, port, scheme: None };
        assert!(TcpDial.dial(&host).await.is_ok());
    }
}
