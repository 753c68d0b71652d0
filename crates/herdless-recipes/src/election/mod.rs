//! Leader election.

mod lead;
mod leadership;
mod observe;
mod proclamation;

use std::fmt;
use std::sync::Arc;

use herdless_core::{Acl, Client, Error, NodePath};

use crate::contend::{Contender, Naming, Observer, Place};
use crate::lock::{Lock, LockBuilder};

pub use lead::Led;
pub use leadership::Leadership;
pub use observe::{Leader, Leaders};

/// A leader election: of all candidates on one path, one at a time leads, in the order of standing.
///
/// The layout is that of Curator's `LeaderSelector`, or by option of its `LeaderLatch` or of kazoo's `Election`, so Java,
/// Python and Rust processes can stand against each other on the same path. Missing parents are made as containers, which the
/// server removes again when they are empty.
///
/// Cloning is cheap, and clones stand against each other.
///
/// # What is promised, and what is not
///
/// While no process is paused and no clock runs slow, no two leaderships overlap: a [`Leadership`] turns invalid
/// before the server can elect anybody else (an ensemble, one server of which is cut off from the leader, may be
/// [some seconds earlier](herdless_core::Session::is_valid)), and [`lead`](Self::lead) begins no step of its work from then on. A
/// connection that comes and goes within that time changes nothing: suspended is not lost. What a paused process may
/// still do is covered by [`Leadership::term`], which the protected resource compares, and by
/// [`multi`](crate::Grant::multi) and [`proclaim`](Leadership::proclaim) for writes to the same ensemble.
///
/// The nodes of candidates are theirs: who deletes or writes somebody else's node while its session lives can let two
/// lead at once, unless every process has [`confirm_hand_over`](ElectionBuilder::confirm_hand_over) set or the layout
/// is [`LeaderLatch`](ElectionLayout::LeaderLatch). Terms stay in order even then.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | campaign, nobody leads | 1 | two requests that leave together; 3 right after one that had to wait |
/// | campaign, behind others | 2, then one event | constant bytes |
/// | hand-over | 0 | the event alone; one candidate wakes |
/// | hand-over, layout `LeaderLatch` | 1 | a list; one candidate wakes |
/// | resign, dropped | 0 | sent, not awaited |
/// | resign, awaited | 1 | |
/// | proclaim | 1 | the first time 2 |
/// | leader | 2 | |
/// | observe, start | 2 | then an event and 1 for a new value, an event and 2 for a new leader |
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 884 to campaign and resign, 366 to proclaim ten
/// bytes.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error: candidacy and leadership live as long as the session |
/// | session expired, standing | it stands again at the end of the line |
/// | session expired, leading | the leadership is [invalid](crate::Grant::is_valid) before anybody else is elected; [`lead`](Self::lead) drops the work and stands again |
/// | a future or a leadership is dropped | the node goes; the next one in line leads |
/// | an observer loses its connection or session | it goes on, and never goes back |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::Election;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let election = Election::builder(client, NodePath::parse("/elections/reports")?).id("host-7").build();
/// let leadership = election.campaign().await?;
/// println!("leading in term {}", leadership.term());
/// leadership.proclaim("http://host-7:8080").await?;
/// leadership.resign().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Election<C> {
    /// A candidate stands in line as for a lock; only what it holds then goes by another name.
    lock: Lock<C>,
}

/// Options of an [`Election`].
#[derive(Clone)]
pub struct ElectionBuilder<C> {
    lock: LockBuilder<C>,
}

/// Whose processes stand on the same path. Every process on a path must use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElectionLayout {
    /// Curator's `LeaderLatch` (Java). A leader leaves by a plain delete, the only thing that a `LeaderLatch` behind
    /// it wakes by, so the next one has to look once who else is there.
    LeaderLatch,
    /// Curator's `LeaderSelector` (Java). The next leader wakes and reads nothing.
    #[default]
    LeaderSelector,
    /// kazoo's `Election` (Python). The next leader wakes and reads nothing.
    Kazoo,
}

impl<C: Client + Clone + 'static> Election<C> {
    /// The election on `path`. Nothing is sent yet.
    pub fn new(client: C, path: NodePath) -> Self {
        Self::builder(client, path).build()
    }

    /// The election on `path`, with options.
    pub fn builder(client: C, path: NodePath) -> ElectionBuilder<C> {
        ElectionBuilder { lock: Lock::builder(client, path) }.layout(ElectionLayout::default())
    }

    /// The election's path.
    pub fn path(&self) -> &NodePath {
        self.lock.path()
    }

    /// Stands as a candidate, and waits to be the leader.
    ///
    /// 1 round trip when nobody leads; 2 and an event otherwise, with layout `LeaderLatch` one more. One more where
    /// parents are missing. The first time that nobody leads after this `Election` had to wait, 3.
    ///
    /// # Ordering
    ///
    /// First come, first served, in the order in which the server sees the requests. A candidate whose session
    /// expires while it waits stands again at the end of the line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line, also where the creation of the node was not answered yet.
    ///
    /// # Errors
    ///
    /// `Closed` on a closed client; `Overloaded`; `Refused` where the server refuses the node (`NoAuth`, ..), and
    /// `Refused(NoNode)` where it is found that somebody else removed it. A lost connection is no error: the wait
    /// goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Election;
    /// async fn stand<C: Client + Clone + 'static>(election: &Election<C>) -> Result<(), Error> {
    ///     let leadership = election.campaign().await?;
    ///     leadership.lost().await;
    ///     println!("lost in term {}", leadership.term());
    ///     Ok(())
    /// }
    /// ```
    pub async fn campaign(&self) -> Result<Leadership<C>, Error> {
        Ok(self.leadership(Place::acquire(&self.lock.line, &self.lock.client).await?))
    }

    /// Leads if nobody else does, without waiting for anybody: `None` if somebody leads.
    ///
    /// Somebody leads: 1 round trip, a read and no write. Nobody does: 2 round trips. Every child of the election's
    /// node counts as a candidate, as for Curator.
    ///
    /// # Ordering
    ///
    /// Never overtakes a candidate that is in line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`campaign`](Self::campaign).
    ///
    /// # Errors
    ///
    /// As [`campaign`](Self::campaign), and `SessionExpired`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Election;
    /// async fn nightly<C: Client + Clone + 'static>(election: &Election<C>) -> Result<bool, Error> {
    ///     let Some(_leadership) = election.try_campaign().await? else { return Ok(false) };
    ///     // .. the work that one process is to do ..
    ///     Ok(true)
    /// }
    /// ```
    pub async fn try_campaign(&self) -> Result<Option<Leadership<C>>, Error> {
        let place = Place::try_acquire(&self.lock.line, &self.lock.client).await?;
        Ok(place.map(|place| self.leadership(place)))
    }

    /// Everybody who stands: the leader first, then those who wait, in order. For people and tools: by the time it is
    /// known it may have changed. `Contender::owner` is the id that the candidate gave.
    ///
    /// 2 round trips: a list, and all reads together.
    ///
    /// # Ordering
    ///
    /// A snapshot of the line, less those who left while it was read.
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
    /// async fn show<C: Client + Clone + 'static>(election: &Election<C>) -> Result<(), Error> {
    ///     for participant in election.participants().await? {
    ///         println!("{} in term {}", participant.owner, participant.token);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn participants(&self) -> Result<Vec<Contender>, Error> {
        self.lock.contenders().await
    }
}

impl<C: Client + Clone + 'static> ElectionBuilder<C> {
    /// What others will read about this candidate: a host, an address, a task. The default is the process id. It is
    /// the first part of the data of the candidate's node; behind it is a line with the number of the attempt, which
    /// Curator's `getId` shows too.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.lock = self.lock.owner(id);
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone. A leader
    /// that is to proclaim must be allowed to write the data of the election's node.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.lock = self.lock.acl(acl);
        self
    }

    /// Whether to look at the directory before a hand-over is believed: one list for each wake-up. Needed where others
    /// write or delete the nodes of candidates. The default is no; with layout `LeaderLatch` it is done in any case.
    pub fn confirm_hand_over(mut self, confirm: bool) -> Self {
        self.lock = self.lock.confirm_hand_over(confirm);
        self
    }

    /// How the nodes of candidates are named, and how they leave. The default is that of Curator's `LeaderSelector`.
    pub fn layout(mut self, layout: ElectionLayout) -> Self {
        self.lock.line = self.lock.line.with_naming(match layout {
            ElectionLayout::LeaderLatch => Naming::CURATOR_LATCH,
            ElectionLayout::LeaderSelector => Naming::CURATOR_LOCK,
            ElectionLayout::Kazoo => Naming::KAZOO_LOCK,
        });
        self.lock.line.hands_over = layout != ElectionLayout::LeaderLatch;
        self
    }

    /// Who keeps figures of every candidacy. The default is nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.lock = self.lock.observer(observer);
        self
    }

    /// The election.
    pub fn build(self) -> Election<C> {
        Election { lock: self.lock.build() }
    }
}

impl<C> fmt::Debug for Election<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election").field("path", self.lock.line.directory()).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for ElectionBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectionBuilder").field("line", &self.lock.line).finish_non_exhaustive()
    }
}
