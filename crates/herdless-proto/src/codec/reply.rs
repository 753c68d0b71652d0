//! Replies and notifications: written by the server, read by the client.

use std::borrow::Cow;

use herdless_core::{
    Created, Error, EventKind, Identity, MultiReply, NodePath, ReadReply, Refusal, Reply, Stat, WatchEvent,
};

use super::request::{read_acl, write_acl};
use super::{Malformed, NOTIFICATION_XID, OpCode, Reader, Writer};

/// What stands before every reply (`ReplyHeader`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// The request that it answers, or one of the special numbers.
    pub xid: i32,
    /// The last change that the server had applied.
    pub zxid: i64,
    /// 0, or a code of `KeeperException.Code`.
    pub err: i32,
}

impl ReplyHeader {
    /// Reads a header.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { xid: r.int()?, zxid: r.long()?, err: r.int()? })
    }

    /// Writes a header.
    pub fn write(self, w: &mut Writer<'_>) {
        w.int(self.xid);
        w.long(self.zxid);
        w.int(self.err);
    }
}

/// How the reply to a request is written: the older operations leave the Stat out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a request is one operation or several, and one of them has two replies")]
pub enum Shape {
    /// One operation.
    Plain(OpCode),
    /// A multi of these.
    Multi(Vec<OpCode>),
    /// A sync of no path, whose reply names none.
    Nameless,
}

/// The error that a code in a reply header stands for.
fn error(code: i32) -> Error {
    match Refusal::from_code(code) {
        Some(refusal) => Error::Refused(refusal),
        None if code == SESSION_EXPIRED => Error::SessionExpired,
        None => Error::Uncertain(code),
    }
}

const SESSION_EXPIRED: i32 = -112;
const SYSTEM_ERROR: i32 = -1;
/// What an operation of a failed multi reports that comes after the one at fault.
const RUNTIME_INCONSISTENCY: i32 = -2;

/// Reads what follows the header.
///
/// # Errors
///
/// The outer one says that the bytes are no such reply; the inner one is the server's.
pub fn read_reply(opcode: OpCode, err: i32, r: &mut Reader<'_>) -> Result<Result<Reply, Error>, Malformed> {
    if err != 0 {
        // That there is no node is a finding of Exists, not a failure.
        let nothing = opcode == OpCode::Exists && err == Refusal::NoNode.code();
        return Ok(if nothing { Ok(Reply::Exists(None)) } else { Err(error(err)) });
    }
    Ok(Ok(match opcode {
        OpCode::Create => Reply::Created(Created { path: r.path()?, stat: Stat::default() }),
        OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            Reply::Created(Created { path: r.path()?, stat: r.stat()? })
        }
        OpCode::Delete => Reply::Deleted,
        OpCode::Exists => Reply::Exists(Some(r.stat()?)),
        OpCode::GetData => Reply::Data(r.data()?, r.stat()?),
        OpCode::SetData => Reply::Set(r.stat()?),
        OpCode::GetChildren => Reply::Children(read_names(r)?, Stat::default()),
        OpCode::GetChildren2 => Reply::Children(read_names(r)?, r.stat()?),
        OpCode::GetEphemerals => {
            Reply::Ephemerals((0..r.count(4)?).map(|_| r.path()).collect::<Result<Vec<NodePath>, _>>()?)
        }
        OpCode::AddWatch => match r.int()? {
            0 => Reply::WatchAdded,
            code => return Ok(Err(error(code))),
        },
        OpCode::CheckWatches => Reply::Watched,
        OpCode::RemoveWatches => Reply::WatchesRemoved,
        OpCode::GetAllChildrenNumber => {
            Reply::AllChildrenNumber(u32::try_from(r.int()?).map_err(|_| Malformed("count"))?)
        }
        OpCode::GetAcl => Reply::Acl(read_acl(r)?, r.stat()?),
        OpCode::SetAcl => Reply::Set(r.stat()?),
        OpCode::Sync => Reply::Synced(r.path()?),
        OpCode::Multi => return read_multi(r),
        OpCode::MultiRead => Reply::MultiRead(read_multi_read(r)?),
        OpCode::Auth => Reply::Authenticated,
        OpCode::WhoAmI => Reply::Identities(
            (0..r.count(8)?)
                .map(|_| Ok(Identity { scheme: r.string()?.into_owned(), id: r.string()?.into_owned() }))
                .collect::<Result<_, _>>()?,
        ),
        OpCode::Reconfig => Reply::Data(r.data()?, r.stat()?),
        OpCode::CloseSession => Reply::Closed,
        OpCode::DeleteContainer
        | OpCode::Ping
        | OpCode::Check
        | OpCode::SetWatches
        | OpCode::SetWatches2
        | OpCode::Sasl => {
            return Err(Malformed("reply"));
        }
    }))
}

fn read_names(r: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    (0..r.count(4)?).map(|_| r.string().map(Cow::into_owned)).collect()
}

/// A multi that failed has 0 in its header; each result is then an `ErrorResult`: 0 before the operation at fault, its
/// code, and RuntimeInconsistency after it (`FinalRequestProcessor`, `MultiResponse`).
fn read_multi(r: &mut Reader<'_>) -> Result<Result<Reply, Error>, Malformed> {
    let (mut replies, mut failure, mut index) = (Vec::new(), None, 0);
    loop {
        let (code, done, _err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            return Ok(failure.map_or(Ok(Reply::Multi(replies)), Err));
        }
        if code == -1 {
            let code = r.int()?;
            if code != 0 && code != RUNTIME_INCONSISTENCY && failure.is_none() {
                failure = Some(match error(code) {
                    Error::Refused(refusal) => Error::MultiRefused { index, refusal },
                    other => other,
                });
            }
        } else {
            replies.push(match OpCode::from_code(code) {
                Some(OpCode::Create) => MultiReply::Created(r.path()?, None),
                Some(OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => {
                    MultiReply::Created(r.path()?, Some(r.stat()?))
                }
                Some(OpCode::Delete) => MultiReply::Deleted,
                Some(OpCode::SetData) => MultiReply::Set(r.stat()?),
                Some(OpCode::Check) => MultiReply::Checked,
                _ => return Err(Malformed("result of a multi")),
            });
        }
        index += 1;
    }
}

/// Each outcome with the code of its operation, or −1 and an `ErrorResult` (`MultiResponse`).
fn read_multi_read(r: &mut Reader<'_>) -> Result<Vec<Result<ReadReply, Error>>, Malformed> {
    let mut replies = Vec::new();
    loop {
        let (code, done, _err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            return Ok(replies);
        }
        replies.push(match OpCode::from_code(code) {
            Some(OpCode::GetData) => Ok(ReadReply::Data(r.data()?, r.stat()?)),
            Some(OpCode::GetChildren) => Ok(ReadReply::Children(read_names(r)?)),
            None if code == -1 => Err(error(r.int()?)),
            _ => return Err(Malformed("result of a multi of reads")),
        });
    }
}

/// Writes what follows the header of a reply that was carried out.
pub fn write_reply(w: &mut Writer<'_>, shape: &Shape, reply: &Reply) {
    match reply {
        Reply::Created(created) => {
            w.string(created.path.as_str());
            if *shape != Shape::Plain(OpCode::Create) {
                w.stat(&created.stat);
            }
        }
        Reply::Exists(Some(stat)) | Reply::Set(stat) => w.stat(stat),
        Reply::Data(data, stat) => {
            w.data(data);
            w.stat(stat);
        }
        Reply::Children(names, stat) => {
            w.int(names.len() as i32);
            names.iter().for_each(|name| w.string(name));
            if *shape == Shape::Plain(OpCode::GetChildren2) {
                w.stat(stat);
            }
        }
        // ErrorResponse
        Reply::WatchAdded => w.int(0),
        Reply::AllChildrenNumber(count) => w.int(i32::try_from(*count).unwrap_or(i32::MAX)),
        Reply::Acl(acl, stat) => {
            write_acl(w, acl);
            w.stat(stat);
        }
        Reply::Synced(_) if *shape == Shape::Nameless => w.optional_string(None),
        Reply::Synced(path) => w.string(path.as_str()),
        Reply::Identities(identities) => {
            w.int(identities.len() as i32);
            for identity in identities {
                w.string(&identity.scheme);
                w.string(&identity.id);
            }
        }
        Reply::MultiRead(replies) => {
            replies.iter().for_each(|reply| write_read_reply(w, reply));
            multi_header(w, -1, true, -1);
        }
        Reply::Ephemerals(paths) => {
            w.int(paths.len() as i32);
            paths.iter().for_each(|path| w.string(path.as_str()));
        }
        Reply::Multi(replies) => {
            let opcodes = match shape {
                Shape::Multi(opcodes) => opcodes.as_slice(),
                _ => &[],
            };
            for (index, reply) in replies.iter().enumerate() {
                write_multi_reply(w, opcodes.get(index).copied(), reply);
            }
            multi_header(w, -1, true, -1);
        }
        // Only the header.
        _ => {}
    }
}

fn write_multi_reply(w: &mut Writer<'_>, opcode: Option<OpCode>, reply: &MultiReply) {
    match (reply, opcode) {
        // Inside a multi create2 answers as create does, without the Stat (seen on 3.8.0).
        (MultiReply::Created(path, Some(stat)), Some(OpCode::CreateContainer | OpCode::CreateTtl)) => {
            multi_header(w, OpCode::Create2.code(), false, 0);
            w.string(path.as_str());
            w.stat(stat);
        }
        (MultiReply::Created(path, _), _) => {
            multi_header(w, OpCode::Create.code(), false, 0);
            w.string(path.as_str());
        }
        (MultiReply::Deleted, _) => multi_header(w, OpCode::Delete.code(), false, 0),
        (MultiReply::Set(stat), _) => {
            multi_header(w, OpCode::SetData.code(), false, 0);
            w.stat(stat);
        }
        (MultiReply::Checked, _) => multi_header(w, OpCode::Check.code(), false, 0),
    }
}

fn write_read_reply(w: &mut Writer<'_>, reply: &Result<ReadReply, Error>) {
    match reply {
        Ok(ReadReply::Data(data, stat)) => {
            multi_header(w, OpCode::GetData.code(), false, 0);
            w.data(data);
            w.stat(stat);
        }
        Ok(ReadReply::Children(names)) => {
            multi_header(w, OpCode::GetChildren.code(), false, 0);
            w.int(names.len() as i32);
            names.iter().for_each(|name| w.string(name));
        }
        Err(error) => {
            let code = error.refusal().map_or(SYSTEM_ERROR, Refusal::code);
            multi_header(w, -1, false, code);
            w.int(code);
        }
    }
}

fn multi_header(w: &mut Writer<'_>, code: i32, done: bool, err: i32) {
    w.int(code);
    w.bool(done);
    w.int(err);
}

/// Writes the body of a multi that was refused at operation `index`; the header before it has no error.
pub fn write_refusal(w: &mut Writer<'_>, shape: &Shape, index: usize, refusal: Refusal) {
    let count = match shape {
        Shape::Multi(opcodes) => opcodes.len(),
        _ => 0,
    };
    for i in 0..count {
        let code = match i.cmp(&index) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => refusal.code(),
            std::cmp::Ordering::Greater => RUNTIME_INCONSISTENCY,
        };
        multi_header(w, -1, false, code);
        w.int(code);
    }
    multi_header(w, -1, true, -1);
}

/// Writes a notification (`WatcherEvent`), header included. Before 3.9 its zxid is −1, as here.
pub fn write_event(w: &mut Writer<'_>, event: &WatchEvent) {
    ReplyHeader { xid: NOTIFICATION_XID, zxid: -1, err: 0 }.write(w);
    // Watcher.Event.EventType
    w.int(match event.kind {
        EventKind::Created => 1,
        EventKind::Deleted => 2,
        EventKind::DataChanged => 3,
        EventKind::ChildrenChanged => 4,
    });
    w.int(SYNC_CONNECTED);
    w.string(event.path.as_str());
}

const SYNC_CONNECTED: i32 = 3;

/// Reads the body of a notification; `None` for a kind that is not known here.
pub fn read_event(r: &mut Reader<'_>) -> Result<Option<WatchEvent>, Malformed> {
    let kind = match r.int()? {
        1 => EventKind::Created,
        2 => EventKind::Deleted,
        3 => EventKind::DataChanged,
        4 => EventKind::ChildrenChanged,
        _ => return Ok(None),
    };
    let _state = r.int()?;
    Ok(Some(WatchEvent { kind, path: r.path()? }))
}
