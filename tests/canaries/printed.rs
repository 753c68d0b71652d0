//! What can hold a secret, printed.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use herdless::core::{Auth, Identity, Request};
use herdless::server::Server;
use herdless::{Acl, Client, ClientExt, Connector, Permissions, Secret};
use herdless_proto::client::{Config, Machine};
use herdless_proto::codec::{ConnectRequest, ConnectResponse, Reader, Writer, write_request};
use herdless_proto::server;

use crate::backend::Cuttable;
use crate::secrets::secret;

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
    let mut client = Machine::<(), ()>::new(Config {
        hosts: 1,
        session_timeout: Duration::from_secs(9),
        connect_timeout: Duration::from_secs(2),
        max_backoff: Duration::from_secs(1),
        max_in_flight: 10,
        request_timeout: None,
        max_reply: 1024,
        read_only: false,
    });
    client.connected(now);
    client.receive(now, serving.transmit()).unwrap();
    client.submit(now, request.clone(), ()).unwrap();
    print(&client);
    while let Some(event) = client.poll_event() {
        print(&event);
    }
}
