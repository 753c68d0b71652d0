//! Peers that break the protocol: typed errors, every token answered, no panic.

use bytes::BytesMut;
use herdless_core::{Error, EventKind, Refusal, Reply, WatchEvent};
use herdless_proto::client::LinkError;
use herdless_proto::codec::{Malformed, ReplyHeader, Writer, write_event};
use herdless_proto::server::{Incoming, Machine, ReceiveError};
use herdless_proto::{FrameError, MAX_FRAME, MAX_HANDSHAKE};

use crate::harness::{Seen, TIMEOUT, Torn, World, config, path};
use crate::requests::*;

pub(crate) fn frame(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut writer = Writer::frame(&mut out);
    fill(&mut writer);
    writer.finish();
    out.to_vec()
}

pub(crate) fn header(xid: i32, err: i32) -> Vec<u8> {
    frame(|w| ReplyHeader { xid, zxid: 1, err }.write(w))
}

pub(crate) fn event_frame(at: &str) -> Vec<u8> {
    let event = WatchEvent { kind: EventKind::DataChanged, path: path(at) };
    frame(|w| write_event(w, &event))
}

/// A connected client with two requests in flight, which are xids 1 and 2, at a server that leaves the answers to us.
fn asking() -> (World, [u32; 2]) {
    let mut world = World::new();
    world.silent = true;
    let tokens = [world.submit(get("/a")), world.submit(children("/"))];
    world.settle();
    (world, tokens)
}

/// Injects bytes; expects this error, both requests told that the connection was lost, and a new connection.
fn refused(bytes: &[u8], error: LinkError) {
    let (mut world, tokens) = asking();
    world.inject(bytes);
    world.silent = false;
    world.settle();
    assert_eq!(world.link_errors, [error]);
    for token in tokens {
        assert_eq!(world.outcome(token), Some(Err(Error::ConnectionLost)));
    }
    assert_eq!(world.told().last(), Some(&Seen::Resumed));
}

#[test]
fn a_reply_out_of_order_or_to_nothing_ends_the_connection() {
    let out_of_order = |got, expected| LinkError::OutOfOrder { got, expected };
    refused(&header(2, 0), out_of_order(2, Some(1)));
    refused(&header(77, 0), out_of_order(77, Some(1)));
    refused(&header(-4, 0), out_of_order(-4, Some(1)));
    let mut world = World::new();
    world.inject(&header(1, 0));
    world.settle();
    assert_eq!(world.link_errors, [out_of_order(1, None)]);
}

#[test]
fn a_length_that_no_frame_has_ends_the_connection() {
    let limit = config().max_reply;
    for length in [-1, i32::MIN] {
        let length_error = FrameError { length: length.into(), limit };
        refused(&length.to_be_bytes(), LinkError::Frame(length_error));
    }
    // A huge one is taken for a reply that is too large, as long as it is the one that is due.
    let mut huge = i32::MAX.to_be_bytes().to_vec();
    huge.extend_from_slice(&header(9, 0)[4..]);
    refused(&huge, LinkError::OutOfOrder { got: 9, expected: Some(1) });
}

#[test]
fn frames_that_are_no_replies_end_the_connection() {
    let short = frame(|w| w.int(1));
    refused(&short, LinkError::Malformed(Malformed("long")));
    refused(&frame(|_| ()), LinkError::Malformed(Malformed("int")));
    // A notification whose path is no path, and one that stops too early.
    let head = ReplyHeader { xid: -1, zxid: -1, err: 0 };
    let no_path = frame(|w| {
        head.write(w);
        w.int(1);
        w.int(3);
        w.string("nowhere");
    });
    refused(&no_path, LinkError::Malformed(Malformed("path")));
    let early = frame(|w| head.write(w));
    refused(&early, LinkError::Malformed(Malformed("int")));
    // Four letters are a length too: a very large reply, to a request that nobody has made.
    refused(
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        LinkError::OutOfOrder { got: i32::from_be_bytes(*b"/1.1"), expected: Some(1) },
    );
}

#[test]
fn an_event_of_an_unknown_kind_is_passed_over() {
    let (mut world, _) = asking();
    world.forget();
    world.inject(&frame(|w| {
        ReplyHeader { xid: -1, zxid: -1, err: 0 }.write(w);
        w.int(99);
        w.int(3);
        w.string("/a");
    }));
    world.settle();
    assert!(world.log.is_empty() && world.link_errors.is_empty());
}

#[test]
fn a_reply_whose_body_cannot_be_read_is_that_requests_error_and_the_others_are_told_too() {
    let (mut world, tokens) = asking();
    world.inject(&header(1, 0));
    world.silent = false;
    world.settle();
    assert_eq!(world.link_errors, [LinkError::Malformed(Malformed("int"))]);
    assert!(matches!(world.outcome(tokens[0]), Some(Err(Error::Protocol(_)))));
    assert_eq!(world.outcome(tokens[1]), Some(Err(Error::ConnectionLost)));
    assert!(world.is_connected());
}

#[test]
fn an_errands_step_that_cannot_be_read_is_taken_again() {
    let mut world = World::new();
    world.silent = true;
    let token = world.submit(find("/none", ""));
    world.settle();
    world.inject(&header(1, 0));
    world.silent = false;
    world.settle();
    assert_eq!(world.link_errors.len(), 1);
    assert_eq!(world.outcome(token), Some(Ok(Reply::Found(None))));
}

#[test]
fn a_code_that_is_unknown_leaves_the_effect_open() {
    let (mut world, tokens) = asking();
    world.inject(&header(1, -7));
    world.inject(&header(2, -4711));
    world.settle();
    assert_eq!(world.outcome(tokens[0]), Some(Err(Error::Uncertain(-7))));
    assert_eq!(world.outcome(tokens[1]), Some(Err(Error::Uncertain(-4711))));
    assert!(world.is_connected());
}

#[test]
fn a_frame_that_never_becomes_whole_is_waited_for_until_the_silence_is_too_long() {
    let (mut world, tokens) = asking();
    let whole = header(1, Refusal::NoNode.code());
    world.inject(&whole[..whole.len() - 1]);
    world.settle();
    assert_eq!(world.outcome(tokens[0]), None);
    world.advance(TIMEOUT * 2 / 3 + TIMEOUT / 100);
    assert_eq!(world.outcome(tokens[0]), Some(Err(Error::ConnectionLost)));
    world.silent = false;
    world.advance(TIMEOUT);
    assert!(world.is_connected());
}

#[test]
fn an_answer_to_the_handshake_that_is_none_makes_the_client_dial_again() {
    for bytes in [&b"\x00\x00\x00\x04garb"[..], &b"\xff\xff\xff\xff"[..], &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]] {
        let mut world = World::idle(config());
        world.silent = true;
        world.settle();
        world.inject(bytes);
        world.silent = false;
        world.settle();
        assert_eq!(world.link_errors.len(), 1);
        assert!(world.is_connected());
    }
}

#[test]
fn a_session_that_is_refused_before_there_is_one_makes_the_client_dial_again() {
    let mut world = World::idle(config());
    let mut left = 3;
    world.script.connect = Some(Box::new(move |_| {
        left -= 1;
        let none = herdless_core::SessionId(0);
        (left >= 0).then(|| crate::harness::accepted(none, std::time::Duration::ZERO, [0; 16]))
    }));
    world.torn = Torn::OneByte;
    world.settle();
    assert_eq!(world.served, ["connect"; 4]);
    assert_eq!(world.told().len(), 1, "{:?}", world.told());
}

#[test]
fn the_server_refuses_lengths_from_the_prefix_alone() {
    let poll = |server: &mut Machine, length: i32| server.poll(&mut BytesMut::from(&length.to_be_bytes()[..]), 1);
    let error = |length: i32, limit| {
        let length = length.into();
        Err(ReceiveError::Frame(FrameError { length, limit }))
    };
    let mut server = Machine::new();
    assert_eq!(poll(&mut server, MAX_HANDSHAKE as i32), Ok(None));
    for length in [-1, MAX_HANDSHAKE as i32 + 1, i32::MAX] {
        assert_eq!(poll(&mut server, length), error(length, MAX_HANDSHAKE));
    }
    server.accept(&crate::harness::accepted(herdless_core::SessionId(1), TIMEOUT, [0; 16]));
    assert_eq!(poll(&mut server, MAX_FRAME as i32), Ok(None));
    for length in [-1, MAX_FRAME as i32 + 1, i32::MAX] {
        assert_eq!(poll(&mut server, length), error(length, MAX_FRAME));
    }
}

#[test]
fn the_server_refuses_a_handshake_or_a_header_that_is_none() {
    let mut server = Machine::new();
    let mut short = BytesMut::from(&frame(|w| w.int(0))[..]);
    assert_eq!(server.poll(&mut short, 1), Err(ReceiveError::Malformed(Malformed("long"))));
    // A password of another length opens no session, and is no reason to hang up on who wants a new one.
    let mut password = BytesMut::from(
        &frame(|w| {
            w.int(0);
            w.long(0);
            w.int(4_000);
            w.long(0);
            w.buffer(b"short");
        })[..],
    );
    let connect = server.poll(&mut password, 1);
    assert!(matches!(connect, Ok(Some(Incoming::Connect(connect))) if connect.password == [0; 16]));
    server.accept(&crate::harness::accepted(herdless_core::SessionId(1), TIMEOUT, [0; 16]));
    let mut short = BytesMut::from(&frame(|w| w.int(7))[..]);
    assert_eq!(server.poll(&mut short, 1), Err(ReceiveError::Malformed(Malformed("int"))));
}
