//! A snapshot (`FileSnap`, `SerializeUtils.deserializeSnapshot`, `DataTree.deserialize`).

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use herdless_core::{Acl, NodePath, Permissions};

use crate::error::Fault;
use crate::input::Input;
use crate::replica::{Node, Replica};
use crate::transaction::TreeDigest;

/// What a snapshot holds.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) replica: Replica,
    /// Whether the server keeps digests. One that has seen no change since it was started has none yet.
    pub(crate) has_digest: bool,
    /// What the tree came to after which change, when the last node was written.
    pub(crate) digest: Option<(i64, TreeDigest)>,
    /// It may hold something of the changes up to this one.
    pub(crate) until: i64,
}

type Lists = BTreeMap<i64, Arc<[Acl]>>;

const MAGIC: [u8; 4] = *b"ZKSN";
/// The list of everybody's, which is in no snapshot (`ReferenceCountedACLCache.OPEN_UNSAFE_ACL_ID`).
const OPEN: i64 = -1;
/// `CheckedOutputStream`'s checksum as a long, and a string of one character.
const SEAL: u64 = 8 + 4 + 1;
const DIGEST: &str = "the digest";

impl Snapshot {
    pub(crate) fn read<R: Read>(input: &mut Input<R>) -> Result<Self, Fault> {
        input.header(MAGIC)?;
        let mut snapshot = Self::default();
        for _ in 0..input.int("the sessions")? {
            let (session, timeout_ms) = (input.long("a session")?, input.int("a session")?);
            snapshot.replica.open_session(session, timeout_ms);
        }
        let lists = lists(input)?;
        nodes(input, &lists, &mut snapshot.replica)?;
        seal(input)?;
        snapshot.trailer(input)?;
        Ok(snapshot)
    }

    /// What later releases have put behind the end, so that earlier ones need not read it, each with a seal of its own: the
    /// digest since 3.6, the last change since 3.9. Each is a setting.
    fn trailer<R: Read>(&mut self, input: &mut Input<R>) -> Result<(), Fault> {
        // Both together take less.
        const LIMIT: u64 = 128;
        const LAST_CHANGE: u64 = 8 + SEAL;
        let mut rest = input.rest(LIMIT)?;
        // A digest is longer than the last change, which may come without one.
        if !rest.is_over() && rest.remaining() != LAST_CHANGE {
            let (zxid, version) = (rest.long(DIGEST)?, rest.int(DIGEST)?);
            // The first version is in hexadecimal digits, and cannot be compared here.
            let value = if version < 2 { rest.string(DIGEST).map(|_| None)? } else { Some(rest.long(DIGEST)?) };
            seal(&mut rest)?;
            (self.until, self.has_digest) = (zxid, true);
            self.digest = value.filter(|_| zxid > 0).map(|value| (zxid, TreeDigest { version, value }));
        }
        if !rest.is_over() {
            self.until = self.until.max(rest.long("the last change")?);
            seal(&mut rest)?;
        }
        if rest.is_over() { Ok(()) } else { Err(Fault::Malformed("end of the snapshot")) }
    }
}

/// `SnapStream.checkSealIntegrity`.
fn seal<R: Read>(input: &mut Input<R>) -> Result<(), Fault> {
    let checksum = i64::from(input.checksum());
    let found = (input.long("a checksum")?, input.string("a checksum")?);
    if found == (checksum, "/".to_owned()) { Ok(()) } else { Err(Fault::Checksum) }
}

/// `ReferenceCountedACLCache.deserialize`.
fn lists<R: Read>(input: &mut Input<R>) -> Result<Lists, Fault> {
    const WHAT: &str = "the access control lists";
    let mut lists = Lists::from([(OPEN, Acl::open())]);
    for _ in 0..input.int(WHAT)? {
        let number = input.long(WHAT)?;
        let mut list = Vec::new();
        for _ in 0..input.int(WHAT)? {
            let permissions = Permissions::from_bits(input.int(WHAT)?);
            list.push(Acl { permissions, scheme: input.string(WHAT)?, id: input.string(WHAT)? });
        }
        lists.insert(number, list.into());
    }
    Ok(lists)
}

/// Each node comes behind its parent; the root's path is empty, and that of the end is `/`.
fn nodes<R: Read>(input: &mut Input<R>, lists: &Lists, replica: &mut Replica) -> Result<(), Fault> {
    const WHAT: &str = "a node";
    loop {
        let path = match input.string("a path")?.as_str() {
            "/" => break,
            "" => NodePath::root(),
            path => NodePath::parse(path).map_err(|_| Fault::Malformed("path"))?,
        };
        let (data, list) = (input.data(WHAT)?, input.long(WHAT)?);
        // In the order of the file.
        let (czxid, mzxid) = (input.long(WHAT)?, input.long(WHAT)?);
        let (ctime, mtime) = (input.long(WHAT)?, input.long(WHAT)?);
        let (version, creates, acl_version) = (input.int(WHAT)?, input.int(WHAT)?, input.int(WHAT)?);
        let (owner, pzxid) = (input.long(WHAT)?, input.long(WHAT)?);
        let acl = lists.get(&list).cloned();
        let node = Node { data, acl, czxid, mzxid, pzxid, ctime, mtime, version, acl_version, creates, owner };
        replica.place(path, node)?;
    }
    if replica.has_root() { Ok(()) } else { Err(Fault::Malformed("root")) }
}
