//! Which strings are paths: the server's verdict on each, and ours.

use herdless::NodePath;

use crate::support::{Raw, World};

/// `KeeperException.Code`: the path is none, there is no such node or parent, there is such a node, it has another
/// version.
const BAD_ARGUMENTS: i32 = -8;
const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const NODE_EXISTS: i32 = -110;

/// How a server is asked for its verdict.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// By an attempt to set the data.
    Set,
    /// By an attempt to create the node. Judged only where the parent is there.
    Create,
    /// By an attempt to create a node with a number behind this.
    CreateSequential,
}

fn tricky() -> Vec<String> {
    let mut paths: Vec<String> = [
        // Slashes.
        "",
        "/",
        "//",
        "///",
        "a",
        "a/b",
        "a/",
        "/a",
        "/a/",
        "/a//",
        "//a",
        "/a//b",
        "/a/b/",
        "/a/b//c",
        " /a",
        "\\a",
        "/a\\b",
        "\u{2215}a",
        // Dots.
        ".",
        "..",
        "/.",
        "/..",
        "/...",
        "/.a",
        "/..a",
        "/a.",
        "/a..",
        "/a/.",
        "/a/..",
        "/./a",
        "/../a",
        "/a/./b",
        "/a/../b",
        "/a/.../b",
        "/.../",
        "/a/.b",
        "/a/..b",
        "/a/b.",
        "/. ",
        "/ .",
        // What is no letter, and is allowed.
        "/ ",
        "/a b",
        "/-",
        "/a:b",
        "/a,b",
        "/*",
        "/?",
        "/%2e",
        "/\"",
        "/'",
        "/~",
        "/zookeeper",
        "/zookeeper/quota",
        // Letters of all kinds.
        "/ä",
        "/日本",
        "/日本/a",
        "/e\u{301}",
        "/\u{feff}a",
        "/\u{200b}",
        "/\u{202e}a",
    ]
    .map(str::to_owned)
    .into();
    // The bounds of every range that ZooKeeper forbids, from either side, at the end and in between.
    for c in [
        '\0',
        '\u{1}',
        '\t',
        '\n',
        '\u{1f}',
        '\u{20}',
        '\u{7e}',
        '\u{7f}',
        '\u{80}',
        '\u{9f}',
        '\u{a0}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{f8fe}',
        '\u{f8ff}',
        '\u{f900}',
        '\u{ffef}',
        '\u{fff0}',
        '\u{fffd}',
        '\u{ffff}',
        '\u{10000}',
        '\u{1f600}',
        '\u{10ffff}',
    ] {
        paths.push(format!("/a{c}"));
        paths.push(format!("/{c}/a"));
    }
    paths
}

async fn compare(world: &World) {
    let (mut wrong, mut judged) = (Vec::new(), 0);
    for path in tricky() {
        for asked in [Asked::Set, Asked::Create, Asked::CreateSequential] {
            // One connection each: what the server thinks of one does not matter to the next.
            let (mut raw, _) = Raw::open(&world.address, 10_000).await;
            let (code, ours) = match asked {
                Asked::Set => (raw.set(path.as_bytes()).await, NodePath::parse(&path)),
                Asked::Create => (raw.create(path.as_bytes(), 0).await, NodePath::parse(&path)),
                Asked::CreateSequential => (raw.create(path.as_bytes(), 2).await, NodePath::parse_sequential(&path)),
            };
            let is_path = match (asked, code) {
                (Asked::Create | Asked::CreateSequential, NO_NODE) => continue,
                (_, BAD_ARGUMENTS) => false,
                (_, 0 | NO_NODE | NODE_EXISTS | BAD_VERSION) => true,
                _ => panic!("{path:?} {asked:?}: {code}"),
            };
            judged += 1;
            if ours.is_ok() != is_path {
                wrong.push(format!("{path:?} {asked:?}: {code}, and {ours:?}"));
            }
        }
    }
    println!("{judged} verdicts");
    assert!(judged > 200, "only {judged} verdicts");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_verdict_on_paths_is_zookeepers() {
    if let Some(world) = World::zookeeper("paths") {
        compare(&world).await;
    }
}

#[tokio::test]
async fn the_embedded_server_judges_paths_alike() {
    compare(&World::embedded("paths").await).await;
}
