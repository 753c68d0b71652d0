//! Changes that happen once, also where the reply is lost.

use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{
    Acl, Call, Client, ClientExt, Create, CreateMode, Error, FindOwn, MultiOp, NodePath, Refusal, Release, Request,
    SessionId, SessionState, Version,
};

use crate::parents;

/// Makes each change together with an ephemeral node of its own, the receipt. Others' layouts have no room in the items
/// for whose change it was; whether there is a receipt tells it, and it cannot be there without the change.
#[derive(Clone, Debug)]
pub(super) struct Receipts<C> {
    client: C,
    directory: NodePath,
    acl: Arc<[Acl]>,
}

/// What takes a change back that nobody waited for: making the node again, or else another one.
#[derive(Clone, Debug)]
pub(super) struct Restore {
    pub(super) create: Create,
    /// Where the name is in use again.
    pub(super) otherwise: Option<Create>,
}

/// One receipt. Its name is that of the attempt, which no other has.
#[derive(Clone, Debug)]
struct Receipt {
    path: NodePath,
    attempt: Bytes,
}

impl<C: Client + Clone + 'static> Receipts<C> {
    pub(super) fn new(client: C, directory: NodePath, acl: Arc<[Acl]>) -> Self {
        Self { client, directory, acl }
    }

    /// Carries out `change` exactly once, or tells why the server refused it. If the future is dropped, what was changed
    /// is restored.
    ///
    /// 1 round trip; 2 more where the directory of receipts is missing. The receipt's end is not waited for.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: the receipt, if there was one, went with the session. The change may or may not have happened.
    pub(super) async fn commit(&self, change: MultiOp, restore: Option<Restore>) -> Result<Result<(), Refusal>, Error> {
        let mut attempts = 0;
        loop {
            let session = self.client.session();
            let receipt = self.receipt(&session.next_attempt().to_string());
            let create = MultiOp::Create(receipt.create(&self.acl));
            let call = self.client.multi(vec![change.clone(), create]);
            let outcome = call.on_abandon(self.abandoned(&receipt, &restore)).await;
            match outcome {
                Ok(_) => {}
                Err(Error::MultiRefused { index: 0, refusal }) => return Ok(Err(refusal)),
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if attempts < parents::ATTEMPTS => {
                    attempts += 1;
                    parents::make(&self.client, &self.directory, &self.acl).await?;
                    continue;
                }
                Err(error) if is_open(&error) => {
                    if search(&self.client, &receipt, &restore).await?.is_none() {
                        // A later session finds no receipt of an earlier one, so that it found none says nothing.
                        if session.state() == SessionState::Lost || session.id() != self.client.session().id() {
                            return Err(Error::SessionExpired);
                        }
                        continue;
                    }
                }
                Err(error) => return Err(error),
            }
            receipt.forget(&self.client);
            return Ok(Ok(()));
        }
    }

    fn receipt(&self, attempt: &str) -> Receipt {
        let path = self.directory.child(attempt).expect("an attempt's number is a valid name below any valid path");
        Receipt { path, attempt: Bytes::copy_from_slice(attempt.as_bytes()) }
    }

    /// What becomes of a change whose outcome nobody waits for any more.
    fn abandoned<T>(
        &self,
        receipt: &Receipt,
        restore: &Option<Restore>,
    ) -> impl FnOnce(Result<T, Error>) + Send + 'static {
        let (client, receipt, restore) = (self.client.clone(), receipt.clone(), restore.clone());
        move |outcome| match outcome {
            Ok(_) => take_back(&client, &receipt, restore),
            Err(error) if is_open(&error) => drop(search(&client, &receipt, &restore)),
            Err(_) => {}
        }
    }
}

impl Receipt {
    fn create(&self, acl: &Arc<[Acl]>) -> Create {
        Create { path: self.path.clone(), data: self.attempt.clone(), acl: acl.clone(), mode: CreateMode::Ephemeral }
    }

    /// Deletes the receipt. Nobody else ever makes a node of its name, so that a second delete does no harm.
    fn forget<C: Client + Clone + 'static>(&self, client: &C) {
        let (undo, find) = (client.clone(), self.find());
        drop(client.delete(&self.path, Version::ANY).on_abandon(move |outcome| {
            let is_left = |error: &Error| is_open(error) || *error == Error::Overloaded;
            if !outcome.as_ref().is_err_and(is_left) {
                return;
            }
            let releasing = undo.clone();
            drop(undo.call(find).on_abandon(move |found| {
                if let Ok(Some(found)) = found {
                    let session = SessionId(found.stat.ephemeral_owner);
                    let (path, czxid) = (found.path, found.stat.czxid);
                    drop(releasing.submit(Request::Release(Release { path, czxid, session, hand_over: false })));
                }
            }));
        }));
    }

    fn find(&self) -> FindOwn {
        FindOwn { prefix: self.path.clone(), data: self.attempt.clone() }
    }
}

/// Whether the request may or may not have happened, and its receipt can tell.
fn is_open(error: &Error) -> bool {
    matches!(error, Error::ConnectionLost | Error::Uncertain(_))
}

/// Looks for a receipt. If nobody waits for what is found, the change is taken back.
fn search<C: Client + Clone + 'static>(client: &C, receipt: &Receipt, restore: &Option<Restore>) -> Call<FindOwn> {
    let (undo, receipt, restore) = (client.clone(), receipt.clone(), restore.clone());
    client.call(receipt.find()).on_abandon(move |found| {
        if let Ok(Some(_)) = found {
            take_back(&undo, &receipt, restore);
        }
    })
}

/// Takes a change back whose receipt is there. It goes with the receipt in one change, so that it is done once however
/// often it is asked for.
fn take_back<C: Client + Clone + 'static>(client: &C, receipt: &Receipt, restore: Option<Restore>) {
    let Some(restore) = restore else {
        return receipt.forget(client);
    };
    let operations = vec![MultiOp::delete(&receipt.path, Version::ANY), MultiOp::Create(restore.create.clone())];
    let (undo, receipt) = (client.clone(), receipt.clone());
    drop(client.multi(operations).on_abandon(move |outcome| match outcome {
        // A search is accepted at any time, so that it is also the wait until there is room for the rest.
        Err(error) if is_open(&error) || error == Error::Overloaded => drop(search(&undo, &receipt, &Some(restore))),
        Err(Error::MultiRefused { index: 1, refusal }) => match restore.otherwise {
            Some(create) if refusal == Refusal::NodeExists => {
                take_back(&undo, &receipt, Some(Restore { create, otherwise: None }));
            }
            _ => receipt.forget(&undo),
        },
        _ => {}
    }));
}
