//! What an Apache ZooKeeper has left, as the import reads it.

use std::collections::BTreeMap;

use adler2::adler32_slice;
use herdless_import::Import;
use herdless_memory::Tree;

/// A snapshot and a log whose checksums are right, so that what is in them is looked at: a byte of [`HAS_DIGEST`] or not, the
/// length of the snapshot's body in two bytes, the body, the digest if it has one, and the log's entries, each behind its
/// length in two bytes. What can be read is a tree that a store takes, with the sessions that own something in it.
///
/// # Panics
///
/// Where that is not so.
pub fn import_files(bytes: &[u8]) {
    let Some(files) = files(bytes) else { return };
    let Ok(Import { mut tree, sessions, .. }) = Import::read(&files) else { return };
    let ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
    assert_eq!(tree.sessions().collect::<Vec<_>>(), ids);
    tree.keep_journal(true);
    let all = tree.take_changes();
    let nodes = all.nodes.into_iter().map(|(path, node)| (path, node.expect("nothing was deleted since")));
    let restored = Tree::restore(all.zxid, nodes, ids.iter().copied()).unwrap();
    assert!(restored.paths().eq(tree.paths()));
    for path in tree.paths() {
        assert_eq!(restored.record(path), tree.record(path), "{path}");
    }
    for id in ids {
        assert!(restored.ephemerals(id).eq(tree.ephemerals(id)));
    }
}

/// In the first byte: there is a digest behind the snapshot's end.
pub const HAS_DIGEST: u8 = 1;
/// A digest: of which change, of which version, and the number.
pub const DIGEST: usize = 8 + 4 + 8;

fn files(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let (flags, rest) = bytes.split_first()?;
    let (body, mut rest) = behind_its_length(rest)?;
    let mut snapshot = [&b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\0"[..], body].concat();
    seal(&mut snapshot);
    if flags & HAS_DIGEST != 0 {
        let (digest, behind) = rest.split_at_checked(DIGEST)?;
        snapshot.extend(digest);
        seal(&mut snapshot);
        rest = behind;
    }
    let mut log = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    while let Some((entry, behind)) = behind_its_length(rest) {
        log.extend(u64::from(adler32_slice(entry)).to_be_bytes());
        log.extend(u32::try_from(entry.len()).expect("of two bytes").to_be_bytes());
        log.extend(entry);
        log.push(b'B');
        rest = behind;
    }
    Some(BTreeMap::from([("snapshot.0".to_owned(), snapshot), ("log.1".to_owned(), log)]))
}

fn behind_its_length(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// The checksum of all that comes before it, and a path of one character.
fn seal(snapshot: &mut Vec<u8>) {
    let checksum = u64::from(adler32_slice(snapshot));
    snapshot.extend(checksum.to_be_bytes());
    snapshot.extend(b"\0\0\0\x01/");
}
