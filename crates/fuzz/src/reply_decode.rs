//! What a server sends, as a client reads it.

use herdless_core::{Error, MultiReply, Reply};
use herdless_proto::codec::{
    ConnectResponse, NOTIFICATION_XID, OpCode, Reader, ReplyHeader, Shape, read_event, read_reply, write_event,
    write_refusal, write_reply,
};

use crate::encode;

/// The code of the operation in one byte, and a reply to it without its length. What can be read is written as something
/// that reads as the same, in no more bytes than it was read from.
///
/// # Panics
///
/// Where that is not so.
pub fn reply_decode(bytes: &[u8]) {
    let Some((&code, payload)) = bytes.split_first() else { return };
    handshake(payload);
    let mut reader = Reader::new(payload);
    let Ok(header) = ReplyHeader::read(&mut reader) else { return };
    let body = payload.len() - encode(|w| header.write(w)).len();
    match OpCode::from_code(i32::from(code as i8)) {
        _ if header.xid == NOTIFICATION_XID => event(&mut reader),
        Some(opcode) => {
            if let Ok(outcome) = read_reply(opcode, header.err, &mut reader) {
                reply(opcode, header.err, &outcome, body);
            }
        }
        None => {}
    }
}

fn handshake(payload: &[u8]) {
    if let Ok(connect) = ConnectResponse::read(&mut Reader::new(payload)) {
        let written = encode(|w| connect.write(w));
        assert_eq!(ConnectResponse::read(&mut Reader::new(&written)), Ok(connect));
    }
}

fn event(reader: &mut Reader<'_>) {
    let Ok(Some(event)) = read_event(reader) else { return };
    let written = encode(|w| write_event(w, &event));
    let mut reader = Reader::new(&written);
    assert_eq!(ReplyHeader::read(&mut reader).map(|header| header.xid), Ok(NOTIFICATION_XID));
    assert_eq!(read_event(&mut reader), Ok(Some(event)));
    assert!(reader.is_empty());
}

fn reply(opcode: OpCode, err: i32, outcome: &Result<Reply, Error>, length: usize) {
    let written = match outcome {
        Ok(Reply::Exists(None)) => return assert_ne!(err, 0),
        Ok(reply) => encode(|w| write_reply(w, &shape(opcode, reply), reply)),
        Err(Error::MultiRefused { index, refusal }) => {
            assert!(*index < length, "a place in the reply");
            let shape = Shape::Multi(vec![OpCode::Check; index + 1]);
            encode(|w| write_refusal(w, &shape, *index, *refusal))
        }
        // A code, in the header or in a body that has nothing else.
        Err(Error::Refused(refusal)) => return assert!(err == refusal.code() || err == 0),
        Err(_) => return,
    };
    assert!(written.len() <= length, "{outcome:?}: {} bytes out of {length}", written.len());
    let mut reader = Reader::new(&written);
    assert_eq!(read_reply(opcode, 0, &mut reader).unwrap(), as_written(outcome));
    assert!(reader.is_empty());
}

/// What a server would have been asked for, where the reply tells.
fn shape(opcode: OpCode, reply: &Reply) -> Shape {
    let Reply::Multi(replies) = reply else { return Shape::Plain(opcode) };
    let opcodes = replies.iter().map(|reply| match reply {
        MultiReply::Created(_, Some(_)) => OpCode::CreateContainer,
        MultiReply::Created(_, None) => OpCode::Create,
        MultiReply::Deleted => OpCode::Delete,
        MultiReply::Set(_) => OpCode::SetData,
        MultiReply::Checked => OpCode::Check,
    });
    Shape::Multi(opcodes.collect())
}

/// Of errors that are no refusals a server has only one code to write.
fn as_written(outcome: &Result<Reply, Error>) -> Result<Reply, Error> {
    let mut outcome = outcome.clone();
    if let Ok(Reply::MultiRead(replies)) = &mut outcome {
        for reply in replies {
            if let Err(error) = reply
                && error.refusal().is_none()
            {
                *error = Error::Uncertain(-1);
            }
        }
    }
    outcome
}
