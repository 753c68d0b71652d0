//! What a client sends, as a server reads it.

use herdless_proto::codec::{
    ConnectRequest, OpCode, Reader, read_request, read_set_watches, write_request, write_set_watches,
};

use crate::encode;

/// A frame without its length. What can be read is written as something that reads as the same, in not many more bytes (each
/// that is no UTF-8 becomes a character of three), and from then on always as the same bytes.
///
/// # Panics
///
/// Where that is not so.
pub fn request_decode(payload: &[u8]) {
    handshake(payload);
    let mut reader = Reader::new(payload);
    let (Ok(xid), Ok(code)) = (reader.int(), reader.int()) else { return };
    match OpCode::from_code(code) {
        Some(opcode @ (OpCode::SetWatches | OpCode::SetWatches2)) => set_watches(opcode, &mut reader, payload.len()),
        Some(opcode) => request(xid, opcode, &mut reader, payload.len()),
        None => {}
    }
}

fn handshake(payload: &[u8]) {
    if let Ok(connect) = ConnectRequest::read(&mut Reader::new(payload)) {
        let written = encode(|w| connect.write(w));
        assert_eq!(ConnectRequest::read(&mut Reader::new(&written)), Ok(connect));
    }
}

fn set_watches(opcode: OpCode, reader: &mut Reader<'_>, length: usize) {
    let Ok(watches) = read_set_watches(opcode, reader) else { return };
    let written = encode(|w| write_set_watches(w, &watches));
    assert!(written.len() <= 3 * length);
    let mut reader = Reader::new(&written[4..]);
    // The newer one is written only where it is needed.
    let opcode = OpCode::from_code(reader.int().unwrap()).unwrap();
    assert_eq!(read_set_watches(opcode, &mut reader), Ok(watches));
    assert!(reader.is_empty());
}

fn request(xid: i32, opcode: OpCode, reader: &mut Reader<'_>, length: usize) {
    let Ok((request, _)) = read_request(opcode, reader) else { return };
    let mut opcode = None;
    let written = encode(|w| opcode = write_request(w, xid, &request));
    assert!(written.len() <= 3 * length, "{request:?}: {} bytes out of {length}", written.len());
    let mut reader = Reader::new(&written[8..]);
    let (again, _) = read_request(opcode.unwrap(), &mut reader).unwrap();
    assert_eq!(again, request);
    assert!(reader.is_empty());
    let twice = encode(|w| assert_eq!(write_request(w, xid, &again), opcode));
    assert_eq!(twice, written);
}
