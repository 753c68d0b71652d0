//! Reads the recorded frames; their format is in the README beside them.

/// One recorded frame.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// Its name, with the file in front: `create/create2_request`.
    pub(crate) name: String,
    /// The payload, without the length.
    pub(crate) payload: Vec<u8>,
    /// Whether the client sent it.
    pub(crate) from_client: bool,
    /// The comment lines right before it, without the `# `: what is in it, field by field.
    pub(crate) comment: Vec<String>,
    /// Counts up with each TCP connection within the file.
    pub(crate) connection: usize,
}

impl Recorded {
    /// The frame as it is on the wire.
    pub(crate) fn wire(&self) -> Vec<u8> {
        let mut wire = (self.payload.len() as i32).to_be_bytes().to_vec();
        wire.extend_from_slice(&self.payload);
        wire
    }

    /// Whether it is one of the two frames without a header.
    pub(crate) fn is_handshake(&self) -> bool {
        self.comment.iter().any(|line| line.starts_with("ConnectRe"))
    }

    /// The number at this place.
    pub(crate) fn int(&self, at: usize) -> i32 {
        i32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

const FILES: [(&str, &str); 10] = [
    ("close", include_str!("close.txt")),
    ("connect", include_str!("connect.txt")),
    ("create", include_str!("create.txt")),
    ("errors", include_str!("errors.txt")),
    ("multi", include_str!("multi.txt")),
    ("other", include_str!("other.txt")),
    ("read", include_str!("read.txt")),
    ("reconnect", include_str!("reconnect.txt")),
    ("watch", include_str!("watch.txt")),
    ("write", include_str!("write.txt")),
];

/// Every recorded frame, in the order of the files.
pub(crate) fn all() -> Vec<Recorded> {
    FILES.iter().flat_map(|(file, text)| parse(file, text)).collect()
}

fn parse(file: &str, text: &str) -> Vec<Recorded> {
    let (mut frames, mut name, mut comment, mut connection) = (Vec::new(), "", Vec::new(), 0);
    for line in text.lines() {
        match line.split_at_checked(2) {
            Some(("# ", "(This is another TCP connection than the frames before.)")) => {
                connection += 1;
            }
            Some(("# ", rest)) if rest.starts_with("---") => comment.clear(),
            Some(("# ", rest)) => comment.push(rest.to_owned()),
            Some(("@ ", rest)) => name = rest,
            Some((direction @ ("> " | "< "), hex)) => frames.push(Recorded {
                name: format!("{file}/{name}"),
                payload: bytes(hex),
                from_client: direction == "> ",
                comment: std::mem::take(&mut comment),
                connection,
            }),
            _ => {}
        }
    }
    frames
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
