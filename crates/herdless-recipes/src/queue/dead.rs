//! Items that were put aside.

use bytes::Bytes;
use herdless_core::{Client, ClientExt, Error, MultiOp, NodePath, Refusal, Version};

use super::format::Content;
use super::shared::Shared;
use crate::contend::read;

/// An item that was put aside: it was handed out too often, or it is none of the queue's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its node.
    pub path: NodePath,
    /// What was put. Where it was none of the queue's items, all that its node held.
    pub data: Bytes,
    /// The id that it was put with, if any: until it is discarded, no other item of the id is put.
    pub id: Option<String>,
    /// As it was in the queue.
    bytes: Bytes,
}

impl<C: Client + Clone + 'static> Shared<C> {
    pub(super) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        let directory = self.tree.dead();
        let mut names = match read(|| self.client.children(&directory)).await {
            Err(Error::Refused(Refusal::NoNode)) => return Ok(Vec::new()),
            listed => listed?.0,
        };
        names.sort_unstable();
        let paths = names.iter().filter_map(|name| directory.child(name).ok());
        // All reads leave together.
        let reads: Vec<_> = paths.map(|path| (self.client.get(&path), path)).collect();
        let mut letters = Vec::with_capacity(reads.len());
        for (pending, path) in reads {
            let outcome = match pending.await {
                Err(Error::ConnectionLost) => read(|| self.client.get(&path)).await,
                first => first,
            };
            let bytes = match outcome {
                Err(Error::Refused(Refusal::NoNode)) => continue,
                found => found?.0,
            };
            let Content { id, data } = Content::decode(&bytes).unwrap_or(Content { id: None, data: bytes.clone() });
            letters.push(DeadLetter { path, data, id, bytes });
        }
        Ok(letters)
    }

    pub(super) async fn requeue(&self, lane: u32, letter: &DeadLetter) -> Result<bool, Error> {
        // What was no item becomes one.
        let bytes = match Content::decode(&letter.bytes) {
            Some(_) => letter.bytes.clone(),
            None => Content::encode(None, &letter.bytes)?,
        };
        self.remove_letter(letter, vec![self.item_op(lane, bytes)]).await
    }

    pub(super) async fn discard(&self, letter: &DeadLetter) -> Result<bool, Error> {
        let marker = letter.id.as_deref().and_then(|id| self.tree.ids().child(id).ok());
        let marker = marker.map(|marker| MultiOp::delete(&marker, Version::ANY));
        match self.remove_letter(letter, marker.into_iter().collect()).await {
            // The marker is gone already.
            Err(Error::MultiRefused { .. }) => self.remove_letter(letter, Vec::new()).await,
            outcome => outcome,
        }
    }

    /// Whether the letter was there.
    async fn remove_letter(&self, letter: &DeadLetter, rest: Vec<MultiOp>) -> Result<bool, Error> {
        let mut operations = vec![MultiOp::delete(&letter.path, Version::ANY)];
        operations.extend(rest);
        match self.client.multi(operations).await {
            Ok(_) => Ok(true),
            Err(Error::MultiRefused { index: 0, refusal: Refusal::NoNode }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
