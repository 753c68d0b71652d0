//! What the server is sent.

use std::time::Instant;

use herdless_core::{AddWatchMode, Error, Exists, GetChildren, GetData, NodePath, Refusal, Reply, Request, WatchKind};

use super::super::errand::Next;
use super::super::link::Link;
use super::{InFlight, Machine, Purpose, WatchAsked};
use crate::codec::{OpCode, SetWatches, Writer, write_request, write_set_watches};
use crate::frame::MAX_FRAME;

/// SetWatches goes out in frames of at most this many bytes (`ClientCnxn.SET_WATCHES_MAX_LENGTH`), unless a single path
/// is longer.
const SET_WATCHES_BATCH: usize = 128 * 1024;
/// The length of a SetWatches without a path: header, zxid and five counts.
const SET_WATCHES_EMPTY: usize = 8 + 8 + 5 * 4;

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
            Next::Later => self.put_off(now, key),
            Next::Done(outcome) => self.end_errand(now, key, outcome),
        }
    }

    pub(super) fn end_errand(&mut self, now: Instant, key: u64, outcome: Result<Reply, Error>) {
        let Some((errand, token)) = self.errands.remove(&key) else {
            return;
        };
        self.answer(token, outcome);
        if errand.is_close() {
            self.finish();
        } else if self.resumption.ended(key) {
            self.resume_errands(now);
        }
    }

    pub(super) fn send_step(&mut self, now: Instant, key: u64) {
        let Some((errand, _)) = self.errands.get(&key) else {
            return;
        };
        let current = self.session.as_ref().map(|session| session.id);
        if errand.session().is_some_and(|session| Some(session) != current) {
            return self.end_errand(now, key, Err(Error::SessionExpired));
        }
        match self.send(now, &errand.request()) {
            Ok((xid, opcode)) => {
                self.in_flight.push_back(InFlight { xid, opcode, sent: now, purpose: Purpose::Errand(key) });
            }
            Err(error) => self.end_errand(now, key, Err(error)),
        }
    }

    pub(super) fn send_user(
        &mut self,
        now: Instant,
        mut request: Request,
        token: T,
        due: Option<Instant>,
    ) -> Result<(), (T, Error)> {
        let current = self.session.as_ref().map(|session| session.id);
        if request.session().is_some_and(|session| Some(session) != current) {
            return Err((token, Error::SessionExpired));
        }
        let watch = self.ask_for_watch(&mut request);
        match self.send(now, &request) {
            Ok((xid, opcode)) => {
                if let WatchAsked::Staying(asked) = &watch {
                    self.streams.sent(asked);
                }
                let purpose = Purpose::User { token, watch, due };
                self.in_flight.push_back(InFlight { xid, opcode, sent: now, purpose });
                Ok(())
            }
            Err(error) => Err((token, error)),
        }
    }

    /// What the reply has to do with watches. A read leaves none on the server where one that stays is.
    fn ask_for_watch(&self, request: &mut Request) -> WatchAsked {
        let (path, watch) = match request {
            Request::Exists(Exists { path, watch })
            | Request::GetData(GetData { path, watch })
            | Request::GetChildren(GetChildren { path, watch }) => (path, watch),
            Request::AddWatch(add) => return WatchAsked::Staying(self.ask_for_stream(add)),
            Request::RemoveWatches(removal) => return WatchAsked::Removal(removal.clone()),
            _ => return WatchAsked::Nothing,
        };
        if !*watch {
            return WatchAsked::Nothing;
        }
        let is_covered = self.streams.cover(path);
        *watch = !is_covered;
        WatchAsked::Once { path: path.clone(), is_covered }
    }

    pub(super) fn send(&mut self, now: Instant, request: &Request) -> Result<(i32, OpCode), Error> {
        let xid = self.next_xid();
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

    /// Numbers below 1 are taken.
    pub(super) fn next_xid(&self) -> i32 {
        if self.last_xid == i32::MAX { 1 } else { self.last_xid + 1 }
    }

    /// Sends the watches again that the last connection took with it. They go first: what has changed meanwhile fires
    /// before any reply that could reflect it.
    pub(super) fn rearm(&mut self, now: Instant) {
        let empty = SetWatches { relative_zxid: self.last_zxid, ..SetWatches::default() };
        let (mut batches, mut batch, mut length) = (Vec::new(), empty.clone(), SET_WATCHES_EMPTY);
        let mut add = |path: &NodePath, list: fn(&mut SetWatches) -> &mut Vec<NodePath>| {
            let more = 4 + path.as_str().len();
            if length > SET_WATCHES_EMPTY && length + more > SET_WATCHES_BATCH {
                batches.push(std::mem::replace(&mut batch, empty.clone()));
                length = SET_WATCHES_EMPTY;
            }
            length += more;
            list(&mut batch).push(path.clone());
        };
        self.watches.paths(WatchKind::Data).for_each(|path| add(path, |batch| &mut batch.data));
        self.watches.paths(WatchKind::Exists).for_each(|path| add(path, |batch| &mut batch.exists));
        self.watches.paths(WatchKind::Children).for_each(|path| add(path, |batch| &mut batch.children));
        // The server takes these after the others, whose place they take where it has one mode for each path.
        self.streams.rearm().for_each(|(path, mode)| match mode {
            AddWatchMode::Persistent => add(path, |batch| &mut batch.persistent),
            AddWatchMode::PersistentRecursive => add(path, |batch| &mut batch.recursive),
        });
        if length > SET_WATCHES_EMPTY {
            batches.push(batch);
        }
        batches.iter().for_each(|batch| self.send_set_watches(now, batch));
    }

    pub(super) fn send_set_watches(&mut self, now: Instant, batch: &SetWatches) {
        self.counters.requests += 1;
        if let Link::Up(up) = &mut self.link {
            up.last_sent = now;
        }
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
