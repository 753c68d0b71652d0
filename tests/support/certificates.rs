//! Certificates that are made for one test.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use herdless::{Tls, TlsOptions};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

/// Who signs.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    /// PKCS#8.
    pub(crate) key: String,
}

impl Authority {
    /// One that nobody else trusts, with a name of its own.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The same, in DER.
    pub(crate) fn der(&self) -> Vec<u8> {
        self.certificate.der().to_vec()
    }

    /// One for these names that was good for a day, long ago.
    pub(crate) fn expired(&self, names: &[&str]) -> Issued {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// A certificate with this common name, for these DNS names and IP addresses.
    pub(crate) fn issue(&self, common_name: &str, names: &[&str]) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = self.sign(common_name, names, &key);
        Issued { certificate, key: key.serialize_pem() }
    }

    /// The same, for a key that is there.
    pub(crate) fn sign(&self, common_name: &str, names: &[&str], key: &KeyPair) -> String {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// One whose owner is named by these attributes, the first of them first.
    pub(crate) fn issue_to(&self, subject: impl IntoIterator<Item = (DnType, DnValue)>) -> Issued {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind, value);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// What a client begins with that trusts this authority.
    pub(crate) fn trusted(&self) -> TlsOptions {
        TlsOptions::new().roots_pem(self.pem())
    }

    /// TLS for a client that trusts this authority and has no certificate.
    pub(crate) fn tls(&self) -> Tls {
        Tls::new(&self.trusted()).unwrap()
    }

    /// TLS for a client that has this certificate, too.
    pub(crate) fn tls_as(&self, client: &Issued) -> Tls {
        Tls::new(&self.trusted().client_pem(client.certificate.as_str(), client.key.as_str())).unwrap()
    }

    /// A server that speaks these versions, with this certificate; if it asks for one, for one of this authority.
    pub(crate) fn server(
        &self,
        own: &Issued,
        asks: bool,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}

impl Issued {
    /// What ZooKeeper takes for a key store of the type PEM.
    pub(crate) fn write_key_store(&self, file: &Path) {
        std::fs::write(file, format!("{}{}", self.key, self.certificate)).unwrap();
    }
}

/// What OpenSSL, which others make their keys with, makes of this.
pub(crate) async fn openssl(arguments: &[&str], input: &str) -> String {
    let mut process = super::process::mortal("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = process.wait_with_output().await.unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}
