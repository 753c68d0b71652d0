//! The directory that contenders stand in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use herdless_core::{
    Acl, Call, Client, ClientExt, Create, CreateMode, Created, Error, FindOwn, GetChildren, NodePath, Operation,
    Refusal, Release, Request, SessionId, Stat, Watch,
};

use super::name::{STEM, Sequence};
use super::token::Token;

/// A line of contenders: where it is, and how one's own node is made.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    directory: NodePath,
    prefix: NodePath,
    pub(crate) acl: Arc<[Acl]>,
    /// For people to read, in the data of one's own node.
    pub(crate) owner: String,
    /// Whether a hand-over is confirmed by a look at the directory: needed where others write contenders' data.
    pub(crate) confirm: bool,
    /// Whether the last who came here had to wait.
    expects_others: Arc<AtomicBool>,
}

/// Somebody in line, as [`Lock::contenders`](crate::Lock::contenders) finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The contender's node.
    pub path: NodePath,
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
    /// The watch on the nearest one.
    Somebody(Watch),
}

impl Line {
    pub(crate) fn new(directory: NodePath) -> Self {
        let prefix = directory.child(STEM).expect("the stem is a valid name below any valid path");
        let owner = format!("process {}", std::process::id());
        Self { directory, prefix, acl: Acl::open(), owner, confirm: false, expects_others: Arc::default() }
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

    pub(super) fn create(&self, data: &Bytes) -> Create {
        Create {
            path: self.prefix.clone(),
            data: data.clone(),
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

    /// The node whose creation was not answered, if it was made. Its data has the attempt's number, and the search is
    /// for nodes of the current session only: one of an earlier session is no place to stand on.
    pub(super) async fn find_own<C: Client + Clone + 'static>(
        &self,
        client: &C,
        data: &Bytes,
    ) -> Result<Option<Created>, Error> {
        match search(client, self.find(data)).await {
            // A session that is gone has taken the node with it, or will.
            Err(Error::SessionExpired) => Ok(None),
            found => found,
        }
    }

    fn find(&self, data: &Bytes) -> FindOwn {
        FindOwn { prefix: self.prefix.clone(), data: data.clone() }
    }

    /// Makes the missing levels of the directory as containers, which the server removes again when they are empty.
    /// One round trip for all of them: those that are there answer "exists", in order.
    pub(super) async fn make_parents<C: Client>(&self, client: &C) -> Result<(), Error> {
        match self.make_levels(client, CreateMode::Container).await {
            // A server without containers.
            Err(Error::Refused(Refusal::Unimplemented)) => self.make_levels(client, CreateMode::Persistent).await,
            made => made,
        }
    }

    async fn make_levels<C: Client>(&self, client: &C, mode: CreateMode) -> Result<(), Error> {
        let create = |path| client.call(Create { path, data: Bytes::new(), acl: self.acl.clone(), mode });
        let levels: Vec<_> = self.directory.levels().map(create).collect();
        for level in levels {
            match level.await {
                // Whether a lost one was made shows when the contender's own node is; so does whether the server has removed
                // an empty level again meanwhile.
                Ok(_) | Err(Error::Refused(Refusal::NodeExists | Refusal::NoNode) | Error::ConnectionLost) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Looks for the one ahead of `own` by its number. Our own contenders' names are known from their numbers alone, so
    /// this reads one node, however long the line; where there is a gap, or a contender with another name, the
    /// directory is listed once.
    pub(super) async fn ahead_by_number<C: Client>(&self, client: &C, own: &NodePath) -> Result<Ahead, Error> {
        let Some(name) = Sequence::of(own.name()).and_then(Sequence::name_before) else {
            return Ok(Ahead::Nobody);
        };
        match self.watch(client, &name).await? {
            Some(watch) => Ok(Ahead::Somebody(watch)),
            None => self.ahead_by_list(client, own).await,
        }
    }

    /// Looks for the nearest one ahead of `own` in the directory.
    pub(super) async fn ahead_by_list<C: Client>(&self, client: &C, own: &NodePath) -> Result<Ahead, Error> {
        let own = Sequence::of(own.name());
        loop {
            let list = || client.call(GetChildren { path: self.directory.clone(), watch: false });
            let (names, _) = read(list).await?;
            let contenders = names.into_iter().filter_map(|name| Some((Sequence::of(&name)?, name)));
            let (mut nearest, mut is_listed) = (None, false);
            for (sequence, name) in contenders {
                is_listed |= Some(sequence) == own;
                if Some(sequence) < own && nearest.as_ref().is_none_or(|(best, _)| *best < sequence) {
                    nearest = Some((sequence, name));
                }
            }
            if !is_listed {
                // Our node is gone though nothing of ours removed it: the place is lost, as if the session were.
                return Err(Error::Refused(Refusal::NoNode));
            }
            let Some((_, name)) = nearest else {
                return Ok(Ahead::Nobody);
            };
            if let Some(watch) = self.watch(client, &name).await? {
                return Ok(Ahead::Somebody(watch));
            }
        }
    }

    /// Watches a contender. Reading the data leaves a watch only where there is a node; `exists` would leave one for
    /// ever on a name that never comes again.
    async fn watch<C: Client>(&self, client: &C, name: &str) -> Result<Option<Watch>, Error> {
        let path = self.directory.child(name).map_err(|_| Error::Protocol("a child's name is not one".into()))?;
        match read(|| client.get_and_watch(&path)).await {
            Ok((_, watch)) => Ok(Some(watch)),
            Err(Error::Refused(Refusal::NoNode)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory's Stat.
    pub(crate) async fn stat<C: Client>(&self, client: &C) -> Result<Option<Stat>, Error> {
        read(|| client.exists(&self.directory)).await
    }

    /// Everybody in line, in order.
    pub(crate) async fn contenders<C: Client>(&self, client: &C) -> Result<Vec<Contender>, Error> {
        let names = match read(|| client.children(&self.directory)).await {
            Ok((names, _)) => names,
            Err(Error::Refused(Refusal::NoNode)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut line: Vec<_> = names.iter().filter_map(|name| Some((Sequence::of(name)?, name))).collect();
        line.sort();
        let paths = line.into_iter().filter_map(|(_, name)| self.directory.child(name).ok());
        // All reads leave together.
        let reads: Vec<_> = paths.map(|path| (client.get(&path), path)).collect();
        let mut contenders = Vec::with_capacity(reads.len());
        for (pending, path) in reads {
            let outcome = match pending.await {
                Err(Error::ConnectionLost) => read(|| client.get(&path)).await,
                first => first,
            };
            let (data, stat) = match outcome {
                // Left while we were reading.
                Err(Error::Refused(Refusal::NoNode)) => continue,
                found => found?,
            };
            let text = String::from_utf8_lossy(&data);
            contenders.push(Contender {
                path,
                owner: text.rsplit_once('\n').map_or(&*text, |(owner, _)| owner).to_owned(),
                session: SessionId(stat.ephemeral_owner),
                token: Token(stat.czxid),
            });
        }
        Ok(contenders)
    }
}

/// Awaits a read; where the connection is lost it is asked again, which a read may be. The one place for retries: what
/// changes something is never simply repeated.
async fn read<O: Operation>(ask: impl Fn() -> Call<O>) -> Result<O::Output, Error> {
    loop {
        match ask().await {
            Err(Error::ConnectionLost) => {}
            outcome => return outcome,
        }
    }
}

/// A search for a node that is taken away when it is found and nobody waits for it any more.
fn search<C: Client + Clone + 'static>(client: &C, find: FindOwn) -> Call<FindOwn> {
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
    }
}
