//! Peers that do not behave.

use std::net::Ipv4Addr;
use std::time::Duration;

use herdless::server::{FourLetterWord, Limits, Server};
use herdless::{Acl, Client, ClientExt, CreateMode, Identity, NodePath, Permissions};

use crate::support::{GENEROUS, Raw, World, buffer, connector, is_pending, let_pass, until};

#[tokio::test]
async fn a_wrong_password_does_not_disturb_the_session() {
    let world = World::embedded("password").await;
    let client = world.connect().await;
    let node = world.beside("node");
    client.create(&node, "", CreateMode::Ephemeral).await.unwrap();
    let (_, mut watch) = client.exists_and_watch(&node).await.unwrap();
    let id = client.session().id().0;
    for password in [&[0; 16][..], &[7; 16], &[], &[7; 15], &[7; 17], &[7; 1000]] {
        let mut raw = Raw::dial(&world.address).await;
        match raw.greet(4_000, id, password).await {
            // Refused in the words for a session that is no more, which tells a stranger nothing ..
            Some(greeting) => {
                assert_eq!((greeting.timeout_ms, greeting.session), (0, 0));
                assert_eq!(greeting.password, [0; 16]);
                assert!(raw.receive().await.is_none());
            }
            // .. or, where it is none at all, without any.
            None => assert_ne!(password.len(), 16),
        }
        client.exists(&node).await.unwrap().expect("its owner lives");
    }
    assert_eq!(client.counters().connects, 1, "nobody was moved aside");
    assert!(futures::poll!(&mut watch).is_pending());
    client.set(&node, "", herdless::Version::ANY).await.unwrap();
    watch.await.unwrap();
}

#[tokio::test]
async fn the_right_password_takes_a_session_over() {
    let world = World::embedded("takeover").await;
    let (mut first, greeting) = Raw::open(&world.address, 30_000).await;
    let node = world.beside("node");
    assert_eq!(first.create(node.as_str().as_bytes(), 1).await, 0);
    let mut second = Raw::dial(&world.address).await;
    let again = second.greet(30_000, greeting.session, &greeting.password).await.unwrap();
    assert_eq!(again.session, greeting.session);
    assert!(first.receive().await.is_none(), "one connection at a time");
    let client = world.connect().await;
    assert!(client.exists(&node).await.unwrap().is_some());
    // The end of the old connection is not the end of the new one.
    drop(first);
    client.exists(&node).await.unwrap();
    assert_eq!(second.create(node.as_str().as_bytes(), 1).await, -110, "it is still served");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let server =
        Server::builder().limits(Limits { connections: 2, ..Limits::default() }).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    let client = connector(&address).connect().await.unwrap();
    let (mut raw, _) = Raw::open(&address, 30_000).await;
    for _ in 0..3 {
        let mut third = Raw::dial(&address).await;
        assert!(third.receive().await.is_none());
    }
    assert_eq!(raw.create(b"/still-served", 0).await, 0);
    client.exists(&NodePath::root()).await.unwrap();
    // One that ends makes room for another.
    drop(raw);
    let other = connector(&address).connect().await.unwrap();
    other.exists(&NodePath::root()).await.unwrap();
    assert_eq!(client.counters().connects, 1);
}

#[tokio::test]
async fn a_client_that_is_slow_to_greet_is_let_go() {
    let world = World::embedded("slow").await;
    let mut silent = Raw::dial(&world.address).await;
    let mut slow = Raw::dial(&world.address).await;
    slow.send_bytes(&[0, 0, 0, 45, 0, 0]).await;
    let (mut prompt, _) = Raw::open(&world.address, 30_000).await;
    let ends = async {
        assert!(silent.receive().await.is_none());
        assert!(slow.receive().await.is_none());
    };
    tokio::time::timeout(GENEROUS, ends).await.expect("both are let go");
    assert_eq!(prompt.create(b"/prompt", 0).await, 0, "this one is not");
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_its_connection_alone() {
    let world = World::embedded("frames").await;
    let client = world.connect().await;
    for length in [0x10_0000u32, 0x7fff_ffff, 0xffff_ffff, 0x4745_5420] {
        let (mut raw, _) = Raw::open(&world.address, 30_000).await;
        raw.send_bytes(&length.to_be_bytes()).await;
        assert!(raw.receive().await.is_none(), "{length:#x}");
        let mut raw = Raw::dial(&world.address).await;
        raw.send_bytes(&length.to_be_bytes()).await;
        assert!(raw.receive().await.is_none(), "{length:#x} at once");
    }
    client.exists(&NodePath::root()).await.unwrap();
    assert_eq!(client.counters().connects, 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_nobody_up() {
    let world = World::embedded("deaf").await;
    let client = world.connect().await;
    let node = world.beside("node");
    client.create(&node, vec![7; 500_000], CreateMode::Persistent).await.unwrap();
    // It asks for much more than fits into any buffer on the way.
    let (mut deaf, _) = Raw::open(&world.address, 30_000).await;
    for _ in 0..100 {
        let mut body = 1i32.to_be_bytes().to_vec();
        body.extend(4i32.to_be_bytes());
        body.extend((node.as_str().len() as u32).to_be_bytes());
        body.extend(node.as_str().as_bytes());
        body.push(0);
        deaf.send(&body).await;
    }
    for _ in 0..20 {
        client.exists(&node).await.unwrap();
    }
    // When it listens at last it gets what it asked for.
    for _ in 0..100 {
        assert!(deaf.receive().await.unwrap().len() > 500_000);
    }
}

#[tokio::test]
async fn requests_in_one_write_are_answered_in_order() {
    let world = World::embedded("order").await;
    let client = world.connect().await;
    let counter = world.beside("counter");
    client.create(&counter, "", CreateMode::Persistent).await.unwrap();
    let sets: Vec<_> =
        (0..500).map(|round: i32| client.set(&counter, round.to_string(), herdless::Version(round))).collect();
    let mut read = Box::pin(async { client.get(&counter).await });
    assert!(is_pending(&mut read).await);
    for (round, set) in (1..).zip(sets) {
        assert_eq!(set.await.unwrap().version, round);
    }
    let limit = Duration::from_secs(30);
    let (data, _) = tokio::time::timeout(limit, read).await.unwrap().unwrap();
    assert_eq!(data, "499");
}

/// Nobody else has a session, so that nothing but this one has the server look who has expired.
#[tokio::test]
async fn a_session_expires_that_began_in_one_read_with_what_is_no_frame() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    // It looks once when it begins.
    let_pass(Duration::from_secs(1)).await;
    let mut raw = Raw::dial(&server.address().to_string()).await;
    let mut handshake = [0; 12].to_vec(); // protocol version, last zxid seen
    handshake.extend(30_000i32.to_be_bytes());
    handshake.extend(0i64.to_be_bytes());
    buffer(&mut handshake, &[0; 16]);
    handshake.push(0); // not read-only
    let mut creation = 1i32.to_be_bytes().to_vec();
    creation.extend(1i32.to_be_bytes());
    creation.extend(Raw::create_body(b"/held", 1));
    let mut bytes = Vec::new();
    buffer(&mut bytes, &handshake);
    buffer(&mut bytes, &creation);
    bytes.extend((-1i32).to_be_bytes());
    raw.send_bytes(&bytes).await;
    while raw.receive().await.is_some() {}
    let usage = server.usage();
    assert_eq!((usage.sessions, usage.refused.malformed), (1, 1));
    let nodes = usage.nodes;
    let_pass(Duration::from_secs(31)).await;
    until("its end", async || (server.usage().sessions == 0).then_some(())).await;
    assert_eq!(server.usage().nodes, nodes - 1, "its node is gone, too");
}

/// On a socket for both families it comes from `::ffff:127.0.0.1`.
#[tokio::test]
async fn an_ipv4_client_is_known_by_its_ipv4_address() {
    let builder = Server::builder().insecure_allow_remote().four_letter_words(&[FourLetterWord::Cons]);
    let server = match builder.bind((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0)).await {
        Ok(server) => server,
        Err(error) => return eprintln!("skipped: there is no such socket here: {error}"),
    };
    let address = format!("127.0.0.1:{}", server.address().port());
    let client = connector(&address).connect().await.unwrap();
    assert_eq!(client.who_am_i().await.unwrap(), [Identity { scheme: "ip".into(), id: "127.0.0.1".into() }]);
    for (name, list) in [("/alone", "127.0.0.1"), ("/network", "127.0.0.0/8")] {
        let node = NodePath::parse(name).unwrap();
        let acl = [Acl { permissions: Permissions::ALL, scheme: "ip".into(), id: list.into() }];
        client.create_with_acl(&node, "", CreateMode::Persistent, acl).await.unwrap();
        client.get(&node).await.unwrap();
    }
    let mut raw = Raw::dial(&address).await;
    raw.send_bytes(b"cons").await;
    let text = raw.text().await;
    assert!(text.contains(" /127.0.0.1:") && !text.contains("ffff"), "{text}");
}
