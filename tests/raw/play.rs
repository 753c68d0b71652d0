//! Saying something to a server and writing down what it answers.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::body::{Body, buffer};
use super::mask::{self, Own};

/// What is said, in order.
pub(crate) type Conversation = Vec<Step>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Connects and opens a session.
    Open { slot: usize },
    /// Connects and says this instead of a handshake.
    Greet { slot: usize, body: Body },
    /// Connects again, with the session that the slot has had, its number and password altered like this.
    Resume { slot: usize, tail: Vec<u8>, altered: Option<(usize, u8)> },
    /// Asks for something.
    Ask { slot: usize, xid: i32, opcode: i32, body: Body },
    /// Counts zxids anew, where 3.8 has left some out.
    Settle { slot: usize },
    /// Sends bytes as they are, and nothing after them.
    Last { slot: usize, bytes: Vec<u8> },
}

/// How many clients take part at most.
pub(crate) const SLOTS: usize = 2;

/// What a server has answered to one step, masked: the frames, and whether the connection has ended then.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    step: String,
    frames: Vec<Vec<u8>>,
    ended: bool,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Side {
    address: String,
    /// Who looks on.
    looking: Connection,
}

/// As long as no answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

impl Side {
    pub(crate) async fn watch(address: String) -> Self {
        let looking = Connection::open(&address).await;
        Self { address, looking }
    }

    /// Plays the conversation at a node of this name, which is left behind.
    pub(crate) async fn play(&mut self, conversation: &Conversation, name: &str) -> Vec<Entry> {
        let home = format!("/{name}");
        let own = Own { last_zxid: self.looking.last_zxid().await, sessions: Vec::new() };
        let mut playing =
            Playing { address: self.address.clone(), home, own, slots: Default::default(), entries: Vec::new() };
        for step in conversation {
            playing.step(step).await;
        }
        for slot in 0..SLOTS {
            playing.close(slot).await;
        }
        playing.look(&mut self.looking, "/").await;
        for root in ["/zookeeper", "~"] {
            playing.read(&mut self.looking, root.to_owned()).await;
        }
        playing.entries
    }
}

/// The first difference.
pub(crate) fn compare(ours: &[Entry], theirs: &[Entry]) -> Result<(), String> {
    for (at, (ours_at, theirs_at)) in ours.iter().zip(theirs).enumerate() {
        if ours_at != theirs_at {
            let before: String = ours[..at].iter().map(|entry| format!("\n  {}", entry.step)).collect();
            let show = |entry: &Entry| {
                let frames: String =
                    entry.frames.iter().map(|frame| format!("\n      {}", frame.escape_ascii())).collect();
                format!("{}{frames}{}", entry.step, if entry.ended { "\n      the end" } else { "" })
            };
            return Err(format!("{before}\n  ours:   {}\n  theirs: {}", show(ours_at), show(theirs_at)));
        }
    }
    if ours.len() == theirs.len() { Ok(()) } else { Err(format!("{} against {} entries", ours.len(), theirs.len())) }
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    /// Its number and its password.
    session: Option<(i64, Vec<u8>)>,
}

struct Playing {
    address: String,
    home: String,
    own: Own,
    slots: [Slot; SLOTS],
    entries: Vec<Entry>,
}

impl Playing {
    async fn step(&mut self, step: &Step) {
        let label = format!("{step:?}");
        match step {
            Step::Open { slot } => {
                self.close(*slot).await;
                self.greet(label, *slot, &handshake(0, &[0; 16], &[0])).await;
            }
            Step::Greet { slot, body } => {
                self.close(*slot).await;
                let body = body.encode(&self.home, self.own.last_zxid);
                self.greet(label, *slot, &body).await;
            }
            Step::Resume { slot, tail, altered } => {
                let Some((session, mut password)) = self.slots[*slot].session.clone() else {
                    return;
                };
                if let Some((at, bits)) = altered {
                    password[*at] ^= bits;
                }
                // The other connection is gone first: who is moved aside ends, and when is a matter of time.
                self.hang_up(*slot).await;
                self.greet(label, *slot, &handshake(session, &password, tail)).await;
            }
            Step::Ask { slot, xid, opcode, body } => {
                let body = body.encode(&self.home, self.own.last_zxid);
                self.ask(label, *slot, *xid, *opcode, &body).await;
                self.hear(1 - slot).await;
            }
            Step::Settle { slot } => {
                if let Some(connection) = &mut self.slots[*slot].connection {
                    self.own.last_zxid = connection.refused_zxid().await;
                }
            }
            Step::Last { slot, bytes } => {
                let Some(mut connection) = self.slots[*slot].connection.take() else {
                    return;
                };
                connection.send_bytes(bytes).await;
                let _ = connection.stream.shutdown().await;
                let frames = connection.rest().await;
                self.entries.push(Entry { step: label, frames, ended: true });
            }
        }
    }

    async fn greet(&mut self, step: String, slot: usize, body: &[u8]) {
        self.hang_up(slot).await;
        let mut connection = Connection::dial(&self.address).await;
        connection.send(body).await;
        let Some(answer) = connection.receive().await else {
            self.entries.push(Entry { step, frames: Vec::new(), ended: true });
            return;
        };
        let session = answer.get(8..16).map_or(0, |session| i64::from_be_bytes(session.try_into().unwrap()));
        let is_accepted = answer.len() >= 36 && answer[4..8] != [0; 4];
        if is_accepted {
            if !self.own.sessions.contains(&session) {
                self.own.sessions.push(session);
            }
            self.slots[slot].session = Some((session, answer[20..36].to_vec()));
        }
        let mut frames = vec![mask::greeting(&self.own, &answer)];
        if is_accepted {
            self.slots[slot].connection = Some(connection);
        } else {
            frames.extend(connection.rest().await);
        }
        self.entries.push(Entry { step, frames, ended: !is_accepted });
    }

    /// Asks, and writes down everything up to the answer.
    async fn ask(&mut self, step: String, slot: usize, xid: i32, opcode: i32, body: &[u8]) {
        let Some(connection) = &mut self.slots[slot].connection else {
            return;
        };
        connection.request(xid, opcode, body).await;
        let mut frames = Vec::new();
        let is_answered = loop {
            let Some(frame) = connection.receive().await else {
                break false;
            };
            // Who asks under the number of events has no watches.
            let is_event = frame.starts_with(&(-1i32).to_be_bytes()) && xid != -1;
            frames.push(mask::reply(&self.own, if is_event { 0 } else { opcode }, &frame));
            if !is_event {
                break true;
            }
        };
        // After some answers the server hangs up.
        let hangs_up = frames.last().is_some_and(|frame| hangs_up(opcode, frame));
        if is_answered && hangs_up {
            frames.extend(connection.rest().await);
        }
        let ended = !is_answered || hangs_up;
        if ended {
            self.slots[slot].connection = None;
        }
        self.entries.push(Entry { step, frames, ended });
    }

    /// Writes down what the other client was told meanwhile.
    async fn hear(&mut self, slot: usize) {
        if self.slots[slot].connection.is_some() {
            self.ask(format!("  {slot} hears"), slot, -2, 11, &[]).await;
        }
    }

    /// Leaves, and waits until the server has seen it.
    async fn hang_up(&mut self, slot: usize) {
        if let Some(mut connection) = self.slots[slot].connection.take() {
            let _ = connection.stream.shutdown().await;
            connection.rest().await;
        }
    }

    /// Closes the slot's session, so that it does not end later.
    async fn close(&mut self, slot: usize) {
        if self.slots[slot].connection.is_none() {
            Box::pin(self.step(&Step::Resume { slot, tail: vec![0], altered: None })).await;
        }
        self.ask(format!("{slot} closes"), slot, 7, -11, &[]).await;
        self.slots[slot].session = None;
    }

    /// What anybody can see of this node.
    async fn look(&mut self, looking: &mut Connection, path: &str) {
        let body = Body::default().path(path);
        for (opcode, body) in [(3, body.clone().bool(0)), (4, body.clone().bool(0)), (6, body.clone()), (104, body)] {
            let frame = looking.answer(opcode, &body.encode(&self.home, 0)).await;
            let frames = vec![mask::reply(&self.own, opcode, &frame)];
            self.entries.push(Entry { step: format!("in the end {opcode} {path}"), frames, ended: false });
        }
    }

    /// The same of this node and of all below it.
    async fn read(&mut self, looking: &mut Connection, path: String) {
        self.look(looking, &path).await;
        let children = Body::default().path(&path).bool(0).encode(&self.home, 0);
        for name in names(&looking.answer(8, &children).await) {
            Box::pin(self.read(looking, format!("{path}/{name}"))).await;
        }
    }
}

/// An operation that does not exist, an identity that is not believed, and the end of the session.
fn hangs_up(opcode: i32, masked: &[u8]) -> bool {
    let err = masked.get(12..16).map(|err| i32::from_be_bytes(err.try_into().unwrap()));
    // A TTL where there is none, too, but here there is.
    opcode == -11 || err == Some(-6) || opcode == 100 && err != Some(0)
}

fn handshake(session: i64, password: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 12]; // protocol version, last zxid seen
    body.extend(30_000i32.to_be_bytes());
    body.extend(session.to_be_bytes());
    buffer(&mut body, password);
    body.extend(tail);
    body
}

fn names(frame: &[u8]) -> Vec<String> {
    let (mut names, mut rest) = (Vec::new(), frame.get(20..).unwrap_or_default());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (name, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        names.push(String::from_utf8(name.to_vec()).unwrap());
        rest = behind;
    }
    names.sort();
    names
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
}

impl Connection {
    async fn dial(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    async fn open(address: &str) -> Self {
        let mut connection = Self::dial(address).await;
        connection.send(&handshake(0, &[0; 16], &[0])).await;
        connection.receive().await.expect("a session");
        connection
    }

    async fn last_zxid(&mut self) -> i64 {
        let pong = self.answer(11, &[]).await;
        i64::from_be_bytes(pong[4..12].try_into().unwrap())
    }

    /// The zxid of a write that is refused.
    async fn refused_zxid(&mut self) -> i64 {
        let refusal = self.answer(5, &Body::default().path("/").bytes(b"").int(i32::MIN).encode("", 0)).await;
        i64::from_be_bytes(refusal[4..12].try_into().unwrap())
    }

    async fn answer(&mut self, opcode: i32, body: &[u8]) -> Vec<u8> {
        self.request(1, opcode, body).await;
        self.receive().await.expect("an answer")
    }

    async fn request(&mut self, xid: i32, opcode: i32, body: &[u8]) {
        let mut frame = xid.to_be_bytes().to_vec();
        frame.extend(opcode.to_be_bytes());
        frame.extend(body);
        self.send(&frame).await;
    }

    async fn send(&mut self, body: &[u8]) {
        let mut frame = Vec::new();
        buffer(&mut frame, body);
        self.send_bytes(&frame).await;
    }

    /// Where the server has hung up, the next read tells.
    async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame; `None` at the end of the connection.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let frame = async {
            let length = self.stream.read_u32().await?;
            let mut frame = vec![0; length as usize];
            self.stream.read_exact(&mut frame).await?;
            io::Result::Ok(frame)
        };
        match tokio::time::timeout(PATIENCE, frame).await {
            Ok(frame) => frame.ok(),
            // It is written down like an answer, and as no server says this, it is a difference.
            Err(_) => Some(b"no answer".to_vec()),
        }
    }

    /// Every frame until the end.
    async fn rest(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.receive().await {
            let is_silence = frame == b"no answer";
            frames.push(frame);
            if is_silence {
                break;
            }
        }
        frames
    }
}
