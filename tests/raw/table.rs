//! The cases that are worth a name.

use super::MAX_REQUEST;
use super::body::Body;
use super::draw::{create, multi_create, paths_that_are_none};
use super::play::{Conversation, Step};

const OPEN: [(i32, &str, &str); 1] = [(31, "world", "anyone")];
const ME: &str = "me:gM+LxpVGXhDBg4SrCpPhBvWPHS8=";

/// Every case with its name, which is also that of its node.
pub(crate) fn all() -> Vec<(&'static str, Conversation)> {
    let mut cases = handshakes();
    cases.extend(frames());
    cases.extend(requests());
    cases.extend(multis());
    cases.extend(access());
    cases.extend(system_nodes());
    cases.extend(quotas());
    cases
}

fn ask(opcode: i32, body: Body) -> Step {
    Step::Ask { slot: 0, xid: 1, opcode, body }
}

fn other(opcode: i32, body: Body) -> Step {
    Step::Ask { slot: 1, xid: 2, opcode, body }
}

fn body() -> Body {
    Body::default()
}

/// With a session and the node of the conversation.
fn at_home(steps: impl IntoIterator<Item = Step>) -> Conversation {
    [Step::Open { slot: 0 }, ask(1, create("~", b"", &OPEN, 0))].into_iter().chain(steps).collect()
}

/// Ends what the server leaves open after each.
fn each_alone(steps: impl IntoIterator<Item = Step>) -> Conversation {
    steps.into_iter().flat_map(|step| [Step::Open { slot: 0 }, step, ask(11, body())]).collect()
}

fn handshakes() -> Vec<(&'static str, Conversation)> {
    let hello = |zxid: i64, timeout: i32, session: i64| body().int(0).zxid(zxid).int(timeout).long(session);
    let usual = || hello(0, 5000, 0).bytes(&[0; 16]);
    let greet = |body: Body| [Step::Greet { slot: 0, body }, ask(11, Body::default())];
    let cases = |bodies: Vec<Body>| bodies.into_iter().flat_map(greet).collect::<Conversation>();
    vec![
        (
            "handshake-timeouts",
            cases(
                [0, -1, i32::MIN, i32::MAX, 1, 999, 1000, 1001, 40_000, 40_001]
                    .map(|timeout| hello(0, timeout, 0).bytes(&[0; 16]).bool(0))
                    .into(),
            ),
        ),
        (
            "handshake-passwords",
            cases(vec![
                hello(0, 5000, 0).null().bool(0),
                hello(0, 5000, 0).bytes(b"").bool(0),
                hello(0, 5000, 0).bytes(&[7; 15]).bool(0),
                hello(0, 5000, 0).bytes(&[7; 17]).bool(0),
                hello(0, 5000, 0).bytes(&[7; 1000]).bool(0),
                hello(0, 5000, 0).int(-2).bool(0),
                hello(0, 5000, 0).int(i32::MAX).bool(0),
                hello(0, 5000, 0).int(17).raw(&[0; 16]),
            ]),
        ),
        (
            "handshake-read-only-byte",
            cases(vec![usual(), usual().bool(0), usual().bool(1), usual().bool(0xff), usual().bool(0).raw(&[9; 100])]),
        ),
        (
            "handshake-zxid-ahead",
            cases(vec![
                hello(1_000_000, 5000, 0).bytes(&[0; 16]).bool(0),
                body().int(0).long(i64::MAX).int(5000).long(0).bytes(&[0; 16]).bool(0),
                body().int(0).long(i64::MIN).int(5000).long(0).bytes(&[0; 16]).bool(0),
                body().int(0).long(-1).int(5000).long(0).bytes(&[0; 16]).bool(0),
            ]),
        ),
        (
            "handshake-protocol-version",
            cases(
                [1, -1, i32::MAX].map(|version| body().int(version).long(0).int(5000).long(0).bytes(&[0; 16])).into(),
            ),
        ),
        (
            "handshake-of-no-session",
            cases(vec![
                hello(0, 5000, 1).bytes(&[0; 16]).bool(0),
                hello(0, 5000, -1).bytes(&[7; 16]).bool(0),
                hello(0, 5000, i64::MIN).bytes(&[7; 16]),
                hello(0, 0, 77).bytes(&[7; 3]).bool(1),
                hello(0, 5000, 77).null(),
            ]),
        ),
        (
            "handshake-cut-short",
            cases(
                (0..44)
                    .map(|length| usual().encode("", 0)[..length.min(44)].to_vec())
                    .map(|cut| body().raw(&cut))
                    .take(44)
                    .collect(),
            ),
        ),
        ("ping-before-the-handshake", cases(vec![body().int(-2).int(11)])),
        (
            "a-session-resumed",
            vec![
                Step::Open { slot: 0 },
                ask(1, create("~", b"", &OPEN, 0)),
                ask(15, create("~/e", b"", &OPEN, 1)),
                Step::Resume { slot: 0, tail: vec![0], altered: None },
                ask(3, body().path("~/e").bool(0)),
                Step::Resume { slot: 0, tail: Vec::new(), altered: None },
                ask(103, body().path("~")),
                Step::Resume { slot: 0, tail: vec![0], altered: Some((15, 1)) },
                Step::Resume { slot: 0, tail: vec![1], altered: Some((0, 0x80)) },
                Step::Resume { slot: 0, tail: vec![1, 2, 3], altered: None },
                ask(107, body()),
            ],
        ),
        ("a-second-handshake", at_home([ask(0, usual().bool(0)), ask(11, body())])),
    ]
}

fn frames() -> Vec<(&'static str, Conversation)> {
    let last = |bytes: &[u8]| [Step::Open { slot: 0 }, Step::Last { slot: 0, bytes: bytes.to_vec() }];
    let length = |length: i32| last(&length.to_be_bytes());
    let whole = |length: usize| {
        // A header and a path, and all the rest is data.
        let rest = length - 8 - 4 - 1 - 4 - 4;
        body().path("/").bytes(&vec![b'x'; rest]).int(77)
    };
    vec![
        (
            "frame-lengths",
            [-1, i32::MIN, i32::MAX, MAX_REQUEST as i32 + 1, MAX_REQUEST as i32, 8, 1]
                .into_iter()
                .flat_map(length)
                .collect(),
        ),
        (
            "frames-too-short-for-a-header",
            (0..8).flat_map(|length| last(&[&(length as i32).to_be_bytes()[..], &vec![0; length]].concat())).collect(),
        ),
        (
            "frames-cut-short",
            (0..16).flat_map(|length| last(&[&100i32.to_be_bytes()[..], &vec![0; length]].concat())).collect(),
        ),
        (
            "the-largest-request",
            each_alone([MAX_REQUEST - 1, MAX_REQUEST, MAX_REQUEST + 1].map(|length| ask(5, whole(length)))),
        ),
    ]
}

fn requests() -> Vec<(&'static str, Conversation)> {
    let on = |opcode: i32, path: &[u8]| {
        let path = || body().raw(&(path.len() as i32).to_be_bytes()).raw(path);
        ask(
            opcode,
            match opcode {
                1 | 15 | 19 => path().bytes(b"").acl(&OPEN).int(0),
                21 => path().bytes(b"").acl(&OPEN).int(5).long(100_000),
                2 => path().int(-1),
                3 | 4 | 8 | 12 => path().bool(0),
                5 => path().bytes(b"").int(77),
                6 | 9 | 103 | 104 => path(),
                7 => path().acl(&OPEN).int(77),
                17 | 18 => path().int(3),
                _ => path().int(0),
            },
        )
    };
    let named = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 17, 18, 19, 21, 103, 104, 106];
    let mut cases = vec![
        (
            "paths-that-are-none",
            at_home(
                named
                    .into_iter()
                    .flat_map(|opcode| paths_that_are_none().into_iter().map(move |path| on(opcode, &path))),
            ),
        ),
        // Not of `addWatch`, whose connection then never ends.
        (
            "no-path",
            at_home(named.into_iter().filter(|opcode| *opcode != 106).map(|opcode| {
                let Step::Ask { body, .. } = on(opcode, b"") else { unreachable!() };
                let rest = body.encode("", 0)[4..].to_vec();
                ask(opcode, Body::default().null().raw(&rest))
            })),
        ),
        (
            "no-body",
            each_alone(
                (1..23)
                    .filter(|opcode| *opcode != 11)
                    .chain([101, 103, 104, 105, 106, 107])
                    .map(|opcode| ask(opcode, body())),
            ),
        ),
        (
            "operations-that-do-not-exist",
            each_alone([0, -1, 10, 23, 99, 108, i32::MAX, i32::MIN].map(|opcode| ask(opcode, body()))),
        ),
        (
            "numbers-of-requests",
            at_home([0, -1, -2, -4, -8, i32::MIN, i32::MAX, 0].map(|xid| Step::Ask {
                slot: 0,
                xid,
                opcode: 3,
                body: body().path("~").bool(0),
            })),
        ),
        (
            "bytes-behind-the-end",
            at_home([3, 4, 6, 8, 9, 12].map(|opcode| ask(opcode, body().path("~").bool(0).raw(b"more")))),
        ),
        ("a-container-deleted", at_home([ask(20, body()), ask(20, body().raw(b"~"))])),
        (
            "configuration",
            at_home([
                ask(16, body().null().null().null().long(-1)),
                ask(16, body().null().null().bytes(b"server.1=localhost:1:2;3").long(0)),
                ask(16, body().null().null()),
                ask(4, body().path("/zookeeper/config").bool(0)),
                ask(4, body().path("/zookeeper/config").bool(1)),
            ]),
        ),
        ("who-am-i", each_alone([ask(107, body()), ask(107, body().raw(b"what"))])),
        (
            "tokens-without-sasl",
            each_alone([
                ask(102, body().bytes(b"")),
                ask(102, body().bytes(b"token")),
                ask(102, body().null()),
                ask(102, body()),
            ]),
        ),
        (
            "flags-of-creates",
            at_home([1, 15].into_iter().flat_map(|opcode| {
                [-1, 0, 1, 2, 3, 4, 5, 6, 7, i32::MAX].map(|flags| ask(opcode, create("~/f", b"", &OPEN, flags)))
            })),
        ),
        (
            "flags-of-containers",
            at_home([-1, 0, 1, 4, 5, 6, 7].map(|flags| ask(19, create(&format!("~/c{flags}"), b"", &OPEN, flags)))),
        ),
        (
            "times-to-live",
            at_home(
                [
                    (5, 1),
                    (5, 0),
                    (5, -1),
                    (5, 0xff_ffff_ffff),
                    (5, 0x100_0000_0000),
                    (5, i64::MAX),
                    (5, i64::MIN),
                    (6, 1),
                    (6, 0),
                    (0, 0),
                    (1, 5),
                    (2, 5),
                    (3, 5),
                    (4, 0),
                    (7, 5),
                    (-1, 5),
                ]
                .map(|(flags, ttl)| ask(21, create(&format!("~/t{flags}"), b"", &OPEN, flags).long(ttl))),
            ),
        ),
        (
            "sequential-paths",
            at_home(
                ["~/", "~/s", "~//", "~/.", "~/..", "/", "", "s", "~/s/", "~/\u{1}"]
                    .map(|path| ask(15, create(path, b"", &OPEN, 2))),
            ),
        ),
        (
            "data-that-is-null",
            at_home([
                ask(15, body().path("~/n").null().acl(&OPEN).int(0)),
                ask(4, body().path("~/n").bool(0)),
                ask(22, body().multi_header(4, false).path("~/n").bool(0).multi_header(-1, true)),
                ask(5, body().path("~/n").bytes(b"").int(0)),
                ask(4, body().path("~/n").bool(0)),
                ask(14, body().multi_header(5, false).path("~/n").null().int(1).multi_header(-1, true)),
                ask(4, body().path("~/n").bool(0)),
                ask(
                    14,
                    body()
                        .multi_header(5, false)
                        .path("~/n")
                        .bytes(b"")
                        .int(-1)
                        .multi_header(2, false)
                        .path("~")
                        .int(-1)
                        .multi_header(-1, true),
                ),
                ask(4, body().path("~/n").bool(0)),
            ]),
        ),
        (
            "the-root",
            at_home([
                ask(1, create("/", b"", &OPEN, 0)),
                ask(1, create("/", b"", &[], 0)),
                ask(2, body().path("/").int(-1)),
                ask(8, body().path("").bool(0)),
                ask(3, body().path("").bool(1)),
                ask(104, body().path("")),
                ask(18, body().path("").int(3)),
                ask(18, body().path("").int(3)),
            ]),
        ),
        (
            "ephemeral-nodes-by-prefix",
            at_home([
                ask(1, create("~/e", b"", &OPEN, 1)),
                ask(103, body().path("/")),
                ask(103, body().path("")),
                ask(103, body().path("  ")),
                ask(103, body().path(" /\n")),
                ask(103, body().null()),
                ask(103, body().path("~/")),
                ask(103, body().path("~/e/")),
                ask(103, body().path("e")),
            ]),
        ),
        (
            "strings-that-are-not-utf-8",
            at_home([
                ask(9, body().bytes(b"/a\xff")),
                ask(9, body().bytes(b"/\xed\xa0\x80/\xed\xb0\x80")),
                ask(9, body().bytes(b"/\xe2\x82")),
                ask(9, body().bytes(b"/\xe2\x82/\xf0\x9f\x98")),
                ask(9, body().bytes(b"/\xc0\xaf\xf4\x90\x80\x80\xf8\x88\x80\x80\x80")),
                ask(9, body().bytes(b"/\xf0\x9f\x98")),
                ask(9, body().bytes(b"/\xe0\x80\x80\xc1")),
                ask(1, create("~/x", b"", &OPEN, 0)),
                ask(7, body().path("~/x").count(1).int(31).bytes(b"digest").bytes(b"a:\xff\xfe").int(-1)),
                ask(6, body().path("~/x")),
                ask(5, body().raw(&[0, 0, 0, 2, b'/', 0xff]).bytes(b"").int(-1)),
                ask(5, body().path("/\u{1f600}").bytes(b"").int(-1)),
                ask(1, create("~/\u{1f600}", b"", &OPEN, 0)),
                ask(3, body().path("~/\u{1f600}").bool(0)),
            ]),
        ),
        (
            "kinds-of-watches",
            at_home([
                ask(106, body().path("~").int(2)),
                ask(106, body().path("~").int(-1)),
                ask(106, body().path("~").int(0)),
                ask(17, body().path("~").int(0)),
                ask(17, body().path("~").int(4)),
                ask(17, body().path("~").int(3)),
                ask(18, body().path("~").int(-1)),
                ask(18, body().path("~").int(3)),
                ask(18, body().path("~").int(3)),
            ]),
        ),
        (
            "watches-on-what-is-no-path",
            at_home([
                ask(3, body().path("no//path").bool(1)),
                ask(106, body().path("").int(1)),
                ask(106, body().path("a\0").int(0)),
                ask(5, body().path("~").bytes(b"x").int(-1)),
                ask(18, body().path("no//path").int(2)),
                ask(18, body().path("no//path").int(2)),
                ask(18, body().path("a\0").int(3)),
                ask(101, body().zxid(0).paths(&["no//path", "", "~"]).paths(&["", "~/", "x"]).paths(&["", "//"])),
            ]),
        ),
        (
            "watches-armed-anew",
            at_home([
                ask(1, create("~/a", b"", &OPEN, 0)),
                ask(
                    101,
                    body().zxid(0).paths(&["~", "~/a", "~/none"]).paths(&["~/a", "~/none"]).paths(&["~", "~/none"]),
                ),
                ask(101, body().zxid(1000).paths(&["~/a"]).paths(&[]).paths(&["~"])),
                ask(105, body().zxid(1000).paths(&[]).paths(&[]).paths(&[]).paths(&["~/p"]).paths(&["~/r"])),
                ask(5, body().path("~/a").bytes(b"x").int(-1)),
                ask(1, create("~/p", b"", &OPEN, 0)),
                ask(1, create("~/r", b"", &OPEN, 0)),
                ask(1, create("~/r/x", b"", &OPEN, 0)),
                ask(1, create("~/none", b"", &OPEN, 0)),
                ask(101, body().long(i64::MIN).paths(&["~/a"]).paths(&[]).paths(&["~"])),
                ask(101, body().long(0).int(-1)),
                ask(101, body().long(0).int(-2).int(-2).int(i32::MIN)),
                ask(101, body().long(0).count(1).null().count(0).count(0)),
                ask(105, body().long(0).paths(&[]).paths(&[]).paths(&[])),
            ]),
        ),
        (
            "the-end-of-a-session",
            at_home([ask(15, create("~/e", b"", &OPEN, 1)), ask(-11, body().raw(b"bye")), ask(11, body())]),
        ),
    ];
    let lists = [-1, 0, -2, i32::MIN, i32::MAX, 2].map(|count| body().path("~/l").bytes(b"").int(count));
    let one = || body().int(31).bytes(b"world").bytes(b"anyone");
    cases.push((
        "counts-of-lists",
        at_home(lists.into_iter().flat_map(|list| [ask(1, list.clone().int(0)), ask(1, list.append(one()).int(0))])),
    ));
    cases
}

fn multis() -> Vec<(&'static str, Conversation)> {
    let header = |opcode: i32| body().multi_header(opcode, false);
    let end = || body().multi_header(-1, true);
    let good = || multi_create(1, "~/m", &OPEN, 0);
    let multi = |parts: Vec<Body>| ask(14, parts.into_iter().fold(body(), Body::append));
    let reads = |parts: Vec<Body>| ask(22, parts.into_iter().fold(body(), Body::append));
    let delete = |path: &str| header(2).path(path).int(-1);
    let read = |opcode: i32, path: &str| header(opcode).path(path).bool(0);
    vec![
        (
            "multi-without-an-end",
            at_home([multi(vec![]), multi(vec![good()]), multi(vec![good(), header(-1)]), multi(vec![end()])]),
        ),
        (
            "multi-of-operations-that-do-not-exist",
            at_home(
                [14, 0, -1, 3, 5, 6, 7, 9, 11, 16, 20, 22, 100, -11, 99]
                    .map(|opcode| multi(vec![good(), header(opcode).path("~").int(-1), end()])),
            ),
        ),
        ("multi-in-a-multi", at_home([multi(vec![header(14), good(), end(), end()])])),
        (
            "multi-of-reads",
            at_home([
                multi(vec![read(4, "~"), end()]),
                multi(vec![good(), read(4, "~"), end()]),
                multi(vec![read(8, "~"), good(), end()]),
            ]),
        ),
        ("multi-behind-the-end", at_home([multi(vec![good(), end(), delete("~/m"), end()])])),
        (
            "multi-with-done-anywhere",
            at_home([multi(vec![body().int(1).bool(7).int(0)]), multi(vec![good(), body().int(14).bool(1).int(5)])]),
        ),
        (
            "multi-refused",
            at_home([
                multi(vec![good(), delete("~/none"), good(), end()]),
                multi(vec![good(), delete("~/m"), delete("/"), end()]),
                multi(vec![delete("x"), end()]),
                multi(vec![good(), multi_create(1, "~/x//", &OPEN, 0), end()]),
                multi(vec![good(), multi_create(1, "~/x", &[], 0), end()]),
                multi(vec![good(), multi_create(15, "~/x", &OPEN, 7), end()]),
                multi(vec![good(), header(5).path("~/m").bytes(b"x").int(3), end()]),
                multi(vec![good(), header(5).path("").bytes(b"x").int(3), end()]),
                multi(vec![header(13).path("~").int(0), header(13).path("~/").int(0), end()]),
                multi(vec![header(13).path("~").int(5), good(), end()]),
            ]),
        ),
        (
            "multi-without-a-path",
            at_home([
                multi(vec![good(), header(2).null().int(-1), end()]),
                // They have each left a zxid out, which nobody sees before the next write.
                Step::Settle { slot: 0 },
                multi(vec![good(), header(5).null().bytes(b"").int(-1), end()]),
                multi(vec![header(13).null().int(-1), end()]),
                Step::Settle { slot: 0 },
                ask(3, body().path("~/m").bool(0)),
                multi(vec![good(), end()]),
            ]),
        ),
        (
            "multi-of-all-kinds",
            at_home([multi(vec![
                good(),
                multi_create(15, "~/m/a", &OPEN, 0),
                multi_create(19, "~/m/c", &OPEN, 4),
                multi_create(15, "~/m/d", &OPEN, 4),
                multi_create(19, "~/m/p", &OPEN, 0),
                multi_create(21, "~/m/t", &OPEN, 5).long(5000),
                multi_create(1, "~/m/s", &OPEN, 2),
                multi_create(1, "~/m/e", &OPEN, 1),
                header(5).path("~/m").bytes(b"x").int(0),
                header(13).path("~/m").int(1),
                header(2).path("~/m/a").int(0),
                end(),
            ])]),
        ),
        (
            "multi-whose-flags-are-of-another-operation",
            at_home([
                multi(vec![multi_create(1, "~/t", &OPEN, 5), end()]),
                multi(vec![multi_create(21, "~/t", &OPEN, 0).long(-1), end()]),
                multi(vec![multi_create(21, "~/t", &OPEN, 4).long(5), end()]),
                multi(vec![multi_create(21, "~/t", &OPEN, 5).long(0), end()]),
                multi(vec![
                    multi_create(21, "~/u", &OPEN, 2).long(7),
                    multi_create(21, "~/u", &OPEN, 9).long(7),
                    end(),
                ]),
            ]),
        ),
        (
            "reads-in-a-multi",
            at_home([
                reads(vec![end()]),
                reads(vec![read(4, "~"), read(8, "~/none"), read(8, "/zookeeper"), read(4, ""), read(4, "//"), end()]),
                reads(vec![read(4, "~")]),
                reads(vec![good(), end()]),
                reads(vec![read(4, "~"), good(), end()]),
                reads(vec![read(12, "~"), end()]),
                reads(vec![header(4).null().bool(0), end()]),
            ]),
        ),
    ]
}

fn access() -> Vec<(&'static str, Conversation)> {
    let auth = |scheme: &str, credentials: &[u8]| ask(100, body().int(0).bytes(scheme.as_bytes()).bytes(credentials));
    let both = |steps: Vec<Step>| -> Conversation {
        let begin = [Step::Open { slot: 0 }, Step::Open { slot: 1 }, auth("digest", b"me:secret")];
        begin.into_iter().chain([ask(1, create("~", b"", &OPEN, 0))]).chain(steps).collect()
    };
    let mine: [(i32, &str, &str); 1] = [(31, "auth", "")];
    let on = |path: &str| body().path(path);
    vec![
        (
            "lists-that-mean-nobody",
            at_home(
                [
                    vec![(31, "world", "")],
                    vec![(31, "world", "Anyone")],
                    vec![(31, "", "")],
                    vec![(31, "x509", "a")],
                    vec![(31, "super", "")],
                    vec![(31, "auth", "")],
                    vec![(31, "digest", "a")],
                    vec![(31, "digest", "a:b:")],
                    vec![(31, "digest", ":")],
                    vec![(31, "digest", "a:b:c")],
                    vec![(31, "ip", "")],
                    vec![(31, "ip", "127.0.0.1/")],
                    vec![(31, "ip", "127.0.0.1/33")],
                    vec![(31, "ip", "127.0.0.1/-1")],
                    vec![(31, "ip", "127.0.0.01")],
                    vec![(31, "ip", "+127.0.0.1/+8")],
                    vec![(31, "ip", "127.0.0.256")],
                    vec![(31, "ip", "127.0.0")],
                    vec![(31, "ip", "127.0.0.1.")],
                    vec![(31, "ip", "localhost")],
                    vec![],
                    vec![(31, "ip", "127.0.0.1/8/8")],
                    vec![(0, "world", "anyone")],
                    vec![(-1, "world", "anyone"), (32, "ip", "10.0.0.0/8")],
                ]
                .into_iter()
                .enumerate()
                .map(|(at, acl)| ask(15, create(&format!("~/{at}"), b"", &acl, 0))),
            ),
        ),
        (
            "lists-without-a-scheme",
            at_home([
                ask(1, on("~/n").bytes(b"").count(1).int(31).null().bytes(b"anyone").int(0)),
                ask(1, on("~/n").bytes(b"").count(1).int(31).bytes(b"world").null().int(0)),
                ask(1, on("~/n").bytes(b"").count(1).int(31).bytes(b"digest").null().int(0)),
                ask(1, on("~/n").bytes(b"").count(1).int(31).bytes(b"ip").null().int(0)),
                ask(1, on("~/n").bytes(b"").count(1).int(31).bytes(b"auth").null().int(0)),
                ask(7, on("~").count(1).int(31).bytes(b"nobody").null().int(-1)),
            ]),
        ),
        (
            "identities-not-believed",
            each_alone([
                auth("digest", b""),
                auth("digest", b":"),
                auth("ip", b"x"),
                auth("world", b"anyone"),
                auth("", b""),
                auth("super", b"super:x"),
                auth("sasl", b"x"),
                ask(100, body().int(7).bytes(b"digest").null()),
                ask(100, body().int(7).bytes(b"ip").null()),
                ask(100, body().int(7).null().bytes(b"me:secret")),
                ask(100, body().int(0)),
                ask(100, body().int(0).bytes(b"digest").int(5)),
                Step::Ask { slot: 0, xid: -4, opcode: 100, body: body().int(0).bytes(b"digest").bytes(b"a:b") },
            ]),
        ),
        (
            "digests-are-not-told",
            both(vec![
                ask(
                    15,
                    create(
                        "~/d",
                        b"",
                        &[(1, "world", "anyone"), (31, "digest", ME), (16, "digest", "a:b:c:"), (31, "auth", "")],
                        0,
                    ),
                ),
                ask(
                    15,
                    create(
                        "~/d",
                        b"",
                        &[(1, "world", "anyone"), (31, "digest", ME), (4, "digest", "you:hash"), (31, "auth", "")],
                        0,
                    ),
                ),
                ask(6, on("~/d")),
                other(6, on("~/d")),
                other(107, body()),
            ]),
        ),
        (
            "nothing-without-the-right",
            both(vec![
                ask(15, create("~/d", b"secret", &mine, 0)),
                ask(15, create("~/d/x", b"secret", &OPEN, 0)),
                other(3, on("~/d").bool(1)),
                other(4, on("~/d").bool(1)),
                other(8, on("~/d").bool(1)),
                other(12, on("~/d").bool(1)),
                other(6, on("~/d")),
                other(104, on("~/d")),
                other(9, on("~/d")),
                other(106, on("~/d").int(1)),
                other(101, body().long(0).paths(&["~/d"]).paths(&["~/d"]).paths(&["~/d"])),
                other(105, body().long(0).paths(&[]).paths(&[]).paths(&[]).paths(&[]).paths(&["~/d"])),
                other(5, on("~/d").bytes(b"").int(-1)),
                other(7, on("~/d").acl(&OPEN).int(-1)),
                other(1, create("~/d/y", b"", &OPEN, 0)),
                other(2, on("~/d/x").int(-1)),
                other(2, on("~/d/none").int(-1)),
                other(14, body().multi_header(13, false).path("~/d").int(0).multi_header(-1, true)),
                other(14, body().multi_header(2, false).path("~/d/x").int(0).multi_header(-1, true)),
                other(
                    22,
                    body()
                        .multi_header(4, false)
                        .path("~/d")
                        .bool(0)
                        .multi_header(8, false)
                        .path("~/d")
                        .bool(0)
                        .multi_header(-1, true),
                ),
                ask(5, on("~/d").bytes(b"more").int(-1)),
                ask(5, on("~/d/x").bytes(b"more").int(-1)),
                ask(1, create("~/d/z", b"", &mine, 0)),
                ask(2, on("~/d/z").int(-1)),
                ask(2, on("~/d/x").int(-1)),
                other(2, on("~/d").int(-1)),
            ]),
        ),
        (
            "rights-of-the-parent",
            both(vec![
                ask(15, create("~/p", b"", &[(1 | 4, "world", "anyone"), (31, "auth", "")], 0)),
                other(1, create("~/p/x", b"", &OPEN, 0)),
                other(2, on("~/p/x").int(-1)),
                ask(7, on("~/p").acl(&[(8, "world", "anyone"), (31, "auth", "")]).int(0)),
                other(1, create("~/p/y", b"", &OPEN, 0)),
                other(2, on("~/p/x").int(-1)),
                other(8, on("~/p").bool(0)),
                ask(7, on("~/p").acl(&[(64, "world", "anyone")]).int(1)),
                ask(7, on("~/p").acl(&OPEN).int(-1)),
                ask(6, on("~/p")),
            ]),
        ),
        (
            "an-identity-ends-with-its-connection",
            both(vec![
                ask(15, create("~/d", b"", &mine, 0)),
                Step::Resume { slot: 0, tail: vec![0], altered: None },
                ask(4, on("~/d").bool(0)),
                ask(107, body()),
                auth("digest", b"me:secret"),
                ask(4, on("~/d").bool(0)),
            ]),
        ),
    ]
}

fn system_nodes() -> Vec<(&'static str, Conversation)> {
    let paths = ["/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
    let on_each = |opcode: i32, body: fn(&str) -> Body| paths.map(|path| ask(opcode, body(path)));
    let on = |path: &str| Body::default().path(path);
    let steps = [
        on_each(1, |path| create(path, b"", &OPEN, 0)),
        on_each(2, |path| Body::default().path(path).int(-1)),
        on_each(2, |path| Body::default().path(path).int(5)),
        on_each(3, |path| Body::default().path(path).bool(1)),
        on_each(4, |path| Body::default().path(path).bool(1)),
        on_each(5, |path| Body::default().path(path).bytes(b"x").int(7)),
        on_each(6, |path| Body::default().path(path)),
        on_each(7, |path| Body::default().path(path).acl(&OPEN).int(7)),
        on_each(7, |path| Body::default().path(path).acl(&[]).int(7)),
        on_each(12, |path| Body::default().path(path).bool(1)),
        on_each(104, |path| Body::default().path(path)),
        on_each(15, |path| create(&format!("{path}/x"), b"", &OPEN, 0)),
        on_each(15, |path| create(&format!("{path}/"), b"", &OPEN, 3)),
        on_each(2, |path| Body::default().path(&format!("{path}/x")).int(-1)),
    ];
    vec![
        ("system-nodes", at_home(steps.into_iter().flatten())),
        (
            "system-nodes-counted",
            at_home([
                ask(104, on("/")),
                ask(5, on("/zookeeper").bytes(b"data").int(-1)),
                ask(5, on("/zookeeper").bytes(b"").int(-1)),
                ask(7, on("/zookeeper/quota").acl(&OPEN).int(-1)),
                ask(7, on("/zookeeper/config").acl(&[(31, "ip", "127.0.0.1")]).int(-1)),
            ]),
        ),
    ]
}

/// As zkCli sets them. The figures and limits are always such as can be read: at others 3.8 ends.
fn quotas() -> Vec<(&'static str, Conversation)> {
    let on = |path: &str| Body::default().path(path);
    let set = |limits: &[u8]| {
        [
            ask(1, create("/zookeeper/quota~", b"", &OPEN, 0)),
            ask(1, create("/zookeeper/quota~/q", b"", &OPEN, 0)),
            ask(1, create("/zookeeper/quota~/q/zookeeper_limits", limits, &OPEN, 0)),
            ask(1, create("/zookeeper/quota~/q/zookeeper_stats", b"count=77,bytes=77", &OPEN, 0)),
            ask(4, on("/zookeeper/quota~/q/zookeeper_stats").bool(0)),
        ]
    };
    let clear = || {
        ["/q/zookeeper_stats", "/q/zookeeper_limits", "/q", ""]
            .map(|below| ask(2, Body::default().path(&format!("/zookeeper/quota~{below}")).int(-1)))
    };
    let stats = || ask(4, Body::default().path("/zookeeper/quota~/q/zookeeper_stats").bool(0));
    let quota = |limits: &[u8], steps: Vec<Step>| {
        let before = [
            ask(1, create("~/q", b"12345", &OPEN, 0)),
            ask(1, create("~/q/a", b"123", &OPEN, 0)),
            ask(1, create("~/qq", b"123", &OPEN, 0)),
        ];
        at_home(before.into_iter().chain(set(limits)).chain(steps).chain(clear()))
    };
    let changes = || {
        vec![
            ask(15, create("~/q/b", b"1234567", &OPEN, 0)),
            stats(),
            ask(15, create("~/q/e", b"1", &OPEN, 1)),
            ask(15, create("~/q/s", b"1", &OPEN, 2)),
            ask(15, create("~/qq/b", b"1", &OPEN, 0)),
            stats(),
            ask(5, on("~/q").bytes(b"").int(-1)),
            ask(5, on("~/q/a").bytes(&[b'x'; 100]).int(-1)),
            ask(5, on("~/q/a").bytes(&[b'x'; 100]).int(77)),
            ask(5, on("~/q/a").bytes(b"x").int(-1)),
            stats(),
            ask(2, on("~/q/b").int(-1)),
            stats(),
            ask(
                14,
                multi_create(1, "~/q/m", &OPEN, 0)
                    .append(multi_create(1, "~/q/n", &OPEN, 0))
                    .append(multi_create(1, "~/q/o", &OPEN, 0))
                    .multi_header(-1, true),
            ),
            stats(),
            ask(
                14,
                multi_create(1, "~/q/v", &OPEN, 0).multi_header(2, false).path("~/none").int(-1).multi_header(-1, true),
            ),
            stats(),
        ]
    };
    let ended = vec![
        ask(1, create("~/q/e", b"123", &OPEN, 1)),
        stats(),
        ask(-11, Body::default()),
        Step::Open { slot: 0 },
        stats(),
    ];
    vec![
        ("quota-counted", quota(b"count=2,bytes=3", changes())),
        ("quota-of-nodes", quota(b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=4", changes())),
        ("quota-of-bytes", quota(b"count=1,bytes=1=;byteHardLimit=12;countHardLimit=-1", changes())),
        ("quota-of-nothing", quota(b"count=-1,bytes=-1=;byteHardLimit=0;countHardLimit=0", changes())),
        ("quota-without-text", quota(b"", changes())),
        ("quota-and-the-end-of-a-session", quota(b"count=9,bytes=9", ended)),
        (
            "quota-within-a-quota",
            quota(
                b"count=9,bytes=9",
                vec![
                    ask(1, create("/zookeeper/quota~/q/a", b"", &OPEN, 0)),
                    ask(
                        1,
                        create(
                            "/zookeeper/quota~/q/a/zookeeper_limits",
                            b"count=1,bytes=4=;countHardLimit=2",
                            &OPEN,
                            0,
                        ),
                    ),
                    ask(15, create("~/q/a/0", b"1", &OPEN, 0)),
                    stats(),
                    ask(1, create("/zookeeper/quota~/q/a/zookeeper_stats", b"", &OPEN, 0)),
                    ask(15, create("~/q/a/1", b"1", &OPEN, 0)),
                    ask(15, create("~/q/1", b"1", &OPEN, 0)),
                    stats(),
                    ask(4, on("/zookeeper/quota~/q/a/zookeeper_stats").bool(0)),
                    ask(2, on("/zookeeper/quota~/q/a/zookeeper_limits").int(-1)),
                    ask(15, create("~/q/a/2", b"1", &OPEN, 0)),
                    ask(4, on("/zookeeper/quota~/q/a/zookeeper_stats").bool(0)),
                    stats(),
                    ask(2, on("/zookeeper/quota~/q/a/zookeeper_stats").int(-1)),
                    ask(2, on("/zookeeper/quota~/q/a").int(-1)),
                ],
            ),
        ),
    ]
}
