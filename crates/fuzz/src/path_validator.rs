//! Znode paths against a table of what `PathUtils.validatePath` of Apache ZooKeeper says.

use herdless_core::{NodePath, PathError};

/// A path as text. What is not UTF-8 is none.
///
/// # Panics
///
/// Where the verdict is not the table's, or a valid path does not keep the laws of paths.
pub fn path_validator(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    check(text, NodePath::parse(text), verdict(text));
    check(text, NodePath::parse_sequential(text), verdict(&format!("{text}0")));
    if let Ok(path) = NodePath::parse(text) {
        laws(&path);
    }
}

fn check(text: &str, parsed: Result<NodePath, PathError>, is_valid: bool) {
    match parsed {
        Ok(path) => assert!(is_valid && path.as_str() == text, "{text:?} is taken"),
        Err(error) => {
            assert!(!is_valid, "{text:?} is refused: {error}");
            assert!(error.path == text && error.at <= text.len() && text.is_char_boundary(error.at), "{error:?}");
        }
    }
}

/// What a UTF-16 unit is to a path: Java's strings are made of these.
#[derive(Clone, Copy)]
enum Class {
    Slash,
    Dot,
    Other,
    Forbidden,
}

impl Class {
    fn of(unit: u16) -> Self {
        match unit {
            0x2f => Self::Slash,
            0x2e => Self::Dot,
            0..0x20 | 0x7f..0xa0 | 0xd800..0xf900 | 0xfff0.. => Self::Forbidden,
            _ => Self::Other,
        }
    }
}

const START: usize = 0;
const ROOT: usize = 1;
const SLASH: usize = 2;
const DOT: usize = 3;
const DOTS: usize = 4;
const NAME: usize = 5;
const NONE: usize = 6;

/// The next state, by state and by class (slash, dot, other, forbidden).
const TABLE: [[usize; 4]; 7] = [
    /* START */ [ROOT, NONE, NONE, NONE],
    /* ROOT  */ [NONE, DOT, NAME, NONE],
    /* SLASH */ [NONE, DOT, NAME, NONE],
    /* DOT   */ [NONE, DOTS, NAME, NONE],
    /* DOTS  */ [NONE, NAME, NAME, NONE],
    /* NAME  */ [SLASH, NAME, NAME, NONE],
    /* NONE  */ [NONE, NONE, NONE, NONE],
];

fn verdict(text: &str) -> bool {
    let end = text.encode_utf16().fold(START, |state, unit| TABLE[state][Class::of(unit) as usize]);
    matches!(end, ROOT | NAME)
}

fn laws(path: &NodePath) {
    match path.parent() {
        Some(parent) => {
            assert_eq!(parent.child(path.name()).as_ref(), Ok(path));
            assert_eq!(NodePath::parse(parent.as_str()).as_ref(), Ok(&parent));
            assert!(path.is_below(&parent) && !parent.is_below(path));
            assert_eq!(path.relative_to(&parent), Some(NodePath::root().child(path.name()).unwrap()));
            assert_eq!(path.levels().last().as_ref(), Some(path));
        }
        None => assert!(path.is_root() && path.levels().next().is_none()),
    }
    let nested = path.nest(path);
    assert_eq!(NodePath::parse(nested.as_str()).as_ref(), Ok(&nested));
    assert_eq!(nested.relative_to(path).as_ref(), Some(path));
}
