//! TLS with Apache ZooKeeper: its `secureClientPort`, which netty serves.

use herdless::{
    Acl, Client, ClientExt, CreateMode, Error, Identity, Lock, NodePath, Permissions, Refusal, SessionState,
    TokioClient,
};

use crate::support::{
    Authority, Issued, NO_ZOOKEEPER, Scratch, ZooKeeper, connector, free_port, openssl, refused, skipped, until,
    until_suspended,
};

/// A server with a certificate for 127.0.0.1, which asks for one of the same authority.
pub(crate) struct Secure {
    server: ZooKeeper,
    /// Where TLS is spoken.
    pub(crate) address: String,
    pub(crate) authority: Authority,
    /// Its certificates.
    _scratch: Scratch,
}

/// What ZooKeeper speaks unless more is said is TLS 1.2 alone.
pub(crate) const BOTH: &str = "TLSv1.3,TLSv1.2";

impl Secure {
    pub(crate) async fn start(name: &str, versions: &str) -> Option<Self> {
        Self::start_with(name, versions, &[], &[]).await
    }

    /// The same with further options for Java and further settings.
    pub(crate) async fn start_with(
        name: &str,
        versions: &str,
        options: &[String],
        settings: &[String],
    ) -> Option<Self> {
        let (authority, scratch) = (Authority::new(), Scratch::new(&format!("{name}-certificates")));
        let (own, roots) = (scratch.file("server.pem"), scratch.file("roots.pem"));
        authority.issue("server", &["127.0.0.1"]).write_key_store(&own);
        std::fs::write(&roots, authority.pem()).unwrap();
        let mut port = 0;
        let more = settings;
        let settings = || {
            port = free_port();
            let mut settings = vec![
                format!("secureClientPort={port}"),
                "secureClientPortAddress=127.0.0.1".into(),
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".into(),
                "authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider".into(),
                format!("ssl.keyStore.location={}", own.display()),
                "ssl.keyStore.type=PEM".into(),
                format!("ssl.trustStore.location={}", roots.display()),
                "ssl.trustStore.type=PEM".into(),
                "ssl.clientAuth=need".into(),
                "ssl.protocol=TLSv1.3".into(),
                format!("ssl.enabledProtocols={versions}"),
                "ssl.ciphersuites=TLS_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".into(),
            ];
            settings.extend_from_slice(more);
            settings
        };
        let server = ZooKeeper::start_with(name, options, settings).await?;
        Some(Self { server, address: format!("tls://127.0.0.1:{port}"), authority, _scratch: scratch })
    }

    pub(crate) fn client(&self, name: &str) -> Issued {
        self.authority.issue(name, &[])
    }

    pub(crate) async fn connect(&self, client: &Issued) -> TokioClient {
        connector(&self.address).tls(self.authority.tls_as(client)).connect().await.unwrap()
    }
}

/// Who the server takes this client for, beside its address.
pub(crate) async fn known_as(client: &TokioClient) -> Vec<Identity> {
    let mut identities = client.who_am_i().await.unwrap();
    identities.retain(|identity| identity.scheme != "ip");
    identities
}

pub(crate) fn x509(name: &str) -> Identity {
    Identity { scheme: "x509".into(), id: format!("CN={name}") }
}

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_certificate_is_known_by_it() {
    let Some(secure) = Secure::start("x509", BOTH).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let client = secure.connect(&secure.client("orders")).await;
    assert_eq!(known_as(&client).await, [x509("orders")]);
    let node = path("/orders");
    let own = [Acl { permissions: Permissions::ALL, scheme: "x509".into(), id: "CN=orders".into() }];
    client.create_with_acl(&node, "x", CreateMode::Persistent, own).await.unwrap();
    assert_eq!(&client.get(&node).await.unwrap().0[..], b"x");

    let other = secure.connect(&secure.client("invoices")).await;
    assert_eq!(known_as(&other).await, [x509("invoices")]);
    assert_eq!(other.get(&node).await.unwrap_err(), Error::Refused(Refusal::NoAuth));

    // And by a key that is kept encrypted.
    let issued = secure.client("orders");
    let key = openssl(&["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:sesame"], &issued.key).await;
    assert!(key.contains("ENCRYPTED"));
    let options = secure.authority.trusted().client_encrypted_pem(issued.certificate, key, "sesame");
    let tls = herdless::Tls::new(&options).unwrap();
    let again = connector(&secure.address).tls(tls).connect().await.unwrap();
    assert_eq!(&again.get(&node).await.unwrap().0[..], b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_to_be_trusted_is_not() {
    let Some(secure) = Secure::start("untrusted", BOTH).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let (own, stranger) = (secure.client("us"), Authority::new());
    // The server, for us.
    refused(connector(&secure.address).tls(stranger.tls_as(&own)), "UnknownIssuer").await;
    let by_name = secure.address.replace("127.0.0.1", "localhost");
    refused(connector(&by_name).tls(secure.authority.tls_as(&own)), "not valid for name").await;
    // We, for the server. It says so in an alert.
    refused(connector(&secure.address).tls(secure.authority.tls()), "alert").await;
    refused(connector(&secure.address).tls(secure.authority.tls_as(&stranger.issue("us", &[]))), "alert").await;
    // TLS where the server speaks none, and none where it speaks TLS.
    let plain = format!("tls://{}", secure.server.address);
    refused(connector(&plain).tls(secure.authority.tls_as(&own)), "eof").await;
    let plain = secure.address.replace("tls://", "tcp://");
    refused(connector(&plain).tls(secure.authority.tls_as(&own)), "closed").await;
    // And the same client is trusted where all is as it should be.
    assert_eq!(known_as(&secure.connect(&own).await).await, [x509("us")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_outlives_a_server_that_is_killed_and_a_certificate_that_is_replaced() {
    let Some(mut secure) = Secure::start("secure-restart", BOTH).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let tls = secure.authority.tls_as(&secure.client("old"));
    let client = connector(&secure.address).tls(tls.clone()).connect().await.unwrap();
    let lock = Lock::new(client.clone(), path("/lock"));
    let guard = lock.acquire().await.unwrap();
    assert_eq!(known_as(&client).await, [x509("old")]);
    let renewed = secure.client("new");
    tls.replace(&secure.authority.trusted().client_pem(renewed.certificate, renewed.key)).unwrap();
    assert_eq!(known_as(&client).await, [x509("old")], "an open connection goes on");

    secure.server.kill().await;
    until_suspended(&client).await;
    secure.server.start_again().await;
    guard.multi(Vec::new()).await.unwrap();
    assert!(guard.is_valid());
    assert_eq!(client.session().state(), SessionState::Connected);
    assert_eq!(known_as(&client).await, [x509("new")]);
    guard.release().await.unwrap();
    until("the line to be empty", async || lock.contenders().await.unwrap().is_empty().then_some(())).await;
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_is_spoken_by_itself() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let Some(secure) = Secure::start(version, version).await else {
            return skipped(NO_ZOOKEEPER);
        };
        let own = secure.client("us");
        assert_eq!(known_as(&secure.connect(&own).await).await, [x509("us")], "{version}");
        let options = secure.authority.trusted().client_pem(own.certificate.as_str(), own.key.as_str()).tls13_only();
        let newer = connector(&secure.address).tls(herdless::Tls::new(&options).unwrap());
        if version == "TLSv1.3" {
            newer.connect().await.unwrap();
        } else {
            refused(newer, "alert").await;
        }
    }
}
