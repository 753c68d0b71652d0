//! What the server is sent.

use std::time::Instant;

use herdless_core::{Error, Exists, GetChildren, GetData, NodePath, Refusal, Reply, Request, WatchKind};

use super::super::errand::Next;
use super::super::link::Link;
use super::{InFlight, Machine, Purpose};
use crate::codec::{OpCode, SetWatches, Writer, write_request, write_set_watches};
use crate::frame::MAX_FRAME;

/// SetWatches goes out in frames of at most this many bytes (`ClientCnxn.SET_WATCHES_MAX_LENGTH`), unless a single path
/// is longer.
const SET_WATCHES_BATCH: usize = 128 * 1024;
/// The length of a SetWatches without a path: header, zxid and three counts.
const SET_WATCHES_EMPTY: usize = 8 + 8 + 3 * 4;

impl<T, W: Clone + Default> Machine<T, W> {
    pub(super) fn advance_errand(&mut self, now: Instant, key: u64, outcome: Result<Reply, Error>) {
        let Some(session) = self.session.as_ref().map(|session| session.id) else {
            return;
        };
        let Some((errand, _)) = self.errands.get_mut(&key) else {
            return;
        };
        match errand.advance(session, &mut self.lists_ephemerals, outcome) {
            Next::Step => self.send_step(now, key),
            Next::Done(outcome) => self.end_errand(key, outcome),
        }
    }

    pub(super) fn end_errand(&mut self, key: u64, outcome: Result<Reply, Error>) {
        let Some((errand, token)) = self.errands.remove(&key) else {
            return;
        };
        self.answer(token, outcome, None);
        if errand.is_close() {
            self.finish();
        }
    }

    pub(super) fn send_step(&mut self, now: Instant, key: u64) {
        let Some((errand, _)) = self.errands.get(&key) else {
            return;
        };
        let current = self.session.as_ref().map(|session| session.id);
        if errand.session().is_some_and(|session| Some(session) != current) {
            return self.end_errand(key, Err(Error::SessionExpired));
        }
        match self.send(now, &errand.request()) {
            Ok((xid, opcode)) => {
                self.in_flight.push_back(InFlight { xid, opcode, sent: now, purpose: Purpose::Errand(key) });
            }
            Err(error) => self.end_errand(key, Err(error)),
        }
    }

    pub(super) fn send_user(&mut self, now: Instant, request: Request, token: T) -> Result<(), (T, Error)> {
        let current = self.session.as_ref().map(|session| session.id);
        if request.session().is_some_and(|session| Some(session) != current) {
            return Err((token, Error::SessionExpired));
        }
        match self.send(now, &request) {
            Ok((xid, opcode)) => {
                let watch = watched_path(&request);
                self.in_flight.push_back(InFlight { xid, opcode, sent: now, purpose: Purpose::User { token, watch } });
                Ok(())
            }
            Err(error) => Err((token, error)),
        }
    }

    pub(super) fn send(&mut self, now: Instant, request: &Request) -> Result<(i32, OpCode), Error> {
        let xid = if self.last_xid == i32::MAX { 1 } else { self.last_xid + 1 };
        let mut writer = Writer::frame(&mut self.out);
        let Some(opcode) = write_request(&mut writer, xid, request) else {
            writer.abort();
            return Err(Refusal::Unimplemented.into());
        };
        let length = writer.len();
        if length > MAX_FRAME {
            // The server would drop the connection, and every other request with it.
            writer.abort();
            return Err(Error::TooLarge { what: "request", length, limit: MAX_FRAME });
        }
        writer.finish();
        self.last_xid = xid;
        self.unsent += 1;
        self.counters.requests += 1;
        self.counters.bytes_out += 4 + length as u64;
        if let Link::Up(up) = &mut self.link {
            up.last_sent = now;
        }
        Ok((xid, opcode))
    }

    /// Sends the watches again that the last connection took with it. They go first: what has changed meanwhile fires
    /// before any reply that could reflect it.
    pub(super) fn rearm(&mut self) {
        let kinds = [WatchKind::Data, WatchKind::Exists, WatchKind::Children];
        let all: Vec<_> =
            kinds.iter().flat_map(|&kind| self.watches.paths(kind).map(move |path| (kind, path.clone()))).collect();
        let empty = SetWatches { relative_zxid: self.last_zxid, ..SetWatches::default() };
        let mut batch = empty.clone();
        let mut length = SET_WATCHES_EMPTY;
        for (kind, path) in all {
            let more = 4 + path.as_str().len();
            if length > SET_WATCHES_EMPTY && length + more > SET_WATCHES_BATCH {
                self.send_set_watches(&batch);
                batch = empty.clone();
                length = SET_WATCHES_EMPTY;
            }
            length += more;
            match kind {
                WatchKind::Data => &mut batch.data,
                WatchKind::Exists => &mut batch.exists,
                WatchKind::Children => &mut batch.children,
            }
            .push(path);
        }
        if length > SET_WATCHES_EMPTY {
            self.send_set_watches(&batch);
        }
    }

    pub(super) fn send_set_watches(&mut self, batch: &SetWatches) {
        self.counters.requests += 1;
        self.write_frame(|w| write_set_watches(w, batch));
    }

    pub(super) fn write_frame(&mut self, fill: impl FnOnce(&mut Writer<'_>)) {
        // Handshakes, pings, watches: the session depends on them.
        self.is_urgent = true;
        let mut writer = Writer::frame(&mut self.out);
        fill(&mut writer);
        self.counters.bytes_out += 4 + writer.len() as u64;
        writer.finish();
    }
}

fn watched_path(request: &Request) -> Option<NodePath> {
    match request {
        Request::Exists(Exists { path, watch: true })
        | Request::GetData(GetData { path, watch: true })
        | Request::GetChildren(GetChildren { path, watch: true }) => Some(path.clone()),
        _ => None,
    }
}
