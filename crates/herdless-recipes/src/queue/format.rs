//! What the nodes of a queue hold.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use herdless_core::{Error, NodePath};

use super::tree::Position;

/// The first byte of an item: what follows is its data.
const PLAIN: u8 = 1;
/// The first byte of an item that was put with an id: its length (two bytes, big endian) and text, then the data.
const WITH_ID: u8 = 2;

/// The longest data of an item: leaves room for the rest of a request in the limit of 1 MiB that servers have
/// (`jute.maxbuffer`), so that what was put can also be moved.
pub(super) const DATA_LIMIT: usize = 1_000_000;
const ID_LIMIT: usize = 255;

/// An item as it is in its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) id: Option<String>,
    pub(super) data: Bytes,
}

impl Content {
    pub(super) fn encode(id: Option<&str>, data: &[u8]) -> Result<Bytes, Error> {
        if data.len() > DATA_LIMIT {
            return Err(Error::TooLarge { what: "request", length: data.len(), limit: DATA_LIMIT });
        }
        let mut bytes = BytesMut::with_capacity(data.len() + 3 + id.map_or(0, str::len));
        match id {
            None => bytes.put_u8(PLAIN),
            Some(id) => {
                let length = u16::try_from(id.len()).ok().filter(|_| id.len() <= ID_LIMIT);
                let length = length.ok_or_else(|| Error::invalid("an item's id is longer than 255 bytes"))?;
                bytes.put_u8(WITH_ID);
                bytes.put_u16(length);
                bytes.put_slice(id.as_bytes());
            }
        }
        bytes.put_slice(data);
        Ok(bytes.freeze())
    }

    /// `None` where it is nothing that this queue wrote.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        match *bytes.first()? {
            PLAIN => Some(Self { id: None, data: bytes.slice(1..) }),
            WITH_ID => {
                let length = usize::from(u16::from_be_bytes([*bytes.get(1)?, *bytes.get(2)?]));
                let id = std::str::from_utf8(bytes.get(3..3 + length)?).ok()?;
                let is_name = NodePath::root().child(id).is_ok();
                is_name.then(|| Self { id: Some(id.to_owned()), data: bytes.slice(3 + length..) })
            }
            _ => None,
        }
    }
}

/// The items of a claim that are not settled yet, each with how often it was claimed, this time included. In its node as
/// text: `lane/number*attempts`, with spaces between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record(pub(super) BTreeMap<Position, u32>);

impl Record {
    pub(super) fn encode(&self) -> Bytes {
        let mut text = String::new();
        for (Position { lane, number }, attempts) in &self.0 {
            let gap = if text.is_empty() { "" } else { " " };
            write!(text, "{gap}{lane}/{number}*{attempts}").expect("a String takes everything");
        }
        text.into()
    }

    /// `None` where it is no record of a queue with so many lanes.
    pub(super) fn decode(bytes: &[u8], lanes: usize) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let items = text.split_ascii_whitespace().map(|item| {
            let (lane, rest) = item.split_once('/')?;
            let (number, attempts) = rest.split_once('*')?;
            let position = Position { lane: lane.parse().ok()?, number: number.parse().ok()? };
            let is_known = (position.lane as usize) < lanes && i32::try_from(position.number).is_ok();
            is_known.then_some((position, attempts.parse().ok()?))
        });
        items.collect::<Option<_>>().map(Self)
    }

    /// Without these items.
    pub(super) fn without(&self, settled: &[Position]) -> Self {
        let mut rest = self.clone();
        rest.0.retain(|position, _| !settled.contains(position));
        rest
    }
}

/// The first number of a lane that was never claimed. Nothing was where there is no data.
pub(super) fn decode_cursor(path: &NodePath, bytes: &[u8]) -> Result<u32, Error> {
    let malformed = || Error::Malformed { path: path.clone(), expected: "the number of an item" };
    if bytes.is_empty() {
        return Ok(0);
    }
    let number: u32 = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(malformed)?;
    i32::try_from(number).map_err(|_| malformed())?;
    Ok(number)
}

pub(super) fn encode_cursor(number: u32) -> Bytes {
    number.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_go_there_and_back() {
        for (id, data) in [(None, "x"), (None, ""), (Some("a"), "x"), (Some("日本"), "")] {
            let bytes = Content::encode(id, data.as_bytes()).unwrap();
            let content = Content { id: id.map(str::to_owned), data: data.into() };
            assert_eq!(Content::decode(&bytes), Some(content));
        }
        assert_eq!(Content::encode(None, b"x").unwrap().len(), 2, "one byte more than the data");
    }

    #[test]
    fn garbage_is_no_item() {
        for bytes in
            [&b""[..], b"text", b"\x02", b"\x02\x00", b"\x02\x00\x05abc", b"\x02\x00\x01/", b"\x02\x00\x01\xff"]
        {
            assert_eq!(Content::decode(&Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
        }
    }

    #[test]
    fn records_go_there_and_back() {
        let at = |lane, number| Position { lane, number };
        let record = Record([(at(0, 7), 1), (at(1, 2_147_483_647), 3)].into());
        assert_eq!(record.encode(), "0/7*1 1/2147483647*3");
        assert_eq!(Record::decode(&record.encode(), 2), Some(record.clone()));
        assert_eq!(Record::decode(b"", 1), Some(Record::default()));
        assert_eq!(record.without(&[at(0, 7)]).encode(), "1/2147483647*3");
        for garbage in ["x", "0/1", "0*1", "2/1*1", "0/2147483648*1", "0/1*-1", "0/1*1 x"] {
            assert_eq!(Record::decode(garbage.as_bytes(), 2), None, "{garbage}");
        }
        assert_eq!(Record::decode(b"\xff", 1), None);
    }

    #[test]
    fn a_cursor_that_is_none_is_an_error() {
        let path = NodePath::parse("/q/items").unwrap();
        assert_eq!(decode_cursor(&path, b""), Ok(0));
        assert_eq!(decode_cursor(&path, &encode_cursor(12)), Ok(12));
        for garbage in [&b"x"[..], b"-1", b"2147483648", b"\xff"] {
            assert!(matches!(decode_cursor(&path, garbage), Err(Error::Malformed { .. })), "{garbage:?}");
        }
    }
}
