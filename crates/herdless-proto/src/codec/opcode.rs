//! Operation codes.

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// The operations of the protocol that are spoken here (`ZooDefs.OpCode`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum OpCode { $($(#[$doc])* $name,)* }

        impl OpCode {
            /// The number on the wire.
            pub fn code(self) -> i32 {
                match self { $(Self::$name => $code,)* }
            }

            /// The operation with this number.
            pub fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

opcodes! {
    /// Create; the reply is the path alone.
    Create = 1;
    /// Delete.
    Delete = 2;
    /// Exists.
    Exists = 3;
    /// Get data.
    GetData = 4;
    /// Set data.
    SetData = 5;
    /// Get the access control list.
    GetAcl = 6;
    /// Set the access control list.
    SetAcl = 7;
    /// Get children; the reply is the names alone.
    GetChildren = 8;
    /// Sync.
    Sync = 9;
    /// Ping.
    Ping = 11;
    /// Get children and the Stat.
    GetChildren2 = 12;
    /// Check a version, inside a multi.
    Check = 13;
    /// Multi.
    Multi = 14;
    /// Create; the reply is path and Stat.
    Create2 = 15;
    /// Change the configuration of the ensemble.
    Reconfig = 16;
    /// Ask whether there is a watch.
    CheckWatches = 17;
    /// Take watches away.
    RemoveWatches = 18;
    /// Create a container.
    CreateContainer = 19;
    /// Delete a container: Apache ZooKeeper's own, and refused to everybody.
    DeleteContainer = 20;
    /// Create a node with a time to live.
    CreateTtl = 21;
    /// Several reads.
    MultiRead = 22;
    /// Prove an identity.
    Auth = 100;
    /// Re-arm one-shot watches.
    SetWatches = 101;
    /// Prove an identity by SASL.
    Sasl = 102;
    /// List the session's ephemeral nodes.
    GetEphemerals = 103;
    /// Count a node's descendants.
    GetAllChildrenNumber = 104;
    /// Re-arm watches, those that stay too.
    SetWatches2 = 105;
    /// Leave a watch that stays.
    AddWatch = 106;
    /// List one's identities.
    WhoAmI = 107;
    /// Close the session.
    CloseSession = -11;
}
