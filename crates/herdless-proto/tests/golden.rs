//! The codec against frames recorded between the Java client and Apache ZooKeeper 3.8.

#![expect(clippy::unwrap_used, reason = "what is not a test here is a test's helper")]

#[path = "golden/describe.rs"]
mod describe;
#[path = "golden/frames.rs"]
mod frames;

use std::collections::BTreeMap;

use bytes::BytesMut;
use frames::Recorded;
use herdless_core::{Refusal, Request, WatchEvent};
use herdless_proto::codec::{
    ConnectRequest, ConnectResponse, NOTIFICATION_XID, OpCode, Reader, ReplyHeader, Shape, Writer, read_event,
    read_reply, read_request, read_set_watches, write_ping, write_request, write_set_watches,
};
use herdless_proto::server::{Incoming, Machine};

/// What a request frame is to this codec.
enum Decoded {
    Request(OpCode, Request, Shape),
    SetWatches(herdless_proto::codec::SetWatches),
    Ping,
    Refused,
    /// An operation that is not spoken here.
    Unknown,
}

/// Flags and times to live that there are not.
const MEANINGLESS: [&str; 2] = ["errors/create_bad_flags_request", "errors/create_ttl_negative_request"];

fn decode(frame: &Recorded) -> Decoded {
    let mut reader = Reader::new(&frame.payload);
    let (_xid, code) = (reader.int().unwrap(), reader.int().unwrap());
    match OpCode::from_code(code) {
        None => Decoded::Unknown,
        Some(OpCode::Ping) => Decoded::Ping,
        Some(opcode @ (OpCode::SetWatches | OpCode::SetWatches2)) => {
            Decoded::SetWatches(read_set_watches(opcode, &mut reader).unwrap())
        }
        Some(opcode) => match read_request(opcode, &mut reader) {
            Ok((request, shape)) => {
                assert!(reader.is_empty(), "{}: bytes left over", frame.name);
                Decoded::Request(opcode, request, shape)
            }
            Err(_) => Decoded::Refused,
        },
    }
}

/// The comment as our codec would write it: it does not tell null data from empty data.
fn expected(frame: &Recorded) -> Vec<String> {
    let comment = frame.comment.iter();
    comment.map(|line| line.replace("null (length -1)", "empty (0 bytes)")).collect()
}

fn requests() -> impl Iterator<Item = Recorded> {
    frames::all().into_iter().filter(|frame| frame.from_client && !frame.is_handshake())
}

/// Every reply with the request that it answers.
fn conversations() -> Vec<(Recorded, Recorded)> {
    let mut asked = BTreeMap::new();
    let mut pairs = Vec::new();
    for frame in frames::all() {
        if frame.is_handshake() || frame.int(0) == NOTIFICATION_XID {
            continue;
        }
        let file = frame.name.split('/').next().unwrap().to_owned();
        let key = (file, frame.connection, frame.int(0));
        match frame.from_client {
            true => drop(asked.insert(key, frame)),
            false => pairs.push((asked.remove(&key).expect(&frame.name), frame)),
        }
    }
    pairs
}

fn encode(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut writer = Writer::frame(&mut out);
    fill(&mut writer);
    writer.finish();
    out.to_vec()
}

/// A server that has accepted the handshake.
fn connected() -> Machine {
    let mut server = Machine::new();
    server.accept(&ConnectResponse { timeout_ms: 4_000, session_id: 1, password: [0; 16], read_only: Some(false) });
    server.transmit().clear();
    server
}

#[test]
fn every_handshake_is_read_field_by_field_and_written_to_the_same_bytes() {
    let mut count = 0;
    for frame in frames::all().iter().filter(|frame| frame.is_handshake()) {
        count += 1;
        let mut reader = Reader::new(&frame.payload);
        let (text, written) = match frame.from_client {
            true => {
                let request = ConnectRequest::read(&mut reader).unwrap();
                (describe::connect_request(&request), encode(|w| request.write(w)))
            }
            false => {
                let response = ConnectResponse::read(&mut reader).unwrap();
                (describe::connect_response(&response), encode(|w| response.write(w)))
            }
        };
        assert!(reader.is_empty(), "{}", frame.name);
        if frame.name == "connect/connect_empty_password_request" {
            // Read as zeros: sixteen bytes are what we send, also for a new session.
            assert!(text.contains("passwd=00000000000000000000000000000000 "));
            continue;
        }
        assert_eq!(text, frame.comment[frame.comment.len() - 1], "{}", frame.name);
        assert_eq!(written, frame.wire(), "{}", frame.name);
    }
    assert_eq!(count, 27);
}

#[test]
fn every_request_is_read_field_by_field() {
    let (mut read, mut refused, mut unknown) = (0, Vec::new(), Vec::new());
    for frame in requests() {
        let text = match decode(&frame) {
            Decoded::SetWatches(watches) => vec![describe::set_watches(frame.int(0), &watches)],
            Decoded::Ping => vec!["request: xid=-2 op=11 (ping), header only (8 bytes)".into()],
            Decoded::Refused => {
                refused.push(frame.name);
                continue;
            }
            // What means nothing is read as something that the tree refuses.
            _ if MEANINGLESS.contains(&&*frame.name) => continue,
            Decoded::Request(opcode, request, shape) => describe::request(frame.int(0), opcode, &request, &shape),
            Decoded::Unknown => {
                unknown.push(frame.int(4));
                continue;
            }
        };
        read += 1;
        let mut expected = expected(&frame);
        if frame.name == "create/create2_container_flags_request" {
            // As in Apache ZooKeeper, a container's flag on a plain create makes a persistent node.
            expected[0] = expected[0].replace("flags=4", "flags=0");
        }
        // Handshakes are decoded elsewhere; a comment may have stood before the frame's own.
        assert!(expected.ends_with(&text), "{}: {text:#?}", frame.name);
    }
    assert_eq!(refused, ["errors/add_watch_bad_mode_request", "errors/truncated_get_data_request"]);
    unknown.sort_unstable();
    unknown.dedup();
    assert_eq!(unknown, [999], "operations that are not spoken here");
    assert_eq!(read, 129);
}

#[test]
fn every_request_is_written_to_the_recorded_bytes() {
    let mut exact = 0;
    for frame in requests().filter(|frame| !MEANINGLESS.contains(&&*frame.name)) {
        let mut wire = frame.wire();
        let written = match decode(&frame) {
            Decoded::Request(opcode, request, _) => {
                match opcode {
                    // We always ask for the Stat too.
                    OpCode::Create => wire[8..12].copy_from_slice(&15i32.to_be_bytes()),
                    OpCode::GetChildren => wire[8..12].copy_from_slice(&12i32.to_be_bytes()),
                    _ => exact += 1,
                }
                encode(|w| assert!(write_request(w, frame.int(0), &request).is_some()))
            }
            Decoded::SetWatches(watches) => {
                wire[4..8].copy_from_slice(&(-8i32).to_be_bytes());
                encode(|w| write_set_watches(w, &watches))
            }
            Decoded::Ping => encode(write_ping),
            Decoded::Refused | Decoded::Unknown => continue,
        };
        match &*frame.name {
            // We send empty data where the Java client sends null.
            "create/create_null_data_request" | "write/set_data_null_request" => continue,
            // We send create2 where the Java client sends create. The flag of a container is dropped.
            "multi/multi_ok_request"
            | "multi/multi_create_kinds_request"
            | "multi/multi_fail_middle_request"
            | "multi/multi_fail_first_request"
            | "create/create2_container_flags_request" => exact -= 1,
            name => assert_eq!(written, wire, "{name}"),
        }
    }
    assert_eq!(exact, 98);
}

#[test]
fn what_is_written_differently_is_read_as_the_same_request() {
    for frame in requests() {
        if let Decoded::Request(opcode, request, _) = decode(&frame) {
            let mut written = None;
            let bytes = encode(|w| written = write_request(w, 1, &request));
            let mut reader = Reader::new(&bytes[12..]);
            let (again, _) = read_request(written.unwrap(), &mut reader).unwrap();
            assert_eq!(again, request, "{} {opcode:?}", frame.name);
        }
    }
}

#[test]
fn every_reply_is_read_field_by_field() {
    let mut read = 0;
    for (request, reply) in conversations() {
        let mut reader = Reader::new(&reply.payload);
        let header = ReplyHeader::read(&mut reader).unwrap();
        let Decoded::Request(opcode, _, shape) = decode(&request) else {
            let text = describe::reply_header(header);
            assert!(reply.comment[0].starts_with(&text), "{}", reply.name);
            continue;
        };
        let outcome = read_reply(opcode, header.err, &mut reader).unwrap();
        assert!(reader.is_empty(), "{}: bytes left over", reply.name);
        assert_eq!(describe::reply(header, &shape, &outcome), expected(&reply), "{}", reply.name);
        read += 1;
    }
    assert_eq!(read, 126);
}

#[test]
fn every_notification_is_read_and_written_to_the_same_bytes() {
    let mut count = 0;
    for frame in frames::all() {
        if frame.from_client || frame.is_handshake() || frame.int(0) != NOTIFICATION_XID {
            continue;
        }
        let mut reader = Reader::new(&frame.payload);
        ReplyHeader::read(&mut reader).unwrap();
        let event: WatchEvent = read_event(&mut reader).unwrap().unwrap();
        assert_eq!([describe::event(&event)], *frame.comment, "{}", frame.name);
        let mut server = connected();
        server.notify(&event);
        assert_eq!(server.transmit()[..], frame.wire(), "{}", frame.name);
        count += 1;
    }
    assert_eq!(count, 26);
}

#[test]
fn the_server_answers_a_recorded_request_with_the_recorded_bytes() {
    let mut same = 0;
    for (request, reply) in conversations() {
        let mut reader = Reader::new(&reply.payload);
        let header = ReplyHeader::read(&mut reader).unwrap();
        let mut server = connected();
        let mut buffer = BytesMut::from(&request.wire()[..]);
        match server.poll(&mut buffer, header.zxid).unwrap() {
            Some(Incoming::Request { ticket, .. }) => {
                let Some(opcode) = OpCode::from_code(request.int(4)) else {
                    panic!("{} is not spoken here", request.name);
                };
                let outcome = read_reply(opcode, header.err, &mut reader).unwrap();
                server.reply(&ticket, header.zxid, &outcome);
            }
            Some(Incoming::SetWatches { ticket, .. }) => server.rearmed(&ticket, header.zxid),
            Some(Incoming::Unreadable { ticket, .. }) => {
                server.reply(&ticket, header.zxid, &Err(Refusal::Marshalling.into()));
            }
            // Answered already: with a ping, or with a refusal.
            Some(Incoming::Ping) | None => {}
            Some(Incoming::Connect(_) | Incoming::Word(_)) => panic!("{}: the handshake is done", request.name),
        }
        assert!(buffer.is_empty(), "{}", request.name);
        let written = server.transmit().split();
        // The client's half reads null data as empty data.
        if request.name != "read/get_data_null_request" {
            assert_eq!(written[..], reply.wire(), "{}", request.name);
            same += 1;
        }
    }
    assert_eq!(same, 133);
}

#[test]
fn after_what_makes_zookeeper_hang_up_the_server_closes_too_and_reads_no_further() {
    let frame = |name: &str| {
        let mut all = frames::all().into_iter();
        all.find(|frame| frame.name == name).unwrap().wire()
    };
    for (name, closes) in [
        ("errors/unknown_op_request", true),
        ("errors/truncated_get_data_request", false),
        ("errors/create_bad_flags_request", false),
    ] {
        let mut server = connected();
        let mut buffer = BytesMut::from(&frame(name)[..]);
        buffer.extend_from_slice(&frame("other/ping_request"));
        let first = server.poll(&mut buffer, 7).unwrap();
        assert_eq!((server.is_closing(), first.is_none()), (closes, closes), "{name}");
        for _ in 0..2 {
            let next = server.poll(&mut buffer, 7).unwrap();
            assert_eq!(next, (!closes).then_some(Incoming::Ping), "{name}");
            assert!(buffer.is_empty(), "{name}");
            buffer.extend_from_slice(&frame("other/ping_request"));
        }
    }
    let mut server = Machine::new();
    let mut buffer = BytesMut::from(&frame("connect/connect_wrong_password_request")[..]);
    assert!(matches!(server.poll(&mut buffer, 7), Ok(Some(Incoming::Connect(_)))));
    server.accept(&ConnectResponse { timeout_ms: 0, session_id: 0, password: [0; 16], read_only: Some(false) });
    assert!(server.is_closing(), "after the news of an expired session");
    assert_eq!(server.transmit()[..], frame("connect/connect_wrong_password_reply"));
}

#[test]
fn a_token_is_taken_where_there_is_no_sasl() {
    let asked = |token: &[u8]| {
        let frame = encode(|w| {
            w.int(5);
            w.int(102);
        });
        let length = (8 + token.len() as i32).to_be_bytes();
        BytesMut::from(&[&length[..], &frame[4..], token].concat()[..])
    };
    let mut server = connected();
    assert_eq!(server.poll(&mut asked(&[0, 0, 0, 1, 7]), 7), Ok(None));
    let out = server.transmit().split();
    let mut reader = Reader::new(&out[4..]);
    let header = ReplyHeader::read(&mut reader).unwrap();
    assert_eq!((header.xid, header.zxid, header.err, reader.int()), (5, 0, 0, Ok(-1)));
    assert!(!server.is_closing());
    for null_or_none in [&(-1i32).to_be_bytes()[..], b""] {
        assert!(server.poll(&mut asked(null_or_none), 7).is_err());
    }
}

#[test]
fn what_cannot_be_read_says_whether_it_takes_a_zxid() {
    let multi_of_null = [&[0, 0, 0, 2, 0][..], &[0xff; 4], &[0xff; 4], &[0; 4], &[0xff; 4], &[1], &[0xff; 4]].concat();
    let reads_of_writes =
        [&[0, 0, 0, 2, 0][..], &[0xff; 4], &[0, 0, 0, 0], &[0; 4], &[0xff; 4], &[1], &[0xff; 4]].concat();
    for (opcode, body, takes, has_results) in [
        (1, &b""[..], true, false),
        (2, &[0xff; 8], true, false),
        (4, b"", false, false),
        (13, b"", true, false),
        (14, b"", true, false),
        (14, &multi_of_null, false, true),
        (16, b"", false, false),
        (22, b"", false, false),
        (22, &reads_of_writes, false, true),
        (101, b"", false, false),
    ] {
        let mut server = connected();
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&(8 + body.len() as i32).to_be_bytes());
        frame.extend_from_slice(&5i32.to_be_bytes());
        frame.extend_from_slice(&i32::to_be_bytes(opcode));
        frame.extend_from_slice(body);
        let Ok(Some(Incoming::Unreadable { ticket, takes_zxid })) = server.poll(&mut frame, 7) else {
            panic!("{opcode} {body:?}");
        };
        assert_eq!(takes_zxid, takes, "{opcode} {body:?}");
        server.reply(&ticket, 7, &Err(Refusal::Marshalling.into()));
        // Behind the header, where any were begun, the end of the results.
        assert_eq!(server.transmit().len(), 20 + if has_results { 9 } else { 0 }, "{opcode} {body:?}");
    }
}
