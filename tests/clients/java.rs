//! Apache ZooKeeper's Java client: `JavaClient.java`.

use crate::support::{Java, skipped, source};
use crate::transcript::{compare, whole};

const JARS: [&str; 3] = ["zookeeper.jar", "zookeeper-jute.jar", "slf4j-nop.jar"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_java_client_is_answered_as_by_zookeeper() {
    let Some(java) = Java::compile(&source("JavaClient.java"), &JARS).await else {
        skipped("skipped: no Java client; install Debian's `zookeeper` and a JDK");
        return;
    };
    compare("java-client", "", |address| java.program(&[address]), whole).await;
}
