//! The directory that contenders stand in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use herdless_core::{
    Acl, Call, Client, ClientExt, Create, CreateMode, Created, Error, FindOwn, GetChildren, NodePath, Operation,
    Refusal, Release, Request, SessionId, Watch,
};

use super::name::{Naming, Role, Sequence};
use super::observe::{Observation, Observer};
use super::place::Seen;
use super::token::Token;
use crate::parents;

/// A line of contenders: where it is, how one's own node is made, and who ahead keeps it waiting.
#[derive(Clone)]
pub(crate) struct Line {
    directory: NodePath,
    naming: Naming,
    role: Role,
    pub(crate) acl: Arc<[Acl]>,
    /// For people to read, in the data of one's own node.
    pub(crate) owner: String,
    /// Whether a hand-over is confirmed by a look at the directory: needed where others write contenders' data.
    pub(crate) confirm: bool,
    /// Whether a holder that leaves tells the next one so. Not where Curator's `LeaderLatch` may stand behind it: that
    /// reacts to `NodeDeleted` alone (`checkLeadership`), and would sleep on when the node is set as it goes.
    pub(crate) hands_over: bool,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    /// Whether the last who came here had to wait.
    expects_others: Arc<AtomicBool>,
}

/// Somebody in line, as [`Lock::contenders`](crate::Lock::contenders) finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The contender's node.
    pub path: NodePath,
    /// Whether it wants to hold together with others, as the readers of a [`RwLock`](crate::RwLock) do.
    pub is_shared: bool,
    /// What the contender says of itself, for people to read. Of a Curator process usually its IP address.
    pub owner: String,
    /// Its session.
    pub session: SessionId,
    /// The token that its grant carries, or will carry.
    pub token: Token,
}

/// Who is ahead of a place.
pub(super) enum Ahead {
    Nobody,
    /// The nearest one who keeps it waiting.
    Somebody {
        watch: Watch,
        /// Whether it held alone, if it held: then its hand-over says that everybody ahead is gone.
        is_exclusive: bool,
    },
}

impl Line {
    pub(crate) fn new(directory: NodePath, naming: Naming, role: Role) -> Self {
        let owner = format!("process {}", std::process::id());
        let (acl, expects_others) = (Acl::open(), Arc::default());
        Self { directory, naming, role, acl, owner, confirm: false, hands_over: true, observer: None, expects_others }
    }

    /// The same line for a contender of another role.
    pub(crate) fn with_role(&self, role: Role) -> Self {
        Self { role, expects_others: Arc::default(), ..self.clone() }
    }

    pub(crate) fn with_naming(self, naming: Naming) -> Self {
        Self { naming, ..self }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn observe(&self) -> Option<Box<dyn Observation>> {
        self.observer.as_ref().map(|observer| observer.asked(&self.directory))
    }

    /// Whether somebody is likely to be ahead, because the last time somebody was. Then it does not pay to ask whether one
    /// is alone: it is a request for nothing, and with many sessions in turn these are a quarter of all. Where the guess is
    /// wrong the answer takes two round trips more, once.
    pub(crate) fn expects_others(&self) -> bool {
        self.expects_others.load(Ordering::Relaxed)
    }

    pub(super) fn expect_others(&self, expects: bool) {
        self.expects_others.store(expects, Ordering::Relaxed);
    }

    pub(crate) fn directory(&self) -> &NodePath {
        &self.directory
    }

    /// What the paths of our own contenders begin with.
    fn prefix(&self) -> NodePath {
        self.directory.child(self.naming.stem(self.role)).expect("a stem is a valid name below any valid path")
    }

    /// The data of a node that is about to be made: who makes it, and the attempt's own number.
    pub(crate) fn data<C: Client>(&self, client: &C) -> Bytes {
        Bytes::from(format!("{}\n{}", self.owner, client.session().next_attempt()))
    }

    pub(crate) fn create(&self, data: &Bytes) -> Create {
        Create {
            path: self.prefix(),
            data: data.clone().into(),
            acl: self.acl.clone(),
            mode: CreateMode::EphemeralSequential,
        }
    }

    /// What becomes of a create that nobody waits for any more: the node it makes is taken away again, also where its
    /// reply is lost.
    pub(super) fn undo_create<C: Client + Clone + 'static>(
        &self,
        client: &C,
        data: &Bytes,
    ) -> impl FnOnce(Result<Created, Error>) + Send + 'static {
        let (client, find) = (client.clone(), self.find(data));
        move |outcome| match outcome {
            Ok(created) => take_away(&client, &created),
            Err(Error::ConnectionLost | Error::Uncertain(_)) => drop(search(&client, find)),
            Err(_) => {}
        }
    }

    /// The path of a contender of this line's role with the same number as `own`.
    pub(crate) fn at_place_of(&self, own: &NodePath) -> Option<NodePath> {
        let (sequence, _) = self.naming.contender(own.name())?;
        self.directory.child(&sequence.name(self.naming.stem(self.role))).ok()
    }

    /// The node whose creation was not answered, if it was made. Its data has the attempt's number.
    pub(super) async fn find_own<C: Client + Clone + 'static>(
        &self,
        client: &C,
        data: &Bytes,
    ) -> Result<Option<Created>, Error> {
        find_own(client, self.find(data)).await
    }

    pub(crate) fn find(&self, data: &Bytes) -> FindOwn {
        FindOwn { prefix: self.prefix(), data: data.clone() }
    }

    /// Makes the missing levels of the directory.
    pub(crate) async fn make_parents<C: Client>(&self, client: &C) -> Result<(), Error> {
        parents::make(client, &self.directory, &self.acl).await
    }

    /// Looks for the one ahead of `own` by its number. Our own contenders' names are known from their numbers alone, so
    /// this reads one name (two where there are readers and writers), however long the line; where there is a gap, or a
    /// contender with another name, the directory is listed once.
    pub(super) async fn ahead_by_number<C: Client>(&self, client: &C, own: &NodePath) -> Result<Ahead, Error> {
        if self.role == Role::Shared {
            // Ahead of one who shares are most likely others who share, any number of them before one that counts.
            return self.ahead_by_list(client, own).await;
        }
        let names = self.naming.contender(own.name()).into_iter().flat_map(|(own, _)| self.naming.names_before(own));
        let mut reads = Vec::new();
        for name in names {
            // All reads leave together.
            reads.push((client.get_and_watch(&self.child(&name)?), name));
        }
        if reads.is_empty() {
            return Ok(Ahead::Nobody);
        }
        for (read, name) in reads {
            match read.await {
                Ok((_, watch)) => return Ok(self.somebody(&name, watch)),
                // A lost one is as good as not found: the list asks again.
                Err(Error::Refused(Refusal::NoNode) | Error::ConnectionLost) => {}
                Err(error) => return Err(error),
            }
        }
        self.ahead_by_list(client, own).await
    }

    /// Looks for the nearest one who keeps `own` waiting, in the directory.
    pub(super) async fn ahead_by_list<C: Client>(&self, client: &C, own: &NodePath) -> Result<Ahead, Error> {
        let (names, _) = read(|| self.list(client)).await?;
        self.ahead_in(client, own, names).await
    }

    /// As [`ahead_by_list`](Self::ahead_by_list), where the names were read already.
    pub(super) async fn ahead_in<C: Client>(
        &self,
        client: &C,
        own: &NodePath,
        mut names: Vec<String>,
    ) -> Result<Ahead, Error> {
        loop {
            let Some(name) = self.nearest(&names, own)? else {
                return Ok(Ahead::Nobody);
            };
            let path = self.child(name)?;
            // Reading the data leaves a watch only where there is a node; `exists` would leave one for ever on a name that
            // never comes again.
            match read(|| client.get_and_watch(&path)).await {
                Ok((_, watch)) => return Ok(self.somebody(name, watch)),
                Err(Error::Refused(Refusal::NoNode)) => names = read(|| self.list(client)).await?.0,
                Err(error) => return Err(error),
            }
        }
    }

    /// The nearest one who keeps `own` waiting.
    fn nearest<'a>(&self, names: &'a [String], own: &NodePath) -> Result<Option<&'a str>, Error> {
        let (mut nearest, mut is_listed) = (None, false);
        let own = self.naming.contender(own.name()).map(|(sequence, _)| sequence);
        for name in names {
            let Some((sequence, role)) = self.naming.contender(name) else { continue };
            is_listed |= Some(sequence) == own;
            let is_ahead = Some(sequence) < own && self.role.waits_for(role);
            if is_ahead && nearest.is_none_or(|(best, _)| best < sequence) {
                nearest = Some((sequence, &**name));
            }
        }
        match is_listed {
            true => Ok(nearest.map(|(_, name)| name)),
            // Our node is gone though nothing of ours removed it: the place is lost, as if the session were.
            false => Err(Error::Refused(Refusal::NoNode)),
        }
    }

    /// Whether nobody keeps `own` waiting, as far as was seen.
    pub(super) fn is_first(&self, own: &NodePath, seen: &Seen) -> bool {
        match seen {
            Seen::Others(count) => *count == 0,
            Seen::Names(names) => matches!(self.nearest(names, own), Ok(None)),
        }
    }

    fn somebody(&self, name: &str, watch: Watch) -> Ahead {
        let is_exclusive = self.naming.contender(name).is_some_and(|(_, role)| role == Role::Exclusive);
        Ahead::Somebody { watch, is_exclusive }
    }

    /// Who is the first of those in line.
    pub(crate) fn first(&self, names: &[String]) -> Option<NodePath> {
        let place = |name: &String| Some((self.naming.contender(name)?.0, name.clone()));
        let (_, name) = names.iter().filter_map(place).min()?;
        self.directory.child(&name).ok()
    }

    /// Asks for the names in the directory.
    pub(crate) fn list<C: Client>(&self, client: &C) -> Call<GetChildren> {
        client.children(&self.directory)
    }

    fn child(&self, name: &str) -> Result<NodePath, Error> {
        self.directory.child(name).map_err(|_| Error::Protocol("a child's name is not one".into()))
    }

    /// Whether a contender that came now would have to wait. 1 read.
    pub(super) async fn is_taken<C: Client>(&self, client: &C) -> Result<bool, Error> {
        if self.role == Role::Exclusive {
            let stat = read(|| client.exists(&self.directory)).await?;
            return Ok(stat.is_some_and(|stat| stat.num_children > 0));
        }
        match read(|| self.list(client)).await {
            Ok((names, _)) => Ok(names
                .iter()
                .any(|name| self.naming.contender(name).is_some_and(|(_, role)| self.role.waits_for(role)))),
            Err(Error::Refused(Refusal::NoNode)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Everybody in line, in order.
    pub(crate) async fn contenders<C: Client>(&self, client: &C) -> Result<Vec<Contender>, Error> {
        let names = match read(|| self.list(client)).await {
            Ok((names, _)) => names,
            Err(Error::Refused(Refusal::NoNode)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let place = |name: &String| self.naming.contender(name).map(|(sequence, role)| (sequence, role, name.clone()));
        let mut line: Vec<(Sequence, Role, String)> = names.iter().filter_map(place).collect();
        line.sort_by_key(|(sequence, ..)| *sequence);
        let paths = line.into_iter().filter_map(|(_, role, name)| Some((self.directory.child(&name).ok()?, role)));
        // All reads leave together.
        let reads: Vec<_> = paths.map(|(path, role)| (client.get(&path), path, role)).collect();
        let mut contenders = Vec::with_capacity(reads.len());
        for (pending, path, role) in reads {
            let outcome = match pending.await {
                Err(Error::ConnectionLost) => read(|| client.get(&path)).await,
                first => first,
            };
            let (data, stat) = match outcome {
                // Left while we were reading.
                Err(Error::Refused(Refusal::NoNode)) => continue,
                found => found?,
            };
            contenders.push(Contender {
                path,
                is_shared: role == Role::Shared,
                owner: owner(&data),
                session: SessionId(stat.ephemeral_owner),
                token: Token(stat.czxid),
            });
        }
        Ok(contenders)
    }
}

/// What a contender's data says of it to people: everything but our own last line, the attempt's number.
pub(crate) fn owner(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    text.rsplit_once('\n').map_or(&*text, |(owner, _)| owner).to_owned()
}

/// Awaits a read; where the connection is lost it is asked again, which a read may be (`Request::is_repeatable`). The one place
/// for retries: what changes something is never simply repeated.
pub(crate) async fn read<O: Operation>(ask: impl Fn() -> Call<O>) -> Result<O::Output, Error> {
    loop {
        match ask().await {
            Err(Error::ConnectionLost) => {}
            outcome => return outcome,
        }
    }
}

/// As [`read`], once what was on its way is over: it tells whether a write that was not answered has happened. Both leave
/// together.
pub(crate) async fn settled<C: Client, O: Operation>(
    client: &C,
    path: &NodePath,
    ask: impl Fn() -> Call<O>,
) -> Result<O::Output, Error> {
    loop {
        let (settled, read) = (client.settle(path), ask());
        match (settled.await, read.await) {
            (Err(Error::ConnectionLost), _) | (_, Err(Error::ConnectionLost)) => {}
            (Err(error), _) => return Err(error),
            (Ok(()), outcome) => return outcome,
        }
    }
}

/// As [`read`], of a server that has caught up first: what had changed before the call is seen. Both leave together.
pub(crate) async fn synced<C: Client, O: Operation>(
    client: &C,
    path: &NodePath,
    ask: impl Fn() -> Call<O>,
) -> Result<O::Output, Error> {
    loop {
        let (synced, read) = (client.sync(path), ask());
        match (synced.await, read.await) {
            (Err(Error::ConnectionLost), _) | (_, Err(Error::ConnectionLost)) => {}
            (_, outcome) => return outcome,
        }
    }
}

/// The node whose creation was not answered, if it was made. The search is for nodes of the current session only: one of an
/// earlier session is no place to stand on.
pub(crate) async fn find_own<C: Client + Clone + 'static>(client: &C, find: FindOwn) -> Result<Option<Created>, Error> {
    match search(client, find).await {
        // A session that is gone has taken the node with it, or will.
        Err(Error::SessionExpired) => Ok(None),
        found => found,
    }
}

/// A search for a node that is taken away when it is found and nobody waits for it any more.
pub(crate) fn search<C: Client + Clone + 'static>(client: &C, find: FindOwn) -> Call<FindOwn> {
    let undo = client.clone();
    client.call(find).on_abandon(move |found| {
        if let Ok(Some(created)) = found {
            take_away(&undo, &created);
        }
    })
}

fn take_away<C: Client>(client: &C, created: &Created) {
    drop(client.submit(Request::Release(release(created, false))));
}

pub(super) fn release(created: &Created, hand_over: bool) -> Release {
    Release {
        path: created.path.clone(),
        czxid: created.stat.czxid,
        session: SessionId(created.stat.ephemeral_owner),
        hand_over,
        may_be_gone: false,
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("directory", &self.directory)
            .field("naming", &self.naming)
            .field("role", &self.role)
            .field("owner", &self.owner)
            .field("confirm", &self.confirm)
            .finish_non_exhaustive()
    }
}
