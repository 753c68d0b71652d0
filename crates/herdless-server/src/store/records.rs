//! How nodes, sessions and the store's own state are written.
//!
//! Numbers are big-endian. Each record begins with the version of its layout, so that one release can read what another wrote.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use herdless_core::{Acl, NodeData, Permissions, Zxid};
use herdless_memory::NodeRecord;
use twox_hash::XxHash3_128;

/// The layout of the tables and records together. A directory of a newer one is refused.
pub(crate) const FORMAT: u32 = 1;

const NODE: u8 = 1;
const SESSION: u8 = 1;
const STATE: u8 = 1;

/// The state of the store at one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreState {
    pub(crate) zxid: Zxid,
    /// Whether changes may have been told to clients that are not here: the next start begins beyond them.
    pub(crate) is_behind: bool,
    /// The sum of the [`weight`]s of all records.
    pub(crate) digest: u128,
}

/// What is kept of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    pub(crate) timeout: Duration,
    /// SHA-256 of its password. The password itself is random and long enough that nothing shorter can be guessed from it.
    pub(crate) password: [u8; 32],
}

/// A record that this release cannot have written.
#[derive(Debug)]
pub(crate) struct Unreadable;

/// What a record adds to the digest. A sum of these does not tell in which order the records came, and each can be taken out
/// again (as `AdHash`, by which Apache ZooKeeper compares trees).
pub(crate) fn weight(table: u64, key: &[u8], value: &[u8], scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    scratch.extend_from_slice(&(key.len() as u64).to_be_bytes());
    scratch.extend_from_slice(key);
    scratch.extend_from_slice(value);
    XxHash3_128::oneshot_with_seed(table, scratch)
}

pub(crate) fn write_node(node: &NodeRecord, out: &mut Vec<u8>) {
    out.clear();
    out.push(NODE);
    for number in [node.czxid.0, node.mzxid.0, node.pzxid.0, node.ctime, node.mtime, node.owner] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    for number in [node.version, node.acl_version, node.creates] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let flags = [node.is_container, node.time_to_live.is_some(), node.data.is_null()];
    out.push(flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
    out.extend(node.time_to_live.iter().flat_map(|limit| limit.to_be_bytes()));
    write_acl(&node.acl, out);
    out.extend_from_slice(&node.data);
}

/// The usual list is one without entries, which no node has.
fn write_acl(list: &[Acl], out: &mut Vec<u8>) {
    let entries = if *list == *Acl::open() { &[] } else { list };
    out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    for acl in entries {
        out.extend_from_slice(&acl.permissions.bits().to_be_bytes());
        for text in [&acl.scheme, &acl.id] {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Reads nodes; neighbours with the same list of access share it.
#[derive(Default)]
pub(crate) struct NodeReader {
    last: Option<Arc<[Acl]>>,
}

impl NodeReader {
    pub(crate) fn read(&mut self, record: &[u8]) -> Result<NodeRecord, Unreadable> {
        let mut reader = Reader(record);
        reader.version(NODE)?;
        let [czxid, mzxid, pzxid, ctime, mtime, owner] = [(); 6].map(|()| reader.array().map(i64::from_be_bytes));
        let [version, acl_version, creates] = [(); 3].map(|()| reader.array().map(i32::from_be_bytes));
        let [flags] = reader.array()?;
        let time_to_live = match flags & 2 {
            0 => None,
            _ => Some(i64::from_be_bytes(reader.array()?)),
        };
        let acl = self.acl(&mut reader)?;
        let data = match flags & 4 {
            0 => NodeData::from(Bytes::copy_from_slice(reader.0)),
            _ => NodeData::NULL,
        };
        Ok(NodeRecord {
            czxid: Zxid(czxid?),
            mzxid: Zxid(mzxid?),
            pzxid: Zxid(pzxid?),
            ctime: ctime?,
            mtime: mtime?,
            version: version?,
            acl_version: acl_version?,
            creates: creates?,
            owner: owner?,
            is_container: flags & 1 != 0,
            time_to_live,
            acl,
            data,
        })
    }

    fn acl(&mut self, reader: &mut Reader<'_>) -> Result<Arc<[Acl]>, Unreadable> {
        let count = u32::from_be_bytes(reader.array()?);
        if count == 0 {
            return Ok(Acl::open());
        }
        let mut list = Vec::new();
        for _ in 0..count {
            let permissions = Permissions::from_bits(i32::from_be_bytes(reader.array()?));
            list.push(Acl { permissions, scheme: reader.text()?, id: reader.text()? });
        }
        let last = self.last.take().filter(|last| **last == *list);
        Ok(self.last.insert(last.unwrap_or_else(|| list.into())).clone())
    }
}

pub(crate) fn write_session(session: &SessionRecord, out: &mut Vec<u8>) {
    out.clear();
    out.push(SESSION);
    out.extend_from_slice(&u64::try_from(session.timeout.as_millis()).unwrap_or(u64::MAX).to_be_bytes());
    out.extend_from_slice(&session.password);
}

pub(crate) fn read_session(record: &[u8]) -> Result<SessionRecord, Unreadable> {
    let mut reader = Reader(record);
    reader.version(SESSION)?;
    let timeout = Duration::from_millis(u64::from_be_bytes(reader.array()?));
    Ok(SessionRecord { timeout, password: reader.array()? })
}

/// With a hash of its own: no record stands for it.
pub(crate) fn write_state(state: &StoreState) -> Vec<u8> {
    let mut out = vec![STATE];
    out.extend_from_slice(&state.zxid.0.to_be_bytes());
    out.push(u8::from(state.is_behind));
    out.extend_from_slice(&state.digest.to_be_bytes());
    let check = XxHash3_128::oneshot(&out);
    out.extend_from_slice(&check.to_be_bytes());
    out
}

pub(crate) fn read_state(record: &[u8]) -> Result<StoreState, Unreadable> {
    let mut reader = Reader(record);
    reader.version(STATE)?;
    let zxid = Zxid(i64::from_be_bytes(reader.array()?));
    let [is_behind] = reader.array()?;
    let digest = u128::from_be_bytes(reader.array()?);
    let body = &record[..record.len() - reader.0.len()];
    if reader.array()? != XxHash3_128::oneshot(body).to_be_bytes() {
        return Err(Unreadable);
    }
    Ok(StoreState { zxid, is_behind: is_behind != 0, digest })
}

/// What is left of a record.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn version(&mut self, known: u8) -> Result<(), Unreadable> {
        if self.array()? == [known] { Ok(()) } else { Err(Unreadable) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*array)
    }

    fn text(&mut self) -> Result<String, Unreadable> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> NodeRecord {
        NodeRecord {
            data: NodeData::from("data"),
            acl: Acl::open(),
            czxid: Zxid(1),
            mzxid: Zxid(2),
            pzxid: Zxid(3),
            ctime: 4,
            mtime: -5,
            version: 6,
            acl_version: 7,
            creates: i32::MAX,
            owner: 0,
            is_container: false,
            time_to_live: None,
        }
    }

    fn nodes() -> [NodeRecord; 3] {
        let other = NodeRecord {
            data: NodeData::default(),
            acl: Arc::new([
                Acl { permissions: Permissions::READ, scheme: "ip".into(), id: "::1".into() },
                Acl::digest(Permissions::ALL, "ä", "secret"),
            ]),
            owner: i64::MIN,
            is_container: true,
            time_to_live: Some(0xff_ffff_ffff),
            ..plain()
        };
        [plain(), NodeRecord { data: NodeData::NULL, ..plain() }, other]
    }

    #[test]
    fn nodes_are_read_as_they_were_written_and_cut_ones_never() {
        let mut out = Vec::new();
        let mut reader = NodeReader::default();
        for node in nodes() {
            write_node(&node, &mut out);
            assert_eq!(reader.read(&out).unwrap(), node);
            for cut in 0..out.len() - node.data.len() {
                assert!(reader.read(&out[..cut]).is_err(), "{cut}");
            }
            out[0] = 2;
            assert!(reader.read(&out).is_err(), "a layout that is not known");
        }
    }

    #[test]
    fn neighbours_share_a_list_of_access() {
        let [.., node] = nodes();
        let mut out = Vec::new();
        write_node(&node, &mut out);
        let mut reader = NodeReader::default();
        let (one, other) = (reader.read(&out).unwrap(), reader.read(&out).unwrap());
        assert!(Arc::ptr_eq(&one.acl, &other.acl));
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_no_other_is() {
        let state = StoreState { zxid: Zxid(7), is_behind: true, digest: u128::MAX - 1 };
        let written = write_state(&state);
        assert_eq!(read_state(&written).unwrap(), state);
        for bit in 0..written.len() * 8 {
            let mut flipped = written.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_state(&flipped).is_err(), "{bit}");
        }
    }

    #[test]
    fn sessions_are_read_as_they_were_written() {
        let session = SessionRecord { timeout: Duration::from_millis(4321), password: [9; 32] };
        let mut out = Vec::new();
        write_session(&session, &mut out);
        assert_eq!(read_session(&out).unwrap(), session);
        assert!(read_session(&out[..out.len() - 1]).is_err());
    }
}
