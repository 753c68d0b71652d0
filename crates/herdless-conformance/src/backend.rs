//! What is on trial.

use std::time::Duration;

use herdless_core::Client;

/// A backend on trial: gives out clients, and does to them what a case asks for, as far as it can.
///
/// Only [`connect`](Self::connect) has to be there. Whoever says in [`has`](Self::has) that there is an ability also implements
/// the method that the ability names.
#[expect(async_fn_in_trait, reason = "the futures are awaited where they are made; a backend need not be `Send`")]
pub trait Backend: 'static {
    /// The clients.
    type Client: Client + Clone + 'static;

    /// A client with a session of its own, on the same tree as all others.
    async fn connect(&self) -> Self::Client;

    /// Whether the backend can do this. Cases that need what it cannot are left out.
    fn has(&self, ability: Ability) -> bool {
        let _ = ability;
        false
    }

    /// A client whose session [`expire`](Self::expire) can end.
    async fn connect_mortal(&self) -> Self::Client {
        self.connect().await
    }

    /// A client that has at most so many requests under way ([`Ability::Limit`]).
    async fn connect_limited(&self, in_flight: usize) -> Self::Client {
        let _ = in_flight;
        not_brought(Ability::Limit, "connect_limited")
    }

    /// Cuts the client's connection, and keeps it from coming back. Returns once the client knows
    /// ([`Ability::Disconnect`]).
    async fn disconnect(&self, client: &Self::Client) {
        let _ = client;
        not_brought(Ability::Disconnect, "disconnect")
    }

    /// Lets the client come back. Need not wait until it has.
    async fn reconnect(&self, client: &Self::Client) {
        let _ = client;
        not_brought(Ability::Disconnect, "reconnect")
    }

    /// Ends the session of a client of [`connect_mortal`](Self::connect_mortal), as a server does that has heard nothing of it,
    /// and lets the client have a new one. Returns once the client knows of the end ([`Ability::Expire`]). The server may take a
    /// while longer to remove the session's nodes.
    async fn expire(&self, client: &Self::Client) {
        let _ = client;
        not_brought(Ability::Expire, "expire")
    }

    /// Loses the answer to the client's next request: it is carried out, and the connection is lost and made again
    /// ([`Ability::LoseReply`]).
    async fn lose_next_reply(&self, client: &Self::Client) {
        let _ = client;
        not_brought(Ability::LoseReply, "lose_next_reply")
    }

    /// Lets so much time pass for the server's nodes, and has it remove those whose time is over ([`Ability::PassTime`]).
    async fn pass_time(&self, time: Duration) {
        let _ = time;
        not_brought(Ability::PassTime, "pass_time")
    }

    /// Has the server that leads killed, and returns once another one leads and the clients have found a server again
    /// ([`Ability::LoseLeader`]). All connections are lost meanwhile, whichever server they are to.
    async fn lose_leader(&self) {
        not_brought(Ability::LoseLeader, "lose_leader")
    }

    /// A client that talks to another server than this one does ([`Ability::LoseLeader`]).
    async fn connect_elsewhere(&self, client: &Self::Client) -> Self::Client {
        let _ = client;
        not_brought(Ability::LoseLeader, "connect_elsewhere")
    }
}

/// The case fails, and says what is to be done about it.
fn not_brought(ability: Ability, method: &str) -> ! {
    panic!("the backend says that it has Ability::{ability:?}, and does not implement Backend::{method}")
}

/// What not every backend, or not every server behind it, can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ability {
    /// [`Backend::disconnect`] and [`Backend::reconnect`].
    Disconnect,
    /// [`Backend::expire`].
    Expire,
    /// [`Backend::lose_next_reply`].
    LoseReply,
    /// [`Backend::connect_limited`].
    Limit,
    /// [`Backend::pass_time`].
    PassTime,
    /// [`Backend::lose_leader`] and [`Backend::connect_elsewhere`]: there are several servers, and any of them may lead.
    LoseLeader,
    /// The server allows nodes with a time to live (`zookeeper.extendedTypesEnabled`).
    TimeToLive,
    /// The server does not allow them.
    NoTimeToLive,
    /// The server tells a client that asks of its own watches only. Apache ZooKeeper does since 3.9: before, it tells of those of
    /// all clients.
    OwnWatches,
    /// The server knows the scheme `digest`.
    Digest,
    /// The server knows its clients by their addresses (scheme `ip`), and they come from 127.0.0.1.
    Loopback,
    /// The server stands alone: it has no ensemble to configure.
    Alone,
}
