//! The waiter's side: whoever is first in line and silent for its maximum hold is removed.

use std::convert::Infallible;
use std::time::Duration;

use herdless_core::{Client, ClientExt, Error, MultiOp, NodePath, Refusal, SessionId, Stat, Time, Version};

use super::LeaseLock;
use super::record::{Record, agreement};
use crate::contend::{Contender, Token, read};

/// What a waiter has seen of the one it waits for.
pub(super) struct Sighting {
    record: Record,
    /// The first in line, where it is not the one of the record.
    first: Option<Token>,
    /// Nothing has changed since then, by our own clock: read after the answer was there.
    since: Duration,
}

/// What there is to do after a look.
enum Finding {
    /// Somebody gave a sign of life, or nobody agreed to be removed.
    Nothing,
    /// The silence is not long enough yet.
    Wait(Duration),
    /// It is, and this is who is silent.
    Remove(Contender),
}

impl Sighting {
    pub(super) fn new(record: Record, now: Duration) -> Self {
        Self { record, first: None, since: now }
    }
}

impl<C: Client + Clone + 'static, T: Time + Clone + 'static> LeaseLock<C, T> {
    /// Looks once in each maximum hold, for as long as it is polled. A look is one read of the record while the holder renews.
    pub(super) async fn patrol(
        &self,
        (own, session): (NodePath, SessionId),
        seen: Option<Sighting>,
    ) -> Result<Infallible, Error> {
        let mut seen = match seen {
            Some(seen) => seen,
            None => Sighting::new(self.record().await?.0, self.time.now()),
        };
        let mut pause = self.max_hold;
        loop {
            self.time.sleep(pause).await;
            pause = self.max_hold;
            let (record, stat) = self.record().await?;
            if !record.is_unrenewed_since(seen.record) {
                seen = Sighting::new(record, self.time.now());
                continue;
            }
            match self.judge(&own, &mut seen).await? {
                Finding::Nothing => {}
                Finding::Wait(longer) => pause = longer,
                Finding::Remove(silent) => {
                    if !self.remove((&own, session), &stat, &silent).await? {
                        // Something changed since: look again.
                        pause = Duration::ZERO;
                    }
                }
            }
        }
    }

    async fn record(&self) -> Result<(Record, Stat), Error> {
        let (data, stat) = read(|| self.client.get(self.line.directory())).await?;
        Ok((Record::parse(self.line.directory(), &data)?, stat))
    }

    /// The record is as it was: who is first in line, and is it to be removed?
    async fn judge(&self, own: &NodePath, seen: &mut Sighting) -> Result<Finding, Error> {
        let (names, _) = read(|| self.line.list(&self.client)).await?;
        let Some(path) = self.line.first(&names).filter(|first| first != own) else {
            return Ok(Finding::Nothing);
        };
        let (data, stat) = match read(|| self.client.get(&path)).await {
            Err(Error::Refused(Refusal::NoNode)) => return Ok(Finding::Nothing),
            found => found?,
        };
        let token = Token(stat.czxid);
        let now = self.time.now();
        if !seen.record.is_held_by(token) && seen.first != Some(token) {
            // It has not held yet when it was seen last: its time begins now.
            (seen.first, seen.since) = (Some(token), now);
        }
        let text = String::from_utf8_lossy(&data);
        let (owner, agreed) = agreement(text.rsplit_once('\n').map_or(&*text, |(owner, _)| owner));
        let Some(hold) = agreed.or_else(|| self.evicts_foreign.then_some(self.max_hold)) else {
            return Ok(Finding::Nothing);
        };
        let left = seen.since.saturating_add(hold).saturating_sub(now);
        if !left.is_zero() {
            return Ok(Finding::Wait(left));
        }
        let session = SessionId(stat.ephemeral_owner);
        Ok(Finding::Remove(Contender { path, is_shared: false, owner: owner.to_owned(), session, token }))
    }

    /// Removes the one who is silent, if the record is still the one at `seen`. Whether it is gone.
    async fn remove(
        &self,
        (own, session): (&NodePath, SessionId),
        seen: &Stat,
        silent: &Contender,
    ) -> Result<bool, Error> {
        let operations = vec![
            // While we are in line the directory is the one that it was, and no name in it is given twice.
            MultiOp::check(own, Version::ANY),
            // A renewal since our look would have changed it.
            MultiOp::check(self.line.directory(), Version(seen.version)),
            MultiOp::delete(&silent.path, Version::ANY),
        ];
        match self.client.multi_in(session, operations).await {
            Ok(_) => {
                tracing::warn!(path = %silent.path, token = %silent.token, owner = silent.owner, "removed a silent holder");
                Ok(true)
            }
            Err(Error::MultiRefused { index: 0, refusal }) => Err(Error::Refused(refusal)),
            Err(Error::MultiRefused { refusal: Refusal::NoNode | Refusal::BadVersion, .. }) => Ok(false),
            Err(Error::MultiRefused { refusal, .. }) => Err(Error::Refused(refusal)),
            // Another look will tell.
            Err(Error::ConnectionLost | Error::Uncertain(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
