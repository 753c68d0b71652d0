//! Requests as the client writes them.

use herdless_core::{
    Acl, AddWatch, AddWatchMode, Auth, CheckWatches, Create, CreateMode, Delete, Exists, GetAcl, GetAllChildrenNumber,
    GetChildren, GetData, GetEphemerals, Multi, MultiOp, MultiRead, NodePath, Permissions, ReadOp, Reconfig,
    RemoveWatches, Request, SetAcl, SetData, Sync, WatchKind, WatcherType,
};

use super::{Malformed, OpCode, PING_XID, Reader, SET_WATCHES_XID, Writer};

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
pub(super) const CONFIG_NODE: &str = "/zookeeper/config";

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

pub(super) fn read_acl(r: &mut Reader<'_>) -> Result<Vec<Acl>, Malformed> {
    let count = r.count(12)?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(Acl {
            permissions: Permissions::from_bits(r.int()?),
            scheme: r.string()?.into_owned(),
            id: r.string()?.into_owned(),
        });
    }
    Ok(list)
}
