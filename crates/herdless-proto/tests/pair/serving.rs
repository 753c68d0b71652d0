//! The server's side of the harness: the tree behind the server machine.

use std::time::Duration;

use herdless_core::{Error, MultiOp, Refusal, Request, SessionId, Zxid};
use herdless_memory::Fired;
use herdless_proto::codec::{ConnectRequest, ConnectResponse, SetWatches};
use herdless_proto::server::{Incoming, Ticket};

use super::{Known, OTHER, World, accepted};

impl World {
    pub(super) fn serve(&mut self) {
        while !self.silent
            && let Some(conn) = &mut self.conn
        {
            let zxid = self.tree.last_zxid().0;
            match conn.server.poll(&mut conn.server_in, zxid) {
                Ok(Some(incoming)) => self.handle(incoming),
                Ok(None) => break,
                Err(error) => {
                    self.server_errors.push(error);
                    return self.cut();
                }
            }
        }
        if !self.hold {
            self.flush();
        }
    }

    /// Puts what the server has written on the wire.
    pub(crate) fn flush(&mut self) {
        let at = self.now + self.latency;
        if let (Some(conn), false) = (&mut self.conn, self.hold) {
            let bytes = conn.server.transmit().split();
            if !bytes.is_empty() {
                conn.down.push_back((at, bytes));
            }
            conn.is_closing |= conn.server.is_closing();
        }
    }

    fn handle(&mut self, incoming: Incoming) {
        let session = self.conn.as_ref().and_then(|conn| conn.session);
        if let Some(known) = session.and_then(|session| self.sessions.get_mut(&session)) {
            known.heard = self.now;
        }
        match (incoming, session) {
            (Incoming::Connect(request), _) => self.connect(&request),
            (Incoming::Ping, _) => self.served.push("ping".into()),
            (Incoming::Request { ticket, request }, Some(session)) => {
                self.served.push(name(&request).into());
                let scripted = self.script.request.as_mut();
                let scripted = scripted.and_then(|answer| answer(&request));
                let (is_scripted, millis) = (scripted.is_some(), self.millis());
                let mut fired = Fired::new();
                let outcome = scripted.unwrap_or_else(|| self.tree.apply(session, &request, millis, &mut fired));
                if request == Request::CloseSession {
                    self.sessions.remove(&session);
                }
                self.tell(fired);
                let zxid = self.tree.last_zxid().0;
                if let Some(conn) = &mut self.conn {
                    conn.server.reply(&ticket, zxid, &outcome);
                    conn.is_closing |= is_scripted && self.script.hang_up;
                }
            }
            (Incoming::SetWatches { ticket, watches }, Some(session)) => {
                self.rearm(session, &ticket, watches);
            }
            (incoming @ (Incoming::Word(_) | Incoming::Unreadable { .. }), _) => panic!("{incoming:?} from a client"),
            (incoming, None) => panic!("{incoming:?} without a session"),
        }
    }

    fn rearm(&mut self, session: SessionId, ticket: &Ticket, watches: SetWatches) {
        self.served.push("set_watches".into());
        let zxid = self.tree.last_zxid().0;
        if self.script.refuse_set_watches > 0 {
            self.script.refuse_set_watches -= 1;
            let refused = Err(Error::Refused(Refusal::Throttled));
            let conn = self.conn.as_mut().expect("it has just sent this");
            return conn.server.reply(ticket, zxid, &refused);
        }
        let mut fired = Fired::new();
        for (kind, path) in watches.iter() {
            self.tree.rearm(session, kind, path, Zxid(watches.relative_zxid), &mut fired);
        }
        for (mode, path) in watches.staying() {
            self.tree.add_watch(session, mode, path);
        }
        self.tell(fired);
        let conn = self.conn.as_mut().expect("it has just sent this");
        conn.server.rearmed(ticket, zxid);
        self.set_watches.push(watches);
    }

    fn connect(&mut self, request: &ConnectRequest) {
        self.served.push("connect".into());
        if request.last_zxid_seen > self.tree.last_zxid().0 {
            let conn = self.conn.as_mut().expect("it has just sent this");
            conn.is_closing = true;
            return;
        }
        let asked = SessionId(request.session_id);
        let scripted = self.script.connect.as_mut();
        let response = match scripted.and_then(|answer| answer(request)) {
            Some(response) => response,
            None => {
                let timeout = Duration::from_millis(request.timeout_ms as u64);
                let known = self.sessions.get(&asked);
                let known =
                    known.filter(|known| known.password == request.password).filter(|_| self.tree.has_session(asked));
                match (asked.0, known) {
                    (0, _) => self.open_session(timeout),
                    (id, Some(known)) => accepted(SessionId(id), timeout, known.password),
                    (_, None) => accepted(SessionId(0), Duration::ZERO, [0; 16]),
                }
            }
        };
        let conn = self.conn.as_mut().expect("it has just sent this");
        let id = SessionId(response.session_id);
        conn.session = Some(id);
        if let Some(known) = self.sessions.get_mut(&id) {
            (known.heard, known.timeout) = (self.now, Duration::from_millis(response.timeout_ms as u64));
        }
        conn.server.accept(&response);
    }

    /// A new session, as the handshake tells it.
    pub(crate) fn open_session(&mut self, timeout: Duration) -> ConnectResponse {
        self.last_session += 1;
        let id = SessionId(self.last_session);
        let password = [self.last_session as u8; 16];
        self.tree.open_session(id);
        let known = Known { password, timeout, heard: self.now };
        self.sessions.insert(id, known);
        accepted(id, timeout, password)
    }

    pub(super) fn end_session(&mut self, session: SessionId) {
        let mut fired = Fired::new();
        self.tree.close_session(session, &mut fired);
        self.tell(fired);
        if let Some(conn) = &mut self.conn {
            conn.is_closing |= conn.session == Some(session);
        }
        self.flush();
    }

    pub(super) fn tell(&mut self, fired: Fired) {
        for (session, event) in fired {
            match &mut self.conn {
                Some(conn) if conn.session == Some(session) => conn.server.notify(&event),
                _ if session == OTHER => self.other_fired.push(event),
                _ => {}
            }
        }
    }
}

/// What is asked; a multi that waits for what is on its way has a name of its own.
fn name(request: &Request) -> &'static str {
    match request {
        Request::Multi(multi) if matches!(&*multi.operations, [MultiOp::Check { .. }]) => "settle",
        other => other.name(),
    }
}
