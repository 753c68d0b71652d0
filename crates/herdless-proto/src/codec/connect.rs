//! The handshake: the only frames without a header (`ConnectRequest`, `ConnectResponse`).

use std::fmt;

use zeroize::Zeroize;

use super::{Malformed, Reader, Writer};

/// What a client opens a connection with.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The last change that the client has seen; a server that is behind it turns the client away.
    pub last_zxid_seen: i64,
    /// The session timeout that the client wants, in milliseconds. The server clamps it, at every reconnect anew.
    pub timeout_ms: i32,
    /// The session to go on with; 0 for a new one.
    pub session_id: i64,
    /// The session's password; zeros for a new one.
    pub password: [u8; 16],
    /// Whether a read-only server will do; clients before 3.4 do not say.
    pub read_only: Option<bool>,
}

/// What the server says to it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectResponse {
    /// The negotiated timeout in milliseconds; 0 says that the session is no more.
    pub timeout_ms: i32,
    /// The session.
    pub session_id: i64,
    /// Its password.
    pub password: [u8; 16],
    /// Whether the server is read-only: said to a client that has said its part.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Writes the request.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(0);
        w.long(self.last_zxid_seen);
        w.int(self.timeout_ms);
        w.long(self.session_id);
        // Sixteen bytes also for a new session: ClickHouse Keeper accepts no other length.
        w.buffer(&self.password);
        self.read_only.into_iter().for_each(|read_only| w.bool(read_only));
    }

    /// Reads a request. A password of another length than ours is read as zeros: it opens no session, and a new session has
    /// no use for it.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let _protocol_version = r.int()?;
        Ok(Self {
            last_zxid_seen: r.long()?,
            timeout_ms: r.int()?,
            session_id: r.long()?,
            password: r.buffer()?.try_into().unwrap_or([0; 16]),
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }
}

impl ConnectResponse {
    /// Writes the response.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.int(0);
        w.int(self.timeout_ms);
        w.long(self.session_id);
        w.buffer(&self.password);
        self.read_only.into_iter().for_each(|read_only| w.bool(read_only));
    }

    /// Reads a response.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let _protocol_version = r.int()?;
        Ok(Self {
            timeout_ms: r.int()?,
            session_id: r.long()?,
            password: password(r)?,
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }
}

/// Some servers send no password where the session is no more.
fn password(r: &mut Reader<'_>) -> Result<[u8; 16], Malformed> {
    match r.buffer()? {
        [] => Ok([0; 16]),
        bytes => bytes.try_into().map_err(|_| Malformed("session password")),
    }
}

impl Drop for ConnectRequest {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl Drop for ConnectResponse {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

// A password opens the session to whoever reads it, so it is in no Debug output.
impl fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("last_zxid_seen", &self.last_zxid_seen)
            .field("timeout_ms", &self.timeout_ms)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConnectResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectResponse")
            .field("timeout_ms", &self.timeout_ms)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}
