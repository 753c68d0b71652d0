//! A server ends, and another goes on from what it kept.

use std::path::Path;
use std::time::Duration;

use herdless::server::{Builder, Server};
use herdless::{
    Acl, Client, ClientExt, CreateMode, Error, Lock, NodePath, Permissions, Refusal, SessionState, Stat, Version, Zxid,
};

use crate::support::process::Scratch;
use crate::support::raw::OK;
use crate::support::{Raw, connector, until, until_suspended};

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

fn on(directory: &Path) -> Builder {
    Server::builder().allow_ttl(true).data_dir(directory)
}

/// All there is to see of a node: its Stat, its data and who may do what.
async fn seen(client: &impl Client, node: &NodePath) -> (Stat, Vec<u8>, Vec<Acl>) {
    let (data, stat) = client.get(node).await.unwrap();
    (stat, data.to_vec(), client.acl(node).await.unwrap().0)
}

#[tokio::test]
async fn nodes_are_as_they_were_in_every_respect() {
    let scratch = Scratch::new("restart");
    let directory = scratch.file("data");
    let server = on(&directory).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    client.authenticate("digest", "me:secret").await.unwrap();
    let acl = vec![
        Acl::creator(Permissions::ALL),
        Acl { permissions: Permissions::READ, scheme: "ip".into(), id: "::/0".into() },
    ];
    let (plain, mine, container, idle) = (path("/a"), path("/a-mine"), path("/container"), path("/idle"));
    client.create(&plain, "one", CreateMode::Persistent).await.unwrap();
    client.set(&plain, "two", Version::ANY).await.unwrap();
    client.create_with_acl(&mine, "", CreateMode::Persistent, acl).await.unwrap();
    client.create(&container, "", CreateMode::Container).await.unwrap();
    let limit = Duration::from_secs(3600);
    client.create(&idle, vec![0; 100_000], CreateMode::PersistentWithTtl(limit)).await.unwrap();
    for below in ["/a/b", "/a/b/c", "/a/b-c"] {
        client.create(&path(below), below, CreateMode::Persistent).await.unwrap();
    }
    client.set_acl(&path("/a/b"), Acl::open(), Version::ANY).await.unwrap();
    let sequential = client.create(&path("/a/s-"), "", CreateMode::PersistentSequential).await.unwrap().path;
    assert_eq!(sequential.as_str(), "/a/s-0000000002");
    client.delete(&sequential, Version::ANY).await.unwrap();
    let ephemeral = client.create(&path("/a/e"), "", CreateMode::Ephemeral).await.unwrap().path;
    // A change that is refused is a change, of the last zxid.
    let refused = client.delete(&plain, Version(7)).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::BadVersion)), "{refused}");
    let all = ["/", "/a", "/a-mine", "/container", "/idle", "/a/b", "/a/b/c", "/a/b-c", "/a/e"].map(path);
    let mut before = Vec::new();
    for node in &all {
        before.push(seen(&client, node).await);
    }
    let zxid = last_zxid(&server).await;
    let address = server.address();
    server.shutdown().await;
    until_suspended(&client).await;

    let server = on(&directory).bind(address).await.unwrap();
    assert_eq!(last_zxid(&server).await, zxid);
    until("the connection", async || (client.session().state() == SessionState::Connected).then_some(())).await;
    for (node, before) in all.iter().zip(before) {
        assert_eq!(seen(&client, node).await, before, "{node}");
    }
    assert_eq!(client.ephemerals(&path("/")).await.unwrap(), std::slice::from_ref(&ephemeral));
    let next = client.create(&path("/a/s-"), "", CreateMode::PersistentSequential).await.unwrap();
    assert_eq!(next.path.as_str(), "/a/s-0000000004", "numbers go on");
    assert!(next.stat.czxid > Zxid(zxid));
    let stranger = connector(&address.to_string()).connect().await.unwrap();
    let refused = stranger.set(&mine, "", Version::ANY).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::NoAuth)), "{refused}");
    // What it is, it is still: an ephemeral node goes with its session.
    client.close().await.unwrap();
    assert_eq!(stranger.exists(&ephemeral).await.unwrap(), None);
}

async fn last_zxid(server: &Server) -> i64 {
    let mut raw = Raw::dial(&server.address().to_string()).await;
    raw.send_bytes(b"srvr").await;
    let text = raw.text().await;
    let zxid = text.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap();
    i64::from_str_radix(zxid, 16).unwrap()
}

#[tokio::test]
async fn sessions_come_back_by_their_password_alone() {
    let scratch = Scratch::new("passwords");
    let directory = scratch.file("data");
    let server = on(&directory).bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let (mut raw, greeting) = Raw::open(&address.to_string(), 30_000).await;
    assert_eq!(raw.create(b"/mine", 1).await, OK);
    let (mut other, closed) = Raw::open(&address.to_string(), 30_000).await;
    assert_eq!(other.request(-11, &[]).await, OK);
    server.shutdown().await;
    // Nor is the password to be found where it was kept.
    let kept = std::fs::read(directory.join("herdless.redb")).unwrap();
    assert!(!kept.windows(16).any(|part| part == greeting.password));

    let server = on(&directory).bind(address).await.unwrap();
    let address = server.address().to_string();
    for (session, password) in [(greeting.session, vec![0; 16]), (greeting.session, closed.password.clone())] {
        let gone = Raw::dial(&address).await.greet(30_000, session, &password).await.unwrap();
        assert_eq!(gone.timeout_ms, 0);
    }
    let gone = Raw::dial(&address).await.greet(30_000, closed.session, &closed.password).await.unwrap();
    assert_eq!(gone.timeout_ms, 0, "a session that was closed is no more");
    let mut raw = Raw::dial(&address).await;
    let again = raw.greet(30_000, greeting.session, &greeting.password).await.unwrap();
    assert_eq!((again.session, again.password), (greeting.session, greeting.password));
    assert_eq!(raw.create(b"/mine", 1).await, -110);
}

/// Who does not come back in time is gone, from when the server started.
#[tokio::test]
async fn sessions_have_their_full_timeout_to_come_back() {
    let scratch = Scratch::new("timeouts");
    let directory = scratch.file("data");
    let timeouts = Duration::from_millis(100)..=Duration::from_secs(60);
    let on = || on(&directory).session_timeouts(timeouts.clone());
    let server = on().bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let (mut long, patient) = Raw::open(&address.to_string(), 60_000).await;
    let (mut short, _) = Raw::open(&address.to_string(), 500).await;
    assert_eq!(long.create(b"/long", 1).await, OK);
    assert_eq!(short.create(b"/short", 1).await, OK);
    // Another timeout, on a new connection, is what counts after the restart.
    let (mut grown, growing) = Raw::open(&address.to_string(), 300).await;
    assert_eq!(grown.create(b"/grown", 1).await, OK);
    let again = Raw::dial(&address.to_string()).await.greet(60_000, growing.session, &growing.password).await;
    assert_eq!(again.unwrap().timeout_ms, 60_000);
    server.shutdown().await;
    // Longer than the session would have lived.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let server = on().bind(address).await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    assert!(client.exists(&path("/short")).await.unwrap().is_some(), "it has time to come back");
    until("the end of the session", async || client.exists(&path("/short")).await.unwrap().is_none().then_some(()))
        .await;
    for longer in ["/grown", "/long"] {
        assert!(client.exists(&path(longer)).await.unwrap().is_some(), "{longer}");
    }
    let again = Raw::dial(&address.to_string()).await.greet(60_000, patient.session, &patient.password).await.unwrap();
    assert_eq!(again.timeout_ms, 60_000);
}

#[tokio::test]
async fn a_lock_is_held_across_a_restart() {
    let scratch = Scratch::new("locks");
    let directory = scratch.file("data");
    let server = on(&directory).bind("127.0.0.1:0").await.unwrap();
    let address = server.address();
    let holder = connector(&address.to_string()).connect().await.unwrap();
    let guard = Lock::new(holder.clone(), path("/lock")).acquire().await.unwrap();
    server.shutdown().await;
    until_suspended(&holder).await;
    let _server = on(&directory).bind(address).await.unwrap();
    until("the connection", async || (holder.session().state() == SessionState::Connected).then_some(())).await;
    assert!(guard.is_valid());
    let other = connector(&address.to_string()).connect().await.unwrap();
    let lock = Lock::new(other, path("/lock"));
    assert!(lock.try_acquire().await.unwrap().is_none(), "it is held");
    drop(guard);
    drop(lock.acquire().await.unwrap());
}

/// Containers that have had children, and times to live, are kept as what they are.
#[tokio::test]
async fn what_is_to_be_reaped_is_reaped_after_a_restart() {
    let scratch = Scratch::new("reaped");
    let directory = scratch.file("data");
    let server = on(&directory).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    client.create(&path("/container"), "", CreateMode::Container).await.unwrap();
    client.create(&path("/container/child"), "", CreateMode::Persistent).await.unwrap();
    client.delete(&path("/container/child"), Version::ANY).await.unwrap();
    client.create(&path("/fresh"), "", CreateMode::Container).await.unwrap();
    let ttl = CreateMode::PersistentWithTtl(Duration::from_millis(1));
    client.create(&path("/idle"), "", ttl).await.unwrap();
    client.create(&path("/plain"), "", CreateMode::Persistent).await.unwrap();
    server.shutdown().await;
    // They are looked through when a server starts, and then every minute.
    let server = on(&directory).bind("127.0.0.1:0").await.unwrap();
    let client = connector(&server.address().to_string()).connect().await.unwrap();
    until("their end", async || {
        let (mut names, _) = client.children(&NodePath::root()).await.unwrap();
        names.retain(|name| name != "zookeeper");
        names.sort();
        (names == ["fresh", "plain"]).then_some(())
    })
    .await;
}
