//! Items that a consumer has claimed, and how they are settled.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use herdless_core::{
    Call, Client, ClientExt, CreateMode, Error, Multi, MultiOp, NodePath, Refusal, Release, Request, Session, Version,
    Zxid,
};

use super::format::Record;
use super::tree::{Position, Tree};

/// A claim: an ephemeral node, and beside it the record of the items that are not settled yet.
///
/// Each settlement writes the record in the same change, with the version that the one before it leaves. So those that are
/// on their way together take effect in their order or not at all, and what became of one whose reply was lost is read
/// from the record. The name is never used again: who claims what came back makes a record of another name.
pub(super) struct Claim<C: Client> {
    client: C,
    session: Session,
    tree: Tree,
    name: String,
    czxid: Zxid,
    state: Mutex<State>,
}

/// The record as it is once everything submitted has been carried out.
struct State {
    record: Record,
    version: i32,
    /// Whether the record is gone, and the claim with it.
    is_over: bool,
}

/// What becomes of items.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// They are done. With the marker of an item that was put with an id.
    Done(Option<NodePath>),
    /// Somebody else may have them; whether the attempt counts.
    Back { counted: bool },
    /// An item is given up: its data goes to the dead letters.
    Dead(Bytes),
}

/// A settlement.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) items: Vec<Position>,
    pub(super) fate: Fate,
}

/// A settlement on its way; whether it is that of the last items of the claim.
pub(super) struct Submitted {
    call: Call<Multi>,
    is_last: bool,
}

/// Where the operations stand in the multi.
const CLAIM: usize = 0;

impl<C: Client + Clone + 'static> Claim<C> {
    pub(super) fn new(
        client: &C,
        session: Session,
        tree: &Tree,
        name: String,
        czxid: Zxid,
        record: Record,
    ) -> Arc<Self> {
        let state = Mutex::new(State { record, version: 0, is_over: false });
        Arc::new(Self { client: client.clone(), session, tree: tree.clone(), name, czxid, state })
    }

    /// Submits a settlement, and forgets it. If it does not happen the items come back with the rest of the claim.
    pub(super) fn settle_unseen(self: Arc<Self>, change: &Change) {
        drop(self.submit(change));
    }

    /// Submits a settlement. It takes its place in the order when this returns.
    pub(super) fn submit(self: &Arc<Self>, change: &Change) -> Submitted {
        let (operations, is_last) = {
            let mut state = self.state();
            let rest = state.record.without(&change.items);
            let operations = self.operations(change, &state, &rest);
            let is_last = rest.0.is_empty();
            *state = State { record: rest, version: state.version.wrapping_add(1), is_over: false };
            (operations, is_last)
        };
        let claim = self.clone();
        // Whoever awaits the call looks at the outcome himself.
        let call = self.client.multi(operations).on_abandon(move |outcome| {
            if is_last && outcome.is_ok() {
                claim.state().is_over = true;
            }
        });
        Submitted { call, is_last }
    }

    fn operations(&self, change: &Change, state: &State, rest: &Record) -> Vec<MultiOp> {
        let (claim, batch) = (self.tree.claim(&self.name), self.tree.batch(&self.name));
        let version = Version(state.version);
        let mut operations = match rest.0.is_empty() {
            true => vec![MultiOp::delete(&claim, Version::ANY), MultiOp::delete(&batch, version)],
            false => vec![MultiOp::check(&claim, Version::ANY), MultiOp::set(&batch, rest.encode(), version)],
        };
        let delete = |position: &Position| MultiOp::delete(&self.tree.item(*position), Version::ANY);
        match &change.fate {
            Fate::Done(marker) => {
                operations.extend(change.items.iter().map(delete));
                operations.extend(marker.iter().map(|marker| MultiOp::delete(marker, Version::ANY)));
            }
            Fate::Back { counted } => {
                let known = change.items.iter().filter_map(|item| state.record.0.get_key_value(item));
                let back =
                    known.map(|(item, attempts)| (*item, attempts.saturating_sub(u32::from(!counted)))).collect();
                let back = Record(back);
                let path = self.tree.batch(&batch_name(&self.session, &back));
                operations.push(self.tree.create_op(path, back.encode(), CreateMode::Persistent));
            }
            Fate::Dead(data) => {
                operations.push(self.tree.letter(data.clone()));
                operations.extend(change.items.iter().map(delete));
            }
        }
        operations
    }

    /// Waits until a submitted settlement has happened; submits it again where it is certain that it did not.
    pub(super) async fn settle(self: Arc<Self>, mut change: Change, first: Submitted) -> Result<(), Error> {
        let Submitted { mut call, mut is_last } = first;
        loop {
            match call.await {
                Ok(_) => {
                    self.state().is_over |= is_last;
                    return Ok(());
                }
                Err(Error::MultiRefused { index: CLAIM, refusal: Refusal::NoNode }) => {
                    // Either the session is over, or what goes on here was done before and the reply lost.
                    if self.find_out(&change).await? {
                        return Ok(());
                    }
                    return Err(self.lost());
                }
                Err(Error::MultiRefused { index, refusal: Refusal::NoNode }) if index > CLAIM + 1 => {
                    // Of the item, or of its marker behind it: somebody else removed it. A marker that is gone keeps nobody.
                    let has_marker = match &mut change.fate {
                        Fate::Done(marker) if index > CLAIM + 2 => marker.take().is_some(),
                        _ => false,
                    };
                    if !has_marker {
                        return Err(Error::Refused(Refusal::NoNode));
                    }
                    if self.find_out(&change).await? {
                        return Ok(());
                    }
                }
                Err(
                    Error::ConnectionLost
                    | Error::Uncertain(_)
                    | Error::MultiRefused { refusal: Refusal::BadVersion | Refusal::NoNode, .. },
                ) => {
                    if self.find_out(&change).await? {
                        return Ok(());
                    }
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(error) => return Err(error),
            }
            Submitted { call, is_last } = self.submit(&change);
        }
    }

    /// Whether the settlement has happened. If not, the state is set to what the server has.
    async fn find_out(&self, change: &Change) -> Result<bool, Error> {
        let batch = self.tree.batch(&self.name);
        // The reads leave together; only what is read once the lost request is over counts.
        let (found, claimed) = loop {
            let settled = self.client.settle(&batch);
            let (get, exists) = (self.client.get(&batch), self.client.exists(&self.tree.claim(&self.name)));
            match (settled.await, get.await, exists.await) {
                (Err(Error::ConnectionLost), ..)
                | (_, Err(Error::ConnectionLost), _)
                | (.., Err(Error::ConnectionLost)) => {}
                (settled, found, claimed) => {
                    settled?;
                    break (found, claimed?);
                }
            }
        };
        if !self.session.is_valid() || self.client.session().id() != self.session.id() {
            return Err(Error::SessionExpired);
        }
        match found {
            Ok((data, stat)) => {
                let malformed = || Error::Malformed { path: batch.clone(), expected: "the record of a claim" };
                let record = Record::decode(&data, self.tree.lanes().len()).ok_or_else(malformed)?;
                if !change.items.iter().any(|item| record.0.contains_key(item)) {
                    return Ok(true);
                }
                if claimed.is_none() {
                    return Err(Error::Refused(Refusal::NoNode));
                }
                *self.state() = State { record, version: stat.version, is_over: false };
                Ok(false)
            }
            // While our session lives nobody but ourselves removes the record: with the last item.
            Err(Error::Refused(Refusal::NoNode)) => {
                self.state().is_over = true;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    fn lost(&self) -> Error {
        if self.session.is_valid() { Error::Refused(Refusal::NoNode) } else { Error::SessionExpired }
    }
}

impl<C: Client> Claim<C> {
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn is_valid(&self) -> bool {
        self.session.is_valid()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody works on the claim any more: what is not settled comes back, also where a settlement that nobody awaited was lost.
impl<C: Client> Drop for Claim<C> {
    fn drop(&mut self) {
        if !self.state().is_over {
            release(&self.client, &self.tree, &self.name, self.czxid, &self.session);
        }
    }
}

/// Takes the claim off a batch, for certain.
pub(super) fn release<C: Client>(client: &C, tree: &Tree, name: &str, czxid: Zxid, session: &Session) {
    let release =
        Release { path: tree.claim(name), czxid, session: session.id(), hand_over: false, may_be_gone: false };
    drop(client.submit(Request::Release(release)));
}

/// A name for the record of these items that no other ever has. It sorts by the first item.
pub(super) fn batch_name(session: &Session, record: &Record) -> String {
    let first = record.0.keys().next().copied().unwrap_or(Position { lane: 0, number: 0 });
    format!("{:03}-{:010}-{}", first.lane, first.number, session.next_attempt())
}

impl<C: Client> fmt::Debug for Claim<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("name", &self.name).finish_non_exhaustive()
    }
}
