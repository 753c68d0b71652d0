//! A semaphore of weighted permits.

mod acquire;
mod lease;
mod permit;
mod room;

use std::fmt;
use std::sync::Arc;

use herdless_core::{Acl, Client, ClientExt, Error, NodePath, Refusal, SessionId};

use crate::contend::{Contender, Line, Naming, Role, Token, read};
pub use permit::Permit;
use room::Permits;

/// More nodes than this do not surely fit into one request.
const MOST_SPLIT: u32 = 1000;

/// A semaphore: of all processes that acquire it on one path, at most N permits are held together, and whoever asks for
/// several gets all of them at once or none.
///
/// First come, first served: whoever asks for much is not overtaken by those who ask for little, so it is never starved.
/// The price is that permits may lie idle while the first in line waits for more of them.
///
/// The layout is that of Curator's `InterProcessSemaphoreV2`, a line in `locks` and the grants in `leases`, so Java and Rust
/// processes share one number of permits. A Java process counts nodes: where there are such, and more than one permit is
/// acquired at once, set [`one_node_per_permit`](SemaphoreBuilder::one_node_per_permit).
///
/// Cloning is cheap, and clones contend with each other.
///
/// # What "at most N" means
///
/// With a fixed number, which every process must say alike: at no time are there grants of more than N permits on the
/// server. A [`Permit`] turns invalid before the server can give it away, as a [`Lock`](crate::Lock)'s guard does, so no
/// more than N are valid together while no process is paused and no clock runs slow.
///
/// With a [shared](SemaphoreBuilder::shared) number: every grant fits into the number that is in the node in the moment of
/// the grant; it is one change with a check of that. A greater number lets those in line have more at once. A smaller one
/// takes nothing away from those who hold: until enough of them have given back, more than N are held, and nobody is
/// granted anything.
///
/// # Costs
///
/// | operation | round trips | remarks |
/// |---|---|---|
/// | acquire, free | 2 | the names of all grants are read once |
/// | acquire, all permits out | 2, an event, 2 | the event is the first change of what is out |
/// | acquire, behind others | 2, an event, 2 | if there is room when it is the first in line |
/// | .. and then for permits | 1, an event, 2 | 2, an event, 2 with a shared number |
/// | a release, until the next holder knows | 2 | one waiter wakes, and then the one behind it, which is first in line now |
/// | release, dropped | 0 | sent, not awaited |
/// | release, awaited | 1 | |
/// | try_acquire, not to be had | 1 | reads, no write |
///
/// A grant is 4 requests, 5 with a shared number. Of n that wait, each release is an event for one, and each grant for the next.
///
/// In bytes, both ways, with a path of 64 characters and an owner of 8: 1,572 to acquire a permit and release it.
///
/// # When something goes wrong
///
/// | fault | what happens |
/// |---|---|
/// | connection lost | no error: what became of a lost reply is found out |
/// | session expired, waiting | it starts again at the end of the line |
/// | session expired, held | the permit is [invalid](crate::Grant::is_valid) before anybody else has it; guarded writes are refused |
/// | a future or a permit is dropped | the nodes go, and the next one is woken |
/// | the number is no number | `Malformed`, also for who waits for permits |
///
/// # Examples
///
/// ```
/// use herdless_core::NodePath;
/// use herdless_recipes::Semaphore;
/// # use herdless_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = MemoryServer::new().connect();
/// let connections = Semaphore::new(client, NodePath::parse("/limits/database")?, 20)?;
/// let permit = connections.acquire(3).await?;
/// println!("{} of 20 held with token {}", permit.weight(), permit.token());
/// permit.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Semaphore<C> {
    client: C,
    options: Arc<Options>,
}

struct Options {
    path: NodePath,
    line: Line,
    leases: Line,
    permits: Permits,
    is_split: bool,
}

/// Options of a [`Semaphore`].
#[derive(Clone, Debug)]
pub struct SemaphoreBuilder<C> {
    client: C,
    path: NodePath,
    permits: u32,
    is_shared: bool,
    is_split: bool,
    owner: Option<String>,
    acl: Arc<[Acl]>,
}

/// Somebody who holds permits of a [`Semaphore`] or waits for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitContender {
    /// Who.
    pub contender: Contender,
    /// How many permits.
    pub weight: u32,
}

impl<C: Client + Clone + 'static> Semaphore<C> {
    /// The semaphore on `path`, of as many permits as every process says. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Invalid`: there are no permits.
    pub fn new(client: C, path: NodePath, permits: u32) -> Result<Self, Error> {
        Self::builder(client, path, permits).build()
    }

    /// The semaphore on `path`, with options.
    pub fn builder(client: C, path: NodePath, permits: u32) -> SemaphoreBuilder<C> {
        let (is_shared, is_split, owner, acl) = (false, false, None, Acl::open());
        SemaphoreBuilder { client, path, permits, is_shared, is_split, owner, acl }
    }

    /// The semaphore's path.
    pub fn path(&self) -> &NodePath {
        &self.options.path
    }

    /// How many permits are free. By the time it is known it may have changed. 1 round trip.
    ///
    /// # Ordering
    ///
    /// What this session's server knows, which may lag behind others.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Malformed`: the node of a shared number holds something else. `Refused(NoAuth)`, `SessionExpired`, `Overloaded`,
    /// `Closed`.
    pub async fn available(&self) -> Result<u32, Error> {
        let (permits, leases) = (&self.options.permits, self.options.leases.directory());
        let free = permits.look(&self.client, leases).await?.free(permits.seed());
        Ok(u32::try_from(free.max(0)).unwrap_or(u32::MAX))
    }

    /// Makes it `permits` in all, for every process that shares the number. 0 stops all grants.
    ///
    /// 1 round trip; 2 where the number is written for the first time, and one more where parents are missing.
    ///
    /// # Ordering
    ///
    /// As one change: every grant is before it or after it. Of two that set the number, the later one wins.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the number set or not.
    ///
    /// # Errors
    ///
    /// `Invalid`: the number is not shared, or does not fit into a Java `int`. `ConnectionLost`: may or may not have
    /// happened. `Refused`, `SessionExpired`, `Overloaded`, `Closed`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error, NodePath};
    /// # use herdless_recipes::Semaphore;
    /// async fn halve<C: Client + Clone + 'static>(client: C, path: NodePath) -> Result<(), Error> {
    ///     let semaphore = Semaphore::builder(client, path, 10).shared().build()?;
    ///     semaphore.set_permits(5).await
    /// }
    /// ```
    pub async fn set_permits(&self, permits: u32) -> Result<(), Error> {
        let Permits::Shared { path, .. } = &self.options.permits else {
            return Err(Error::invalid("every process says the number of permits itself: it is not shared"));
        };
        check_shared(permits)?;
        loop {
            match room::set(&self.client, path, permits).await {
                // Written first as anybody would, then set: whoever else was first, the number is this one.
                Err(Error::Refused(Refusal::NoNode)) => self.write_seed().await?,
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Who holds permits, in the order of the grants. For people and tools: by the time it is known it may have changed.
    /// 2 round trips: a list, and all reads together.
    ///
    /// # Ordering
    ///
    /// A snapshot, less those who left while it was read.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// `Refused(NoAuth)`, `SessionExpired`, `Overloaded`, `Closed`.
    pub async fn holders(&self) -> Result<Vec<PermitContender>, Error> {
        let directory = self.options.leases.directory();
        let names = room::leases(&self.client, directory).await?;
        let paths = names.iter().filter_map(|name| directory.child(name).ok());
        // All reads leave together.
        let reads: Vec<_> = paths.map(|path| (self.client.get(&path), path)).collect();
        let mut holders: Vec<PermitContender> = Vec::with_capacity(reads.len());
        for (pending, path) in reads {
            let outcome = match pending.await {
                Err(Error::ConnectionLost) => read(|| self.client.get(&path)).await,
                first => first,
            };
            let (data, stat) = match outcome {
                Err(Error::Refused(Refusal::NoNode)) => continue,
                found => found?,
            };
            let (token, weight) = lease::parse(path.name());
            if let Some(holder) = token.and_then(|token| holders.iter_mut().find(|h| h.contender.token == token)) {
                // Another node of the same grant.
                holder.weight = holder.weight.saturating_add(weight);
                continue;
            }
            let text = String::from_utf8_lossy(&data);
            let owner = text.rsplit_once('\n').map_or(&*text, |(owner, _)| owner).to_owned();
            let session = SessionId(stat.ephemeral_owner);
            let token = token.unwrap_or(Token(stat.czxid));
            let contender = Contender { path, is_shared: true, owner: weighed(owner).0, session, token };
            holders.push(PermitContender { contender, weight });
        }
        holders.sort_by_key(|holder| holder.contender.token);
        Ok(holders)
    }

    /// Who is in line, the next one first, and for how many permits. Costs, ordering, cancel safety and errors as
    /// [`holders`](Self::holders).
    pub async fn waiters(&self) -> Result<Vec<PermitContender>, Error> {
        let line = self.options.line.contenders(&self.client).await?;
        let weighed = line.into_iter().map(|contender| {
            let (owner, weight) = weighed(contender.owner);
            PermitContender { contender: Contender { owner, ..contender }, weight }
        });
        Ok(weighed.collect())
    }

    async fn write_seed(&self) -> Result<(), Error> {
        let acl = &self.options.line.acl;
        match self.options.permits.write_seed(&self.client, acl).await {
            Err(Error::Refused(Refusal::NoNode)) => {
                self.options.line.make_parents(&self.client).await?;
                self.options.permits.write_seed(&self.client, acl).await
            }
            outcome => outcome,
        }
    }
}

/// What one of ours says of itself: who it is, and in the last line how many permits it wants. Others want one.
fn weighed(owner: String) -> (String, u32) {
    let weight = owner.rsplit_once('\n').and_then(|(rest, weight)| Some((rest.to_owned(), weight.parse().ok()?)));
    weight.unwrap_or((owner, 1))
}

fn check_shared(permits: u32) -> Result<(), Error> {
    match i32::try_from(permits) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid(format!("{permits} permits: a shared number is at most {}", i32::MAX))),
    }
}

impl<C: Client + Clone + 'static> SemaphoreBuilder<C> {
    /// Keeps the number of permits in the node `permits` below the path, where all processes read it and
    /// [`set_permits`](Semaphore::set_permits) changes it. The number given so far is written where there is none.
    ///
    /// It is a Curator `SharedCount`: a Java process passes `new SharedCount(client, path + "/permits", n)` to its
    /// `InterProcessSemaphoreV2`.
    pub fn shared(mut self) -> Self {
        self.is_shared = true;
        self
    }

    /// Makes a node for each permit, and not one for all that are acquired together: for Curator peers, which count nodes.
    /// At most 1000 permits can then be acquired at once. The default is no. Processes of both kinds understand each other.
    pub fn one_node_per_permit(mut self, is_split: bool) -> Self {
        self.is_split = is_split;
        self
    }

    /// What people will read about the holder in its nodes: a host, a service, a task. The default is the process id.
    ///
    /// Behind it are lines of ours, the permits and the number of the attempt: Curator shows them too.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The access control list of the nodes that are made, parents included. The default is open to anyone.
    pub fn acl(mut self, acl: impl Into<Arc<[Acl]>>) -> Self {
        self.acl = acl.into();
        self
    }

    /// The semaphore.
    ///
    /// # Errors
    ///
    /// `Invalid`: there are no permits, or too many for a shared number.
    pub fn build(self) -> Result<Semaphore<C>, Error> {
        if self.permits == 0 {
            return Err(Error::invalid("a semaphore of no permits"));
        }
        let child = |name| self.path.child(name).expect("a valid name below any valid path");
        let line = |directory| {
            let mut line = Line::new(directory, Naming::CURATOR_LOCK, Role::Exclusive);
            line.acl = self.acl.clone();
            line.owner = self.owner.clone().unwrap_or(line.owner);
            line
        };
        let permits = match self.is_shared {
            true => {
                check_shared(self.permits)?;
                Permits::Shared { path: child("permits"), seed: self.permits }
            }
            false => Permits::Fixed(self.permits),
        };
        let (places, leases) = (line(child("locks")), line(child("leases")));
        let options = Options { path: self.path.clone(), line: places, leases, permits, is_split: self.is_split };
        Ok(Semaphore { client: self.client, options: Arc::new(options) })
    }
}

impl<C> fmt::Debug for Semaphore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("path", &self.options.path)
            .field("permits", &self.options.permits)
            .finish_non_exhaustive()
    }
}
