//! The tree as the files have it, and what transactions do to it (`DataTree`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use herdless_core::{Acl, NodeData, NodePath, SessionId, Zxid};
use herdless_memory::{NodeRecord, Tree};

use crate::error::Fault;
use crate::owner::{self, Kind};
use crate::transaction::{Change, Create, Header, Transaction};

/// A tree under replay. A snapshot is written while the tree changes, so it holds some of what comes after its number; the
/// transactions from that number on are applied to it all the same, and what they find to be done already is left as it is
/// (`DataTree.processTxn`, `FileTxnSnapLog.processTransaction`).
#[derive(Debug, Default)]
pub(crate) struct Replica {
    nodes: BTreeMap<NodePath, Node>,
    /// What may go with a session, by its owner.
    owned: BTreeMap<i64, BTreeSet<NodePath>>,
    /// The timeouts in milliseconds.
    sessions: BTreeMap<i64, i32>,
    /// The sum over all nodes (`AdHash`).
    digest: i64,
}

/// `DataNode`, `StatPersisted`.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) data: NodeData,
    /// `None` where the list was made after the snapshot had written all of them: the transaction that gives it to the node
    /// comes up.
    pub(crate) acl: Option<Arc<[Acl]>>,
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) pzxid: i64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) version: i32,
    pub(crate) acl_version: i32,
    pub(crate) creates: i32,
    pub(crate) owner: i64,
}

/// What comes of it all.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) tree: Tree,
    /// With their timeouts in milliseconds.
    pub(crate) sessions: BTreeMap<i64, i32>,
    /// The ephemeral nodes whose sessions are over.
    pub(crate) dropped: Vec<NodePath>,
}

impl Replica {
    pub(crate) fn open_session(&mut self, session: i64, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
    }

    /// Takes a node of a snapshot.
    pub(crate) fn place(&mut self, path: NodePath, node: Node) -> Result<(), Fault> {
        if path.parent_str().is_some_and(|parent| !self.nodes.contains_key(parent)) || self.nodes.contains_key(&path) {
            return Err(Fault::Malformed("place of a node"));
        }
        self.insert(path, node);
        Ok(())
    }

    pub(crate) fn has_root(&self) -> bool {
        self.nodes.contains_key("/")
    }

    /// The digest of the whole tree, in the second version (`DigestCalculator`).
    pub(crate) fn digest(&self) -> i64 {
        self.digest
    }

    pub(crate) fn apply(&mut self, header: Header, transaction: Transaction) {
        match transaction {
            Transaction::OpenSession { timeout_ms } => self.open_session(header.session, timeout_ms),
            Transaction::CloseSession { paths } => self.close_session(header, &paths),
            Transaction::Change(change) => self.change(header, change),
            Transaction::Multi(changes) => changes.into_iter().for_each(|change| self.change(header, change)),
        }
    }

    /// `DataTree.killSession`: what the transaction names, and what is left in the tree.
    fn close_session(&mut self, header: Header, paths: &[NodePath]) {
        self.sessions.remove(&header.session);
        let owned = self.owned.remove(&header.session).unwrap_or_default();
        for path in paths.iter().chain(&owned) {
            self.delete(path, header.zxid);
        }
    }

    fn change(&mut self, header: Header, change: Change) {
        match change {
            Change::Create(create) => self.create(header, create),
            Change::Delete { path } => self.delete(&path, header.zxid),
            Change::SetData { path, data, version } => self.update(path.as_str(), |node| {
                (node.data, node.version, node.mzxid, node.mtime) = (data, version, header.zxid, header.time);
            }),
            Change::SetAcl { path, acl, version } => {
                self.update(path.as_str(), |node| (node.acl, node.acl_version) = (Some(acl), version));
            }
            Change::Nothing => {}
        }
    }

    /// `DataTree.createNode`.
    fn create(&mut self, header: Header, create: Create) {
        let Header { zxid, time, .. } = header;
        let Some(parent) = create.path.parent_str().filter(|parent| self.nodes.contains_key(*parent)) else {
            return;
        };
        // The numbers of a parent never go back: children that were created and deleted while the snapshot was written are not
        // in it, but counted. A child that is there already may have a parent that was written before it was made.
        self.update(parent, |parent| {
            let creates = create.creates.unwrap_or_else(|| parent.creates.wrapping_add(1));
            if creates > parent.creates {
                (parent.creates, parent.pzxid) = (creates, zxid);
            }
        });
        if let Some(node) = self.nodes.get_mut(&create.path) {
            node.acl = Some(create.acl);
            return;
        }
        let node = Node {
            data: create.data,
            acl: Some(create.acl),
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            acl_version: 0,
            creates: 0,
            owner: create.owner,
        };
        self.insert(create.path, node);
    }

    /// `DataTree.deleteNode`: the parent is told even of a node that is not there any more.
    fn delete(&mut self, path: &NodePath, zxid: i64) {
        let Some(parent) = path.parent_str() else {
            return;
        };
        if !self.nodes.contains_key(parent) {
            return;
        }
        self.update(parent, |parent| parent.pzxid = parent.pzxid.max(zxid));
        let Some(node) = self.nodes.remove(path) else {
            return;
        };
        self.digest = self.digest.wrapping_sub(node.digest(path.as_str()));
        if let Some(owned) = self.owned.get_mut(&node.owner) {
            owned.remove(path);
        }
    }

    fn update(&mut self, path: &str, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.nodes.get_mut(path) else {
            return;
        };
        let before = node.digest(path);
        change(node);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(node.digest(path));
    }

    fn insert(&mut self, path: NodePath, node: Node) {
        self.digest = self.digest.wrapping_add(node.digest(path.as_str()));
        if node.owner != 0 && node.owner != owner::CONTAINER {
            self.owned.entry(node.owner).or_default().insert(path.clone());
        }
        self.nodes.insert(path, node);
    }

    /// Counts what is under each quota. A server keeps these figures without a transaction, and counts anew when it starts
    /// (`DataTree.setupQuota`).
    fn count_quotas(&mut self) {
        const QUOTAS: &str = "/zookeeper/quota";
        let limited = |path: &NodePath| {
            let limited = path.as_str().strip_prefix(QUOTAS)?.strip_suffix("/zookeeper_limits")?;
            NodePath::parse(if limited.is_empty() { "/" } else { limited }).ok()
        };
        for path in self.nodes.keys().filter_map(limited).collect::<Vec<_>>() {
            let (mut nodes, mut bytes) = (0, 0);
            let below =
                self.nodes.range(path.clone()..).take_while(|(other, _)| other.as_str().starts_with(path.as_str()));
            for (_, node) in below.filter(|(other, _)| **other == path || other.is_below(&path)) {
                nodes += 1;
                bytes += node.data.len();
            }
            let within = if path.is_root() { "" } else { path.as_str() };
            self.update(&format!("{QUOTAS}{within}/zookeeper_stats"), |figures| {
                // `StatsTrack.toString`.
                figures.data = format!("count={nodes},bytes={bytes}").into();
            });
        }
    }

    /// The tree after the change `last`, with the sessions that are open. As a server that starts, it ends the sessions that
    /// still have nodes and are open nowhere (`ZooKeeperServer.loadData`).
    pub(crate) fn finish(mut self, last: i64) -> Result<Finished, Fault> {
        let mut dropped = Vec::new();
        for (owner, paths) in std::mem::take(&mut self.owned) {
            let kind = owner::kind(owner, &self.sessions)?;
            if kind == Kind::Session && !self.sessions.contains_key(&owner) {
                paths.iter().for_each(|path| self.delete(path, last));
                dropped.extend(paths);
            }
        }
        self.count_quotas();
        let Self { nodes, sessions, .. } = self;
        let records: Result<Vec<_>, Fault> = nodes
            .into_iter()
            .map(|(path, node)| {
                let kind = owner::kind(node.owner, &sessions)?;
                let acl = node.acl.ok_or_else(|| Fault::NoAcl(path.to_string()))?;
                let record = NodeRecord {
                    data: node.data,
                    acl,
                    czxid: Zxid(node.czxid),
                    mzxid: Zxid(node.mzxid),
                    pzxid: Zxid(node.pzxid),
                    ctime: node.ctime,
                    mtime: node.mtime,
                    version: node.version,
                    acl_version: node.acl_version,
                    creates: node.creates,
                    owner: if kind == Kind::Session { node.owner } else { 0 },
                    is_container: kind == Kind::Container,
                    time_to_live: if let Kind::TimeToLive(limit) = kind { Some(limit) } else { None },
                };
                Ok((path, record))
            })
            .collect();
        let tree = Tree::restore(Zxid(last), records?, sessions.keys().copied().map(SessionId))?;
        Ok(Finished { tree, sessions, dropped })
    }
}

impl Node {
    /// `DigestCalculator.calculateDigest`: CRC-32 over the path, the data, of which null has none, and the numbers. What is below `/zookeeper` is left
    /// out, as each server changes it by itself; the root's path is empty.
    fn digest(&self, path: &str) -> i64 {
        if path.starts_with("/zookeeper/") {
            return 0;
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(if path == "/" { b"" } else { path.as_bytes() });
        crc.update(&self.data);
        for number in [self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime] {
            crc.update(&number.to_be_bytes());
        }
        for number in [self.version, self.creates, self.acl_version] {
            crc.update(&number.to_be_bytes());
        }
        crc.update(&self.owner.to_be_bytes());
        i64::from(crc.finalize())
    }
}
