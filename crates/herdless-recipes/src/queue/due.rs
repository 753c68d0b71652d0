//! Items that wait for their time, and how they come into the queue.
//!
//! They are in buckets, one for each due time, each with numbers and a cursor of its own as a lane. The first in the line of
//! consumers moves them to the lane: out of the one and into the other in one change, which is carried out only while its
//! place is there. So everything behind that is the ordinary queue.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use herdless_core::{
    Call, Client, ClientExt, Create, CreateMode, Error, Exists, MultiOp, NodePath, Refusal, Stat, Time, Version, Watch,
    Watched,
};

use super::format::{decode_cursor, encode_cursor};
use super::head::{Asked, read_until};
use super::shared::{Shared, first_of};
use super::tree::{below, item_in, next_number};
use crate::contend::{Place, read};
use crate::parents;

/// How many items are moved at once, at most. All are read together, and each may have a megabyte.
const ITEMS: usize = 64;
/// The bytes that are moved at once, unless the first item is larger.
const BYTES: usize = 256 * 1024;

/// A bucket: when its items are due, in milliseconds since 1970, and its directory.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    due: u64,
    path: NodePath,
}

/// Why a wait ended.
pub(super) enum Wake {
    Changed,
    Due(Bucket),
}

/// How an attempt to move the items of a bucket ended.
pub(super) enum Brought {
    /// They may have been moved, or something has changed. With a look at the queue that was sent behind it.
    Looked(Option<Box<Asked>>),
    /// There are nodes of others in the bucket, and behind the items before this number no item.
    Passed(u32),
    /// The place in the line is gone: it is no longer our turn.
    Deposed,
}

/// Buckets that are due and cannot be removed, each with the number of its next item.
#[derive(Default)]
pub(super) struct Passed(BTreeMap<u64, (Bucket, u32)>);

impl Bucket {
    fn new(directory: &NodePath, due: u64) -> Self {
        Self { due, path: below(directory, &bucket_name(due)) }
    }
}

/// Names sort by time until the year 2286; whoever reads them goes by the number.
fn bucket_name(due: u64) -> String {
    format!("{due:013}")
}

/// `None` for what is not a bucket's name.
fn due_of(name: &str) -> Option<u64> {
    let due = name.parse().ok()?;
    (bucket_name(due) == name).then_some(due)
}

impl Passed {
    pub(super) fn pass(&mut self, bucket: Bucket, next: u32) {
        self.0.insert(bucket.due, (bucket, next));
    }

    /// Leaves a watch on the next item of each.
    pub(super) fn next_items<C: Client>(&self, client: &C) -> Vec<Call<Watched<Exists>>> {
        self.0.values().map(|(bucket, next)| client.exists_and_watch(&item_in(&bucket.path, *next))).collect()
    }

    /// The due time of the earliest bucket that was not passed.
    pub(super) fn earliest_of_others(&self, names: &[String]) -> Option<u64> {
        names.iter().filter_map(|name| due_of(name)).filter(|due| !self.0.contains_key(due)).min()
    }
}

/// Waits for a watch, or until a bucket is due.
pub(super) async fn wait_for_time<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    earliest: Option<u64>,
    watches: Vec<Watch>,
) -> Result<Wake, Error> {
    let timer = earliest.zip(shared.tree.due()).zip(shared.time.as_deref());
    let Some(((due, directory), time)) = timer else { return first_of(watches).await.map(|()| Wake::Changed) };
    let (mut changed, mut reached) = (pin!(first_of(watches)), pin!(reach(time, due)));
    poll_fn(|cx| {
        if reached.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(Wake::Due(Bucket::new(directory, due))));
        }
        changed.as_mut().poll(cx).map_ok(|()| Wake::Changed)
    })
    .await
}

async fn reach(time: &dyn Time, due: u64) {
    loop {
        // The wall clock may have been set back meanwhile, so it is asked again behind each sleep.
        let now = time.unix_millis();
        if now >= due {
            return;
        }
        let sleep = time.sleep(Duration::from_millis(due - now));
        // Where time passed before the sleep began, it would end as much too late.
        if time.unix_millis() == now {
            sleep.await;
        }
    }
}

/// Moves the next items of a bucket that is due to the end of the lane, and removes the bucket with its last item.
///
/// 3 round trips, together with the next look at the queue.
pub(super) async fn bring<C: Client + Clone + 'static>(
    shared: &Shared<C>,
    place: &Place<C>,
    bucket: &Bucket,
) -> Result<Brought, Error> {
    let (client, tree) = (&shared.client, &shared.tree);
    let (data, stat) = match read(|| client.get(&bucket.path)).await {
        Err(Error::Refused(Refusal::NoNode)) => return Ok(Brought::Looked(None)),
        found => found?,
    };
    let (cursor, tail) = (decode_cursor(&bucket.path, &data)?, next_number(&stat));
    if cursor >= tail && stat.num_children > 0 {
        return Ok(Brought::Passed(tail));
    }
    // Two operations for each.
    let limit = ITEMS.min(tree.operations_limit() / 2).max(1) as u32;
    let numbers = cursor..tail.max(cursor).min(cursor.saturating_add(limit));
    let paths: Vec<_> = numbers.map(|number| item_in(&bucket.path, number)).collect();
    let (found, looked_at) = read_until(client, paths.clone(), BYTES).await?;

    let mut operations = vec![MultiOp::check(place.path(), Version::ANY)];
    for (index, bytes) in &found {
        operations.push(MultiOp::delete(&paths[*index], Version::ANY));
        operations.push(MultiOp::Create(tree.append(&tree.lanes()[0], bytes.clone())));
    }
    operations.push(rest(bucket, &stat, cursor + looked_at as u32, tail, found.len()));
    let moved = place.multi(operations);
    let behind = Asked::ask(client, tree);
    match moved.await {
        Ok(_) => Ok(Brought::Looked(Some(Box::new(behind)))),
        Err(Error::ConnectionLost | Error::Uncertain(_)) => {
            settle(client, &bucket.path).await?;
            Ok(Brought::Looked(None))
        }
        Err(Error::MultiRefused { index: 0, refusal: Refusal::NoNode }) => Ok(Brought::Deposed),
        // Somebody removed an item, or put another one into the bucket.
        Err(Error::MultiRefused { refusal: Refusal::NoNode | Refusal::BadVersion | Refusal::NotEmpty, .. }) => {
            Ok(Brought::Looked(Some(Box::new(behind))))
        }
        Err(Error::MultiRefused { refusal, .. }) => Err(Error::Refused(refusal)),
        Err(error) => Err(error),
    }
}

/// What becomes of a bucket out of which `moved` items go, everything before `cursor`.
fn rest(bucket: &Bucket, stat: &Stat, cursor: u32, tail: u32, moved: usize) -> MultiOp {
    let version = Version(stat.version);
    match cursor >= tail && usize::try_from(stat.num_children) == Ok(moved) {
        true => MultiOp::delete(&bucket.path, version),
        false => MultiOp::set(&bucket.path, encode_cursor(cursor), version),
    }
}

/// A bucket may be removed and made again with the same numbers. After a lost reply a server that lags could still show the
/// old one, and its items would be moved again in the place of the new ones.
async fn settle<C: Client>(client: &C, path: &NodePath) -> Result<(), Error> {
    loop {
        match client.settle(path).await {
            Err(Error::ConnectionLost) => {}
            outcome => return outcome,
        }
    }
}

/// Where an item is put that is due then.
pub(super) struct Slot {
    bucket: NodePath,
    item: Create,
}

impl<C: Client + Clone + 'static> Shared<C> {
    pub(super) fn slot(&self, due: u64, bytes: Bytes) -> Slot {
        let directory = self.tree.due().expect("a queue with due times has the directory");
        let Bucket { path: bucket, .. } = Bucket::new(directory, due);
        Slot { item: self.tree.append(&bucket, bytes), bucket }
    }

    /// Submits an item; in front of it, in the same round trip, its bucket, unless that is likely to be there.
    pub(super) fn submit_due(&self, slot: &Slot, is_known: bool) -> Call<Create> {
        self.make_once();
        if !is_known {
            drop(self.client.call(self.tree.create(slot.bucket.clone(), Bytes::new(), CreateMode::Persistent)));
        }
        self.client.call(slot.item.clone())
    }

    /// Waits for an item that was submitted. Where it was refused because the bucket was removed, with its last item, it is
    /// put again: each time that happens others have got on.
    pub(super) async fn finish_due(&self, slot: Slot, first: Call<Create>) -> Result<(), Error> {
        let (mut submitted, mut missing) = (first, 0);
        loop {
            match submitted.await {
                Err(Error::Refused(Refusal::NoNode)) => {}
                outcome => return outcome.map(drop),
            }
            // Together, so that the bucket is not found empty and removed.
            let bucket = self.tree.create_op(slot.bucket.clone(), Bytes::new(), CreateMode::Persistent);
            match self.client.multi(vec![bucket, MultiOp::Create(slot.item.clone())]).await {
                Err(Error::MultiRefused { refusal: Refusal::NodeExists, .. }) => {}
                // Somebody removed the queue since this handle made it.
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if missing < parents::ATTEMPTS => {
                    missing += 1;
                    self.tree.make_again(&self.client).await?;
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                outcome => return outcome.map(drop),
            }
            submitted = self.client.call(slot.item.clone());
        }
    }

    /// How many items wait for their time, or for being moved.
    pub(super) async fn len_due(&self) -> Result<u64, Error> {
        let Some(directory) = self.tree.due() else { return Ok(0) };
        let names = match read(|| self.client.children(directory)).await {
            Err(Error::Refused(Refusal::NoNode)) => return Ok(0),
            listed => listed?.0,
        };
        let buckets = names.iter().filter_map(|name| due_of(name)).map(|due| Bucket::new(directory, due).path);
        // All leave together.
        let reads: Vec<_> = buckets.map(|path| (self.client.exists(&path), path)).collect();
        let mut items = 0;
        for (pending, path) in reads {
            let stat = match pending.await {
                Err(Error::ConnectionLost) => read(|| self.client.exists(&path)).await?,
                first => first?,
            };
            items += stat.map_or(0, |stat| u64::try_from(stat.num_children).unwrap_or(0));
        }
        Ok(items)
    }
}

/// Due times in whole steps, later rather than sooner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granularity(u64);

impl Granularity {
    pub(super) fn new(step: Duration) -> Result<Self, Error> {
        match u64::try_from(step.as_millis()) {
            Ok(0) => Err(Error::invalid("a granularity of less than a millisecond")),
            Ok(millis) => Ok(Self(millis)),
            Err(_) => Err(Error::invalid("a granularity without end")),
        }
    }

    pub(super) fn round_up(self, due: u64) -> Result<u64, Error> {
        due.checked_next_multiple_of(self.0).ok_or_else(never)
    }
}

/// The due time of what is put now.
pub(super) fn due_after(time: &dyn Time, delay: Duration) -> Result<u64, Error> {
    let millis = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).map_err(|_| never())?;
    time.unix_millis().checked_add(millis).ok_or_else(never)
}

fn never() -> Error {
    Error::invalid("a due time without end")
}

/// The clock of a queue, of whatever kind.
pub(super) fn clock<T: Time + 'static>(time: &Arc<T>) -> Arc<dyn Time> {
    time.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_those_of_others_are_none() {
        assert_eq!(due_of(&bucket_name(7)), Some(7));
        assert!(bucket_name(999_999_999_999) < bucket_name(1_000_000_000_000));
        assert_eq!(due_of(&bucket_name(u64::MAX)), Some(u64::MAX));
        for other in ["", "config", "7", "+000000000007", "00000000000007", "99999999999999999999"] {
            assert_eq!(due_of(other), None, "{other}");
        }
    }

    #[test]
    fn due_times_are_rounded_up() {
        let granularity = Granularity::new(Duration::from_secs(1)).unwrap();
        for (due, rounded) in [(0, 0), (1, 1000), (1000, 1000), (1001, 2000)] {
            assert_eq!(granularity.round_up(due), Ok(rounded));
        }
        assert!(matches!(granularity.round_up(u64::MAX), Err(Error::Invalid(_))));
        assert!(Granularity::new(Duration::from_micros(999)).is_err());
        assert!(Granularity::new(Duration::MAX).is_err());
    }
}
