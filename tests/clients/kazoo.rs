//! kazoo: our script, and the tests that it comes with (`kazoo_suite.py`).

use tokio::process::Command;

use crate::support::{NO_ZOOKEEPER, ZooKeeper, mortal, skipped, source};
use crate::transcript::{compare, embedded, printed, whole};

fn python(arguments: &[&str]) -> Command {
    let mut python = mortal("python3");
    python.args(arguments);
    python
}

/// Whether these modules are there.
async fn has(modules: &str) -> bool {
    let output = python(&["-c", &format!("import {modules}")]).output().await;
    output.is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kazoos_recipes_work_as_on_zookeeper() {
    if !has("kazoo").await {
        skipped("skipped: no kazoo for python3");
        return;
    }
    let script = source("kazoo_recipes.py");
    compare("kazoo-recipes", "", |address| python(&[script.to_str().unwrap(), address]), whole).await;
}

/// So many at once: most of the time they wait.
const PARTS: usize = 3;

/// How many of kazoo's tests passed; all that are not left out have to.
async fn suite(address: &str) -> usize {
    let script = source("kazoo_suite.py");
    let parts = (0..PARTS).map(|part| {
        let arguments = [script.to_str().unwrap(), address, &part.to_string(), &PARTS.to_string()];
        printed(python(&arguments), "")
    });
    let printed = futures::future::join_all(parts).await;
    let passed = printed.iter().map(|text| {
        let line = text.lines().last().unwrap();
        println!("{line}");
        line.split_once(" passed").expect(line).0.parse::<usize>().unwrap()
    });
    passed.sum()
}

const NO_SUITE: &str = "skipped: no tests of kazoo; install kazoo, pytest, objgraph, pyjks and pyopenssl for python3";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kazoos_own_tests_pass() {
    if !has("kazoo.tests, pytest, objgraph, jks, OpenSSL").await {
        skipped(NO_SUITE);
        return;
    }
    let server = embedded().await;
    let passed = suite(&server.address().to_string()).await;
    server.shutdown().await;
    println!("{passed} of kazoo's tests");
    assert!(passed > 300, "only {passed} were run");
}

/// That those left out are not those that the embedded server would fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the same on Apache ZooKeeper, for when there is another kazoo"]
async fn kazoos_own_tests_pass_on_zookeeper() {
    let Some(zookeeper) = ZooKeeper::start("kazoo-suite", &[]).await else {
        skipped(NO_ZOOKEEPER);
        return;
    };
    println!("{} of kazoo's tests", suite(&zookeeper.address).await);
}
