//! Apache ZooKeeper's shell, zkCli.

use std::path::Path;

use tokio::process::Command;

use crate::support::{mortal, skipped};
use crate::transcript::compare;

const CLASSPATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar";

const COMMANDS: &str = include_str!("../interop/zkcli_commands.txt");

fn shell(address: &str) -> Command {
    let mut java = mortal("java");
    java.args(["-Xmx128m", "-cp", CLASSPATH, "org.apache.zookeeper.ZooKeeperMain", "-server", address]);
    java
}

/// One command, without any input.
fn one_command(address: &str) -> Command {
    let mut java = shell(address);
    java.args(["create", "-s", "/one-command-", "data"]);
    java
}

/// What is printed, with zxids that count from the first, and without times: but for those that are 0, as of the nodes that
/// are there from the start. What is listed in no order is put into one. Events are printed whenever they come: they are put
/// to the end.
fn lines(text: &str) -> Vec<String> {
    let (mut lines, mut events) = (Vec::new(), Vec::new());
    let mut first = None;
    for line in text.lines() {
        if let Some((name, number)) = line.split_once("Zxid = 0x") {
            let zxid = i64::from_str_radix(number, 16).unwrap();
            lines.push(match zxid {
                0 => line.to_owned(),
                _ => format!("{name}Zxid = {}", zxid - *first.get_or_insert(zxid)),
            });
        } else if line.contains("time = ") && !line.ends_with(" 1970") || line.starts_with("Connecting to ") {
            // Differs from run to run.
        } else if line.starts_with("WatchedEvent") {
            events.push(line.to_owned());
        } else if line.is_empty() || line == "WATCHER::" {
            // Comes with an event, which may come in between.
        } else if let Some(list) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let mut names: Vec<_> = list.split(", ").collect();
            names.sort_unstable();
            lines.push(names.join(", "));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.extend(events);
    lines
}

fn is_there() -> bool {
    let is_there = CLASSPATH.split(':').all(|jar| Path::new(jar).exists());
    if !is_there {
        skipped("skipped: no zkCli; install Debian's `zookeeper`");
    }
    is_there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shell_is_answered_as_by_zookeeper() {
    if is_there() {
        compare("zkcli", COMMANDS, shell, lines).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_is_answered_as_by_zookeeper() {
    if is_there() {
        compare("zkcli-one", "", one_command, lines).await;
    }
}
