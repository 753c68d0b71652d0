//! Receipts: how it is known of a write whose reply was lost whether it happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use herdless_core::{
    Acl, Client, ClientExt, Create, CreateMode, Error, FindOwn, MultiOp, MultiReply, NodePath, Refusal, Release,
    Request, SessionId, Version, Zxid,
};

use crate::contend::search;

/// How many receipts are kept for the next writes. More than this are only needed where many tasks write one value through
/// one client at the same moment.
const IDLE_LIMIT: usize = 4;

/// The receipts of one client for the writes to one node.
///
/// A receipt is an ephemeral child of the node. Each write sets it to the attempt's number in the same change, so it tells
/// whether the last write that was sent with it happened. One write at a time has it; the next one may overwrite what it
/// says, because then nobody asks any more.
pub(crate) struct Receipts<C: Client> {
    client: C,
    node: NodePath,
    acl: Arc<[Acl]>,
    idle: Mutex<Vec<Receipt>>,
}

struct Receipt {
    path: NodePath,
    session: SessionId,
    czxid: Zxid,
}

/// What became of a write for which the server's word is certain.
pub(crate) enum Outcome {
    Written(Written),
    /// Nothing changed: the node is not as the write expects it, or not the one that the receipt was made below.
    Changed,
    /// Nothing changed: there is no node (to create, no parent).
    Missing,
}

/// A write that happened.
pub(crate) struct Written {
    /// Its change.
    pub(crate) zxid: Zxid,
    /// The node's version since then; `None` where the reply was lost.
    pub(crate) version: Option<Version>,
}

impl<C: Client + Clone + 'static> Receipts<C> {
    pub(crate) fn new(client: C, node: NodePath, acl: Arc<[Acl]>) -> Self {
        Self { client, node, acl, idle: Mutex::default() }
    }

    /// Whether the node is still the one that the change `zxid` wrote, if it exists at all when a receipt is next set: a node
    /// with a child is not deleted.
    pub(crate) fn vouch_for(&self, zxid: Zxid) -> bool {
        let session = self.client.session().id();
        let idle = self.idle();
        !idle.is_empty() && idle.iter().all(|receipt| receipt.session == session && receipt.czxid <= zxid)
    }

    /// Carries out `write`, which is to the node, exactly once or not at all. 1 round trip.
    ///
    /// Cancel safe. `SessionExpired`: it may or may not have happened, and the receipt is gone.
    pub(crate) async fn carry_out(&self, write: MultiOp) -> Result<Outcome, Error> {
        loop {
            // Asked for before the request is submitted: if it is the same one afterwards, it was the one all the time.
            let session = self.client.session();
            let attempt = session.next_attempt().to_string();
            let mut taken = Taken { receipts: self, receipt: self.take(session.id()) };
            let path = match &taken.receipt {
                Some(receipt) => receipt.path.clone(),
                None => self.node.child(&format!("receipt-{attempt}")).expect("a valid name below any valid path"),
            };
            let is_new = taken.receipt.is_none();
            let find = FindOwn { prefix: path, data: attempt.into() };
            let mut call = self.client.multi(self.operations(&write, &find, is_new));
            if is_new {
                call = call.on_abandon(self.undo(find.clone()));
            }
            match call.await {
                Ok(replies) => {
                    let zxid = change(&replies)?;
                    if is_new {
                        self.keep_new(find.prefix, zxid, session.id());
                    }
                    let version = match replies.first() {
                        Some(MultiReply::Set(stat)) => Version(stat.version),
                        _ => Version(0),
                    };
                    return Ok(Outcome::Written(Written { zxid, version: Some(version) }));
                }
                Err(lost @ (Error::ConnectionLost | Error::Uncertain(_))) => {
                    if let Some(zxid) = self.ask(find, is_new, session.id(), lost).await? {
                        return Ok(Outcome::Written(Written { zxid, version: None }));
                    }
                }
                Err(Error::MultiRefused { index: 0, refusal }) => return refused(refusal),
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if !is_new => {
                    // Somebody removed the receipt, maybe together with the node that it was made below.
                    taken.receipt = None;
                    return Ok(Outcome::Changed);
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(error) => {
                    if is_new && leaves_open(&error) {
                        drop(search(&self.client, find));
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Asks the receipt whether the write happened whose reply was `lost`: its change, or `None` if it did not and will not.
    async fn ask(&self, find: FindOwn, is_new: bool, before: SessionId, lost: Error) -> Result<Option<Zxid>, Error> {
        let found = if is_new { search(&self.client, find) } else { self.client.call(find) };
        match found.await {
            Ok(Some(created)) => {
                if is_new {
                    let session = SessionId(created.stat.ephemeral_owner);
                    self.keep(Receipt { path: created.path, session, czxid: created.stat.czxid });
                }
                Ok(Some(created.stat.mzxid))
            }
            Ok(None) if self.client.session().id() == before => Ok(None),
            // The end of the session took the receipt along, if there was one.
            Ok(None) | Err(Error::SessionExpired) => Err(Error::SessionExpired),
            // Why it cannot be told says nothing about the write.
            Err(_) => Err(lost),
        }
    }

    /// The receipt is always set, also right after its creation: the Stat in that reply tells the number of the change, which
    /// Apache ZooKeeper 3.8 does not send with a create in a multi (`MultiResponse`).
    fn operations(&self, write: &MultiOp, find: &FindOwn, is_new: bool) -> Vec<MultiOp> {
        let create = is_new.then(|| {
            let (path, acl) = (find.prefix.clone(), self.acl.clone());
            MultiOp::Create(Create { path, data: Bytes::new(), acl, mode: CreateMode::Ephemeral })
        });
        let set = MultiOp::set(&find.prefix, find.data.clone(), Version::ANY);
        [Some(write.clone()), create, Some(set)].into_iter().flatten().collect()
    }

    /// What becomes of a write that nobody waits for any more: the receipt it makes is taken away again, also where its
    /// reply is lost.
    fn undo(&self, find: FindOwn) -> impl FnOnce(Result<Vec<MultiReply>, Error>) + Send + 'static {
        let client = self.client.clone();
        move |outcome| match outcome.and_then(|replies| change(&replies)) {
            Ok(czxid) => release(&client, find.prefix, czxid, client.session().id()),
            Err(error) if leaves_open(&error) => drop(search(&client, find)),
            Err(_) => {}
        }
    }

    fn take(&self, session: SessionId) -> Option<Receipt> {
        let mut idle = self.idle();
        // Those of an earlier session have gone with it.
        idle.retain(|receipt| receipt.session == session);
        idle.pop()
    }
}

impl<C: Client> Receipts<C> {
    /// Keeps a receipt that was made just now, if it is certain which session made it: the one that was the client's `before`,
    /// if it still is.
    fn keep_new(&self, path: NodePath, czxid: Zxid, before: SessionId) {
        let session = self.client.session().id();
        if session == before {
            self.keep(Receipt { path, session, czxid });
        } else {
            release(&self.client, path, czxid, session);
        }
    }

    /// Keeps a receipt for the next write, unless there are enough.
    fn keep(&self, receipt: Receipt) {
        let surplus = {
            let mut idle = self.idle();
            if idle.len() < IDLE_LIMIT {
                idle.push(receipt);
                return;
            }
            receipt
        };
        release(&self.client, surplus.path, surplus.czxid, surplus.session);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Client> Drop for Receipts<C> {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.idle());
        idle.into_iter().for_each(|receipt| release(&self.client, receipt.path, receipt.czxid, receipt.session));
    }
}

/// A receipt while a write has it. A write that is given up gives it back at once: what is sent with it later takes effect
/// later.
struct Taken<'a, C: Client> {
    receipts: &'a Receipts<C>,
    receipt: Option<Receipt>,
}

impl<C: Client> Drop for Taken<'_, C> {
    fn drop(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            self.receipts.keep(receipt);
        }
    }
}

/// Takes a receipt away. Its name is never used again, so whatever has it is the receipt; one of an earlier session has gone
/// with that, or will.
fn release<C: Client>(client: &C, path: NodePath, czxid: Zxid, session: SessionId) {
    drop(client.submit(Request::Release(Release { path, czxid, session, hand_over: false })));
}

fn leaves_open(error: &Error) -> bool {
    !error.is_without_effect() && *error != Error::SessionExpired
}

/// The change that a multi was: everything in it has the same number.
fn change(replies: &[MultiReply]) -> Result<Zxid, Error> {
    match replies.last() {
        Some(MultiReply::Set(stat)) => Ok(stat.mzxid),
        _ => Err(Error::Protocol("a multi's answer does not fit its operations".into())),
    }
}

fn refused(refusal: Refusal) -> Result<Outcome, Error> {
    match refusal {
        Refusal::BadVersion | Refusal::NodeExists => Ok(Outcome::Changed),
        Refusal::NoNode => Ok(Outcome::Missing),
        refusal => Err(Error::Refused(refusal)),
    }
}
