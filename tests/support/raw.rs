//! A client of a few bytes, for what the library's own client never does. It is written by hand and not with the
//! library's codec, which is on trial here.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A connection that speaks frames.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    last_xid: i32,
}

/// What a server says to a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    /// 0 says that the session is no more.
    pub(crate) timeout_ms: i32,
    pub(crate) session: i64,
    pub(crate) password: Vec<u8>,
}

/// `KeeperException.Code` of a request that was carried out.
pub(crate) const OK: i32 = 0;
/// The number of every ping (`ClientCnxn.PING_XID`), and of events.
pub(crate) const PING_XID: i32 = -2;
pub(crate) const EVENT_XID: i32 = -1;

impl Raw {
    /// A connection on which nothing was said yet.
    pub(crate) async fn dial(address: &str) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// The same, from another address of this machine.
    pub(crate) async fn dial_from(source: [u8; 4], address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self::over(socket.connect(address.parse().unwrap()).await.unwrap())
    }

    /// The same, with a window so small that the server soon notices that nothing is read.
    pub(crate) async fn dial_narrow(address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket.connect(address.parse().unwrap()).await.unwrap())
    }

    /// The same, over a stream that is there.
    pub(crate) fn over(stream: TcpStream) -> Self {
        // Where the peer has hung up already, the first read tells.
        let _ = stream.set_nodelay(true);
        Self { stream, last_xid: 0 }
    }

    /// A connection with a new session.
    pub(crate) async fn open(address: &str, timeout_ms: i32) -> (Self, Greeting) {
        let mut raw = Self::dial(address).await;
        let greeting = raw.greet(timeout_ms, 0, &[0; 16]).await.unwrap();
        (raw, greeting)
    }

    /// What it speaks over, to be read and written at the same time.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The handshake; `None` where the server hangs up instead of answering.
    pub(crate) async fn greet(&mut self, timeout_ms: i32, session: i64, password: &[u8]) -> Option<Greeting> {
        let mut body = Vec::new();
        body.extend(0i32.to_be_bytes()); // protocol version
        body.extend(0i64.to_be_bytes()); // last zxid seen
        body.extend(timeout_ms.to_be_bytes());
        body.extend(session.to_be_bytes());
        buffer(&mut body, password);
        body.push(0); // not read-only
        self.send(&body).await;
        let answer = self.receive().await?;
        Some(Greeting {
            timeout_ms: int(&answer, 4),
            session: i64::from_be_bytes(answer[8..16].try_into().unwrap()),
            password: answer[20..36].to_vec(),
        })
    }

    /// Creates a node with these flags (`CreateMode.toFlag`), for anyone; the server's code.
    pub(crate) async fn create(&mut self, path: &[u8], flags: i32) -> i32 {
        self.request(1, &Self::create_body(path, flags)).await
    }

    /// What is asked in order to create a node.
    pub(crate) fn create_body(path: &[u8], flags: i32) -> Vec<u8> {
        let mut body = Vec::new();
        buffer(&mut body, path);
        buffer(&mut body, b""); // data
        body.extend(1i32.to_be_bytes()); // one entry in the access control list
        body.extend(31i32.to_be_bytes());
        buffer(&mut body, b"world");
        buffer(&mut body, b"anyone");
        body.extend(flags.to_be_bytes());
        body
    }

    /// What is asked in order to know whether there is a node, with a watch or without.
    pub(crate) fn exists_body(path: &[u8], watch: bool) -> Vec<u8> {
        let mut body = Vec::new();
        buffer(&mut body, path);
        body.push(u8::from(watch));
        body
    }

    /// Sends a request and waits for its reply; the server's code.
    pub(crate) async fn request(&mut self, opcode: i32, body: &[u8]) -> i32 {
        self.ask(opcode, body).await;
        let reply = self.receive().await.expect("a reply and not the end of the connection");
        assert_eq!(int(&reply, 0), self.last_xid, "the reply to this request");
        int(&reply, 12)
    }

    /// Sends a request and waits for nothing; its number.
    pub(crate) async fn ask(&mut self, opcode: i32, body: &[u8]) -> i32 {
        self.last_xid += 1;
        let mut frame = self.last_xid.to_be_bytes().to_vec();
        frame.extend(opcode.to_be_bytes());
        frame.extend(body);
        self.send(&frame).await;
        self.last_xid
    }

    /// Asks for a sign of life.
    pub(crate) async fn ping(&mut self) {
        let mut frame = PING_XID.to_be_bytes().to_vec();
        frame.extend(11i32.to_be_bytes());
        self.send(&frame).await;
    }

    /// The number, the zxid and the code of the next reply.
    pub(crate) async fn header(&mut self) -> Option<(i32, i64, i32)> {
        let reply = self.receive().await?;
        Some((int(&reply, 0), i64::from_be_bytes(reply[4..12].try_into().unwrap()), int(&reply, 12)))
    }

    /// Sends one frame.
    pub(crate) async fn send(&mut self, body: &[u8]) {
        let mut frame = Vec::new();
        buffer(&mut frame, body);
        self.send_bytes(&frame).await;
    }

    /// Sends bytes as they are. Where the peer has hung up, the next read tells.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// All that comes until the end of the connection, as text.
    pub(crate) async fn text(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Asks for the node's data to be set, if it has a version that no node has; the server's code. ZooKeeper judges
    /// the path before it looks for the node.
    pub(crate) async fn set(&mut self, path: &[u8]) -> i32 {
        let mut body = Vec::new();
        buffer(&mut body, path);
        buffer(&mut body, b"");
        body.extend(i32::MAX.to_be_bytes());
        self.request(5, &body).await
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn receive(&mut self) -> Option<Vec<u8>> {
        let length = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(frame)
    }
}

pub(crate) fn buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as i32).to_be_bytes());
    out.extend(bytes);
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
