//! What it takes to go on with a session in another client.

use std::fmt;
use std::time::Duration;

use herdless_core::{Secret, SessionId, Zxid};
use thiserror::Error;
use zeroize::Zeroizing;

/// A session's password. It is overwritten when it is dropped.
pub(super) type Password = Zeroizing<[u8; 16]>;

/// What it takes to go on with a session in another client, also one in another process.
///
/// Whoever has them can act as the session: change what it may change, close it, take its ephemeral nodes along. So
/// they are in no `Debug` output, the password is overwritten when they are dropped, and to write them down takes a
/// call of its own ([`encode`](Self::encode)).
///
/// ```
/// use herdless_proto::client::SessionCredentials;
///
/// # let bytes = [&[1][..], &7i64.to_be_bytes(), &[9; 16], &10_000u32.to_be_bytes(), &42i64.to_be_bytes()].concat();
/// # let credentials = SessionCredentials::decode(&bytes).unwrap();
/// let written_down = credentials.encode();
/// let read_again = SessionCredentials::decode(written_down.expose())?;
/// assert_eq!(read_again.id(), credentials.id());
/// # Ok::<(), herdless_proto::client::CredentialsError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SessionCredentials {
    pub(super) id: SessionId,
    pub(super) password: Password,
    pub(super) timeout: Duration,
    pub(super) last_zxid: Zxid,
}

/// Why bytes are no credentials.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialsError {
    /// They have another length.
    #[error("session credentials of {found} bytes instead of {LENGTH}")]
    Length {
        /// The number of bytes.
        found: usize,
    },
    /// They are in a format that is not known here.
    #[error("session credentials of version {found}; this is version {VERSION}")]
    Version {
        /// The version that they name.
        found: u8,
    },
    /// A field has a value that no session has.
    #[error("session credentials with an impossible {field}")]
    Field {
        /// Which one.
        field: &'static str,
    },
}

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 8 + 16 + 4 + 8;

impl SessionCredentials {
    /// The session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The timeout that the server agreed to last.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The last change that the session has seen. A server that is behind it will not serve the session.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// The credentials as 37 bytes, to be kept as safe as a password. Version 1, numbers in big-endian order:
    ///
    /// | offset | bytes | what |
    /// |---|---|---|
    /// | 0 | 1 | the version: 1 |
    /// | 1 | 8 | the id of the session |
    /// | 9 | 16 | its password |
    /// | 25 | 4 | its timeout in milliseconds |
    /// | 29 | 8 | the last zxid that it has seen |
    pub fn encode(&self) -> Secret {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.id.0.to_be_bytes());
        bytes.extend_from_slice(&*self.password);
        bytes.extend_from_slice(&millis(self.timeout).to_be_bytes());
        bytes.extend_from_slice(&self.last_zxid.0.to_be_bytes());
        Secret::new(bytes)
    }

    /// The credentials that [`encode`](Self::encode) has written.
    ///
    /// # Errors
    ///
    /// Anything else than bytes of that length, version and range. Whether they open a session only a server knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, CredentialsError> {
        match bytes.first() {
            Some(&VERSION) | None => {}
            Some(&found) => return Err(CredentialsError::Version { found }),
        }
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| CredentialsError::Length { found: bytes.len() })?;
        let mut rest = &bytes[1..];
        let id = i64::from_be_bytes(take(&mut rest));
        let password = Password::new(take(&mut rest));
        let timeout = i32::from_be_bytes(take(&mut rest));
        let last_zxid = i64::from_be_bytes(take(&mut rest));
        match (id, timeout, last_zxid) {
            (0, ..) => Err(CredentialsError::Field { field: "id" }),
            (_, ..1, _) => Err(CredentialsError::Field { field: "timeout" }),
            (.., ..0) => Err(CredentialsError::Field { field: "zxid" }),
            _ => Ok(Self {
                id: SessionId(id),
                password,
                timeout: Duration::from_millis(timeout.unsigned_abs().into()),
                last_zxid: Zxid(last_zxid),
            }),
        }
    }
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (field, others) = rest.split_first_chunk().expect("the length was checked");
    *rest = others;
    *field
}

// Whoever reads the password has the session.
impl fmt::Debug for SessionCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCredentials")
            .field("id", &self.id)
            .field("timeout", &self.timeout)
            .field("last_zxid", &self.last_zxid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> SessionCredentials {
        SessionCredentials {
            id: SessionId(0x0102_0304_0506_0708),
            password: Password::new(*b"0123456789abcdef"),
            timeout: Duration::from_millis(4_000),
            last_zxid: Zxid(0x99),
        }
    }

    #[test]
    fn the_layout_is_the_documented_one_and_read_again() {
        let written = credentials().encode();
        let expected = b"\x01\x01\x02\x03\x04\x05\x06\x07\x080123456789abcdef\0\0\x0f\xa0\0\0\0\0\0\0\0\x99";
        assert_eq!(written.expose(), expected);
        assert_eq!(SessionCredentials::decode(written.expose()), Ok(credentials()));
    }

    #[test]
    fn what_is_no_credentials_says_why() {
        let good = credentials().encode();
        let good = good.expose();
        for length in (0..LENGTH).chain([LENGTH + 1, 1_000]) {
            let mut bytes = good.to_vec();
            bytes.resize(length, 0);
            assert_eq!(SessionCredentials::decode(&bytes), Err(CredentialsError::Length { found: length }));
        }
        for version in [0, 2, 255] {
            let mut bytes = good.to_vec();
            bytes[0] = version;
            // A later version may have another length.
            for length in [1, LENGTH, 100] {
                bytes.resize(length, 0);
                assert_eq!(SessionCredentials::decode(&bytes), Err(CredentialsError::Version { found: version }));
            }
        }
        let impossible: [(_, &[u8], _); 4] =
            [(1, &[0; 8], "id"), (25, &[0; 4], "timeout"), (25, &[0x80, 0, 0, 0], "timeout"), (29, &[0xff; 8], "zxid")];
        for (offset, value, field) in impossible {
            let mut bytes = good.to_vec();
            bytes[offset..offset + value.len()].copy_from_slice(value);
            assert_eq!(SessionCredentials::decode(&bytes), Err(CredentialsError::Field { field }));
        }
    }

    #[test]
    fn the_password_is_in_no_debug_output() {
        let text = format!("{:?}", credentials());
        assert!(text.contains("4s") && !text.contains("password"), "{text}");
        assert!(!text.contains("48, 49") && !text.contains("0123"), "{text}");
    }
}
