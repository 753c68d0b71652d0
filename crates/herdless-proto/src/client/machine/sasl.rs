//! The identity that is proven by SASL, on every connection before anything else.

use std::sync::Arc;
use std::time::Instant;

use super::super::link::{Link, LinkError};
use super::super::sasl::{SaslError, SaslExchange, SaslMechanism, SaslStep};
use super::Machine;
use crate::codec::{Reader, ReplyHeader, read_sasl_response, write_sasl_request};

/// How it is proven, and how far that is.
#[derive(Default)]
pub(super) struct Sasl {
    mechanism: Option<Arc<dyn SaslMechanism>>,
    exchange: Option<Box<dyn SaslExchange>>,
    /// The number of the word that the server is to answer.
    xid: i32,
    failure: Option<SaslError>,
}

impl Sasl {
    /// The connection is gone: it begins again on the next.
    pub(super) fn disconnected(&mut self) {
        self.exchange = None;
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.exchange.is_some()
    }
}

impl<T, W: Clone + Default> Machine<T, W> {
    /// Proves an identity by SASL on every connection. Until both sides are content the connection counts as one whose
    /// handshake is under way: watches, other identities and requests wait, and a session that is opened on it is told
    /// then. A failure ends the client, with the refusal `AuthFailed`.
    pub fn with_sasl(mut self, mechanism: Arc<dyn SaslMechanism>) -> Self {
        self.sasl.mechanism = Some(mechanism);
        self
    }

    /// Why SASL has ended the client, if it did.
    pub fn sasl_failure(&self) -> Option<SaslError> {
        self.sasl.failure
    }

    /// Whether there is anything to be proven. The two round trips get the time of another handshake.
    pub(super) fn begin_sasl(&mut self, now: Instant) -> bool {
        let Some(mechanism) = &self.sasl.mechanism else {
            return false;
        };
        let mut exchange = mechanism.begin();
        let token = exchange.initial();
        self.sasl.exchange = Some(exchange);
        self.link = Link::Handshake { sent: now };
        self.say(&token);
        true
    }

    fn say(&mut self, token: &[u8]) {
        self.sasl.xid = self.next_xid();
        let xid = self.sasl.xid;
        self.last_xid = xid;
        self.counters.requests += 1;
        self.write_frame(|w| write_sasl_request(w, xid, token));
    }

    pub(super) fn sasl_answered(&mut self, now: Instant, r: &mut Reader<'_>) -> Result<(), LinkError> {
        let header = ReplyHeader::read(r)?;
        if header.xid != self.sasl.xid {
            return Err(LinkError::OutOfOrder { got: header.xid, expected: Some(self.sasl.xid) });
        }
        let Some(exchange) = &mut self.sasl.exchange else {
            return Ok(());
        };
        // AuthFailed, or SessionClosedRequireAuth where the server lets nobody in without.
        let step = match header.err {
            0 => exchange.answer(read_sasl_response(r)?),
            _ => Err(SaslError("the server did not accept the identity")),
        };
        match step {
            Ok(SaslStep::Say(token)) => self.say(&token),
            Ok(SaslStep::Done) => {
                self.sasl.exchange = None;
                self.go_up(now);
            }
            Err(failure) => {
                self.sasl.exchange = None;
                self.sasl.failure = Some(failure);
                self.end_unproven();
            }
        }
        Ok(())
    }
}
