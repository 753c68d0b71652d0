//! SASL with Apache ZooKeeper: DIGEST-MD5, its users in a JAAS file.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use herdless::{
    Acl, Client, ClientExt, ConnectError, Connector, CreateMode, Error, Identity, Lock, NodePath, Permissions, Refusal,
    Sasl, SessionState, TokioClient, Version,
};

use crate::support::{NO_ZOOKEEPER, Scratch, ZooKeeper, connector, skipped, until_suspended};
use crate::tls::{BOTH, Secure, known_as, x509};

/// Who may come in, and with which password.
struct Users {
    file: PathBuf,
    _scratch: Scratch,
}

/// The settings of a server that lets them.
const PROVIDER: &str = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";

impl Users {
    fn new(name: &str, users: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new(&format!("{name}-users"));
        let this = Self { file: scratch.file("jaas.conf"), _scratch: scratch };
        this.write(users);
        this
    }

    fn write(&self, users: &[(&str, &str)]) {
        let mut jaas = "Server {\n org.apache.zookeeper.server.auth.DigestLoginModule required".to_owned();
        for (user, password) in users {
            let password = password.replace('\\', "\\\\").replace('"', "\\\"");
            write!(jaas, "\n user_{user}=\"{password}\"").unwrap();
        }
        jaas.push_str(";\n};\n");
        std::fs::write(&self.file, jaas).unwrap();
    }

    fn options(&self) -> [String; 1] {
        [format!("-Djava.security.auth.login.config={}", self.file.display())]
    }

    async fn start(&self, name: &str, settings: &[&str]) -> Option<ZooKeeper> {
        let settings: Vec<_> = [PROVIDER].iter().chain(settings).map(|&line| line.to_owned()).collect();
        ZooKeeper::start_with(name, &self.options(), || settings.clone()).await
    }
}

fn with(server: &ZooKeeper, user: &str, password: &str) -> Connector {
    connector(&server.address).sasl(Sasl::digest_md5(user, password).insecure_without_tls())
}

fn sasl(user: &str) -> Identity {
    Identity { scheme: "sasl".into(), id: user.into() }
}

fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}

/// Makes a node that this user alone may see.
async fn make_own(client: &TokioClient, node: &NodePath, user: &str) {
    let own = [Acl { permissions: Permissions::ALL, scheme: "sasl".into(), id: user.into() }];
    client.create_with_acl(node, "x", CreateMode::Persistent, own).await.unwrap();
}

/// How often the server has turned somebody away.
fn failures(server: &ZooKeeper) -> usize {
    server.log().matches("failed to SASL authenticate").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_the_password_is_known_by_name() {
    let users = [("orders", "secret"), ("latin", "pässwörd"), ("greek", "λόγος"), ("odd", r#"a"b\c,=d "#)];
    let jaas = Users::new("sasl", &users);
    let Some(server) = jaas.start("sasl", &[]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    for (user, password) in users {
        let client = with(&server, user, password).connect().await.unwrap();
        assert_eq!(known_as(&client).await, [sasl(user)]);
    }
    let client = with(&server, "orders", "secret").connect().await.unwrap();
    let node = path("/orders");
    make_own(&client, &node, "orders").await;
    assert_eq!(&client.get(&node).await.unwrap().0[..], b"x");
    let nobody = connector(&server.address).connect().await.unwrap();
    for other in [nobody, with(&server, "greek", "λόγος").connect().await.unwrap()] {
        assert_eq!(other.get(&node).await.unwrap_err(), Error::Refused(Refusal::NoAuth));
    }
    assert_eq!(failures(&server), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_know_it_tries_once() {
    let jaas = Users::new("sasl-wrong", &[("orders", "secret")]);
    let Some(mut server) = jaas.start("sasl-wrong", &[]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    for (round, (user, password)) in [("orders", "wrong"), ("nobody", "nothing")].into_iter().enumerate() {
        let error = with(&server, user, password).connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::AuthFailed { .. }), "{error}");
        assert!(!format!("{error:?} {error}").contains(password));
        // A client that would try again does so at once.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(failures(&server), round + 1);
    }
    // One whose password is changed under it is no client any more.
    let client = with(&server, "orders", "secret").connect().await.unwrap();
    let session = client.session();
    server.kill().await;
    until_suspended(&client).await;
    jaas.write(&[("orders", "another")]);
    let before = failures(&server);
    let waiting = tokio::spawn(client.exists(&NodePath::root()));
    server.start_again().await;
    let failed = Error::Refused(Refusal::AuthFailed);
    assert_eq!(waiting.await.unwrap(), Err(failed.clone()));
    assert_eq!(session.state(), SessionState::Lost);
    assert_eq!(client.exists(&NodePath::root()).await, Err(failed));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(failures(&server), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_proven_again_before_what_needs_it() {
    let jaas = Users::new("sasl-restart", &[("orders", "secret")]);
    let Some(mut server) =
        jaas.start("sasl-restart", &["enforce.auth.enabled=true", "enforce.auth.schemes=sasl"]).await
    else {
        return skipped(NO_ZOOKEEPER);
    };
    let client = with(&server, "orders", "secret").connect().await.unwrap();
    let node = path("/orders");
    make_own(&client, &node, "orders").await;
    let lock = Lock::new(client.clone(), path("/lock"));
    let guard = lock.acquire().await.unwrap();
    let (_, watch) = client.get_and_watch(&node).await.unwrap();
    server.kill().await;
    until_suspended(&client).await;
    // These go out with the watch on the next connection, to a server that hears nobody who has not proven himself.
    let waiting = tokio::spawn(client.get(&node));
    server.start_again().await;
    assert_eq!(&waiting.await.unwrap().unwrap().0[..], b"x");
    assert!(guard.is_valid());
    assert_eq!(known_as(&client).await, [sasl("orders")]);
    let other = with(&server, "orders", "secret").connect().await.unwrap();
    other.set(&node, "y", Version::ANY).await.unwrap();
    watch.await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_wants_it_gets_it() {
    let jaas = Users::new("sasl-required", &[("orders", "secret")]);
    let Some(server) = jaas.start("sasl-required", &["sessionRequireClientSASLAuth=true"]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let client = with(&server, "orders", "secret").connect().await.unwrap();
    assert_eq!(known_as(&client).await, [sasl("orders")]);
    let wrong = with(&server, "orders", "wrong").connect().await;
    assert!(matches!(wrong, Err(ConnectError::AuthFailed { .. })), "{wrong:?}");
    // Without, there is a session, but nothing is done in it.
    let nobody = connector(&server.address).connect().await.unwrap();
    let refused = nobody.create(&path("/nobody"), "", CreateMode::Persistent).await;
    assert_eq!(refused.unwrap_err(), Error::Refused(Refusal::AuthRequired));
    assert_eq!(client.exists(&path("/nobody")).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_sasl_is_not_believed() {
    let Some(server) = ZooKeeper::start("sasl-none", &[]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let error = with(&server, "orders", "secret").connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::AuthFailed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_no_leave_is_needed() {
    let jaas = Users::new("sasl-tls", &[("orders", "secret")]);
    let Some(secure) = Secure::start_with("sasl-tls", BOTH, &jaas.options(), &[PROVIDER.to_owned()]).await else {
        return skipped(NO_ZOOKEEPER);
    };
    let tls = secure.authority.tls_as(&secure.client("us"));
    let connector = connector(&secure.address).tls(tls).sasl(Sasl::digest_md5("orders", "secret"));
    let client = connector.connect().await.unwrap();
    let mut known = known_as(&client).await;
    known.sort_by(|one, other| one.scheme.cmp(&other.scheme));
    assert_eq!(known, [sasl("orders"), x509("us")]);
    Lock::new(client, path("/lock")).acquire().await.unwrap().release().await.unwrap();
}
