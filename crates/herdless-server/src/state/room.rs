//! Who gets in, and what is held for those who are in.

use std::net::SocketAddr;

use bytes::BytesMut;
use herdless_core::AddWatchMode;
use herdless_proto::codec::SetWatches;
use tokio::time::Instant;

use super::{Link, Reason, State, Wakers};
use crate::usage::Usage;

/// So much each connection may have, however many there are.
const FLOOR: usize = 16 * 1024;

/// So many bytes of memory a connection's buffer may keep when it is empty.
const KEPT: usize = 64 * 1024;

/// With so many bytes unsent, no further request of a connection is carried out.
const SEND_FIRST: usize = 1 << 20;

/// Gives the memory of an empty buffer back that held so many bytes, where that were many: most connections are idle.
pub(super) fn shrink(buffer: &mut BytesMut, held: usize) {
    if buffer.is_empty() && held > KEPT {
        *buffer = BytesMut::new();
    }
}

/// What is held for one connection, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// Received, and no whole request yet.
    pub(super) reading: usize,
    /// On its way to the socket, the part included that is sent already: its memory comes free as one.
    pub(super) writing: usize,
    /// All of it, as it was last counted.
    counted: usize,
}

impl Link {
    /// Whether so many bytes are ready to be sent; with nothing ready there is always room for one reply.
    pub(super) fn has_ready(&mut self, most: usize) -> bool {
        let ready = self.machine.transmit().len();
        ready > 0 && ready >= most
    }
}

impl State {
    /// Whether there is room for one more connection.
    pub(super) fn admits(&mut self, peer: SocketAddr) -> bool {
        let address = peer.ip();
        let count = self.addresses.get(&address).copied().unwrap_or(0);
        let reason = if self.links.len() >= self.settings.limits.connections {
            Reason::Connections
        } else if count >= self.settings.limits.connections_from(address) {
            Reason::Address
        } else {
            self.addresses.insert(address, count + 1);
            return true;
        };
        self.refuse(reason, Some(peer));
        false
    }

    /// A connection is gone, and what was held for it.
    pub(super) fn make_room(&mut self, link: &Link) {
        self.buffered -= link.load.counted;
        let address = link.peer.ip();
        if let Some(count) = self.addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    /// Counts somebody who is turned away or let go.
    pub(crate) fn refuse(&mut self, reason: Reason, peer: Option<SocketAddr>) {
        self.meter.turned(reason);
        self.refusals.note(reason, peer.map(|peer| peer.ip()), Instant::now());
    }

    /// The client of this connection took too long.
    pub(crate) fn give_up(&mut self, id: u64, reason: Reason) {
        let peer = self.links.get(&id).map(|link| link.peer);
        self.refuse(reason, peer);
    }

    /// Counts anew what is held for a connection.
    pub(super) fn settle(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let now = link.load.reading
            + link.load.writing
            + link.held.ready()
            + link.suffering.late()
            + link.machine.transmit().len();
        self.buffered = self.buffered - link.load.counted + now;
        self.most_buffered = self.most_buffered.max(self.buffered);
        link.load.counted = now;
    }

    /// With so many bytes unsent no further request of a connection is carried out: less, where there is little room for all.
    pub(super) fn most_ready(&self) -> usize {
        SEND_FIRST.min(self.settings.limits.buffered.saturating_sub(self.buffered))
    }

    /// Whether nothing more is to be read from a connection, as its replies wait for the disk. Those that do not are on their way.
    pub(super) fn is_full(&mut self, id: u64) -> bool {
        let (most, outstanding) = (self.most_ready(), self.settings.limits.outstanding_per_connection);
        let link = self.links.get_mut(&id).filter(|link| !link.held.is_empty());
        link.is_some_and(|link| link.held.replies() >= outstanding || link.has_ready(most))
    }

    /// Lets a connection go for which more is held than there is room: more than what all may still have. So the sum stays below
    /// the limit without a look at the others, and those who hold little are the last to feel that many hold much.
    pub(super) fn expect_room(&mut self, id: u64, wakers: &mut Wakers) {
        let room = self.settings.limits.buffered.saturating_sub(self.buffered).max(FLOOR);
        if self.links.get(&id).is_some_and(|link| link.load.counted > room) {
            self.let_go(id, Reason::Slow, wakers);
        }
    }

    /// The same for a connection whose events have just come to what waits.
    pub(super) fn expect_room_for_events(&mut self, id: u64, wakers: &mut Wakers) {
        self.settle(id);
        let is_too_far_behind = |link: &Link| link.load.counted > self.settings.limits.unsent;
        match self.links.get(&id).is_some_and(is_too_far_behind) {
            true => self.let_go(id, Reason::Slow, wakers),
            false => self.expect_room(id, wakers),
        }
    }

    /// Closes a connection, and drops what it has not been sent.
    pub(super) fn let_go(&mut self, id: u64, reason: Reason, wakers: &mut Wakers) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.is_cut) else {
            return;
        };
        link.is_cut = true;
        *link.machine.transmit() = BytesMut::new();
        wakers.0.extend(link.waker.take());
        let peer = link.peer;
        self.settle(id);
        self.refuse(reason, Some(peer));
    }

    /// Whether these watches may be re-armed, one and all. A client does not look at the reply: it would believe that it has them.
    pub(super) fn has_room_to_rearm(&self, id: u64, watches: &SetWatches) -> bool {
        let once = watches.iter().map(|(_, path)| (1, path.as_str().len()));
        let staying = watches.staying().map(|(mode, path)| {
            let kinds = if mode == AddWatchMode::Persistent { 2 } else { 1 };
            (kinds, kinds * path.as_str().len())
        });
        let (count, bytes) = once.chain(staying).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let session = self.links.get(&id).and_then(|link| link.session);
        session.is_some_and(|session| self.tree.has_room_for_watches(session, count, bytes))
    }

    /// How much is held, from counters.
    pub(crate) fn usage(&self) -> Usage {
        let tree = self.tree.holding();
        Usage {
            connections: self.links.len(),
            sessions: self.sessions.len(),
            watches: tree.watches,
            nodes: tree.nodes,
            bytes: tree.bytes,
            buffered: self.buffered,
            most_buffered: self.most_buffered,
            refused: self.refusals.counts,
        }
    }
}
