//! Conversations drawn at random: requests that mean something, and the same with one field damaged.
//!
//! What 3.8 answers by chance, wrongly or not at all is not drawn:
//!
//! * A `check` outside a multi that succeeds has no answer, a time to live of less than 0 with the flags of a plain node stops
//!   the server, and so do limits and figures of quotas that cannot be read, and limits on `/`.
//! * Operation −10, by which a server tells itself of a session, gives the session whatever timeout the client names.
//! * A list of watches that is null, or has a null path, is refused once what stands before it is done.
//! * One path has watches of one kind, a recursive watch is taken away as a whole, and nobody asks for another's watches
//!   (`WatchManager` before 3.9, see `tests/differential.rs`).
//! * A character beyond U+FFFF comes back as two surrogates in three bytes each, which is no UTF-8 (`BinaryOutputArchive`).
//! * A watch without a path is taken, is not that of an empty path, and keeps its connection from ending; a multi without one
//!   leaves a zxid out.
//! * A multi of reads that comes to a null path is answered with what it has read so far.
//! * A container with the flags of a sequential node, which no client creates: 3.8 gives it a number, and here it is refused.
//! * An identity that is null: 3.8 fails at it, or at what stands before it in the list (`table` has each alone).
//! * In a multi, flags of another operation than the one that they stand with are refused before anything else here, and there
//!   only where nothing before them is.

use std::collections::BTreeMap;

use super::body::{Body, Field};
use super::play::{Conversation, Step};
use crate::support::Dice;

/// A create's body (`CreateRequest`).
pub(crate) fn create(path: &str, data: &[u8], acl: &[(i32, &str, &str)], flags: i32) -> Body {
    Body::default().path(path).bytes(data).acl(acl).int(flags)
}

/// The same as an operation of a multi.
pub(crate) fn multi_create(opcode: i32, path: &str, acl: &[(i32, &str, &str)], flags: i32) -> Body {
    Body::default().multi_header(opcode, false).append(create(path, b"", acl, flags))
}

/// Strings that are no paths, or hardly.
pub(crate) fn paths_that_are_none() -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = [
        "",
        "//",
        "a",
        "a/b",
        "./a",
        "../a",
        "/a/",
        "/a//b",
        "/.",
        "/..",
        "/./a",
        "/../a",
        "/zookeeper/..",
        "/zookeeper/.",
        "/zookeeper//quota",
        "/zookeeper/",
        "zookeeper",
        "/zookeeper/quota/..",
        "/a/../zookeeper",
        "/...",
        "/a\0",
        "/\0/a",
        "/ ",
        "\0",
        "/a\u{1}",
        "/a\u{1f}b",
        "/\u{7f}",
        "/\u{80}",
        "/\u{9f}",
        "/\u{a0}x",
        "/\u{e000}",
        "/\u{f8ff}",
        "/\u{f900}y",
        "/\u{fff0}",
        "/\u{ffff}",
        "/\u{feff}/",
        "/日本//",
    ]
    .map(|path| path.as_bytes().to_vec())
    .into();
    // Surrogates, a slash in two bytes, a character that is cut.
    paths.extend(
        [&b"/\xed\xa0\x80"[..], b"/\xed\xb0\x80/a", b"/\xc0\xaf", b"/\xe2\x82", b"/\xff\xfe", b"\x80"]
            .map(<[u8]>::to_vec),
    );
    paths.push([b"/".to_vec(), vec![b'x'; 5000]].concat());
    paths.push([b"/", "a/".repeat(2000).as_bytes(), b"."].concat());
    paths
}

struct Drawing<'a> {
    dice: &'a mut Dice,
    drawn: &'a mut BTreeMap<String, u64>,
    /// Whether two clients take part: then nobody asks whether there is a watch.
    are_two: bool,
}

/// A conversation. What it is made of is counted in `drawn`.
pub(crate) fn conversation(dice: &mut Dice, drawn: &mut BTreeMap<String, u64>) -> Conversation {
    let are_two = dice.within(0..3) == 0;
    let mut drawing = Drawing { dice, drawn, are_two };
    let mut steps = vec![Step::Open { slot: 0 }];
    if are_two {
        steps.push(Step::Open { slot: 1 });
    }
    let open = [(31, "world", "anyone")];
    steps.push(Step::Ask { slot: 0, xid: 1, opcode: 1, body: create("~", b"", &open, 0) });
    for path in ["~/a", "~/b", "~/a/x"] {
        let body = Body::default().path(path).bytes(b"data").append(drawing.acl()).int(0);
        steps.push(Step::Ask { slot: 0, xid: 1, opcode: 15, body });
    }
    for _ in 0..drawing.dice.within(8..25) {
        let step = drawing.step();
        steps.push(step);
    }
    steps
}

impl Drawing<'_> {
    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.dice.within(0..choices.len())].clone()
    }

    fn chance(&mut self, of: usize) -> bool {
        self.dice.within(0..of) == 0
    }

    fn count(&mut self, what: &str) {
        *self.drawn.entry(what.to_owned()).or_default() += 1;
    }

    fn step(&mut self) -> Step {
        let slot = if self.are_two { self.dice.within(0..2) } else { 0 };
        match self.dice.within(0..40) {
            0 => {
                self.count("reopened");
                Step::Open { slot }
            }
            1 => {
                self.count("resumed");
                let tail = self.one_of(&[vec![], vec![0], vec![1], vec![2, 3]]);
                let altered =
                    if self.chance(3) { Some((self.dice.within(0..16), 1 << self.dice.within(0..8))) } else { None };
                Step::Resume { slot, tail, altered }
            }
            2 => {
                self.count("last bytes");
                Step::Last { slot, bytes: self.last() }
            }
            _ => {
                let (opcode, mut body) = self.request();
                if self.chance(2) {
                    let damage = self.damage(opcode, &mut body);
                    self.count(damage);
                } else {
                    self.count(&format!("operation {opcode}"));
                }
                Step::Ask { slot, xid: self.one_of(&[1, 2, 77, i32::MAX, i32::MIN, -3, -4, -8, 0]), opcode, body }
            }
        }
    }

    /// Beginnings of frames, and frames that are none.
    fn last(&mut self) -> Vec<u8> {
        let length = self.one_of(&[-1, i32::MIN, i32::MAX, 65_537, 1_048_576, 65_536, 7, 0, 4, 20]);
        let rest = self.dice.within(0..20);
        let mut bytes = length.to_be_bytes().to_vec();
        // A frame that is whole would be answered, or not, before the end is seen.
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        bytes.extend((0..rest.min(whole.saturating_sub(1))).map(|_| self.dice.within(0..256) as u8));
        bytes.truncate(4 + rest);
        if self.chance(4) {
            bytes.truncate(self.dice.within(0..4));
        }
        bytes
    }

    fn path(&mut self) -> Body {
        let good =
            ["~", "~/a", "~/a", "~/b", "~/a/x", "~/a/y", "~/c", "~/e", "~/none/x", "/zookeeper", "/zookeeper/config"];
        match self.dice.within(0..5) {
            0 => {
                self.count("a path that is none");
                let path = self.one_of(&paths_that_are_none());
                // At home, so that its parent is there.
                let at_home = if self.chance(2) && path.first() == Some(&b'/') { b"~".to_vec() } else { Vec::new() };
                Body(vec![Field::Path(Some([at_home, path].concat()))])
            }
            _ => Body::default().path(self.one_of(&good)),
        }
    }

    /// Of a node that one-shot watches are left on, or none.
    fn watched(&mut self) -> Body {
        let path = self.path();
        let watch = self.one_of(&[0, 0, 1, 0xff]);
        path.bool(watch)
    }

    fn version(&mut self) -> i32 {
        self.one_of(&[-1, -1, -1, 0, 0, 1, 2, -2, i32::MAX, i32::MIN])
    }

    fn acl(&mut self) -> Body {
        if !self.chance(3) {
            return Body::default().acl(&[(31, "world", "anyone")]);
        }
        let length = self.dice.within(0..4);
        let entries: Vec<_> = (0..length).map(|_| self.entry()).collect();
        Body::default().acl(&entries)
    }

    fn entry(&mut self) -> (i32, &'static str, &'static str) {
        let permissions = self.one_of(&[31, 31, 1, 2, 4, 8, 16, 0, -1, 32, i32::MIN, 0x55]);
        let (scheme, id) = self.one_of(&[
            ("world", "anyone"),
            ("world", "anyone"),
            ("world", "anyone"),
            ("auth", ""),
            ("auth", "x"),
            ("digest", "a:b"),
            ("digest", "me:gM+LxpVGXhDBg4SrCpPhBvWPHS8="),
            ("digest", "a"),
            ("digest", ":x"),
            ("ip", "127.0.0.1"),
            ("ip", "10.0.0.0/8"),
            ("ip", "127.0.0.1/33"),
            ("ip", "127.1"),
            ("world", ""),
            ("", ""),
            ("sasl", "x"),
            ("x509", "CN=x"),
            ("super", ""),
        ]);
        (permissions, scheme, id)
    }

    fn flags(&mut self, opcode: i32) -> i32 {
        match opcode {
            19 => self.one_of(&[4, 4, 4, 0, 1, 5, 6, 7, -1]),
            21 => self.one_of(&[5, 5, 5, 6, 6]),
            _ => self.one_of(&[0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, -1, i32::MAX]),
        }
    }

    fn data(&mut self) -> Body {
        let data = self.one_of(&[Some(&b""[..]), Some(b"x"), Some(b"some more"), None]);
        data.map_or_else(|| Body::default().null(), |data| Body::default().bytes(data))
    }

    fn create(&mut self, opcode: i32) -> Body {
        let body = self.path().append(self.data()).append(self.acl()).int(self.flags(opcode));
        let ttl = self.one_of(&[1, 100_000, 100_000, 0, -1, 0xff_ffff_ffff, 0x100_0000_0000, i64::MAX, i64::MIN]);
        if opcode == 21 { body.long(ttl) } else { body }
    }

    fn request(&mut self) -> (i32, Body) {
        let opcode = self.one_of(&[
            1, 1, 1, 15, 15, 15, 19, 21, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 7, 8, 9, 12, 14, 14, 14, 16, 17, 18, 20, 22,
            100, 101, 102, 103, 104, 105, 106, 107, 11,
        ]);
        let body = Body::default();
        let body = match opcode {
            1 | 15 | 19 | 21 => self.create(opcode),
            2 => self.path().int(self.version()),
            3 | 4 | 8 | 12 => self.watched(),
            5 => self.path().append(self.data()).int(self.version()),
            6 | 9 | 103 | 104 => self.path(),
            7 => self.path().append(self.acl()).int(self.version()),
            14 => self.multi(),
            16 => body.null().bytes(b"1").null().long(-1),
            17 if !self.are_two => {
                body.path(self.one_of(&["~/a", "~/b", "~/c", "//", "/~/", ""])).int(self.one_of(&[2, 3, 0, 9]))
            }
            17 | 18 => self.path().int(self.one_of(&[2, 3, 3, 0, -1])),
            22 => self.reads(),
            100 => {
                let scheme = self.one_of(&["digest", "digest", "digest", "ip", "world", ""]);
                let who = self.one_of(&[&b"me:secret"[..], b"you:secret", b"", b":", b"me"]);
                body.int(0).bytes(scheme.as_bytes()).bytes(who)
            }
            101 => self.watches(3),
            105 => self.watches(5),
            102 => body.bytes(b"token"),
            // Apart from those of other kinds.
            106 => {
                let mode = self.dice.within(0..2);
                body.path(["~/a/persistent", "~/a/recursive"][mode]).int(mode as i32)
            }
            _ => body,
        };
        // A check alone has no answer where it succeeds.
        (if opcode == 17 && self.are_two { 18 } else { opcode }, body)
    }

    fn multi(&mut self) -> Body {
        let mut body = Body::default();
        for _ in 0..self.dice.within(0..5) {
            let opcode = self.one_of(&[1, 1, 1, 15, 19, 21, 2, 5, 13]);
            body = body.multi_header(opcode, false);
            body = match opcode {
                1 | 15 | 19 => {
                    let flags = self.one_of(&[0, 0, 0, 1, 2, 3, 4, 7, -1]);
                    body.append(self.path()).append(self.data()).append(self.acl()).int(flags)
                }
                21 => body.append(self.create(21)),
                5 => body.append(self.path()).append(self.data()).int(self.version()),
                _ => body.append(self.path()).int(self.version()),
            };
        }
        body.multi_header(-1, true)
    }

    fn reads(&mut self) -> Body {
        let mut body = Body::default();
        for _ in 0..self.dice.within(0..4) {
            body = body.multi_header(self.one_of(&[4, 8]), false).append(self.watched());
        }
        body.multi_header(-1, true)
    }

    fn watches(&mut self, lists: usize) -> Body {
        let distance = self.one_of(&[0, 1, 3, 5, 1000, -5]);
        let mut body = Body::default().zxid(distance);
        for list in 0..lists {
            let paths = match list {
                3 => vec!["~/a/persistent"],
                4 => vec!["~/a/recursive"],
                _ => vec!["~/a", "~/b", "~/a/x", "~/none", "//", "", "~", "~/c"],
            };
            let count = self.dice.within(0..3);
            let paths: Vec<_> = (0..count).map(|_| self.one_of(&paths)).collect();
            body = body.paths(&paths);
        }
        body
    }

    /// Damages one field; in what way.
    fn damage(&mut self, opcode: i32, body: &mut Body) -> &'static str {
        // What is read from another place on may be what is not drawn.
        let may_shift = !matches!(opcode, 14 | 19 | 21 | 22);
        if body.0.is_empty() {
            return "nothing to damage";
        }
        let at = self.dice.within(0..body.0.len());
        match &mut body.0[at] {
            _ if self.chance(6) => {
                let mut bytes = body.encode_rest(at);
                bytes.truncate(self.dice.within(0..bytes.len().max(1)));
                body.0.truncate(at);
                body.0.push(Field::Raw(bytes));
                "cut short"
            }
            _ if self.chance(12) => {
                body.0.push(Field::Raw(vec![7; self.dice.within(1..20)]));
                "bytes behind the end"
            }
            Field::Path(path) => {
                let way = if matches!(opcode, 14 | 18 | 22 | 101 | 105 | 106) { 1 } else { self.dice.within(0..4) };
                match way {
                    0 => *path = None,
                    1 => *path = Some(self.one_of(&paths_that_are_none())),
                    _ if !may_shift => *path = Some(b"~/".to_vec()),
                    _ => {
                        let length = self.one_of(&[-2, i32::MIN, i32::MAX, 1_000_000, 60_000]);
                        body.0[at] = Field::Int(length);
                    }
                }
                ["a null path", "another path", "length of a path", "length of a path"][way]
            }
            Field::Bytes(bytes) => {
                let length = self.one_of(&[-2, i32::MIN, i32::MAX, 1_000_000, 60_000]);
                *bytes = Some(Vec::new());
                if may_shift {
                    body.0[at] = Field::Int(length);
                }
                "length of a buffer"
            }
            Field::Count(count) => {
                *count = match may_shift {
                    true => self.one_of(&[-2, -77, i32::MIN, i32::MAX, 1000, *count + 1]),
                    false => self.one_of(&[i32::MAX, 1000]),
                };
                "count"
            }
            Field::Bool(value) => {
                *value = self.one_of(&[0, 1, 2, 0x80]);
                "boolean"
            }
            Field::Int(_) | Field::Long(_) | Field::Zxid(_) | Field::Raw(_) => "left as it was",
        }
    }
}
