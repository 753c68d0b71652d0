//! Who leads, as seen by those who do not stand.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use herdless_core::{Client, ClientExt, Error, NodePath, Refusal, Watch, WatchOutcome};

use super::Election;
use super::proclamation::{Proclamation, Rank};
use crate::contend::{Line, Token, owner, read};

/// A leader, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// What it says of itself. Of a Curator process often nothing, or its IP address.
    pub id: String,
    /// Its term.
    pub term: Token,
    /// What it has [proclaimed](super::Leadership::proclaim), if anything.
    pub value: Option<Bytes>,
    /// Its node.
    pub path: NodePath,
}

impl<C: Client + Clone + 'static> Election<C> {
    /// Who leads now, if anybody does. By the time it is known it may have changed.
    ///
    /// 2 round trips, in constant bytes but for the list of candidates.
    ///
    /// # Ordering
    ///
    /// Reads what this client's server knows, which may lag behind the others.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Refused(NoAuth)`, `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Election;
    /// async fn who<C: Client + Clone + 'static>(election: &Election<C>) -> Result<String, Error> {
    ///     Ok(election.leader().await?.map_or("nobody".into(), |leader| leader.id))
    /// }
    /// ```
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        let (client, line) = (&self.lock.client, &self.lock.line);
        loop {
            let (names, directory) = match read(|| line.list(client)).await {
                Err(Error::Refused(Refusal::NoNode)) => return Ok(None),
                listed => listed?,
            };
            let Some(path) = line.first(&names) else { return Ok(None) };
            let board = client.get(line.directory());
            let leader = match read(|| client.get(&path)).await {
                // Made after the list was: the directory is another, and this one need not be the first in it.
                Ok((_, stat)) if stat.czxid > directory.pzxid => continue,
                Ok((data, stat)) => Leader { id: owner(&data), term: Token(stat.czxid), value: None, path },
                // Left meanwhile.
                Err(Error::Refused(Refusal::NoNode)) => continue,
                Err(error) => return Err(error),
            };
            let board = match board.await {
                Err(Error::ConnectionLost) => read(|| client.get(line.directory())).await,
                first => first,
            };
            match board {
                Ok((data, _)) => return Ok(Some(leader.with(Proclamation::parse(&data).as_ref()))),
                Err(Error::Refused(Refusal::NoNode)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Follows the leader: who it is and what it has proclaimed, or that there is none. Observing is not standing.
    ///
    /// The first item is what is found; then there is one for each change, the latest each time: what was over again
    /// before the observer looked is left out. `None` says that nobody stands, as far as this client's server knows.
    /// Terms never go back, and of one term's values a later one is never followed by an earlier.
    ///
    /// It goes on over lost connections and expired sessions. While the connection is away nothing comes: the last
    /// item may be out of date, which only [`Session::is_valid`](herdless_core::Session::is_valid) tells.
    ///
    /// 2 round trips at first; an event and 1 for a new value; an event and 2 for a new leader. An observer watches the
    /// leader's node and the data of the election's own node, and the directory only while nobody stands. How many
    /// candidates come and go behind the leader does not reach it.
    ///
    /// # Ordering
    ///
    /// In the order of the changes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the stream stops listening. On the server its watches stay until they fire or the session ends; where
    /// the election's node did not exist, that is when somebody first stands.
    ///
    /// # Errors
    ///
    /// An error is the stream's last item: `Refused(NoAuth)`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::StreamExt;
    /// use herdless_core::{Client, Error};
    /// use herdless_recipes::Election;
    ///
    /// async fn follow<C: Client + Clone + 'static>(election: &Election<C>) -> Result<(), Error> {
    ///     let mut leaders = election.observe();
    ///     while let Some(leader) = leaders.next().await {
    ///         match leader? {
    ///             Some(leader) => println!("{} in term {}: {:?}", leader.id, leader.term, leader.value),
    ///             None => println!("nobody leads"),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn observe(&self) -> Leaders<C> {
        let (client, line) = (self.lock.client.clone(), self.lock.line.clone());
        let following = Following { client, line, seat: None, board: None, shown: Shown::default() };
        Leaders { next: Some(Box::pin(following.next())) }
    }
}

/// The stream of an election's leaders; see [`Election::observe`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct Leaders<C> {
    /// Owns what is known so far, and yields it again with each item.
    next: Option<Pin<Box<dyn Future<Output = Step<C>> + Send>>>,
}

type Step<C> = (Following<C>, Result<Option<Leader>, Error>);

/// What is known of the election, and the watches that tell when it is no longer so.
struct Following<C> {
    client: C,
    line: Arc<Line>,
    seat: Option<Seat>,
    /// What the data of the election's node says.
    board: Option<(Option<Proclamation>, Watch)>,
    shown: Shown,
}

/// Who is the first in line.
enum Seat {
    Taken(Leader, Watch),
    Vacant(Watch),
}

/// What the stream has yielded.
#[derive(Default)]
struct Shown {
    highest: Option<Rank>,
    /// Whether that there is nobody was the last.
    is_vacant: bool,
}

impl<C: Client + 'static> Following<C> {
    async fn next(mut self) -> Step<C> {
        let item = loop {
            match self.look().await {
                Ok(()) => {}
                Err(Error::SessionExpired) => {
                    self.forget();
                    continue;
                }
                Err(error) => break Err(error),
            }
            if let Some(item) = self.news() {
                break Ok(item);
            }
            match self.change().await {
                Ok(_) => {}
                Err(Error::SessionExpired) => self.forget(),
                Err(error) => break Err(error),
            }
        };
        (self, item)
    }

    /// The watches have gone with their session.
    fn forget(&mut self) {
        (self.seat, self.board) = (None, None);
    }

    /// Reads what is not known, and leaves the watches.
    async fn look(&mut self) -> Result<(), Error> {
        loop {
            if self.seat.is_none() {
                self.seat = self.find_first().await?;
            }
            match self.seat {
                None => {}
                // A value without a leader is of no interest.
                Some(Seat::Vacant(_)) => return Ok(()),
                Some(Seat::Taken(..)) if self.board.is_some() => return Ok(()),
                Some(Seat::Taken(..)) => match read(|| self.client.get_and_watch(self.line.directory())).await {
                    Ok(((data, _), watch)) => self.board = Some((Proclamation::parse(&data), watch)),
                    // The directory has gone, and the leader before it.
                    Err(Error::Refused(Refusal::NoNode)) => self.seat = None,
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Finds the first in line, or `None` where it has to be looked for again.
    async fn find_first(&mut self) -> Result<Option<Seat>, Error> {
        let (client, line) = (&self.client, &self.line);
        let (names, directory) = match read(|| line.list(client)).await {
            Err(Error::Refused(Refusal::NoNode)) => return self.wait_for_directory().await,
            listed => listed?,
        };
        let Some(path) = line.first(&names) else {
            return self.wait_for_candidate().await;
        };
        // What it has proclaimed is asked for in the same round trip. Reading the data leaves no watch where there is
        // no node.
        let board = self.board.is_none().then(|| client.get_and_watch(line.directory()));
        let seat = match read(|| client.get_and_watch(&path)).await {
            // Made after the list was: the directory is another, and this one need not be the first in it.
            Ok(((_, stat), _)) if stat.czxid > directory.pzxid => None,
            Ok(((data, stat), watch)) => {
                Some(Seat::Taken(Leader { id: owner(&data), term: Token(stat.czxid), value: None, path }, watch))
            }
            Err(Error::Refused(Refusal::NoNode)) => None,
            Err(error) => return Err(error),
        };
        match board {
            None => {}
            Some(board) => match board.await {
                Ok(((data, _), watch)) => self.board = Some((Proclamation::parse(&data), watch)),
                // `look` asks again.
                Err(Error::Refused(Refusal::NoNode) | Error::ConnectionLost) => {}
                Err(error) => return Err(error),
            },
        }
        Ok(seat)
    }

    async fn wait_for_candidate(&self) -> Result<Option<Seat>, Error> {
        match read(|| self.client.children_and_watch(self.line.directory())).await {
            Ok(((names, _), watch)) => Ok(self.line.first(&names).is_none().then_some(Seat::Vacant(watch))),
            Err(Error::Refused(Refusal::NoNode)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn wait_for_directory(&self) -> Result<Option<Seat>, Error> {
        let (stat, watch) = read(|| self.client.exists_and_watch(self.line.directory())).await?;
        Ok(stat.is_none().then_some(Seat::Vacant(watch)))
    }

    /// What is known, if it was not shown yet.
    fn news(&mut self) -> Option<Option<Leader>> {
        let leader = match &self.seat {
            Some(Seat::Taken(leader, _)) => Some(leader.clone()),
            Some(Seat::Vacant(_)) => None,
            None => return None,
        };
        let board = self.board.as_ref().and_then(|(board, _)| board.as_ref());
        let leader = leader.map(|leader| leader.with(board));
        let rank = leader.as_ref().map(|leader| Rank {
            term: leader.term,
            number: board.filter(|_| leader.value.is_some()).map_or(0, |board| board.rank.number),
        });
        self.shown.admit(rank).then_some(leader)
    }

    /// Waits until something is no longer as it is known. What is known no longer is forgotten.
    async fn change(&mut self) -> WatchOutcome {
        poll_fn(|cx| {
            let seat = self.seat.as_mut().map(|(Seat::Taken(_, watch) | Seat::Vacant(watch))| Pin::new(watch).poll(cx));
            let board = self.board.as_mut().map(|(_, watch)| Pin::new(watch).poll(cx));
            let mut fired = Poll::Pending;
            if let Some(Poll::Ready(outcome)) = board {
                self.board = None;
                fired = Poll::Ready(outcome);
            }
            if let Some(Poll::Ready(outcome)) = seat {
                self.seat = None;
                fired = Poll::Ready(outcome);
            }
            fired
        })
        .await
    }
}

impl Shown {
    /// Whether this is to be shown: what a lagging server says again is not.
    fn admit(&mut self, rank: Option<Rank>) -> bool {
        let Some(rank) = rank else {
            return !std::mem::replace(&mut self.is_vacant, true);
        };
        let is_news = match self.highest {
            Some(highest) if self.is_vacant => rank >= highest,
            Some(highest) => rank > highest,
            None => true,
        };
        if is_news {
            *self = Self { highest: Some(rank), is_vacant: false };
        }
        is_news
    }
}

impl Leader {
    /// With what stands on the board, if it is this leader's.
    fn with(self, board: Option<&Proclamation>) -> Self {
        let value = board.filter(|board| board.rank.term == self.term).map(|board| board.value.clone());
        Self { value, ..self }
    }
}

impl<C: Client + 'static> Stream for Leaders<C> {
    type Item = Result<Option<Leader>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let Poll::Ready((following, item)) = next.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.next = match item {
            Ok(_) => Some(Box::pin(following.next())),
            Err(_) => None,
        };
        Poll::Ready(Some(item))
    }
}

impl<C> fmt::Debug for Leaders<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaders").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use herdless_core::Zxid;

    use super::*;

    fn rank(term: i64, number: u64) -> Option<Rank> {
        Some(Rank { term: Token(Zxid(term)), number })
    }

    #[test]
    fn nothing_is_shown_twice_and_nothing_goes_back() {
        let mut shown = Shown::default();
        let mut steps = [
            (None, true),
            (None, false),
            (rank(5, 0), true),
            (rank(5, 0), false),
            (rank(5, 2), true),
            (rank(5, 1), false),
            (rank(4, 9), false),
            (rank(7, 0), true),
            (rank(5, 3), false),
            (None, true),
            (rank(5, 3), false),
            (None, false),
            // A lagging server had said that there was nobody.
            (rank(7, 0), true),
            (rank(7, 0), false),
        ]
        .into_iter();
        assert!(steps.all(|(seen, is_news)| shown.admit(seen) == is_news));
    }
}
