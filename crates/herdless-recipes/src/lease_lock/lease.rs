//! The holder's side: a record that is kept fresh, and a clock that says until when that holds.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use herdless_core::{
    Client, ClientExt, Error, EventKind, MultiOp, MultiReply, NodePath, Refusal, Session, SessionState, Stat, Time,
    Version, Zxid,
};

use super::record::Record;
use crate::contend::{Place, Token, read, settled};

/// One grant of the lease, from the first write of its record on.
pub(super) struct Lease<C, T> {
    pub(super) client: C,
    time: T,
    pub(super) session: Session,
    pub(super) directory: NodePath,
    pub(super) own: NodePath,
    pub(super) token: Token,
    max_hold: Duration,
    state: Mutex<State>,
}

struct State {
    /// When it is over, by our own clock.
    ends: Duration,
    /// It is known that the node is gone.
    is_lost: bool,
    /// Told to a user: from here on a lease that is over stays so.
    is_shown: bool,
    /// How often a record was sent.
    renewals: u64,
    is_revoked: bool,
    /// The directory's data as it was last seen. Until then any will do.
    version: Version,
    seen: Zxid,
}

impl<C: Client + Clone + 'static, T: Time + 'static> Lease<C, T> {
    pub(super) fn new(place: &Place<C>, directory: &NodePath, time: T, max_hold: Duration) -> Self {
        let state = State {
            ends: Duration::ZERO,
            is_lost: false,
            is_shown: false,
            renewals: 0,
            is_revoked: false,
            version: Version::ANY,
            seen: Zxid(0),
        };
        Self {
            client: place.client().clone(),
            time,
            session: place.session().clone(),
            directory: directory.clone(),
            own: place.path().clone(),
            token: place.token(),
            max_hold,
            state: Mutex::new(state),
        }
    }

    /// Writes the first record over whatever the one before left. Whether that one left of its own accord.
    ///
    /// 1 round trip. What is `found` was read when nobody else was in line, and is replaced only if it is still there; where
    /// it is not known, the read leaves with the write.
    pub(super) async fn begin(&self, found: Option<(Record, Stat)>) -> Result<bool, Error> {
        let mut was_clean = found.as_ref().map(|(record, _)| record.is_clean());
        if let Some((_, stat)) = found {
            self.with(|state| state.notice(&stat));
        }
        loop {
            let (sent, record, version) = self.next();
            let before = (version == Version::ANY).then(|| self.client.get(&self.directory));
            let write = self.client.multi_in(self.session.id(), self.write(record, version));
            if let Some(before) = before {
                match before.await {
                    Ok((data, _)) => {
                        let before = Record::parse(&self.directory, &data);
                        // One of our own was written by an attempt whose answer was lost.
                        if !before.as_ref().is_ok_and(|before| before.is_held_by(self.token)) {
                            was_clean = Some(before.is_ok_and(Record::is_clean));
                        }
                    }
                    Err(Error::ConnectionLost) => {}
                    Err(error) => return Err(error),
                }
            }
            match self.written(sent, record, write.await).await {
                // Not known is as good as not clean.
                Ok(true) => return Ok(was_clean.unwrap_or(false)),
                // Somebody wrote after we had read: what they did counts.
                Ok(false) => self.with(|state| {
                    state.version = Version::ANY;
                    was_clean = None;
                }),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the record anew.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        loop {
            if self.session.state() == SessionState::Lost {
                return Err(Error::SessionExpired);
            }
            self.check_running()?;
            let (sent, record, version) = self.next();
            let write = self.client.multi_in(self.session.id(), self.write(record, version)).await;
            if self.written(sent, record, write).await? {
                return Ok(());
            }
        }
    }

    /// The time before it is sent, the record to send, and the version that it replaces.
    fn next(&self) -> (Duration, Record, Version) {
        let sent = self.time.now();
        self.with(|state| {
            let record = Record::Held { token: self.token, renewal: state.renewals, is_revoked: state.is_revoked };
            state.renewals = state.renewals.wrapping_add(1);
            (sent, record, state.version)
        })
    }

    fn write(&self, record: Record, version: Version) -> Vec<MultiOp> {
        vec![MultiOp::check(&self.own, Version::ANY), MultiOp::set(&self.directory, record.to_bytes(), version)]
    }

    /// Whether the record was written; `false` to try again with what was read meanwhile.
    async fn written(
        &self,
        sent: Duration,
        record: Record,
        outcome: Result<Vec<MultiReply>, Error>,
    ) -> Result<bool, Error> {
        match outcome {
            Ok(replies) => {
                let Some(MultiReply::Set(stat)) = replies.last() else {
                    return Err(Error::Protocol("the answer is not that of a set".into()));
                };
                self.extend(sent, stat)?;
                Ok(true)
            }
            Err(Error::MultiRefused { index: 1, refusal: Refusal::BadVersion }) => {
                self.look().await?;
                Ok(false)
            }
            Err(Error::MultiRefused { refusal: Refusal::NoNode, .. }) => Err(self.lose()),
            Err(Error::MultiRefused { refusal, .. }) => Err(Error::Refused(refusal)),
            Err(Error::ConnectionLost | Error::Uncertain(_)) => {
                let (found, stat) = self.look().await?;
                let is_written = found.is_unrenewed_since(record);
                if is_written {
                    self.extend(sent, &stat)?;
                }
                Ok(is_written)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the record, once a renewal of ours that was not answered has happened or never will.
    pub(super) async fn look(&self) -> Result<(Record, Stat), Error> {
        let found = settled(&self.client, &self.directory, || self.client.get(&self.directory)).await;
        let (data, stat) = match found {
            Err(Error::Refused(Refusal::NoNode)) => return Err(self.lose()),
            found => found?,
        };
        let record = Record::parse(&self.directory, &data)?;
        self.notice(record, &stat);
        Ok((record, stat))
    }

    fn notice(&self, record: Record, stat: &Stat) {
        let is_asked = matches!(record, Record::Held { token, is_revoked: true, .. } if token == self.token);
        self.with(|state| {
            state.is_revoked |= is_asked;
            state.notice(stat);
        });
    }

    /// A record sent at `sent` is written: the lease is good for the maximum hold from then on.
    fn extend(&self, sent: Duration, stat: &Stat) -> Result<(), Error> {
        // A directory that is younger than our node is another, and a node of our name in it somebody else's.
        if Token(stat.czxid) > self.token {
            return Err(self.lose());
        }
        let now = self.time.now();
        self.with(|state| {
            state.notice(stat);
            if state.is_shown && state.ends <= now {
                return Err(is_over());
            }
            state.ends = state.ends.max(sent.saturating_add(self.max_hold));
            Ok(())
        })
    }

    fn check_running(&self) -> Result<(), Error> {
        let now = self.time.now();
        self.with(|state| match (state.is_lost, state.ends <= now) {
            (true, _) => Err(Error::Refused(Refusal::NoNode)),
            (_, true) if state.is_shown => Err(is_over()),
            _ => Ok(()),
        })
    }

    /// It is known to be gone.
    pub(super) fn lose(&self) -> Error {
        self.with(|state| state.is_lost = true);
        match self.session.state() {
            SessionState::Lost => Error::SessionExpired,
            _ => Error::Refused(Refusal::NoNode),
        }
    }

    /// From now on a user looks at it.
    pub(super) fn show(&self) {
        self.with(|state| state.is_shown = true);
    }

    pub(super) fn remaining(&self) -> Duration {
        let now = self.time.now();
        self.with(|state| if state.is_lost { Duration::ZERO } else { state.ends.saturating_sub(now) })
    }

    /// Renews three times in each maximum hold, until that has no more point.
    pub(super) async fn keep(&self) {
        loop {
            self.time.sleep(self.max_hold / 3).await;
            match self.renew().await {
                // A renewal that failed is made up for by the next one, or the lease ends.
                Ok(()) | Err(Error::ConnectionLost | Error::Uncertain(_) | Error::NotSent | Error::Overloaded) => {}
                Err(_) => return,
            }
        }
    }

    /// Waits for `delay` while the lease goes on.
    pub(super) async fn sit_out(&self, delay: Duration) -> Result<(), Error> {
        let until = self.time.now().saturating_add(delay);
        loop {
            let left = until.saturating_sub(self.time.now());
            if left.is_zero() {
                return Ok(());
            }
            self.time.sleep(left.min(self.max_hold / 3)).await;
            self.renew().await?;
        }
    }

    /// Waits until the session, the node or the time is gone.
    pub(super) async fn lost(&self) {
        let (mut session, mut gone) = (self.session.lost(), pin!(self.gone()));
        let mut sleep = self.time.sleep(self.remaining());
        poll_fn(|cx| {
            if Pin::new(&mut session).poll(cx).is_ready() || gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            while sleep.as_mut().poll(cx).is_ready() {
                let remaining = self.remaining();
                if remaining.is_zero() {
                    return Poll::Ready(());
                }
                // It was renewed meanwhile.
                sleep = self.time.sleep(remaining);
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits until the node is gone.
    async fn gone(&self) {
        loop {
            match read(|| self.client.get_and_watch(&self.own)).await {
                Ok(((_, stat), watch)) if Token(stat.czxid) == self.token => match watch.await {
                    Ok(event) if event.kind != EventKind::Deleted => continue,
                    _ => {}
                },
                Ok(_) | Err(Error::Refused(Refusal::NoNode)) => {}
                // Then the lease's end will tell.
                Err(_) => pending().await,
            }
            self.lose();
            return;
        }
    }

    /// Waits until somebody asks for the lease.
    pub(super) async fn revoked(&self) -> Result<(), Error> {
        loop {
            let ((data, stat), watch) = read(|| self.client.get_and_watch(&self.directory)).await?;
            let record = Record::parse(&self.directory, &data)?;
            if !record.is_held_by(self.token) {
                return Err(Error::Refused(Refusal::NoNode));
            }
            // What is released after this replaces the request too.
            self.notice(record, &stat);
            if self.with(|state| state.is_revoked) {
                return Ok(());
            }
            watch.await?;
        }
    }

    /// The directory's version as it was last seen.
    pub(super) fn version(&self) -> Version {
        self.with(|state| state.version)
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C, T: Time> Lease<C, T> {
    pub(super) fn is_valid(&self) -> bool {
        let now = self.time.now();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        !state.is_lost && now < state.ends && self.session.is_valid()
    }
}

impl State {
    fn notice(&mut self, stat: &Stat) {
        // Answers may be looked at in another order than they came in.
        if stat.mzxid > self.seen || self.version == Version::ANY {
            (self.version, self.seen) = (Version(stat.version), stat.mzxid);
        }
    }
}

fn is_over() -> Error {
    Error::invalid("the lease is over")
}
