//! Apache Curator: `CuratorSuite.java`.

use crate::support::{GENEROUS, Java, NO_ZOOKEEPER, ZooKeeper, skipped, source};
use crate::transcript::{embedded, printed};

const JARS: [&str; 4] = ["curator-x-discovery.jar", "curator-recipes.jar", "curator-framework.jar", "slf4j-nop.jar"];

/// How many checks there are in it.
const CHECKS: usize = 29;

async fn run(address: &str) {
    let Some(java) = Java::compile(&source("CuratorSuite.java"), &JARS).await else {
        skipped(
            "skipped: no Curator; install Debian's `libcurator-recipes-java`, `libcurator-discovery-java` and a JDK",
        );
        return;
    };
    let checks = tokio::time::timeout(3 * GENEROUS, printed(java.program(&[address]), "")).await.expect("it hangs");
    print!("{checks}");
    assert_eq!(checks.lines().filter(|line| line.starts_with("ok ")).count(), CHECKS, "{checks}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curators_recipes_work() {
    let server = embedded().await;
    run(&server.address().to_string()).await;
    server.shutdown().await;
}

/// That the checks ask for no more than what Curator does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curators_recipes_work_on_zookeeper() {
    match ZooKeeper::start("curator-suite", &[]).await {
        Some(zookeeper) => run(&zookeeper.address).await,
        None => skipped(NO_ZOOKEEPER),
    }
}
