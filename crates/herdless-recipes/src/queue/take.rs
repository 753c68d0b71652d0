//! Taking items off the head of a queue, in one transaction with the place in the line.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{
    Call, Client, ClientExt, CreateMode, Delete, Error, FindOwn, MultiOp, MultiReply, NodePath, Refusal, Session,
    Version, Zxid,
};

use super::claim::{Claim, batch_name, release};
use super::due::{Brought, Passed, Wake, bring};
use super::format::{Content, Record, encode_cursor};
use super::head::{Asked, Found, Offer, Source, Survey};
use super::shared::Shared;
use super::tree::Tree;
use crate::contend::Place;

/// What was taken, and the claim that it is held with; none where it was removed.
pub(super) struct Taken<C: Client> {
    pub(super) claim: Option<Arc<Claim<C>>>,
    pub(super) items: Vec<Found>,
}

/// What becomes of the items that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are claimed.
    AtLeastOnce,
    /// They are removed.
    AtMostOnce,
}

/// How an attempt to take ended.
enum Attempt<C: Client> {
    Taken(Taken<C>),
    /// What was seen has changed.
    Changed,
    /// The place in the line is gone: it is no longer our turn.
    Deposed,
}

/// The operations that leave the line stand first, so that their refusal is known as that.
const DEPARTURE: usize = 2;

/// Stands in line, waits for items, and takes up to `limit` of them.
pub(super) async fn take<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    mode: Mode,
    limit: usize,
) -> Result<Taken<C>, Error> {
    let limit = limit.clamp(1, shared.tree.operations_limit());
    shared.make_once();
    let mut was_missing = false;
    loop {
        let ask = |client: &C| Asked::ask(client, &shared.tree);
        let (place, asked) = shared.stand_in_line(&shared.takers, ask).await?;
        match head(shared, mode, limit, place, asked).await {
            Ok(Some(taken)) => return Ok(taken),
            // The place is gone, and with it the turn.
            Ok(None) | Err(Error::SessionExpired) => {}
            Err(Error::Refused(Refusal::NoNode)) if !was_missing => {
                was_missing = true;
                shared.tree.make_again(&shared.client).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The future of what the first in line takes; `None` where its place is gone.
type Heading<'a, C> = Pin<Box<dyn Future<Output = Result<Option<Taken<C>>, Error>> + Send + 'a>>;

/// On the heap, once for a claim of many items, and made in a frame of its own: what waits for a consumer stays small, and so
/// does the stack that polls it, of which a model has 32 KiB.
#[inline(never)]
fn head<'a, C: Client + Clone + 'static>(
    shared: &'a Shared<C>,
    mode: Mode,
    limit: usize,
    place: Place<C>,
    asked: Option<Asked>,
) -> Heading<'a, C> {
    Box::pin(take_as_head(shared, mode, limit, place, asked))
}

async fn take_as_head<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    mode: Mode,
    limit: usize,
    place: Place<C>,
    asked: Option<Asked>,
) -> Result<Option<Taken<C>>, Error> {
    let (mut asked, mut passed) = (asked, Passed::default());
    loop {
        let survey = Survey::look(shared, asked.take()).await?;
        let Some(offer) = survey.offer(shared, limit).await? else {
            if let Wake::Due(bucket) = survey.wait(shared, place.session(), &passed).await? {
                // On the heap: the futures of all other queues stay small.
                match Box::pin(bring(shared, &place, &bucket)).await? {
                    Brought::Looked(behind) => asked = behind.map(|asked| *asked),
                    Brought::Passed(tail) => passed.pass(bucket, tail),
                    Brought::Deposed => {
                        place.has_left();
                        return Ok(None);
                    }
                }
            } else {
                passed = Passed::default();
            }
            continue;
        };
        let attempt = match (offer.items.is_empty(), mode) {
            (true, _) => skip(shared, &offer).await?,
            (false, Mode::AtLeastOnce) => claim(shared, &place, offer).await?,
            (false, Mode::AtMostOnce) => remove(shared, &place, offer).await?,
        };
        match attempt {
            Attempt::Taken(taken) => {
                place.has_left();
                return Ok(Some(taken));
            }
            Attempt::Changed => {}
            Attempt::Deposed => {
                place.has_left();
                return Ok(None);
            }
        }
    }
}

/// Where the items come from, without them.
fn source(tree: &Tree, source: &Source) -> MultiOp {
    match source {
        Source::Fresh { lane, cursor, version } => {
            MultiOp::set(&tree.lanes()[*lane as usize], encode_cursor(*cursor), *version)
        }
        Source::Returned { name, version, rest } if rest.0.is_empty() => MultiOp::delete(&tree.batch(name), *version),
        Source::Returned { name, version, rest } => MultiOp::set(&tree.batch(name), rest.encode(), *version),
    }
}

/// Leaves out what is not there any more.
async fn skip<C: Client + Clone + 'static>(shared: &Shared<C>, offer: &Offer) -> Result<Attempt<C>, Error> {
    match shared.client.multi(vec![source(&shared.tree, &offer.source)]).await {
        // The version says that nothing was overwritten. Where the reply is lost, the next look tells.
        Ok(_) | Err(Error::ConnectionLost | Error::Uncertain(_)) => Ok(Attempt::Changed),
        Err(Error::MultiRefused { refusal: Refusal::BadVersion | Refusal::NoNode, .. }) => Ok(Attempt::Changed),
        Err(error) => Err(error),
    }
}

async fn claim<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    place: &Place<C>,
    offer: Offer,
) -> Result<Attempt<C>, Error> {
    let (client, tree) = (&shared.client, &shared.tree);
    let session = place.session().clone();
    let record = Record(offer.items.iter().map(|item| (item.position, item.attempts.saturating_add(1))).collect());
    let name = batch_name(&session, &record);
    let find = FindOwn { prefix: tree.claim(&name), data: Bytes::from(name.clone()) };
    let mut operations = place.departure().to_vec();
    operations.push(source(tree, &offer.source));
    operations.push(tree.create_op(tree.batch(&name), record.encode(), CreateMode::Persistent));
    operations.push(tree.create_op(find.prefix.clone(), find.data.clone(), CreateMode::Ephemeral));

    let give_back = GiveBack { client: client.clone(), session, tree: tree.clone(), name, record };
    let (undo, its_find) = (give_back.clone(), find.clone());
    let call = place.multi(operations).on_abandon(move |outcome| match outcome {
        Ok(replies) => undo.run(change(&replies)),
        Err(Error::ConnectionLost | Error::Uncertain(_)) => drop(undo.search(its_find)),
        Err(_) => {}
    });
    let czxid = match call.await {
        Ok(replies) => change(&replies),
        Err(Error::ConnectionLost | Error::Uncertain(_)) => match give_back.clone().search(find).await? {
            Some(created) => Some(created.stat.czxid),
            None => return Ok(Attempt::Changed),
        },
        Err(error) => return refused(error),
    };
    let czxid = czxid.ok_or_else(|| Error::Protocol("a multi's answer does not fit its operations".into()))?;
    let GiveBack { session, name, record, .. } = give_back;
    let claim = Claim::new(client, session, tree, name, czxid, record);
    Ok(Attempt::Taken(Taken { claim: Some(claim), items: offer.items }))
}

/// A refusal of the transaction: whose fault it was.
fn refused<C: Client>(error: Error) -> Result<Attempt<C>, Error> {
    match error {
        Error::MultiRefused { index, refusal: Refusal::NoNode } if index < DEPARTURE => Ok(Attempt::Deposed),
        Error::MultiRefused { refusal: Refusal::NoNode | Refusal::BadVersion, .. } => Ok(Attempt::Changed),
        Error::MultiRefused { refusal, .. } => Err(Error::Refused(refusal)),
        error => Err(error),
    }
}

/// The change that a transaction was: everything in it has the same number, and the first operation sets our own node.
fn change(replies: &[MultiReply]) -> Option<Zxid> {
    match replies.first() {
        Some(MultiReply::Set(stat)) => Some(stat.mzxid),
        _ => None,
    }
}

/// Undoes a claim that nobody waits for any more: its items come back as if they had not been claimed.
#[derive(Clone)]
struct GiveBack<C> {
    client: C,
    session: Session,
    tree: Tree,
    name: String,
    record: Record,
}

impl<C: Client + Clone + 'static> GiveBack<C> {
    fn run(self, czxid: Option<Zxid>) {
        let uncounted = self.record.0.into_iter().map(|(position, attempts)| (position, attempts.saturating_sub(1)));
        // First the record, then the claim: whoever finds it without a claim finds the right numbers. Only the second is
        // repeated after a lost connection; an attempt may then be counted that was none.
        let data = Record(uncounted.collect()).encode();
        drop(self.client.set(&self.tree.batch(&self.name), data, Version(0)));
        if let Some(czxid) = czxid {
            release(&self.client, &self.tree, &self.name, czxid, &self.session);
        }
    }

    /// Looks for the claim's node after the reply was lost.
    fn search(self, find: FindOwn) -> Call<FindOwn> {
        let client = self.client.clone();
        client.call(find).on_abandon(move |found| {
            if let Ok(Some(created)) = found {
                self.run(Some(created.stat.czxid));
            }
        })
    }
}

async fn remove<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    place: &Place<C>,
    offer: Offer,
) -> Result<Attempt<C>, Error> {
    let mut missing = BTreeSet::new();
    loop {
        let operations = removal(&shared.tree, place, &offer, &missing);
        match place.multi(operations.clone()).await {
            Ok(_) => return Ok(Attempt::Taken(Taken { claim: None, items: offer.items })),
            // We have the data already: it is ours if the place left with it.
            Err(Error::ConnectionLost | Error::Uncertain(_)) => {
                return Ok(match shared.has_departed(place).await? {
                    true => Attempt::Taken(Taken { claim: None, items: offer.items }),
                    false => Attempt::Changed,
                });
            }
            Err(error) => match marker_at(&shared.tree, &operations, &error) {
                // Somebody else removed a marker: that keeps nobody from taking its item.
                Some(marker) => missing.insert(marker),
                None => return refused(error),
            },
        };
    }
}

fn removal<C: Client + Clone + 'static>(
    tree: &Tree,
    place: &Place<C>,
    offer: &Offer,
    missing: &BTreeSet<NodePath>,
) -> Vec<MultiOp> {
    let mut operations = place.departure().to_vec();
    operations.push(source(tree, &offer.source));
    for item in &offer.items {
        operations.push(MultiOp::delete(&tree.item(item.position), Version::ANY));
        match Content::decode(&item.bytes) {
            Some(content) => {
                let marker = content.id.and_then(|id| tree.ids().child(&id).ok());
                let marker = marker.filter(|marker| !missing.contains(marker));
                operations.extend(marker.map(|marker| MultiOp::delete(&marker, Version::ANY)));
            }
            None => operations.push(tree.letter(item.bytes.clone())),
        }
    }
    operations
}

/// The marker whose absence an error tells.
fn marker_at(tree: &Tree, operations: &[MultiOp], error: &Error) -> Option<NodePath> {
    let Error::MultiRefused { index, refusal: Refusal::NoNode } = error else { return None };
    match operations.get(*index)? {
        MultiOp::Delete(Delete { path, .. }) => Some(path.clone()).filter(|path| path.parent() == Some(tree.ids())),
        _ => None,
    }
}
