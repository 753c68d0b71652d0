//! Bytes as a list of things to do.

use std::time::Duration;

use arbitrary::Unstructured;
use bytes::Bytes;
use herdless_core::{
    Acl, AddWatch, AddWatchMode, Auth, CheckWatches, Create, CreateMode, Created, Delete, Error, Exists, FindOwn,
    GetAcl, GetAllChildrenNumber, GetChildren, GetConfig, GetData, GetEphemerals, Multi, MultiOp, MultiRead,
    MultiReply, NodeData, NodePath, Permissions, ReadOp, ReadReply, Reconfig, Refusal, Release, RemoveWatches, Reply,
    Request, SessionId, SetAcl, SetData, Stat, Sync, Version, WatcherType, WhoAmI, Zxid,
};

/// What is left of the bytes; where nothing is left, zeros.
pub(crate) struct Script<'a>(Unstructured<'a>);

const PATHS: [&str; 6] = ["/a", "/a/b", "/q", "/q/n-", "/", "/q/n-0000000000"];

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn number(&mut self) -> u16 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// As many bytes as the next one says, and as there are.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    pub(crate) fn data(&mut self) -> Bytes {
        Bytes::copy_from_slice(self.bytes())
    }

    fn node_data(&mut self) -> NodeData {
        match self.below(8) {
            0 => NodeData::NULL,
            _ => self.data().into(),
        }
    }

    pub(crate) fn path(&mut self) -> NodePath {
        NodePath::parse(PATHS[self.below(PATHS.len())]).unwrap()
    }

    fn version(&mut self) -> Version {
        Version(i32::from(self.byte() as i8))
    }

    fn acl(&mut self) -> std::sync::Arc<[Acl]> {
        match self.below(4) {
            0 => [Acl::creator(Permissions::ALL)].into(),
            1 => [Acl::digest(Permissions::READ, "user", "password")].into(),
            2 => [].into(),
            _ => Acl::open(),
        }
    }

    fn create(&mut self) -> Create {
        let mode = match self.below(7) {
            0 => CreateMode::Persistent,
            1 => CreateMode::PersistentSequential,
            2 => CreateMode::Ephemeral,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::PersistentWithTtl(Duration::from_millis(1)),
            _ => CreateMode::PersistentSequentialWithTtl(Duration::from_millis(1000)),
        };
        Create { path: self.path(), data: self.node_data(), acl: self.acl(), mode }
    }

    fn watcher_type(&mut self) -> WatcherType {
        [WatcherType::Children, WatcherType::Data, WatcherType::Any][self.below(3)]
    }

    fn multi(&mut self, session: SessionId) -> Multi {
        let operations = (0..self.below(5)).map(|_| match self.below(4) {
            0 => MultiOp::Create(self.create()),
            1 => MultiOp::delete(&self.path(), self.version()),
            2 => MultiOp::set(&self.path(), self.data(), self.version()),
            _ => MultiOp::check(&self.path(), self.version()),
        });
        let operations = operations.collect();
        Multi { operations, session: self.flag().then_some(session) }
    }

    /// Any request but the one that closes the session, which ends everything.
    pub(crate) fn request(&mut self, session: SessionId) -> Request {
        match self.below(22) {
            0 => Request::Create(self.create()),
            1 => Request::Delete(Delete { path: self.path(), version: self.version() }),
            2 => Request::Exists(Exists { path: self.path(), watch: self.flag() }),
            3 => Request::GetData(GetData { path: self.path(), watch: self.flag() }),
            4 => Request::SetData(SetData { path: self.path(), data: self.node_data(), version: self.version() }),
            5 => Request::GetChildren(GetChildren { path: self.path(), watch: self.flag() }),
            6 => Request::GetEphemerals(GetEphemerals { prefix: self.path() }),
            7 => {
                let mode = if self.flag() { AddWatchMode::PersistentRecursive } else { AddWatchMode::Persistent };
                Request::AddWatch(AddWatch { path: self.path(), mode })
            }
            8 => Request::CheckWatches(CheckWatches { path: self.path(), kind: self.watcher_type() }),
            9 => Request::RemoveWatches(RemoveWatches { path: self.path(), kind: self.watcher_type() }),
            10 => Request::GetAllChildrenNumber(GetAllChildrenNumber { path: self.path() }),
            11 => Request::GetAcl(GetAcl { path: self.path() }),
            12 => Request::SetAcl(SetAcl { path: self.path(), acl: self.acl(), version: self.version() }),
            13 => Request::Sync(Sync { path: self.path() }),
            14 | 15 => Request::Multi(self.multi(session)),
            16 => {
                let operations = (0..self.below(4)).map(|_| {
                    let path = self.path();
                    if self.flag() { ReadOp::GetData(path) } else { ReadOp::GetChildren(path) }
                });
                Request::MultiRead(MultiRead { operations: operations.collect() })
            }
            17 => Request::Auth(Auth {
                scheme: if self.flag() { "digest" } else { "other" }.into(),
                credentials: if self.flag() { "user:password" } else { "other:one" }.into(),
            }),
            18 => match self.below(3) {
                0 => Request::WhoAmI(WhoAmI),
                1 => Request::GetConfig(GetConfig),
                _ => Request::Reconfig(Reconfig::default()),
            },
            19 | 20 => Request::Release(Release {
                path: self.path(),
                czxid: Zxid(i64::from(self.byte())),
                session: if self.byte() == 0 { SessionId(0x77) } else { session },
                hand_over: self.flag(),
                may_be_gone: false,
            }),
            _ => Request::FindOwn(FindOwn { prefix: self.path(), data: self.data() }),
        }
    }

    /// An answer of the right kind, whatever it says.
    pub(crate) fn reply(&mut self, request: &Request, session: SessionId) -> Result<Reply, Error> {
        let stat = Stat {
            czxid: Zxid(i64::from(self.byte())),
            ephemeral_owner: if self.flag() { session.0 } else { 0 },
            ..Stat::default()
        };
        Ok(match request {
            Request::Create(_) => Reply::Created(Created { path: self.path(), stat }),
            Request::Delete(_) => Reply::Deleted,
            Request::Exists(_) => Reply::Exists(self.flag().then_some(stat)),
            Request::GetData(_) | Request::GetConfig(_) | Request::Reconfig(_) => Reply::Data(self.node_data(), stat),
            Request::SetData(_) | Request::SetAcl(_) => Reply::Set(stat),
            Request::GetChildren(_) => {
                let names = (0..self.below(4)).map(|_| self.path().name().to_owned());
                Reply::Children(names.collect(), stat)
            }
            Request::GetEphemerals(_) => Reply::Ephemerals((0..self.below(4)).map(|_| self.path()).collect()),
            Request::AddWatch(_) => Reply::WatchAdded,
            Request::CheckWatches(_) => Reply::Watched,
            Request::RemoveWatches(_) => Reply::WatchesRemoved,
            Request::GetAllChildrenNumber(_) => Reply::AllChildrenNumber(self.byte().into()),
            Request::GetAcl(_) => Reply::Acl(self.acl().to_vec(), stat),
            Request::Sync(sync) => Reply::Synced(sync.path.clone()),
            Request::Multi(multi) => Reply::Multi(multi.operations.iter().map(|_| MultiReply::Deleted).collect()),
            Request::MultiRead(_) => Reply::MultiRead(vec![Err(self.refused()), Ok(ReadReply::Children(Vec::new()))]),
            Request::Auth(_) => Reply::Authenticated,
            Request::WhoAmI(_) => Reply::Identities(Vec::new()),
            Request::CloseSession => Reply::Closed,
            // They are made of others on the wire.
            _ => return Err(Refusal::Unimplemented.into()),
        })
    }

    /// Why a server says no.
    pub(crate) fn refused(&mut self) -> Error {
        match self.below(4) {
            0 => Error::MultiRefused { index: self.below(5), refusal: Refusal::BadVersion },
            1 => Error::Uncertain(-4),
            2 => Error::SessionExpired,
            _ => Refusal::from_code(-i32::from(self.byte())).unwrap_or(Refusal::NoNode).into(),
        }
    }
}

/// Whether this may be the reply to that.
pub(crate) fn fits(request: &Request, reply: &Reply) -> bool {
    match (request, reply) {
        (Request::Multi(multi), Reply::Multi(replies)) => multi.operations.len() == replies.len(),
        (Request::MultiRead(multi), Reply::MultiRead(replies)) => multi.operations.len() == replies.len(),
        (Request::GetEphemerals(asked), Reply::Ephemerals(paths)) => {
            paths.iter().all(|path| path.as_str().starts_with(asked.prefix.as_str()))
        }
        _ => is_of_kind(request, reply),
    }
}

/// As [`fits`], where a server may lie about the rest.
pub(crate) fn is_of_kind(request: &Request, reply: &Reply) -> bool {
    matches!(
        (request, reply),
        (Request::Create(_), Reply::Created(_))
            | (Request::Delete(_), Reply::Deleted)
            | (Request::Exists(_), Reply::Exists(_))
            | (Request::GetData(_) | Request::GetConfig(_) | Request::Reconfig(_), Reply::Data(..))
            | (Request::SetData(_) | Request::SetAcl(_), Reply::Set(_))
            | (Request::GetChildren(_), Reply::Children(..))
            | (Request::GetEphemerals(_), Reply::Ephemerals(_))
            | (Request::AddWatch(_), Reply::WatchAdded)
            | (Request::CheckWatches(_), Reply::Watched)
            | (Request::RemoveWatches(_), Reply::WatchesRemoved)
            | (Request::GetAllChildrenNumber(_), Reply::AllChildrenNumber(_))
            | (Request::GetAcl(_), Reply::Acl(..))
            | (Request::Sync(_), Reply::Synced(_))
            | (Request::Multi(_), Reply::Multi(_))
            | (Request::MultiRead(_), Reply::MultiRead(_))
            | (Request::Auth(_), Reply::Authenticated)
            | (Request::WhoAmI(_), Reply::Identities(_))
            | (Request::Release(_), Reply::Released(_))
            | (Request::FindOwn(_), Reply::Found(_))
            | (Request::CloseSession, Reply::Closed)
    )
}
