//! TLS, and who a client is by its certificate.

use std::net::SocketAddr;
use std::time::Duration;

use herdless::server::{BindError, Limits, Server, ServerTls, ServerTlsOptions};
use herdless::{
    Acl, ClientExt, Connector, CreateMode, Error, Identity, NodePath, Permissions, Refusal, Tls, TlsError, TokioClient,
};
use rcgen::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{Authority, GENEROUS, Issued, Raw, connector, openssl, refused, until, until_suspended};

/// A server with a certificate for 127.0.0.1, and who has signed it.
struct Secure {
    server: Server,
    tls: ServerTls,
    authority: Authority,
}

impl Secure {
    /// One that does with the certificates of clients as `clients` says, which is told of the authority's own.
    async fn start(clients: impl FnOnce(ServerTlsOptions, String) -> ServerTlsOptions) -> Self {
        let authority = Authority::new();
        let tls = ServerTls::new(&clients(own(&authority), authority.pem())).unwrap();
        let server = Server::builder().tls(tls.clone()).bind("127.0.0.1:0").await.unwrap();
        Self { server, tls, authority }
    }

    async fn requiring() -> Self {
        Self::start(ServerTlsOptions::client_roots_pem).await
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn connector(&self, tls: Tls) -> Connector {
        connector(&format!("tls://{}", self.address())).tls(tls)
    }

    async fn connect(&self, client: &Issued) -> TokioClient {
        self.connector(self.authority.tls_as(client)).connect().await.unwrap()
    }
}

fn own(authority: &Authority) -> ServerTlsOptions {
    let Issued { certificate, key } = authority.issue("server", &["127.0.0.1"]);
    ServerTlsOptions::new(certificate, key)
}

fn x509(id: &str) -> Identity {
    Identity { scheme: "x509".into(), id: id.into() }
}

async fn known_as(client: &TokioClient) -> Vec<Identity> {
    client.who_am_i().await.unwrap()
}

fn address() -> Identity {
    Identity { scheme: "ip".into(), id: "127.0.0.1".into() }
}

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

#[tokio::test]
async fn a_client_is_who_its_certificate_names() {
    let secure = Secure::requiring().await;
    let orders = secure.connect(&secure.authority.issue("orders", &[])).await;
    assert_eq!(known_as(&orders).await, [address(), x509("CN=orders")]);
    let own = [Acl { permissions: Permissions::ALL, scheme: "x509".into(), id: "CN=orders".into() }];
    orders.create_with_acl(&path("/named"), "", CreateMode::Persistent, own.clone()).await.unwrap();
    let creator = [Acl::creator(Permissions::ALL)];
    orders.create_with_acl(&path("/mine"), "", CreateMode::Persistent, creator).await.unwrap();
    assert_eq!(orders.acl(&path("/mine")).await.unwrap().0, own);

    let invoices = secure.connect(&secure.authority.issue("invoices", &[])).await;
    for node in ["/named", "/mine"] {
        assert_eq!(invoices.get(&path(node)).await.unwrap_err(), Error::Refused(Refusal::NoAuth));
        orders.get(&path(node)).await.unwrap();
    }
    // What is no name can be nobody's.
    let wrong = [Acl { permissions: Permissions::ALL, scheme: "x509".into(), id: "orders".into() }];
    let refused = orders.create_with_acl(&path("/x"), "", CreateMode::Persistent, wrong).await.unwrap_err();
    assert_eq!(refused, Error::Refused(Refusal::InvalidAcl));
}

#[tokio::test]
async fn a_session_is_its_present_clients() {
    let secure = Secure::requiring().await;
    let tls = secure.authority.tls_as(&secure.authority.issue("old", &[]));
    let client = secure.connector(tls.clone()).connect().await.unwrap();
    assert_eq!(known_as(&client).await, [address(), x509("CN=old")]);
    let Issued { certificate, key } = secure.authority.issue("new", &[]);
    tls.replace(&secure.authority.trusted().client_pem(certificate, key)).unwrap();
    // Another connection of the same session.
    let credentials = client.detach().unwrap();
    let client = secure.connector(tls).resume(credentials).connect().await.unwrap();
    assert_eq!(known_as(&client).await, [address(), x509("CN=new")]);
}

#[tokio::test]
async fn without_a_certificate_nobody_is_let_in_where_one_is_required() {
    let secure = Secure::requiring().await;
    let unharmed = secure.connect(&secure.authority.issue("us", &[])).await;
    let of = |client: &Issued| secure.connector(secure.authority.tls_as(client));
    refused(secure.connector(secure.authority.tls()), "alert").await;
    refused(of(&Authority::new().issue("us", &[])), "alert").await;
    refused(of(&secure.authority.expired(&["us"])), "alert").await;
    refused(connector(&format!("tcp://{}", secure.address())), "frame of").await;
    unharmed.exists(&NodePath::root()).await.unwrap();
    assert_eq!(unharmed.counters().connects, 1);
}

#[tokio::test]
async fn a_certificate_may_be_wanted_and_not_required() {
    let wanting = |own: ServerTlsOptions, roots| own.client_roots_pem(roots).optional_client_certificates();
    let secure = Secure::start(wanting).await;
    let nobody = secure.connector(secure.authority.tls()).connect().await.unwrap();
    assert_eq!(known_as(&nobody).await, [address()]);
    let us = secure.connect(&secure.authority.issue("us", &[])).await;
    assert_eq!(known_as(&us).await, [address(), x509("CN=us")]);
    // One that is shown has to be good.
    refused(secure.connector(secure.authority.tls_as(&Authority::new().issue("us", &[]))), "alert").await;
    // And where none is asked for, none counts.
    let secure = Secure::start(|own, _| own).await;
    assert_eq!(known_as(&secure.connect(&secure.authority.issue("us", &[])).await).await, [address()]);
}

/// A first message of this version and none newer, with the suites of both old and new.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend([7; 32]); // what is random
    hello.push(0); // no session
    hello.extend([0, 4, 0xc0, 0x09, 0xc0, 0x2b]); // ECDHE, by CBC and SHA-1 as of old, and by GCM
    hello.extend([1, 0]); // no compression
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 6, 0, 4, 4, 3, 2, 3];
    hello.extend([0, (groups.len() + signatures.len()) as u8]);
    hello.extend(groups);
    hello.extend(signatures);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    record
}

#[tokio::test]
async fn older_versions_are_refused() {
    let secure = Secure::requiring().await;
    for (version, is_spoken) in [([3, 0], false), ([3, 1], false), ([3, 2], false), ([3, 3], true)] {
        let mut stream = TcpStream::connect(secure.address()).await.unwrap();
        stream.write_all(&client_hello(version)).await.unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.unwrap();
        if is_spoken {
            assert_eq!(answer[0], 22, "a handshake goes on");
        } else {
            assert_eq!((answer[0], answer[6]), (21, 70), "an alert: protocol_version");
            assert_eq!(stream.read(&mut answer).await.unwrap_or(0), 0, "and hung up");
        }
    }
    // And 1.2, where 1.3 alone is to be spoken.
    let secure = Secure::start(|own, _| own.tls13_only()).await;
    let mut stream = TcpStream::connect(secure.address()).await.unwrap();
    stream.write_all(&client_hello([3, 3])).await.unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[6]), (21, 70));
    secure.connector(secure.authority.tls()).connect().await.unwrap();
}

#[tokio::test]
async fn what_is_no_handshake_is_hung_up_on() {
    let secure = Secure::requiring().await;
    let unharmed = secure.connect(&secure.authority.issue("us", &[])).await;
    let mut silent = Raw::dial(&secure.address().to_string()).await;
    let mut slow = Raw::dial(&secure.address().to_string()).await;
    slow.send_bytes(&client_hello([3, 3])[..20]).await;
    // A four-letter word, a handshake of ours, one of another protocol, noise.
    for bytes in [&b"ruok"[..], &[0, 0, 0, 45, 0, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 100]] {
        let mut stream = TcpStream::connect(secure.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // What was not read turns the end into a reset.
        let _ = tokio::time::timeout(GENEROUS, stream.read_to_end(&mut answer)).await.expect("hung up");
        assert!(answer.first().is_none_or(|kind| *kind == 21), "at most an alert: {answer:?}");
    }
    // Whoever says nothing, or half of it, has as long as for any handshake.
    let ends = async {
        assert!(silent.receive().await.is_none());
        assert!(slow.receive().await.is_none());
    };
    tokio::time::timeout(GENEROUS, ends).await.expect("both are let go");
    unharmed.exists(&NodePath::root()).await.unwrap();
    assert_eq!(unharmed.counters().connects, 1);
}

#[tokio::test]
async fn certificates_are_replaced_while_it_runs() {
    let secure = Secure::requiring().await;
    let us = secure.authority.issue("us", &[]);
    let client = secure.connect(&us).await;
    let successor = Authority::new();
    let both = own(&successor).client_roots_pem(successor.pem());
    secure.tls.replace(&both).unwrap();
    client.exists(&NodePath::root()).await.unwrap();
    assert_eq!(client.counters().connects, 1, "an open connection goes on");
    // The old root is neither what the server shows nor what it trusts.
    refused(secure.connector(secure.authority.tls_as(&us)), "UnknownIssuer").await;
    let trusting = |issued: Issued| {
        Tls::new(&successor.trusted().client_pem(issued.certificate.as_str(), issued.key.as_str())).unwrap()
    };
    refused(secure.connector(trusting(us)), "alert").await;
    let new = secure.connector(trusting(successor.issue("them", &[]))).connect().await.unwrap();
    assert_eq!(known_as(&new).await, [address(), x509("CN=them")]);
    // What is no replacement changes nothing, nor does one that lets everybody in.
    let Issued { certificate, .. } = successor.issue("server", &["127.0.0.1"]);
    let mixed =
        ServerTlsOptions::new(certificate, successor.issue("server", &[]).key).client_roots_pem(successor.pem());
    assert!(matches!(secure.tls.replace(&mixed), Err(TlsError::Identity(_))));
    let open = both.clone().optional_client_certificates();
    for weaker in [own(&successor), open] {
        assert_eq!(secure.tls.replace(&weaker), Err(TlsError::ClientsUnproven));
    }
    refused(secure.connector(successor.tls()), "alert").await;
    secure.tls.replace(&both).unwrap();
}

#[tokio::test]
async fn it_listens_to_other_machines_where_they_have_to_prove_who_they_are() {
    let authority = Authority::new();
    let [open, wanting, requiring] = [
        own(&authority),
        own(&authority).client_roots_pem(authority.pem()).optional_client_certificates(),
        own(&authority).client_roots_pem(authority.pem()),
    ]
    .map(|options| Server::builder().tls(ServerTls::new(&options).unwrap()));
    for builder in [open.clone(), wanting] {
        let refused = builder.bind("0.0.0.0:0").await.unwrap_err();
        assert!(matches!(refused, BindError::NotLoopback(_)), "{refused}");
    }
    open.insecure_allow_remote().bind("0.0.0.0:0").await.unwrap();
    let server = requiring.bind("0.0.0.0:0").await.unwrap();
    let here = format!("127.0.0.1:{}", server.address().port());
    let client = connector(&here).tls(authority.tls_as(&authority.issue("us", &[]))).connect().await.unwrap();
    assert_eq!(known_as(&client).await, [address(), x509("CN=us")]);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_handshakes() {
    // A busy machine may be slow once; that it is slow each time is not its fault.
    for _ in 0..10 {
        let secure = Secure::requiring().await;
        let client = secure.connect(&secure.authority.issue("us", &[])).await;
        let mut silent = Raw::dial(&secure.address().to_string()).await;
        // It is there once one behind it is.
        secure.connect(&secure.authority.issue("us", &[])).await;
        let begun = Instant::now();
        secure.server.shutdown().await;
        let took = begun.elapsed();
        assert!(silent.receive().await.is_none());
        until_suspended(&client).await;
        if took < Duration::from_millis(900) {
            return;
        }
    }
    panic!("the patience with slow readers was used up each time");
}

#[tokio::test]
async fn keys_are_read_in_each_form_and_not_shown() {
    let authority = Authority::new();
    let Issued { certificate, key } = authority.issue("server", &["127.0.0.1"]);
    let encrypted = openssl(&["pkcs8", "-topk8", "-passout", "pass:sesame"], &key).await;
    let rsa = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "").await;
    let rsa_certificate = authority.sign("server", &["127.0.0.1"], &KeyPair::from_pem(&rsa).unwrap());
    let options = [
        ServerTlsOptions::new(certificate.as_str(), openssl(&["ec"], &key).await),
        ServerTlsOptions::new(rsa_certificate, openssl(&["rsa", "-traditional"], &rsa).await),
        ServerTlsOptions::encrypted(certificate.as_str(), encrypted.as_str(), "sesame"),
    ];
    for options in &options {
        let tls = ServerTls::new(options).unwrap();
        let server = Server::builder().tls(tls.clone()).bind("127.0.0.1:0").await.unwrap();
        connector(&server.address().to_string()).tls(authority.tls()).connect().await.unwrap();
        let shown = format!("{options:#?} {tls:#?} {:#?}", Server::builder().tls(tls.clone()));
        assert!(!shown.contains("PRIVATE") && !shown.contains("sesame") && shown.len() < 2_000, "{shown}");
    }
    let error = |options: ServerTlsOptions| ServerTls::new(&options).unwrap_err();
    assert!(matches!(
        error(ServerTlsOptions::encrypted(certificate.as_str(), encrypted.as_str(), "no")),
        TlsError::Key(_)
    ));
    assert!(matches!(error(ServerTlsOptions::new(certificate.as_str(), encrypted)), TlsError::Key(_)));
    assert!(matches!(error(ServerTlsOptions::new("", key.as_str())), TlsError::Certificate(_)));
    let roots = |pem: &str| ServerTlsOptions::new(certificate.as_str(), key.as_str()).client_roots_pem(pem);
    for no_root in ["", "text", &key] {
        assert!(matches!(error(roots(no_root)), TlsError::Root(_)));
        let shown = format!("{:?}", roots(no_root));
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
}

#[tokio::test]
async fn a_connection_counts_before_its_handshake() {
    let authority = Authority::new();
    let limits = Limits { connections: 1, handshake: Duration::from_secs(1), ..Limits::default() };
    let server = Server::builder().tls(ServerTls::new(&own(&authority)).unwrap()).limits(limits);
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let mut first = TcpStream::connect(server.address()).await.unwrap();
    until("it to have its place", async || (server.usage().connections == 1).then_some(())).await;
    let mut second = TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(server.usage().refused.connections, 1);
    // Its place is free when it has said nothing for too long.
    assert_eq!(tokio::time::timeout(GENEROUS, first.read(&mut [0])).await.expect("it is let go").unwrap_or(0), 0);
    until("its place to be free", async || (server.usage().connections == 0).then_some(())).await;
    assert_eq!(server.usage().refused.handshakes, 1);
}
