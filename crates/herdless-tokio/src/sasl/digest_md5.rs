//! DIGEST-MD5, the client's part (RFC 2831), for authentication alone.
//!
//! ```text
//! client                                    server
//!   |  (nothing)                              |
//!   | --------------------------------------> |
//!   |  realm, nonce                           |
//!   | <-------------------------------------- |
//!   |  username, cnonce, response             |   response = a hash over the password and both nonces
//!   | --------------------------------------> |
//!   |  rspauth                                |   rspauth = another: the server knows the password, too
//!   | <-------------------------------------- |
//! ```

use std::fmt::{self, Write};

use herdless_core::Secret;
use herdless_proto::client::{SaslError, SaslExchange, SaslMechanism, SaslStep};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::directives::{parse, quote, single};

/// What ZooKeeper's servers are called here (`ZooKeeperSaslClient`: service "zookeeper", server "zk-sasl-md5").
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";

/// Somebody's name and password.
pub(super) struct DigestMd5 {
    username: String,
    password: Secret,
}

impl DigestMd5 {
    pub(super) fn new(username: String, password: Secret) -> Self {
        Self { username, password }
    }

    fn exchange(&self, digest_uri: &'static str, cnonce: String) -> Exchange {
        Exchange {
            username: self.username.clone(),
            password: self.password.clone(),
            digest_uri,
            cnonce,
            expected: None,
        }
    }
}

impl fmt::Debug for DigestMd5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestMd5").field("username", &self.username).finish_non_exhaustive()
    }
}

impl SaslMechanism for DigestMd5 {
    fn begin(&self) -> Box<dyn SaslExchange> {
        Box::new(self.exchange(DIGEST_URI, hex(&rand::random::<[u8; 16]>())))
    }
}

struct Exchange {
    username: String,
    password: Secret,
    digest_uri: &'static str,
    cnonce: String,
    /// What the server has to say once it has believed the client.
    expected: Option<String>,
}

impl SaslExchange for Exchange {
    fn answer(&mut self, challenge: &[u8]) -> Result<SaslStep, SaslError> {
        if challenge.is_empty() {
            return Err(SaslError("the server does not do SASL, or did not believe the client and lets it go on"));
        }
        let text = std::str::from_utf8(challenge).map_err(|_| SaslError("the challenge is not UTF-8"))?;
        let directives = parse(text).ok_or(SaslError("the challenge is no list of directives"))?;
        match self.expected.take() {
            None => self.respond(&directives),
            Some(expected) => match single(&directives, "rspauth") {
                Some(Some(said)) if said == expected => Ok(SaslStep::Done),
                _ => Err(SaslError("the server did not prove that it knows the password")),
            },
        }
    }
}

impl Exchange {
    fn respond(&mut self, directives: &[(String, String)]) -> Result<SaslStep, SaslError> {
        let one = |name| single(directives, name).ok_or(SaslError("a directive of the challenge is repeated"));
        let nonce = one("nonce")?.ok_or(SaslError("the challenge has no nonce"))?;
        if one("algorithm")? != Some("md5-sess") {
            return Err(SaslError("the algorithm is not md5-sess"));
        }
        // Where it is not said, it is authentication alone.
        if !one("qop")?.unwrap_or("auth").split(',').any(|offered| offered.trim() == "auth") {
            return Err(SaslError("the server wants more than authentication"));
        }
        // Of several realms the first, as nobody is asked. Where there is none, it is empty and is not said.
        let realm = directives.iter().find(|(name, _)| name == "realm").map(|(_, realm)| realm.as_str());
        let proof = Proof {
            secret: self.secret(realm.unwrap_or_default()),
            nonce,
            cnonce: &self.cnonce,
            digest_uri: self.digest_uri,
        };
        let response = proof.hash("AUTHENTICATE");
        self.expected = Some(proof.hash(""));
        let mut said = String::from("charset=utf-8,");
        let realm = realm.map(|realm| format!("realm={},", quote(realm))).unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(
            said,
            "username={},{realm}nonce={},nc=00000001,cnonce={},digest-uri={},response={response},qop=auth",
            quote(&self.username),
            quote(nonce),
            quote(&self.cnonce),
            quote(self.digest_uri),
        );
        Ok(SaslStep::Say(said.into_bytes()))
    }

    /// What the server has in the place of the password.
    fn secret(&self, realm: &str) -> Zeroizing<[u8; 16]> {
        // One that is no text can only be meant as it is.
        let password = self.password.expose();
        let password = std::str::from_utf8(password).map_or_else(|_| Zeroizing::new(password.to_vec()), hashed);
        let mut hash = Md5::new();
        hash.update(hashed(&self.username));
        hash.update(b":");
        hash.update(hashed(realm));
        hash.update(b":");
        hash.update(password);
        Zeroizing::new(hash.finalize().into())
    }
}

/// Text that fits into ISO 8859-1 is hashed in it, whatever it is sent in (RFC 2831, 2.1.2.1).
fn hashed(text: &str) -> Zeroizing<Vec<u8>> {
    let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    Zeroizing::new(latin.unwrap_or_else(|| text.as_bytes().to_vec()))
}

/// All that goes into both sides' hashes (RFC 2831, 2.1.2.1).
struct Proof<'a> {
    secret: Zeroizing<[u8; 16]>,
    nonce: &'a str,
    cnonce: &'a str,
    digest_uri: &'a str,
}

impl Proof<'_> {
    /// The client's with "AUTHENTICATE", the server's with nothing.
    fn hash(&self, method: &str) -> String {
        let mut a1 = Md5::new();
        a1.update(*self.secret);
        a1.update(format!(":{}:{}", self.nonce, self.cnonce));
        let a1 = hex(&a1.finalize());
        let a2 = hex(&Md5::digest(format!("{method}:{}", self.digest_uri)));
        hex(&Md5::digest(format!("{a1}:{}:00000001:{}:auth:{a2}", self.nonce, self.cnonce)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // As above.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chris() -> DigestMd5 {
        DigestMd5::new("chris".into(), "secret".into())
    }

    fn said(step: Result<SaslStep, SaslError>) -> String {
        match step {
            Ok(SaslStep::Say(token)) => String::from_utf8(token).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The examples of RFC 2831, 4.
    #[test]
    fn the_examples_of_the_standard() {
        let examples = [
            (
                "imap/elwood.innosoft.com",
                "OA6MHXh6VqTrRk",
                r#"realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8"#,
                "response=d388dad90d4bbd760a152321f2143af7,",
                "rspauth=ea40f60335c427b5527b84dbabcdfffd",
            ),
            (
                "acap/elwood.innosoft.com",
                "OA9BSuZWMSpW8m",
                r#"realm="elwood.innosoft.com",nonce="OA9BSXrbuRhWay",qop="auth",algorithm=md5-sess,charset=utf-8"#,
                "response=6084c6db3fede7352c551284490fd0fc,",
                "rspauth=2f0b3d7c3c2e486600ef710726aa2eae",
            ),
        ];
        for (uri, cnonce, challenge, response, last) in examples {
            let mut exchange = chris().exchange(uri, cnonce.into());
            let answer = said(exchange.answer(challenge.as_bytes()));
            assert!(answer.contains(response), "{answer}");
            assert!(answer.contains(r#"username="chris",realm="elwood.innosoft.com","#), "{answer}");
            assert_eq!(exchange.answer(last.as_bytes()), Ok(SaslStep::Done));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        let challenge = br#"realm="zk-sasl-md5",nonce="n",charset=utf-8,algorithm=md5-sess"#;
        for last in ["rspauth=ea40f60335c427b5527b84dbabcdfffd", "rspauth=", "", "nonce=n"] {
            let mut exchange = chris().exchange(DIGEST_URI, "c".into());
            said(exchange.answer(challenge));
            assert!(exchange.answer(last.as_bytes()).is_err(), "{last}");
        }
    }

    #[test]
    fn challenges_that_make_no_sense_are_refused() {
        let challenges = [
            &b""[..],
            b"\xff",
            b"nonce",
            b"algorithm=md5-sess",
            b"nonce=n",
            b"nonce=n,algorithm=md5",
            b"nonce=n,nonce=m,algorithm=md5-sess",
            b"nonce=n,algorithm=md5-sess,qop=\"auth-int,auth-conf\"",
            b"nonce=n,algorithm=md5-sess,algorithm=md5-sess",
        ];
        for challenge in challenges {
            assert!(chris().exchange(DIGEST_URI, "c".into()).answer(challenge).is_err(), "{challenge:?}");
        }
        let usable = br#"nonce=n,algorithm=md5-sess,qop="auth-conf, auth""#;
        assert!(chris().exchange(DIGEST_URI, "c".into()).answer(usable).is_ok());
    }

    #[test]
    fn text_is_hashed_in_the_older_alphabet_where_it_fits() {
        assert_eq!(*hashed("ä€"), "ä€".as_bytes());
        assert_eq!(*hashed("ä"), [0xe4]);
    }

    #[test]
    fn no_two_exchanges_are_alike() {
        let challenge = br#"nonce="n",algorithm=md5-sess"#;
        assert_ne!(said(chris().begin().answer(challenge)), said(chris().begin().answer(challenge)));
    }

    #[test]
    fn the_password_is_not_shown() {
        assert_eq!(format!("{:?}", chris()), r#"DigestMd5 { username: "chris", .. }"#);
    }
}
