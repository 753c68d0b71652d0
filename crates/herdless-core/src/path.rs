//! Znode paths.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// An absolute znode path, parsed once and valid ever after (but see [`unchecked`](Self::unchecked)). Cheap to clone.
///
/// The verdict on every string is that of Apache ZooKeeper (`PathUtils.validatePath`).
///
/// ```
/// use herdless_core::NodePath;
///
/// let path = NodePath::parse("/locks/orders")?;
/// assert_eq!(path.name(), "orders");
/// assert_eq!(path.parent().unwrap().as_str(), "/locks");
/// assert!(NodePath::parse("/locks//orders").is_err());
/// # Ok::<(), herdless_core::PathError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(Arc<str>);

impl NodePath {
    /// Parses an absolute path such as `/locks/orders`.
    ///
    /// # Errors
    ///
    /// [`PathError`] says what is wrong, and at which character.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        validate(path)?;
        Ok(Self(path.into()))
    }

    /// A path as a peer has sent it, **valid or not**. For a server, which judges it where Apache ZooKeeper does: a create
    /// looks for the parent before it looks at the path, and a read looks for the node alone. Everybody else wants
    /// [`parse`](Self::parse).
    pub fn unchecked(path: &str) -> Self {
        Self(path.into())
    }

    /// Whether this is a path: always, but of what [`unchecked`](Self::unchecked) has made.
    pub fn is_valid(&self) -> bool {
        validate(&self.0).is_ok()
    }

    /// Parses the path of a sequential create, to which the server appends ten digits. Unlike a plain path it may end
    /// in `/`; every other operation refuses such a path.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), of the path with a digit behind it (as `PathUtils.validatePath(path, true)` does).
    pub fn parse_sequential(path: &str) -> Result<Self, PathError> {
        match validate(&format!("{path}1")) {
            Ok(()) => Ok(Self(path.into())),
            Err(error) => Err(PathError { path: path.into(), ..error }),
        }
    }

    /// The root of the tree, `/`.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// What follows the last `/`; empty for the root.
    pub fn name(&self) -> &str {
        self.last_slash().map_or("", |at| &self.0[at + 1..])
    }

    /// The path without its last part; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.parent_str().map(|parent| Self(parent.into()))
    }

    /// As [`parent`](Self::parent), borrowed.
    pub fn parent_str(&self) -> Option<&str> {
        if self.is_root() {
            return None;
        }
        self.last_slash().map(|at| if at == 0 { "/" } else { &self.0[..at] })
    }

    /// Names are short: looking at each byte from the end is faster than a search that is made for long texts.
    fn last_slash(&self) -> Option<usize> {
        self.0.bytes().rposition(|byte| byte == b'/')
    }

    /// The path of the child called `name`.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), of the joined path; and a name with a `/` in it is refused, as it would be a
    /// grandchild.
    pub fn child(&self, name: &str) -> Result<Self, PathError> {
        let joined = self.join(name);
        if let Some(at) = name.find('/') {
            let at = joined.len() - name.len() + at;
            return Err(PathError { path: joined, at, kind: PathErrorKind::SlashInName });
        }
        validate(&joined)?;
        Ok(Self(joined.into()))
    }

    /// This path with `below`, another absolute path, underneath.
    pub fn nest(&self, below: &Self) -> Self {
        match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => Self(format!("{}{}", self.0, below.0).into()),
        }
    }

    /// As [`nest`](Self::nest), for what is only the beginning of a path: the beginning `/` stays below this path.
    pub fn nest_prefix(&self, below: &Self) -> Self {
        if below.is_root() && !self.is_root() { Self(format!("{}/", self.0).into()) } else { self.nest(below) }
    }

    /// Whether this is a descendant of `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        match self.as_str().strip_prefix(other.as_str()) {
            Some(rest) if other.is_root() => !rest.is_empty(),
            Some(rest) => rest.starts_with('/'),
            None => false,
        }
    }

    /// This path as seen from `root`: the inverse of [`nest`](Self::nest). `None` when it is not underneath.
    pub fn relative_to(&self, root: &Self) -> Option<Self> {
        if root.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&*root.0)? {
            "" => Some(Self::root()),
            rest if rest.starts_with('/') => Some(Self(rest.into())),
            _ => None,
        }
    }

    /// Every ancestor from the first level down to this path itself, the root left out.
    pub fn levels(&self) -> impl Iterator<Item = Self> + '_ {
        let inner = if self.is_root() { "" } else { &*self.0 };
        inner
            .char_indices()
            .filter(|&(at, c)| c == '/' && at > 0)
            .map(|(at, _)| at)
            .chain((!inner.is_empty()).then_some(inner.len()))
            .map(|end| Self(self.0[..end].into()))
    }

    fn join(&self, name: &str) -> String {
        if self.is_root() { format!("/{name}") } else { format!("{}/{name}", self.0) }
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for NodePath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        Self::parse(path)
    }
}

impl TryFrom<&str> for NodePath {
    type Error = PathError;

    fn try_from(path: &str) -> Result<Self, PathError> {
        Self::parse(path)
    }
}

impl std::borrow::Borrow<str> for NodePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a string is not a znode path.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("invalid path {path:?}: {kind} at byte {at}")]
pub struct PathError {
    /// The string that was refused.
    pub path: String,
    /// Where, in bytes from the start.
    pub at: usize,
    /// What is wrong there.
    pub kind: PathErrorKind,
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathErrorKind {
    /// The string is empty.
    #[error("empty path")]
    Empty,
    /// The first character is not `/`.
    #[error("no leading slash")]
    NotAbsolute,
    /// The path ends in `/` and is not the root.
    #[error("trailing slash")]
    TrailingSlash,
    /// Two slashes in a row.
    #[error("empty node name")]
    EmptyName,
    /// A node called `.` or `..`.
    #[error("relative node name")]
    Relative,
    /// A character that ZooKeeper does not allow: NUL, control characters, private use, U+FFF0 to U+FFFF, and
    /// everything above U+FFFF.
    #[error("character not allowed")]
    Character,
    /// A `/` inside the name of one node.
    #[error("slash in a node name")]
    SlashInName,
}

fn validate(path: &str) -> Result<(), PathError> {
    if is_plain(path.as_bytes()) {
        return Ok(());
    }
    let refuse = |at, kind| Err(PathError { path: path.to_owned(), at, kind });
    match path.as_bytes() {
        [] => return refuse(0, PathErrorKind::Empty),
        [b'/'] => return Ok(()),
        [b'/', .., b'/'] => return refuse(path.len() - 1, PathErrorKind::TrailingSlash),
        [b'/', ..] => {}
        _ => return refuse(0, PathErrorKind::NotAbsolute),
    }
    let mut at = 1;
    for name in path[1..].split('/') {
        match name {
            "" => return refuse(at, PathErrorKind::EmptyName),
            "." | ".." => return refuse(at, PathErrorKind::Relative),
            _ => {}
        }
        if let Some((offset, _)) = name.char_indices().find(|&(_, c)| !allowed(c)) {
            return refuse(at + offset, PathErrorKind::Character);
        }
        at += name.len() + 1;
    }
    Ok(())
}

/// Whether this is a path at first sight, as nearly all are: a server looks at one for each request, so it is not taken apart,
/// and no byte decides whether the next is looked at, so that several are at a time.
fn is_plain(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else {
        return false;
    };
    let is_odd = path.iter().zip(rest).fold(false, |is_odd, (&before, &byte)| {
        let is_unusual_name = (before == b'/') & ((byte == b'/') | (byte == b'.'));
        is_odd | is_unusual_name | !(b' '..=b'~').contains(&byte)
    });
    !is_odd && !rest.ends_with(b"/")
}

/// Java looks at UTF-16 units and forbids the surrogates, so everything above U+FFFF is out.
fn allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_zookeepers() {
        for good in ["/", "/a", "/a/b", "/...", "/a..b", "/.a", "/a.", "/a b", "/\u{a0}", "/日本", "/\u{ffef}", "/-"]
        {
            assert!(NodePath::parse(good).is_ok(), "{good:?}");
        }
        use PathErrorKind::*;
        for (bad, at, kind) in [
            ("", 0, Empty),
            ("a", 0, NotAbsolute),
            ("/a/", 2, TrailingSlash),
            ("//", 1, TrailingSlash),
            ("/a//b", 3, EmptyName),
            ("/.", 1, Relative),
            ("/a/../b", 3, Relative),
            ("/a\0", 2, Character),
            ("/a\u{1f}", 2, Character),
            ("/a\u{7f}", 2, Character),
            ("/a\u{9f}", 2, Character),
            ("/\u{e000}", 1, Character),
            ("/\u{fff0}", 1, Character),
            ("/\u{1f600}", 1, Character),
        ] {
            let error = NodePath::parse(bad).unwrap_err();
            assert_eq!((error.at, error.kind), (at, kind), "{bad:?}");
        }
    }

    #[test]
    fn what_a_peer_sends_is_judged_later() {
        let path = NodePath::unchecked("a//\0");
        assert!(!path.is_valid());
        assert_eq!((path.as_str(), path.name(), path.parent_str()), ("a//\0", "\0", Some("a/")));
        assert_eq!(NodePath::unchecked("").parent(), None);
        assert!(NodePath::unchecked("/a").is_valid());
    }

    #[test]
    fn only_a_sequential_path_may_end_in_a_slash() {
        assert!(NodePath::parse("/queue/").is_err());
        assert_eq!(NodePath::parse_sequential("/queue/").unwrap().as_str(), "/queue/");
        assert_eq!(NodePath::parse_sequential("/queue//").unwrap_err().kind, PathErrorKind::EmptyName);
        assert_eq!(NodePath::parse_sequential("").unwrap_err().kind, PathErrorKind::NotAbsolute);
    }

    #[test]
    fn parents_children_and_levels() {
        let path = NodePath::parse("/a/b/c").unwrap();
        assert_eq!(path.parent().unwrap().as_str(), "/a/b");
        assert_eq!(NodePath::parse("/a").unwrap().parent(), Some(NodePath::root()));
        assert_eq!(NodePath::root().parent(), None);
        assert_eq!(path.child("d").unwrap().as_str(), "/a/b/c/d");
        assert_eq!(NodePath::root().child("a").unwrap().as_str(), "/a");
        assert_eq!(path.child("d/e").unwrap_err().kind, PathErrorKind::SlashInName);
        assert_eq!(path.child("").unwrap_err().kind, PathErrorKind::TrailingSlash);
        let levels: Vec<_> = path.levels().map(|level| level.to_string()).collect();
        assert_eq!(levels, ["/a", "/a/b", "/a/b/c"]);
        assert_eq!(NodePath::root().levels().count(), 0);
    }

    #[test]
    fn nesting_and_its_inverse() {
        let root = NodePath::parse("/app").unwrap();
        let path = NodePath::parse("/a").unwrap();
        assert_eq!(root.nest(&path).as_str(), "/app/a");
        assert_eq!(root.nest(&NodePath::root()), root);
        assert_eq!(NodePath::root().nest(&path), path);
        assert_eq!(root.nest(&path).relative_to(&root), Some(path));
        assert_eq!(root.relative_to(&root), Some(NodePath::root()));
        assert_eq!(NodePath::parse("/apple").unwrap().relative_to(&root), None);
    }
}
