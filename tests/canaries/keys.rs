//! A client's key for TLS, which is encrypted, and all that may be wrong with it.

use herdless::{Client, ClientExt, ConnectError, NodePath, Tls, TlsError, TlsOptions};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::TLS13;

use crate::front::Front;
use crate::secrets::secret;
use crate::support::{Authority, Issued, connector, openssl, refused};

/// A client's certificate, with its key as it is and encrypted, in PEM.
pub(crate) struct Key {
    authority: Authority,
    certificate: String,
    plain: String,
    encrypted: String,
}

impl Key {
    pub(crate) async fn new() -> Self {
        let authority = Authority::new();
        let Issued { certificate, key: plain } = authority.issue("canary", &[]);
        let passphrase = format!("pass:{}", secret("passphrase of a TLS key"));
        let encrypted =
            openssl(&["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-iter", "10000", "-passout", &passphrase], &plain)
                .await;
        Self { authority, certificate, plain, encrypted }
    }

    /// What is not to be seen of it: the lines of both files, and the number itself. The last line of the one is the public
    /// key, which is the certificate's, too.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        let der = PrivateKeyDer::from_pem_slice(self.plain.as_bytes()).unwrap();
        let (before, number) = der.secret_der()[..68].split_at(36);
        assert_eq!(before[34..], [4, 32], "an octet string of 32 bytes");
        let (plain, encrypted) = (lines(&self.plain), lines(&self.encrypted));
        let lines = plain[..plain.len() - 1].iter().chain(&encrypted).map(|line| line.as_bytes().to_vec());
        // A dump of memory may begin and end anywhere in it.
        lines.chain([number.to_vec(), number[..16].to_vec(), number[16..].to_vec()]).collect()
    }

    pub(crate) fn options(&self) -> TlsOptions {
        self.with(&self.encrypted, secret("passphrase of a TLS key"))
    }

    fn with(&self, key: &str, passphrase: &str) -> TlsOptions {
        self.authority.trusted().client_encrypted_pem(self.certificate.as_str(), key, passphrase)
    }

    fn plain(&self, certificate: &str, key: &str) -> TlsOptions {
        self.authority.trusted().client_pem(certificate, key)
    }
}

fn lines(pem: &str) -> Vec<&str> {
    pem.lines().filter(|line| !line.starts_with("--")).collect()
}

/// What a caller does with an error is to log it.
fn report(options: &TlsOptions) -> TlsError {
    let error = Tls::new(options).unwrap_err();
    tracing::error!(%error, ?error, "TLS refused");
    error
}

/// A key that is used, replaced and refused by a server.
pub(crate) async fn used(key: &Key) {
    let Key { authority, certificate, plain, .. } = key;
    let server = authority.issue("server", &["127.0.0.1"]);
    let front = Front::new(authority.server(&server, true, &[&TLS13])).await;
    let tls = Tls::new(&key.options()).unwrap();
    let client = front.connect(tls.clone()).await;
    front.cut_until_back(&client).await;
    tls.replace(&key.plain(certificate, plain)).unwrap();
    front.cut_until_back(&client).await;
    client.sync(&NodePath::root()).await.unwrap();
    assert!(client.session().is_valid());
    // A server that believes another authority, one that is another itself, and one that does not speak TLS.
    let stranger = Front::new(Authority::new().server(&server, true, &[&TLS13])).await;
    refused(stranger.connector(tls.clone()), "alert").await;
    tls.replace(&Authority::new().trusted().client_pem(certificate.as_str(), plain.as_str())).unwrap();
    refused(front.connector(tls.clone()), "UnknownIssuer").await;
    // What it says to that depends on who hangs up first.
    refused(connector(&format!("tls://{}", front.behind())).tls(tls.clone()), "").await;
    let error = connector("tls://127.0.0.1:1").connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::NoTls { .. }));
    let error = tls.replace(&key.with(&key.encrypted, secret("passphrase of no key"))).unwrap_err();
    tracing::error!(%error, ?error, "not replaced");
}

/// Keys that are not read, for whatever reason.
pub(crate) fn not_read(key: &Key) {
    let Key { authority, certificate, plain, encrypted } = key;
    let (right, wrong) = (secret("passphrase of a TLS key"), secret("passphrase of no key"));
    for (pem, passphrase) in [(encrypted, wrong), (encrypted, ""), (plain, right), (&right.to_owned(), right)] {
        assert!(matches!(report(&key.with(pem, passphrase)), TlsError::Key(_)));
    }
    report(&key.plain(certificate, encrypted));
    report(&key.plain(&authority.issue("other", &[]).certificate, plain));
    report(&key.plain(certificate, right));
    for pem in [plain, encrypted] {
        for broken in broken(pem) {
            report(&key.plain(certificate, &broken));
            report(&key.with(&broken, right));
            // In the place of something that is no secret.
            report(&key.plain(&broken, plain));
            report(&TlsOptions::new().roots_pem(broken));
        }
    }
}

/// The same file as it comes out of variables, templates and forms, and other than it was written.
fn broken(pem: &str) -> Vec<String> {
    let relabelled = |label: &str| {
        pem.replace("ENCRYPTED PRIVATE KEY", label).replace("BEGIN PRIVATE KEY", &format!("BEGIN {label}"))
    };
    let lines: Vec<_> = pem.lines().collect();
    let (inside, between) = (lines[1..lines.len() - 1].join("\n"), lines[1]);
    vec![
        pem.replace('\n', ""),
        pem.replace('\n', " "),
        pem.replace('\n', "\\n"),
        pem.replacen('\n', "", 1),
        pem.replace("-----END", "----END"),
        lines[..lines.len() - 1].join("\n"),
        inside.clone(),
        format!("-----BEGIN {between}-----\n{inside}\n-----END {between}-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n"),
        pem.replacen(between, &format!("!{between}"), 1),
        pem.replacen(between, &format!("{between}{between}"), 1),
        relabelled("CERTIFICATE"),
        pem.to_lowercase(),
    ]
}
