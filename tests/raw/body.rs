//! Requests field by field, so that each can be damaged by itself.

/// One field as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    /// A path, or the beginning of one; `None` is null.
    Path(Option<Vec<u8>>),
    /// A string that is no path, or a buffer.
    Bytes(Option<Vec<u8>>),
    Int(i32),
    Long(i64),
    Bool(u8),
    /// How many of something follow.
    Count(i32),
    /// A zxid this far from the last one before the conversation.
    Zxid(i64),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// A request's fields without its header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body(pub(crate) Vec<Field>);

impl Body {
    pub(crate) fn path(self, path: &str) -> Self {
        self.with(Field::Path(Some(path.as_bytes().to_vec())))
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.with(Field::Bytes(Some(bytes.to_vec())))
    }

    pub(crate) fn null(self) -> Self {
        self.with(Field::Bytes(None))
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.with(Field::Int(value))
    }

    pub(crate) fn long(self, value: i64) -> Self {
        self.with(Field::Long(value))
    }

    pub(crate) fn bool(self, value: u8) -> Self {
        self.with(Field::Bool(value))
    }

    pub(crate) fn count(self, count: usize) -> Self {
        self.with(Field::Count(count as i32))
    }

    pub(crate) fn zxid(self, distance: i64) -> Self {
        self.with(Field::Zxid(distance))
    }

    pub(crate) fn raw(self, bytes: &[u8]) -> Self {
        self.with(Field::Raw(bytes.to_vec()))
    }

    pub(crate) fn acl(self, entries: &[(i32, &str, &str)]) -> Self {
        entries.iter().fold(self.count(entries.len()), |body, (permissions, scheme, id)| {
            body.int(*permissions).bytes(scheme.as_bytes()).bytes(id.as_bytes())
        })
    }

    pub(crate) fn paths(self, paths: &[&str]) -> Self {
        paths.iter().fold(self.count(paths.len()), |body, path| body.path(path))
    }

    /// The header that stands before each operation of a multi, and one that says that there are no more.
    pub(crate) fn multi_header(self, opcode: i32, done: bool) -> Self {
        self.int(opcode).bool(u8::from(done)).int(-1)
    }

    pub(crate) fn append(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self
    }

    /// The bytes from this field on; paths as they are.
    pub(crate) fn encode_rest(&self, at: usize) -> Vec<u8> {
        Self(self.0[at..].to_vec()).encode("~", 0)
    }

    fn with(mut self, field: Field) -> Self {
        self.0.push(field);
        self
    }

    /// The bytes. In paths `~` stands for the node that the conversation has to itself.
    pub(crate) fn encode(&self, home: &str, last_zxid: i64) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.0 {
            match field {
                Field::Path(Some(path)) => buffer(&mut out, &at_home(path, home)),
                Field::Bytes(Some(bytes)) => buffer(&mut out, bytes),
                Field::Path(None) | Field::Bytes(None) => out.extend((-1i32).to_be_bytes()),
                Field::Int(value) | Field::Count(value) => out.extend(value.to_be_bytes()),
                Field::Long(value) => out.extend(value.to_be_bytes()),
                Field::Bool(value) => out.push(*value),
                Field::Zxid(distance) => out.extend(last_zxid.wrapping_add(*distance).to_be_bytes()),
                Field::Raw(bytes) => out.extend(bytes),
            }
        }
        out
    }
}

fn at_home(path: &[u8], home: &str) -> Vec<u8> {
    let parts: Vec<_> = path.split(|byte| *byte == b'~').collect();
    parts.join(home.as_bytes())
}

pub(crate) fn buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as i32).to_be_bytes());
    out.extend(bytes);
}
