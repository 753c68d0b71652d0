//! One's own node in a line.

use std::fmt;

use bytes::Bytes;
use herdless_core::{Client, ClientExt, Created, Error, EventKind, NodePath, Refusal, Request, Session, SessionState};

use super::line::{Ahead, Line, release};
use super::token::Token;

/// How often missing parents are made before the server's "no node" is believed: a busy server that removes empty containers
/// takes one level at a time.
const PARENT_ATTEMPTS: u32 = 8;

/// A node in a line. Dropping it leaves the line.
pub(crate) struct Place<C: Client> {
    client: C,
    session: Session,
    created: Created,
    /// Whether everybody ahead has gone: it decides how we leave.
    is_holder: bool,
    has_left: bool,
}

impl<C: Client + Clone + 'static> Place<C> {
    /// Makes a node at the end of the line. Also tells how many were ahead at most; 0 says that the place is the first.
    /// Without a `look` that stays unknown, and one request is saved.
    ///
    /// 1 round trip; 2 where parents are missing.
    pub(crate) async fn enter(line: &Line, client: &C, look: bool) -> Result<(Self, u32), Error> {
        let mut parent_attempts = 0;
        loop {
            let data = Bytes::from(format!("{}\n{}", line.owner, client.session().next_attempt()));
            let create = client.call(line.create(&data)).on_abandon(line.undo_create(client, &data));
            // Leaves with the create and is answered behind it, so it counts our node: one child is ourselves alone.
            let parent = look.then(|| client.exists(line.directory()));
            let created = match create.await {
                Ok(created) => created,
                Err(Error::Refused(Refusal::NoNode)) if parent_attempts < PARENT_ATTEMPTS => {
                    parent_attempts += 1;
                    line.make_parents(client).await?;
                    continue;
                }
                Err(Error::ConnectionLost | Error::Uncertain(_)) => match line.find_own(client, &data).await? {
                    Some(created) => created,
                    None => continue,
                },
                Err(error) => return Err(error),
            };
            let Some(place) = Self::new(client, created) else {
                continue;
            };
            let children = match parent {
                Some(parent) => parent.await.ok().flatten().map(|stat| stat.num_children),
                None => None,
            };
            // Not known is as good as contended: the place looks for itself. So is a directory without children: ours is
            // gone already, which is not the same as being the first.
            let ahead = children.and_then(|children| u32::try_from(children - 1).ok());
            return Ok((place, ahead.unwrap_or(u32::MAX)));
        }
    }

    /// The place on the node that was created; `None` where its session is over already.
    fn new(client: &C, created: Created) -> Option<Self> {
        let session = client.session();
        if session.id().0 != created.stat.ephemeral_owner {
            return None;
        }
        Some(Self { client: client.clone(), session, created, is_holder: false, has_left: false })
    }

    /// Waits until nobody is ahead. `is_first` says that this is known already.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: the place is gone. `Refused(NoNode)`: somebody else removed the node.
    pub(crate) async fn wait(&mut self, line: &Line, is_first: bool) -> Result<(), Error> {
        let outcome = if is_first { Ok(false) } else { self.wait_for_turn(line).await };
        // Whatever was just learned may have been told to a later session than the one our node belongs to.
        if self.session.state() == SessionState::Lost {
            return Err(Error::SessionExpired);
        }
        line.expect_others(outcome?);
        self.is_holder = true;
        Ok(())
    }

    /// Whether anybody was ahead.
    async fn wait_for_turn(&self, line: &Line) -> Result<bool, Error> {
        let mut has_waited = false;
        let mut revision = self.session.revision();
        let mut ahead = line.ahead_by_number(&self.client, &self.created.path).await?;
        while let Ahead::Somebody(watch) = ahead {
            has_waited = true;
            let event = watch.await?;
            // A holder leaves with set + delete in one change, which fires "changed"; everything else that removes a
            // node fires "deleted". So "changed" proves that the one ahead was the first, and we are now: nothing is
            // read. "Deleted" proves nothing, since it may have been a waiter; nor does what a reconnect found out, since
            // it tells of the name and not of the node that we watched.
            let is_hand_over = event.kind == EventKind::DataChanged && self.session.revision() == revision;
            if is_hand_over && !line.confirm {
                break;
            }
            revision = self.session.revision();
            ahead = line.ahead_by_list(&self.client, &self.created.path).await?;
        }
        Ok(has_waited)
    }

    /// Leaves, and waits for the server's word. Whether the node was still there.
    pub(crate) async fn leave(mut self) -> Result<bool, Error> {
        let left = self.client.call(release(&self.created, self.is_holder));
        self.has_left = true;
        left.await
    }
}

impl<C: Client> Place<C> {
    pub(crate) fn client(&self) -> &C {
        &self.client
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) fn path(&self) -> &NodePath {
        &self.created.path
    }

    pub(crate) fn token(&self) -> Token {
        Token(self.created.stat.czxid)
    }
}

impl<C: Client> Drop for Place<C> {
    fn drop(&mut self) {
        if !self.has_left {
            // A waiter that gives up must not be mistaken for a holder that hands over, so it leaves by a plain delete.
            drop(self.client.submit(Request::Release(release(&self.created, self.is_holder))));
        }
    }
}

impl<C: Client> fmt::Debug for Place<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("path", &self.created.path).field("token", &self.token()).finish_non_exhaustive()
    }
}
