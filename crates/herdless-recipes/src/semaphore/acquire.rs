//! Acquiring: stand in line, count, and make the grant.

use herdless_core::{Client, ClientExt, Error, MultiReply, Refusal, SessionState, Stat, Zxid};

use super::lease::Lease;
use super::permit::Permit;
use super::room::Room;
use super::{MOST_SPLIT, Options, Permits, Semaphore};
use crate::contend::{Line, Place, Seen};

/// How often the missing directory of the leases is made before the server's "no node" is believed.
const DIRECTORY_ATTEMPTS: u32 = 8;

impl<C: Client + Clone + 'static> Semaphore<C> {
    /// Waits for its turn and for enough free permits, and takes `weight` of them: all at once.
    ///
    /// 2 round trips when free; see the [costs](Self#costs) of the rest. The first time on a path, and after the server has
    /// removed its empty containers, 3 more.
    ///
    /// # Ordering
    ///
    /// First come, first served, in the order in which the server sees the requests. Nobody is overtaken, also where what is
    /// free would be enough for one who asks for less. The tokens of permits are in the order of the grants. A contender
    /// whose session expires while it waits starts again at the end of the line.
    ///
    /// With a shared number, who asks for more than there are waits until there are more, and everybody behind it too.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves the line and takes nothing, also where the answer to the grant is not there
    /// yet. The place in the line is lost.
    ///
    /// # Errors
    ///
    /// `Invalid`: no permits are asked for, or more than a fixed number of them. `Malformed`: the node of a shared number
    /// holds something else. `Closed` on a closed client; `Overloaded`; `Refused` where the server refuses the nodes
    /// (`NoAuth`, ..), and `Refused(NoNode)` where somebody else removed ours. A lost connection is no error: the wait goes
    /// on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{Permit, Semaphore};
    /// async fn within_a_second<C: Client + Clone + 'static>(semaphore: &Semaphore<C>) -> Option<Permit<C>> {
    ///     tokio::time::timeout(Duration::from_secs(1), semaphore.acquire(2)).await.ok()?.ok()
    /// }
    /// ```
    pub async fn acquire(&self, weight: u32) -> Result<Permit<C>, Error> {
        self.check(weight)?;
        loop {
            match self.attempt(weight, true).await {
                Ok(Some(permit)) => return Ok(permit),
                // A new place, at the end of the line.
                Ok(None) | Err(Error::SessionExpired) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes `weight` permits if they are free and nobody is in line, without waiting for anybody: `None` otherwise, also
    /// where somebody is just being served.
    ///
    /// Not to be had: 1 round trip, reads and no write. Free: 3 round trips.
    ///
    /// # Ordering
    ///
    /// Never overtakes a contender that is in line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and `SessionExpired`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::Semaphore;
    /// async fn unless_busy<C: Client + Clone + 'static>(semaphore: &Semaphore<C>) -> Result<bool, Error> {
    ///     let Some(_permit) = semaphore.try_acquire(1).await? else { return Ok(false) };
    ///     // .. the work ..
    ///     Ok(true)
    /// }
    /// ```
    pub async fn try_acquire(&self, weight: u32) -> Result<Option<Permit<C>>, Error> {
        self.check(weight)?;
        let options = &*self.options;
        let (line, room) = loop {
            // Both leave before either is awaited.
            let line = self.client.exists(options.line.directory());
            let room = options.permits.ask(&self.client, options.leases.directory());
            match (line.await, room.answer().await) {
                (Err(Error::ConnectionLost), _) | (_, Err(Error::ConnectionLost)) => {}
                (line, room) => break (line?, room?),
            }
        };
        if line.is_some_and(|stat| stat.num_children > 0) || room.free(options.permits.seed()) < i64::from(weight) {
            return Ok(None);
        }
        self.attempt(weight, false).await
    }

    fn check(&self, weight: u32) -> Result<(), Error> {
        if weight == 0 {
            return Err(Error::invalid("no permits are asked for"));
        }
        match self.options.permits {
            Permits::Fixed(permits) if weight > permits => {
                return Err(Error::invalid(format!("{weight} permits of {permits}")));
            }
            _ => {}
        }
        if self.options.is_split && weight > MOST_SPLIT {
            return Err(Error::invalid(format!("{weight} permits of a node each: at most {MOST_SPLIT} at once")));
        }
        Ok(())
    }

    /// One place in line, from its beginning to the grant. `None`: it would have to wait, and `waits` is not set.
    async fn attempt(&self, weight: u32, waits: bool) -> Result<Option<Permit<C>>, Error> {
        let options = &*self.options;
        let mut line = options.line.clone();
        line.owner = format!("{}\n{weight}", line.owner);
        let look = !waits || !line.expects_others();
        // The order of these reads is what makes the count right: who is first *by then* has everybody's leases in it.
        // For whoever was ahead and was granted, the lease and its leaving are one change (with Curator the lease is there
        // even before), so what shows it gone shows its lease, and so does everything read later in this session. Nobody
        // makes a lease after that but the first in line, which is this place until it leaves. What is missing from the
        // count can only have been given back.
        let (mut place, asked) = Place::enter(&line, &self.client, |client| {
            look.then(|| {
                let parent = client.exists(line.directory());
                (parent, options.permits.ask(client, options.leases.directory()))
            })
        })
        .await?;
        let (mut others, mut room) = (u32::MAX, None);
        if let Some((parent, asked)) = asked {
            let children = parent.await.ok().flatten().map(|stat| stat.num_children);
            others = children.and_then(|children| u32::try_from(children - 1).ok()).unwrap_or(u32::MAX);
            room = match asked.answer().await {
                Ok(room) if others == 0 => Some(room),
                Ok(_) | Err(Error::ConnectionLost) => None,
                Err(error) => return Err(error),
            };
        }
        if others > 0 && !waits {
            // Somebody was faster.
            return Ok(None);
        }
        place.wait(&line, Seen::Others(others)).await?;
        self.serve(&line, place, weight, room, waits).await
    }

    /// The place is the first in line: it counts, and waits until there is room. It alone watches the leases.
    async fn serve(
        &self,
        line: &Line,
        mut place: Place<C>,
        weight: u32,
        mut first_look: Option<Room>,
        waits: bool,
    ) -> Result<Option<Permit<C>>, Error> {
        let Options { permits, leases, .. } = &*self.options;
        // Only who has to wait for permits watches the number: what is set rarely keeps its watch for long.
        let mut watches_all = matches!(permits, Permits::Fixed(_));
        let mut directory_attempts = 0;
        loop {
            let (room, changes) = match first_look.take() {
                Some(room) => (room, None),
                None => {
                    let (room, changes) = permits.watch(&self.client, leases.directory(), watches_all).await?;
                    (room, Some(changes))
                }
            };
            if !room.is_seeded() {
                self.write_seed().await?;
                continue;
            }
            if room.free(permits.seed()) >= i64::from(weight) {
                // Our own lease is not to wake us.
                drop(changes);
                match self.grant(line, &mut place, weight, &room).await {
                    Ok(Some(others)) => return Ok(Some(Permit::new(place, others, weight))),
                    Ok(None) => {}
                    Err(Error::MultiRefused { refusal: Refusal::NoNode, .. })
                        if directory_attempts < DIRECTORY_ATTEMPTS =>
                    {
                        directory_attempts += 1;
                    }
                    Err(Error::MultiRefused { refusal, .. }) => return Err(Error::Refused(refusal)),
                    Err(error) => return Err(error),
                }
                continue;
            }
            if !waits {
                return Ok(None);
            }
            // The watches may be those of a later session than the one our place belongs to: nobody would tell us.
            if place.session().state() == SessionState::Lost {
                return Err(Error::SessionExpired);
            }
            match changes {
                Some(changes) if watches_all => changes.first().await?,
                _ => watches_all = true,
            }
        }
    }

    /// Makes the leases and leaves the line in one change. `None`: it did not happen, and is to be looked at again.
    async fn grant(
        &self,
        line: &Line,
        place: &mut Place<C>,
        weight: u32,
        room: &Room,
    ) -> Result<Option<Vec<Place<C>>>, Error> {
        let (client, options) = (&self.client, &*self.options);
        if !room.has_directory {
            options.leases.make_parents(client).await?;
        }
        let directory = options.leases.directory();
        let lease = Lease::new(directory, place.token(), weight, options.is_split, line.data(client));
        let mut operations: Vec<_> = lease.creates(&line.acl).collect();
        operations.extend(place.departure());
        operations.extend(room.check(&options.permits));
        let departure = lease.len();
        let stat = match place.multi(operations).on_abandon(lease.undo(client)).await {
            // A creation in a multi yields no Stat. But all of it is one change, and the departure sets a node.
            Ok(replies) => match replies.get(departure) {
                Some(MultiReply::Set(set)) => Stat { ephemeral_owner: place.session().id().0, ..made_by(set.mzxid) },
                _ => return Err(Error::Protocol("a multi's answer does not fit its operations".into())),
            },
            Err(Error::ConnectionLost | Error::Uncertain(_)) => match lease.find(client).await? {
                Some(created) => created.stat,
                None => return Ok(None),
            },
            Err(Error::MultiRefused { index, refusal }) => {
                return match (index.checked_sub(departure), refusal) {
                    // The directory of the leases is missing.
                    (None, _) => Err(Error::MultiRefused { index, refusal }),
                    // Our own place is gone: with its session, or by somebody's hand.
                    (Some(0 | 1), Refusal::NoNode) if place.session().state() == SessionState::Lost => {
                        Err(Error::SessionExpired)
                    }
                    // The number is another by now.
                    (Some(2..), Refusal::BadVersion | Refusal::NoNode) => Ok(None),
                    _ => Err(Error::Refused(refusal)),
                };
            }
            Err(error) => return Err(error),
        };
        let mut nodes = lease.created(stat);
        if stat.ephemeral_owner != place.session().id().0 {
            // Made by a later session in the name of a place that is gone: this is nobody's grant.
            nodes.for_each(|created| drop(Place::new(client, created)));
            return Err(Error::SessionExpired);
        }
        if let Some(first) = nodes.next() {
            place.exchange(first);
        }
        Ok(Some(nodes.filter_map(|created| Place::new(client, created)).collect()))
    }
}

fn made_by(czxid: Zxid) -> Stat {
    Stat { czxid, mzxid: czxid, ..Stat::default() }
}
