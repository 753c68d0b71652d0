//! What is said while an identity is proven by SASL.

use super::{Malformed, OpCode, Reader, Writer};

/// Writes header and body of a word of the client's (`GetSASLRequest`).
pub fn write_sasl_request(w: &mut Writer<'_>, xid: i32, token: &[u8]) {
    w.int(xid);
    w.int(OpCode::Sasl.code());
    w.buffer(token);
}

/// Reads what follows the header of the server's answer (`SetSASLResponse`). A server that does not do SASL, or lets go on
/// who has failed, sends a null buffer (`ZooKeeperServer.processSasl`); it is read as an empty one.
///
/// # Errors
///
/// [`Malformed`].
pub fn read_sasl_response<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    r.buffer()
}
