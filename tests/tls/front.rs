//! A server that speaks TLS.

use std::sync::{Arc, Mutex};

use herdless::server::Server;
use herdless::{Connector, Tls, TokioClient};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ProtocolVersion, ServerConfig};

use crate::support::{connector, until};

/// What a client was like that the front has let in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Visitor {
    pub(crate) version: ProtocolVersion,
    pub(crate) certificate: Option<CertificateDer<'static>>,
    pub(crate) was_resumed: bool,
}

/// Ends TLS in front of an embedded server. Dropping it cuts all connections.
pub(crate) struct Front {
    port: u16,
    cuts: watch::Sender<u64>,
    visitors: Arc<Mutex<Vec<Visitor>>>,
    accepting: JoinHandle<()>,
    server: Server,
}

impl Front {
    pub(crate) async fn new(config: Arc<ServerConfig>) -> Self {
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, visitors) = (watch::Sender::new(0), Arc::<Mutex<Vec<_>>>::default());
        let (behind, acceptor) = (server.address().to_string(), TlsAcceptor::from(config));
        let accepting = tokio::spawn({
            let (cuts, visitors) = (cuts.clone(), visitors.clone());
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let pass = pass(client, acceptor.clone(), behind.clone(), visitors.clone());
                    let mut cut = cuts.subscribe();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = pass => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
            }
        });
        Self { port, cuts, visitors, accepting, server }
    }

    /// `HOST:PORT`, by this name of the loopback interface.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("{name}:{}", self.port)
    }

    /// The embedded server behind it.
    pub(crate) fn behind(&self) -> String {
        self.server.address().to_string()
    }

    /// Cuts all connections. Clients may come back.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts all connections and waits until this client is back. It may be sooner than anybody sees it suspended.
    pub(crate) async fn cut_until_back(&self, client: &TokioClient) {
        let before = client.counters().connects;
        self.cut();
        until("the client to be back", async || (client.counters().connects > before).then_some(())).await;
    }

    /// Who was let in so far.
    pub(crate) fn visitors(&self) -> Vec<Visitor> {
        self.visitors.lock().unwrap().clone()
    }

    /// A client of the server by its IP address.
    pub(crate) fn connector(&self, tls: Tls) -> Connector {
        connector(&self.address("tls://127.0.0.1")).tls(tls)
    }

    pub(crate) async fn connect(&self, tls: Tls) -> TokioClient {
        self.connector(tls).connect().await.unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn pass(client: TcpStream, acceptor: TlsAcceptor, behind: String, visitors: Arc<Mutex<Vec<Visitor>>>) {
    let Ok(mut client) = acceptor.accept(client).await else {
        return;
    };
    let (_, session) = client.get_ref();
    let visitor = Visitor {
        version: session.protocol_version().expect("after a handshake"),
        certificate: session.peer_certificates().map(|chain| chain[0].clone()),
        was_resumed: session.handshake_kind() == Some(tokio_rustls::rustls::HandshakeKind::Resumed),
    };
    visitors.lock().unwrap().push(visitor);
    let mut server = TcpStream::connect(behind).await.unwrap();
    server.set_nodelay(true).unwrap();
    // Whoever hangs up first ends both.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
