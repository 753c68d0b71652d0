//! TLS, by files.

use std::time::Duration;

use herdless_core::{ClientExt, CreateMode, NodePath};
use herdless_tokio::{Connector, Tls, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::process::{Process, Scratch, complaint, program, run};

/// A certificate and its key in files, by an authority that is in a third.
struct Files {
    scratch: Scratch,
    issuer: Issuer<'static, KeyPair>,
}

impl Files {
    fn new(name: &str) -> Self {
        Self::within(Scratch::new(name))
    }

    /// Of another authority, in the place of those that are there.
    fn anew(self) -> Self {
        Self::within(self.scratch)
    }

    fn within(scratch: Scratch) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let files = Self { scratch, issuer: Issuer::new(params.clone(), key) };
        let certificate = params.self_signed(files.issuer.key()).unwrap();
        std::fs::write(files.scratch.file("ca.pem"), certificate.pem()).unwrap();
        let (certificate, key) = files.issue("server");
        std::fs::write(files.scratch.file("server.pem"), certificate).unwrap();
        std::fs::write(files.scratch.file("server.key"), key).unwrap();
        files
    }

    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn path(&self, name: &str) -> String {
        self.scratch.file(name).to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn who_has_a_certificate_is_let_in_from_anywhere() {
    let files = Files::new("tls");
    let [certificate, key, roots] = ["server.pem", "server.key", "ca.pem"].map(|name| files.path(name));
    // Not only this machine, and without a word about what is insecure.
    let arguments = ["serve", "--in-memory", "--listen", "0.0.0.0:0", "--tls-cert", &certificate, "--tls-key", &key];
    let mut process = Process::start(program(&[&arguments[..], &["--client-ca", &roots]].concat()));
    let address = format!("127.0.0.1:{}", process.told("ready").await.port());

    let trusting = TlsOptions::new().roots_pem(std::fs::read(&roots).unwrap());
    let (certificate, key) = files.issue("orders");
    let known = Tls::new(&trusting.clone().client_pem(certificate, key.into_bytes())).unwrap();
    let client = Connector::new(&address).unwrap().tls(known).connect().await.unwrap();
    client.create(&NodePath::parse("/mine").unwrap(), "", CreateMode::Persistent).await.unwrap();
    let identities = client.who_am_i().await.unwrap();
    assert!(
        identities.iter().any(|identity| identity.scheme == "x509" && identity.id == "CN=orders"),
        "{identities:?}"
    );

    let nobody = Connector::new(&address).unwrap().tls(Tls::new(&trusting).unwrap());
    let tried = tokio::time::timeout(Duration::from_secs(1), nobody.connect()).await;
    assert!(!matches!(tried, Ok(Ok(_))), "without a certificate");
    process.signal("TERM").await;
    assert_eq!(process.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_file_that_is_not_what_it_should_be_is_named_and_not_shown() {
    let files = Files::new("tls-files");
    let certificate = files.path("server.pem");
    std::fs::write(files.scratch.file("secret"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
        .unwrap();
    for (key, said) in [(files.path("nowhere"), "cannot read"), (files.path("secret"), "key")] {
        let arguments =
            ["serve", "--in-memory", "--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
        let output = run(&arguments).await;
        let complaint = complaint(&output);
        assert!(complaint.contains(said) && !complaint.contains("c2VjcmV0"), "{complaint}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[tokio::test]
async fn the_files_are_read_again_at_a_signal() {
    let files = Files::new("tls-again");
    let [certificate, key] = ["server.pem", "server.key"].map(|name| files.path(name));
    let (mut process, address) = Process::serve(&["--in-memory", "--tls-cert", &certificate, "--tls-key", &key]).await;
    let connect = async |files: &Files| {
        let trusting = TlsOptions::new().roots_pem(std::fs::read(files.path("ca.pem")).unwrap());
        let connector = Connector::new(&address.to_string()).unwrap().tls(Tls::new(&trusting).unwrap());
        connector.connect().await.unwrap()
    };
    let before = connect(&files).await;
    let files = files.anew();
    process.signal("HUP").await;
    process.line("the TLS files were read again").await;
    connect(&files).await;
    assert!(before.exists(&NodePath::root()).await.unwrap().is_some(), "who is there stays");

    std::fs::write(&key, "half a key").unwrap();
    process.signal("HUP").await;
    process.line("all stays as it was").await;
    connect(&files).await;
}
