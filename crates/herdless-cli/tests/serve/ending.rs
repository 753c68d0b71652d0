//! Being told to end.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::process::Process;

/// A session on a connection, by a few bytes written by hand.
async fn session(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut handshake = 44i32.to_be_bytes().to_vec();
    handshake.extend([0; 12]); // protocol version, last zxid seen
    handshake.extend(10_000i32.to_be_bytes()); // timeout
    handshake.extend([0; 8]); // no session yet
    handshake.extend(16i32.to_be_bytes());
    handshake.extend([0; 16]); // no password yet
    stream.write_all(&handshake).await.unwrap();
    frame(&mut stream).await.unwrap();
    stream
}

async fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    Some(frame)
}

/// The creation of a node with this name below the root, for anyone.
fn create(xid: i32, name: &str) -> Vec<u8> {
    let mut body = [xid.to_be_bytes(), 1i32.to_be_bytes()].concat();
    let mut buffer = |bytes: &[u8]| {
        body.extend((bytes.len() as i32).to_be_bytes());
        body.extend(bytes);
    };
    buffer(format!("/{name}").as_bytes());
    buffer(b""); // data
    body.extend([0, 0, 0, 1, 0, 0, 0, 31]); // one entry, everything allowed
    for part in ["world", "anyone"] {
        body.extend((part.len() as i32).to_be_bytes());
        body.extend(part.as_bytes());
    }
    body.extend(0i32.to_be_bytes()); // persistent
    [(body.len() as i32).to_be_bytes().to_vec(), body].concat()
}

#[tokio::test]
async fn a_signal_ends_it_in_order() {
    for name in ["TERM", "INT"] {
        let (mut process, address) = Process::serve(&["--in-memory"]).await;
        let idle = session(address).await;
        drop(idle);
        process.signal(name).await;
        process.line("ending").await;
        process.line("ended").await;
        assert_eq!(process.end().await.code(), Some(0), "{name}");
        TcpListener::bind(address).await.unwrap();
    }
}

#[tokio::test]
async fn what_has_arrived_is_answered_before_the_end() {
    let (mut process, address) = Process::serve(&["--in-memory"]).await;
    let mut stream = session(address).await;
    let requests: Vec<_> = (1..=1_000).flat_map(|xid| create(xid, &format!("node-{xid}"))).collect();
    stream.write_all(&requests).await.unwrap();
    process.signal("TERM").await;
    for expected in 1..=1_000i32 {
        let reply = frame(&mut stream).await.unwrap_or_else(|| panic!("no reply to {expected}"));
        assert_eq!(reply[..4], expected.to_be_bytes());
        assert_eq!(reply[12..16], [0; 4], "it was created");
    }
    assert!(frame(&mut stream).await.is_none());
    drop(stream);
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (mut process, address) = Process::serve(&["--in-memory"]).await;
    // It neither asks nor leaves, so that an end in order takes a second.
    let _idle = session(address).await;
    // Stopped, it finds both when it goes on.
    process.signal("STOP").await;
    process.signal("TERM").await;
    process.signal("INT").await;
    process.signal("CONT").await;
    process.line("while the server was ending").await;
    assert_eq!(process.end().await.code(), Some(1));
}
