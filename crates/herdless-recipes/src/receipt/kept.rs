//! Receipts that are kept for the next change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use herdless_core::{Acl, Client, Error, MultiOp, MultiReply, NodePath, Refusal, SessionId, Version, Zxid};

use super::{Attempt, Make, Receipt};

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
            let session = self.client.session();
            let mut taken = Taken { receipts: self, receipt: self.take(session.id()) };
            let attempt = match &taken.receipt {
                Some(receipt) => Attempt::reusing(&session, receipt),
                None => Attempt::making(&session, &self.node, "receipt-", self.make()),
            };
            match attempt.carry_out(&self.client, [write.clone()]).await {
                Ok(Some(done)) => {
                    if taken.receipt.is_none() {
                        self.keep_new(attempt.made(&self.client, done.zxid), session.id());
                    }
                    let version = done.replies.first().map(|reply| match reply {
                        MultiReply::Set(stat) => Version(stat.version),
                        _ => Version(0),
                    });
                    return Ok(Outcome::Written(Written { zxid: done.zxid, version }));
                }
                Ok(None) => {}
                Err(Error::MultiRefused { index: 0, refusal }) => return refused(refusal),
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if taken.receipt.is_some() => {
                    // Somebody removed the receipt, maybe together with the node that it was made below.
                    taken.receipt = None;
                    return Ok(Outcome::Changed);
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(error) => return Err(error),
            }
        }
    }

    /// A write that is given up stays; only its receipt goes.
    fn make(&self) -> Make {
        Make { acl: self.acl.clone(), restore: Vec::new() }
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
    fn keep_new(&self, receipt: Receipt, before: SessionId) {
        if receipt.session == before { self.keep(receipt) } else { receipt.release(&self.client) }
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
        surplus.release(&self.client);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Client> Drop for Receipts<C> {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.idle());
        idle.into_iter().for_each(|receipt| receipt.release(&self.client));
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

fn refused(refusal: Refusal) -> Result<Outcome, Error> {
    match refusal {
        Refusal::BadVersion | Refusal::NodeExists => Ok(Outcome::Changed),
        Refusal::NoNode => Ok(Outcome::Missing),
        refusal => Err(Error::Refused(refusal)),
    }
}
