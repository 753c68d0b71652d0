//! How many permits there are, and how many of them are out.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use herdless_core::{
    Acl, Call, Client, ClientExt, Create, CreateMode, Error, GetChildren, GetData, MultiOp, NodePath, Refusal, SetData,
    Stat, Version, Watch,
};

use super::lease::parse;
use crate::contend::read;

/// Where the number of permits comes from.
#[derive(Clone, Debug)]
pub(super) enum Permits {
    /// Every process says it, and all say the same.
    Fixed(u32),
    /// It is in a node: a Curator `SharedCount`. `seed` is written where there is none.
    Shared { path: NodePath, seed: u32 },
}

/// A number of permits.
#[derive(Clone, Copy)]
struct Number {
    permits: u32,
    /// Of the node that says it.
    version: Option<Version>,
}

/// What was read.
pub(super) struct Room {
    /// `None` where the node is missing that says it.
    number: Option<Number>,
    used: u64,
    /// Whether the directory of the leases is there.
    pub(super) has_directory: bool,
}

/// The reads, on their way.
pub(super) struct Asked<'a> {
    permits: PermitsAsked<'a>,
    leases: Call<GetChildren>,
}

enum PermitsAsked<'a> {
    Fixed(u32),
    Shared(&'a NodePath, Call<GetData>),
}

/// What tells that the room has changed.
pub(super) struct Changes {
    leases: Option<Watch>,
    permits: Option<Watch>,
}

impl Room {
    /// How many are left, if there are `seed` where the node is missing that says it. Less than none where the number was
    /// made smaller, which takes nothing away from anybody.
    pub(super) fn free(&self, seed: u32) -> i64 {
        i64::from(self.number.map_or(seed, |number| number.permits)).saturating_sub_unsigned(self.used)
    }

    pub(super) fn is_seeded(&self) -> bool {
        self.number.is_some()
    }

    /// Holds a grant to the number that was read: with it, the number is the same when the grant is made.
    pub(super) fn check(&self, permits: &Permits) -> Option<MultiOp> {
        let version = self.number?.version?;
        match permits {
            Permits::Shared { path, .. } => Some(MultiOp::check(path, version)),
            Permits::Fixed(_) => None,
        }
    }

    fn new(number: Option<Number>, leases: Option<Vec<String>>) -> Self {
        let used = leases.iter().flatten().map(|name| u64::from(parse(name).1)).sum();
        Self { number, used, has_directory: leases.is_some() }
    }
}

impl Asked<'_> {
    /// # Errors
    ///
    /// `ConnectionLost` where one of the answers was lost; `Malformed`.
    pub(super) async fn answer(self) -> Result<Room, Error> {
        let leases = found(self.leases.await)?.map(|(names, _)| names);
        let number = match self.permits {
            PermitsAsked::Fixed(permits) => Some(Number { permits, version: None }),
            PermitsAsked::Shared(path, read) => {
                found(read.await)?.map(|(data, stat)| decode(path, &data, &stat)).transpose()?
            }
        };
        Ok(Room::new(number, leases))
    }
}

impl Permits {
    /// The number to go by where the node is missing.
    pub(super) fn seed(&self) -> u32 {
        match self {
            Self::Fixed(permits) => *permits,
            Self::Shared { seed, .. } => *seed,
        }
    }

    /// Asks for all that counts, in one round trip.
    pub(super) fn ask<C: Client>(&self, client: &C, leases: &NodePath) -> Asked<'_> {
        let permits = match self {
            Self::Fixed(permits) => PermitsAsked::Fixed(*permits),
            Self::Shared { path, .. } => PermitsAsked::Shared(path, client.get(path)),
        };
        Asked { permits, leases: client.children(leases) }
    }

    /// Reads all that counts. 1 round trip.
    pub(super) async fn look<C: Client>(&self, client: &C, leases: &NodePath) -> Result<Room, Error> {
        loop {
            match self.ask(client, leases).answer().await {
                Err(Error::ConnectionLost) => {}
                outcome => return outcome,
            }
        }
    }

    /// As [`look`](Self::look), and watches the leases, and the number where it is asked for. A watch on the leases is
    /// used up by the lease that one makes oneself; one on the number stays where the number does.
    pub(super) async fn watch<C: Client>(
        &self,
        client: &C,
        leases: &NodePath,
        and_number: bool,
    ) -> Result<(Room, Changes), Error> {
        // All leave together; a lost one is asked for again.
        let names = client.children_and_watch(leases);
        let (number, number_watch) = match self {
            Self::Fixed(permits) => (Some(Number { permits: *permits, version: None }), None),
            Self::Shared { path, .. } if and_number => match found(read(|| client.get_and_watch(path)).await)? {
                Some(((data, stat), watch)) => (Some(decode(path, &data, &stat)?), Some(watch)),
                None => (None, None),
            },
            Self::Shared { path, .. } => {
                let number = found(read(|| client.get(path)).await)?;
                (number.map(|(data, stat)| decode(path, &data, &stat)).transpose()?, None)
            }
        };
        let names = match names.await {
            Err(Error::ConnectionLost) => read(|| client.children_and_watch(leases)).await,
            first => first,
        };
        let (names, leases) = found(names)?.map(|((names, _), watch)| (names, watch)).unzip();
        Ok((Room::new(number, names), Changes { leases, permits: number_watch }))
    }

    /// Writes the number where there is none.
    pub(super) async fn write_seed<C: Client>(&self, client: &C, acl: &Arc<[Acl]>) -> Result<(), Error> {
        let Self::Shared { path, seed } = self else { return Ok(()) };
        match client.call(create(path, encode(*seed), acl)).await {
            // Whether a lost one was carried out shows when the number is read again.
            Ok(_) | Err(Error::Refused(Refusal::NodeExists) | Error::ConnectionLost | Error::Uncertain(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Sets the number, where the node is there.
pub(super) fn set<C: Client>(client: &C, path: &NodePath, permits: u32) -> Call<SetData> {
    client.set(path, encode(permits), Version::ANY)
}

fn create(path: &NodePath, data: Bytes, acl: &Arc<[Acl]>) -> Create {
    Create { path: path.clone(), data: data.into(), acl: acl.clone(), mode: CreateMode::Persistent }
}

/// As Curator's `SharedCount.toBytes`: `ByteBuffer.putInt`.
fn encode(permits: u32) -> Bytes {
    Bytes::copy_from_slice(&permits.to_be_bytes())
}

fn decode(path: &NodePath, data: &[u8], stat: &Stat) -> Result<Number, Error> {
    let permits = <[u8; 4]>::try_from(data).ok().and_then(|bytes| u32::try_from(i32::from_be_bytes(bytes)).ok());
    let expected = "a number of permits: 4 bytes, big-endian, not negative";
    match permits {
        Some(permits) => Ok(Number { permits, version: Some(Version(stat.version)) }),
        None => Err(Error::Malformed { path: path.clone(), expected }),
    }
}

fn found<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Error::Refused(Refusal::NoNode)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Changes {
    /// Waits for the first.
    pub(super) async fn first(mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            for watch in [&mut self.leases, &mut self.permits].into_iter().flatten() {
                if let Poll::Ready(event) = Pin::new(watch).poll(cx) {
                    return Poll::Ready(event.map(drop));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The names in the leases' directory.
pub(super) async fn leases<C: Client>(client: &C, directory: &NodePath) -> Result<Vec<String>, Error> {
    let listed: Option<(Vec<String>, Stat)> = found(read(|| client.children(directory)).await)?;
    Ok(listed.map(|(names, _)| names).unwrap_or_default())
}
