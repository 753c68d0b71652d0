//! Access control lists.

use std::fmt;
use std::ops::BitOr;
use std::sync::{Arc, LazyLock};

use base64::prelude::{BASE64_STANDARD, Engine};
use sha1_smol::Sha1;

/// What an [`Acl`] entry allows: a set of the five permissions of ZooKeeper (`ZooDefs.Perms`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions(i32);

impl Permissions {
    /// Read the data and list the children.
    pub const READ: Self = Self(1);
    /// Set the data.
    pub const WRITE: Self = Self(2);
    /// Create children.
    pub const CREATE: Self = Self(4);
    /// Delete children.
    pub const DELETE: Self = Self(8);
    /// Set the access control list.
    pub const ADMIN: Self = Self(16);
    /// All five.
    pub const ALL: Self = Self(31);

    /// The set as ZooKeeper's bits.
    pub fn bits(self) -> i32 {
        self.0
    }

    /// The set with these bits; bits that mean nothing are kept, as the server keeps them.
    pub fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    /// Whether everything in `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Permissions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(1, 'r'), (2, 'w'), (4, 'c'), (8, 'd'), (16, 'a')];
        names.iter().filter(|(bit, _)| self.0 & bit != 0).try_for_each(|(_, name)| write!(f, "{name}"))
    }
}

/// One entry of a node's access control list: who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// What is allowed.
    pub permissions: Permissions,
    /// How the identity is checked: `world`, `digest`, `ip`, `auth`, `x509`, `sasl`.
    pub scheme: String,
    /// Who, in the scheme's own notation.
    pub id: String,
}

impl Acl {
    /// These permissions for whoever creates the node, by every identity that it has proven (scheme `auth`). Refused with
    /// [`InvalidAcl`](crate::Refusal::InvalidAcl) where it has proven none.
    pub fn creator(permissions: Permissions) -> Self {
        Self { permissions, scheme: "auth".into(), id: String::new() }
    }

    /// These permissions for whoever proves to be `user` by this password (scheme `digest`). The list holds the SHA-1 of both
    /// (`DigestAuthenticationProvider.generateDigest`), and the password travels in the clear when it is proven: use TLS.
    ///
    /// ```
    /// use herdless_core::{Acl, Permissions};
    ///
    /// let acl = Acl::digest(Permissions::READ, "super", "test");
    /// assert_eq!(acl.id, "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    /// ```
    pub fn digest(permissions: Permissions, user: &str, password: &str) -> Self {
        let Identity { scheme, id } = Identity::digest(format!("{user}:{password}").as_bytes());
        Self { permissions, scheme, id }
    }

    /// Everything, for anyone (`world:anyone:cdrwa`, `ZooDefs.Ids.OPEN_ACL_UNSAFE`): the list that nodes get when the
    /// caller names none.
    pub fn open() -> Arc<[Self]> {
        static OPEN: LazyLock<Arc<[Acl]>> = LazyLock::new(|| {
            Arc::new([Acl { permissions: Permissions::ALL, scheme: "world".into(), id: "anyone".into() }])
        });
        OPEN.clone()
    }
}

/// Who somebody is to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// How it was proven: `digest`, `ip`, `x509`, `sasl`.
    pub scheme: String,
    /// Who, in the scheme's own notation.
    pub id: String,
}

impl Identity {
    /// Who proves himself by these credentials (`user:password`) in the scheme `digest`.
    pub fn digest(credentials: &[u8]) -> Self {
        let user = credentials.split(|byte| *byte == b':').next().unwrap_or_default();
        let hash = BASE64_STANDARD.encode(Sha1::from(credentials).digest().bytes());
        Self { scheme: "digest".into(), id: format!("{}:{hash}", String::from_utf8_lossy(user)) }
    }
}
