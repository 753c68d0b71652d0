//! The server's end of a connection against a client that sends anything.

use bytes::BytesMut;
use herdless_core::{MultiReply, Refusal, Reply};
use herdless_proto::codec::{ConnectResponse, PING_XID};
use herdless_proto::server::{Counters, Incoming, Machine};
use herdless_proto::{FourLetterWord, MAX_FRAME, MAX_HANDSHAKE};

use crate::script::Script;

/// A script of what the client sends and how it is torn: a byte for the answers, then pieces.
///
/// The bytes are read once frame by frame, where each frame has to be answered by one, and once as they were torn, which has
/// to come to the same.
///
/// # Panics
///
/// Where that is not so, a limit does not hold, or something is read after the end.
pub fn server_machine(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let answers = script.byte();
    let (mut wire, mut tears) = (Vec::new(), Vec::new());
    while !script.is_over() {
        match script.below(6) {
            // A frame whose length is right.
            0..=3 => {
                let payload = script.bytes();
                wire.extend_from_slice(&(payload.len() as i32).to_be_bytes());
                wire.extend_from_slice(payload);
            }
            4 => wire.extend_from_slice(script.bytes()),
            _ => tears.push(wire.len().saturating_sub(script.below(64))),
        }
    }
    tears.sort_unstable();
    tears.push(wire.len());
    let whole = by_frames(&wire, answers);
    let torn = as_torn(&wire, &tears, answers);
    assert_eq!(whole, torn);
}

/// What a server sent, and how the connection stood at the end.
#[derive(Debug, Default, PartialEq)]
struct Served {
    out: Vec<u8>,
    answered: usize,
    is_connected: bool,
    is_closing: bool,
    is_broken: bool,
    counters: Counters,
}

fn by_frames(wire: &[u8], answers: u8) -> Served {
    let (mut server, mut served, mut rest) = (Machine::new(), Served::default(), wire);
    while !served.is_closing && !served.is_broken {
        let words = FourLetterWord::ALL.iter().map(|word| word.name());
        if let Some(word) = words.filter(|_| !served.is_connected).find(|word| rest.starts_with(word.as_bytes())) {
            poll(&mut server, &mut served, &mut BytesMut::from(rest), answers);
            assert!(served.is_closing && server.transmit()[..] == *word.as_bytes());
            served.out.extend_from_slice(word.as_bytes());
            break;
        }
        let limit = if served.is_connected { MAX_FRAME } else { MAX_HANDSHAKE };
        let length = int(rest, 0);
        let is_allowed = length.is_none_or(|length| (0..=limit as i32).contains(&length));
        let frame = length.and_then(|length| rest[4..].get(..usize::try_from(length).ok()?));
        let taken = frame.filter(|_| is_allowed).map_or(rest.len(), |frame| 4 + frame.len());
        let mut buffer = BytesMut::from(&rest[..taken]);
        rest = &rest[taken..];
        let was_connected = served.is_connected;
        poll(&mut server, &mut served, &mut buffer, answers);
        let out = server.transmit().split();
        if !is_allowed {
            assert!(served.is_broken && out.is_empty(), "a frame of {length:?} bytes");
        } else if let Some(frame) = frame {
            assert!(buffer.is_empty() && server.transmit().is_empty());
            let xid = if int(frame, 4) == Some(11) { Some(PING_XID) } else { int(frame, 0) };
            if served.is_broken {
                // Proofs and tokens are read where the connection is.
                let is_proof = matches!(int(frame, 4), Some(100 | 102));
                assert!(out.is_empty() && (!was_connected || frame.len() < 8 || is_proof), "{frame:?} is readable");
            } else {
                assert_eq!(int(&out, 0), Some(out.len() as i32 - 4), "one frame in, one out");
                assert!(!was_connected || int(&out, 4) == xid, "the answer to this one");
                assert!(out.len() <= 256, "{} bytes", out.len());
            }
        } else {
            assert!(!served.is_broken && out.is_empty() && buffer.len() == taken, "half a frame");
            break;
        }
        served.out.extend_from_slice(&out);
    }
    served
}

fn as_torn(wire: &[u8], tears: &[usize], answers: u8) -> Served {
    let (mut server, mut served, mut buffer, mut at) = (Machine::new(), Served::default(), BytesMut::new(), 0);
    for tear in tears {
        buffer.extend_from_slice(&wire[at..*tear]);
        at = *tear;
        while !served.is_broken && poll(&mut server, &mut served, &mut buffer, answers) {}
        if served.is_closing {
            assert!(buffer.is_empty(), "nothing is kept after the end");
        }
    }
    served.out = server.transmit().to_vec();
    served
}

/// Takes one thing out of the buffer and answers it. Whether there was one.
fn poll(server: &mut Machine, served: &mut Served, buffer: &mut BytesMut, answers: u8) -> bool {
    let was_connected = served.is_connected;
    let polled = server.poll(buffer, 7);
    let is_some = matches!(polled, Ok(Some(_)));
    served.answered += usize::from(is_some);
    let turn = answers.wrapping_mul(served.answered as u8 | 1);
    match polled {
        Err(_) => served.is_broken = true,
        Ok(None) => {}
        Ok(Some(Incoming::Connect(connect))) => {
            assert!(!was_connected);
            let timeout_ms = if answers == 0 { 0 } else { connect.timeout_ms.max(1) };
            let session_id = connect.session_id;
            server.accept(&ConnectResponse { timeout_ms, session_id, password: [9; 16], read_only: connect.read_only });
            served.is_connected = timeout_ms > 0;
        }
        Ok(Some(Incoming::Word(word))) => {
            assert!(!was_connected, "{word:?} in a session");
            server.say(word.name());
        }
        Ok(Some(incoming)) => {
            assert!(was_connected, "{incoming:?} before the handshake");
            match incoming {
                Incoming::SetWatches { ticket, .. } => server.rearmed(&ticket, 7),
                Incoming::Unreadable { ticket, .. } => server.reply(&ticket, 7, &Err(Refusal::Marshalling.into())),
                Incoming::Request { ticket, .. } => {
                    let mut script = Script::new(std::slice::from_ref(&turn));
                    let outcome = match turn % 7 {
                        0 => Ok(Reply::Deleted),
                        1 => Ok(Reply::Exists(None)),
                        2 if turn > 240 => Ok(Reply::Closed),
                        3 => Ok(Reply::Multi(vec![MultiReply::Created(script.path(), None)])),
                        4 => Ok(Reply::Synced(script.path())),
                        _ => Err(script.refused()),
                    };
                    server.reply(&ticket, 7, &outcome);
                }
                _ => {}
            }
        }
    }
    served.is_closing = server.is_closing();
    served.counters = server.counters();
    is_some
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}
