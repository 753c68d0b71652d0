//! A barrier where a fixed number begin together and end together, round after round.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use herdless_core::{
    Acl, Call, Client, ClientExt, Error, EventKind, GetChildren, GetData, MultiOp, MultiReply, NodePath, Refusal,
    Session, SessionLost, SessionState, Stat, Version, Watch, Watched,
};

use crate::contend::{Line, Naming, Observer, Place, Role, Sequence, Token, read};

/// What the names of members begin with.
const STEM: &str = "member-";

/// A double barrier: of the members that come, a fixed number enter together, as one *round*, and leave together.
///
/// The next round can begin when the last member of this one has left or died, with the same members or others; who comes
/// while a round is on, or beyond its number, waits for the next.
///
/// # What is promised
///
/// Nobody's [`enter`](DoubleBarrier::enter) returns before a round's number of members, all with live sessions at one moment,
/// have entered. Nobody's [`leave`](Round::leave) returns before every member of the round has begun to leave or has lost its
/// session. A member that dies on the way in opens nothing, one that dies inside or on the way out keeps nobody: its session's
/// end counts as its leaving. Every round has a [generation](Round::generation), which grows.
///
/// # How
///
/// A member is an ephemeral node. The one who finds the number complete writes the round's members into the directory's
/// data, in one change that checks that each of them is still there. Who is in a round is therefore no question of who
/// looked when. The first member of a round leaves last, and tells the others by its going.
///
/// The layout is not Curator's, whose `DistributedDoubleBarrier` cannot promise this: its `ready` node belongs to no round and
/// outlives a crash, so that a later round begins early; a straggler deletes the next round's `ready`; one that counts
/// again after others have left waits for ever, as they do for it; and who gives up stays a member. kazoo's is the same.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | enter | 1, an event, 1 | three requests that leave together, then one read |
/// | enter, the last | 2 | |
/// | leave | 1, an event | |
/// | leave, the first member | 2, an event and 2 for each of the others that it sees leave after itself, 1 | it waits for the last of the others |
///
/// A round of n members costs each of them one event when it begins and one when it ends.
///
/// # Limits
///
/// A round's members are listed in one node and checked in one request: about 10,000 fit into ZooKeeper's 1 MiB.
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 1,858 for each of two members to enter and
/// leave.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error |
/// | session expired on the way in | `SessionExpired`: the member is not counted, unless its round had begun |
/// | session expired inside or on the way out | it counts as having left; [`leave`](Round::leave) says `SessionExpired` |
/// | a future or a round is dropped | the member goes, and keeps nobody |
/// | a member's node is deleted by hand | `Refused(NoNode)` for the member on its way in; it counts as having left |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::DoubleBarrier;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = MemoryServer::new();
/// let path = NodePath::parse("/barriers/step")?;
/// let one = DoubleBarrier::new(server.connect(), path.clone(), 2)?;
/// let two = DoubleBarrier::new(server.connect(), path, 2)?;
/// let (first, second) = tokio::join!(one.enter(), two.enter());
/// let (first, second) = (first?, second?);
/// assert_eq!(first.generation(), second.generation());
/// // .. both compute their part of the round ..
/// let (first, second) = tokio::join!(first.leave(), second.leave());
/// # first.and(second)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DoubleBarrier<C> {
    client: C,
    line: Arc<Line>,
    size: NonZeroU32,
}

/// Options of a [`DoubleBarrier`].
#[derive(Clone)]
pub struct DoubleBarrierBuilder<C> {
    client: C,
    line: Line,
    size: NonZeroU32,
}

/// A round that this member is in. Dropping it leaves the round without waiting for the others.
#[must_use = "dropping a round leaves it"]
pub struct Round<C: Client> {
    place: Place<C>,
    line: Arc<Line>,
    own: Sequence,
    members: Vec<Sequence>,
    generation: Token,
}

/// What the directory's data says: the members of the round that was begun last.
struct Begun {
    /// In order.
    members: Vec<Sequence>,
    generation: Token,
    version: Version,
}

/// The barrier as it was seen.
struct View {
    begun: Begun,
    /// Fires when the next round begins.
    watch: Watch,
    present: BTreeSet<Sequence>,
}

impl<C: Client + Clone + 'static> DoubleBarrier<C> {
    /// The barrier at `path` for rounds of `size` members. Every process must give the same size. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Invalid` for a size of zero.
    pub fn new(client: C, path: NodePath, size: u32) -> Result<Self, Error> {
        Ok(Self::builder(client, path, size)?.build())
    }

    /// The barrier at `path`, with options.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn builder(client: C, path: NodePath, size: u32) -> Result<DoubleBarrierBuilder<C>, Error> {
        let size = NonZeroU32::new(size).ok_or_else(|| Error::invalid("a round of no members"))?;
        Ok(DoubleBarrierBuilder { client, line: Line::new(path, Naming::alone(STEM), Role::Shared), size })
    }

    /// The barrier's directory.
    pub fn path(&self) -> &NodePath {
        self.line.directory()
    }

    /// Waits until a round begins that this member is in.
    ///
    /// 1 round trip, an event, and 1; for the member that completes the round 2. One more where parents are missing.
    ///
    /// # Ordering
    ///
    /// Members enter rounds in the order in which they came.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future takes the member away. Where its round had begun already, the others see it leave.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: its round may have begun and gone on without it; calling again joins a later one (as the call itself
    /// does where the session ends before the member's node is answered). `Malformed` where the directory's data is not a
    /// barrier's. `Refused(NoNode)` where somebody else removed the member's node. `Refused(NoAuth)`, `Refused(QuotaExceeded)`: it
    /// may not make its node, or not write the directory's data, which the member that completes the round does. `Refused`,
    /// `Overloaded`, `Closed`. A lost connection is no error.
    ///
    /// # Examples
    ///
    /// See [`DoubleBarrier`].
    pub async fn enter(&self) -> Result<Round<C>, Error> {
        let (mut place, asked) = Place::enter(&self.line, &self.client, |_| self.ask()).await?;
        let own = member(place.path().name())
            .ok_or_else(|| Error::Protocol("a sequential node was created without a number".into()))?;
        let begun = self.wait_for_round(own, &place, asked).await;
        // Whatever was just learned may have been told to a later session than the one our node belongs to.
        place.check_session()?;
        let Begun { members, generation, .. } = begun?;
        place.grant(&self.line);
        Ok(Round { place, line: self.line.clone(), own, members, generation })
    }

    /// Waits until a round begins that `own` is in.
    async fn wait_for_round(
        &self,
        own: Sequence,
        place: &Place<C>,
        asked: (Call<Watched<GetData>>, Call<GetChildren>),
    ) -> Result<Begun, Error> {
        let mut view = self.view(asked).await?;
        while !view.begun.has(own) {
            // A watch that was left by a later session would not tell of this one's end.
            place.check_session()?;
            if !view.present.contains(&own) {
                return Err(Error::Refused(Refusal::NoNode));
            }
            let inside = view.inside().next();
            match inside {
                Some(inside) => self.wait_for_end(view.watch, inside).await?,
                None if view.waiting().count() >= self.size() => {
                    if let Some(begun) = self.begin(place, &view).await?
                        && begun.has(own)
                    {
                        return Ok(begun);
                    }
                }
                None => drop(view.watch.await?),
            }
            // Mostly that was the beginning of our round: then neither names nor another watch are needed.
            let (data, stat) = read(|| self.client.get(self.path())).await?;
            let begun = self.begun(&data, &stat)?;
            if begun.has(own) {
                return Ok(begun);
            }
            view = self.view(self.ask()).await?;
        }
        Ok(view.begun)
    }

    fn size(&self) -> usize {
        self.size.get() as usize
    }

    /// Both leave together. The names are not older than the data, so a member of the round that is not among them is gone.
    fn ask(&self) -> (Call<Watched<GetData>>, Call<GetChildren>) {
        (self.client.get_and_watch(self.path()), self.line.list(&self.client))
    }

    async fn view(&self, mut asked: (Call<Watched<GetData>>, Call<GetChildren>)) -> Result<View, Error> {
        loop {
            match (asked.0.await, asked.1.await) {
                (Ok(((data, stat), watch)), Ok((names, _))) => {
                    let present = names.iter().filter_map(|name| member(name)).collect();
                    return Ok(View { begun: self.begun(&data, &stat)?, watch, present });
                }
                (Err(Error::ConnectionLost), _) | (_, Err(Error::ConnectionLost)) => asked = self.ask(),
                (Err(error), _) | (_, Err(error)) => return Err(error),
            }
        }
    }

    fn begun(&self, data: &[u8], stat: &Stat) -> Result<Begun, Error> {
        let numbers = std::str::from_utf8(data).ok();
        let members = numbers.and_then(|numbers| numbers.split_ascii_whitespace().map(Sequence::parse).collect());
        let malformed = || Error::Malformed { path: self.path().clone(), expected: "the members of a round" };
        let mut members: Vec<_> = members.ok_or_else(malformed)?;
        members.sort_unstable();
        Ok(Begun { members, generation: Token(stat.mzxid), version: Version(stat.version) })
    }

    /// Begins the next round, with those who have waited longest; `None` if somebody else has, or one of them is gone.
    async fn begin(&self, place: &Place<C>, view: &View) -> Result<Option<Begun>, Error> {
        let members: Vec<_> = view.waiting().take(self.size()).collect();
        let mut operations = Vec::with_capacity(members.len() + 1);
        for member in &members {
            // One that has died meanwhile is not counted.
            operations.push(MultiOp::check(&path_of(&self.line, *member)?, Version::ANY));
        }
        let numbers: Vec<_> = members.iter().map(|member| member.name("")).collect();
        operations.push(MultiOp::set(self.path(), numbers.join(" "), view.begun.version));
        // While our node is there, nobody else's can have the name of one of these.
        match place.multi(operations).await {
            Ok(replies) => match replies.last() {
                Some(MultiReply::Set(stat)) => {
                    Ok(Some(Begun { members, generation: Token(stat.mzxid), version: Version(stat.version) }))
                }
                _ => Ok(None),
            },
            // If it did happen, the data says so to us as to the others.
            Err(Error::ConnectionLost | Error::Uncertain(_)) => Ok(None),
            // These two are passing: the next look sees why. Whatever else is refused would be refused again.
            Err(Error::MultiRefused { refusal: Refusal::BadVersion | Refusal::NoNode, .. }) => Ok(None),
            Err(Error::MultiRefused { refusal, .. }) => Err(Error::Refused(refusal)),
            Err(error) => Err(error),
        }
    }

    /// Waits until the round may be over, or another has begun. The first of those inside leaves last, unless somebody dies.
    async fn wait_for_end(&self, mut next: Watch, inside: Sequence) -> Result<(), Error> {
        let Some((_, mut gone)) = watch_member(&self.client, &self.line, inside).await? else {
            return Ok(());
        };
        let either = poll_fn(|cx| match Pin::new(&mut gone).poll(cx) {
            Poll::Pending => Pin::new(&mut next).poll(cx),
            ready => ready,
        });
        either.await.map(drop)
    }
}

impl Begun {
    fn has(&self, member: Sequence) -> bool {
        self.members.binary_search(&member).is_ok()
    }
}

impl View {
    /// Those of the round that have not left.
    fn inside(&self) -> impl Iterator<Item = Sequence> {
        self.begun.members.iter().copied().filter(|member| self.present.contains(member))
    }

    /// Those who wait for the next round, in the order of coming.
    fn waiting(&self) -> impl Iterator<Item = Sequence> {
        self.present.iter().copied().filter(|member| !self.begun.has(*member))
    }
}

impl<C: Client + Clone + 'static> Round<C> {
    /// Leaves, and waits until everybody of the round has left too.
    ///
    /// 1 round trip and an event; for the first member of the round one list more for each of the others that it sees leave
    /// after itself.
    ///
    /// # Ordering
    ///
    /// After everything this session has submitted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the round without waiting for the others.
    ///
    /// # Errors
    ///
    /// `SessionExpired`: this member was taken for one that left, when its session ended; others may be inside still.
    /// `Refused(NoAuth)`, `Overloaded`, `Closed`. A lost connection is no error.
    ///
    /// # Examples
    ///
    /// See [`DoubleBarrier`].
    pub async fn leave(self) -> Result<(), Error> {
        let Self { place, line, own, members, generation } = self;
        let (client, session) = (place.client().clone(), place.session().clone());
        let others = Others { client: &client, line: &line, session: &session, generation };
        if members.first() == Some(&own) {
            others.leave_last(place, &members[1..]).await?;
        } else {
            // Sent, and answered before what follows is.
            drop(place);
            others.wait(&members).await?;
        }
        alive(&session)
    }
}

impl<C: Client> Round<C> {
    /// The change that began the round: the same for all its members, and greater than that of any round before.
    pub fn generation(&self) -> Token {
        self.generation
    }

    /// This member's place among the members of the round, from 0: a number for each to divide work by.
    pub fn rank(&self) -> usize {
        self.members.iter().position(|member| *member == self.own).unwrap_or_default()
    }

    /// Whether this member's session cannot have ended yet; see [`Grant::is_valid`](crate::Grant::is_valid).
    pub fn is_valid(&self) -> bool {
        self.place.session().is_valid()
    }

    /// Waits until this member is lost with its session.
    pub fn lost(&self) -> SessionLost {
        self.place.session().lost()
    }
}

/// The others of a round that somebody leaves.
struct Others<'a, C> {
    client: &'a C,
    line: &'a Line,
    session: &'a Session,
    generation: Token,
}

/// What is left of a round, as seen from one member's node.
enum Left {
    /// That member is there.
    Member(Watch),
    /// It is not.
    Others,
    Nobody,
}

impl<C: Client + Clone + 'static> Others<'_, C> {
    /// The first member goes when the others have gone, and the last of them is the one to wait for.
    async fn leave_last(&self, place: Place<C>, others: &[Sequence]) -> Result<(), Error> {
        loop {
            let present = present(self.client, self.line).await?;
            let Some(last) = others.iter().rfind(|member| present.contains(member)) else { break };
            match self.watch(*last).await? {
                Left::Member(gone) => drop(gone.await?),
                Left::Others => {}
                Left::Nobody => break,
            }
        }
        place.hand_over().await.map(drop)
    }

    /// Waits until nobody of the round is there any more.
    async fn wait(&self, members: &[Sequence]) -> Result<(), Error> {
        let mut lowest = members.first().copied();
        while let Some(member) = lowest {
            let revision = self.session.revision();
            match self.watch(member).await? {
                Left::Member(gone) => {
                    let event = gone.await?;
                    // The first member says by "changed" that it was the last to leave. One that died says nothing; nor does
                    // what a reconnect found out.
                    if event.kind == EventKind::DataChanged && self.session.revision() == revision {
                        return Ok(());
                    }
                }
                Left::Others => {}
                Left::Nobody => return Ok(()),
            }
            let present = present(self.client, self.line).await?;
            lowest = members.iter().copied().find(|member| present.contains(member));
        }
        Ok(())
    }

    async fn watch(&self, member: Sequence) -> Result<Left, Error> {
        let watched = watch_member(self.client, self.line, member).await?;
        // A watch that was left by a later session would not tell of this one's end.
        alive(self.session)?;
        Ok(match watched {
            Some((created, gone)) if created < self.generation => Left::Member(gone),
            // The number was given anew, so the directory was empty and has been removed meanwhile.
            Some(_) => Left::Nobody,
            None => Left::Others,
        })
    }
}

fn alive(session: &Session) -> Result<(), Error> {
    match session.state() {
        SessionState::Lost => Err(Error::SessionExpired),
        _ => Ok(()),
    }
}

async fn present<C: Client>(client: &C, line: &Line) -> Result<BTreeSet<Sequence>, Error> {
    match read(|| line.list(client)).await {
        Ok((names, _)) => Ok(names.iter().filter_map(|name| member(name)).collect()),
        // Empty directories are removed.
        Err(Error::Refused(Refusal::NoNode)) => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// The change that created a member's node, and a watch on it, if it is there.
async fn watch_member<C: Client>(client: &C, line: &Line, member: Sequence) -> Result<Option<(Token, Watch)>, Error> {
    let path = path_of(line, member)?;
    match read(|| client.get_and_watch(&path)).await {
        Ok(((_, stat), watch)) => Ok(Some((Token(stat.czxid), watch))),
        Err(Error::Refused(Refusal::NoNode)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn member(name: &str) -> Option<Sequence> {
    name.strip_prefix(STEM).and_then(Sequence::parse)
}

fn path_of(line: &Line, member: Sequence) -> Result<NodePath, Error> {
    line.directory().child(&member.name(STEM)).map_err(|error| Error::invalid(error.to_string()))
}

impl<C: Client + Clone + 'static> DoubleBarrierBuilder<C> {
    /// What people will read about the member in its node. The default is the process id.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.line.owner = owner.into();
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.line.acl = acl.into();
        self
    }

    /// Who keeps figures of every entry. The default is nobody.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.line.observer = Some(observer);
        self
    }

    /// The barrier.
    pub fn build(self) -> DoubleBarrier<C> {
        DoubleBarrier { client: self.client, line: Arc::new(self.line), size: self.size }
    }
}

impl<C> fmt::Debug for DoubleBarrier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoubleBarrier").field("line", &self.line).field("size", &self.size).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for DoubleBarrierBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoubleBarrierBuilder")
            .field("line", &self.line)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl<C: Client> fmt::Debug for Round<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round")
            .field("place", &self.place)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
