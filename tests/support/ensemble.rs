//! Three servers of Apache ZooKeeper that elect a leader, which a test may kill.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use herdless::{ClientExt, Error, NodePath, TokioClient};
use tokio::sync::Mutex;

use super::process::Scratch;
use super::zookeeper::{ATTEMPTS, four_letter_word};
use super::{ZooKeeperProcess, connector, free_port, until};

const SERVERS: usize = 3;
/// In which two servers have elected a leader, if they ever do.
const PATIENCE: Duration = Duration::from_secs(20);

/// An ensemble of the test's own. Its servers are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Ensemble {
    addresses: Vec<String>,
    servers: Mutex<Vec<ZooKeeperProcess>>,
    /// A client of each server alone.
    clients: Vec<TokioClient>,
    kills: Mutex<Vec<Kill>>,
    _scratch: Scratch,
}

/// A leader was killed, and another one leads.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    /// The number of the process.
    process: u32,
    /// The server, from 1, and the epoch in which it led.
    old: (usize, u64),
    new: (usize, u64),
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, old, new } = self;
        write!(f, "leader {} of epoch {} killed (process {process}), ", old.0, old.1)?;
        write!(f, "leader {} of epoch {} afterwards", new.0, new.1)
    }
}

impl Ensemble {
    /// Starts one and waits until all its servers serve; `None` where there is no ZooKeeper.
    pub(crate) async fn start(name: &str) -> Option<Self> {
        for _ in 0..ATTEMPTS {
            let scratch = Scratch::new(name);
            let mut servers = configured(&scratch)?;
            for server in &mut servers {
                server.spawn();
            }
            let mut is_up = true;
            for server in &mut servers {
                // Where one has lost its port to somebody else, the others serve all the same.
                is_up &= server.until_serving().await.is_ok();
            }
            if !is_up {
                continue;
            }
            let addresses: Vec<_> = servers.iter().map(|server| server.address().to_owned()).collect();
            let mut clients = Vec::new();
            for address in &addresses {
                clients.push(connector(address).connect().await.unwrap());
            }
            let servers = Mutex::new(servers);
            return Some(Self { addresses, servers, clients, kills: Mutex::default(), _scratch: scratch });
        }
        panic!("no free ports");
    }

    /// Where the servers are, each `HOST:PORT`.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Kills the server that leads, as `kill -9` does, waits until another one leads, and starts the killed one again: sooner
    /// where the two others cannot do without it, and then it may lead itself. Returns once all serve.
    pub(crate) async fn kill_leader(&self) -> Kill {
        let mut servers = self.servers.lock().await;
        let (old, epoch) = until("a leader", async || self.leader(&mut servers).await).await;
        let process = servers[old].id().expect("it runs");
        servers[old].kill().await;
        assert!(!Path::new(&format!("/proc/{process}")).exists(), "it was killed");
        // Two servers of 3.8.0 may never agree: what the one acknowledges first is an old change, where the other waits for
        // NEWLEADER, at every try ("is from a different epoch", `Leader.waitForNewLeaderAck`). A third one helps them out.
        let alone = tokio::time::timeout(PATIENCE, self.led_after(epoch, &mut servers)).await.ok();
        servers[old].spawn();
        let (new, new_epoch) = match alone {
            Some(next) => next,
            None => self.led_after(epoch, &mut servers).await,
        };
        servers[old].until_serving().await.expect("nobody takes the port meanwhile");
        // A leader that has lost its only follower for a moment may have been elected once more.
        for number in 0..SERVERS {
            let serves = async || {
                servers.iter_mut().for_each(ZooKeeperProcess::revive);
                servers[number].mode().await
            };
            until("all servers to serve", serves).await;
        }
        let kill = Kill { process, old: (old + 1, epoch), new: (new + 1, new_epoch) };
        self.kills.lock().await.push(kill.clone());
        kill
    }

    /// All kills so far.
    pub(crate) async fn kills(&self) -> Vec<Kill> {
        self.kills.lock().await.clone()
    }

    /// Waits until every server has what any of them has acknowledged before.
    pub(crate) async fn catch_up(&self) {
        for client in &self.clients {
            // What is asked waits for a connection, so this does not spin.
            while let Err(error) = client.settle(&NodePath::root()).await {
                assert_eq!(error, Error::ConnectionLost);
            }
        }
    }

    /// Which server leads in an epoch after this one, and in which.
    async fn led_after(&self, epoch: u64, servers: &mut [ZooKeeperProcess]) -> (usize, u64) {
        until("the next leader", async || self.leader(servers).await.filter(|(_, new)| *new > epoch)).await
    }

    /// Which server leads, and in which epoch, if one does. Those that have ended by themselves are started again.
    async fn leader(&self, servers: &mut [ZooKeeperProcess]) -> Option<(usize, u64)> {
        servers.iter_mut().for_each(ZooKeeperProcess::revive);
        for (server, address) in self.addresses.iter().enumerate() {
            let answer = four_letter_word(address, "srvr").await.unwrap_or_default();
            let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name));
            if field("Mode: ") == Some("leader") {
                let zxid = field("Zxid: 0x").expect("with the mode");
                return Some((server, u64::from_str_radix(zxid, 16).unwrap() >> 32));
            }
        }
        None
    }
}

/// Three servers that know of each other, not started yet.
fn configured(scratch: &Scratch) -> Option<Vec<ZooKeeperProcess>> {
    let mut settings: Vec<_> =
        (1..=SERVERS).map(|number| format!("server.{number}=127.0.0.1:{}:{}", free_port(), free_port())).collect();
    settings.extend(["initLimit=10", "syncLimit=10"].map(str::to_owned));
    let mut servers = Vec::new();
    for number in 1..=SERVERS {
        let directory = scratch.file(&number.to_string());
        let server = ZooKeeperProcess::new(directory, free_port(), &settings, &[])?;
        std::fs::write(server.directory().join("data/myid"), number.to_string()).unwrap();
        servers.push(server);
    }
    Some(servers)
}
