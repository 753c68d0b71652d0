//! What an `ephemeralOwner` says beside a session (`EphemeralType`).

use std::collections::BTreeMap;

use crate::error::Fault;

/// That of a container.
pub(crate) const CONTAINER: i64 = i64::MIN;

/// The first byte of that of a node of an extended kind.
const EXTENDED: u64 = 0xff << 56;
/// Which one; 0 is a node with a time to live.
const FEATURE: u64 = 0xffff << 40;
/// The time to live in milliseconds.
const VALUE: u64 = !(EXTENDED | FEATURE);

/// That of a node with this time to live, in milliseconds.
pub(crate) fn with_ttl(ttl: i64) -> Option<i64> {
    let ttl = u64::try_from(ttl).ok().filter(|ttl| *ttl > 0 && *ttl & !VALUE == 0)?;
    Some((EXTENDED | ttl) as i64)
}

/// How a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Persistent,
    /// With the session that is the owner.
    Session,
    Container,
    /// In milliseconds.
    TimeToLive(i64),
}

/// The kind of a node. Whether an owner that begins with 0xff is a session is a setting of the server
/// (`zookeeper.extendedTypesEnabled`), which its files do not tell; where the setting is on no session is numbered so, so one
/// that is open decides.
pub(crate) fn kind(owner: i64, open: &BTreeMap<i64, i32>) -> Result<Kind, Fault> {
    let bits = owner as u64;
    Ok(match owner {
        0 => Kind::Persistent,
        CONTAINER => Kind::Container,
        _ if bits & EXTENDED != EXTENDED || open.contains_key(&owner) => Kind::Session,
        _ if bits & FEATURE == 0 && bits & VALUE > 0 => Kind::TimeToLive((bits & VALUE) as i64),
        _ => return Err(Fault::UnknownKind(owner)),
    })
}
