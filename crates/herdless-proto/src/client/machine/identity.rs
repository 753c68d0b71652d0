//! The identities that the client proves on every connection.

use std::collections::VecDeque;

use herdless_core::{Auth, Error, Refusal, Reply, Request};

use super::super::link::LinkError;
use super::Machine;
use crate::codec::{AUTH_XID, write_request};
use crate::frame::MAX_FRAME;

/// What has been proven, or is to be.
#[derive(Debug)]
pub(super) struct Identities<T> {
    known: Vec<Identity<T>>,
    /// Those on the wire, in order: their replies have all the same number.
    sent: VecDeque<usize>,
}

#[derive(Debug)]
struct Identity<T> {
    auth: Auth,
    waiting: Vec<T>,
}

impl<T> Default for Identities<T> {
    fn default() -> Self {
        Self { known: Vec::new(), sent: VecDeque::new() }
    }
}

impl<T> Identities<T> {
    /// How many wait to be told.
    pub(super) fn waiting(&self) -> usize {
        self.known.iter().map(|identity| identity.waiting.len()).sum()
    }

    /// The connection is gone: all will be proven again on the next.
    pub(super) fn disconnected(&mut self) {
        self.sent.clear();
    }

    /// Everybody who waits, to be told that the client is no more.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.known.iter_mut().flat_map(|identity| std::mem::take(&mut identity.waiting)).collect()
    }
}

impl<T, W: Clone + Default> Machine<T, W> {
    pub(super) fn prove(&mut self, auth: Auth, token: T) -> Result<(), (T, Error)> {
        let length = auth.scheme.len() + auth.credentials.expose().len() + 20; // header, type and two lengths
        if length > MAX_FRAME {
            return Err((token, Error::TooLarge { what: "request", length, limit: MAX_FRAME }));
        }
        let known = &mut self.identities.known;
        let index = known.iter().position(|identity| identity.auth == auth).unwrap_or(known.len());
        if index == known.len() {
            known.push(Identity { auth, waiting: Vec::new() });
        }
        known[index].waiting.push(token);
        if self.is_up() {
            self.send_auth(index);
        }
        Ok(())
    }

    /// Before anything else on a new connection: what follows may need them.
    pub(super) fn prove_all(&mut self) {
        for index in 0..self.identities.known.len() {
            self.send_auth(index);
        }
    }

    fn send_auth(&mut self, index: usize) {
        let request = Request::Auth(self.identities.known[index].auth.clone());
        self.identities.sent.push_back(index);
        self.counters.requests += 1;
        self.write_frame(|w| {
            write_request(w, AUTH_XID, &request);
        });
    }

    pub(super) fn auth_answered(&mut self, code: i32) -> Result<(), LinkError> {
        let Some(index) = self.identities.sent.pop_front() else {
            return Err(LinkError::OutOfOrder {
                got: AUTH_XID,
                expected: self.in_flight.front().map(|entry| entry.xid),
            });
        };
        if code == 0 {
            for token in std::mem::take(&mut self.identities.known[index].waiting) {
                self.answer(token, Ok(Reply::Authenticated));
            }
        } else {
            self.end_unproven();
        }
        Ok(())
    }

    /// The server hangs up, and would do so on every connection: as for ZooKeeper's own client that is the end.
    pub(super) fn end_unproven(&mut self) {
        self.closing = true;
        self.end = Refusal::AuthFailed.into();
        self.finish();
    }
}
