//! The holder leaves: never by the name alone once somebody else may have it.

use std::sync::Arc;

use herdless_core::{Client, ClientExt, Error, MultiOp, Refusal, SessionState, Time, Version};

use super::lease::Lease;
use super::record::Record;
use crate::contend::{Place, Token, read};

impl<C: Client + Clone + 'static, T: Time + 'static> Lease<C, T> {
    /// Gives the place back together with the record. Whether that was said in so many words; if not, the place itself is still
    /// to be left.
    pub(super) async fn hand_over(&self, departure: impl Fn() -> [MultiOp; 2]) -> Result<bool, Error> {
        loop {
            if self.session.state() == SessionState::Lost {
                return Err(Error::SessionExpired);
            }
            if self.remaining().is_zero() {
                self.verify().await?;
            }
            let mut operations = vec![self.released()];
            operations.extend(departure());
            match self.client.multi_in(self.session.id(), operations).await {
                Ok(_) => return Ok(true),
                Err(Error::MultiRefused { index: 0, refusal: Refusal::BadVersion }) => {
                    if self.look().await.is_err() {
                        return Ok(false);
                    }
                }
                Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) => return Err(self.lose()),
                Err(_) => return Ok(false),
            }
        }
    }

    /// Once the lease is over the node may have been removed, then its directory, and the name be somebody else's: a delete of the
    /// name alone would take it away from them.
    async fn verify(&self) -> Result<(), Error> {
        match read(|| self.client.get(&self.own)).await {
            Ok((_, stat)) if Token(stat.czxid) == self.token => Ok(()),
            Ok(_) | Err(Error::Refused(Refusal::NoNode)) => Err(self.lose()),
            Err(error) => Err(error),
        }
    }

    /// Leaves, without waiting for an answer.
    pub(super) fn leave(self: Arc<Self>, place: Place<C>) {
        if self.session.state() == SessionState::Lost {
            return drop(place);
        }
        if !self.remaining().is_zero() {
            self.submit_released();
            return drop(place);
        }
        // As `verify`.
        let look = self.client.get(&self.own);
        drop(look.on_abandon(move |found| match found {
            Ok((_, stat)) if Token(stat.czxid) != self.token => place.has_left(),
            Err(Error::Refused(Refusal::NoNode)) => place.has_left(),
            Err(Error::ConnectionLost) => self.leave(place),
            Ok(_) => {
                self.submit_released();
                drop(place);
            }
            // Refused as it is, it says nothing of the node.
            Err(_) => {
                place.may_have_left();
                drop(place);
            }
        }));
    }

    /// Says that the holder leaves of its own accord. Where the answer is lost, or the directory's data is not what it was, the next
    /// one takes it for an unclean end.
    fn submit_released(&self) {
        let operations = vec![MultiOp::check(&self.own, Version::ANY), self.released()];
        drop(self.client.multi_in(self.session.id(), operations));
    }

    fn released(&self) -> MultiOp {
        MultiOp::set(&self.directory, Record::Released { token: self.token }.to_bytes(), self.version())
    }
}
