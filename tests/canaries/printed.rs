//! What can hold a secret, printed.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use herdless::core::{Auth, Identity, Request};
use herdless::server::Server;
use herdless::wrappers::{Backoff, Faulty, History, Metered, Retrying, Rule};
use herdless::{
    Acl, Client, ClientExt, Connector, CreateMode, NodePath, Permissions, Refusal, Sasl, Secret, Tls, TokioTime,
    Version,
};
use herdless_proto::client::{Config, Machine, SaslStep};
use herdless_proto::codec::{ConnectRequest, ConnectResponse, Reader, Writer, write_request};
use herdless_proto::server;

use crate::backend::Cuttable;
use crate::keys::Key;
use crate::secrets::secret;
use crate::takeover;

fn print(value: &impl Debug) {
    tracing::info!("{value:?}");
    tracing::info!("{value:#?}");
}

/// Every public type that can hold a secret: **a new one is printed here**, with the secret in it.
pub(crate) async fn everything(server: &Server, client: Cuttable) {
    let credentials = secret("digest credentials");
    let auth = Auth { scheme: "digest".into(), credentials: credentials.into() };
    let request = Request::Auth(auth.clone());
    print(&Secret::from(credentials));
    print(&auth);
    print(&request);
    print(&Some(vec![request.clone()]));
    print(&Acl::digest(Permissions::ALL, "user", secret("password of a digest ACL")));
    print(&Identity::digest(credentials.as_bytes()));
    print(server);
    let proving = client.authenticate("digest", credentials);
    print(&proving);
    proving.await.unwrap();
    print(&client);
    print(&client.session());
    print(&Connector::new("127.0.0.1:1").unwrap());
    machines(&request);
    let refused: Result<(), _> = std::hint::black_box(Err(request));
    let missed = std::panic::catch_unwind(|| refused.expect("a panic that prints a request"));
    assert!(missed.is_err());
}

/// What connections are made with.
pub(crate) async fn of_connections(key: &Key) {
    let (options, password) = (key.options(), secret("SASL password"));
    let tls = Tls::new(&options).unwrap();
    let sasl = Sasl::digest_md5("canary", password);
    let credentials = takeover::credentials();
    print(&options);
    print(&tls);
    print(&sasl);
    print(&credentials);
    print(&credentials.encode());
    print(&SaslStep::Say(password.into()));
    let connector = Connector::new("127.0.0.1:1").unwrap().tls(tls).sasl(sasl).resume(credentials);
    print(&connector);
    // One that has them all and is connecting.
    let connecting = connector.connect_within(Duration::from_millis(100)).connect().await;
    print(&connecting);
    assert!(connecting.is_err());
}

/// Clients around a client, and what they keep, once an identity and lists of digests have passed through.
pub(crate) async fn wrappers(client: Cuttable) {
    let (time, history) = (Arc::new(TokioTime::new()), History::new(100));
    let (credentials, path) = (secret("digest credentials"), NodePath::parse("/wrapped").unwrap());
    let faulty = Faulty::new(history.record(client.clone()));
    let due = [
        faulty.inject(Rule::lose_reply().kind("auth").nth(1)),
        faulty.inject(Rule::refuse(Refusal::AuthFailed).kind("auth").nth(2)),
        faulty.inject(Rule::hold_reply().kind("auth").nth(3)),
    ];
    let policy = Backoff::new(3).first(Duration::from_millis(1));
    let stack = Metered::new(Retrying::new(faulty, policy, time.clone()), "canaries", time);
    let stack = history.record(stack);
    stack.authenticate("digest", credentials).await.unwrap();
    print(&stack.authenticate("digest", credentials).await.unwrap_err());
    let held = stack.authenticate("digest", credentials);
    let list =
        [Acl::creator(Permissions::ALL), Acl::digest(Permissions::READ, "user", secret("password of a digest ACL"))];
    stack.create_with_acl(&path, "", CreateMode::Persistent, list.clone()).await.unwrap();
    stack.set_acl(&path, list, Version::ANY).await.unwrap();
    print(&stack.acl(&path).await.unwrap());
    // All of them from the outside, what is under way, and what was scripted.
    print(&stack);
    print(&stack.inner());
    print(&held);
    print(&due);
    tracing::info!("{history}");
    due[2].lift();
    held.await.unwrap();
    print(&client.authenticate("digest", credentials).await);
    stack.delete(&path, Version::ANY).await.unwrap();
    print(&history.record(client).authenticate("no-such-scheme", credentials).await.unwrap_err());
    print(&history);
    tracing::info!("{history}");
    let entries: Vec<_> = history.drain().collect();
    let identities = entries.iter().filter(|entry| entry.to_string().contains("Auth(")).count();
    assert_eq!(identities, 6, "three from the outside, two of them inside, and the last");
    print(&entries);
}

/// The machines and what they are made of, with bytes that are not sent or read yet.
fn machines(request: &Request) {
    let mut password = [0; 16];
    password.copy_from_slice(&secret("password of a scripted session").as_bytes()[..16]);
    let connect = ConnectRequest { last_zxid_seen: 1, timeout_ms: 9_000, session_id: 7, password, read_only: None };
    let accepted = ConnectResponse { timeout_ms: 9_000, session_id: 7, password, read_only: None };
    print(&connect);
    print(&accepted);
    print(&server::Incoming::Connect(connect));

    let mut bytes = BytesMut::new();
    let mut writer = Writer::frame(&mut bytes);
    write_request(&mut writer, -4, request);
    print(&writer);
    writer.finish();
    print(&Reader::new(&bytes));

    let mut serving = server::Machine::new();
    serving.accept(&accepted);
    print(&serving);
    print(&serving.poll(&mut bytes, 1));

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
    let now = Instant::now();
    let config = Config {
        hosts: 1,
        session_timeout: Duration::from_secs(9),
        connect_timeout: Duration::from_secs(2),
        max_backoff: Duration::from_secs(1),
        max_in_flight: 10,
        request_timeout: None,
        max_reply: 1024,
        read_only: false,
    };
    print(&Machine::<(), ()>::resume(config.clone(), takeover::credentials()));
    let mut client = Machine::<(), ()>::new(config);
    client.connected(now);
    client.receive(now, serving.transmit()).unwrap();
    client.submit(now, request.clone(), ()).unwrap();
    print(&client);
    while let Some(event) = client.poll_event() {
        print(&event);
    }
}
