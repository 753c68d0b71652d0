//! The directory, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use herdless::server::{BindError, Server, StoreError};
use herdless::{ClientExt, CreateMode, NodePath};

use super::history;
use crate::support::connector;
use crate::support::process::Scratch;

async fn refusal(directory: &std::path::Path) -> StoreError {
    match Server::builder().data_dir(directory).bind("127.0.0.1:0").await {
        Err(BindError::Store(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is served"),
    }
}

#[tokio::test]
async fn it_is_made_for_its_owner_alone() {
    let scratch = Scratch::new("modes");
    let directory = scratch.file("a/b/data");
    let server = Server::builder().data_dir(&directory).bind("127.0.0.1:0").await.unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.clone()), 0o700);
    let mut names = Vec::new();
    for file in fs::read_dir(&directory).unwrap() {
        let file = file.unwrap();
        assert_eq!(mode(file.path()), 0o600, "{file:?}");
        names.push(file.file_name());
    }
    names.sort();
    assert_eq!(names, ["herdless.redb", "lock"]);
    server.shutdown().await;
}

#[tokio::test]
async fn one_server_at_a_time_has_it() {
    let scratch = Scratch::new("locked");
    let directory = scratch.file("data");
    let server = Server::builder().data_dir(&directory).bind("127.0.0.1:0").await.unwrap();
    let error = refusal(&directory).await;
    assert!(matches!(&error, StoreError::Locked(path) if *path == directory), "{error}");
    assert!(error.to_string().contains("another server"), "{error}");
    server.shutdown().await;
    // It is free as soon as the shutdown is over.
    Server::builder().data_dir(&directory).bind("127.0.0.1:0").await.unwrap().shutdown().await;
}

#[tokio::test]
async fn what_is_no_directory_is_refused() {
    let scratch = Scratch::new("file");
    let file = scratch.file("data");
    fs::write(&file, "text").unwrap();
    let error = refusal(&file).await;
    assert!(matches!(&error, StoreError::Directory { path, .. } if path.starts_with(&file)), "{error}");
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_as_it_is() {
    for (name, bytes) in [("empty", vec![]), ("text", b"text".to_vec()), ("zeros", vec![0; 1 << 20])] {
        let scratch = Scratch::new(&format!("garbage-{name}"));
        let file = scratch.file("herdless.redb");
        fs::write(&file, &bytes).unwrap();
        let error = refusal(&scratch.file("")).await;
        assert!(matches!(error, StoreError::Damaged(_)), "{name}: {error}");
        assert!(fs::read(&file).unwrap() == bytes, "{name}");
    }
}

/// A start that was killed on its way is no store: the next one begins anew.
#[tokio::test]
async fn a_store_that_was_not_finished_is_none() {
    let scratch = Scratch::new("unfinished");
    fs::write(scratch.file("herdless.redb.new"), "half of it").unwrap();
    Server::builder().data_dir(scratch.file("")).bind("127.0.0.1:0").await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_newer_format_is_refused_by_its_number() {
    let scratch = Scratch::new("newer");
    Server::builder().data_dir(scratch.file("")).bind("127.0.0.1:0").await.unwrap().shutdown().await;
    {
        let database = redb::Database::open(scratch.file("herdless.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
        transaction.open_table(meta).unwrap().insert("format", &7_u32.to_be_bytes()[..]).unwrap();
        transaction.commit().unwrap();
    }
    let error = refusal(&scratch.file("")).await;
    assert!(matches!(error, StoreError::NewerFormat { found: 7, known: 1 }), "{error}");
}

/// The database's own checks say nothing here: it holds what it was given. The digest does.
#[tokio::test]
async fn a_store_whose_records_were_tampered_with_is_refused() {
    let nodes = redb::TableDefinition::<&str, &[u8]>::new("nodes");
    for what in ["lost", "altered", "moved"] {
        let scratch = Scratch::new(&format!("tampered-{what}"));
        let server = Server::builder().data_dir(scratch.file("")).bind("127.0.0.1:0").await.unwrap();
        let client = connector(&server.address().to_string()).connect().await.unwrap();
        history::begin(&client).await.unwrap();
        history::go_on(&client, 0, 20, |_| {}).await.unwrap();
        let path = NodePath::parse("/victim").unwrap();
        client.create(&path, "data", CreateMode::Persistent).await.unwrap();
        server.shutdown().await;
        {
            let database = redb::Database::open(scratch.file("herdless.redb")).unwrap();
            let transaction = database.begin_write().unwrap();
            {
                let mut nodes = transaction.open_table(nodes).unwrap();
                let mut record = nodes.remove("/victim").unwrap().unwrap().value().to_vec();
                match what {
                    "altered" => {
                        *record.last_mut().unwrap() ^= 1;
                        nodes.insert("/victim", &*record).unwrap();
                    }
                    "moved" => drop(nodes.insert("/victin", &*record).unwrap()),
                    _ => {}
                }
            }
            transaction.commit().unwrap();
        }
        let error = refusal(&scratch.file("")).await;
        assert!(matches!(error, StoreError::Damaged(_)), "{what}: {error}");
        assert!(error.to_string().contains("not what was committed"), "{what}: {error}");
    }
}
