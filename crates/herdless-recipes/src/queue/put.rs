//! Putting items.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{Client, ClientExt, CreateMode, Error, MultiOp, NodePath, Refusal};

use super::format::Content;
use super::shared::{Shared, first_of};
use crate::contend::{Place, read};
use crate::receipt::once;

/// The bytes of items that one transaction holds, unless its only item is larger.
const CHUNK_BYTES: usize = 256 * 1024;

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// There is an item of this id.
    Known,
    Full,
}

impl<C: Client + Clone + 'static> Shared<C> {
    /// Submits the item at the call; with a bound, when the future is first polled.
    pub(super) fn put(
        self: &Arc<Self>,
        lane: u32,
        data: Bytes,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<C> {
        let encoded = Content::encode(None, &data);
        let shared = self.clone();
        let first = match (&encoded, self.capacity) {
            (Ok(bytes), None) => {
                self.make_once();
                Some(self.client.call(self.item(lane, bytes)))
            }
            _ => None,
        };
        async move {
            let bytes = encoded?;
            let Some(first) = first else {
                return shared.put_in_line(vec![shared.item_op(lane, bytes)], true).await.map(drop);
            };
            match first.await {
                // Somebody removed the queue since this handle made it.
                Err(Error::Refused(Refusal::NoNode)) => {
                    shared.tree.make_again(&shared.client).await?;
                    shared.client.call(shared.item(lane, &bytes)).await.map(drop)
                }
                outcome => outcome.map(drop),
            }
        }
    }

    fn item(&self, lane: u32, bytes: &Bytes) -> herdless_core::Create {
        self.tree.append(&self.tree.lanes()[lane as usize], bytes.clone())
    }

    pub(super) fn item_op(&self, lane: u32, bytes: Bytes) -> MultiOp {
        MultiOp::Create(self.item(lane, &bytes))
    }

    /// Puts many, several in each transaction.
    pub(super) async fn put_all(&self, lane: u32, items: Vec<Bytes>) -> Result<(), Error> {
        self.make_once();
        let limit = match self.capacity {
            Some(_) => 1,
            None => self.tree.operations_limit(),
        };
        let (mut chunk, mut length) = (Vec::new(), 0);
        let encoded = items.iter().map(|data| Content::encode(None, data)).collect::<Result<Vec<_>, _>>()?;
        for bytes in encoded {
            if !chunk.is_empty() && (chunk.len() == limit || length + bytes.len() > CHUNK_BYTES) {
                self.put_chunk(std::mem::take(&mut chunk)).await?;
                length = 0;
            }
            length += bytes.len();
            chunk.push(self.item_op(lane, bytes));
        }
        if chunk.is_empty() { Ok(()) } else { self.put_chunk(chunk).await }
    }

    async fn put_chunk(&self, operations: Vec<MultiOp>) -> Result<(), Error> {
        if self.capacity.is_some() {
            return self.put_in_line(operations, true).await.map(drop);
        }
        let mut was_missing = false;
        loop {
            match self.client.multi(operations.clone()).await {
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if !was_missing => {
                    was_missing = true;
                    self.tree.make_again(&self.client).await?;
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Puts an item if there is room, and nobody waits for it.
    pub(super) async fn try_put(&self, lane: u32, data: &Bytes) -> Result<bool, Error> {
        let bytes = Content::encode(None, data)?;
        if self.capacity.is_none() {
            self.make_once();
            return self.put_chunk(vec![self.item_op(lane, bytes)]).await.map(|()| true);
        }
        // All reads leave together.
        let line = self.client.exists(self.putters.directory());
        let is_full = self.is_full().await?;
        let line = match line.await {
            Err(Error::ConnectionLost) => read(|| self.client.exists(self.putters.directory())).await?,
            first => first?,
        };
        if is_full || line.is_some_and(|stat| stat.num_children > 0) {
            return Ok(false);
        }
        Ok(self.put_in_line(vec![self.item_op(lane, bytes)], false).await? == Put::Done)
    }

    /// Puts an item unless one of this id is there.
    pub(super) async fn put_once(&self, lane: u32, id: &str, data: &Bytes) -> Result<Put, Error> {
        let bytes = Content::encode(Some(id), data)?;
        let marker = self.tree.ids().child(id).map_err(|error| Error::invalid(error.to_string()))?;
        self.make_once();
        if self.capacity.is_some() {
            let mark = self.tree.create_op(marker, Bytes::new(), CreateMode::Persistent);
            return self.put_in_line(vec![mark, self.item_op(lane, bytes)], true).await;
        }
        let mark = Bytes::from(self.client.session().next_attempt().to_string());
        let put =
            [self.tree.create_op(marker.clone(), mark.clone(), CreateMode::Persistent), self.item_op(lane, bytes)];
        let mut was_missing = false;
        loop {
            match once(&self.client, &self.tree.receipts(), &self.tree.acl, &put, &[]).await {
                Ok(()) => return Ok(Put::Done),
                Err(Error::MultiRefused { index: 0, refusal: Refusal::NodeExists }) => return Ok(Put::Known),
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) if !was_missing => {
                    was_missing = true;
                    self.tree.make_again(&self.client).await?;
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(Error::SessionExpired) => return self.look_for_marker(&marker, &mark).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// The session ended with the receipt: as long as the item is there, the marker tells who put it.
    async fn look_for_marker(&self, marker: &NodePath, mark: &Bytes) -> Result<Put, Error> {
        match read(|| self.client.get(marker)).await {
            Ok((data, _)) if data == *mark => Ok(Put::Done),
            Ok(_) | Err(Error::Refused(Refusal::NoNode)) => Err(Error::SessionExpired),
            Err(error) => Err(error),
        }
    }

    /// Puts one item of a bounded queue: only the first in the line of producers looks for room, and it leaves the line in
    /// the change that puts. So the bound is strict.
    pub(super) async fn put_in_line(&self, operations: Vec<MultiOp>, wait: bool) -> Result<Put, Error> {
        self.make_once();
        let mut was_missing = false;
        loop {
            let (place, _) = self.stand_in_line(&self.putters, |_| ()).await?;
            match self.put_as_head(place, &operations, wait).await {
                Ok(Some(put)) => return Ok(put),
                Ok(None) => {}
                Err(Error::Refused(Refusal::NoNode)) if !was_missing => {
                    was_missing = true;
                    self.tree.make_again(&self.client).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `None` where the place is gone without the put.
    async fn put_as_head(&self, place: Place<C>, operations: &[MultiOp], wait: bool) -> Result<Option<Put>, Error> {
        loop {
            if self.is_full().await? {
                if !wait {
                    return Ok(Some(Put::Full));
                }
                match self.wait_for_room(&place).await {
                    Err(Error::SessionExpired) => return Ok(None),
                    waited => waited?,
                }
                continue;
            }
            // What is not sent has not happened. What was sent when the session ended may have.
            if place.check_session().is_err() {
                return Ok(None);
            }
            let mut transaction = place.departure().to_vec();
            let departure = transaction.len();
            transaction.extend_from_slice(operations);
            match place.multi(transaction).await {
                Ok(_) => {
                    place.has_left();
                    return Ok(Some(Put::Done));
                }
                Err(Error::ConnectionLost | Error::Uncertain(_)) => {
                    if self.has_departed(&place).await? {
                        place.has_left();
                        return Ok(Some(Put::Done));
                    }
                    place.has_stayed();
                }
                Err(Error::MultiRefused { index, refusal: Refusal::NoNode }) if index < departure => {
                    place.has_left();
                    return Ok(None);
                }
                Err(Error::MultiRefused { refusal: Refusal::NodeExists, .. }) => {
                    place.has_stayed();
                    return Ok(Some(Put::Known));
                }
                Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                Err(error) => return Err(error),
            }
        }
    }

    /// How many items there are, claimed ones included.
    pub(super) async fn len(&self) -> Result<u64, Error> {
        // All leave together.
        let lanes: Vec<_> = self.tree.lanes().iter().map(|lane| (self.client.exists(lane), lane)).collect();
        let mut items = 0;
        for (pending, lane) in lanes {
            let stat = match pending.await {
                Err(Error::ConnectionLost) => read(|| self.client.exists(lane)).await?,
                first => first?,
            };
            items += stat.map_or(0, |stat| u64::try_from(stat.num_children).unwrap_or(0));
        }
        Ok(items)
    }

    pub(super) async fn is_full(&self) -> Result<bool, Error> {
        match self.capacity {
            Some(capacity) => Ok(self.len().await? >= u64::from(capacity)),
            None => Ok(false),
        }
    }

    /// Waits until there may be room: a claim is done, or items were removed.
    async fn wait_for_room(&self, place: &Place<C>) -> Result<(), Error> {
        let batches = self.client.children_and_watch(&self.tree.batches());
        let lanes: Vec<_> = self.tree.lanes().iter().map(|lane| self.client.get_and_watch(lane)).collect();
        let mut watches = Vec::with_capacity(lanes.len() + 1);
        match batches.await {
            Err(Error::ConnectionLost) => return Ok(()),
            armed => watches.push(armed?.1),
        }
        let mut items = 0;
        for lane in lanes {
            let ((_, stat), watch) = match lane.await {
                Err(Error::ConnectionLost) => return Ok(()),
                armed => armed?,
            };
            items += u64::try_from(stat.num_children).unwrap_or(0);
            watches.push(watch);
        }
        if self.capacity.is_some_and(|capacity| items < u64::from(capacity)) {
            return Ok(());
        }
        // A later session's watches would not end with the session that the place belongs to.
        if !place.session().is_valid() {
            return Err(Error::SessionExpired);
        }
        first_of(watches).await
    }
}
