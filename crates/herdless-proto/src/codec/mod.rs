//! Values to bytes and back: jute, ZooKeeper's serialisation (`zookeeper.jute` names every record).

mod connect;
mod jute;
mod opcode;
mod received;
mod reply;
mod request;
mod sasl;

pub use connect::{ConnectRequest, ConnectResponse};
pub use jute::{Malformed, Reader, Writer, text_of};
pub use opcode::OpCode;
pub(crate) use received::{NOT_A_READ, NULL_PATH};
pub use received::{read_request, read_set_watches};
pub use reply::{ReplyHeader, Shape, read_event, read_reply, write_event, write_refusal, write_reply};
pub use request::{SetWatches, write_ping, write_request, write_set_watches};
pub use sasl::{read_sasl_response, write_sasl_request};

/// The xid of notifications (`ClientCnxn.NOTIFICATION_XID`).
pub const NOTIFICATION_XID: i32 = -1;
/// The xid of pings (`ClientCnxn.PING_XID`).
pub const PING_XID: i32 = -2;
/// The xid of the proofs of identities (`ClientCnxn.AUTHPACKET_XID`).
pub const AUTH_XID: i32 = -4;
/// The xid of SetWatches (`ClientCnxn.SET_WATCHES_XID`).
pub const SET_WATCHES_XID: i32 = -8;
