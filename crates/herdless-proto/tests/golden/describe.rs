//! Writes decoded values in the notation of the recordings' comments, so that comparing two texts compares every field.

use std::fmt::Write;

use herdless_core::{
    Acl, AddWatchMode, Create, CreateMode, Error, EventKind, Multi, MultiOp, MultiRead, MultiReply, ReadOp, ReadReply,
    Refusal, Reply, Request, Stat, WatchEvent, WatcherType,
};
use herdless_proto::codec::{ConnectRequest, ConnectResponse, OpCode, ReplyHeader, SetWatches, Shape};

pub(crate) fn connect_request(request: &ConnectRequest) -> String {
    format!(
        "ConnectRequest: protocolVersion=0 lastZxidSeen={} timeOut={} sessionId=0x{:x} passwd={} (16 bytes) {}",
        request.last_zxid_seen,
        request.timeout_ms,
        request.session_id,
        hex(&request.password),
        read_only(request.read_only),
    )
}

pub(crate) fn connect_response(response: &ConnectResponse) -> String {
    format!(
        "ConnectResponse: protocolVersion=0 timeOut={} sessionId=0x{:x} passwd={} (16 bytes) {}",
        response.timeout_ms,
        response.session_id,
        hex(&response.password),
        read_only(response.read_only),
    )
}

fn read_only(read_only: Option<bool>) -> String {
    match read_only {
        Some(value) => format!("readOnly={value}"),
        None => "(no readOnly byte)".into(),
    }
}

pub(crate) fn request(xid: i32, opcode: OpCode, request: &Request, shape: &Shape) -> Vec<String> {
    let head = format!("request: xid={xid} op={} ({})", opcode.code(), name(opcode));
    match (request, shape) {
        (Request::CloseSession | Request::WhoAmI(_), _) => vec![format!("{head}, header only (8 bytes)")],
        (Request::Multi(multi), Shape::Multi(opcodes)) => operations(head, multi, opcodes),
        (Request::MultiRead(multi), _) => reads(head, multi),
        _ => vec![format!("{head} {}", body(request))],
    }
}

pub(crate) fn set_watches(xid: i32, watches: &SetWatches) -> String {
    let list = |paths: &[herdless_core::NodePath]| quoted(paths.iter().map(|path| path.as_str()));
    let mut text = format!(
        "relativeZxid={} dataWatches={} existWatches={} childWatches={}",
        watches.relative_zxid,
        list(&watches.data),
        list(&watches.exists),
        list(&watches.children),
    );
    let op = if watches.staying().next().is_some() {
        let staying = (list(&watches.persistent), list(&watches.recursive));
        write!(text, " persistentWatches={} persistentRecursiveWatches={}", staying.0, staying.1).unwrap();
        "105 (setWatches2)"
    } else {
        "101 (setWatches)"
    };
    format!("request: xid={xid} op={op} {text}")
}

fn body(request: &Request) -> String {
    match request {
        Request::Create(create) => create_body(create),
        Request::Delete(delete) => {
            format!("path=\"{}\" version={}", delete.path, delete.version.0)
        }
        Request::Exists(read) => format!("path=\"{}\" watch={}", read.path, read.watch),
        Request::GetData(read) => format!("path=\"{}\" watch={}", read.path, read.watch),
        Request::GetChildren(read) => format!("path=\"{}\" watch={}", read.path, read.watch),
        Request::SetData(set) => format!("path=\"{}\" {} version={}", set.path, data(&set.data), set.version.0),
        Request::AddWatch(add) => {
            format!("path=\"{}\" mode={}", add.path, i32::from(add.mode == AddWatchMode::PersistentRecursive))
        }
        Request::CheckWatches(check) => format!("path=\"{}\" type={}", check.path, watcher_type(check.kind)),
        Request::RemoveWatches(remove) => format!("path=\"{}\" type={}", remove.path, watcher_type(remove.kind)),
        Request::GetAcl(get) => format!("path=\"{}\"", get.path),
        Request::SetAcl(set) => format!("path=\"{}\" acl={} version={}", set.path, acl(&set.acl), set.version.0),
        Request::GetAllChildrenNumber(get) => format!("path=\"{}\"", get.path),
        Request::Auth(auth) => {
            let proof = auth.credentials.expose();
            format!("type=0 scheme=\"{}\" auth={} ({:?})", auth.scheme, hex(proof), String::from_utf8_lossy(proof))
        }
        Request::Sync(sync) => format!("path=\"{}\"", sync.path),
        Request::GetEphemerals(get) => format!("prefixPath=\"{}\"", get.prefix),
        other => panic!("{other:?} is not one operation on the wire"),
    }
}

fn watcher_type(kind: WatcherType) -> i32 {
    match kind {
        WatcherType::Children => 1,
        WatcherType::Data => 2,
        WatcherType::Any => 3,
    }
}

fn create_body(create: &Create) -> String {
    let flags = match create.mode {
        CreateMode::Persistent => "0".into(),
        CreateMode::Ephemeral => "1".into(),
        CreateMode::PersistentSequential => "2".into(),
        CreateMode::EphemeralSequential => "3".into(),
        CreateMode::Container => "4".into(),
        CreateMode::PersistentWithTtl(ttl) => format!("5 ttl={}", ttl.as_millis()),
        CreateMode::PersistentSequentialWithTtl(ttl) => format!("6 ttl={}", ttl.as_millis()),
    };
    format!("path=\"{}\" {} acl={} flags={flags}", create.path, data(&create.data), acl(&create.acl))
}

fn acl(acl: &[Acl]) -> String {
    let entries: Vec<_> =
        acl.iter().map(|acl| format!("{}:{}:{}", acl.permissions.bits(), acl.scheme, acl.id)).collect();
    format!("[{}]", entries.join(", "))
}

fn reads(head: String, multi: &MultiRead) -> Vec<String> {
    let mut lines = vec![head];
    for (i, operation) in multi.operations.iter().enumerate() {
        let (kind, path) = match operation {
            ReadOp::GetData(path) => ("4 (getData)", path),
            ReadOp::GetChildren(path) => ("8 (getChildren)", path),
        };
        lines.push(format!("op {}: header type={kind} done=false err=-1; path=\"{path}\" watch=false", i + 1));
    }
    lines.push("end header: type=-1 done=true err=-1".into());
    lines
}

fn read_results(head: String, replies: &[Result<ReadReply, Error>]) -> Vec<String> {
    let mut lines = vec![head];
    for (i, reply) in replies.iter().enumerate() {
        let number = i + 1;
        lines.push(match reply {
            Ok(ReadReply::Data(bytes, found)) => {
                format!("result {number}: header type=4 (getData) done=false err=0; {} {}", data(bytes), stat(found))
            }
            Ok(ReadReply::Children(names)) => {
                let names = quoted(names.iter().map(String::as_str));
                format!("result {number}: header type=8 (getChildren) done=false err=0; children={names}")
            }
            Err(failure) => {
                let text = error(failure.refusal().map_or(0, Refusal::code));
                format!("result {number}: header type=-1 (error) done=false {text}; body {text}")
            }
        });
    }
    lines.push("end header: type=-1 done=true err=-1".into());
    lines
}

fn operations(head: String, multi: &Multi, opcodes: &[OpCode]) -> Vec<String> {
    let mut lines = vec![head];
    for (i, (operation, opcode)) in multi.operations.iter().zip(opcodes).enumerate() {
        let body = match operation {
            MultiOp::Create(create) => create_body(create),
            MultiOp::Delete(delete) => body(&Request::Delete(delete.clone())),
            MultiOp::SetData(set) => body(&Request::SetData(set.clone())),
            MultiOp::Check { path, version } => format!("path=\"{path}\" version={}", version.0),
        };
        lines.push(format!(
            "op {}: header type={} ({}) done=false err=-1; {body}",
            i + 1,
            opcode.code(),
            name(*opcode)
        ));
    }
    lines.push("end header: type=-1 done=true err=-1".into());
    lines
}

pub(crate) fn reply(header: ReplyHeader, shape: &Shape, outcome: &Result<Reply, Error>) -> Vec<String> {
    let head = reply_header(header);
    let with = |body: String| vec![format!("{head} {body}")];
    let plain = |opcode| *shape == Shape::Plain(opcode);
    match outcome {
        Ok(Reply::Created(created)) if plain(OpCode::Create) => with(format!("path=\"{}\"", created.path)),
        Ok(Reply::Created(created)) => with(format!("path=\"{}\" {}", created.path, stat(&created.stat))),
        Ok(Reply::Exists(Some(found)) | Reply::Set(found)) => with(stat(found)),
        Ok(Reply::Data(bytes, found)) => with(format!("{} {}", data(bytes), stat(found))),
        Ok(Reply::Children(names, found)) => {
            let names = quoted(names.iter().map(String::as_str));
            with(match plain(OpCode::GetChildren) {
                true => format!("children={names}"),
                false => format!("children={names} {}", stat(found)),
            })
        }
        Ok(Reply::Ephemerals(paths)) => with(format!("ephemerals={}", quoted(paths.iter().map(|path| path.as_str())))),
        Ok(Reply::Synced(path)) => with(format!("path=\"{path}\"")),
        Ok(Reply::Multi(replies)) => results(head, replies),
        Ok(Reply::MultiRead(replies)) => read_results(head, replies),
        Ok(Reply::WatchAdded) => with(format!("body {}", error(0))),
        Ok(Reply::AllChildrenNumber(count)) => with(format!("totalNumber={count}")),
        Ok(Reply::Acl(list, found)) => with(format!("acl={} {}", acl(list), stat(found))),
        Ok(Reply::Identities(identities)) => {
            let who: Vec<_> = identities.iter().map(|who| format!("{}:{}", who.scheme, who.id)).collect();
            with(format!("clientInfo=[{}]", who.join(", ")))
        }
        Err(Error::MultiRefused { index, refusal }) => refused_results(head, shape, *index, refusal.code()),
        Ok(_) | Err(_) => vec![format!("{head}, header only (16 bytes)")],
    }
}

pub(crate) fn reply_header(header: ReplyHeader) -> String {
    format!("reply: xid={} zxid={} {}", header.xid, header.zxid, error(header.err))
}

fn results(head: String, replies: &[MultiReply]) -> Vec<String> {
    let mut lines = vec![head];
    for (i, reply) in replies.iter().enumerate() {
        let (kind, body) = match reply {
            MultiReply::Created(path, None) => ("1 (create)", format!("path=\"{path}\"")),
            MultiReply::Created(path, Some(found)) => ("15 (create2)", format!("path=\"{path}\" {}", stat(found))),
            MultiReply::Deleted => ("2 (delete)", "no body".into()),
            MultiReply::Set(found) => ("5 (setData)", stat(found)),
            MultiReply::Checked => ("13 (check)", "no body".into()),
        };
        let number = i + 1;
        lines.push(format!("result {number}: header type={kind} done=false err=0; {body}"));
    }
    lines.push("end header: type=-1 done=true err=-1".into());
    lines
}

fn refused_results(head: String, shape: &Shape, index: usize, code: i32) -> Vec<String> {
    let Shape::Multi(opcodes) = shape else {
        panic!("only a multi is refused at one of its operations");
    };
    let mut lines = vec![head];
    for i in 0..opcodes.len() {
        let text = error(match i.cmp(&index) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => code,
            std::cmp::Ordering::Greater => -2,
        });
        let number = i + 1;
        lines.push(format!("result {number}: header type=-1 (error) done=false {text}; body {text}"));
    }
    lines.push("end header: type=-1 done=true err=-1".into());
    lines
}

pub(crate) fn event(event: &WatchEvent) -> String {
    let kind = match event.kind {
        EventKind::Created => "1 (NodeCreated)",
        EventKind::Deleted => "2 (NodeDeleted)",
        EventKind::DataChanged => "3 (NodeDataChanged)",
        EventKind::ChildrenChanged => "4 (NodeChildrenChanged)",
    };
    format!("notification: xid=-1 zxid=-1 err=0 (ok) type={kind} state=3 (SyncConnected) path=\"{}\"", event.path)
}

fn error(code: i32) -> String {
    let name = match code {
        0 => "ok",
        -2 => "RuntimeInconsistency",
        -5 => "MarshallingError",
        -6 => "Unimplemented",
        -8 => "BadArguments",
        -101 => "NoNode",
        -102 => "NoAuth",
        -103 => "BadVersion",
        -108 => "NoChildrenForEphemerals",
        -110 => "NodeExists",
        -111 => "NotEmpty",
        -114 => "InvalidACL",
        -115 => "AuthFailed",
        -121 => "NoWatcher",
        _ => "?",
    };
    format!("err={code} ({name})")
}

fn name(opcode: OpCode) -> &'static str {
    match opcode {
        OpCode::Create => "create",
        OpCode::Delete => "delete",
        OpCode::Exists => "exists",
        OpCode::GetData => "getData",
        OpCode::SetData => "setData",
        OpCode::GetChildren => "getChildren",
        OpCode::Sync => "sync",
        OpCode::Ping => "ping",
        OpCode::GetChildren2 => "getChildren2",
        OpCode::Check => "check",
        OpCode::Multi => "multi",
        OpCode::Create2 => "create2",
        OpCode::CreateContainer => "createContainer",
        OpCode::CreateTtl => "createTTL",
        OpCode::SetWatches => "setWatches",
        OpCode::GetEphemerals => "getEphemerals",
        OpCode::AddWatch => "addWatch",
        OpCode::CheckWatches => "checkWatches",
        OpCode::RemoveWatches => "removeWatches",
        OpCode::GetAcl => "getACL",
        OpCode::SetAcl => "setACL",
        OpCode::MultiRead => "multiRead",
        OpCode::Auth => "auth",
        OpCode::GetAllChildrenNumber => "getAllChildrenNumber",
        OpCode::WhoAmI => "whoAmI",
        OpCode::CloseSession => "closeSession",
        _ => "?",
    }
}

fn stat(stat: &Stat) -> String {
    format!(
        "stat: czxid={} mzxid={} ctime={} mtime={} version={} cversion={} aversion={} ephemeralOwner=0x{:x} dataLength={} numChildren={} pzxid={}",
        stat.czxid.0,
        stat.mzxid.0,
        stat.ctime,
        stat.mtime,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children,
        stat.pzxid.0,
    )
}

fn data(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok("") => "data=empty (0 bytes)".into(),
        Ok(text) => format!("data={} ({} bytes \"{text}\")", hex(data), data.len()),
        Err(_) => format!("data={} ({} bytes)", hex(data), data.len()),
    }
}

fn quoted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<_> = texts.map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", texts.join(", "))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
