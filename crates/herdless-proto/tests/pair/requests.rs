//! Requests in few words.

use bytes::Bytes;
use herdless_core::{
    Acl, AddWatch, AddWatchMode, Auth, Create, CreateMode, Created, Delete, Exists, FindOwn, GetChildren, GetData,
    Multi, MultiOp, NodeData, Release, Reply, Request, SessionId, SetData, Version,
};

use crate::harness::{World, path};

pub(crate) fn create(at: &str, data: impl Into<NodeData>, mode: CreateMode) -> Request {
    Request::Create(Create { path: path(at), data: data.into(), acl: Acl::open(), mode })
}

pub(crate) fn node(at: &str) -> Request {
    create(at, "", CreateMode::Persistent)
}

/// One's own place in a queue: what a lock makes.
pub(crate) fn place(at: &str, data: impl Into<NodeData>) -> Request {
    create(at, data, CreateMode::EphemeralSequential)
}

pub(crate) fn delete(at: &str) -> Request {
    Request::Delete(Delete { path: path(at), version: Version::ANY })
}

pub(crate) fn set(at: &str, data: impl Into<NodeData>) -> Request {
    Request::SetData(SetData { path: path(at), data: data.into(), version: Version::ANY })
}

pub(crate) fn get(at: &str) -> Request {
    Request::GetData(GetData { path: path(at), watch: false })
}

pub(crate) fn watch_data(at: &str) -> Request {
    Request::GetData(GetData { path: path(at), watch: true })
}

pub(crate) fn add_watch(at: &str, mode: AddWatchMode) -> Request {
    Request::AddWatch(AddWatch { path: path(at), mode })
}

pub(crate) fn auth(credentials: &str) -> Request {
    Request::Auth(Auth { scheme: "digest".into(), credentials: credentials.into() })
}

pub(crate) fn exists(at: &str) -> Request {
    Request::Exists(Exists { path: path(at), watch: false })
}

pub(crate) fn watch_exists(at: &str) -> Request {
    Request::Exists(Exists { path: path(at), watch: true })
}

pub(crate) fn children(at: &str) -> Request {
    Request::GetChildren(GetChildren { path: path(at), watch: false })
}

pub(crate) fn watch_children(at: &str) -> Request {
    Request::GetChildren(GetChildren { path: path(at), watch: true })
}

/// What a holder does that hands over: whoever watches the node sees it set.
pub(crate) fn set_and_delete(at: &str) -> Request {
    Request::Multi(Multi {
        operations: vec![MultiOp::set(&path(at), "", Version::ANY), MultiOp::delete(&path(at), Version::ANY)],
        session: None,
    })
}

pub(crate) fn release(created: &Created, hand_over: bool) -> Request {
    Request::Release(Release {
        path: created.path.clone(),
        czxid: created.stat.czxid,
        session: SessionId(created.stat.ephemeral_owner),
        hand_over,
        may_be_gone: false,
    })
}

pub(crate) fn find(prefix: &str, data: impl Into<Bytes>) -> Request {
    Request::FindOwn(FindOwn { prefix: path(prefix), data: data.into() })
}

/// Creates a node for the client and returns it.
pub(crate) fn made(world: &mut World, request: Request) -> Created {
    match world.call(request) {
        Ok(Reply::Created(created)) => created,
        other => panic!("not created: {other:?}"),
    }
}
