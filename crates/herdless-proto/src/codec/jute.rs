//! The primitives of jute: big-endian integers, length-prefixed buffers, strings and vectors.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use herdless_core::{NodeData, NodePath, Stat, Zxid};
use thiserror::Error;

/// Bytes that are not the record they should be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// Writes one frame: the length is put in front when it is finished.
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Begins a frame at the end of `out`.
    pub fn frame(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        out.put_i32(0);
        Self { out, start }
    }

    /// Ends the frame. Its length is checked by the peer that receives it; ours is never beyond 2 GiB.
    pub fn finish(self) {
        let length = self.len() as i32;
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Takes the frame back.
    pub fn abort(self) {
        self.out.truncate(self.start);
    }

    /// The bytes written so far, the length prefix left out.
    pub fn len(&self) -> usize {
        self.out.len() - self.start - 4
    }

    /// Whether nothing was written so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An `int`.
    pub fn int(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    /// A `long`.
    pub fn long(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// A `boolean`.
    pub fn bool(&mut self, value: bool) {
        self.out.put_u8(u8::from(value));
    }

    /// A `buffer`.
    pub fn buffer(&mut self, value: &[u8]) {
        self.int(value.len() as i32);
        self.out.put_slice(value);
    }

    /// A `buffer` that may be null.
    pub fn data(&mut self, value: &NodeData) {
        if value.is_null() {
            return self.int(-1);
        }
        self.buffer(value);
    }

    /// A `ustring`.
    pub fn string(&mut self, value: &str) {
        self.buffer(value.as_bytes());
    }

    /// A `ustring` that may be null.
    pub fn optional_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.int(-1),
        }
    }

    /// A `Stat`.
    pub fn stat(&mut self, stat: &Stat) {
        // Put together first: room is made, and looked for, once and not for each of its fields.
        let mut record = [0; 68];
        let mut rest = &mut record[..];
        rest.put_i64(stat.czxid.0);
        rest.put_i64(stat.mzxid.0);
        rest.put_i64(stat.ctime);
        rest.put_i64(stat.mtime);
        rest.put_i32(stat.version);
        rest.put_i32(stat.cversion);
        rest.put_i32(stat.aversion);
        rest.put_i64(stat.ephemeral_owner);
        rest.put_i32(stat.data_length);
        rest.put_i32(stat.num_children);
        rest.put_i64(stat.pzxid.0);
        self.out.put_slice(&record);
    }
}

/// Reads one frame. Every length is checked against what is there before anything is allocated.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the payload of a frame.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(*head)
    }

    /// An `int`.
    pub fn int(&mut self) -> Result<i32, Malformed> {
        self.take("int").map(i32::from_be_bytes)
    }

    /// A `long`.
    pub fn long(&mut self) -> Result<i64, Malformed> {
        self.take("long").map(i64::from_be_bytes)
    }

    /// A `boolean`: Java takes every byte but 0 for true.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        self.take::<1>("boolean").map(|[byte]| byte != 0)
    }

    /// A `buffer`; a null one (length −1) is read as empty.
    pub fn buffer(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.int()?;
        if length == -1 {
            return Ok(&[]);
        }
        let length = usize::try_from(length).map_err(|_| Malformed("length of a buffer"))?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed("length of a buffer"))?;
        self.rest = rest;
        Ok(head)
    }

    /// A `buffer` that may be null.
    pub fn optional_buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.rest.first_chunk::<4>() {
            Some(&length) if i32::from_be_bytes(length) == -1 => self.int().map(|_| None),
            _ => self.buffer().map(Some),
        }
    }

    /// The same, copied out of the frame.
    pub fn data(&mut self) -> Result<NodeData, Malformed> {
        Ok(self.optional_buffer()?.map_or(NodeData::NULL, |bytes| Bytes::copy_from_slice(bytes).into()))
    }

    /// A `ustring`; see [`text_of`].
    pub fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        text_of(self.buffer()?)
    }

    /// A `ustring` that may be null.
    pub fn optional_string(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        match self.rest.first_chunk::<4>() {
            Some(&length) if i32::from_be_bytes(length) == -1 => self.int().map(|_| None),
            _ => self.string().map(Some),
        }
    }

    /// A `ustring` as Apache ZooKeeper reads it: null is told from empty, and bytes that are not UTF-8 become U+FFFD, as
    /// many as Java's decoder makes of them.
    pub fn text(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        Ok(self.optional_buffer()?.map(java_utf8))
    }

    /// A `ustring` that is a znode path.
    pub fn path(&mut self) -> Result<NodePath, Malformed> {
        NodePath::parse(&self.string()?).map_err(|_| Malformed("path"))
    }

    /// The count of a `vector` whose elements take at least `least` bytes each; a null one (−1) is read as empty.
    pub fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = self.int()?;
        if count == -1 {
            return Ok(0);
        }
        // A count that the frame cannot hold must not reach an allocation.
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() / least => Ok(count),
            _ => Err(Malformed("count of a vector")),
        }
    }

    /// The count of a `vector` as Apache ZooKeeper reads it: a negative one is that of no elements
    /// (`BinaryInputArchive.BinaryIndex`). `None` where there is no vector (−1).
    pub fn lenient_count(&mut self, least: usize) -> Result<Option<usize>, Malformed> {
        match self.rest.first_chunk::<4>().map(|count| i32::from_be_bytes(*count)) {
            Some(-1) => self.int().map(|_| None),
            Some(i32::MIN..0) => self.int().map(|_| Some(0)),
            _ => self.count(least).map(Some),
        }
    }

    /// A `Stat`.
    pub fn stat(&mut self) -> Result<Stat, Malformed> {
        Ok(Stat {
            czxid: Zxid(self.long()?),
            mzxid: Zxid(self.long()?),
            ctime: self.long()?,
            mtime: self.long()?,
            version: self.int()?,
            cversion: self.int()?,
            aversion: self.int()?,
            ephemeral_owner: self.long()?,
            data_length: self.int()?,
            num_children: self.int()?,
            pzxid: Zxid(self.long()?),
        })
    }
}

/// What the bytes of a `ustring` say, in UTF-8 or as Java writes it: a character beyond U+FFFF as two surrogates in three
/// bytes each (`BinaryOutputArchive.writeString`).
///
/// # Errors
///
/// A surrogate alone is malformed too: it is no character, and with another in its place two identities could be taken for
/// the same.
pub fn text_of(bytes: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(_) => join_surrogates(bytes).map(Cow::Owned).ok_or(Malformed("UTF-8 of a string")),
    }
}

/// UTF-8 but for characters that are two surrogates in three bytes each.
#[cold]
fn join_surrogates(bytes: &[u8]) -> Option<String> {
    let (mut text, mut rest) = (String::new(), bytes);
    loop {
        let valid = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        text.push_str(valid);
        rest = &rest[valid.len()..];
        if rest.is_empty() {
            return Some(text);
        }
        let (pair, behind) = rest.split_first_chunk()?;
        text.push(joined(*pair)?);
        rest = behind;
    }
}

/// The character of two surrogates in three bytes each.
fn joined(pair: [u8; 6]) -> Option<char> {
    let unit = |second: u8, third: u8| 0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f);
    match pair {
        [0xed, high @ 0xa0..=0xaf, high_end @ 0x80..=0xbf, 0xed, low @ 0xb0..=0xbf, low_end @ 0x80..=0xbf] => {
            char::decode_utf16([unit(high, high_end), unit(low, low_end)]).next()?.ok()
        }
        _ => None,
    }
}

/// `new String(bytes, UTF_8)`: of what is no UTF-8, each maximal part becomes one U+FFFD, and so does a surrogate in three
/// bytes.
fn java_utf8(bytes: &[u8]) -> Cow<'_, str> {
    let mut text = String::new();
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) if text.is_empty() => return valid.into(),
            Ok(valid) => return (text + valid).into(),
            Err(error) => {
                let (valid, wrong) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                text.push(char::REPLACEMENT_CHARACTER);
                let length = match wrong {
                    [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
                    _ => error.error_len().unwrap_or(wrong.len()),
                };
                rest = &wrong[length..];
            }
        }
    }
}

// What is written and read may be credentials, or the password of a session.
impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("len", &self.rest.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_beyond_the_frame_are_refused_before_they_are_allocated() {
        let huge = i32::MAX.to_be_bytes();
        assert_eq!(Reader::new(&huge).buffer(), Err(Malformed("length of a buffer")));
        assert_eq!(Reader::new(&huge).count(4), Err(Malformed("count of a vector")));
        let negative = (-2i32).to_be_bytes();
        assert_eq!(Reader::new(&negative).buffer(), Err(Malformed("length of a buffer")));
        assert_eq!(Reader::new(&negative).count(4), Err(Malformed("count of a vector")));
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).buffer(), Ok(&[][..]));
        assert_eq!(Reader::new(&[0, 0]).int(), Err(Malformed("int")));
        assert_eq!(Reader::new(&[0, 0, 0, 1, 0xff]).string(), Err(Malformed("UTF-8 of a string")));
    }

    #[test]
    fn a_character_of_two_surrogates_is_read_as_one() {
        let read = |bytes: &[u8]| {
            let mut record = (bytes.len() as i32).to_be_bytes().to_vec();
            record.extend(bytes);
            Reader::new(&record).string().map(Cow::into_owned)
        };
        for (bytes, text) in [
            (&b"CN=\xed\xa0\xb4\xed\xb4\x9e"[..], "CN=\u{1d11e}"),
            (b"\xed\xa0\x80\xed\xb0\x80-\xed\xaf\xbf\xed\xbf\xbf\xc3\xa9", "\u{10000}-\u{10ffff}\u{e9}"),
            (b"\xed\xa0\xb4\xed\xb4\x9e\xf0\x9d\x84\x9e", "\u{1d11e}\u{1d11e}"),
        ] {
            assert_eq!(read(bytes).unwrap(), text);
        }
        for alone in [
            &b"\xed\xa0\xb4"[..],
            b"a\xed\xb4\x9e",
            b"\xed\xb4\x9e\xed\xa0\xb4",
            b"\xed\xa0\xb4\xed\xa0\xb4",
            b"\xed\xa0\xb4\xed\xb4",
            b"\xed\xa0\xb4\xed\xb4\x9e\xed\xa0\xb4",
            b"\xed\xa0\xb4\xed\xb4\x9e\xff",
            b"\xed\xa0\xb4abc",
            b"\xc0\x80",
        ] {
            assert_eq!(read(alone), Err(Malformed("UTF-8 of a string")), "{alone:x?}");
        }
    }

    #[test]
    fn strings_and_counts_are_also_read_as_java_reads_them() {
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).text(), Ok(None));
        assert_eq!(Reader::new(&[0; 4]).text(), Ok(Some("".into())));
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).text(), Err(Malformed("length of a buffer")));
        for (bytes, text) in [
            (&b"a\xffb"[..], "a\u{fffd}b"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\xed\xa0\x80/", "\u{fffd}/"),
            (b"\xc0\xaf", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(java_utf8(bytes), text);
        }
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).lenient_count(4), Ok(None));
        assert_eq!(Reader::new(&(-7i32).to_be_bytes()).lenient_count(4), Ok(Some(0)));
        assert_eq!(Reader::new(&i32::MAX.to_be_bytes()).lenient_count(4), Err(Malformed("count of a vector")));
    }
}
