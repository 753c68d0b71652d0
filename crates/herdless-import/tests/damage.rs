//! Files with one thing wrong: what is read is right, or nothing is.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod support;

use herdless_import::{Fault, Import, ImportError};

use support::{Contents, Golden, content};

/// What comes of the golden files with this one changed.
fn read_with(golden: &Golden, name: &str, bytes: &[u8]) -> Result<Import, ImportError> {
    let mut files = golden.files.clone();
    files.insert(name.to_owned(), bytes.to_vec());
    Import::read(&files)
}

/// Every byte of a file, changed in several ways.
fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len()).flat_map(|at| {
        [0x01, 0x80, 0xff].map(|mask| {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= mask;
            (at, damaged)
        })
    })
}

#[test]
fn a_snapshot_with_a_wrong_byte_is_not_believed() {
    let mut golden = Golden::load();
    golden.files.remove(&golden.old_snapshot);
    let whole = content(&golden.read());
    let mut refused = 0;
    for (at, damaged) in flips(&golden.files[&golden.snapshot].clone()) {
        match read_with(&golden, &golden.snapshot, &damaged) {
            Err(error) => assert_eq!(error.file, golden.snapshot, "{error}"),
            Ok(import) => panic!("byte {at}: {:?}", import.report),
        }
        refused += 1;
    }
    println!("{refused} refused");
    for length in 0..golden.files[&golden.snapshot].len() {
        match read_with(&golden, &golden.snapshot, &golden.files[&golden.snapshot][..length]) {
            Err(error) => assert_eq!(error.file, golden.snapshot, "{error}"),
            // Cut off where earlier releases ended it, it is one of theirs.
            Ok(import) => assert_eq!(content(&import), whole, "cut off at {length}"),
        }
    }
}

#[test]
fn an_older_snapshot_does_in_place_of_a_damaged_one() {
    let golden = Golden::load();
    let whole = content(&golden.read());
    for (at, damaged) in flips(&golden.files[&golden.snapshot].clone()).step_by(7) {
        let import = read_with(&golden, &golden.snapshot, &damaged).unwrap();
        assert_eq!(content(&import), whole, "byte {at}");
        assert_eq!(import.report.snapshot, golden.old_snapshot);
        assert_eq!(import.report.passed_over.len(), 1);
        assert_eq!(import.report.passed_over[0].file, golden.snapshot);
    }
    // Without the logs between them it does not.
    let mut files = golden.files.clone();
    let first = files.keys().find(|name| name.starts_with("log.")).unwrap().clone();
    assert_ne!(first, golden.log);
    files.remove(&first);
    assert!(Import::read(&files).is_ok());
    files.get_mut(&golden.snapshot).unwrap()[100] ^= 1;
    assert_eq!(Import::read(&files).unwrap_err().file, golden.snapshot);
}

/// How much of a log is there before the zeros it is filled up with.
fn written(log: &[u8]) -> usize {
    log.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

/// The trees after each transaction of the newest log, in order.
fn prefixes(golden: &Golden) -> Vec<Contents> {
    let log = &golden.files[&golden.log];
    let mut found: Vec<Contents> = Vec::new();
    for length in 0..=log.len() {
        let import = read_with(golden, &golden.log, &log[..length]).unwrap();
        let contents = content(&import);
        if found.last() != Some(&contents) {
            found.push(contents);
        }
    }
    found
}

#[test]
fn a_log_that_was_cut_off_has_all_before_the_cut() {
    let golden = Golden::load();
    let prefixes = prefixes(&golden);
    let zxids: Vec<_> = prefixes.iter().map(|(last, ..)| *last).collect();
    println!("{zxids:?}");
    assert!(zxids.windows(2).all(|pair| pair[1] == pair[0] + 1), "one more each: {zxids:?}");
    assert!(zxids.len() > 10);
    let log = &golden.files[&golden.log];
    let mut torn = 0;
    for length in 0..log.len() {
        // As by a server that fills its files up with zeros.
        let mut filled = log[..length].to_vec();
        filled.resize(log.len(), 0);
        match read_with(&golden, &golden.log, &filled) {
            Ok(import) => {
                assert!(prefixes.contains(&content(&import)), "cut off at {length}");
                torn += import.report.torn.len();
            }
            Err(error) => assert!(length < 16 && matches!(error.fault, Fault::Header), "{length}: {error}"),
        }
    }
    // Not told: behind the last byte, and where the next entry's first bytes, which are zeros anyway, are all that is missing.
    let written = written(log);
    println!("{torn} of {written} cuts told");
    assert!(torn > written - 16 - 12 * prefixes.len());
}

#[test]
fn a_log_with_a_wrong_byte_loses_nothing_silently() {
    let golden = Golden::load();
    let whole = content(&golden.read());
    let written = written(&golden.files[&golden.log]);
    let (mut refused, mut same) = (0, 0);
    for (at, damaged) in flips(&golden.files[&golden.log].clone()) {
        match read_with(&golden, &golden.log, &damaged) {
            Err(error) => {
                assert_eq!(error.file, golden.log, "{error}");
                assert!(error.offset.is_some_and(|offset| offset <= at as u64), "byte {at}: {error}");
                refused += 1;
            }
            Ok(import) => {
                // The id of the database; and among the zeros behind the last entry, what may be the beginning of another.
                assert!((8..16).contains(&at) || at >= written, "byte {at}: {:?}", import.report);
                assert!((at >= written) == (import.report.torn.len() == 1), "byte {at}: {:?}", import.report);
                assert_eq!(content(&import), whole);
                same += usize::from(at < written);
            }
        }
    }
    println!("{refused} refused, {same} the same");
    assert_eq!(same, 3 * 8);
}

#[test]
fn zeros_in_a_log_are_its_end_only_where_nothing_follows() {
    let golden = Golden::load();
    let whole = content(&golden.read());
    let log = golden.files[&golden.log].clone();
    let written = written(&log);
    for at in 16..written {
        let mut damaged = log.clone();
        let end = (at + 8).min(log.len());
        let was_zero = damaged[at..end].iter().all(|byte| *byte == 0);
        damaged[at..end].fill(0);
        match read_with(&golden, &golden.log, &damaged) {
            Ok(import) if was_zero => assert_eq!(content(&import), whole),
            // The last bytes of all: as if they had never been written.
            Ok(import) => assert!(end >= written && import.report.torn.len() == 1, "byte {at}: {:?}", import.report),
            Err(error) => assert_eq!(error.file, golden.log, "{error}"),
        }
    }
}

#[test]
fn a_snapshot_that_the_logs_do_not_reach_is_refused() {
    let mut golden = Golden::load();
    // As if it had been begun earlier: it holds more than its name says.
    let snapshot = golden.files.remove(&golden.snapshot).unwrap();
    golden.files.retain(|name, _| !name.starts_with("log."));
    golden.files.insert("snapshot.2".into(), snapshot);
    let error = Import::read(&golden.files).unwrap_err();
    assert!(matches!(error.fault, Fault::Uncovered { .. }), "{error}");
}

#[test]
fn what_is_not_read_says_so() {
    let mut files = Golden::load().files;
    files.retain(|name, _| name.starts_with("log."));
    assert!(matches!(Import::read(&files).unwrap_err().fault, Fault::NoSnapshot));
    for (name, method) in [("snapshot.2.gz", "gzip"), ("snapshot.2.snappy", "snappy")] {
        let mut files = files.clone();
        files.insert(name.into(), vec![0x1f, 0x8b]);
        let error = Import::read(&files).unwrap_err();
        assert!(matches!(error.fault, Fault::Compressed(found) if found == method), "{error}");
        assert_eq!(error.to_string(), format!("{name}: a snapshot compressed by {method}, which is not read"));
    }
}

fn adler(bytes: &[u8]) -> [u8; 8] {
    u64::from(adler2::adler32_slice(bytes)).to_be_bytes()
}

/// What another program might write: every byte is another one, and the checksum is right. Nothing can tell what it should have
/// been, so it is read or refused; it does no harm to the one who reads.
#[test]
fn bytes_that_no_checksum_betrays_do_no_harm() {
    let golden = Golden::load();
    let (mut read, mut refused) = (0, 0);
    let mut count = |outcome: Result<Import, ImportError>| match outcome {
        Ok(import) => read += usize::from(!content(&import).1.is_empty()),
        Err(error) => refused += usize::from(!error.to_string().is_empty()),
    };
    let log = golden.files[&golden.log].clone();
    let mut start = 16;
    // Each entry: a checksum of eight bytes, a length of four, the payload, a mark.
    while let Some(&length) = log[start + 8..].first_chunk().filter(|length| **length != [0; 4]) {
        let payload = start + 12..start + 12 + u32::from_be_bytes(length) as usize;
        for (_, damaged) in flips(&log[payload.clone()]) {
            let mut files = log.clone();
            files[start..start + 8].copy_from_slice(&adler(&damaged));
            files[payload.clone()].copy_from_slice(&damaged);
            count(read_with(&golden, &golden.log, &files));
        }
        start = payload.end + 1;
    }
    assert_eq!(start, written(&log));
    // The tree and its seal, and the digest and its seal.
    let snapshot = golden.files[&golden.snapshot].clone();
    let (first, second) = (snapshot.len() - 33 - 13, snapshot.len() - 13);
    for (_, mut damaged) in flips(&snapshot[..first]) {
        damaged.extend(adler(&damaged));
        damaged.extend(&snapshot[first + 8..second]);
        damaged.extend(adler(&damaged));
        damaged.extend(&snapshot[second + 8..]);
        let mut files = golden.files.clone();
        files.remove(&golden.old_snapshot);
        files.insert(golden.snapshot.clone(), damaged);
        count(Import::read(&files));
    }
    println!("{read} read, {refused} refused");
    assert!(read > 1000 && refused > 1000, "{read} {refused}");
}
