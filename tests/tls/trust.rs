//! Which servers are trusted.

use herdless::{ClientExt, CreateMode, Lock, NodePath, Tls, TlsOptions};
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::front::Front;
use crate::support::{Authority, Proxy, connector, refused};

/// What the embedded server is to be called.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

async fn front(authority: &Authority, common_name: &str, names: &[&str]) -> Front {
    Front::new(authority.server(&authority.issue(common_name, names), false, &[&TLS13, &TLS12])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_root_and_by_name() {
    let authority = Authority::new();
    let front = front(&authority, "server", &NAMES).await;
    for name in ["localhost", "127.0.0.1", "tls://localhost", "tcp+tls://127.0.0.1"] {
        let client = connector(&front.address(name)).tls(authority.tls()).connect().await.unwrap();
        client.exists(&NodePath::root()).await.unwrap();
    }
    let visitors = front.visitors();
    assert_eq!(visitors.len(), 4);
    for visitor in visitors {
        assert_eq!((visitor.version, visitor.certificate), (ProtocolVersion::TLSv1_3, None));
    }
    // A root may also be DER, and one of several.
    let stranger = Authority::new();
    let options = stranger.trusted().root_der(authority.der());
    front.connect(Tls::new(&options).unwrap()).await;
    let both = TlsOptions::new().roots_pem(format!("{}{}", stranger.pem(), authority.pem()));
    front.connect(Tls::new(&both).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_root_is_refused() {
    let authority = Authority::new();
    let front = front(&authority, "server", &NAMES).await;
    refused(front.connector(Authority::new().tls()), "UnknownIssuer").await;
    assert!(front.visitors().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_name_is_refused() {
    let authority = Authority::new();
    for names in [&["elsewhere", "10.0.0.1"][..], &["localhost"]] {
        let front = front(&authority, "server", names).await;
        refused(front.connector(authority.tls()), "not valid for name").await;
        assert!(front.visitors().is_empty());
    }
}

/// What the Java client falls back to: the common name, and the name that an address is looked up to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_common_name_is_no_name() {
    let authority = Authority::new();
    for name in NAMES {
        let front = front(&authority, name, &[]).await;
        refused(connector(&front.address(name)).tls(authority.tls()), "not valid for name").await;
    }
    // The address is that of "localhost".
    let front = front(&authority, "server", &["localhost"]).await;
    refused(connector(&front.address("127.0.0.1")).tls(authority.tls()), "not valid for name").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_run_out_is_refused() {
    let authority = Authority::new();
    let front = Front::new(authority.server(&authority.expired(&NAMES), false, &[&TLS13, &TLS12])).await;
    refused(front.connector(authority.tls()), "expired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_are_spoken_and_the_older_can_be_refused() {
    let authority = Authority::new();
    let own = authority.issue("server", &NAMES);
    let newer = || Tls::new(&authority.trusted().tls13_only()).unwrap();
    let versions = [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)];
    for (version, expected) in versions {
        let front = Front::new(authority.server(&own, false, &[version])).await;
        front.connect(authority.tls()).await;
        if expected == ProtocolVersion::TLSv1_3 {
            front.connect(newer()).await;
        } else {
            refused(front.connector(newer()), "alert").await;
        }
        assert!(front.visitors().iter().all(|visitor| visitor.version == expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_not_spoken_to_a_server_that_speaks_none_and_the_other_way_round() {
    let authority = Authority::new();
    let front = front(&authority, "server", &NAMES).await;
    refused(connector(&format!("tls://{}", front.behind())).tls(authority.tls()), "eof").await;
    refused(connector(&front.address("tcp://127.0.0.1")).tls(authority.tls()), "frame of").await;
    refused(connector(&front.address("127.0.0.1")), "frame of").await;
    assert!(front.visitors().is_empty());
    // Each host is spoken to as it says, in one string too.
    let both = format!("{},{}", front.address("tcp://127.0.0.1"), front.address("tls://127.0.0.1"));
    let client = connector(&both).tls(authority.tls()).connect().await.unwrap();
    client.exists(&NodePath::root()).await.unwrap();
    assert_eq!(front.visitors().len(), 1);
    let plain = connector(&format!("tcp://{}", front.behind())).tls(authority.tls()).connect().await.unwrap();
    plain.create(&NodePath::parse("/a").unwrap(), "", CreateMode::Persistent).await.unwrap();
    assert_eq!(front.visitors().len(), 1);
}

/// As one end closes the connection, what was on its way is lost, and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipes_outlive_a_connection() {
    let authority = Authority::new();
    let front = front(&authority, "server", &NAMES).await;
    let client = front.connect(authority.tls()).await;
    let lock = Lock::new(client.clone(), NodePath::parse("/lock").unwrap());
    for round in 1..=3 {
        let guard = lock.acquire().await.unwrap();
        front.cut_until_back(&client).await;
        guard.multi(Vec::new()).await.unwrap();
        assert!(guard.is_valid());
        guard.release().await.unwrap();
        assert_eq!(client.counters().connects, round + 1);
    }
    assert!(front.visitors().iter().all(|visitor| !visitor.was_resumed), "each handshake is a whole one");
}

/// More than a socket holds, in both directions at once, over a connection that is slow to take it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_socket_does_not_take_at_once_goes_out_later() {
    let authority = Authority::new();
    let front = front(&authority, "server", &NAMES).await;
    let proxy = Proxy::to(&front.address("127.0.0.1")).await;
    let client = connector(&format!("tls://{}", proxy.address())).tls(authority.tls()).connect().await.unwrap();
    let node = NodePath::parse("/large").unwrap();
    client.create(&node, "", CreateMode::Persistent).await.unwrap();
    proxy.pause();
    let data = vec![7; 900_000];
    let calls: Vec<_> = (0..20).map(|_| client.set(&node, data.clone(), herdless::Version::ANY)).collect();
    // The socket is full long before this, and nobody reads.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    proxy.resume();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(client.get(&node).await.unwrap().0.len(), data.len());
    assert_eq!(client.counters().connects, 1);
}
