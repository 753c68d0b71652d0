//! Watches that stay.
//!
//! Apache ZooKeeper keeps one mode for each path and connection before 3.9 (ZOOKEEPER-4466): there a read that leaves a watch
//! takes the place of one that stays, and of two that stay the second takes that of the first. So the server is asked for one
//! watch on each path, and it is shared here: of the node and all below where anybody wants that, of the node alone
//! otherwise; a read under either leaves none of its own. A recursive one never tells of children (`ChildrenChanged`), but of
//! each child, so where it stands for the others that is told in its place.

use std::collections::BTreeMap;
use std::time::Instant;

use herdless_core::{
    AddWatch, AddWatchMode, Error, EventKind, NodePath, Notice, Refusal, RemoveWatches, Reply, Request, WatchEvent,
    WatchKind, WatcherType,
};

use super::super::event::{Event, StreamId};
use super::{InFlight, Machine, Purpose};
use crate::codec::SetWatches;

/// Who hears what.
#[derive(Debug, Default)]
pub(super) struct Streams {
    last: StreamId,
    paths: BTreeMap<StreamId, NodePath>,
    watched: BTreeMap<NodePath, Watched>,
}

/// What there is on one path.
#[derive(Debug, Default)]
struct Watched {
    streams: Vec<(StreamId, AddWatchMode)>,
    /// Requests that are not answered, by what the server is asked for.
    pending: Vec<AddWatchMode>,
    /// What the server has, by the replies so far.
    mode: Option<AddWatchMode>,
}

impl Watched {
    fn wants(&self, mode: AddWatchMode) -> bool {
        self.streams.iter().any(|(_, other)| *other == mode) || self.pending.contains(&mode)
    }

    fn is_wanted(&self) -> bool {
        !self.streams.is_empty() || !self.pending.is_empty()
    }

    /// It is watched anew, with the mode that the server is then to have.
    fn rearm(&mut self) -> AddWatchMode {
        let recursive = AddWatchMode::PersistentRecursive;
        let mode = if self.wants(recursive) { recursive } else { AddWatchMode::Persistent };
        self.mode = Some(mode);
        mode
    }
}

/// An `AddWatch` on the wire.
#[derive(Debug)]
pub(super) struct Asked {
    path: NodePath,
    /// What its stream is to hear.
    mode: AddWatchMode,
    /// What the server is asked for.
    on_the_wire: AddWatchMode,
}

impl Streams {
    /// Whether the server tells of everything that a read's watch is to tell, so that the read need not leave one.
    pub(super) fn cover(&self, path: &NodePath) -> bool {
        self.watched.get(path).is_some_and(Watched::is_wanted)
    }

    /// Whether the server does so by its replies so far. What it was asked for and has not answered it had not yet when it
    /// answered the last.
    pub(super) fn stand(&self, path: &NodePath) -> bool {
        self.watched.get(path).is_some_and(|watched| watched.is_wanted() && watched.mode.is_some())
    }

    fn is_recursive(&self, path: &NodePath) -> bool {
        self.watched.get(path).is_some_and(|watched| watched.mode == Some(AddWatchMode::PersistentRecursive))
    }

    /// What an event says to those who share the server's watches, and which streams hear it.
    fn spell_out(&self, event: WatchEvent) -> Vec<(WatchEvent, Vec<StreamId>)> {
        let parent =
            matches!(event.kind, EventKind::Created | EventKind::Deleted).then(|| event.path.parent()).flatten();
        let changed = parent.filter(|parent| self.is_recursive(parent));
        let changed = changed.map(|path| WatchEvent { kind: EventKind::ChildrenChanged, path });
        let changed = changed.map(|event| (event.clone(), self.hearing(&event)));
        // From 3.9 on the server has both, and the streams were told this by the child's own event already. Those that fire
        // once may have been told nothing: at a reconnect the server says it of a child watch for what happened before the
        // recursive one was there.
        let is_told = event.kind == EventKind::ChildrenChanged && self.is_recursive(&event.path);
        let hearing = if is_told { Vec::new() } else { self.hearing(&event) };
        [Some((event, hearing)), changed].into_iter().flatten().collect()
    }

    fn hearing(&self, event: &WatchEvent) -> Vec<StreamId> {
        if self.watched.is_empty() {
            return Vec::new();
        }
        let above = std::iter::successors(Some(event.path.clone()), NodePath::parent);
        let on = above.filter_map(|path| self.watched.get_key_value(&path));
        on.flat_map(|(path, watched)| {
            watched.streams.iter().filter(|(_, mode)| mode.hears(path, event)).map(|(id, _)| *id)
        })
        .collect()
    }

    fn add(&mut self, path: NodePath, mode: AddWatchMode) -> StreamId {
        self.last += 1;
        self.watched.entry(path.clone()).or_default().streams.push((self.last, mode));
        self.paths.insert(self.last, path);
        self.last
    }

    pub(super) fn sent(&mut self, asked: &Asked) {
        self.watched.entry(asked.path.clone()).or_default().pending.push(asked.on_the_wire);
    }

    fn answered(&mut self, asked: &Asked, is_granted: bool) {
        if let Some(watched) = self.watched.get_mut(&asked.path) {
            if let Some(at) = watched.pending.iter().position(|pending| *pending == asked.on_the_wire) {
                watched.pending.remove(at);
            }
            if is_granted {
                watched.mode = Some(asked.on_the_wire);
            }
        }
    }

    fn remove(&mut self, id: StreamId) -> Option<NodePath> {
        let path = self.paths.remove(&id)?;
        if let Some(watched) = self.watched.get_mut(&path) {
            watched.streams.retain(|(other, _)| *other != id);
        }
        Some(path)
    }

    /// The connection took with it what was asked for.
    pub(super) fn disconnected(&mut self) {
        self.watched.retain(|_, watched| {
            watched.pending.clear();
            watched.mode = None;
            !watched.streams.is_empty()
        });
    }

    /// The paths to be watched anew, with the mode that the server is then to have.
    pub(super) fn rearm(&mut self) -> impl Iterator<Item = (&NodePath, AddWatchMode)> {
        self.watched.iter_mut().map(|(path, watched)| (path, watched.rearm()))
    }

    fn ids(&self) -> Vec<StreamId> {
        self.paths.keys().copied().collect()
    }
}

impl<T, W: Clone + Default> Machine<T, W> {
    /// Nobody reads a stream any more. The server's watch goes with the last of its path.
    pub fn unwatch(&mut self, now: Instant, stream: StreamId) {
        if let Some(path) = self.streams.remove(stream) {
            self.notice(vec![stream], Err(Error::Closed));
            self.settle(now, &path);
        }
    }

    /// What the server is to be asked for.
    pub(super) fn ask_for_stream(&self, add: &mut AddWatch) -> Asked {
        let (path, mode) = (add.path.clone(), add.mode);
        let recursive = AddWatchMode::PersistentRecursive;
        if self.streams.watched.get(&path).is_some_and(|watched| watched.wants(recursive)) {
            // The other would take its place, and it tells of everything that the other does.
            add.mode = recursive;
        }
        Asked { path, mode, on_the_wire: add.mode }
    }

    pub(super) fn watch_answered(
        &mut self,
        now: Instant,
        asked: Asked,
        outcome: &Result<Reply, Error>,
    ) -> Option<StreamId> {
        self.streams.answered(&asked, outcome.is_ok());
        let stream = outcome.is_ok().then(|| self.streams.add(asked.path.clone(), asked.mode));
        self.settle(now, &asked.path);
        stream
    }

    /// The server was asked for less, and has it.
    pub(super) fn lessened(&mut self, now: Instant, path: NodePath, outcome: &Result<Reply, Error>) {
        let mode = AddWatchMode::Persistent;
        let asked = Asked { path, mode, on_the_wire: mode };
        self.streams.answered(&asked, outcome.is_ok());
        // Where it is wanted still, and was refused, it would be asked for again and again.
        if !self.streams.cover(&asked.path) {
            self.settle(now, &asked.path);
        }
    }

    /// Lets the server have no more on a path than somebody wants.
    fn settle(&mut self, now: Instant, path: &NodePath) {
        let Some(watched) = self.streams.watched.get_mut(path) else {
            return;
        };
        if !watched.is_wanted() {
            let was_granted = watched.mode.is_some();
            self.streams.watched.remove(path);
            if was_granted && self.is_up() {
                let remove = RemoveWatches { path: path.clone(), kind: WatcherType::Any };
                self.send_unasked(now, &Request::RemoveWatches(remove), Purpose::Unasked);
            }
            // That took those that fire once as well, or there never was the one that stood for them.
            self.rearm_path(now, path);
            return;
        }
        let recursive = AddWatchMode::PersistentRecursive;
        if watched.mode == Some(recursive) && !watched.wants(recursive) && watched.pending.is_empty() {
            let mode = AddWatchMode::Persistent;
            watched.pending.push(mode);
            let add = AddWatch { path: path.clone(), mode };
            self.send_unasked(now, &Request::AddWatch(add), Purpose::Lessening(path.clone()));
        }
    }

    /// The user had watches taken away: whoever waits for them is told.
    pub(super) fn watches_removed(&mut self, now: Instant, RemoveWatches { path, kind }: &RemoveWatches) {
        let gone = Error::from(Refusal::NoWatcher);
        let kinds = WatchKind::ALL.into_iter().filter(|other| kind.means(*other));
        let watches: Vec<_> = kinds.flat_map(|kind| self.watches.take(kind, path)).collect();
        if !watches.is_empty() {
            self.events.push_back(Event::Fired { watches, outcome: Err(gone.clone()) });
        }
        let on = self.streams.watched.get(path).map_or(&[][..], |watched| &watched.streams);
        let streams: Vec<_> =
            on.iter().filter(|(_, mode)| kind.means_staying(*mode)).map(|(stream, _)| *stream).collect();
        for stream in &streams {
            self.streams.remove(*stream);
        }
        self.notice(streams, Err(gone));
        // Of one kind servers leave different remains (3.8 the other half, 3.9 all of it), and a watch of another kind may
        // have counted on what is gone.
        match self.streams.watched.get_mut(path) {
            Some(watched) if watched.streams.is_empty() && watched.is_wanted() => {
                watched.mode = None;
                self.rearm_path(now, path);
            }
            Some(watched) if *kind == WatcherType::Any => {
                watched.mode = None;
                self.settle(now, path);
            }
            _ => self.settle(now, path),
        }
    }

    /// What has happened, to all who watch.
    pub(super) fn tell(&mut self, event: WatchEvent) {
        for (event, streams) in self.streams.spell_out(event) {
            self.notice(streams, Ok(Notice::Event(event.clone())));
            let watches = self.watches.fire(&event);
            if !watches.is_empty() {
                self.events.push_back(Event::Fired { watches, outcome: Ok(event) });
            }
        }
    }

    /// Of what happened while there was no connection no server tells.
    pub(super) fn tell_gap(&mut self) {
        let streams = self.streams.ids();
        self.notice(streams, Ok(Notice::Gap));
    }

    pub(super) fn end_streams(&mut self, error: &Error) {
        let streams = std::mem::take(&mut self.streams.paths).into_keys().collect();
        self.streams.watched.clear();
        self.notice(streams, Err(error.clone()));
    }

    fn notice(&mut self, streams: Vec<StreamId>, notice: Result<Notice, Error>) {
        if !streams.is_empty() {
            self.events.push_back(Event::Noticed { streams, notice });
        }
    }

    /// Leaves the watches on a path that fire once anew. What has happened since the last reply fires at once.
    pub(super) fn rearm_path(&mut self, now: Instant, path: &NodePath) {
        let of = |kind| if self.watches.has(kind, path) { vec![path.clone()] } else { Vec::new() };
        let mut watches = SetWatches {
            relative_zxid: self.last_zxid,
            data: of(WatchKind::Data),
            exists: of(WatchKind::Exists),
            children: of(WatchKind::Children),
            ..SetWatches::default()
        };
        if !self.is_up() || watches.iter().next().is_none() {
            return;
        }
        // Where a stream is on its way the server has its watch by then, whose place the others would take.
        if let Some(watched) = self.streams.watched.get_mut(path).filter(|watched| watched.is_wanted()) {
            match watched.rearm() {
                AddWatchMode::Persistent => watches.persistent = vec![path.clone()],
                AddWatchMode::PersistentRecursive => watches.recursive = vec![path.clone()],
            }
        }
        self.send_set_watches(now, &watches);
    }

    /// A request of the machine's own.
    fn send_unasked(&mut self, now: Instant, request: &Request, purpose: Purpose<T>) {
        if let Ok((xid, opcode)) = self.send(now, request) {
            self.in_flight.push_back(InFlight { xid, opcode, sent: now, purpose });
        }
    }
}
