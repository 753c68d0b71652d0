//! How a client proves who it is.

use herdless::{ClientExt, NodePath, Tls};
use rcgen::KeyPair;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::front::Front;
use crate::support::{Authority, Issued, openssl, refused};

/// A server that asks for a certificate of the same authority.
async fn asking(authority: &Authority) -> Front {
    Front::new(authority.server(&authority.issue("server", &["127.0.0.1"]), true, &[&TLS13, &TLS12])).await
}

/// Whether the last who was let in has shown this certificate.
fn is_last(front: &Front, pem: &str) -> bool {
    let last = front.visitors().pop().expect("somebody was let in");
    last.certificate == Some(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_asked_for_is_shown() {
    let authority = Authority::new();
    let front = asking(&authority).await;
    let us = authority.issue("us", &[]);
    front.connect(authority.tls_as(&us)).await;
    assert!(is_last(&front, &us.certificate));
    // In each version the server says what it misses, the one within the handshake and the other after it.
    for version in [&TLS12, &TLS13] {
        let own = authority.issue("server", &["127.0.0.1"]);
        let front = Front::new(authority.server(&own, true, &[version])).await;
        refused(front.connector(authority.tls()), "alert").await;
        refused(front.connector(authority.tls_as(&Authority::new().issue("us", &[]))), "alert").await;
        assert!(front.visitors().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_read_in_each_form_that_they_are_kept_in() {
    let authority = Authority::new();
    let front = asking(&authority).await;
    // An elliptic curve: PKCS#8 and SEC1.
    let Issued { certificate, key } = authority.issue("us", &[]);
    let sec1 = openssl(&["ec"], &key).await;
    assert!(sec1.contains("BEGIN EC PRIVATE KEY"));
    // RSA: PKCS#8 and PKCS#1.
    let rsa = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "").await;
    let pkcs1 = openssl(&["rsa", "-traditional"], &rsa).await;
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    let rsa_certificate = authority.sign("us", &[], &KeyPair::from_pem(&rsa).unwrap());
    for (certificate, key) in
        [(&certificate, &key), (&certificate, &sec1), (&rsa_certificate, &rsa), (&rsa_certificate, &pkcs1)]
    {
        let options = authority.trusted().client_pem(certificate.as_str(), key.as_str());
        front.connect(Tls::new(&options).unwrap()).await;
        assert!(is_last(&front, certificate));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_keys_are_read_by_their_passphrase() {
    let authority = Authority::new();
    let front = asking(&authority).await;
    let Issued { certificate, key } = authority.issue("us", &[]);
    let forms: [&[&str]; 3] = [
        &["-v2", "aes-256-cbc"],
        &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512", "-iter", "10000"],
        &["-v2", "aes-256-cbc", "-scrypt"],
    ];
    for form in forms {
        let arguments = [&["pkcs8", "-topk8", "-passout", "pass:sesame"], form].concat();
        let encrypted = openssl(&arguments, &key).await;
        let options = authority.trusted().client_encrypted_pem(certificate.as_str(), encrypted, "sesame");
        let tls = Tls::new(&options).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        front.connect(tls).await;
        assert!(is_last(&front, &certificate));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_connection_uses_what_is_current() {
    let authority = Authority::new();
    let front = asking(&authority).await;
    let (old, new) = (authority.issue("us", &[]), authority.issue("us", &[]));
    let tls = authority.tls_as(&old);
    let client = front.connect(tls.clone()).await;
    assert!(is_last(&front, &old.certificate));
    // What is no replacement changes nothing.
    let mixed = authority.trusted().client_pem(new.certificate.as_str(), old.key.as_str());
    tls.replace(&mixed).unwrap_err();
    front.cut_until_back(&client).await;
    client.sync(&NodePath::root()).await.unwrap();
    assert!(is_last(&front, &old.certificate));

    tls.replace(&authority.trusted().client_pem(new.certificate.as_str(), new.key.as_str())).unwrap();
    client.sync(&NodePath::root()).await.unwrap();
    assert_eq!(front.visitors().len(), 2, "the open connection goes on");
    front.cut_until_back(&client).await;
    client.sync(&NodePath::root()).await.unwrap();
    assert!(is_last(&front, &new.certificate));
    // Roots, too: who is no more trusted is not connected to again.
    tls.replace(&Authority::new().trusted()).unwrap();
    front.cut();
    refused(front.connector(tls), "UnknownIssuer").await;
    assert_eq!(front.visitors().len(), 3);
}
