//! SASL, against a server of fixed words: nothing goes before it, and who fails is no client any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use herdless_core::{Error, Refusal, SessionId};
use herdless_proto::client::{
    Config, Event, LinkError, Machine, SaslError, SaslExchange, SaslMechanism, SaslStep, StreamId,
};
use herdless_proto::codec::{ConnectRequest, ConnectResponse, OpCode, Reader, ReplyHeader, Writer};

use crate::harness::{THIRD, TIMEOUT, config};
use crate::requests::*;

/// Greeted with "who?" it says "me", and is content with "welcome".
#[derive(Debug)]
struct Polite;

impl SaslMechanism for Polite {
    fn begin(&self) -> Box<dyn SaslExchange> {
        Box::new(Self)
    }
}

impl SaslExchange for Polite {
    fn answer(&mut self, challenge: &[u8]) -> Result<SaslStep, SaslError> {
        match challenge {
            b"who?" => Ok(SaslStep::Say(b"me".to_vec())),
            b"welcome" => Ok(SaslStep::Done),
            _ => Err(SaslError("rude")),
        }
    }
}

/// The server's end in hand.
struct World {
    client: Machine<u32, ()>,
    now: Instant,
}

const SESSION: SessionId = SessionId(7);
const AUTH_FAILED: i32 = -115;
const AUTH_REQUIRED: i32 = -124;

impl World {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
        let now = Instant::now();
        let client = Machine::new(Config { hosts: 1, ..config() }).with_sasl(Arc::new(Polite));
        let mut world = Self { client, now };
        assert_eq!(world.told(), ["dial 0ms"]);
        world
    }

    /// A client that has a session and has proven itself.
    fn proven() -> Self {
        let mut world = Self::new();
        world.greet();
        world.prove();
        assert_eq!(world.told(), ["opened 7"]);
        world
    }

    /// Opens the connection and accepts the session that the client asks for.
    fn greet(&mut self) -> ConnectRequest {
        self.greet_with(SESSION)
    }

    fn greet_with(&mut self, session: SessionId) -> ConnectRequest {
        self.client.connected(self.now);
        let [hello] = &self.frames()[..] else {
            panic!("the handshake goes alone");
        };
        let hello = ConnectRequest::read(&mut Reader::new(hello)).unwrap();
        let timeout_ms = TIMEOUT.as_millis() as i32;
        let response = ConnectResponse { timeout_ms, session_id: session.0, password: [7; 16], read_only: None };
        self.send(|w| response.write(w)).unwrap();
        hello
    }

    /// Says the server's part to its end.
    fn prove(&mut self) {
        let (xid, token) = self.word();
        assert_eq!(token, b"");
        self.challenge(xid, b"who?").unwrap();
        let (xid, token) = self.word();
        assert_eq!(token, b"me");
        self.challenge(xid, b"welcome").unwrap();
    }

    /// What the client says by SASL. It says nothing else.
    fn word(&mut self) -> (i32, Vec<u8>) {
        let [frame] = &self.frames()[..] else {
            panic!("one word at a time");
        };
        let mut r = Reader::new(frame);
        let xid = r.int().unwrap();
        assert_eq!(r.int(), Ok(OpCode::Sasl.code()));
        let token = r.buffer().unwrap().to_vec();
        assert!(r.is_empty());
        (xid, token)
    }

    fn challenge(&mut self, xid: i32, token: &[u8]) -> Result<(), LinkError> {
        self.send(|w| {
            ReplyHeader { xid, zxid: 0, err: 0 }.write(w);
            w.buffer(token);
        })
    }

    /// As a server says that it does not believe the client.
    fn refuse(&mut self, xid: i32, err: i32) {
        self.send(|w| {
            ReplyHeader { xid, zxid: 0, err }.write(w);
            w.int(-1);
        })
        .unwrap();
    }

    fn send(&mut self, fill: impl FnOnce(&mut Writer<'_>)) -> Result<(), LinkError> {
        let mut bytes = BytesMut::new();
        let mut writer = Writer::frame(&mut bytes);
        fill(&mut writer);
        writer.finish();
        self.client.receive(self.now, &mut bytes)
    }

    /// What the client has sent.
    fn frames(&mut self) -> Vec<BytesMut> {
        let mut bytes = self.client.transmit().split();
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let length = bytes.get_i32() as usize;
            frames.push(bytes.split_to(length));
        }
        frames
    }

    /// The same, by operation.
    fn operations(&mut self) -> Vec<OpCode> {
        let operation = |frame: BytesMut| OpCode::from_code((&frame[4..]).get_i32()).unwrap();
        self.frames().into_iter().map(operation).collect()
    }

    /// What the client has told.
    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.client.poll_event()).map(in_words).collect()
    }
}

fn in_words(event: Event<u32, ()>) -> String {
    match event {
        Event::Dial { pause, .. } => format!("dial {}ms", pause.end().as_millis()),
        Event::Probe { .. } => "probe".into(),
        Event::Opened { id, .. } => format!("opened {}", id.0),
        Event::Resumed { .. } => "resumed".into(),
        Event::Suspended => "suspended".into(),
        Event::Lost => "lost".into(),
        Event::Closed { .. } => "closed".into(),
        Event::Reply { token, outcome: Err(error), .. } => format!("{token}: {error}"),
        Event::Reply { token, .. } => format!("{token}: ok"),
        Event::Overdue { token } => format!("{token}: overdue"),
        Event::Noticed { streams, .. } => format!("noticed {}", streams.len() as StreamId),
        Event::Fired { watches, .. } => format!("fired {}", watches.len()),
    }
}

#[test]
fn nothing_is_told_or_sent_before_both_sides_are_content() {
    let mut world = World::new();
    assert_eq!(world.greet().session_id, 0);
    for (token, request) in [get("/a"), auth("me:secret")].into_iter().enumerate() {
        world.client.submit(world.now, request, token as u32).unwrap();
    }
    assert_eq!(world.client.lease(), None, "nobody is to rely on it yet");
    // In each step there is one word on the wire and no more.
    world.prove();
    assert_eq!(world.told(), ["opened 7"]);
    assert_eq!(world.client.lease(), Some(world.now + TIMEOUT));
    assert_eq!(world.operations(), [OpCode::Auth, OpCode::GetData]);
}

#[test]
fn on_the_next_connection_it_is_proven_again_before_identities_watches_and_requests() {
    let mut world = World::proven();
    let now = world.now;
    world.client.submit(now, auth("me:secret"), 0).unwrap();
    world.client.submit(now, watch_exists("/a"), 1).unwrap();
    let sent = world.frames();
    let xid = (&sent[1][..]).get_i32();
    world.send(|w| ReplyHeader { xid: -4, zxid: 0, err: 0 }.write(w)).unwrap();
    world.send(|w| ReplyHeader { xid, zxid: 1, err: -101 }.write(w)).unwrap();
    assert_eq!(world.told(), ["0: ok", "1: ok"]);

    world.client.disconnected(now);
    world.client.submit(now, get("/a"), 2).unwrap();
    assert_eq!(world.told(), ["suspended", "dial 200ms"]);
    assert_eq!(world.greet().session_id, SESSION.0);
    world.prove();
    assert_eq!(world.told(), ["resumed"]);
    assert_eq!(world.operations(), [OpCode::Auth, OpCode::SetWatches, OpCode::GetData]);
}

#[test]
fn who_is_not_believed_is_no_client_any_more() {
    for code in [AUTH_FAILED, AUTH_REQUIRED] {
        let mut world = World::new();
        world.greet();
        world.client.submit(world.now, get("/a"), 0).unwrap();
        let (xid, _) = world.word();
        world.challenge(xid, b"who?").unwrap();
        let (xid, _) = world.word();
        world.refuse(xid, code);
        // No dial: there is no loop of attempts that all fail, and may lock an account.
        assert_eq!(world.told(), ["0: refused: authentication failed", "closed"]);
        assert_eq!(world.client.sasl_failure(), Some(SaslError("the server did not accept the identity")));
        let refused = world.client.submit(world.now, get("/a"), 1);
        assert_eq!(refused, Err((1, Error::Refused(Refusal::AuthFailed))));
        world.client.disconnected(world.now);
        assert!(world.told().is_empty() && world.frames().is_empty());
    }
}

#[test]
fn who_is_not_believed_later_loses_the_session() {
    let mut world = World::proven();
    world.client.disconnected(world.now);
    world.greet();
    let (xid, _) = world.word();
    world.refuse(xid, AUTH_FAILED);
    assert_eq!(world.told(), ["suspended", "dial 200ms", "lost", "closed"]);
}

#[test]
fn a_server_that_does_not_do_its_part_is_not_believed() {
    // One without SASL says a null buffer; one that is somebody else says the wrong thing.
    for last in [None, Some(&b"go away"[..])] {
        let mut world = World::new();
        world.greet();
        let (xid, _) = world.word();
        match last {
            Some(token) => world.challenge(xid, token).unwrap(),
            None => world.refuse(xid, 0),
        }
        assert_eq!(world.told(), ["closed"]);
        assert_eq!(world.client.sasl_failure(), Some(SaslError("rude")));
    }
}

#[test]
fn a_connection_lost_meanwhile_is_made_up_for_at_a_growing_pause() {
    let mut world = World::new();
    let mut dials = Vec::new();
    for round in 0..4 {
        assert_eq!(world.greet().session_id, if round == 0 { 0 } else { SESSION.0 });
        let (xid, _) = world.word();
        if round % 2 == 1 {
            world.challenge(xid, b"who?").unwrap();
            world.word();
        }
        world.client.disconnected(world.now);
        dials.extend(world.told());
    }
    assert_eq!(dials, ["dial 200ms", "dial 400ms", "dial 400ms", "dial 400ms"]);
    world.greet();
    world.prove();
    assert_eq!(world.told(), ["opened 7"], "told once, and not as one that goes on");
}

#[test]
fn a_server_that_falls_silent_is_given_up_as_in_a_handshake() {
    let mut world = World::new();
    world.greet();
    world.now += Duration::from_secs(1);
    let due = world.client.poll_timeout().unwrap();
    assert_eq!(due, world.now + config().connect_timeout - Duration::from_secs(1));
    world.client.handle_timeout(due - Duration::from_nanos(1));
    assert!(world.told().is_empty());
    world.client.handle_timeout(due);
    assert_eq!(world.told(), ["dial 200ms"]);
}

#[test]
fn a_session_that_ends_before_it_was_told_takes_nothing_with_it() {
    let mut world = World::new();
    world.greet();
    world.client.submit(world.now, get("/a"), 0).unwrap();
    world.client.disconnected(world.now);
    world.now += 4 * THIRD;
    world.client.handle_timeout(world.now);
    assert_eq!(world.told(), ["dial 200ms"]);
    assert_eq!(world.greet().session_id, 0, "a new one is asked for");
    world.prove();
    assert_eq!(world.told(), ["opened 7"]);
    assert_eq!(world.operations(), [OpCode::GetData]);
}

#[test]
fn an_answer_to_something_else_breaks_the_connection() {
    let mut world = World::new();
    world.greet();
    let (xid, _) = world.word();
    let error = world.challenge(xid + 1, b"who?").unwrap_err();
    assert_eq!(error, LinkError::OutOfOrder { got: xid + 1, expected: Some(xid) });
    world.client.disconnected(world.now);
    assert_eq!(world.told(), ["dial 200ms"], "and is no reason to give the client up");
}

#[test]
fn a_client_that_is_closed_meanwhile_closes_the_session() {
    let mut world = World::new();
    world.greet();
    world.client.submit(world.now, herdless_core::Request::CloseSession, 0).unwrap();
    world.prove();
    assert_eq!(world.operations(), [OpCode::CloseSession]);
}

/// A session that is taken over is told once it is proven whose client this is. Until then it may end, and is asked for
/// again, of servers that know what was seen: no other is opened in its place.
#[test]
fn a_session_that_is_taken_over_is_this_one_or_none() {
    let mut before = World::proven();
    before.client.submit(before.now, get("/a"), 0).unwrap();
    let xid = (&before.frames()[0][..]).get_i32();
    before.send(|w| ReplyHeader { xid, zxid: 9, err: -101 }.write(w)).unwrap();
    let credentials = before.client.credentials().unwrap();

    let mut world = World::new();
    world.client = Machine::resume(Config { hosts: 1, ..config() }, credentials).with_sasl(Arc::new(Polite));
    world.told();
    let hello = world.greet();
    assert_eq!((hello.session_id, hello.last_zxid_seen), (SESSION.0, 9));
    world.client.disconnected(world.now);
    world.now += 4 * THIRD;
    world.client.handle_timeout(world.now);
    assert_eq!(world.told(), ["dial 200ms"]);
    let hello = world.greet_with(SessionId(8));
    assert_eq!((hello.session_id, hello.last_zxid_seen), (SESSION.0, 9));
    assert_eq!(world.told(), ["closed"]);
    assert_eq!(world.client.submit(world.now, get("/a"), 0), Err((0, Error::SessionExpired)));
}
