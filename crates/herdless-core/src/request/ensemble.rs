//! Requests about who asks, and whom.

use crate::Secret;

/// Prove an identity to the server. It is proven again on every connection from then on, before anything else is sent, also in
/// later sessions.
///
/// An identity that the server does not accept is the end of the client, as it is of ZooKeeper's own: the server hangs up, and
/// everything ends with [`AuthFailed`](crate::Refusal::AuthFailed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How: `digest`, or what else the server knows.
    pub scheme: String,
    /// The proof in the scheme's notation; of `digest` `user:password`.
    pub credentials: Secret,
}

/// List one's identities as the server knows them (ZooKeeper 3.7 and later).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhoAmI;

/// Read the configuration of the ensemble: the data of `/zookeeper/config`, which a chroot does not hide. Empty on a server
/// that stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetConfig;

/// Change the configuration of the ensemble, either by who joins and who leaves or to a whole new one. The server must allow
/// it (`reconfigEnabled`), and the caller needs `WRITE` on `/zookeeper/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconfig {
    /// Servers to add or change, `server.<id>=<address>;..`, comma-separated.
    pub joining: Option<String>,
    /// The ids of servers to remove, comma-separated.
    pub leaving: Option<String>,
    /// All servers of the new configuration, in place of the two above.
    pub members: Option<String>,
    /// The version that the present configuration must have; −1 for any.
    pub version: i64,
}
