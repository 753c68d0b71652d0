//! What the fuzzer has found, replayed without it.

#![expect(clippy::unwrap_used, reason = "what is not a test here is a test's helper")]

use std::fs;
use std::path::{Path, PathBuf};

use herdless_fuzz::{DIGEST, HAS_DIGEST, TARGETS};

#[path = "../../herdless-proto/tests/golden/frames.rs"]
#[expect(dead_code, reason = "only the payloads are of interest here")]
mod frames;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target)
}

/// Every input of a target, with its name, in order.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap());
    let mut inputs: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    inputs.sort();
    inputs
}

fn replay(target: &str) {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let inputs = inputs(target);
    assert!(inputs.len() >= 20, "{} inputs", inputs.len());
    for (name, bytes) in &inputs {
        println!("{target}/{name}");
        run(bytes);
    }
    println!("{} inputs", inputs.len());
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_has_a_program_and_is_replayed() {
            let replayed = [$(stringify!($target)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), replayed);
            let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/fuzz_targets");
            let mut programs: Vec<_> =
                fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            programs.sort();
            assert_eq!(programs, replayed.map(|name| format!("{name}.rs")));
        }
    };
}

replays!(client_machine import_files pair path_validator reply_decode request_decode server_machine);

/// What Apache ZooKeeper has left in these files, as the target takes it.
fn import_seed(snapshot: &str, log: &str) -> Vec<u8> {
    const HEADER: usize = 16;
    /// The checksum and a path.
    const SEAL: usize = 8 + 5;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../herdless-import/tests/golden");
    let (snapshot, log) = (fs::read(golden.join(snapshot)).unwrap(), fs::read(golden.join(log)).unwrap());
    let (rest, digest) = snapshot[..snapshot.len() - SEAL].split_at(snapshot.len() - SEAL - DIGEST);
    let body = &rest[HEADER..rest.len() - SEAL];
    let mut seed = vec![HAS_DIGEST];
    let mut put = |part: &[u8]| {
        seed.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        seed.extend(part);
    };
    put(body);
    let mut entries = Vec::new();
    let mut rest = &log[HEADER..];
    while let Some((head, behind)) = rest.split_first_chunk::<12>().filter(|(head, _)| head[8..] != [0; 4]) {
        let length = u32::from_be_bytes(*head.last_chunk().unwrap()) as usize;
        entries.push(&behind[..length]);
        rest = &behind[length + 1..];
    }
    seed.extend(digest);
    for entry in entries {
        seed.extend(u16::try_from(entry.len()).unwrap().to_be_bytes());
        seed.extend(entry);
    }
    seed
}

/// The recorded frames of Apache ZooKeeper, for the fuzzer to begin with.
#[test]
#[ignore = "writes into the corpus"]
fn seeds_are_written() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::write(corpus(target).join(name.replace('/', "-")), bytes).unwrap();
    };
    let frames = frames::all();
    let mut conversation = vec![1];
    for (at, frame) in frames.iter().enumerate() {
        let begins = at == 0 || frame.is_handshake() && frame.from_client;
        if begins && conversation.len() > 1 {
            write("server_machine", &frame.name, &conversation);
            conversation.truncate(1);
        }
        if frame.from_client {
            write("request_decode", &frame.name, &frame.payload);
            if let Ok(length) = u8::try_from(frame.payload.len()) {
                conversation.extend([0, length]);
                conversation.extend(&frame.payload);
            }
            continue;
        }
        let asked = frames[..at].iter().rev().find(|asked| {
            asked.from_client && (frame.is_handshake() || (!asked.is_handshake() && asked.int(0) == frame.int(0)))
        });
        let code = asked.filter(|asked| !asked.is_handshake()).map_or(0, |asked| asked.int(4) as u8);
        write("reply_decode", &frame.name, &[&[code], &frame.payload[..]].concat());
    }
    for (snapshot, log) in [("snapshot.0", "log.1"), ("snapshot.10", "log.11")] {
        write("import_files", &format!("golden-{snapshot}"), &import_seed(snapshot, log));
    }
    // What no client has said to the recorder.
    let reconfig = [&[0, 0, 0, 1, 0, 0, 0, 16][..], b"\0\0\0\x01a\0\0\0\x01b\xff\xff\xff\xff", &[0; 8]].concat();
    write("request_decode", "by-hand-reconfig", &reconfig);
    write("server_machine", "by-hand-large-handshake", &[&[1, 4, 4][..], &8193_i32.to_be_bytes()].concat());
    write("server_machine", "by-hand-word", b"\x01\x04\x06ruok\0\0\x05\x04\x05\x02");
    write("server_machine", "by-hand-negative-length", &[&[1, 4, 4][..], &(-1_i32).to_be_bytes()].concat());
    for (name, path) in [
        ("root", "/"),
        ("empty", ""),
        ("plain", "/locks/orders"),
        ("relative", "/a/../b"),
        ("dots", "/a/.../.b"),
        ("slashes", "/a//b"),
        ("trailing", "/a/"),
        ("not-absolute", "a/b"),
        ("control", "/a\u{1f}"),
        ("delete", "/a\u{7f}\u{9f}\u{a0}"),
        ("before-surrogates", "/\u{d7ff}"),
        ("private", "/\u{e000}\u{f8ff}"),
        ("after-private", "/\u{f900}\u{ffef}"),
        ("specials", "/\u{fff0}\u{ffff}"),
        ("above", "/\u{10000}"),
        ("digit", "/queue/n-0000000001"),
        ("config", "/zookeeper/config"),
    ] {
        write("path_validator", name, path.as_bytes());
    }
}
