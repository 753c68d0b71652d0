//! Jute records out of a stream, with their checksum.

use std::borrow::Cow;
use std::io::{self, Cursor, Read};

use adler2::Adler32;
use bytes::Bytes;
use herdless_core::NodeData;
use herdless_proto::codec::text_of;

use crate::error::Fault;

/// Reads a file from its start. No length in it is believed: what is allocated is what was read.
pub(crate) struct Input<R> {
    reader: R,
    offset: u64,
    checksum: Adler32,
}

impl<R: Read> Input<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, offset: 0, checksum: Adler32::new() }
    }

    /// How much was read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Adler-32 over all that was read.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum.checksum()
    }

    /// At most `limit` bytes; fewer where the file ends.
    pub(crate) fn up_to(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(limit).read_to_end(&mut bytes)?;
        self.count(&bytes);
        Ok(bytes)
    }

    /// The rest of the file, but at most `limit` bytes of it, whose number is known.
    pub(crate) fn rest(&mut self, limit: u64) -> io::Result<Input<Cursor<Vec<u8>>>> {
        let (offset, checksum) = (self.offset, self.checksum);
        Ok(Input { reader: Cursor::new(self.up_to(limit)?), offset, checksum })
    }

    fn count(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        self.checksum.write_slice(bytes);
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Fault::Incomplete(what)),
            Err(error) => return Err(error.into()),
        }
        self.count(&bytes);
        Ok(bytes)
    }

    pub(crate) fn int(&mut self, what: &'static str) -> Result<i32, Fault> {
        self.take(what).map(i32::from_be_bytes)
    }

    pub(crate) fn long(&mut self, what: &'static str) -> Result<i64, Fault> {
        self.take(what).map(i64::from_be_bytes)
    }

    /// A `buffer` that may be null.
    pub(crate) fn data(&mut self, what: &'static str) -> Result<NodeData, Fault> {
        let length = match self.int(what)? {
            -1 => return Ok(NodeData::NULL),
            length => u64::try_from(length).map_err(|_| Fault::Malformed(what))?,
        };
        let bytes = self.up_to(length)?;
        if (bytes.len() as u64) < length {
            return Err(Fault::Incomplete(what));
        }
        Ok(Bytes::from(bytes).into())
    }

    /// A `ustring`; a null one is read as empty.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<String, Fault> {
        text_of(&self.data(what)?).map(Cow::into_owned).map_err(|_| Fault::Malformed(what))
    }

    /// A `FileHeader`; the id of the database in it means nothing.
    pub(crate) fn header(&mut self, magic: [u8; 4]) -> Result<(), Fault> {
        const VERSION: i32 = 2;
        let found = (self.take("the header")?, self.int("the header")?);
        self.long("the header")?;
        if found == (magic, VERSION) { Ok(()) } else { Err(Fault::Header) }
    }
}

impl Input<Cursor<Vec<u8>>> {
    pub(crate) fn remaining(&self) -> u64 {
        self.reader.get_ref().len() as u64 - self.reader.position()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.remaining() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_in_a_snapshot_may_have_characters_beyond_16_bits() {
        let read = |bytes: &[u8]| Input::new(bytes).string("an identity").ok();
        assert_eq!(read(b"\0\0\0\x09CN=\xed\xa0\xb4\xed\xb4\x9e").unwrap(), "CN=\u{1d11e}");
        assert_eq!(read(b"\0\0\0\x07CN=\xf0\x9d\x84\x9e").unwrap(), "CN=\u{1d11e}");
        assert_eq!(read(b"\0\0\0\x06CN=\xed\xa0\xb4"), None);
    }
}
