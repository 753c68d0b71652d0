//! Requests: written by the client, read by the server.

use std::sync::Arc;
use std::time::Duration;

use herdless_core::{
    Acl, AddWatch, AddWatchMode, Auth, CheckWatches, Create, CreateMode, Delete, Exists, GetAcl, GetAllChildrenNumber,
    GetChildren, GetConfig, GetData, GetEphemerals, Multi, MultiOp, MultiRead, NodePath, Permissions, ReadOp, Reconfig,
    RemoveWatches, Request, Secret, SetAcl, SetData, Sync, Version, WatchKind, WatcherType, WhoAmI,
};

use super::{Malformed, OpCode, PING_XID, Reader, SET_WATCHES_XID, Shape, Writer};

/// Writes header and body of a request that is one operation on the wire; `None` for one that is not (`Release` and
/// `FindOwn` are made of several).
pub fn write_request(w: &mut Writer<'_>, xid: i32, request: &Request) -> Option<OpCode> {
    let opcode = opcode_of(request)?;
    w.int(xid);
    w.int(opcode.code());
    match request {
        Request::Create(create) => write_create(w, create),
        Request::Delete(Delete { path, version }) => {
            w.string(path.as_str());
            w.int(version.0);
        }
        Request::Exists(Exists { path, watch })
        | Request::GetData(GetData { path, watch })
        | Request::GetChildren(GetChildren { path, watch }) => {
            w.string(path.as_str());
            w.bool(*watch);
        }
        Request::SetData(set) => write_set(w, set),
        Request::GetEphemerals(GetEphemerals { prefix: path })
        | Request::GetAllChildrenNumber(GetAllChildrenNumber { path })
        | Request::GetAcl(GetAcl { path })
        | Request::Sync(Sync { path }) => w.string(path.as_str()),
        Request::AddWatch(AddWatch { path, mode }) => {
            w.string(path.as_str());
            w.int(match mode {
                AddWatchMode::Persistent => 0,
                AddWatchMode::PersistentRecursive => 1,
            });
        }
        Request::CheckWatches(CheckWatches { path, kind }) | Request::RemoveWatches(RemoveWatches { path, kind }) => {
            w.string(path.as_str());
            w.int(match kind {
                WatcherType::Children => 1,
                WatcherType::Data => 2,
                WatcherType::Any => 3,
            });
        }
        Request::SetAcl(SetAcl { path, acl, version }) => {
            w.string(path.as_str());
            write_acl(w, acl);
            w.int(version.0);
        }
        Request::Multi(multi) => write_multi(w, multi),
        Request::MultiRead(multi) => write_multi_read(w, multi),
        Request::Auth(Auth { scheme, credentials }) => {
            // AuthPacket.type, which no server looks at.
            w.int(0);
            w.string(scheme);
            w.buffer(credentials.expose());
        }
        Request::GetConfig(_) => {
            w.string(CONFIG_NODE);
            w.bool(false);
        }
        Request::Reconfig(Reconfig { joining, leaving, members, version }) => {
            for text in [joining, leaving, members] {
                w.optional_string(text.as_deref());
            }
            w.long(*version);
        }
        // Only the header.
        _ => {}
    }
    Some(opcode)
}

/// `ZooDefs.CONFIG_NODE`.
const CONFIG_NODE: &str = "/zookeeper/config";

fn opcode_of(request: &Request) -> Option<OpCode> {
    Some(match request {
        Request::Create(create) => create_opcode(create.mode),
        Request::Delete(_) => OpCode::Delete,
        Request::Exists(_) => OpCode::Exists,
        Request::GetData(_) => OpCode::GetData,
        Request::SetData(_) => OpCode::SetData,
        Request::GetChildren(_) => OpCode::GetChildren2,
        Request::GetEphemerals(_) => OpCode::GetEphemerals,
        Request::AddWatch(_) => OpCode::AddWatch,
        Request::CheckWatches(_) => OpCode::CheckWatches,
        Request::RemoveWatches(_) => OpCode::RemoveWatches,
        Request::GetAllChildrenNumber(_) => OpCode::GetAllChildrenNumber,
        Request::GetAcl(_) => OpCode::GetAcl,
        Request::SetAcl(_) => OpCode::SetAcl,
        Request::Sync(_) => OpCode::Sync,
        Request::Multi(_) => OpCode::Multi,
        Request::MultiRead(_) => OpCode::MultiRead,
        Request::Auth(_) => OpCode::Auth,
        Request::WhoAmI(_) => OpCode::WhoAmI,
        Request::GetConfig(_) => OpCode::GetData,
        Request::Reconfig(_) => OpCode::Reconfig,
        Request::CloseSession => OpCode::CloseSession,
        _ => return None,
    })
}

/// Each of these replies with the Stat. Container and TTL nodes have operations of their own: a plain create with
/// their flag makes a persistent node (`PrepRequestProcessor.pRequest2TxnCreate`).
fn create_opcode(mode: CreateMode) -> OpCode {
    match mode {
        CreateMode::Container => OpCode::CreateContainer,
        CreateMode::PersistentWithTtl(_) | CreateMode::PersistentSequentialWithTtl(_) => OpCode::CreateTtl,
        _ => OpCode::Create2,
    }
}

fn write_create(w: &mut Writer<'_>, create: &Create) {
    w.string(create.path.as_str());
    w.data(&create.data);
    write_acl(w, &create.acl);
    // CreateMode.toFlag
    let (flags, ttl) = match create.mode {
        CreateMode::Persistent => (0, None),
        CreateMode::Ephemeral => (1, None),
        CreateMode::PersistentSequential => (2, None),
        CreateMode::EphemeralSequential => (3, None),
        CreateMode::Container => (4, None),
        CreateMode::PersistentWithTtl(ttl) => (5, Some(ttl)),
        CreateMode::PersistentSequentialWithTtl(ttl) => (6, Some(ttl)),
    };
    w.int(flags);
    if let Some(ttl) = ttl {
        w.long(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
    }
}

pub(super) fn write_acl(w: &mut Writer<'_>, acl: &[Acl]) {
    w.int(acl.len() as i32);
    for acl in acl {
        w.int(acl.permissions.bits());
        w.string(&acl.scheme);
        w.string(&acl.id);
    }
}

fn write_set(w: &mut Writer<'_>, SetData { path, data, version }: &SetData) {
    w.string(path.as_str());
    w.data(data);
    w.int(version.0);
}

/// `MultiHeader {type, done, err}` before each operation, and one that says done (`MultiOperationRecord`).
fn write_multi(w: &mut Writer<'_>, multi: &Multi) {
    let header = write_multi_header;
    for operation in &multi.operations {
        match operation {
            MultiOp::Create(create) => {
                header(w, create_opcode(create.mode).code(), false);
                write_create(w, create);
            }
            MultiOp::Delete(Delete { path, version }) => {
                header(w, OpCode::Delete.code(), false);
                w.string(path.as_str());
                w.int(version.0);
            }
            MultiOp::SetData(set) => {
                header(w, OpCode::SetData.code(), false);
                write_set(w, set);
            }
            MultiOp::Check { path, version } => {
                header(w, OpCode::Check.code(), false);
                w.string(path.as_str());
                w.int(version.0);
            }
        }
    }
    header(w, -1, true);
}

/// The same frame around reads without a watch.
fn write_multi_read(w: &mut Writer<'_>, multi: &MultiRead) {
    for operation in &multi.operations {
        let (opcode, path) = match operation {
            ReadOp::GetData(path) => (OpCode::GetData, path),
            ReadOp::GetChildren(path) => (OpCode::GetChildren, path),
        };
        write_multi_header(w, opcode.code(), false);
        w.string(path.as_str());
        w.bool(false);
    }
    write_multi_header(w, -1, true);
}

fn write_multi_header(w: &mut Writer<'_>, code: i32, done: bool) {
    w.int(code);
    w.bool(done);
    w.int(-1);
}

/// Writes a ping.
pub fn write_ping(w: &mut Writer<'_>) {
    w.int(PING_XID);
    w.int(OpCode::Ping.code());
}

/// The watches to re-arm after a reconnect (`SetWatches`, and where some stay `SetWatches2`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetWatches {
    /// The last change that the client has seen: a watched node that changed after it fires at once.
    pub relative_zxid: i64,
    /// Left by `get_data`, and by `exists` on a node that was there.
    pub data: Vec<NodePath>,
    /// Left by `exists` where there was no node.
    pub exists: Vec<NodePath>,
    /// Left by `get_children`.
    pub children: Vec<NodePath>,
    /// Left by `add_watch`. Nothing fires for what happened meanwhile.
    pub persistent: Vec<NodePath>,
    /// The recursive ones.
    pub recursive: Vec<NodePath>,
}

impl SetWatches {
    /// Every watch that fires once, with the list that it is in.
    pub fn iter(&self) -> impl Iterator<Item = (WatchKind, &NodePath)> {
        let lists =
            [(WatchKind::Data, &self.data), (WatchKind::Exists, &self.exists), (WatchKind::Children, &self.children)];
        lists.into_iter().flat_map(|(kind, paths)| paths.iter().map(move |path| (kind, path)))
    }

    /// Every watch that stays.
    pub fn staying(&self) -> impl Iterator<Item = (AddWatchMode, &NodePath)> {
        let lists =
            [(AddWatchMode::Persistent, &self.persistent), (AddWatchMode::PersistentRecursive, &self.recursive)];
        lists.into_iter().flat_map(|(mode, paths)| paths.iter().map(move |path| (mode, path)))
    }
}

/// Writes a SetWatches; where some stay, the newer one with five lists, which only ZooKeeper 3.6 and later read.
pub fn write_set_watches(w: &mut Writer<'_>, watches: &SetWatches) {
    let SetWatches { relative_zxid, data, exists, children, persistent, recursive } = watches;
    let stays = !persistent.is_empty() || !recursive.is_empty();
    w.int(SET_WATCHES_XID);
    w.int(if stays { OpCode::SetWatches2 } else { OpCode::SetWatches }.code());
    w.long(*relative_zxid);
    let lists = [data, exists, children, persistent, recursive];
    for paths in &lists[..if stays { 5 } else { 3 }] {
        w.int(paths.len() as i32);
        for path in *paths {
            w.string(path.as_str());
        }
    }
}

/// Reads the body of a SetWatches, with the lists of `opcode`.
pub fn read_set_watches(opcode: OpCode, r: &mut Reader<'_>) -> Result<SetWatches, Malformed> {
    fn paths(r: &mut Reader<'_>) -> Result<Vec<NodePath>, Malformed> {
        (0..r.count(4)?).map(|_| r.path()).collect()
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
/// [`Malformed`], which a server answers with `Marshalling`; a path that is readable but not valid is its own case,
/// [`ReadError::BadArguments`].
pub fn read_request(opcode: OpCode, r: &mut Reader<'_>) -> Result<(Request, Shape), ReadError> {
    let request = match opcode {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            Request::Create(read_create(opcode, r)?)
        }
        OpCode::Delete => Request::Delete(Delete { path: path(r)?, version: Version(r.int()?) }),
        OpCode::Exists => Request::Exists(Exists { path: path(r)?, watch: r.bool()? }),
        OpCode::GetData => match (path(r)?, r.bool()?) {
            // On the wire it is the read of a node, which a tree without an ensemble does not have.
            (path, false) if path.as_str() == CONFIG_NODE => Request::GetConfig(GetConfig),
            (path, watch) => Request::GetData(GetData { path, watch }),
        },
        OpCode::SetData => Request::SetData(read_set(r)?),
        OpCode::GetChildren | OpCode::GetChildren2 => {
            Request::GetChildren(GetChildren { path: path(r)?, watch: r.bool()? })
        }
        OpCode::Sync => Request::Sync(Sync { path: path(r)? }),
        OpCode::GetEphemerals => Request::GetEphemerals(GetEphemerals { prefix: prefix(r)? }),
        OpCode::Multi => {
            let (multi, opcodes) = read_multi(r)?;
            return Ok((Request::Multi(multi), Shape::Multi(opcodes)));
        }
        OpCode::MultiRead => Request::MultiRead(read_multi_read(r)?),
        OpCode::AddWatch => Request::AddWatch(AddWatch {
            path: path(r)?,
            mode: match r.int()? {
                0 => AddWatchMode::Persistent,
                1 => AddWatchMode::PersistentRecursive,
                _ => return Err(Malformed("mode of a watch").into()),
            },
        }),
        OpCode::CheckWatches => Request::CheckWatches(CheckWatches { path: path(r)?, kind: read_watcher_type(r)? }),
        OpCode::RemoveWatches => Request::RemoveWatches(RemoveWatches { path: path(r)?, kind: read_watcher_type(r)? }),
        OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber(GetAllChildrenNumber { path: path(r)? }),
        OpCode::GetAcl => Request::GetAcl(GetAcl { path: path(r)? }),
        OpCode::SetAcl => {
            Request::SetAcl(SetAcl { path: path(r)?, acl: read_acl(r)?.into(), version: Version(r.int()?) })
        }
        OpCode::Auth => {
            let _type = r.int()?;
            Request::Auth(Auth { scheme: r.string()?.to_owned(), credentials: Secret::from(r.buffer()?.to_vec()) })
        }
        OpCode::WhoAmI => Request::WhoAmI(WhoAmI),
        OpCode::Reconfig => Request::Reconfig(Reconfig {
            joining: r.optional_string()?.map(str::to_owned),
            leaving: r.optional_string()?.map(str::to_owned),
            members: r.optional_string()?.map(str::to_owned),
            version: r.long()?,
        }),
        OpCode::CloseSession => Request::CloseSession,
        OpCode::Ping | OpCode::Check | OpCode::SetWatches | OpCode::SetWatches2 | OpCode::Sasl => {
            return Err(Malformed("operation").into());
        }
    };
    Ok((request, Shape::Plain(opcode)))
}

/// Why a request could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the server answers each in its own way")]
pub enum ReadError {
    /// The bytes are not the record they should be.
    Malformed(Malformed),
    /// A path, a flag or a time to live that no server would accept.
    BadArguments,
}

impl From<Malformed> for ReadError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

fn read_watcher_type(r: &mut Reader<'_>) -> Result<WatcherType, Malformed> {
    match r.int()? {
        1 => Ok(WatcherType::Children),
        2 => Ok(WatcherType::Data),
        3 => Ok(WatcherType::Any),
        _ => Err(Malformed("type of a watcher")),
    }
}

fn path(r: &mut Reader<'_>) -> Result<NodePath, ReadError> {
    NodePath::parse(r.string()?).map_err(|_| ReadError::BadArguments)
}

fn prefix(r: &mut Reader<'_>) -> Result<NodePath, ReadError> {
    NodePath::parse_sequential(r.string()?).map_err(|_| ReadError::BadArguments)
}

fn read_create(opcode: OpCode, r: &mut Reader<'_>) -> Result<Create, ReadError> {
    let text = r.string()?;
    let data = r.data()?;
    let acl = read_acl(r)?;
    let flags = r.int()?;
    let ttl = match opcode {
        // The bounds are the tree's to judge: in a multi what comes before may be refused first.
        OpCode::CreateTtl => {
            u64::try_from(r.long()?).map(Duration::from_millis).map_err(|_| ReadError::BadArguments)?
        }
        _ => Duration::ZERO,
    };
    let mode = match (opcode, flags) {
        (OpCode::CreateContainer, _) => CreateMode::Container,
        (OpCode::CreateTtl, 5) => CreateMode::PersistentWithTtl(ttl),
        (OpCode::CreateTtl, 6) => CreateMode::PersistentSequentialWithTtl(ttl),
        (OpCode::CreateTtl, _) => return Err(ReadError::BadArguments),
        (_, 1) => CreateMode::Ephemeral,
        (_, 2) => CreateMode::PersistentSequential,
        (_, 3) => CreateMode::EphemeralSequential,
        // A container's flag on a plain create makes a persistent node, as in Apache ZooKeeper.
        (OpCode::Create | OpCode::Create2, 0 | 4) => CreateMode::Persistent,
        _ => return Err(ReadError::BadArguments),
    };
    let path = match mode.is_sequential() {
        true => NodePath::parse_sequential(text),
        false => NodePath::parse(text),
    };
    Ok(Create { path: path.map_err(|_| ReadError::BadArguments)?, data, acl: Arc::from(acl), mode })
}

pub(super) fn read_acl(r: &mut Reader<'_>) -> Result<Vec<Acl>, Malformed> {
    let count = r.count(12)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(Acl {
            permissions: Permissions::from_bits(r.int()?),
            scheme: r.string()?.to_owned(),
            id: r.string()?.to_owned(),
        });
    }
    Ok(list)
}

fn read_set(r: &mut Reader<'_>) -> Result<SetData, ReadError> {
    Ok(SetData { path: path(r)?, data: r.data()?, version: Version(r.int()?) })
}

fn read_multi(r: &mut Reader<'_>) -> Result<(Multi, Vec<OpCode>), ReadError> {
    let (mut operations, mut opcodes) = (Vec::new(), Vec::new());
    loop {
        let (code, done, _err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            return Ok((Multi { operations, session: None }, opcodes));
        }
        let opcode = OpCode::from_code(code).ok_or(Malformed("operation of a multi"))?;
        operations.push(match opcode {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                MultiOp::Create(read_create(opcode, r)?)
            }
            OpCode::Delete => MultiOp::Delete(Delete { path: path(r)?, version: Version(r.int()?) }),
            OpCode::SetData => MultiOp::SetData(read_set(r)?),
            OpCode::Check => MultiOp::Check { path: path(r)?, version: Version(r.int()?) },
            _ => return Err(Malformed("operation of a multi").into()),
        });
        opcodes.push(opcode);
    }
}

fn read_multi_read(r: &mut Reader<'_>) -> Result<MultiRead, ReadError> {
    let mut operations = Vec::new();
    loop {
        let (code, done, _err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            return Ok(MultiRead { operations });
        }
        let make = match OpCode::from_code(code) {
            Some(OpCode::GetData) => ReadOp::GetData,
            Some(OpCode::GetChildren) => ReadOp::GetChildren,
            _ => return Err(Malformed("operation of a multi of reads").into()),
        };
        operations.push(make(path(r)?));
        let _watch = r.bool()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    /// A create with this operation, these flags and this time to live, as the server reads it.
    fn read(opcode: OpCode, flags: i32, ttl: i64) -> Result<CreateMode, ReadError> {
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
            Request::Create(create) => Ok(create.mode),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_time_to_live_has_its_own_operation_and_flags() {
        let millis = Duration::from_millis;
        for (flags, ttl, mode) in [
            (5, 1, CreateMode::PersistentWithTtl(millis(1))),
            (6, i64::MAX, CreateMode::PersistentSequentialWithTtl(millis(i64::MAX as u64))),
            (5, 0, CreateMode::PersistentWithTtl(Duration::ZERO)),
        ] {
            assert_eq!(read(OpCode::CreateTtl, flags, ttl), Ok(mode));
            // Without its operation there is no time to live to read.
            let plain = read(OpCode::Create2, flags, ttl);
            assert_eq!(plain, Err(ReadError::BadArguments));
        }
        for (flags, ttl) in [(5, -1), (6, i64::MIN), (0, 1), (1, 1), (3, 1)] {
            let mode = read(OpCode::CreateTtl, flags, ttl);
            assert_eq!(mode, Err(ReadError::BadArguments), "{flags} {ttl}");
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
