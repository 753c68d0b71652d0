//! A server whose sessions' passwords are read on the wire, and clients that can be cut off.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use herdless::core::{Request, Response};
use herdless::{Client, Connector, Session, SessionState, TokioClient};
use herdless_conformance::{Ability, Backend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Proxy, connector, until, until_suspended};

/// Clients of one server, each through a proxy of its own, all through one that listens.
pub(crate) struct Watched {
    /// `HOST:PORT`.
    pub(crate) address: String,
    passwords: Arc<Mutex<Vec<Vec<u8>>>>,
    listening: JoinHandle<()>,
}

/// A client whose connection can be cut.
#[derive(Clone, Debug)]
pub(crate) struct Cuttable {
    pub(crate) client: TokioClient,
    pub(crate) proxy: Arc<Proxy>,
}

impl Client for Cuttable {
    fn submit(&self, request: Request) -> Response {
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

impl Watched {
    pub(crate) async fn new(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, server) = (listener.local_addr().unwrap().to_string(), server.to_owned());
        let passwords = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let heard = passwords.clone();
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server.clone(), heard.clone()));
            }
        });
        Self { address, passwords, listening }
    }

    /// The passwords of all sessions so far.
    pub(crate) fn passwords(&self) -> Vec<Vec<u8>> {
        let mut passwords = self.passwords.lock().unwrap().clone();
        passwords.sort();
        passwords.dedup();
        passwords
    }

    pub(crate) async fn client(&self, options: impl FnOnce(Connector) -> Connector) -> Cuttable {
        let proxy = Proxy::to(&self.address).await;
        let client = options(connector(&proxy.address())).connect().await.unwrap();
        Cuttable { client, proxy: Arc::new(proxy) }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Passes bytes on, and notes the password in the answer to the handshake.
async fn pass_on(mut client: TcpStream, server: String, passwords: Arc<Mutex<Vec<Vec<u8>>>>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let Ok(request) = frame(&mut client).await else { return };
    if server.write_all(&request).await.is_err() {
        return;
    }
    let Ok(response) = frame(&mut server).await else { return };
    // Length, version, timeout, session, and the length of the password.
    let password = response[24..40].to_vec();
    if password != [0; 16] {
        passwords.lock().unwrap().push(password);
    }
    if client.write_all(&response).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

/// The next frame with its length.
pub(crate) async fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

impl Backend for Watched {
    type Client = Cuttable;

    async fn connect(&self) -> Cuttable {
        self.client(|options| options).await
    }

    fn has(&self, ability: Ability) -> bool {
        !matches!(ability, Ability::PassTime | Ability::TimeToLive | Ability::LoseLeader)
    }

    async fn connect_mortal(&self) -> Cuttable {
        self.client(|options| options.session_timeout(Duration::from_secs(2))).await
    }

    async fn connect_limited(&self, in_flight: usize) -> Cuttable {
        self.client(|options| options.max_in_flight(in_flight)).await
    }

    async fn disconnect(&self, client: &Cuttable) {
        client.proxy.down();
        until_suspended(&client.client).await;
    }

    async fn reconnect(&self, client: &Cuttable) {
        client.proxy.up();
    }

    async fn expire(&self, client: &Cuttable) {
        let session = client.session();
        client.proxy.down();
        session.lost().await;
        client.proxy.up();
        until("the next session", async || (client.session().state() == SessionState::Connected).then_some(())).await;
    }

    async fn lose_next_reply(&self, client: &Cuttable) {
        client.proxy.lose_replies_after(0);
        let proxy = client.proxy.clone();
        tokio::spawn(async move {
            while !proxy.has_lost() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Nobody may come back before the proxy passes on again.
            proxy.down();
            proxy.pass_replies();
            proxy.up();
        });
    }
}
