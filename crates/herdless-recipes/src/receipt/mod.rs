//! Receipts: how it is known of a change whose reply was lost whether it happened.

mod kept;
mod once;

use std::sync::Arc;

use herdless_core::{
    Acl, Call, Client, ClientExt, Create, CreateMode, Error, FindOwn, MultiOp, MultiReply, NodeData, NodePath, Refusal,
    Release, Request, Session, SessionId, Version, Zxid,
};

pub(crate) use self::kept::{Outcome, Receipts, Written};
pub(crate) use self::once::once;

/// A receipt that is there: an ephemeral node that tells of the last change that set it. No other node ever has its name.
#[derive(Clone)]
struct Receipt {
    path: NodePath,
    czxid: Zxid,
    session: SessionId,
}

impl Receipt {
    /// Takes the receipt away. One of an earlier session has gone with that, or will.
    fn release<C: Client>(self, client: &C) {
        let Self { path, czxid, session } = self;
        drop(client.submit(Request::Release(Release { path, czxid, session, hand_over: false, may_be_gone: false })));
    }
}

/// One attempt at a change. In the same change it sets a receipt to its number, which no other attempt has: the receipt
/// cannot say so without the change.
#[derive(Clone)]
struct Attempt {
    receipt: FindOwn,
    /// The client's session before the change is submitted: if it is the same one afterwards, it was the one all the time.
    before: SessionId,
    /// What the receipt is made with, unless it is there already.
    make: Option<Make>,
}

/// How a receipt is made for a change, and taken away if nobody waits for that.
#[derive(Clone)]
struct Make {
    acl: Arc<[Acl]>,
    /// What takes the change back: the first of these nodes whose name is not in use. With none the change stays.
    restore: Vec<Create>,
}

/// A change that happened.
struct Done {
    zxid: Zxid,
    /// What its operations yielded; nothing where the reply was lost.
    replies: Vec<MultiReply>,
}

impl Attempt {
    /// One that makes its receipt. Its name is the attempt's number behind `stem`.
    fn making(session: &Session, directory: &NodePath, stem: &str, make: Make) -> Self {
        let number = session.next_attempt().to_string();
        let path = directory.child(&format!("{stem}{number}")).expect("a valid name below any valid path");
        let receipt = FindOwn { prefix: path, data: number.into() };
        Self { receipt, before: session.id(), make: Some(make) }
    }

    /// One with a receipt that is there.
    fn reusing(session: &Session, receipt: &Receipt) -> Self {
        let data = session.next_attempt().to_string().into();
        Self { receipt: FindOwn { prefix: receipt.path.clone(), data }, before: session.id(), make: None }
    }

    /// Carries out `change`. `None`: the reply was lost, and it did not happen and will not. 1 round trip.
    ///
    /// Cancel safe. `SessionExpired`: it may or may not have happened, and the receipt is gone.
    async fn carry_out<C: Client + Clone + 'static>(
        &self,
        client: &C,
        change: impl IntoIterator<Item = MultiOp>,
    ) -> Result<Option<Done>, Error> {
        // Bound to no session: it is as good in the next one, where nobody else has the receipt's name, and the session that
        // is known may be over already, with nothing sent in it.
        let mut call = client.multi(change.into_iter().chain(self.operations()).collect());
        if self.make.is_some() {
            call = call.on_abandon(self.undo(client));
        }
        match call.await.and_then(Done::new) {
            Ok(done) => Ok(Some(done)),
            Err(error) if is_lost(&error) => self.ask(client, error).await,
            Err(error) => {
                if self.make.is_some() {
                    self.undo(client)(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Asks the receipt whether the change happened whose reply was `lost`.
    async fn ask<C: Client + Clone + 'static>(&self, client: &C, lost: Error) -> Result<Option<Done>, Error> {
        match self.search(client).await {
            Ok(Some(created)) => Ok(Some(Done { zxid: created.stat.mzxid, replies: Vec::new() })),
            Ok(None) if client.session().id() == self.before => Ok(None),
            // The end of the session took the receipt along, if there was one.
            Ok(None) | Err(Error::SessionExpired) => Err(Error::SessionExpired),
            // Why it cannot be told says nothing about the change.
            Err(_) => Err(lost),
        }
    }

    /// The receipt is always set, also right after its creation: the Stat in that reply tells the number of the change, which
    /// Apache ZooKeeper 3.8 does not send with a create in a multi (`MultiResponse`).
    fn operations(&self) -> impl Iterator<Item = MultiOp> {
        let path = &self.receipt.prefix;
        let create = self.make.as_ref().map(|Make { acl, .. }| {
            let (path, acl) = (path.clone(), acl.clone());
            MultiOp::Create(Create { path, data: NodeData::default(), acl, mode: CreateMode::Ephemeral })
        });
        create.into_iter().chain([MultiOp::set(path, self.receipt.data.clone(), Version::ANY)])
    }

    /// The receipt that the change `zxid` made, which was just answered. Where the client has another session since then, the
    /// receipt has gone with its own.
    fn made<C: Client>(&self, client: &C, zxid: Zxid) -> Receipt {
        Receipt { path: self.receipt.prefix.clone(), czxid: zxid, session: client.session().id() }
    }

    /// What becomes of a change that nobody waits for any more.
    fn undo<C: Client + Clone + 'static>(
        &self,
        client: &C,
    ) -> impl FnOnce(Result<Vec<MultiReply>, Error>) + Send + 'static {
        let (attempt, client) = (self.clone(), client.clone());
        move |outcome| match outcome.and_then(Done::new) {
            Ok(done) => attempt.take_back(&client, attempt.made(&client, done.zxid)),
            Err(error) if !error.is_without_effect() && error != Error::SessionExpired => {
                drop(attempt.search(&client));
            }
            Err(_) => {}
        }
    }

    /// A search for the receipt. A new one is taken away when it is found and nobody waits for it any more.
    fn search<C: Client + Clone + 'static>(&self, client: &C) -> Call<FindOwn> {
        let search = client.call(self.receipt.clone());
        if self.make.is_none() {
            return search;
        }
        let (attempt, client) = (self.clone(), client.clone());
        search.on_abandon(move |found| {
            if let Ok(Some(created)) = found {
                attempt.take_back(&client, attempt.made(&client, created.stat.czxid));
            }
        })
    }

    /// Takes the change back whose receipt is there. It goes with the receipt in one change, so that it is done once however
    /// often it is asked for.
    fn take_back<C: Client + Clone + 'static>(&self, client: &C, receipt: Receipt) {
        let Some(restore) = self.make.as_ref().and_then(|make| make.restore.first()) else {
            return receipt.release(client);
        };
        let operations = vec![MultiOp::delete(&receipt.path, Version::ANY), MultiOp::Create(restore.clone())];
        let (mut attempt, undo) = (self.clone(), client.clone());
        drop(client.multi(operations).on_abandon(move |outcome| match outcome {
            // Taken back by now, or gone with the session.
            Ok(_) | Err(Error::MultiRefused { index: 0, .. }) => {}
            // A search is accepted at any time, so that it is also the wait until there is room for the rest.
            Err(error) if is_lost(&error) || matches!(error, Error::Overloaded | Error::NotSent) => {
                drop(attempt.search(&undo))
            }
            Err(Error::MultiRefused { refusal: Refusal::NodeExists, .. }) => {
                if let Some(make) = &mut attempt.make {
                    make.restore.remove(0);
                }
                attempt.take_back(&undo, receipt);
            }
            Err(_) => receipt.release(&undo),
        }));
    }
}

impl Done {
    /// What a multi's answer tells: everything in it has the same number.
    fn new(replies: Vec<MultiReply>) -> Result<Self, Error> {
        match replies.last() {
            Some(MultiReply::Set(stat)) => Ok(Self { zxid: stat.mzxid, replies }),
            _ => Err(Error::Protocol("a multi's answer does not fit its operations".into())),
        }
    }
}

/// Whether the request may or may not have happened, and a receipt can tell.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::ConnectionLost | Error::Uncertain(_))
}
