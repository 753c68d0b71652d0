//! What the directory's data says of the lease.

use std::time::Duration;

use bytes::Bytes;
use herdless_core::{Error, NodePath, Zxid};

use crate::contend::Token;

/// Who holds, or held, and how often it wrote so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Nobody ever held.
    Unused,
    /// A holder's word that it is alive.
    Held {
        token: Token,
        /// Grows with every attempt to write: no two attempts write the same, so a record that is found says which of them
        /// was carried out.
        renewal: u64,
        /// Whether the holder is asked to give up.
        is_revoked: bool,
    },
    /// The last holder left of its own accord.
    Released { token: Token },
}

impl Record {
    pub(super) fn parse(directory: &NodePath, data: &[u8]) -> Result<Self, Error> {
        // Only what would be written the same way again is taken: nothing is lost when it is.
        let record = std::str::from_utf8(data).ok().and_then(Self::from_text);
        record
            .filter(|record| record.to_text().as_bytes() == data)
            .ok_or_else(|| Error::Malformed { path: directory.clone(), expected: "the record of a lease" })
    }

    fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Unused);
        }
        let (line, request) = text.split_once('\n').map_or((text, None), |(line, request)| (line, Some(request)));
        let mut words = line.split(' ');
        match words.next()? {
            "held" => {
                let token = token(words.next()?)?;
                let renewal = words.next()?.parse().ok()?;
                Some(Self::Held { token, renewal, is_revoked: request.is_some() })
            }
            "released" => Some(Self::Released { token: token(words.next()?)? }),
            _ => None,
        }
    }

    fn to_text(self) -> String {
        match self {
            Self::Unused => String::new(),
            Self::Held { token, renewal, is_revoked: false } => format!("held {token} {renewal}"),
            Self::Held { token, renewal, is_revoked: true } => format!("held {token} {renewal}\nrevoke {token}"),
            Self::Released { token } => format!("released {token}"),
        }
    }

    pub(super) fn to_bytes(self) -> Bytes {
        self.to_text().into()
    }

    /// Whether whoever held last said that it left.
    pub(super) fn is_clean(self) -> bool {
        !matches!(self, Self::Held { .. })
    }

    pub(super) fn is_held_by(self, by: Token) -> bool {
        matches!(self, Self::Held { token, .. } if token == by)
    }

    /// Whether nobody has written between the two but to ask the holder to give up, which is no sign of life.
    pub(super) fn is_unrenewed_since(self, earlier: Self) -> bool {
        let unasked = |record| match record {
            Self::Held { token, renewal, .. } => Self::Held { token, renewal, is_revoked: false },
            other => other,
        };
        unasked(self) == unasked(earlier)
    }
}

fn token(text: &str) -> Option<Token> {
    let digits = text.strip_prefix("0x")?;
    Some(Token(Zxid(u64::from_str_radix(digits, 16).ok()?.cast_signed())))
}

/// What stands before the maximum hold in a contender's own data.
const AGREES: &str = "lease ";

/// The owner's text of a contender that agrees to be removed when it is first in line and silent for `max_hold_ms`.
pub(super) fn owner_who_agrees(owner: &str, max_hold_ms: u64) -> String {
    format!("{owner}\n{AGREES}{max_hold_ms}")
}

/// The owner's text as it was given, and how long a silence the contender agreed to; `None` for one that agreed to nothing.
pub(super) fn agreement(owner: &str) -> (&str, Option<Duration>) {
    let agreed = owner.rsplit_once('\n').and_then(|(owner, last)| {
        let millis = last.strip_prefix(AGREES)?.parse().ok()?;
        Some((owner, Some(Duration::from_millis(millis))))
    });
    agreed.unwrap_or((owner, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Record> {
        Record::parse(&NodePath::root(), text.as_bytes()).ok()
    }

    #[test]
    fn records_go_there_and_back() {
        let token = Token(Zxid(0x1f));
        for record in [
            Record::Unused,
            Record::Held { token, renewal: 0, is_revoked: false },
            Record::Held { token: Token(Zxid(-1)), renewal: u64::MAX, is_revoked: true },
            Record::Released { token },
        ] {
            assert_eq!(parse(&record.to_text()), Some(record));
        }
        assert_eq!(parse("held 0x1f 3\nrevoke 0x1f"), Some(Record::Held { token, renewal: 3, is_revoked: true }));
    }

    #[test]
    fn whatever_would_be_lost_is_not_taken() {
        for text in [
            "10.0.0.1",
            "held",
            "held 0x1f",
            "held 1f 3",
            "held 0x1f 3 4",
            "held 0x1F 3",
            "held 0x1f +3",
            "held 0x1f 3\n",
            "held 0x1f 3\nrevoke 0x20",
            "held 0x1f 3\nrevoke 0x1f\n",
            "released 0x1f 3",
            "released  0x1f",
            " ",
            "released 0x",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert!(Record::parse(&NodePath::root(), &[0xff, 0xfe]).is_err());
    }

    #[test]
    fn a_request_to_give_up_is_no_sign_of_life() {
        let held = |renewal, is_revoked| Record::Held { token: Token(Zxid(7)), renewal, is_revoked };
        assert!(held(2, true).is_unrenewed_since(held(2, false)));
        assert!(!held(3, false).is_unrenewed_since(held(2, false)));
    }

    #[test]
    fn an_agreement_goes_there_and_back() {
        assert_eq!(agreement(&owner_who_agrees("a\nb", 30)), ("a\nb", Some(Duration::from_millis(30))));
        assert_eq!(agreement("10.0.0.1"), ("10.0.0.1", None));
        assert_eq!(agreement("a\nlease soon"), ("a\nlease soon", None));
    }
}
