//! Options of queues in the layouts of others.

use std::fmt;
use std::sync::Arc;

use herdless_core::{Acl, Client, NodePath};

use super::{ForeignQueue, ForeignQueueLayout};

/// Options of a [`ForeignQueue`].
#[derive(Clone)]
pub struct ForeignQueueBuilder<C> {
    pub(super) client: C,
    pub(super) path: NodePath,
    pub(super) layout: ForeignQueueLayout,
    pub(super) acl: Arc<[Acl]>,
    pub(super) receipts: NodePath,
}

impl<C: Client + Clone + 'static> ForeignQueueBuilder<C> {
    /// The access control list of the nodes that are made. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// Where the receipts are, in a container that the server removes when it is empty. The default is beside the queue,
    /// `<path>-receipts`. Another place is needed where all children of the queue's parent are taken for queues, as by
    /// Curator's `QueueSharder`. It must not be in the queue.
    pub fn receipts(mut self, directory: NodePath) -> Self {
        self.receipts = directory;
        self
    }

    /// The queue.
    pub fn build(self) -> ForeignQueue<C> {
        let Self { client, path, layout, acl, receipts } = self;
        let (skipped, watch, names, items, is_taking) = Default::default();
        ForeignQueue { client, path, layout, acl, receipts, skipped, watch, names, items, is_taking }
    }
}

impl<C> fmt::Debug for ForeignQueueBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ForeignQueueBuilder");
        debug.field("path", &self.path).field("layout", &self.layout).field("receipts", &self.receipts);
        debug.finish_non_exhaustive()
    }
}
