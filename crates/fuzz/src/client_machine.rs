//! The client's end of a session against a server that sends anything, at any time.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use herdless_core::{Error, EventKind, Request, SessionId, WatchEvent};
use herdless_proto::MAX_FRAME;
use herdless_proto::client::{Event, Machine, StreamId};
use herdless_proto::codec::ConnectResponse;
use herdless_proto::server::{self, Incoming};

use crate::harness;
use crate::script::{Script, is_of_kind};

/// A script of requests, of a server's answers and of what is no answer, of time, and of connections that come and go.
///
/// # Panics
///
/// Where a request is not answered once, a watch or a stream not ended once, something is told after the end or in an order
/// that the session does not have, a deadline stays in the past, a limit does not hold, or the counters are wrong.
pub fn client_machine(bytes: &[u8]) {
    let mut run = Run::new(Script::new(bytes));
    run.settle();
    for _ in 0..MOST_STEPS {
        if run.script.is_over() {
            break;
        }
        run.step();
        run.settle();
        run.check();
    }
    run.end();
}

const MOST_STEPS: usize = 300;
const IN_FLIGHT: usize = 8;

/// Stands for a watch; two are the same if they are clones.
#[derive(Clone, Debug, Default)]
struct Mark(Rc<()>);

struct Asked {
    request: Request,
    is_answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Transport {
    Dialling,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    NoSession,
    Connected,
    Suspended,
}

struct Run<'a> {
    script: Script<'a>,
    client: Machine<usize, Mark>,
    now: Instant,
    transport: Transport,
    told: Told,
    session: SessionId,
    peer: Peer,
    asked: Vec<Asked>,
    marks: Vec<Mark>,
    streams: BTreeSet<StreamId>,
    fed: u64,
    sent: u64,
    accepted: u64,
}

/// The server of one connection.
#[derive(Default)]
struct Peer {
    server: server::Machine,
    /// Sent by the client, for the machine to read.
    received: BytesMut,
    /// The xids of requests that were not answered.
    due: VecDeque<i32>,
    /// On the way to the client.
    wire: BytesMut,
    /// At the client, but not a whole frame.
    buffer: BytesMut,
}

impl<'a> Run<'a> {
    fn new(script: Script<'a>) -> Self {
        let mut config = harness::config();
        config.max_in_flight = IN_FLIGHT;
        config.max_reply = 4096;
        Self {
            script,
            client: Machine::new(config),
            now: harness::World::idle(harness::config()).now,
            transport: Transport::Dialling,
            told: Told::NoSession,
            session: SessionId(0),
            peer: Peer::default(),
            asked: Vec::new(),
            marks: Vec::new(),
            streams: BTreeSet::new(),
            fed: 0,
            sent: 0,
            accepted: 0,
        }
    }

    fn step(&mut self) {
        match self.script.below(20) {
            0..=2 => {
                let request = self.script.request(self.session);
                self.submit(request);
            }
            3..=5 => self.serve(),
            6 | 7 => self.answer_by_hand(),
            8 => {
                let kind = [EventKind::Created, EventKind::Deleted, EventKind::DataChanged, EventKind::ChildrenChanged]
                    [self.script.below(4)];
                self.peer.server.notify(&WatchEvent { kind, path: self.script.path() });
                let frame = self.peer.server.transmit().split();
                self.peer.wire.extend_from_slice(&frame);
            }
            9 => self.peer.wire.extend_from_slice(self.script.bytes()),
            10 => {
                let at = usize::from(self.script.byte());
                let bits = self.script.byte();
                if let Some(byte) = self.peer.wire.get_mut(at) {
                    *byte ^= bits;
                }
            }
            11 | 12 => self.deliver(),
            13 => match self.transport {
                Transport::Open | Transport::Dialling => self.hang_up(),
                Transport::Closed => {}
            },
            14 => {
                self.now += Duration::from_millis(u64::from(self.script.number()));
                self.pass_time();
            }
            15 | 16 if self.transport == Transport::Dialling => {
                self.transport = Transport::Open;
                self.peer = Peer::default();
                self.client.connected(self.now);
            }
            15 | 16 => {
                self.serve();
                self.deliver();
            }
            17 => self.greet(),
            18 => self.let_go(),
            _ => match self.script.byte() {
                0 => self.client.abort(),
                1 => self.submit(Request::CloseSession),
                _ => {}
            },
        }
    }

    fn submit(&mut self, request: Request) {
        let token = self.asked.len();
        let limited = !request.is_clean_up();
        match self.client.submit(self.now, request.clone(), token) {
            Ok(()) => self.asked.push(Asked { request, is_answered: false }),
            Err((back, error)) => {
                assert_eq!(back, token);
                assert!(limited || error != Error::Overloaded, "clean-up is never refused as overloaded");
            }
        }
    }

    /// The server machine answers what it was sent, as the script says.
    fn serve(&mut self) {
        while let Ok(Some(incoming)) = self.peer.server.poll(&mut self.peer.received, 5) {
            match incoming {
                Incoming::Connect(connect) => {
                    let timeout_ms = [9_000, 0, 1, i32::MAX][self.script.below(8).saturating_sub(4)];
                    let session_id = if connect.session_id == 0 { 7 } else { connect.session_id };
                    let password = connect.password;
                    let response = ConnectResponse { timeout_ms, session_id, password, read_only: connect.read_only };
                    self.peer.server.accept(&response);
                }
                Incoming::Ping | Incoming::Word(_) => {}
                Incoming::SetWatches { ticket, .. } => self.peer.server.rearmed(&ticket, 5),
                Incoming::Unreadable { ticket, .. } => panic!("{ticket:?}: the server cannot read it"),
                Incoming::Request { ticket, request } => {
                    let outcome = match self.script.flag() {
                        true => Err(self.script.refused()),
                        false => self.script.reply(&request, self.session),
                    };
                    self.peer.server.reply(&ticket, i64::from(self.script.byte()), &outcome);
                    self.peer.due.pop_front();
                }
            }
        }
        let frames = self.peer.server.transmit().split();
        self.peer.wire.extend_from_slice(&frames);
    }

    /// A header that fits the next request, with any body.
    fn answer_by_hand(&mut self) {
        let xid = match self.script.below(8) {
            0 => -2,
            1 => -4,
            2 => -8,
            _ => self.peer.due.pop_front().unwrap_or_default(),
        };
        let err = if self.script.flag() { 0 } else { -i32::from(self.script.byte()) };
        let body = self.script.bytes();
        let zxid = i64::from(self.script.byte());
        // Now and then one that is too large: its body comes in pieces.
        let length = if self.script.byte() == 0 { 5000 } else { 16 + body.len() };
        let wire = &mut self.peer.wire;
        wire.extend_from_slice(&(length as i32).to_be_bytes());
        wire.extend_from_slice(&xid.to_be_bytes());
        wire.extend_from_slice(&zxid.to_be_bytes());
        wire.extend_from_slice(&err.to_be_bytes());
        wire.extend_from_slice(body);
    }

    /// A handshake, at whatever time.
    fn greet(&mut self) {
        let timeout_ms = i32::from(self.script.number() as i16) * i32::from(self.script.byte());
        let session_id = i64::from(self.script.byte());
        self.peer.server.accept(&ConnectResponse { timeout_ms, session_id, password: [3; 16], read_only: None });
        let frame = self.peer.server.transmit().split();
        self.peer.wire.extend_from_slice(&frame);
    }

    /// One read's bytes.
    fn deliver(&mut self) {
        let length = match usize::from(self.script.byte()) {
            0 => self.peer.wire.len(),
            length => length.min(self.peer.wire.len()),
        };
        if self.transport != Transport::Open {
            return;
        }
        let bytes = self.peer.wire.split_to(length);
        self.fed += bytes.len() as u64;
        self.peer.buffer.extend_from_slice(&bytes);
        if self.client.receive(self.now, &mut self.peer.buffer).is_err() {
            self.settle();
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        if self.transport != Transport::Closed {
            self.transport = Transport::Dialling;
            self.peer = Peer::default();
            // What the machine asks for now is the dial.
            self.client.disconnected(self.now);
        }
    }

    /// A watch or a stream that nobody waits for any more.
    fn let_go(&mut self) {
        let at = usize::from(self.script.byte());
        if self.script.flag() {
            if let Some(stream) = self.streams.iter().nth(at % 4).copied() {
                self.client.unwatch(self.now, stream);
            }
        } else if at < self.marks.len() {
            let gone = self.marks.swap_remove(at);
            self.client.watch_dropped();
            self.client.sweep_watches(self.now, |mark| !Rc::ptr_eq(&mark.0, &gone.0));
        }
    }

    /// Does what is due, until nothing is.
    fn pass_time(&mut self) {
        for _ in 0..8 {
            if self.client.poll_timeout().is_none_or(|due| due > self.now) {
                return;
            }
            self.client.handle_timeout(self.now);
            self.settle();
        }
        panic!("a deadline stays in the past: {:?}", self.client);
    }

    /// Takes what the machine tells and sends.
    fn settle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            assert_ne!(self.transport, Transport::Closed, "{event:?} after the end");
            self.hear(event);
        }
        let out = self.client.transmit().split();
        self.sent += out.len() as u64;
        if out.is_empty() {
            return;
        }
        assert_eq!(self.transport, Transport::Open, "there is nothing to send it on");
        self.peer.received.extend_from_slice(&out);
        let mut rest = &out[..];
        while let Some((prefix, after)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*prefix) as usize;
            assert!(length <= after.len() && length <= MAX_FRAME, "a whole frame");
            let xid = i32::from_be_bytes(*after.first_chunk().unwrap());
            self.peer.due.extend((xid > 0).then_some(xid));
            rest = &after[length..];
        }
        assert!(rest.is_empty());
    }

    fn hear(&mut self, event: Event<usize, Mark>) {
        match event {
            Event::Dial { pause, .. } => {
                assert!(pause.start() <= pause.end() && *pause.end() <= harness::config().max_backoff);
                self.transport = Transport::Dialling;
                self.peer = Peer::default();
            }
            Event::Opened { id, timeout, .. } => {
                self.session = id;
                self.turn(Told::NoSession, Told::Connected);
                self.accepted += 1;
                assert!(!timeout.is_zero());
            }
            Event::Resumed { timeout, .. } => {
                self.turn(Told::Suspended, Told::Connected);
                self.accepted += 1;
                assert!(!timeout.is_zero());
            }
            Event::Probe { .. } => panic!("a read-only server will not do"),
            Event::Suspended => self.turn(Told::Connected, Told::Suspended),
            Event::Lost => {
                assert_ne!(self.told, Told::NoSession, "there is a session to lose");
                self.told = Told::NoSession;
            }
            Event::Closed { .. } => {
                assert_eq!(self.told, Told::NoSession, "a session that is not over");
                self.transport = Transport::Closed;
            }
            Event::Reply { token, outcome, watch, stream } => {
                let asked = &mut self.asked[token];
                assert!(!std::mem::replace(&mut asked.is_answered, true), "{:?} is answered twice", asked.request);
                if let Ok(reply) = &outcome {
                    assert!(is_of_kind(&asked.request, reply), "{reply:?} to {:?}", asked.request);
                }
                assert!(outcome.is_ok() || (watch.is_none() && stream.is_none()));
                self.marks.extend(watch);
                assert!(stream.is_none_or(|stream| self.streams.insert(stream)));
            }
            Event::Overdue { .. } => panic!("no limit of time was asked for"),
            Event::Noticed { streams, notice } => {
                for stream in streams {
                    assert!(self.streams.contains(&stream), "a stream that has ended");
                    if notice.is_err() {
                        self.streams.remove(&stream);
                    }
                }
            }
            Event::Fired { watches, .. } => {
                for watch in watches {
                    let at = self.marks.iter().position(|mark| Rc::ptr_eq(&mark.0, &watch.0));
                    self.marks.swap_remove(at.expect("a watch that has not fired"));
                }
            }
        }
    }

    fn turn(&mut self, from: Told, to: Told) {
        assert_eq!(self.told, from);
        self.told = to;
    }

    fn check(&self) {
        let waiting = self.asked.iter().filter(|asked| !asked.is_answered);
        let ordinary = waiting.filter(|asked| !asked.request.is_clean_up()).count();
        assert!(ordinary <= IN_FLIGHT, "{ordinary} requests in flight");
        assert_eq!(self.client.lease().is_some(), self.told != Told::NoSession);
        let counters = self.client.counters();
        assert_eq!(counters.connects, self.accepted);
        assert!(counters.bytes_in <= self.fed && counters.bytes_out >= self.sent);
        assert!(counters.watch_events * 20 <= self.fed);
    }

    /// Once it is closed, nobody waits.
    fn end(&mut self) {
        self.pass_time();
        self.client.abort();
        self.settle();
        assert_eq!(self.transport, Transport::Closed);
        let open: Vec<_> = self.asked.iter().filter(|asked| !asked.is_answered).map(|asked| &asked.request).collect();
        assert!(open.is_empty(), "no answer to {open:?}");
        assert!(self.marks.is_empty() && self.streams.is_empty(), "watches without an end");
        assert!(self.client.poll_timeout().is_none() && self.client.transmit().is_empty());
        assert!(self.client.submit(self.now, Request::CloseSession, 0).is_err());
        self.client.connected(self.now);
        self.client.disconnected(self.now);
        assert!(self.client.poll_event().is_none() && self.client.transmit().is_empty());
    }
}
