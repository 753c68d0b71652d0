//! What the documentation says is tested, is.
//!
//! A document names a test as a code span `file.rs::function` (which by itself is no name), with as much of the file's path
//! as tells it apart. Each must be the test of exactly one file: one that is renamed or taken away is missed here.

#![expect(clippy::unwrap_used, reason = "what goes wrong here is to end the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The documents that name tests, and how many they name at least: a format that is not understood names none.
const DOCUMENTS: [(&str, usize); 3] =
    [("docs/COMPATIBILITY.md", 90), ("docs/REGRESSIONS.md", 80), ("docs/SERVER.md", 60)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of every Rust file, by its path from the root.
fn sources() -> BTreeMap<String, String> {
    let (mut files, mut directories) = (BTreeMap::new(), vec![root()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text);
            }
        }
    }
    files
}

/// The macros of the scenarios: what is listed in one is a test for each server, or beside each peer.
const LISTS: [&str; 3] = ["scenarios! {", "beside! {", "among! {"];

/// The functions that are tests: by their attribute, as a scenario, or as a case of the conformance suite, in whose table
/// `cases` it is.
fn tests(text: &str, cases: &BTreeSet<&str>) -> BTreeSet<String> {
    let (mut tests, mut functions, mut listed) = (BTreeSet::new(), BTreeSet::new(), cases.clone());
    let (mut is_test, mut is_list) = (false, false);
    for line in text.lines().map(str::trim) {
        if is_list {
            is_list = line != "}";
            listed.extend(line.split([' ', ';']));
        } else if LISTS.contains(&line) {
            is_list = true;
        } else if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if let Some(name) = function(line) {
            if is_test { &mut tests } else { &mut functions }.insert(name);
            is_test = false;
        } else {
            is_test &= line.is_empty() || line.starts_with("//");
        }
    }
    tests.extend(functions.intersection(&listed));
    tests.into_iter().map(str::to_owned).collect()
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_head = before.split(' ').all(|word| ["", "pub(crate)", "async"].contains(&word));
    is_head.then(|| after.split(['(', '<']).next()).flatten()
}

/// The names in the table of the conformance suite.
fn cases(table: &str) -> BTreeSet<&str> {
    let names = table.lines().filter_map(|line| line.trim().strip_suffix(';'));
    names.map(|line| line.split(' ').next().unwrap_or_default()).collect()
}

/// The code spans of the form `file.rs::function`.
fn named(document: &str) -> Vec<(&str, &str)> {
    // Between the backquotes is every other part, of a line without blocks of code.
    let spans = document.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let spans = spans.filter(|span| *span != "file.rs::function");
    spans.filter_map(|span| span.split_once("::").filter(|(file, _)| file.ends_with(".rs"))).collect()
}

/// Why this is not the test of exactly one file.
fn fault(sources: &BTreeMap<String, BTreeSet<String>>, file: &str, function: &str) -> Option<String> {
    let ends = format!("/{file}");
    let meant = sources.iter().filter(|(path, _)| format!("/{path}").ends_with(&ends));
    let having: Vec<_> = meant.filter(|(_, tests)| tests.contains(function)).map(|(path, _)| path).collect();
    match having[..] {
        [_] => None,
        [] => Some(format!("{file}::{function} is no test")),
        _ => Some(format!("{file}::{function} may be in any of {having:?}")),
    }
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let texts = sources();
    let table = texts["crates/herdless-conformance/src/cases/mod.rs"].clone();
    let cases = cases(&table);
    assert!(cases.len() > 100, "{cases:?}");
    let sources = texts
        .iter()
        .map(|(path, text)| {
            let of_suite = if path.contains("/cases/") { &cases } else { &BTreeSet::new() };
            (path.clone(), tests(text, of_suite))
        })
        .collect();
    let mut faults = Vec::new();
    for (document, least) in DOCUMENTS {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let named = named(&text);
        println!("{document} names {} tests", named.len());
        assert!(named.len() >= least, "{document} names {} tests", named.len());
        let missing = named.iter().filter_map(|(file, function)| fault(&sources, file, function));
        faults.extend(missing.map(|fault| format!("{document}: {fault}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_name_that_is_no_test_is_told() {
    let text = "
        #[test]
        fn one() {}

        #[tokio::test(flavor = \"multi_thread\")]
        #[ignore]
        // Why.
        pub(crate) async fn two() {}

        fn helper() {}

        scenarios! {
            three
        }

        beside! {
            peer Peer: six seven;
        }

        async fn three(world: &World) {}
        async fn seven(world: &World) {}

        pub(crate) async fn four<B: Backend>(scene: &Scene) {}
        pub(crate) async fn five<B: Backend>(scene: &Scene) {}
    ";
    let cases = cases("topic {\n four needs Disconnect;\n six;\n}");
    let tests = tests(text, &cases);
    assert_eq!(tests.iter().map(String::as_str).collect::<Vec<_>>(), ["four", "one", "seven", "three", "two"]);
    let sources = ["a/x.rs", "b/x.rs", "b/y.rs"].map(|path| (path.to_owned(), tests.clone())).into();
    assert_eq!(
        named("| `b/x.rs::one`, `y.rs::two` | `Some::thing` `file.rs` `file.rs::function` |"),
        [("b/x.rs", "one"), ("y.rs", "two")]
    );
    assert_eq!(fault(&sources, "b/x.rs", "one"), None);
    assert_eq!(fault(&sources, "y.rs", "two"), None);
    assert!(fault(&sources, "b/x.rs", "helper").is_some());
    assert!(fault(&sources, "b/x.rs", "five").is_some());
    assert!(fault(&sources, "z.rs", "one").is_some());
    assert!(fault(&sources, "rs", "one").is_some(), "no file is named so");
    assert!(fault(&sources, "x.rs", "one").is_some(), "it may be in either");
}

/// Every row of the comparison that does not say no has a test.
#[test]
fn every_yes_of_the_comparison_has_a_test() {
    let text = std::fs::read_to_string(root().join("docs/COMPATIBILITY.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("| herdless |"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 60 && rows.iter().all(|row| row.len() == 9), "{rows:?}");
    let bare: Vec<_> = rows.iter().filter(|row| row[1] != "no" && named(row[8]).is_empty()).collect();
    assert!(bare.is_empty(), "{bare:#?}");
    assert!(rows.iter().any(|row| row[1] == "no"), "what is not there is said as well");
}
