//! The first in the line of consumers: what it sees, and what it waits for.

use bytes::Bytes;
use herdless_core::{
    Call, Client, ClientExt, Error, GetChildren, GetData, NodePath, Refusal, Session, SessionState, Stat, Version,
};

use super::due::{Passed, Wake, wait_for_time};
use super::format::{Content, Record, decode_cursor};
use super::shared::Shared;
use super::tree::{Position, Tree, next_number};
use crate::contend::read;

/// The bytes that one claim hands out, unless its first item is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// The reads of a [`Survey`], on their way together.
pub(super) struct Asked {
    lanes: Vec<Call<GetData>>,
    /// Before the claims: a record that is seen without a claim afterwards has none.
    batches: Call<GetChildren>,
    claims: Call<GetChildren>,
}

/// A queue as the first in line sees it.
pub(super) struct Survey {
    lanes: Vec<Lane>,
    /// Records without a claim, the one with the first item first.
    returned: Vec<String>,
}

#[derive(Clone, Copy)]
struct Lane {
    cursor: u32,
    version: i32,
    tail: u32,
}

/// Where the next items come from.
pub(super) enum Source {
    /// Items that were never claimed: the cursor of their lane moves to `cursor`.
    Fresh { lane: u32, cursor: u32, version: Version },
    /// A record that came back: it goes, or what is not taken of it stays.
    Returned { name: String, version: Version, rest: Record },
}

/// What may be claimed, and the data of what is there of it.
pub(super) struct Offer {
    pub(super) source: Source,
    pub(super) items: Vec<Found>,
}

/// An item that was read.
pub(super) struct Found {
    pub(super) position: Position,
    pub(super) bytes: Bytes,
    /// How often it was claimed before.
    pub(super) attempts: u32,
}

impl Asked {
    pub(super) fn ask<C: Client>(client: &C, tree: &Tree) -> Self {
        let lanes = tree.lanes().iter().map(|lane| client.get(lane)).collect();
        Self { lanes, batches: client.children(&tree.batches()), claims: client.children(&tree.claims()) }
    }

    async fn answer(self, tree: &Tree) -> Result<Survey, Error> {
        let mut lanes = Vec::with_capacity(self.lanes.len());
        for (path, lane) in tree.lanes().iter().zip(self.lanes) {
            let (data, stat) = lane.await?;
            lanes.push(Lane::new(path, &data, &stat)?);
        }
        let (batches, _) = self.batches.await?;
        let (claims, _) = self.claims.await?;
        Ok(Survey { lanes, returned: without_claim(batches, &claims) })
    }
}

impl Lane {
    fn new(path: &NodePath, data: &[u8], stat: &Stat) -> Result<Self, Error> {
        Ok(Self { cursor: decode_cursor(path, data)?, version: stat.version, tail: next_number(stat) })
    }
}

fn without_claim(mut batches: Vec<String>, claims: &[String]) -> Vec<String> {
    batches.retain(|name| !claims.contains(name));
    batches.sort_unstable();
    batches
}

impl Survey {
    /// Looks, or takes what was asked for already.
    pub(super) async fn look<C: Client + Clone + 'static>(
        shared: &Shared<C>,
        asked: Option<Asked>,
    ) -> Result<Self, Error> {
        let mut asked = asked;
        loop {
            let asked = asked.take().unwrap_or_else(|| Asked::ask(&shared.client, &shared.tree));
            match asked.answer(&shared.tree).await {
                Err(Error::ConnectionLost) => {}
                outcome => return outcome,
            }
        }
    }

    /// The next items: what came back before what was never claimed, within a lane; the more urgent lane first.
    pub(super) async fn offer<C: Client + Clone + 'static>(
        &self,
        shared: &Shared<C>,
        limit: usize,
    ) -> Result<Option<Offer>, Error> {
        let fresh = self.lanes.iter().position(|lane| lane.cursor < lane.tail);
        for name in &self.returned {
            // Names of ours begin with the lane of their first item. Others' nodes here stand in nobody's way.
            let Some(lane) = name.get(..3).and_then(|lane| lane.parse().ok()) else { continue };
            if fresh.is_some_and(|fresh| fresh < lane) {
                break;
            }
            if let Some(offer) = returned(shared, name, limit).await? {
                return Ok(Some(offer));
            }
        }
        match fresh {
            Some(lane) => self.fresh(shared, lane, limit).await.map(Some),
            None => Ok(None),
        }
    }

    async fn fresh<C: Client + Clone + 'static>(
        &self,
        shared: &Shared<C>,
        index: usize,
        limit: usize,
    ) -> Result<Offer, Error> {
        let Lane { cursor, version, tail } = self.lanes[index];
        let end = tail.min(cursor.saturating_add(u32::try_from(limit).unwrap_or(u32::MAX)));
        let lane = index as u32;
        let positions = (cursor..end).map(|number| (Position { lane, number }, 0)).collect();
        let (items, seen) = read_items(shared, positions).await?;
        let cursor = seen.last().map_or(cursor, |last| last.number + 1);
        Ok(Offer { source: Source::Fresh { lane, cursor, version: Version(version) }, items })
    }

    /// Goes on behind an offer that was empty, without a change on the server.
    pub(super) fn pass(&mut self, offer: &Offer) {
        match &offer.source {
            Source::Fresh { lane, cursor, .. } => self.lanes[*lane as usize].cursor = *cursor,
            Source::Returned { name, .. } => self.returned.retain(|other| other != name),
        }
    }

    /// Waits until there may be something to claim: the next number of a lane is there, or a claim or record came or went.
    /// Or, where items wait for their time, a bucket is due.
    pub(super) async fn wait<C: Client + Clone + 'static>(
        &self,
        shared: &Shared<C>,
        session: &Session,
        passed: &Passed,
    ) -> Result<Wake, Error> {
        let (client, tree) = (&shared.client, &shared.tree);
        // All leave together. The next item has a name that is known, and that will come.
        let next = |(lane, seen): (usize, &Lane)| {
            client.exists_and_watch(&tree.item(Position { lane: lane as u32, number: seen.tail }))
        };
        let items: Vec<_> = self.lanes.iter().enumerate().map(next).chain(passed.next_items(client)).collect();
        let batches = client.children_and_watch(&tree.batches());
        let claims = client.children_and_watch(&tree.claims());
        let due = tree.due().map(|due| client.children_and_watch(due));
        let mut watches = Vec::with_capacity(items.len() + 3);
        for item in items {
            let (stat, watch) = match item.await {
                Err(Error::ConnectionLost) => return Ok(Wake::Changed),
                armed => armed?,
            };
            if stat.is_some() {
                return Ok(Wake::Changed);
            }
            watches.push(watch);
        }
        let ((batches, _), batches_watch) = match batches.await {
            Err(Error::ConnectionLost) => return Ok(Wake::Changed),
            armed => armed?,
        };
        let ((claims, _), claims_watch) = match claims.await {
            Err(Error::ConnectionLost) => return Ok(Wake::Changed),
            armed => armed?,
        };
        watches.extend([batches_watch, claims_watch]);
        let mut bucket = None;
        if let Some(due) = due {
            let ((names, _), watch) = match due.await {
                Err(Error::ConnectionLost) => return Ok(Wake::Changed),
                armed => armed?,
            };
            bucket = passed.earliest_of_others(&names);
            watches.push(watch);
        }
        if without_claim(batches, &claims) != self.returned {
            return Ok(Wake::Changed);
        }
        // A later session's watches would not end with the session that the place belongs to.
        if session.state() == SessionState::Lost {
            return Err(Error::SessionExpired);
        }
        wait_for_time(shared, bucket, watches).await
    }
}

/// What a record without a claim offers; `None` where it is gone, or none of ours.
async fn returned<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    name: &str,
    limit: usize,
) -> Result<Option<Offer>, Error> {
    let path = shared.tree.batches().child(name).map_err(|_| Error::Protocol("a child's name is not one".into()))?;
    let (data, stat) = match read(|| shared.client.get(&path)).await {
        Err(Error::Refused(_)) => return Ok(None),
        found => found?,
    };
    let Some(record) = Record::decode(&data, shared.tree.lanes().len()) else { return Ok(None) };
    let positions = record.0.iter().take(limit).map(|(position, attempts)| (*position, *attempts)).collect();
    let (items, seen) = read_items(shared, positions).await?;
    let source =
        Source::Returned { name: name.to_owned(), version: Version(stat.version), rest: record.without(&seen) };
    Ok(Some(Offer { source, items }))
}

/// The items that are there of these, and which were looked at before there was enough.
async fn read_items<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    positions: Vec<(Position, u32)>,
) -> Result<(Vec<Found>, Vec<Position>), Error> {
    let paths = positions.iter().map(|(position, _)| shared.tree.item(*position)).collect();
    let (found, looked_at) = read_until(&shared.client, paths, BATCH_BYTES).await?;
    let item = |(index, bytes)| {
        let (position, attempts): (Position, u32) = positions[index];
        Found { position, bytes, attempts }
    };
    let seen = positions[..looked_at].iter().map(|(position, _)| *position).collect();
    Ok((found.into_iter().map(item).collect(), seen))
}

/// The data of those nodes that are there, each with its index, until there is enough; and how many were looked at.
pub(super) async fn read_until<C: Client + Clone + 'static>(
    client: &C,
    paths: Vec<NodePath>,
    enough: usize,
) -> Result<(Vec<(usize, Bytes)>, usize), Error> {
    // All leave together.
    let reads: Vec<_> = paths.into_iter().map(|path| (client.get(&path), path)).collect();
    let (mut found, mut looked_at, mut length) = (Vec::with_capacity(reads.len()), 0, 0);
    for (index, (pending, path)) in reads.into_iter().enumerate() {
        let outcome = match pending.await {
            Err(Error::ConnectionLost) => read(|| client.get(&path)).await,
            first => first,
        };
        match outcome {
            Ok((bytes, _)) => {
                length += bytes.len();
                if length > enough && !found.is_empty() {
                    break;
                }
                found.push((index, bytes));
            }
            // Done before its consumer went, or removed by somebody else.
            Err(Error::Refused(Refusal::NoNode)) => {}
            Err(error) => return Err(error),
        }
        looked_at = index + 1;
    }
    Ok((found, looked_at))
}

impl<C: Client + Clone + 'static> Shared<C> {
    /// The next item, left where it is.
    pub(super) async fn peek(&self) -> Result<Option<Bytes>, Error> {
        let mut survey = match Survey::look(self, None).await {
            // Nobody has used the queue yet.
            Err(Error::Refused(Refusal::NoNode)) => return Ok(None),
            seen => seen?,
        };
        while let Some(offer) = survey.offer(self, 1).await? {
            match offer.items.first() {
                Some(item) => {
                    let content = Content::decode(&item.bytes).map(|content| content.data);
                    return Ok(Some(content.unwrap_or_else(|| item.bytes.clone())));
                }
                None => survey.pass(&offer),
            }
        }
        Ok(None)
    }
}
