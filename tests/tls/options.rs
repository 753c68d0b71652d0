//! Options that make no sense, and what is shown of those that do.

use herdless::{ConnectError, Connector, Sasl, Tls, TlsError, TlsOptions};

use crate::support::{Authority, Issued, openssl};

fn error(options: &TlsOptions) -> TlsError {
    Tls::new(options).unwrap_err()
}

#[test]
fn nothing_is_trusted_unless_it_is_named() {
    assert_eq!(error(&TlsOptions::new()), TlsError::NoRoots);
    let no_certificate = Authority::new().issue("us", &[]).key;
    for pem in ["", "text", &no_certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = error(&TlsOptions::new().roots_pem(pem));
        assert!(matches!(error, TlsError::Root(_)), "{error}");
    }
    assert!(matches!(error(&TlsOptions::new().root_der(*b"no")), TlsError::Root(_)));
}

#[tokio::test]
async fn an_identity_is_refused_before_anything_is_dialled() {
    let authority = Authority::new();
    let Issued { certificate, key } = authority.issue("us", &[]);
    let with = |certificate: &str, key: &str| error(&authority.trusted().client_pem(certificate, key));
    assert!(matches!(with("", &key), TlsError::Certificate(_)));
    assert!(matches!(with(&key, &key), TlsError::Certificate(_)));
    assert!(matches!(with(&certificate, ""), TlsError::Key(_)));
    assert!(matches!(with(&certificate, &certificate), TlsError::Key(_)));
    let other = authority.issue("us", &[]).key;
    assert!(matches!(with(&certificate, &other), TlsError::Identity(_)));
    let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(with(&certificate, broken), TlsError::Identity(_)));

    let encrypted = openssl(&["pkcs8", "-topk8", "-passout", "pass:sesame"], &key).await;
    assert!(matches!(with(&certificate, &encrypted), TlsError::Key(_)));
    let with = |key: &str, passphrase: &str| {
        error(&authority.trusted().client_encrypted_pem(certificate.as_str(), key, passphrase))
    };
    for (key, passphrase) in [(encrypted.as_str(), "wrong"), (&encrypted, ""), (&key, "sesame"), ("", "sesame")] {
        let error = with(key, passphrase);
        assert!(matches!(error, TlsError::Key(_)), "{error}");
    }
    // Broken anywhere, it is an error and no more.
    for at in (0..encrypted.len()).step_by(7) {
        let mut broken = encrypted.clone().into_bytes();
        broken[at] ^= 1;
        if let Ok(broken) = String::from_utf8(broken) {
            let options = authority.trusted().client_encrypted_pem(certificate.as_str(), broken, "sesame");
            let _ = Tls::new(&options);
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_before_anything_is_dialled() {
    let error = async |connector: Connector| connector.connect().await.unwrap_err();
    let connector = |address: &str| Connector::new(address).unwrap();
    let tls = || Authority::new().tls();
    let sasl = || Sasl::digest_md5("us", "secret");
    match error(connector("tcp://a,tls://b:1")).await {
        ConnectError::NoTls { host } => assert_eq!(host, "tls://b:1"),
        other => panic!("{other}"),
    }
    for (connector, expected) in [
        (connector("a"), "a:2181"),
        (connector("a,tcp://b").tls(tls()), "tcp://b:2181"),
        (connector("tcp://a"), "tcp://a:2181"),
    ] {
        match error(connector.sasl(sasl())).await {
            ConnectError::SaslWithoutTls { host } => assert_eq!(host, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn no_secret_is_shown() {
    let authority = Authority::new();
    let Issued { certificate, key } = authority.issue("us", &[]);
    let options = authority.trusted().client_pem(certificate.as_str(), key.as_str());
    let encrypted = authority.trusted().client_encrypted_pem(certificate.as_str(), key.as_str(), "sesame");
    let sasl = Sasl::digest_md5("us", "sesame");
    let tls = Tls::new(&options).unwrap();
    let connector = Connector::new("a").unwrap().tls(tls.clone()).sasl(sasl.clone());
    let shown = format!("{options:#?} {encrypted:#?} {tls:#?} {sasl:#?} {connector:#?}");
    let inside: Vec<_> = key.lines().filter(|line| !line.starts_with("--")).collect();
    assert!(inside.len() > 1 && inside.iter().all(|line| !shown.contains(line)), "{shown}");
    assert!(!shown.contains("sesame") && !shown.contains("PRIVATE"), "{shown}");
    let without_spaces: String = shown.split_whitespace().collect();
    assert!(!without_spaces.contains("115,101,115,97,109,101"), "nor as bytes: {shown}");
}
