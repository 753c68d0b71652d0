//! What two servers may answer differently, taken out of their answers.
//!
//! * Times are 0 or not.
//! * Zxids since the conversation began are told by their distance from it; older ones are 0 or not.
//! * Sessions are told by their place in the conversation; passwords are zeros or not.
//! * Names of children, ephemeral nodes, identities and entries of lists are sorted: Java keeps them in hash sets.

/// What a server's own numbers are compared by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    /// The last zxid before the conversation.
    pub(crate) last_zxid: i64,
    /// The sessions of the conversation in the order in which they were opened.
    pub(crate) sessions: Vec<i64>,
}

/// Reads an answer and writes what is compared.
struct Masking<'a> {
    own: &'a Own,
    rest: &'a [u8],
    out: Vec<u8>,
}

/// The answer to a request of this operation, header included. What does not have the form of one is left as it is.
pub(crate) fn reply(own: &Own, opcode: i32, frame: &[u8]) -> Vec<u8> {
    let mut masking = Masking { own, rest: frame, out: Vec::new() };
    let complete = masking.header().and_then(|err| if err == 0 { masking.body(opcode) } else { Some(()) });
    masking.finish(complete, frame)
}

/// The answer to a handshake.
pub(crate) fn greeting(own: &Own, frame: &[u8]) -> Vec<u8> {
    let mut masking = Masking { own, rest: frame, out: Vec::new() };
    let complete = masking.greeting();
    masking.finish(complete, frame)
}

impl Masking<'_> {
    fn finish(mut self, complete: Option<()>, frame: &[u8]) -> Vec<u8> {
        if complete.is_none() {
            return frame.to_vec();
        }
        // Bytes behind the end.
        self.out.extend(self.rest);
        self.out
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head.to_vec())
    }

    fn keep(&mut self, count: usize) -> Option<()> {
        let bytes = self.take(count)?;
        self.out.extend(bytes);
        Some(())
    }

    fn int(&mut self) -> Option<i32> {
        let bytes = self.take(4)?;
        self.out.extend(&bytes);
        Some(i32::from_be_bytes(bytes.try_into().unwrap()))
    }

    fn long(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().unwrap()))
    }

    fn zxid(&mut self) -> Option<()> {
        let zxid = self.long()?;
        let masked = match zxid {
            -1 | 0 => zxid,
            _ if zxid > self.own.last_zxid => zxid - self.own.last_zxid,
            _ => -2,
        };
        self.out.extend(masked.to_be_bytes());
        Some(())
    }

    fn time(&mut self) -> Option<()> {
        let time = self.long()?;
        self.out.push(u8::from(time != 0));
        Some(())
    }

    fn session(&mut self) -> Option<()> {
        let session = self.long()?;
        // What is no session says that the node is a container, or has a time to live.
        let place = self.own.sessions.iter().position(|own| *own == session);
        match place {
            Some(place) => self.out.extend(format!("session {place}").as_bytes()),
            None => self.out.extend(session.to_be_bytes()),
        }
        Some(())
    }

    /// `ReplyHeader`; its error.
    fn header(&mut self) -> Option<i32> {
        self.keep(4)?;
        self.zxid()?;
        self.int()
    }

    fn greeting(&mut self) -> Option<()> {
        self.keep(8)?;
        self.session()?;
        let length = self.int()?;
        let password = self.take(usize::try_from(length).ok()?)?;
        self.out.push(u8::from(password.iter().any(|byte| *byte != 0)));
        Some(())
    }

    fn buffer(&mut self) -> Option<()> {
        match self.int()? {
            -1 => Some(()),
            length => self.keep(usize::try_from(length).ok()?),
        }
    }

    fn stat(&mut self) -> Option<()> {
        self.zxid()?;
        self.zxid()?;
        self.time()?;
        self.time()?;
        self.keep(12)?;
        self.session()?;
        self.keep(8)?;
        self.zxid()
    }

    /// A vector, its elements sorted.
    fn sorted(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let count = self.int()?;
        let mut elements = Vec::new();
        for _ in 0..count {
            let start = self.out.len();
            element(self)?;
            elements.push(self.out.split_off(start));
        }
        elements.sort();
        self.out.extend(elements.concat());
        Some(())
    }

    fn body(&mut self, opcode: i32) -> Option<()> {
        match opcode {
            1 | 9 | 102 => self.buffer(),
            15 | 19 | 21 | 4 | 16 => {
                self.buffer()?;
                self.stat()
            }
            3 | 5 | 7 => self.stat(),
            6 => {
                self.sorted(|acl| {
                    acl.keep(4)?;
                    acl.buffer()?;
                    acl.buffer()
                })?;
                self.stat()
            }
            8 | 103 => self.sorted(Self::buffer),
            12 => {
                self.sorted(Self::buffer)?;
                self.stat()
            }
            107 => self.sorted(|identity| {
                identity.buffer()?;
                identity.buffer()
            }),
            14 | 22 => self.results(),
            _ => Some(()),
        }
    }

    /// `MultiResponse`.
    fn results(&mut self) -> Option<()> {
        loop {
            let opcode = self.int()?;
            let done = *self.rest.first()?;
            self.keep(5)?;
            match opcode {
                _ if done != 0 => return Some(()),
                // Its code follows.
                -1 => self.keep(4)?,
                _ => self.body(opcode)?,
            }
        }
    }
}
