//! A password that is proven by SASL, to a server that knows it and to some that do not.

use herdless::{ClientExt, ConnectError, Connector, Error, NodePath, Refusal, Sasl};
use md5::{Digest, Md5};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::backend::frame;
use crate::scenes::{greet, report};
use crate::secrets::secret;
use crate::support::{connector, until};

const USER: &str = "canary";
const REALM: &str = "zk-sasl-md5";
const NONCE: &str = "a-nonce";
const AUTH_FAILED: i32 = -115;
const NO_NODE: i32 = -101;

/// What a server says in its turn.
enum Word {
    /// As it has to.
    Honest,
    /// Whatever it was told.
    Said(String),
}

/// The password in the alphabet that it is hashed in.
fn latin(password: &str) -> Vec<u8> {
    password.chars().map(|c| u8::try_from(c).expect("a character of ISO 8859-1")).collect()
}

/// What is as good as the password to one realm (RFC 2831, 3.9).
fn hashed(password: &str) -> Vec<u8> {
    Md5::digest([format!("{USER}:{REALM}:").as_bytes(), &latin(password)].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What proves that a side knows the password (RFC 2831, 2.1.2.1).
fn proof(password: &str, cnonce: &str, method: &str) -> String {
    let mut first = hashed(password);
    first.extend(format!(":{NONCE}:{cnonce}").as_bytes());
    let second = hex(&Md5::digest(format!("{method}:zookeeper/zk-sasl-md5")));
    hex(&Md5::digest(format!("{}:{NONCE}:00000001:{cnonce}:auth:{second}", hex(&Md5::digest(first)))))
}

async fn reply(stream: &mut TcpStream, asked: &[u8], err: i32, word: &[u8]) {
    let mut body = asked[4..8].to_vec();
    body.extend([0; 8]);
    body.extend(err.to_be_bytes());
    body.extend((word.len() as i32).to_be_bytes());
    body.extend(word);
    // Where the client has hung up, the next read tells.
    let _ = stream.write_all(&[&(body.len() as u32).to_be_bytes()[..], &body].concat()).await;
}

/// One connection to a server that says these words; the proof that it was given, if it came to that.
async fn exchange(stream: &mut TcpStream, words: &[Word]) -> std::io::Result<Option<String>> {
    greet(stream, 9_000, &secret("password of a scripted session").as_bytes()[..16]).await;
    let mut given = None;
    for (turn, word) in words.iter().enumerate() {
        let asked = frame(stream).await?;
        let text = String::from_utf8_lossy(&asked[16..]).into_owned();
        let value = |name: &str| text.split(name).nth(1).map(|rest| rest[..32].to_owned());
        if turn == 1 {
            given = value("response=");
        }
        match (word, turn) {
            (Word::Said(said), _) => reply(stream, &asked, 0, said.as_bytes()).await,
            (Word::Honest, 0) => {
                let challenge = format!("realm=\"{REALM}\",nonce=\"{NONCE}\",charset=utf-8,algorithm=md5-sess");
                reply(stream, &asked, 0, challenge.as_bytes()).await;
            }
            (Word::Honest, _) => {
                let (password, cnonce) = (secret("SASL password"), value("cnonce=\"").unwrap_or_default());
                if given.as_ref() == Some(&proof(password, &cnonce, "AUTHENTICATE")) {
                    let last = format!("rspauth={}", proof(password, &cnonce, ""));
                    reply(stream, &asked, 0, last.as_bytes()).await;
                } else {
                    reply(stream, &asked, AUTH_FAILED, b"").await;
                }
            }
        }
    }
    // Then it knows of no node, and hangs up.
    if let Ok(asked) = frame(stream).await {
        reply(stream, &asked, NO_NODE, b"").await;
    }
    Ok(given)
}

/// A server whose n-th connection says the n-th list of words, and where it is.
async fn serve(script: Vec<Vec<Word>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut proofs = Vec::new();
        for words in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            proofs.extend(exchange(&mut stream, &words).await.ok().flatten());
        }
        proofs
    });
    (address, serving)
}

pub(crate) fn proving(address: &str, password: &'static str) -> Connector {
    connector(address).sasl(Sasl::digest_md5(USER, password).insecure_without_tls())
}

/// Proven, proven again after a lost connection, not accepted, and to servers that know the password and send it where it does
/// not belong. What else is not to be seen: the password as it is hashed, its hash, and what proves it, against which others
/// could try passwords.
pub(crate) async fn passwords() -> Vec<Vec<u8>> {
    let (password, refused) = (secret("SASL password"), secret("SASL password that is not accepted"));
    let (address, serving) =
        serve((0..3).map(|turn| vec![Word::Honest, if turn < 2 { Word::Honest } else { said("rspauth=") }]).collect())
            .await;
    let client = proving(&address, password).connect().await.unwrap();
    let failed = Error::Refused(Refusal::AuthFailed);
    until("the server that is not believed", async || {
        (report(client.get(&NodePath::root()).await) == failed).then_some(())
    })
    .await;
    let mut proofs = serving.await.unwrap();
    assert_eq!(proofs.len(), 3);

    let lies: Vec<Vec<Word>> = vec![
        vec![Word::Said(password.into())],
        vec![said(&format!("nonce=\"{password}\",nonce=\"{password}\",algorithm=md5-sess"))],
        vec![said(&format!("nonce=\"{password}\",algorithm=\"{password}\""))],
        vec![said(&format!("nonce=n,algorithm=md5-sess,qop=\"{password}\""))],
        vec![Word::Honest, said(password)],
        vec![Word::Honest, said(&format!("rspauth=\"{password}\""))],
        vec![Word::Honest, said("")],
        vec![said("")],
    ];
    for words in lies {
        let (address, serving) = serve(vec![words]).await;
        not_authenticated(&address, password).await;
        proofs.extend(serving.await.unwrap());
    }
    let (address, serving) = serve(vec![vec![Word::Honest, Word::Honest]]).await;
    not_authenticated(&address, refused).await;
    proofs.extend(serving.await.unwrap());
    assert_eq!(proofs.len(), 7);
    // Nobody may listen, unless it is allowed.
    let error = connector(&address).sasl(Sasl::digest_md5(USER, password)).connect().await.unwrap_err();
    tracing::error!(%error, ?error, "not without TLS");

    let proofs = proofs.into_iter().map(String::into_bytes);
    [password, refused].into_iter().flat_map(|password| [latin(password), hashed(password)]).chain(proofs).collect()
}

fn said(word: &str) -> Word {
    Word::Said(word.to_owned())
}

async fn not_authenticated(address: &str, password: &'static str) {
    let error = proving(address, password).connect().await.unwrap_err();
    tracing::error!(%error, ?error, "not authenticated");
    assert!(matches!(error, ConnectError::AuthFailed { .. }), "{error}");
}
