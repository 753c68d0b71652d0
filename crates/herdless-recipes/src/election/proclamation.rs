//! What a leader proclaims, as it stands in the data of the election's node.
//!
//! It is no child of that node: Curator's `LeaderLatch.getParticipants` takes every child for a participant. Neither
//! Curator nor kazoo reads or writes the data of an election's own node.

use bytes::Bytes;
use herdless_core::Zxid;

use crate::contend::Token;

/// A value, and who proclaimed it: `<term> <number>`, a line feed, the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proclamation {
    pub(super) rank: Rank,
    pub(super) value: Bytes,
}

/// The order of proclamations: by term, and within a term by their number, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) term: Token,
    pub(super) number: u64,
}

impl Proclamation {
    pub(super) fn encode(&self) -> Bytes {
        let mut data = header(self.rank).into_bytes();
        data.push(b'\n');
        data.extend_from_slice(&self.value);
        data.into()
    }

    /// `None` for what no leader of ours has written.
    pub(super) fn parse(data: &Bytes) -> Option<Self> {
        let end = data.iter().position(|byte| *byte == b'\n')?;
        let text = std::str::from_utf8(&data[..end]).ok()?;
        let (term, number) = text.split_once(' ')?;
        let term = u64::from_str_radix(term.strip_prefix("0x")?, 16).ok()?;
        let rank = Rank { term: Token(Zxid(term.cast_signed())), number: number.parse().ok()? };
        // Other spellings of the same numbers are not ours.
        (header(rank) == text).then(|| Self { rank, value: data.slice(end + 1..) })
    }
}

fn header(Rank { term, number }: Rank) -> String {
    format!("{term} {number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proclamation(term: i64, number: u64, value: &'static [u8]) -> Proclamation {
        Proclamation { rank: Rank { term: Token(Zxid(term)), number }, value: Bytes::from_static(value) }
    }

    #[test]
    fn it_reads_what_it_wrote() {
        for value in [&b""[..], b"one", b"two\nlines", b"\n", b"\xff\x00"] {
            for term in [0, 1, 0x1_0000_002a, i64::MAX, -1] {
                let proclaimed = proclamation(term, 7, value);
                assert_eq!(Proclamation::parse(&proclaimed.encode()), Some(proclaimed));
            }
        }
        assert_eq!(proclamation(31, 2, b"v").encode(), "0x1f 2\nv");
    }

    #[test]
    fn what_somebody_else_wrote_is_no_value() {
        for data in [
            "",
            "127.0.0.1",
            "\n",
            "0x1f\nv",
            "0x1f 2",
            "1f 2\nv",
            "0x1F 2\nv",
            "0x1f +2\nv",
            "0x01f 2\nv",
            "0x+1f 2\nv",
        ] {
            assert_eq!(Proclamation::parse(&Bytes::from_static(data.as_bytes())), None, "{data:?}");
        }
        assert_eq!(Proclamation::parse(&Bytes::from_static(b"\xff 2\nv")), None);
    }

    #[test]
    fn a_later_term_ranks_above_any_number_of_an_earlier() {
        assert!(proclamation(2, 0, b"").rank > proclamation(1, 9, b"").rank);
        assert!(proclamation(2, 2, b"").rank > proclamation(2, 1, b"").rank);
    }
}
