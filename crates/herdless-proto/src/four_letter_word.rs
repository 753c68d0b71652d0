//! What an operator asks a server without a handshake.

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A question in four letters, in place of a frame's length (`FourLetterCommands`). The answer is plain text, and the
        /// connection is closed behind it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum FourLetterWord {
            $($(#[$doc])* $name,)*
        }

        impl FourLetterWord {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The four letters.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

words! {
    /// The configuration.
    Conf = "conf";
    /// The connections, each with what went over it.
    Cons = "cons";
    /// Begins the figures of all connections anew.
    Crst = "crst";
    /// How much of the disk is used.
    Dirs = "dirs";
    /// The sessions, when they expire, and their ephemeral nodes.
    Dump = "dump";
    /// The server's surroundings.
    Envi = "envi";
    /// Whether the server belongs to a majority: `rw`, or `ro` where it serves reads without one. A server that stands alone always
    /// says `rw`, also while its disk is full.
    Isro = "isro";
    /// Figures, each in a line of its own, for monitoring.
    Mntr = "mntr";
    /// Whether the server is there: `imok`.
    Ruok = "ruok";
    /// Begins the server's figures anew.
    Srst = "srst";
    /// The server's figures.
    Srvr = "srvr";
    /// The server's figures, and its connections.
    Stat = "stat";
    /// The watches, by session.
    Wchc = "wchc";
    /// The watches, by path.
    Wchp = "wchp";
    /// How many watches there are.
    Wchs = "wchs";
}

impl FourLetterWord {
    /// The word that a connection begins with, if it does: no frame of a handshake is as long as its letters would say.
    pub(crate) fn at_start(buffer: &[u8]) -> Option<Self> {
        let letters = buffer.first_chunk::<4>()?;
        Self::ALL.iter().copied().find(|word| word.name().as_bytes() == letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_the_length_of_a_handshake() {
        for word in FourLetterWord::ALL {
            let letters = <[u8; 4]>::try_from(word.name().as_bytes()).expect("four letters");
            assert!(i32::from_be_bytes(letters) as usize > crate::MAX_HANDSHAKE, "{}", word.name());
            assert_eq!(FourLetterWord::at_start(&letters), Some(*word));
            assert_eq!(FourLetterWord::at_start(&letters[..3]), None);
        }
        assert_eq!(FourLetterWord::at_start(b"xxxx"), None);
    }
}
