//! A transaction log (`FileTxnLog`).

use std::io::{self, Read};

use adler2::Adler32;

use crate::error::Fault;
use crate::input::Input;

/// The entries of a log, one by one.
pub(crate) struct Log<R> {
    input: Input<R>,
    /// Where the entry that was read last begins.
    start: u64,
    end: Option<End>,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Behind an entry: with the file, or with the zeros it was filled up with.
    Whole,
    /// Within an entry, whose rest was never written. Nobody was told that it was.
    Torn,
}

const MAGIC: [u8; 4] = *b"ZKLG";
/// `FileHeader`: magic, version, and the id of the database.
const FILE_HEADER: u64 = 4 + 4 + 8;
/// The checksum of an entry, as a long, and its length.
const HEAD: usize = 8 + 4;
/// Behind each entry (`Util.writeTxnBytes`).
const MARK: u8 = b'B';

impl<R: Read> Log<R> {
    pub(crate) fn open(reader: R) -> Result<Self, Fault> {
        let mut input = Input::new(reader);
        let mut header = input.rest(FILE_HEADER)?;
        // The server was killed before it had written this much of a new file.
        if header.remaining() < FILE_HEADER {
            return Ok(Self { input, start: 0, end: Some(End::Torn) });
        }
        header.header(MAGIC)?;
        Ok(Self { input, start: FILE_HEADER, end: None })
    }

    /// Where the entry that was read last begins; at the end, what is there instead.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// How it ends, once there is no further entry.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// The next entry's payload.
    ///
    /// # Errors
    ///
    /// The entry is damaged: something else than the end of what was written, since more of it comes behind.
    pub(crate) fn entry(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        if self.end.is_some() {
            return Ok(None);
        }
        self.start = self.input.offset();
        let head = self.input.up_to(HEAD as u64)?;
        let length = head.last_chunk().filter(|_| head.len() == HEAD).map_or(0, |length| i32::from_be_bytes(*length));
        let length = u64::try_from(length).map_err(|_| Fault::Damaged)?;
        if length == 0 {
            return self.ends_with(&head, &[], true);
        }
        let mut body = self.input.up_to(length + 1)?;
        let is_cut_off = body.len() as u64 <= length;
        if let (false, Some((&MARK, payload))) = (is_cut_off, body.split_last())
            && head[..8] == u64::from(checksum(payload)).to_be_bytes()
        {
            body.pop();
            return Ok(Some(body));
        }
        self.ends_with(&head, &body, is_cut_off)
    }

    /// Whether what cannot be read is the end of the log. A server writes from the front to the back into a file that is full of
    /// zeros, so where it was killed at it there is a part of an entry, and zeros. What has its last byte, or something behind
    /// it, was written as a whole: somebody may have been told of it, and it is not left out without a word.
    fn ends_with<T>(&mut self, head: &[u8], body: &[u8], is_cut_off: bool) -> Result<Option<T>, Fault> {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let is_unwritten = is_cut_off || body.ends_with(&[0]);
        if !is_unwritten || !self.rest_is_zero()? || is_shorter(head, body) {
            return Err(Fault::Damaged);
        }
        self.end = Some(if is_zero(head) && is_zero(body) { End::Whole } else { End::Torn });
        Ok(None)
    }

    fn rest_is_zero(&mut self) -> io::Result<bool> {
        loop {
            let bytes = self.input.up_to(1 << 16)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut checksum = Adler32::new();
    checksum.write_slice(bytes);
    checksum.checksum()
}

/// Whether there is a whole entry of this checksum, and only the length is wrong: then it reaches to where others are, or to the
/// zeros behind the last.
fn is_shorter(head: &[u8], body: &[u8]) -> bool {
    let mut sum = Adler32::new();
    let is_whole = |byte: &u8| {
        let is_end = *byte == MARK && head.starts_with(&u64::from(sum.checksum()).to_be_bytes());
        sum.write_slice(&[*byte]);
        is_end
    };
    body.iter().any(is_whole)
}
