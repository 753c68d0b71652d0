//! A client of a few bytes, written by hand, that sends all it has at once.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A session on a connection, by a few bytes written by hand.
pub(crate) async fn session(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    handshake(&mut stream, 0, &[0; 16]).await.unwrap();
    stream
}

/// Asks for this session, or 0 for a new one; the session that is given, where any answer comes.
pub(crate) async fn handshake(stream: &mut TcpStream, session: i64, password: &[u8; 16]) -> Option<i64> {
    let mut handshake = 44i32.to_be_bytes().to_vec();
    handshake.extend([0; 12]); // protocol version, last zxid seen
    handshake.extend(10_000i32.to_be_bytes()); // timeout
    handshake.extend(session.to_be_bytes());
    handshake.extend(16i32.to_be_bytes());
    handshake.extend(password);
    stream.write_all(&handshake).await.unwrap();
    let answer = frame(stream).await?;
    // Behind the protocol version and the timeout.
    Some(i64::from_be_bytes(answer[8..16].try_into().unwrap()))
}

/// The next frame; `None` at the end of the connection.
pub(crate) async fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    Some(frame)
}

/// The creation of a node with this name below the root, and data, for anyone.
pub(crate) fn create(xid: i32, name: &str, data: &[u8]) -> Vec<u8> {
    let mut body = [xid.to_be_bytes(), 1i32.to_be_bytes()].concat();
    let mut buffer = |bytes: &[u8]| {
        body.extend((bytes.len() as i32).to_be_bytes());
        body.extend(bytes);
    };
    buffer(format!("/{name}").as_bytes());
    buffer(data);
    body.extend([0, 0, 0, 1, 0, 0, 0, 31]); // one entry, everything allowed
    for part in ["world", "anyone"] {
        body.extend((part.len() as i32).to_be_bytes());
        body.extend(part.as_bytes());
    }
    body.extend(0i32.to_be_bytes()); // persistent
    [(body.len() as i32).to_be_bytes().to_vec(), body].concat()
}

/// What the server says to these requests, numbered from 1, which are all sent before the first reply is read: its codes.
pub(crate) async fn codes(stream: &mut TcpStream, requests: &[Vec<u8>]) -> Vec<i32> {
    stream.write_all(&requests.concat()).await.unwrap();
    let mut codes = Vec::new();
    for xid in 1..=requests.len() as i32 {
        let reply = frame(stream).await.unwrap_or_else(|| panic!("no reply to {xid}"));
        assert_eq!(reply[..4], xid.to_be_bytes());
        codes.push(i32::from_be_bytes(reply[12..16].try_into().unwrap()));
    }
    codes
}

/// Whether there is a node with this name below the root.
pub(crate) fn exists(xid: i32, name: &str) -> Vec<u8> {
    let path = format!("/{name}");
    let mut body = [xid.to_be_bytes(), 3i32.to_be_bytes(), (path.len() as i32).to_be_bytes()].concat();
    body.extend(path.as_bytes());
    body.push(0); // no watch
    [(body.len() as i32).to_be_bytes().to_vec(), body].concat()
}
