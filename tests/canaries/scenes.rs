//! Where the secrets are used, in peace and in trouble.

use herdless::server::FourLetterWord;
use herdless::{Acl, Client, ClientExt, CreateMode, Error, MultiOp, NodePath, Permissions, Refusal, Version};
use herdless_conformance::Backend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{Watched, frame};
use crate::secrets::secret;
use crate::support::{GENEROUS, Raw, connector, until};

/// What a caller does with an error is to log it.
pub(crate) fn report<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Error {
    let error = outcome.unwrap_err();
    tracing::error!(%error, ?error, "refused");
    error
}

/// An identity that is proven, used, and proven again after a lost connection; data that goes there and back.
pub(crate) async fn identities(watched: &Watched) {
    let client = watched.connect().await;
    let stranger = watched.connect().await;
    let credentials = secret("digest credentials");
    client.authenticate("digest", credentials).await.unwrap();
    let path = NodePath::parse("/canary").unwrap();
    let list =
        [Acl::creator(Permissions::ALL), Acl::digest(Permissions::READ, "user", secret("password of a digest ACL"))];
    let data = secret("data of a node");
    client.create_with_acl(&path, data, CreateMode::Persistent, list).await.unwrap();
    assert_eq!(client.get(&path).await.unwrap().0, data);
    report(stranger.get(&path).await);
    report(stranger.set(&path, data, Version::ANY).await);
    report(stranger.create(&path, data, CreateMode::Persistent).await);
    report(client.set(&path, data, Version(7)).await);
    report(client.multi(vec![MultiOp::set(&path, data, Version::ANY), MultiOp::check(&path, Version(7))]).await);
    report(client.set(&path, data.repeat(100_000), Version::ANY).await);
    watched.disconnect(&client).await;
    watched.reconnect(&client).await;
    until("the identity, proven again", async || client.get(&path).await.ok()).await;
    println!("{:?}", client.who_am_i().await.unwrap());
    client.delete(&path, Version::ANY).await.unwrap();
    client.close().await.unwrap();
}

/// A session that ends, and one that a stranger asks for with a password of his own; handshakes that are none.
pub(crate) async fn sessions(watched: &Watched) {
    let client = watched.connect_mortal().await;
    watched.expire(&client).await;
    let stolen = secret("password of a stolen session").as_bytes();
    for password in [&stolen[..16], stolen] {
        let mut raw = Raw::dial(&watched.address).await;
        let greeting = raw.greet(4_000, client.session().id().0, password).await;
        assert!(greeting.is_none_or(|greeting| greeting.timeout_ms == 0));
    }
    // Beyond what a handshake may have, with the secret in it.
    let mut raw = Raw::dial(&watched.address).await;
    raw.send(&stolen.repeat(1000)).await;
    assert!(raw.receive().await.is_none());
    // In a session, frames that cannot be read.
    for body in [&stolen[..6], stolen] {
        let (mut raw, _) = Raw::open(&watched.address, 4_000).await;
        raw.send(body).await;
        while raw.receive().await.is_some() {}
    }
}

/// What the server tells whoever asks: it goes to logs, too.
pub(crate) async fn four_letter_words(address: &str) {
    let session = connector(address).connect().await.unwrap();
    session.authenticate("digest", secret("digest credentials")).await.unwrap();
    for word in FourLetterWord::ALL {
        let (mut stream, mut said) = (TcpStream::connect(address).await.unwrap(), String::new());
        stream.write_all(word.name().as_bytes()).await.unwrap();
        stream.read_to_string(&mut said).await.unwrap();
        tracing::info!("{word:?}: {said}");
    }
}

/// An identity that no server takes is the end of the client.
pub(crate) async fn identity_not_accepted(watched: &Watched) {
    let client = watched.connect().await;
    let credentials = secret("digest credentials that are not accepted");
    let error = report(client.authenticate("no-such-scheme", credentials).await);
    assert_eq!(error, Error::Refused(Refusal::AuthFailed));
    report(client.authenticate("digest", credentials).await);
    let panicked = tokio::spawn(async move { client.get(&NodePath::root()).await.unwrap() }).await;
    assert!(panicked.is_err_and(|error| error.is_panic()));
}

/// A server that knows the session's password, and sends it where it does not belong.
pub(crate) async fn nonsense() {
    let password = secret("password of a scripted session").as_bytes();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        for turn in 0..TURNS {
            let (stream, _) = listener.accept().await.unwrap();
            speak_nonsense(stream, turn, &password[..16]).await;
        }
        // Then the session is no more, and there is another.
        for timeout_ms in [0, 9_000] {
            let (mut stream, _) = listener.accept().await.unwrap();
            greet(&mut stream, timeout_ms, &password[..16]).await;
            while timeout_ms > 0 && frame(&mut stream).await.is_ok() {}
        }
    });
    let client = connector(&address).connect().await.unwrap();
    let lost = client.session().lost();
    let asking = async {
        loop {
            report(client.get(&NodePath::root()).await);
        }
    };
    tokio::select! {
        () = lost => {}
        () = asking => {}
        () = tokio::time::sleep(GENEROUS) => panic!("the session does not end"),
    }
    drop(client);
    server.abort();
}

const TURNS: usize = 8;

/// Answers the handshake. The client's own is to bring the password from the second time on.
pub(crate) async fn greet(stream: &mut TcpStream, timeout_ms: i32, password: &[u8]) -> bool {
    let request = frame(stream).await.unwrap();
    let mut response = 37_i32.to_be_bytes().to_vec();
    response.extend(0_i32.to_be_bytes());
    response.extend(timeout_ms.to_be_bytes());
    response.extend(7_i64.to_be_bytes());
    response.extend(16_i32.to_be_bytes());
    response.extend(password);
    response.push(0);
    stream.write_all(&response).await.unwrap();
    request.windows(password.len()).any(|window| window == password)
}

async fn speak_nonsense(mut stream: TcpStream, turn: usize, password: &[u8]) {
    let brought = greet(&mut stream, 9_000, password).await;
    assert_eq!(brought, turn > 0, "the password comes back");
    let Ok(asked) = frame(&mut stream).await else { return };
    let header = |xid: &[u8], err: i32| [xid, &[0; 8], &err.to_be_bytes()].concat();
    let xid = &asked[4..8];
    let payload = match turn {
        // To nobody's request.
        0 => [&header(&[0, 0, 0x77, 0], 0), password].concat(),
        // Not the data and Stat that were asked for.
        1 => [&header(xid, 0), password].concat(),
        2 => [&header(xid, 0), &password[..4]].concat(),
        // A notification whose path is the password.
        3 => [&header(&[0xff; 4], 0)[..], &[0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 16], password].concat(),
        4 => header(xid, -9999),
        // An identity that nobody has claimed.
        5 => header(&(-4_i32).to_be_bytes(), -115),
        6 => password[..7].to_vec(),
        _ => Vec::new(),
    };
    let length = if turn == 7 { -1 } else { payload.len() as i32 };
    let _ = stream.write_all(&[&length.to_be_bytes()[..], &payload].concat()).await;
    while frame(&mut stream).await.is_ok() {}
}
