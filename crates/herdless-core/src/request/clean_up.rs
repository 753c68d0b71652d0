//! What a client owes to others, and sees to over reconnects.

use bytes::Bytes;

use crate::{NodePath, SessionId, Zxid};

/// Delete a node that this session made, and keep at it over reconnects until it is gone or the session is.
///
/// It is never blindly sent again: the parent may have been removed and made anew meanwhile, and the name may be
/// somebody else's. After a lost connection, after a wait for one, and where the node [may be gone](Self::may_be_gone),
/// the backend reads the node, compares `czxid`, and deletes only its own.
/// Where a server says [`Throttled`](crate::Refusal::Throttled), or a code that leaves the effect open, the backend goes on after a
/// pause. The request does not count against the limit of requests in flight, so a release is never refused as overloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The node.
    pub path: NodePath,
    /// The change that created it.
    pub czxid: Zxid,
    /// The session that made it. Once the client has another, the request ends with
    /// [`SessionExpired`](crate::Error::SessionExpired) and deletes nothing: the server has removed the node or will.
    pub session: SessionId,
    /// Whether to tell whoever watches the node's data that its *holder* leaves: the data is set in the same change,
    /// so that the watch fires [`DataChanged`](crate::EventKind::DataChanged) and not `Deleted`.
    pub hand_over: bool,
    /// Whether the node may be gone already, and its name somebody else's: its deletion was sent with another request whose
    /// outcome is not known, or others may have removed it. Then even the first deletion comes after a look.
    pub may_be_gone: bool,
}

/// Look for an ephemeral node of this session by its data, after the answer to its creation was lost.
///
/// The backend lets what was on its way be over first, so "not found" means that the creation did not and will not happen.
/// It survives reconnects and servers that have too much to do, as a [`Release`] does, and does not count against the limit of
/// requests in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindOwn {
    /// What the node's path begins with: the path of the sequential create.
    pub prefix: NodePath,
    /// Its data, exactly.
    pub data: Bytes,
}
