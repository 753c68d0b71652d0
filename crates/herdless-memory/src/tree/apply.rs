//! Carrying requests out.

use std::ops::RangeInclusive;

use herdless_core::{
    AddWatch, Auth, CheckWatches, Create, CreateMode, Created, Delete, Error, EventKind, Exists, FindOwn, GetAcl,
    GetAllChildrenNumber, GetChildren, GetData, GetEphemerals, Multi, MultiOp, MultiReply, NodeData, NodePath,
    Permissions, ReadOp, ReadReply, Refusal, Release, RemoveWatches, Reply, Request, SessionId, SetAcl, SetData, Stat,
    Sync, Version, WatchKind, Zxid,
};

use super::node::Node;
use super::quota::Figures;
use super::system::CONFIG;
use super::{Change, Fired, Tree, access};

/// The times to live that there are, in milliseconds (`EphemeralType.validateTTL`).
const TIMES_TO_LIVE: RangeInclusive<u128> = 1..=0xff_ffff_ffff;

/// How to take a change back, for a multi that fails further on.
enum Undo {
    Create { path: NodePath, parent_creates: i32, parent_pzxid: Zxid },
    Delete { path: NodePath, node: Node, parent_pzxid: Zxid },
    Set { path: NodePath, data: NodeData, mzxid: Zxid, mtime: i64, version: i32 },
    Account(Figures),
}

/// One change under way: what it has done so far.
struct Transaction {
    session: SessionId,
    now_ms: i64,
    changes: Vec<Change>,
    undo: Vec<Undo>,
}

impl Transaction {
    /// The figures of quotas as they were before, the oldest first.
    fn figures(&self) -> impl Iterator<Item = &Figures> {
        self.undo.iter().filter_map(|undo| match undo {
            Undo::Account(figures) => Some(figures),
            _ => None,
        })
    }
}

impl Tree {
    /// Carries a request out for an open session. `now_ms` is the time for the Stat, in milliseconds since 1970; the
    /// events that are to be told before the reply are added to `fired`.
    ///
    /// # Errors
    ///
    /// `Refused` and `MultiRefused` as Apache ZooKeeper refuses; `SessionExpired` where the session is not open. A
    /// refused write changes nothing but the last zxid.
    pub fn apply(
        &mut self,
        session: SessionId,
        request: &Request,
        now_ms: i64,
        fired: &mut Fired,
    ) -> Result<Reply, Error> {
        if !self.has_session(session) {
            return Err(Error::SessionExpired);
        }
        match request {
            Request::Create(create) => self.write(session, now_ms, fired, |tree, transaction| {
                tree.create(create, transaction).map(Reply::Created).map_err(Error::Refused)
            }),
            Request::Delete(Delete { path, version }) => self.write(session, now_ms, fired, |tree, transaction| {
                tree.delete(path, *version, transaction)?;
                Ok(Reply::Deleted)
            }),
            Request::SetData(set) => {
                self.write(session, now_ms, fired, |tree, transaction| Ok(Reply::Set(tree.set(set, transaction)?)))
            }
            Request::Multi(multi) if multi.session.is_some_and(|meant| meant != session) => Err(Error::SessionExpired),
            Request::Multi(multi) => {
                self.write(session, now_ms, fired, |tree, transaction| tree.multi(multi, transaction).map(Reply::Multi))
            }
            Request::SetAcl(set) => {
                self.write(session, now_ms, fired, |tree, transaction| Ok(Reply::Set(tree.set_acl(set, transaction)?)))
            }
            Request::Release(release) => self.release(session, release, now_ms, fired),
            Request::Exists(Exists { path, .. }) if path.as_str().contains('\0') => Err(Refusal::BadArguments.into()),
            Request::Exists(Exists { path, watch }) => {
                let stat = self.stat(path);
                if *watch {
                    self.watch(session, WatchKind::Data, path)?;
                }
                Ok(Reply::Exists(stat))
            }
            Request::GetData(GetData { path, watch }) => {
                let node = self.readable(session, path)?;
                let reply = Reply::Data(node.data.clone(), node.stat());
                if *watch {
                    self.watch(session, WatchKind::Data, path)?;
                }
                Ok(reply)
            }
            Request::GetChildren(GetChildren { path, watch }) => {
                let node = self.readable(session, path)?;
                self.expect_room_to_list(node.length_of_names())?;
                let reply = Reply::Children(node.names(), node.stat());
                if *watch {
                    self.watch(session, WatchKind::Children, path)?;
                }
                Ok(reply)
            }
            Request::GetEphemerals(GetEphemerals { prefix }) => {
                self.expect_room_to_list(self.ephemerals_from(session, prefix).map(|path| path.as_str().len()).sum())?;
                Ok(Reply::Ephemerals(self.ephemerals_from(session, prefix).cloned().collect()))
            }
            Request::FindOwn(FindOwn { prefix, data }) => {
                let found = self.ephemerals_from(session, prefix).find_map(|path| {
                    let node = self.nodes.get(path).filter(|node| node.data == *data)?;
                    Some(Created { path: path.clone(), stat: node.stat() })
                });
                Ok(Reply::Found(found))
            }
            Request::AddWatch(AddWatch { path, mode }) => {
                self.watch(session, *mode, path)?;
                Ok(Reply::WatchAdded)
            }
            Request::CheckWatches(CheckWatches { path, kind }) => match self.watches.contains(session, path, *kind) {
                true => Ok(Reply::Watched),
                false => Err(Refusal::NoWatcher.into()),
            },
            Request::RemoveWatches(RemoveWatches { path, kind }) => match self.remove_watches(session, path, *kind) {
                true => Ok(Reply::WatchesRemoved),
                false => Err(Refusal::NoWatcher.into()),
            },
            Request::GetAllChildrenNumber(GetAllChildrenNumber { path }) => {
                self.readable(session, path)?;
                let below = match path.as_str() {
                    // The root is below its other path.
                    "" => self.nodes.len(),
                    "/" => self.nodes.len() - 1,
                    path => self.nodes.below(path).count(),
                };
                Ok(Reply::AllChildrenNumber(u32::try_from(below).unwrap_or(u32::MAX)))
            }
            Request::GetAcl(GetAcl { path }) => self.acl(session, path).map_err(Error::Refused),
            Request::MultiRead(multi) => self.multi_read(session, multi),
            Request::Auth(auth) => self.prove(session, auth).map_err(Error::Refused),
            Request::WhoAmI(_) => Ok(Reply::Identities(self.identities(session).iter().map(access::user).collect())),
            // A server that stands alone.
            Request::GetConfig(_) => {
                let stat = self.nodes.get(CONFIG).map(Node::stat);
                Ok(Reply::Data(NodeData::default(), stat.unwrap_or_default()))
            }
            Request::Reconfig(_) => self.write(session, now_ms, fired, |_, _| Err(Refusal::ReconfigDisabled.into())),
            Request::Sync(Sync { path }) => Ok(Reply::Synced(path.clone())),
            Request::CloseSession => {
                self.close_session(session, fired);
                Ok(Reply::Closed)
            }
            _ => Err(Refusal::Unimplemented.into()),
        }
    }

    fn write(
        &mut self,
        session: SessionId,
        now_ms: i64,
        fired: &mut Fired,
        body: impl FnOnce(&mut Self, &mut Transaction) -> Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        // A write that is refused takes a zxid too (seen on 3.8.0: its error transaction is logged).
        self.zxid += 1;
        let mut transaction = Transaction { session, now_ms, changes: Vec::new(), undo: Vec::new() };
        let reply = body(self, &mut transaction);
        match reply {
            Ok(_) => self.fire(&transaction.changes, fired),
            Err(_) => transaction.undo.into_iter().rev().for_each(|undo| self.undo(undo)),
        }
        reply
    }

    fn permits(&self, session: SessionId, node: &Node, permission: Permissions) -> bool {
        access::permits(&node.acl, self.identities(session), permission)
    }

    fn readable(&self, session: SessionId, path: &NodePath) -> Result<&Node, Refusal> {
        let node = self.node(path).ok_or(Refusal::NoNode)?;
        if self.permits(session, node, Permissions::READ) { Ok(node) } else { Err(Refusal::NoAuth) }
    }

    pub(super) fn read(&self, session: SessionId, read: &ReadOp) -> Result<ReadReply, Refusal> {
        Ok(match read {
            ReadOp::GetData(path) => {
                let node = self.readable(session, path)?;
                ReadReply::Data(node.data.clone(), node.stat())
            }
            ReadOp::GetChildren(path) => ReadReply::Children(self.readable(session, path)?.names()),
        })
    }

    /// `FinalRequestProcessor.handleGetACLRequest`.
    fn acl(&self, session: SessionId, path: &NodePath) -> Result<Reply, Refusal> {
        let node = self.node(path).ok_or(Refusal::NoNode)?;
        let is_admin = self.permits(session, node, Permissions::ADMIN);
        if !is_admin && !self.permits(session, node, Permissions::READ) {
            return Err(Refusal::NoAuth);
        }
        let acl = node.acl.iter().map(|acl| if is_admin { acl.clone() } else { access::redacted(acl) });
        Ok(Reply::Acl(acl.collect(), node.stat()))
    }

    /// `PrepRequestProcessor.pRequest2Txn` of `setACL`, check by check in its order.
    fn set_acl(&mut self, set: &SetAcl, transaction: &Transaction) -> Result<Stat, Refusal> {
        expect_valid(&set.path)?;
        let acl = access::resolve(&set.acl, self.identities(transaction.session), self.allows_x509)?;
        let node = self.nodes.get(&set.path).ok_or(Refusal::NoNode)?;
        if !self.permits(transaction.session, node, Permissions::ADMIN) {
            return Err(Refusal::NoAuth);
        }
        expect_version(node.acl_version, set.version)?;
        self.expect_room_for_list(&node.acl, &acl)?;
        let node = self.nodes.get_mut(set.path.as_str()).ok_or(Refusal::NoNode)?;
        self.size.replace_list(&node.acl, &acl);
        node.acl = acl;
        node.acl_version = next_version(node.acl_version);
        Ok(node.stat())
    }

    fn prove(&mut self, session: SessionId, auth: &Auth) -> Result<Reply, Refusal> {
        if let Some(identity) = access::identify(auth, self.identities(session))? {
            self.expect_room_for_identity(session, &identity)?;
            self.identify(session, identity);
        }
        Ok(Reply::Authenticated)
    }

    fn ephemerals_from(&self, session: SessionId, prefix: &NodePath) -> impl Iterator<Item = &NodePath> {
        let prefix = prefix.as_str().to_owned();
        self.ephemerals(session).filter(move |path| path.as_str().starts_with(&prefix))
    }

    /// `PrepRequestProcessor.pRequest2TxnCreate`, check by check in its order.
    fn create(&mut self, create: &Create, transaction: &mut Transaction) -> Result<Created, Refusal> {
        let time_to_live = match create.mode {
            CreateMode::PersistentWithTtl(limit) | CreateMode::PersistentSequentialWithTtl(limit) => Some(limit),
            _ => None,
        };
        if time_to_live.is_some() && !self.allows_ttl {
            return Err(Refusal::Unimplemented);
        }
        if time_to_live.is_some_and(|limit| !TIMES_TO_LIVE.contains(&limit.as_millis())) {
            return Err(Refusal::BadArguments);
        }
        // The rest of the path is judged further down.
        if !create.path.as_str().contains('/') || create.path.as_str().contains('\0') {
            return Err(Refusal::BadArguments);
        }
        let acl = access::resolve(&create.acl, self.identities(transaction.session), self.allows_x509)?;
        let parent = self.parent_of_new(&create.path)?;
        if !self.permits(transaction.session, parent, Permissions::CREATE) {
            return Err(Refusal::NoAuth);
        }
        let (creates, pzxid) = (parent.creates, parent.pzxid);
        let parent_is_ephemeral = parent.owner != 0;
        let path = match create.mode.is_sequential() {
            true => NodePath::unchecked(&format!("{}{creates:010}", create.path)),
            false => create.path.clone(),
        };
        expect_valid(&path)?;
        if self.nodes.contains_key(&path) {
            return Err(Refusal::NodeExists);
        }
        if parent_is_ephemeral {
            return Err(Refusal::NoChildrenForEphemerals);
        }
        let bytes = create.data.len() as i64;
        self.check_quota(&path, bytes, 1, transaction.figures())?;

        let zxid = Zxid(self.zxid);
        let mut node = Node::new(create.data.clone(), acl.clone(), zxid, transaction.now_ms);
        node.is_container = create.mode == CreateMode::Container;
        node.time_to_live = time_to_live.map(|limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
        if create.mode.is_ephemeral() {
            node.owner = transaction.session.0;
        }
        // Last, as the quotas of Apache ZooKeeper are (`PrepRequestProcessor.checkQuota`).
        self.expect_room_for(&path, &node)?;
        if node.owner != 0 {
            self.sessions.entry(transaction.session).or_default().ephemerals.insert(path.clone());
        }
        let stat = node.stat();
        if let Some(parent) = self.parent_mut(&path) {
            parent.children.insert(path.clone());
            // At the last number it stays (`DataTree.createNode` only ever raises it), and names repeat.
            parent.creates = creates.saturating_add(1);
            parent.pzxid = zxid;
        }
        self.insert_node(path.clone(), node);
        transaction.changes.push(self.change_of_children(EventKind::Created, &path, acl));
        transaction.undo.push(Undo::Create { path: path.clone(), parent_creates: creates, parent_pzxid: pzxid });
        self.begin_figures(&path);
        transaction.undo.extend(self.account(&path, bytes, 1).map(Undo::Account));
        Ok(Created { path, stat })
    }

    /// A sequential path may end in a slash, so its parent is what stands before the last one.
    fn parent_of_new(&self, path: &NodePath) -> Result<&Node, Refusal> {
        let parent = match path.as_str().rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((parent, _)) => parent,
        };
        self.nodes.get(parent).ok_or(Refusal::NoNode)
    }

    fn delete(&mut self, path: &NodePath, version: Version, transaction: &mut Transaction) -> Result<(), Refusal> {
        if self.is_special(path) || !path.as_str().contains('/') || path.as_str().contains('\0') {
            return Err(Refusal::BadArguments);
        }
        let parent = self.parent(path).ok_or(Refusal::NoNode)?;
        let parent_pzxid = parent.pzxid;
        if !self.permits(transaction.session, parent, Permissions::DELETE) {
            return Err(Refusal::NoAuth);
        }
        let node = self.nodes.get(path).ok_or(Refusal::NoNode)?;
        check_version(node, version)?;
        if !node.children.is_empty() {
            return Err(Refusal::NotEmpty);
        }
        let node = self.remove_node(path).ok_or(Refusal::NoNode)?;
        let figures = self.account(path, -(node.data.len() as i64), -1);
        transaction.changes.push(self.change_of_children(EventKind::Deleted, path, node.acl.clone()));
        transaction.undo.push(Undo::Delete { path: path.clone(), node, parent_pzxid });
        transaction.undo.extend(figures.map(Undo::Account));
        Ok(())
    }

    fn set(&mut self, set: &SetData, transaction: &mut Transaction) -> Result<Stat, Refusal> {
        let zxid = Zxid(self.zxid);
        expect_valid(&set.path)?;
        let node = self.nodes.get(&set.path).ok_or(Refusal::NoNode)?;
        if !self.permits(transaction.session, node, Permissions::WRITE) {
            return Err(Refusal::NoAuth);
        }
        let bytes = set.data.len() as i64 - node.data.len() as i64;
        self.check_quota(&set.path, bytes, 0, transaction.figures())?;
        self.expect_room_to_grow(node.data.len(), set.data.len())?;
        let node = self.nodes.get_mut(set.path.as_str()).ok_or(Refusal::NoNode)?;
        check_version(node, set.version)?;
        self.size.replace_data(&node.data, &set.data);
        transaction.undo.push(Undo::Set {
            path: set.path.clone(),
            data: std::mem::replace(&mut node.data, set.data.clone()),
            mzxid: std::mem::replace(&mut node.mzxid, zxid),
            mtime: std::mem::replace(&mut node.mtime, transaction.now_ms),
            version: node.version,
        });
        node.version = next_version(node.version);
        let (stat, acl) = (node.stat(), node.acl.clone());
        let path = set.path.clone();
        transaction.changes.push(Change { kind: EventKind::DataChanged, path, acl, parent_acl: None });
        transaction.undo.extend(self.account(&set.path, bytes, 0).map(Undo::Account));
        Ok(stat)
    }

    fn multi(&mut self, multi: &Multi, transaction: &mut Transaction) -> Result<Vec<MultiReply>, Error> {
        let mut replies = Vec::with_capacity(multi.operations.len());
        for (index, operation) in multi.operations.iter().enumerate() {
            let reply = match operation {
                MultiOp::Create(create) => {
                    self.create(create, transaction).map(|Created { path, stat }| MultiReply::Created(path, Some(stat)))
                }
                MultiOp::Delete(Delete { path, version }) => {
                    self.delete(path, *version, transaction).map(|()| MultiReply::Deleted)
                }
                MultiOp::SetData(set) => self.set(set, transaction).map(MultiReply::Set),
                MultiOp::Check { path, version } => expect_valid(path)
                    .and_then(|()| self.readable(transaction.session, path))
                    .and_then(|node| check_version(node, *version))
                    .map(|()| MultiReply::Checked),
            };
            replies.push(reply.map_err(|refusal| Error::MultiRefused { index, refusal })?);
        }
        Ok(replies)
    }

    fn release(
        &mut self,
        session: SessionId,
        release: &Release,
        now_ms: i64,
        fired: &mut Fired,
    ) -> Result<Reply, Error> {
        if release.session != session {
            return Err(Error::SessionExpired);
        }
        let is_ours = |stat: &Stat| stat.czxid == release.czxid && stat.ephemeral_owner == session.0;
        if !self.stat(&release.path).as_ref().is_some_and(is_ours) {
            return Ok(Reply::Released(false));
        }
        self.write(session, now_ms, fired, |tree, transaction| {
            if release.hand_over {
                let set = SetData { path: release.path.clone(), data: NodeData::default(), version: Version::ANY };
                tree.set(&set, transaction)?;
            }
            tree.delete(&release.path, Version::ANY, transaction)?;
            Ok(Reply::Released(true))
        })
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Create { path, parent_creates, parent_pzxid } => {
                self.remove_node(&path);
                if let Some(parent) = self.parent_mut(&path) {
                    parent.creates = parent_creates;
                    parent.pzxid = parent_pzxid;
                }
            }
            Undo::Delete { path, node, parent_pzxid } => {
                if let Some(owner) = self.sessions.get_mut(&SessionId(node.owner)) {
                    owner.ephemerals.insert(path.clone());
                }
                if let Some(parent) = self.parent_mut(&path) {
                    parent.children.insert(path.clone());
                    parent.pzxid = parent_pzxid;
                }
                self.insert_node(path, node);
            }
            Undo::Account(Figures { path, data }) => {
                self.replace_data(&path, data);
            }
            Undo::Set { path, data, mzxid, mtime, version } => {
                if let Some(node) = self.nodes.get_mut(path.as_str()) {
                    self.size.replace_data(&node.data, &data);
                    (node.data, node.mzxid, node.mtime, node.version) = (data, mzxid, mtime, version);
                }
            }
        }
    }
}

/// `PrepRequestProcessor.validatePath`: what comes from the wire need not be a path.
fn expect_valid(path: &NodePath) -> Result<(), Refusal> {
    if path.is_valid() { Ok(()) } else { Err(Refusal::BadArguments) }
}

fn check_version(node: &Node, version: Version) -> Result<(), Refusal> {
    expect_version(node.version, version)
}

fn expect_version(found: i32, version: Version) -> Result<(), Refusal> {
    if version == Version::ANY || version.0 == found { Ok(()) } else { Err(Refusal::BadVersion) }
}

/// −1 means "any" in a request, so no node ever has it (ZOOKEEPER-4743).
fn next_version(version: i32) -> i32 {
    match version.wrapping_add(1) {
        -1 => 0,
        next => next,
    }
}
