//! The transactions of a log (`SerializeUtils.deserializeTxn`, module `org.apache.zookeeper.txn` of `zookeeper.jute`).

use std::sync::Arc;

use herdless_core::{Acl, NodeData, NodePath, Permissions};
use herdless_proto::codec::{Malformed, Reader};

use crate::error::Fault;
use crate::owner;

/// What an entry of a log says.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) header: Header,
    pub(crate) transaction: Transaction,
    /// What the whole tree comes to after it, as far as a server of 3.6 or later has noted it.
    pub(crate) digest: Option<TreeDigest>,
}

/// `TxnHeader`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) session: i64,
    pub(crate) zxid: i64,
    pub(crate) time: i64,
}

/// `TxnDigest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeDigest {
    pub(crate) version: i32,
    pub(crate) value: i64,
}

#[derive(Debug)]
pub(crate) enum Transaction {
    OpenSession {
        timeout_ms: i32,
    },
    CloseSession {
        /// What was its own then; servers before 3.6 do not say.
        paths: Vec<NodePath>,
    },
    Change(Change),
    /// None of them where one has failed.
    Multi(Vec<Change>),
}

/// What one operation does to the tree.
#[derive(Debug)]
pub(crate) enum Change {
    Create(Create),
    Delete {
        path: NodePath,
    },
    SetData {
        path: NodePath,
        data: NodeData,
        version: i32,
    },
    SetAcl {
        path: NodePath,
        acl: Arc<[Acl]>,
        version: i32,
    },
    /// A refused request has a zxid too.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) path: NodePath,
    pub(crate) data: NodeData,
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) owner: i64,
    /// How many children of the parent were ever created, this one too; `None` in logs of before 3.4.
    pub(crate) creates: Option<i32>,
}

/// `TxnHeader`: long, int, long, long, int.
const HEADER: usize = 32;
/// `TxnDigest`: int, long.
const DIGEST: usize = 12;
/// The one version of digests whose value is a number (`DigestCalculator.DIGEST_VERSION`).
const DIGEST_VERSION: [u8; 4] = 2i32.to_be_bytes();

impl Entry {
    pub(crate) fn read(payload: &[u8]) -> Result<Self, Fault> {
        let mut r = Reader::new(payload);
        let (header, kind) = header(&mut r).map_err(malformed)?;
        let transaction = match kind {
            -10 => Transaction::OpenSession { timeout_ms: r.int().map_err(malformed)? },
            // The list may be left out (`zookeeper.closeSessionTxn.enabled`), and what follows be the digest. No list of two paths
            // is as short as that.
            -11 if is_digest(&payload[HEADER.min(payload.len())..]) => Transaction::CloseSession { paths: Vec::new() },
            -11 => Transaction::CloseSession { paths: paths(&mut r).map_err(malformed)? },
            14 => Transaction::Multi(multi(&mut r, header)?),
            7 => Transaction::Change(set_acl(&mut r).map_err(malformed)?),
            // A change of the ensemble sets the data of its node.
            16 => Transaction::Change(set_data(&mut r).map_err(malformed)?),
            kind => Transaction::Change(change(kind, &mut r, header)?),
        };
        let digest = if r.is_empty() { None } else { Some(digest(&mut r).map_err(malformed)?) };
        if r.is_empty() { Ok(Self { header, transaction, digest }) } else { Err(Fault::Malformed("end of an entry")) }
    }
}

fn malformed(Malformed(what): Malformed) -> Fault {
    Fault::Malformed(what)
}

fn is_digest(rest: &[u8]) -> bool {
    rest.len() == DIGEST && rest.starts_with(&DIGEST_VERSION)
}

fn header(r: &mut Reader<'_>) -> Result<(Header, i32), Malformed> {
    let session = r.long()?;
    let _client_number = r.int()?;
    Ok((Header { session, zxid: r.long()?, time: r.long()? }, r.int()?))
}

fn digest(r: &mut Reader<'_>) -> Result<TreeDigest, Malformed> {
    Ok(TreeDigest { version: r.int()?, value: r.long()? })
}

fn paths(r: &mut Reader<'_>) -> Result<Vec<NodePath>, Malformed> {
    // Before 3.6 there is nothing at all.
    if r.is_empty() {
        return Ok(Vec::new());
    }
    let count = r.count(4)?;
    (0..count).map(|_| r.path()).collect()
}

/// The operations that may be a part of a multi, which may stand alone as well (`DataTree.processTxn`).
fn change(kind: i32, r: &mut Reader<'_>, header: Header) -> Result<Change, Fault> {
    let change = match kind {
        -1 => r.int().map(|_| Change::Nothing),
        1 | 15 => create(r, header.session),
        2 | 20 => r.path().map(|path| Change::Delete { path }),
        5 => set_data(r),
        13 => r.path().and_then(|_| r.int()).map(|_| Change::Nothing),
        19 => create_typed(r, |_| Ok(owner::CONTAINER)),
        21 => create_typed(r, |r| owner::with_ttl(r.long()?).ok_or(Malformed("time to live"))),
        kind => return Err(Fault::UnknownTransaction(kind)),
    };
    change.map_err(malformed)
}

fn multi(r: &mut Reader<'_>, header: Header) -> Result<Vec<Change>, Fault> {
    let count = r.count(8).map_err(malformed)?;
    let (mut changes, mut has_failed) = (Vec::new(), false);
    for _ in 0..count {
        let kind = r.int().map_err(malformed)?;
        let mut part = Reader::new(r.buffer().map_err(malformed)?);
        has_failed |= kind == -1;
        changes.push(change(kind, &mut part, header)?);
        if !part.is_empty() {
            return Err(Fault::Malformed("end of a part of a multi"));
        }
    }
    if has_failed {
        changes.clear();
    }
    Ok(changes)
}

/// `CreateTxn`, and `CreateTxnV0`, which ends before the last field.
fn create(r: &mut Reader<'_>, session: i64) -> Result<Change, Malformed> {
    let (path, data, acl) = (r.path()?, r.data()?, acl(r)?);
    let owner = if r.bool()? { session } else { 0 };
    let creates = if r.is_empty() { None } else { Some(r.int()?) };
    Ok(Change::Create(Create { path, data, acl, owner, creates: creates.filter(|creates| *creates != -1) }))
}

/// `CreateContainerTxn`, and `CreateTTLTxn`, which has one more field.
fn create_typed(
    r: &mut Reader<'_>,
    owner: impl FnOnce(&mut Reader<'_>) -> Result<i64, Malformed>,
) -> Result<Change, Malformed> {
    let (path, data, acl, creates) = (r.path()?, r.data()?, acl(r)?, r.int()?);
    Ok(Change::Create(Create { path, data, acl, owner: owner(r)?, creates: Some(creates) }))
}

fn set_data(r: &mut Reader<'_>) -> Result<Change, Malformed> {
    Ok(Change::SetData { path: r.path()?, data: r.data()?, version: r.int()? })
}

fn set_acl(r: &mut Reader<'_>) -> Result<Change, Malformed> {
    Ok(Change::SetAcl { path: r.path()?, acl: acl(r)?, version: r.int()? })
}

fn acl(r: &mut Reader<'_>) -> Result<Arc<[Acl]>, Malformed> {
    // At least an int and the lengths of two strings each.
    let count = r.count(12)?;
    let mut entry = || {
        let permissions = Permissions::from_bits(r.int()?);
        Ok(Acl { permissions, scheme: r.string()?.into_owned(), id: r.string()?.into_owned() })
    };
    (0..count).map(|_| entry()).collect()
}
