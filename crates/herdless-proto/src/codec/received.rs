//! Requests as the server reads them: as leniently as Apache ZooKeeper does, whose records hold whatever string was sent.
//!
//! A path is therefore [`unchecked`](NodePath::unchecked) here; the tree judges it. What is null on the wire and cannot be told
//! from something else by its reply is read as that.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use herdless_core::{
    Acl, AddWatch, AddWatchMode, Auth, CheckWatches, Create, CreateMode, Delete, Exists, GetAcl, GetAllChildrenNumber,
    GetChildren, GetConfig, GetData, GetEphemerals, Multi, MultiOp, MultiRead, NodeData, NodePath, Permissions, ReadOp,
    Reconfig, RemoveWatches, Request, Secret, SetAcl, SetData, Sync, Version, WatcherType, WhoAmI,
};

use super::request::CONFIG_NODE;
use super::{Malformed, OpCode, Reader, SetWatches, Shape};

/// Reads the body of a SetWatches, with the lists of `opcode`.
///
/// # Errors
///
/// [`Malformed`]: also where one of the lists, or a path, is null.
pub fn read_set_watches(opcode: OpCode, r: &mut Reader<'_>) -> Result<SetWatches, Malformed> {
    fn paths(r: &mut Reader<'_>) -> Result<Vec<NodePath>, Malformed> {
        let count = r.lenient_count(4)?.ok_or(Malformed("list of paths"))?;
        (0..count).map(|_| path(r)).collect()
    }
    let (relative_zxid, data, exists, children) = (r.long()?, paths(r)?, paths(r)?, paths(r)?);
    let (persistent, recursive) = match opcode {
        OpCode::SetWatches2 => (paths(r)?, paths(r)?),
        _ => (Vec::new(), Vec::new()),
    };
    Ok(SetWatches { relative_zxid, data, exists, children, persistent, recursive })
}

/// Reads the body of a request. The [`Shape`] says how its reply is to be written.
///
/// # Errors
///
/// [`Malformed`], which a server answers with `Marshalling`. A request that can be read and makes no sense is none: the tree
/// refuses it.
pub fn read_request(opcode: OpCode, r: &mut Reader<'_>) -> Result<(Request, Shape), Malformed> {
    let request = match opcode {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            let Raw { path, data, acl, flags, time_to_live } = read_create(opcode, r)?;
            let mode = match opcode {
                OpCode::CreateContainer if matches!(flags, 0 | 1 | 4) => Some(CreateMode::Container),
                OpCode::CreateContainer | OpCode::CreateTtl if !is_of_ttl(flags) => None,
                _ => mode_of(flags, time_to_live),
            };
            let path = match path {
                Some(path) => path,
                // Refused before the path is looked at.
                None if mode.is_none() || is_of_ttl(flags) && !(1..=MAX_TTL).contains(&time_to_live) => Cow::default(),
                None => return Err(NULL_PATH),
            };
            Request::Create(create(&path, data, acl, mode))
        }
        OpCode::Delete => Request::Delete(Delete { path: path(r)?, version: Version(r.int()?) }),
        // `PrepRequestProcessor` takes the frame for the path, header included, and there is a NUL in that.
        OpCode::DeleteContainer => Request::Delete(Delete { path: NodePath::unchecked("\0"), version: Version::ANY }),
        OpCode::Exists => Request::Exists(Exists { path: path(r)?, watch: r.bool()? }),
        OpCode::GetData => match (path(r)?, r.bool()?) {
            // On the wire it is the read of a node, which not every tree has.
            (path, false) if path.as_str() == CONFIG_NODE => Request::GetConfig(GetConfig),
            (path, watch) => Request::GetData(GetData { path, watch }),
        },
        OpCode::SetData => Request::SetData(read_set(r)?),
        OpCode::GetChildren | OpCode::GetChildren2 => {
            Request::GetChildren(GetChildren { path: path(r)?, watch: r.bool()? })
        }
        OpCode::Sync => {
            let path = r.text()?;
            let shape = if path.is_some() { Shape::Plain(opcode) } else { Shape::Nameless };
            return Ok((Request::Sync(Sync { path: NodePath::unchecked(&path.unwrap_or_default()) }), shape));
        }
        OpCode::GetEphemerals => Request::GetEphemerals(GetEphemerals { prefix: prefix(r)? }),
        OpCode::Multi => {
            let (multi, opcodes) = read_multi(r)?;
            return Ok((Request::Multi(multi), Shape::Multi(opcodes)));
        }
        OpCode::MultiRead => Request::MultiRead(read_multi_read(r)?),
        OpCode::AddWatch => Request::AddWatch(AddWatch {
            path: path_or_empty(r)?,
            mode: match r.int()? {
                0 => AddWatchMode::Persistent,
                1 => AddWatchMode::PersistentRecursive,
                _ => return Err(Malformed("mode of a watch")),
            },
        }),
        OpCode::CheckWatches => {
            let (path, kind) = (path(r)?, read_watcher_type(r)?);
            // It looks for what is above (`PathParentIterator`).
            if !path.as_str().is_empty() && !path.as_str().contains('/') {
                return Err(Malformed("path"));
            }
            Request::CheckWatches(CheckWatches { path, kind })
        }
        OpCode::RemoveWatches => {
            Request::RemoveWatches(RemoveWatches { path: path_or_empty(r)?, kind: read_watcher_type(r)? })
        }
        OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber(GetAllChildrenNumber { path: path(r)? }),
        OpCode::GetAcl => Request::GetAcl(GetAcl { path: path(r)? }),
        OpCode::SetAcl => {
            Request::SetAcl(SetAcl { path: path_or_empty(r)?, acl: read_acl(r)?.into(), version: Version(r.int()?) })
        }
        OpCode::Auth => Request::Auth(read_auth(r)?),
        OpCode::WhoAmI => Request::WhoAmI(WhoAmI),
        OpCode::Reconfig => Request::Reconfig(Reconfig {
            joining: r.text()?.map(Cow::into_owned),
            leaving: r.text()?.map(Cow::into_owned),
            members: r.text()?.map(Cow::into_owned),
            version: r.long()?,
        }),
        OpCode::CloseSession => Request::CloseSession,
        OpCode::Ping | OpCode::Check | OpCode::SetWatches | OpCode::SetWatches2 | OpCode::Sasl => {
            return Err(Malformed("operation"));
        }
    };
    Ok((request, Shape::Plain(opcode)))
}

/// A multi of reads is one of writes.
pub(crate) const NOT_A_READ: Malformed = Malformed("kind of an operation");

/// A path is asked for, and there is none: with a null one Java fails where it looks at it.
pub(crate) const NULL_PATH: Malformed = Malformed("path");

/// What a plain operation reads: without a path there is nothing to look up.
fn path(r: &mut Reader<'_>) -> Result<NodePath, Malformed> {
    r.text()?.map(|text| NodePath::unchecked(&text)).ok_or(NULL_PATH)
}

/// What is refused for a null path as for an empty one, or has no watch on either.
fn path_or_empty(r: &mut Reader<'_>) -> Result<NodePath, Malformed> {
    r.text().map(|text| NodePath::unchecked(&text.unwrap_or_default()))
}

/// Nothing and blanks stand for everything (`FinalRequestProcessor`, of `getEphemerals`).
fn prefix(r: &mut Reader<'_>) -> Result<NodePath, Malformed> {
    let text = r.text()?.unwrap_or_default();
    // `String.trim`
    let trimmed = text.trim_matches(|c| c <= ' ');
    Ok(if matches!(trimmed, "" | "/") { NodePath::root() } else { NodePath::unchecked(&text) })
}

fn read_watcher_type(r: &mut Reader<'_>) -> Result<WatcherType, Malformed> {
    match r.int()? {
        1 => Ok(WatcherType::Children),
        2 => Ok(WatcherType::Data),
        3 => Ok(WatcherType::Any),
        _ => Err(Malformed("type of a watcher")),
    }
}

/// The fields of a create (`CreateRequest`, `CreateTTLRequest`).
struct Raw<'a> {
    path: Option<Cow<'a, str>>,
    data: NodeData,
    acl: Vec<Acl>,
    flags: i32,
    time_to_live: i64,
}

fn read_create<'a>(opcode: OpCode, r: &mut Reader<'a>) -> Result<Raw<'a>, Malformed> {
    Ok(Raw {
        path: r.text()?,
        data: r.data()?,
        acl: read_acl(r)?,
        flags: r.int()?,
        time_to_live: if opcode == OpCode::CreateTtl { r.long()? } else { -1 },
    })
}

/// The longest time to live, in milliseconds (`EphemeralType.TTL`).
const MAX_TTL: i64 = 0xff_ffff_ffff;

fn is_of_ttl(flags: i32) -> bool {
    matches!(flags, 5 | 6)
}

/// `CreateMode.fromFlag`. The bounds of a time to live are the tree's to judge: in a multi what comes before may be refused
/// first.
fn mode_of(flags: i32, time_to_live: i64) -> Option<CreateMode> {
    let time_to_live = Duration::from_millis(u64::try_from(time_to_live).unwrap_or(0));
    Some(match flags {
        // A container's flag on a plain create makes a persistent node.
        0 | 4 => CreateMode::Persistent,
        1 => CreateMode::Ephemeral,
        2 => CreateMode::PersistentSequential,
        3 => CreateMode::EphemeralSequential,
        5 => CreateMode::PersistentWithTtl(time_to_live),
        6 => CreateMode::PersistentSequentialWithTtl(time_to_live),
        _ => return None,
    })
}

/// Flags that mean nothing are refused like a path that is none, and as early.
fn create(path: &str, data: NodeData, acl: Vec<Acl>, mode: Option<CreateMode>) -> Create {
    let (path, mode) = match mode {
        Some(mode) => (NodePath::unchecked(path), mode),
        None => (NodePath::unchecked(""), CreateMode::Persistent),
    };
    Create { path, data, acl: Arc::from(acl), mode }
}

/// A list that is null is refused as an empty one, and so is an entry without a scheme as one of a scheme that nobody knows.
fn read_acl(r: &mut Reader<'_>) -> Result<Vec<Acl>, Malformed> {
    let count = r.lenient_count(12)?.unwrap_or(0);
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        let (permissions, scheme, id) = (Permissions::from_bits(r.int()?), r.text()?.unwrap_or_default(), r.text()?);
        // The schemes that look at it.
        if id.is_none() && matches!(&*scheme, "world" | "digest" | "ip") {
            return Err(Malformed("identity"));
        }
        list.push(Acl { permissions, scheme: scheme.into_owned(), id: id.unwrap_or_default().into_owned() });
    }
    Ok(list)
}

fn read_auth(r: &mut Reader<'_>) -> Result<Auth, Malformed> {
    let _type = r.int()?;
    let scheme = r.text()?.unwrap_or_default();
    let credentials = r.optional_buffer()?;
    // Nobody is believed who says nothing. An address says nothing in any case.
    let scheme = if credentials.is_none() && scheme != "ip" { Cow::default() } else { scheme };
    Ok(Auth { scheme: scheme.into_owned(), credentials: Secret::from(credentials.unwrap_or_default().to_vec()) })
}

fn read_set(r: &mut Reader<'_>) -> Result<SetData, Malformed> {
    Ok(SetData { path: path_or_empty(r)?, data: r.data()?, version: Version(r.int()?) })
}

/// Reads the operations and the codes by which their results are written.
fn read_multi(r: &mut Reader<'_>) -> Result<(Multi, Vec<OpCode>), Malformed> {
    let (mut operations, mut opcodes) = (Vec::new(), Vec::new());
    let (mut is_without_path, mut failure) = (false, None);
    loop {
        let (code, done, _err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            break;
        }
        let opcode = OpCode::from_code(code).ok_or(Malformed("operation of a multi"))?;
        let (operation, opcode) = match opcode {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                let Raw { path, data, acl, flags, time_to_live } = read_create(opcode, r)?;
                is_without_path |= path.is_none();
                // The flags say what it is, whatever its code said (`Op.create`); only a time to live needs a code of its own.
                if is_of_ttl(flags) && opcode != OpCode::CreateTtl {
                    failure = Some(Malformed("flags of a create"));
                }
                let (mode, opcode) = match flags {
                    4 => (Some(CreateMode::Container), OpCode::CreateContainer),
                    5 | 6 => (mode_of(flags, time_to_live), OpCode::CreateTtl),
                    _ if opcode == OpCode::Create2 => (mode_of(flags, time_to_live), OpCode::Create2),
                    _ => (mode_of(flags, time_to_live), OpCode::Create),
                };
                (MultiOp::Create(create(&path.unwrap_or_default(), data, acl, mode)), opcode)
            }
            OpCode::Delete | OpCode::Check => {
                let path = r.text()?;
                is_without_path |= path.is_none();
                let (path, version) = (NodePath::unchecked(&path.unwrap_or_default()), Version(r.int()?));
                let operation = match opcode {
                    OpCode::Check => MultiOp::Check { path, version },
                    _ => MultiOp::Delete(Delete { path, version }),
                };
                (operation, opcode)
            }
            OpCode::SetData => {
                let path = r.text()?;
                is_without_path |= path.is_none();
                let path = NodePath::unchecked(&path.unwrap_or_default());
                (MultiOp::SetData(SetData { path, data: r.data()?, version: Version(r.int()?) }), opcode)
            }
            _ => return Err(Malformed("operation of a multi")),
        };
        operations.push(operation);
        opcodes.push(opcode);
    }
    match failure {
        // All paths are looked at before any operation is.
        _ if is_without_path => Err(NULL_PATH),
        Some(failure) => Err(failure),
        None => Ok((Multi { operations, session: None }, opcodes)),
    }
}

fn read_multi_read(r: &mut Reader<'_>) -> Result<MultiRead, Malformed> {
    let mut operations = Vec::new();
    let writes = &mut r.clone();
    loop {
        let (code, done, _err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            return Ok(MultiRead { operations });
        }
        let make = match OpCode::from_code(code) {
            Some(OpCode::GetData) => ReadOp::GetData,
            Some(OpCode::GetChildren) => ReadOp::GetChildren,
            // Writes can be read here as well, and are refused when it comes to the first.
            _ if operations.is_empty() => return Err(read_multi(writes).map_or_else(|error| error, |_| NOT_A_READ)),
            _ => return Err(Malformed("operation of a multi of reads")),
        };
        operations.push(make(path(r)?));
        let _watch = r.bool()?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;
    use bytes::BytesMut;

    /// A create with this operation, these flags and this time to live, as the server reads it.
    fn read(opcode: OpCode, flags: i32, ttl: i64) -> Result<Option<CreateMode>, Malformed> {
        let mut out = BytesMut::new();
        let mut w = Writer::frame(&mut out);
        w.string("/a");
        w.buffer(b"");
        w.int(0);
        w.int(flags);
        w.long(ttl);
        w.finish();
        let (request, _) = read_request(opcode, &mut Reader::new(&out[4..]))?;
        match request {
            Request::Create(create) => Ok(create.path.is_valid().then_some(create.mode)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_time_to_live_has_its_own_operation_and_flags() {
        let millis = Duration::from_millis;
        for (flags, ttl, mode) in [
            (5, 1, CreateMode::PersistentWithTtl(millis(1))),
            (6, i64::MAX, CreateMode::PersistentSequentialWithTtl(millis(i64::MAX as u64))),
            // Out of the bounds, as the tree says.
            (5, 0, CreateMode::PersistentWithTtl(Duration::ZERO)),
            (5, -1, CreateMode::PersistentWithTtl(Duration::ZERO)),
        ] {
            assert_eq!(read(OpCode::CreateTtl, flags, ttl), Ok(Some(mode)));
        }
        // Without its operation there is no time to live to read.
        assert_eq!(read(OpCode::Create2, 5, 1), Ok(Some(CreateMode::PersistentWithTtl(Duration::ZERO))));
        for (opcode, flags) in [
            (OpCode::CreateTtl, 0),
            (OpCode::CreateTtl, 3),
            (OpCode::CreateContainer, 2),
            (OpCode::Create, 7),
            (OpCode::Create2, -1),
        ] {
            assert_eq!(read(opcode, flags, 1), Ok(None), "{opcode:?} {flags}");
        }
    }

    #[test]
    fn counts_that_the_frame_cannot_hold_are_refused() {
        for count in [2, i32::MAX, -2] {
            let mut out = BytesMut::new();
            let mut w = Writer::frame(&mut out);
            w.long(1);
            w.int(count);
            w.string("/a");
            w.finish();
            let read = read_set_watches(OpCode::SetWatches, &mut Reader::new(&out[4..]));
            assert!(read.is_err(), "{count}");
        }
    }
}
