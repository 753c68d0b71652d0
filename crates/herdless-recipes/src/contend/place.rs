//! One's own node in a line.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use herdless_core::{
    Call, Client, ClientExt, Created, Error, EventKind, Multi, MultiOp, NodePath, Refusal, Release, Request, Session,
    SessionState, Version,
};
use tracing::{Span, debug_span};

use super::line::{Ahead, Line, release};
use super::name::Role;
use super::observe::{End, Observation};
use super::token::Token;
use crate::parents;

/// A node in a line. Dropping it leaves the line.
pub(crate) struct Place<C: Client> {
    client: C,
    session: Session,
    created: Created,
    /// Not always the creation of the node: a place that was exchanged for another keeps it.
    token: Token,
    /// Whether everybody ahead that counts has gone.
    is_holder: bool,
    /// Whether the one behind may take our leaving for its turn: then it is told that it may.
    hands_over: bool,
    has_left: bool,
    /// Whether the node may be gone without our knowing, so that its name may be somebody else's.
    may_have_left: AtomicBool,
    observation: Option<Box<dyn Observation>>,
    /// The wait, and then the hold: a subscriber measures how long each took.
    span: Span,
}

/// What was seen of the line right after one's node was made.
pub(crate) enum Seen {
    /// How many others there are at most; `u32::MAX` where that is not known.
    Others(u32),
    /// The names in the directory, one's own among them.
    Names(Vec<String>),
}

impl<C: Client + Clone + 'static> Place<C> {
    /// Makes a node at the end of the line. What `ask` submits leaves right behind the creation, in the same round trip:
    /// what it reads contains the node.
    ///
    /// 1 round trip; 2 where parents are missing.
    pub(crate) async fn enter<T>(line: &Line, client: &C, ask: impl Fn(&C) -> T) -> Result<(Self, T), Error> {
        let mut observation = line.observe();
        let mut parent_attempts = 0;
        loop {
            let data = line.data(client);
            let create = client.call(line.create(&data)).on_abandon(line.undo_create(client, &data));
            let asked = ask(client);
            let created = match create.await {
                Ok(created) => created,
                Err(Error::Refused(Refusal::NoNode)) if parent_attempts < parents::ATTEMPTS => {
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
            if let Some(mut place) = Self::new(client, created) {
                place.observation = observation.take();
                return Ok((place, asked));
            }
        }
    }

    /// As [`enter`](Self::enter), with the read that may say at once that it is the place's turn; where `looks` is false, one
    /// that mostly cannot is left out.
    pub(crate) async fn queue(line: &Line, client: &C, looks: bool) -> Result<(Self, Seen), Error> {
        if line.role() == Role::Shared {
            // One who shares holds at once beside others who do, so the names are worth it.
            let (place, names) = Self::enter(line, client, |client| line.list(client)).await?;
            let seen = names.await.map_or(Seen::Others(u32::MAX), |(names, _)| Seen::Names(names));
            return Ok((place, seen));
        }
        // It counts our node: one child is ourselves alone.
        let ask = |client: &C| looks.then(|| client.exists(line.directory()));
        let (place, directory) = Self::enter(line, client, ask).await?;
        let children = match directory {
            Some(directory) => directory.await.ok().flatten().map(|stat| stat.num_children),
            None => None,
        };
        // Not known is as good as contended: the place looks for itself. So is a directory without children: ours is
        // gone already, which is not the same as being the first.
        let others = children.and_then(|children| u32::try_from(children - 1).ok());
        Ok((place, Seen::Others(others.unwrap_or(u32::MAX))))
    }

    /// Enters, and waits for the turn; at the end of the line again where the session ends before that.
    pub(crate) async fn acquire(line: &Line, client: &C) -> Result<Self, Error> {
        loop {
            let (mut place, seen) = Self::queue(line, client, !line.expects_others()).await?;
            match place.wait(line, seen).await {
                Ok(()) => return Ok(place),
                // Whoever was ahead stays ahead: the new place is the last.
                Err(Error::SessionExpired) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Enters only if nobody would have to be waited for: `None` if somebody would.
    pub(crate) async fn try_acquire(line: &Line, client: &C) -> Result<Option<Self>, Error> {
        if line.is_taken(client).await? {
            return Ok(None);
        }
        let (mut place, seen) = Self::queue(line, client, true).await?;
        if !line.is_first(place.path(), &seen) {
            // Somebody was faster; the place's drop leaves the line.
            return Ok(None);
        }
        place.wait(line, seen).await?;
        Ok(Some(place))
    }

    /// The place on a node that was created; `None` where its session is over already.
    pub(crate) fn new(client: &C, created: Created) -> Option<Self> {
        let session = client.session();
        if session.id().0 != created.stat.ephemeral_owner {
            return None;
        }
        let token = Token(created.stat.czxid);
        let span = debug_span!("wait", path = %created.path, %token);
        let client = client.clone();
        Some(Self {
            client,
            session,
            created,
            token,
            is_holder: false,
            hands_over: false,
            has_left: false,
            may_have_left: AtomicBool::new(false),
            observation: None,
            span,
        })
    }

    /// Waits until nobody is ahead that keeps this place waiting.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: the place is gone. `Refused(NoNode)`: somebody else removed the node.
    pub(crate) async fn wait(&mut self, line: &Line, seen: Seen) -> Result<(), Error> {
        if let Some(observation) = &mut self.observation {
            observation.entered(match &seen {
                Seen::Others(u32::MAX) => None,
                Seen::Others(count) => Some(*count),
                Seen::Names(names) => u32::try_from(names.len()).ok().and_then(|count| count.checked_sub(1)),
            });
        }
        let outcome = match seen {
            Seen::Others(0) => Ok(false),
            seen => self.wait_for_turn(line, seen).await,
        };
        // Whatever was just learned may have been told to a later session than the one our node belongs to.
        self.check_session()?;
        if outcome == Err(Error::Refused(Refusal::NoNode)) {
            self.may_have_left();
        }
        line.expect_others(outcome?);
        self.grant(line);
        Ok(())
    }

    /// Whether the node is there still, as far as it goes with its session.
    pub(crate) fn check_session(&self) -> Result<(), Error> {
        match self.session.state() {
            SessionState::Lost => Err(Error::SessionExpired),
            _ => Ok(()),
        }
    }

    /// It is known that nobody is ahead.
    pub(crate) fn grant(&mut self, line: &Line) {
        self.is_holder = true;
        // Others who share may still be there when one of them goes, so it tells nobody anything.
        self.hands_over = line.hands_over && line.role() == Role::Exclusive;
        self.span = debug_span!("hold", path = %self.created.path, token = %self.token);
        if let Some(observation) = &mut self.observation {
            observation.granted();
        }
    }

    /// Whether anybody was ahead.
    async fn wait_for_turn(&mut self, line: &Line, seen: Seen) -> Result<bool, Error> {
        let mut has_waited = false;
        let mut revision = self.session.revision();
        let mut ahead = match seen {
            Seen::Names(names) => line.ahead_in(&self.client, &self.created.path, names).await?,
            Seen::Others(_) => line.ahead_by_number(&self.client, &self.created.path).await?,
        };
        while let Ahead::Somebody { watch, is_exclusive } = ahead {
            // A watch left by our session ends with it. One left by the next session would go on for a place that is gone.
            self.check_session()?;
            has_waited = true;
            let event = watch.await?;
            if let Some(observation) = &mut self.observation {
                observation.woken();
            }
            // A holder leaves with set + delete in one change, which fires "changed"; everything else that removes a
            // node fires "deleted". So "changed" proves that the one ahead was the first (unless it was one of several who
            // held together), and we are now: nothing is read. "Deleted" proves nothing, since it may have been a waiter;
            // nor does what a reconnect found out, since it tells of the name and not of the node that we watched.
            let is_hand_over = event.kind == EventKind::DataChanged && self.session.revision() == revision;
            if is_hand_over && is_exclusive && line.hands_over && !line.confirm {
                break;
            }
            revision = self.session.revision();
            ahead = line.ahead_by_list(&self.client, &self.created.path).await?;
        }
        Ok(has_waited)
    }

    /// Leaves at once; the call waits for the server's word. Whether the node was still there.
    pub(crate) fn leave(mut self) -> Call<Release> {
        self.has_left = true;
        self.client.call(self.release())
    }

    /// As [`leave`](Self::leave), and tells whoever watches the node that everybody ahead is gone.
    pub(crate) fn hand_over(mut self) -> Call<Release> {
        self.hands_over = true;
        self.leave()
    }

    /// Carries out operations on this node and others, in no session but the node's own: in the next one the name may be
    /// somebody else's.
    pub(crate) fn multi(&self, operations: Vec<MultiOp>) -> Call<Multi> {
        self.client.multi_in(self.session.id(), operations)
    }

    /// What hands the place over to the next one as part of a multi that is submitted right away. Once that is carried out, the
    /// place [has left](Self::has_left); until its outcome is known it [may have](Self::may_have_left).
    pub(crate) fn departure(&self) -> [MultiOp; 2] {
        self.may_have_left();
        let path = &self.created.path;
        [MultiOp::set(path, "", Version::ANY), MultiOp::delete(path, Version::ANY)]
    }

    /// Says that the node is gone already.
    pub(crate) fn has_left(mut self) {
        self.has_left = true;
    }

    /// Says that the node may be gone already: from here on it is not deleted by its name alone, without a look.
    pub(crate) fn may_have_left(&self) {
        self.may_have_left.store(true, Ordering::Relaxed);
    }

    /// Says that a departure was not carried out, and never will be.
    pub(crate) fn has_stayed(&self) {
        self.may_have_left.store(false, Ordering::Relaxed);
    }

    /// Goes on with another node in the place of this one, which is gone already. The token stays: the new node is not a
    /// new grant.
    pub(crate) fn exchange(&mut self, created: Created) {
        self.created = created;
        self.hands_over = false;
        self.has_stayed();
    }
}

impl<C: Client> Place<C> {
    fn release(&self) -> Release {
        let may_be_gone = self.may_have_left.load(Ordering::Relaxed);
        Release { may_be_gone, ..release(&self.created, self.hands_over) }
    }

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
        self.token
    }

    /// The change that created the node. The same as the token, but for a place that was exchanged.
    pub(crate) fn created_by(&self) -> Token {
        Token(self.created.stat.czxid)
    }
}

impl<C: Client> Drop for Place<C> {
    fn drop(&mut self) {
        if let Some(observation) = &mut self.observation {
            observation.ended(match (self.is_holder, self.session.is_valid()) {
                (true, true) => End::Released,
                (true, false) => End::LostHeld,
                (false, true) => End::GivenUp,
                (false, false) => End::LostWaiting,
            });
        }
        if !self.has_left {
            // A waiter that gives up must not be mistaken for a holder that hands over, so it leaves by a plain delete.
            drop(self.client.submit(Request::Release(self.release())));
        }
    }
}

impl<C: Client> fmt::Debug for Place<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("path", &self.created.path).field("token", &self.token).finish_non_exhaustive()
    }
}
