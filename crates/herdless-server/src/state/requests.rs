//! What a client has sent is carried out, and told to whom it concerns.

use std::time::Duration;

use bytes::BytesMut;
use herdless_core::{Error, Refusal, Reply, Request, SessionId, Zxid};
use herdless_memory::Fired;
use herdless_proto::codec::SetWatches;
use herdless_proto::server::{Incoming, ReceiveError, Ticket};
use tokio::time::Instant;

use super::durable::is_change;
use super::figures::short_name;
use super::refusals::Reason;
use super::{State, Wakers, unix_ms};
use crate::meter::Life;

/// What has come of what a client has sent.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Whether a session was opened that may be the next to expire.
    pub(crate) is_sooner: bool,
    /// Whether whole requests may be left, which are to wait until the replies have been sent.
    pub(crate) is_behind: bool,
    /// Whether they are to wait until others had their turn.
    pub(crate) gives_way: bool,
    /// What is wrong with what came behind all that.
    pub(crate) error: Option<ReceiveError>,
}

/// So long one connection's requests are carried out at a time: the others' wait, and nobody's pings are read.
const LONGEST: Duration = Duration::from_millis(5);

impl State {
    /// Carries out what a client has sent, as far as it is there in whole frames, and until there are replies enough to be sent
    /// first: one read may hold requests for a thousand times as much. Neither may it take long.
    pub(crate) fn receive(&mut self, id: u64, buffer: &mut BytesMut, wakers: &mut Wakers) -> Received {
        let mut received = Received::default();
        if self.is_frozen(id) {
            received.is_behind = true;
            return received;
        }
        let mut answered = 0;
        received.error = self.receive_all(id, buffer, &mut received, &mut answered, wakers).err();
        if answered > 0 {
            self.hold(id, answered);
        }
        let left = buffer.len();
        if let Some(link) = self.links.get_mut(&id) {
            link.load.reading = left;
        }
        self.settle(id);
        if left > 0 && received.error.is_none() && !received.is_behind {
            self.expect_room(id, wakers);
        }
        self.note_changes(wakers);
        received
    }

    fn receive_all(
        &mut self,
        id: u64,
        buffer: &mut BytesMut,
        received: &mut Received,
        answered: &mut usize,
        wakers: &mut Wakers,
    ) -> Result<(), ReceiveError> {
        let now = Instant::now();
        let now_ms = unix_ms();
        let mut requests = 0;
        loop {
            let zxid = self.told_zxid();
            let most = self.most_ready();
            let Some(link) = self.links.get_mut(&id).filter(|link| !link.is_closing && !link.is_cut) else {
                buffer.clear();
                break;
            };
            let outstanding = requests + link.held.replies();
            if outstanding >= self.settings.limits.outstanding_per_connection.max(1) || link.has_ready(most) {
                received.is_behind = true;
                break;
            }
            // The clock is not read for the usual single request, and of many behind the first and every eighth that follows.
            if *answered % 8 == 1 && !buffer.is_empty() && now.elapsed() > LONGEST {
                (received.is_behind, received.gives_way) = (true, true);
                break;
            }
            let Some(incoming) = link.machine.poll(buffer, zxid)? else {
                break;
            };
            *answered += usize::from(!matches!(incoming, Incoming::Ping | Incoming::Word(_)));
            match (incoming, link.session) {
                (Incoming::Connect(connect), _) => received.is_sooner |= self.connect(id, &connect, now, wakers),
                (Incoming::Request { ticket, request }, Some(session)) => {
                    requests += 1;
                    if self.is_lost(id, session, &ticket, &request, now_ms, wakers) {
                        continue;
                    }
                    self.request(id, session, &ticket, &request, now_ms, wakers);
                }
                (Incoming::Unreadable { ticket, takes_zxid }, _) => self.refuse_unread(id, &ticket, takes_zxid),
                (Incoming::SetWatches { ticket, watches }, Some(session)) => {
                    self.rearm(id, session, &ticket, &watches, wakers);
                }
                (Incoming::Word(word), _) => {
                    let text = self.answer(word, id);
                    if let Some(link) = self.links.get_mut(&id) {
                        link.machine.say(&text);
                    }
                }
                // The machine lets nothing but a handshake through before there is a session.
                (Incoming::Request { .. } | Incoming::SetWatches { .. }, _) => {}
                (Incoming::Ping, _) => self.let_ping_pass(id),
            }
        }
        if requests > 0 {
            self.record(id, requests as u64, now);
        }
        // Every frame is a sign of life, not only a ping.
        self.hear(id, now);
        Ok(())
    }

    fn record(&mut self, id: u64, requests: u64, received: Instant) {
        let now = Instant::now();
        let time = now.duration_since(received);
        self.latency.record(requests, time);
        self.meter.replied(requests, time);
        let replied_ms = now.duration_since(self.began).as_millis();
        if let Some(link) = self.links.get_mut(&id) {
            link.activity.latency.record(requests, time);
            link.activity.replied_ms = replied_ms;
        }
    }

    pub(super) fn request(
        &mut self,
        id: u64,
        session: SessionId,
        ticket: &Ticket,
        request: &Request,
        now_ms: i64,
        wakers: &mut Wakers,
    ) {
        let mut fired = Fired::new();
        let outcome = match self.is_read_only() && is_change(request) {
            true => Err(Error::Refused(Refusal::NotReadOnly)),
            false => self.tree.apply(session, request, now_ms, &mut fired),
        };
        self.meter.request(request, outcome.as_ref().err());
        // Before the reply: a client sees the event of a change before it sees the change.
        self.notify(fired, wakers);
        let zxid = self.tree.last_zxid().0;
        if let Some(link) = self.links.get_mut(&id) {
            link.machine.reply(ticket, zxid, &outcome);
            link.activity.operation = short_name(request);
            (link.activity.xid, link.activity.zxid) = (ticket.xid(), zxid);
        }
        if matches!(outcome, Ok(Reply::Closed)) {
            self.meter.session(Life::Closed);
            self.remove_session(session);
            self.close_later(id, wakers);
        }
    }

    fn refuse_unread(&mut self, id: u64, ticket: &Ticket, takes_zxid: bool) {
        if takes_zxid && !self.is_read_only() {
            self.tree.refuse_unread();
        }
        let zxid = self.tree.last_zxid().0;
        if let Some(link) = self.links.get_mut(&id) {
            link.machine.reply(ticket, zxid, &Err(Refusal::Marshalling.into()));
        }
    }

    fn rearm(&mut self, id: u64, session: SessionId, ticket: &Ticket, watches: &SetWatches, wakers: &mut Wakers) {
        if !self.has_room_to_rearm(id, watches) {
            return self.let_go(id, Reason::Watches, wakers);
        }
        let seen = Zxid(watches.relative_zxid);
        let mut fired = Fired::new();
        for (kind, path) in watches.iter() {
            self.tree.rearm(session, kind, path, seen, &mut fired);
        }
        for (mode, path) in watches.staying() {
            self.tree.add_watch(session, mode, path);
        }
        self.notify(fired, wakers);
        let zxid = self.tree.last_zxid().0;
        if let Some(link) = self.links.get_mut(&id) {
            link.machine.rearmed(ticket, zxid);
        }
    }

    pub(super) fn notify(&mut self, fired: Fired, wakers: &mut Wakers) {
        let mut told = Vec::new();
        for (session, event) in fired {
            let id = self.sessions.get(&session).and_then(|record| record.link);
            let Some((id, link)) = id.and_then(|id| Some((id, self.links.get_mut(&id).filter(|link| !link.is_cut)?)))
            else {
                continue;
            };
            link.machine.notify(&event);
            told.push(id);
            self.meter.event(event.kind);
            wakers.0.extend(link.waker.take());
            self.expect_room_for_events(id, wakers);
        }
        if self.store.is_some() {
            told.into_iter().for_each(|id| self.hold(id, 0));
        }
    }
}
