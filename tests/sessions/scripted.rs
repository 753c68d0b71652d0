//! A server that says what a test wants. It is written by hand and not with the library's codec, which is on trial here.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a connection begins.
#[derive(Debug, PartialEq)]
pub(crate) enum Hello {
    /// The word that asks whether the server is read-write.
    Isro,
    /// The handshake.
    Connect { last_zxid: i64, session: i64, read_only: bool },
}

/// The server's end of one connection.
#[derive(Debug)]
pub(crate) struct Served {
    stream: TcpStream,
    /// What the client has said first.
    pub(crate) first: Vec<u8>,
}

pub(crate) const PING: i32 = 11;
pub(crate) const EXISTS: i32 = 3;
/// What says that a node exists: a Stat.
pub(crate) const STAT: [u8; 68] = [0; 68];
pub(crate) const NO_NODE: i32 = -101;
pub(crate) const NOT_READ_ONLY: i32 = -119;

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

impl Served {
    /// The next connection; `None` of one that ends before it has said anything.
    pub(crate) async fn accept(listener: &TcpListener) -> Option<(Self, Hello)> {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = vec![0; 4];
        stream.read_exact(&mut first).await.ok()?;
        if first == b"isro" {
            return Some((Self { stream, first }, Hello::Isro));
        }
        let length = u32::from_be_bytes(first[..].try_into().unwrap()) as usize;
        first.resize(4 + length, 0);
        stream.read_exact(&mut first[4..]).await.ok()?;
        let long = |at: usize| i64::from_be_bytes(first[at..at + 8].try_into().unwrap());
        let hello = Hello::Connect { last_zxid: long(8), session: long(20), read_only: first[48] == 1 };
        Some((Self { stream, first }, hello))
    }

    /// Says a word, as it is, and hangs up.
    pub(crate) async fn word(mut self, word: &[u8]) {
        // Who asked may have gone.
        let _ = self.stream.write_all(word).await;
    }

    /// Accepts the session for ten seconds.
    pub(crate) async fn greet(&mut self, session: i64, read_only: bool) {
        let mut body = [0; 4].to_vec(); // protocol version
        body.extend(10_000i32.to_be_bytes());
        body.extend(session.to_be_bytes());
        body.extend(16i32.to_be_bytes());
        body.extend([7; 16]);
        body.push(read_only.into());
        self.send(&body).await;
    }

    /// The next request, pings left out, as its number and operation; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<(i32, i32)> {
        loop {
            let length = self.stream.read_u32().await.ok()?;
            let mut body = vec![0; length as usize];
            self.stream.read_exact(&mut body).await.ok()?;
            let int = |at: usize| i32::from_be_bytes(body[at..at + 4].try_into().unwrap());
            match (int(0), int(4)) {
                (xid, PING) => self.reply(xid, 0, 0, &[]).await,
                request => return Some(request),
            }
        }
    }

    pub(crate) async fn reply(&mut self, xid: i32, zxid: i64, err: i32, body: &[u8]) {
        let mut frame = xid.to_be_bytes().to_vec();
        frame.extend(zxid.to_be_bytes());
        frame.extend(err.to_be_bytes());
        frame.extend(body);
        self.send(&frame).await;
    }

    /// Lets another server go on from the beginning.
    pub(crate) async fn pass_on(mut self, server: &str) {
        let mut server = TcpStream::connect(server).await.unwrap();
        server.write_all(&self.first).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut self.stream, &mut server).await;
    }

    async fn send(&mut self, body: &[u8]) {
        let frame = [&(body.len() as u32).to_be_bytes()[..], body].concat();
        // Where the client has hung up, the next read tells.
        let _ = self.stream.write_all(&frame).await;
    }
}
