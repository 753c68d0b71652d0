//! Sessions that are left and taken over.

use std::time::Duration;

use herdless::{Client, ClientExt, ConnectError, Connector, CredentialsError, NodePath, SessionCredentials};
use herdless_conformance::Backend;
use tokio::net::TcpListener;

use crate::backend::{Watched, frame};
use crate::scenes::{greet, report};
use crate::secrets::secret;
use crate::support::{connector, until};

/// The session of the scripted server.
const SESSION: i64 = 7;

/// The credentials of a session with this password, encoded.
fn encoded(session: i64, password: &[u8]) -> Vec<u8> {
    let (timeout_ms, last_zxid) = (9_000_i32, 1_i64);
    [&[1], &session.to_be_bytes()[..], password, &timeout_ms.to_be_bytes(), &last_zxid.to_be_bytes()].concat()
}

/// The password of a session that is taken over.
fn planted() -> &'static [u8] {
    &secret("password of a session that is taken over").as_bytes()[..16]
}

/// Credentials with the secret in them.
pub(crate) fn credentials() -> SessionCredentials {
    SessionCredentials::decode(&encoded(SESSION, planted())).unwrap()
}

async fn refused(connector: Connector) -> ConnectError {
    let error = connector.connect().await.unwrap_err();
    tracing::error!(%error, ?error, "not taken over");
    error
}

/// A session that is left and taken over by its real credentials, by wrong ones, and when it is over. The credentials, as they
/// are written down.
pub(crate) async fn sessions(watched: &Watched) -> Vec<Vec<u8>> {
    let client = watched.connect().await;
    let known = client.client.credentials().unwrap();
    // While it is there: its session is taken away, and it comes back for it.
    let other = watched.client(|options| options.resume(known.clone())).await;
    let left = other.client.clone().detach().unwrap();
    report(other.get(&NodePath::root()).await);
    until("the session to be back", async || client.sync(&NodePath::root()).await.ok()).await;
    let wrong = encoded(known.id().0, planted());
    let wrong = SessionCredentials::decode(&wrong).unwrap();
    assert!(matches!(refused(connector(&watched.address).resume(wrong)).await, ConnectError::SessionExpired { .. }));

    let left_again = client.client.clone().detach().unwrap();
    let next = watched.client(|options| options.resume(left_again.clone())).await;
    watched.disconnect(&next).await;
    watched.reconnect(&next).await;
    until("the session, taken up again", async || next.sync(&NodePath::root()).await.ok()).await;
    next.close().await.unwrap();
    assert!(matches!(
        refused(connector(&watched.address).resume(left_again.clone())).await,
        ConnectError::SessionExpired { .. }
    ));
    let nobody = connector("127.0.0.1:1").connect_within(Duration::from_millis(100));
    assert!(matches!(refused(nobody.resume(left.clone())).await, ConnectError::Unreachable { .. }));
    tracing::info!(?known, ?left, ?left_again, "credentials");
    [known, left, left_again].iter().map(|credentials| credentials.encode().expose().to_vec()).collect()
}

/// A session whose password is the secret, at a server that hangs up and says at last that it is over.
pub(crate) async fn scripted_session() -> Vec<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        for timeout_ms in [9_000, 9_000, 0] {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(greet(&mut stream, timeout_ms, planted()).await, "the password is brought");
            if timeout_ms > 0 {
                // A request, which is not answered.
                let _ = frame(&mut stream).await;
            }
        }
    });
    let client = connector(&address).resume(credentials()).connect().await.unwrap();
    let (session, encoded) = (client.session(), client.credentials().unwrap().encode());
    assert_eq!(encoded.expose()[9..25], *planted());
    report(client.get(&NodePath::root()).await);
    report(client.get(&NodePath::root()).await);
    session.lost().await;
    serving.await.unwrap();
    vec![encoded.expose().to_vec()]
}

/// Bytes that are no credentials, for whatever reason.
pub(crate) fn not_read() {
    let good = encoded(SESSION, planted());
    let zeroed = |at: usize, length: usize| {
        let mut bytes = good.clone();
        bytes[at..at + length].fill(0);
        bytes
    };
    let negative = [&good[..29], &[0xff; 8]].concat();
    let hex: String = good.iter().map(|byte| format!("{byte:02x}")).collect();
    let cut = [&good[..25], &good[..36], &good[1..], planted(), b""].map(<[u8]>::to_vec);
    let others = [good.repeat(2), hex.into_bytes(), zeroed(0, 1), zeroed(1, 8), zeroed(25, 4), negative];
    for bytes in cut.into_iter().chain(others) {
        let error: CredentialsError = SessionCredentials::decode(&bytes).unwrap_err();
        tracing::error!(%error, ?error, "no credentials");
    }
}
