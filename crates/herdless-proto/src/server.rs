//! The server's end of one connection.

use std::fmt;

use bytes::BytesMut;
use herdless_core::{Error, Refusal, Reply, Request, WatchEvent};
use thiserror::Error;

use crate::FourLetterWord;
use crate::codec::{
    ConnectRequest, ConnectResponse, Malformed, NOT_A_READ, NULL_PATH, OpCode, PING_XID, Reader, ReplyHeader,
    SetWatches, Shape, Writer, read_request, read_set_watches, write_event, write_refusal, write_reply,
};
use crate::frame::{self, FrameError, MAX_FRAME, MAX_HANDSHAKE};

/// Reads what one client sends and writes what it is sent.
///
/// After [`poll`](Self::poll) yields a [`Incoming::Connect`] it is to be answered with [`accept`](Self::accept), or the
/// connection closed; each [`Incoming::Request`] and [`Incoming::Unreadable`] with [`reply`](Self::reply), in order; a
/// [`Incoming::Word`] with [`say`](Self::say).
pub struct Machine {
    connected: bool,
    closing: bool,
    max_frame: usize,
    out: BytesMut,
    counters: Counters,
}

/// How many frames have gone over the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// From the client.
    pub received: u64,
    /// To the client.
    pub sent: u64,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a server has to deal with each")]
pub enum Incoming {
    /// The handshake.
    Connect(ConnectRequest),
    /// A question in place of a handshake. Nothing follows it.
    Word(FourLetterWord),
    /// A sign of life. It is answered already.
    Ping,
    /// A request.
    Request {
        /// What to answer with.
        ticket: Ticket,
        /// What is asked.
        request: Request,
    },
    /// A request that cannot be read. It is to be refused with `Marshalling`.
    Unreadable {
        /// What to answer with.
        ticket: Ticket,
        /// Whether it was to change something: it takes a zxid then, as every write that is refused.
        takes_zxid: bool,
    },
    /// Watches to be re-armed.
    SetWatches {
        /// What to answer with.
        ticket: Ticket,
        /// The watches.
        watches: SetWatches,
    },
}

/// Which request a reply is for, and in which shape it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    xid: i32,
    shape: Shape,
}

impl Ticket {
    /// The client's number for the request.
    pub fn xid(&self) -> i32 {
        self.xid
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A frame of a length that is not accepted.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A handshake or a header that cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A connection that was just accepted.
    pub fn new() -> Self {
        Self::with_max_frame(MAX_FRAME)
    }

    /// The same, which takes requests of up to this many bytes (`jute.maxbuffer`). What it sends has no limit, as there.
    pub fn with_max_frame(max_frame: usize) -> Self {
        Self { connected: false, closing: false, max_frame, out: BytesMut::new(), counters: Counters::default() }
    }

    /// Takes the next thing that the client sent out of `buffer`; `None` when it holds no whole frame. A request that
    /// cannot be carried out whatever the tree's state is refused at once, and the next one taken. `last_zxid` is the
    /// last change applied, which those replies report.
    ///
    /// # Errors
    ///
    /// The connection is to be closed.
    pub fn poll(&mut self, buffer: &mut BytesMut, last_zxid: i64) -> Result<Option<Incoming>, ReceiveError> {
        if self.closing {
            buffer.clear();
            return Ok(None);
        }
        if !self.connected
            && let Some(word) = FourLetterWord::at_start(buffer)
        {
            self.closing = true;
            self.counters.received += 1;
            buffer.clear();
            return Ok(Some(Incoming::Word(word)));
        }
        let limit = if self.connected { self.max_frame } else { MAX_HANDSHAKE.min(self.max_frame) };
        while let Some(length) = frame::next_frame(buffer, limit)? {
            let mut reader = Reader::new(&buffer[4..4 + length]);
            let incoming = if self.connected {
                self.read(&mut reader, last_zxid)
            } else {
                ConnectRequest::read(&mut reader).map(|connect| Some(Incoming::Connect(connect)))
            };
            frame::consume(buffer, length);
            self.counters.received += 1;
            if let Some(incoming) = incoming? {
                return Ok(Some(incoming));
            }
            if self.closing {
                buffer.clear();
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn read(&mut self, r: &mut Reader<'_>, last_zxid: i64) -> Result<Option<Incoming>, Malformed> {
        let (xid, code) = (r.int()?, r.int()?);
        let opcode = match OpCode::from_code(code) {
            Some(OpCode::Ping) => {
                // The server answers pings with their own number whatever the client sent (`FinalRequestProcessor`).
                self.header(PING_XID, last_zxid, 0);
                return Ok(Some(Incoming::Ping));
            }
            Some(OpCode::Sasl) => {
                // A server that has no SASL takes every token and has none to give (`ZooKeeperServer.processSasl`); a null one
                // ends the connection.
                r.optional_buffer()?.ok_or(Malformed("token"))?;
                self.write(|w| {
                    ReplyHeader { xid, zxid: 0, err: 0 }.write(w);
                    w.int(-1);
                });
                return Ok(None);
            }
            Some(opcode) => opcode,
            None => {
                // With zxid −1 (seen on 3.8.0).
                self.closing = true;
                self.header(xid, -1, Refusal::Unimplemented.code());
                return Ok(None);
            }
        };
        let incoming = match opcode {
            OpCode::SetWatches | OpCode::SetWatches2 => read_set_watches(opcode, r)
                .map(|watches| Incoming::SetWatches { ticket: Ticket { xid, shape: Shape::Plain(opcode) }, watches }),
            _ => read_request(opcode, r)
                .map(|(request, shape)| Incoming::Request { ticket: Ticket { xid, shape }, request }),
        };
        match incoming {
            // It is read where the connection is (`ZooKeeperServer.processPacket`).
            Err(malformed) if opcode == OpCode::Auth => Err(malformed),
            Err(malformed) => {
                // It was read, and its results were begun (`FinalRequestProcessor`).
                let has_results = matches!(
                    (opcode, malformed),
                    (OpCode::Multi | OpCode::MultiRead, NULL_PATH) | (OpCode::MultiRead, NOT_A_READ)
                );
                let shape = if has_results { Shape::Multi(Vec::new()) } else { Shape::Plain(opcode) };
                let takes_zxid = takes_zxid(opcode, malformed);
                Ok(Some(Incoming::Unreadable { ticket: Ticket { xid, shape }, takes_zxid }))
            }
            Ok(incoming) => Ok(Some(incoming)),
        }
    }

    /// Answers the handshake: with a session, or with the news that it is no more (a timeout of 0).
    pub fn accept(&mut self, response: &ConnectResponse) {
        self.connected = response.timeout_ms > 0;
        self.closing = !self.connected;
        self.write(|w| response.write(w));
    }

    /// Answers a request. Events that the request's own change fires come before (see [`notify`](Self::notify)).
    pub fn reply(&mut self, ticket: &Ticket, last_zxid: i64, outcome: &Result<Reply, Error>) {
        self.closing |= matches!(outcome, Ok(Reply::Closed));
        if ticket.shape == Shape::Plain(OpCode::Auth) {
            // With zxid 0 (seen on 3.8.0), and whoever cannot prove what he claims is let go.
            self.closing |= outcome.is_err();
            let code = if outcome.is_ok() { 0 } else { Refusal::AuthFailed.code() };
            return self.header(ticket.xid, 0, code);
        }
        match outcome {
            Ok(Reply::Exists(None)) => self.header(ticket.xid, last_zxid, Refusal::NoNode.code()),
            Ok(reply) => self.write(|w| {
                ReplyHeader { xid: ticket.xid, zxid: last_zxid, err: 0 }.write(w);
                write_reply(w, &ticket.shape, reply);
            }),
            Err(Error::MultiRefused { index, refusal }) => self.write(|w| {
                ReplyHeader { xid: ticket.xid, zxid: last_zxid, err: 0 }.write(w);
                write_refusal(w, &ticket.shape, *index, *refusal);
            }),
            Err(Error::Refused(refusal)) => self.write(|w| {
                ReplyHeader { xid: ticket.xid, zxid: last_zxid, err: refusal.code() }.write(w);
                if let Shape::Multi(_) = ticket.shape {
                    write_reply(w, &ticket.shape, &Reply::Multi(Vec::new()));
                }
            }),
            Err(Error::SessionExpired) => self.header(ticket.xid, last_zxid, SESSION_EXPIRED),
            Err(_) => self.header(ticket.xid, last_zxid, SYSTEM_ERROR),
        }
    }

    /// Answers a SetWatches. The events that it made come before.
    pub fn rearmed(&mut self, ticket: &Ticket, last_zxid: i64) {
        self.header(ticket.xid, last_zxid, 0);
    }

    /// Tells the client of an event. It must be told before any reply that reflects the change.
    pub fn notify(&mut self, event: &WatchEvent) {
        self.write(|w| write_event(w, event));
    }

    /// Answers a [`Incoming::Word`].
    pub fn say(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// What has gone over the connection so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Begins the counters anew.
    pub fn reset_counters(&mut self) {
        self.counters = Counters::default();
    }

    /// Whether the connection is to be closed once everything was sent: the session is no more, or the client asked for
    /// something after which Apache ZooKeeper hangs up (an operation that does not exist, an identity that is not
    /// accepted). What the client sends after that is dropped.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// The bytes to send; the caller takes out what it has sent.
    pub fn transmit(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    fn header(&mut self, xid: i32, zxid: i64, err: i32) {
        self.write(|w| ReplyHeader { xid, zxid, err }.write(w));
    }

    fn write(&mut self, fill: impl FnOnce(&mut Writer<'_>)) {
        let mut writer = Writer::frame(&mut self.out);
        fill(&mut writer);
        writer.finish();
        self.counters.sent += 1;
    }
}

// What is to be sent may be the password of a session.
impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("connected", &self.connected)
            .field("closing", &self.closing)
            .field("unsent", &self.out.len())
            .finish_non_exhaustive()
    }
}

/// Whether a request takes a zxid that cannot be read (`PrepRequestProcessor.pRequestHelper`): a write has its header by then,
/// but the reconfiguration is read before that, and so are the paths of a multi.
fn takes_zxid(opcode: OpCode, malformed: Malformed) -> bool {
    match opcode {
        OpCode::Create
        | OpCode::Create2
        | OpCode::CreateContainer
        | OpCode::CreateTtl
        | OpCode::Delete
        | OpCode::DeleteContainer
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Check => true,
        OpCode::Multi => malformed != NULL_PATH,
        _ => false,
    }
}

const SESSION_EXPIRED: i32 = -112;
const SYSTEM_ERROR: i32 = -1;
