//! Four-letter words, beside the answers of Apache ZooKeeper where one is there to be asked.

use herdless::server::{FourLetterWord, Server};
use herdless::{Client, ClientExt, CreateMode, NodePath};

use crate::support::{Raw, connector};

async fn ask(address: &str, word: &str) -> String {
    let mut raw = Raw::dial(address).await;
    raw.send_bytes(word.as_bytes()).await;
    raw.text().await
}

async fn talkative() -> (Server, String) {
    let server = Server::builder().four_letter_words(FourLetterWord::ALL).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    (server, address)
}

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

/// An answer without its figures and names: what a program that reads it relies on.
fn shape(answer: &str) -> Vec<String> {
    let is_figure = |c: char| c.is_ascii_hexdigit() || ".xABCDEF".contains(c);
    let lines = answer.lines().filter(|line| !line.starts_with("Zookeeper version"));
    lines.map(|line| line.chars().filter(|c| !is_figure(*c)).collect()).collect()
}

#[tokio::test]
async fn nobody_is_told_more_than_was_allowed() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    assert!(ask(&address, "srvr").await.contains("Mode: standalone\n"));
    for word in FourLetterWord::ALL.iter().filter(|word| **word != FourLetterWord::Srvr) {
        let expected = format!("{} is not executed because it is not in the whitelist.\n", word.name());
        assert_eq!(ask(&address, word.name()).await, expected);
    }
    assert_eq!(ask(&address, "xxxx").await, "", "no word, and no length of a handshake");
    let client = connector(&address).connect().await.unwrap();
    client.exists(&NodePath::root()).await.unwrap().expect("the server is well");
}

#[tokio::test]
async fn a_word_may_come_in_pieces_and_with_more_behind_it() {
    let (_server, address) = talkative().await;
    let mut raw = Raw::dial(&address).await;
    for letter in ["r", "u", "o", "k"] {
        raw.send_bytes(letter.as_bytes()).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.text().await, "imok");
    assert_eq!(ask(&address, "isro\n").await, "rw");
}

#[tokio::test]
async fn they_tell_of_sessions_nodes_and_watches() {
    let (_server, address) = talkative().await;
    let client = connector(&address).connect().await.unwrap();
    client.create(&path("/lasting"), "four", CreateMode::Persistent).await.unwrap();
    client.create(&path("/fleeting"), "", CreateMode::Ephemeral).await.unwrap();
    let _data = client.get_and_watch(&path("/lasting")).await.unwrap();
    let _children = client.children_and_watch(&path("/lasting")).await.unwrap();
    let id = client.session().id();

    assert_eq!(ask(&address, "wchs").await, "1 connections watching 1 paths\nTotal watches:1\n");
    assert_eq!(ask(&address, "wchc").await, format!("{id}\n\t/lasting\n\n"));
    assert_eq!(ask(&address, "wchp").await, format!("/lasting\n\t{id}\n\n"));
    let dump = ask(&address, "dump").await;
    assert!(dump.contains(&format!("Sessions with Ephemerals (1):\n{id}:\n\t/fleeting\n")), "{dump}");
    let cons = ask(&address, "cons").await;
    let line = cons.lines().find(|line| line.contains("sid=")).expect("the client's connection");
    assert!(line.contains(&format!("[1](queued=0,recved=5,sent=5,sid={id},lop=GETC,est=")), "{line}");
    let mntr = ask(&address, "mntr").await;
    // With the root, which is counted twice, and the server's own three.
    for figure in ["zk_znode_count\t7", "zk_watch_count\t2", "zk_ephemerals_count\t1", "zk_approximate_data_size\t65"] {
        assert!(mntr.lines().any(|line| line == figure), "{figure} in {mntr}");
    }

    ask(&address, "crst").await;
    assert!(ask(&address, "cons").await.contains("(queued=0,recved=0,sent=0,sid="), "begun anew");
    let received =
        |answer: String| answer.lines().find_map(|l| l.strip_prefix("Received: ")?.parse::<u64>().ok()).unwrap();
    assert!(received(ask(&address, "srvr").await) > 5, "those of a connection are not those of the server");
    ask(&address, "srst").await;
    assert_eq!(received(ask(&address, "srvr").await), 1, "this one");
}

/// The words whose answers depend on nothing but what was done.
#[tokio::test]
async fn they_are_laid_out_as_those_of_zookeeper() {
    let Ok(zookeeper) = std::env::var("HERDLESS_ZOOKEEPER") else {
        eprintln!("skipped: HERDLESS_ZOOKEEPER names no server");
        return;
    };
    let (_server, address) = talkative().await;
    for word in ["ruok", "isro", "srvr", "crst", "srst", "dirs", "xxxx"] {
        assert_eq!(shape(&ask(&address, word).await), shape(&ask(&zookeeper, word).await), "{word}");
    }
    let name = |line: &str| line.split(['\t', '=']).next().unwrap_or_default().to_owned();
    let names = |answer: String| answer.lines().map(name).collect::<Vec<_>>();
    assert_eq!(names(ask(&address, "conf").await), names(ask(&zookeeper, "conf").await));
    // Each of our lines of figures has the name of one of theirs.
    let (ours, theirs) = (names(ask(&address, "mntr").await), names(ask(&zookeeper, "mntr").await));
    assert!(ours.len() > 10);
    for figure in ours {
        assert!(theirs.contains(&figure), "{figure}");
    }
}
