//! The answers to four-letter words, laid out as those of Apache ZooKeeper 3.8 (`server.command`).

use std::collections::{BTreeMap, BTreeSet};

use herdless_core::{NodePath, SessionId};
use herdless_proto::FourLetterWord;
use herdless_proto::server::Counters;
use tokio::time::Instant;

use super::figures::{Activity, sum};
use super::{Link, State};

/// What this server says it is: the release of Apache ZooKeeper whose protocol it speaks, and its own.
const VERSION: &str = concat!("3.8.0-herdless-", env!("CARGO_PKG_VERSION"));

impl State {
    /// The answer to a word that the connection `asking` has sent.
    pub(super) fn answer(&mut self, word: FourLetterWord, asking: u64) -> String {
        if !self.settings.words.contains(&word) {
            return format!("{} is not executed because it is not in the whitelist.\n", word.name());
        }
        match word {
            FourLetterWord::Ruok => "imok".into(),
            FourLetterWord::Isro => "rw".into(),
            FourLetterWord::Srvr => format!("Zookeeper version: {VERSION}\n{}", self.summary()),
            FourLetterWord::Stat => format!(
                "Zookeeper version: {VERSION}\nClients:\n{}\n{}",
                self.connections(asking, false),
                self.summary()
            ),
            FourLetterWord::Cons => self.connections(asking, true) + "\n",
            FourLetterWord::Mntr => self.monitoring(),
            FourLetterWord::Dump => self.dump(),
            FourLetterWord::Wchs => self.watch_summary(),
            FourLetterWord::Wchc => {
                listed(self.tree.data_watches().map(|(id, path)| (id.to_string(), path.to_string())))
            }
            FourLetterWord::Wchp => {
                listed(self.tree.data_watches().map(|(id, path)| (path.to_string(), id.to_string())))
            }
            FourLetterWord::Conf => self.configuration(),
            FourLetterWord::Envi => format!(
                "Environment:\nzookeeper.version={VERSION}\nos.name={}\nos.arch={}\n",
                std::env::consts::OS,
                std::env::consts::ARCH
            ),
            FourLetterWord::Dirs => "datadir_size: 0\nlogdir_size: 0\n".into(),
            FourLetterWord::Crst => {
                self.reset_connections();
                "Connection stats reset.\n".into()
            }
            FourLetterWord::Srst => {
                self.reset_server();
                "Server stats reset.\n".into()
            }
            other => format!("{} is not executed because it is not known.\n", other.name()),
        }
    }

    /// The frames of all connections, those that are gone included.
    pub(super) fn traffic(&self) -> Counters {
        self.links.values().map(|link| link.machine.counters()).fold(self.past, sum)
    }

    /// Apache ZooKeeper has the root twice, and counts it twice (`DataTree.getNodeCount`).
    fn node_count(&self) -> usize {
        self.tree.node_count() + 1
    }

    fn reset_connections(&mut self) {
        self.past = self.traffic();
        for link in self.links.values_mut() {
            link.machine.reset_counters();
            link.activity = Activity::NONE;
        }
    }

    fn reset_server(&mut self) {
        self.forgotten = self.traffic();
        self.latency = super::Latency::default();
    }

    fn summary(&self) -> String {
        let traffic = self.traffic();
        format!(
            "Latency min/avg/max: {}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: 0\nZxid: {:#x}\n\
             Mode: standalone\nNode count: {}\n",
            self.latency,
            traffic.received - self.forgotten.received,
            traffic.sent - self.forgotten.sent,
            self.links.len(),
            self.tree.last_zxid().0,
            self.node_count()
        )
    }

    fn connections(&self, asking: u64, in_full: bool) -> String {
        let mut out = String::new();
        for (id, link) in &self.links {
            let session =
                link.session.filter(|_| in_full).and_then(|id| self.sessions.get(&id).map(|record| (id, record)));
            let Counters { received, sent } = link.machine.counters();
            // The number in brackets: whether the server waits for more to read.
            out += &format!(" /{}[{}](queued=0,recved={received},sent={sent}", link.peer, u8::from(*id != asking));
            if let Some((id, record)) = session {
                let Link { established_ms, activity, .. } = link;
                let Activity { operation, xid, zxid, replied_ms, latency } = activity;
                out += &format!(
                    ",sid={id},lop={operation},est={established_ms},to={},lcxid={xid:#x},lzxid={zxid:#x},\
                     lresp={replied_ms},llat={},minlat={},avglat={},maxlat={}",
                    record.timeout.as_millis(),
                    latency.last,
                    latency.min,
                    latency.average().round(),
                    latency.max
                );
            }
            out.push_str(")\n");
        }
        out
    }

    fn monitoring(&self) -> String {
        let refused = self.refusals.counts;
        let traffic = self.traffic();
        let figures: [(&str, &dyn std::fmt::Display); 17] = [
            ("version", &VERSION),
            ("server_state", &"standalone"),
            ("avg_latency", &format!("{:?}", self.latency.average())),
            ("max_latency", &self.latency.max),
            ("min_latency", &self.latency.min),
            ("packets_received", &(traffic.received - self.forgotten.received)),
            ("packets_sent", &(traffic.sent - self.forgotten.sent)),
            ("num_alive_connections", &self.links.len()),
            ("connection_rejected", &(refused.connections + refused.address + refused.descriptors)),
            ("outstanding_requests", &0),
            ("znode_count", &self.node_count()),
            ("watch_count", &self.tree.watch_count()),
            ("ephemerals_count", &self.tree.holding().ephemerals),
            ("approximate_data_size", &self.tree.data_size()),
            ("global_sessions", &self.sessions.len()),
            ("local_sessions", &0),
            ("uptime", &self.began.elapsed().as_millis()),
        ];
        figures.iter().map(|(name, value)| format!("zk_{name}\t{value}\n")).collect()
    }

    fn dump(&self) -> String {
        let mut due = BTreeMap::<_, Vec<SessionId>>::new();
        let now = Instant::now();
        for (id, record) in &self.sessions {
            let left = (record.last_heard + record.timeout).saturating_duration_since(now);
            due.entry(left.as_millis()).or_default().push(*id);
        }
        let mut out = format!("SessionTracker dump:\nSession Sets ({})/({}):\n", due.len(), self.sessions.len());
        for (millis, sessions) in due {
            out += &format!("{} expire in {millis} ms:\n", sessions.len());
            out.extend(sessions.iter().map(|id| format!("\t{id}\n")));
        }
        let owners: Vec<_> = self.sessions.keys().filter(|id| self.tree.ephemerals(**id).next().is_some()).collect();
        out += &format!("ephemeral nodes dump:\nSessions with Ephemerals ({}):\n", owners.len());
        for id in owners {
            out += &format!("{id}:\n");
            out.extend(self.tree.ephemerals(*id).map(|path| format!("\t{path}\n")));
        }
        out += &format!("Connections dump:\nConnections Sets (1)/({}):\n", self.links.len());
        for link in self.links.values() {
            out += &format!("\tip: /{} sessionId: {}\n", link.peer, link.session.unwrap_or(SessionId(0)));
        }
        out
    }

    fn watch_summary(&self) -> String {
        let (mut sessions, mut paths, mut total) = (BTreeSet::<SessionId>::new(), BTreeSet::<&NodePath>::new(), 0);
        for (id, path) in self.tree.data_watches() {
            sessions.insert(id);
            paths.insert(path);
            total += 1;
        }
        format!("{} connections watching {} paths\nTotal watches:{total}\n", sessions.len(), paths.len())
    }

    fn configuration(&self) -> String {
        let settings = &self.settings;
        let port = i32::from(settings.port);
        let (plain, secure) = if settings.has_tls { (-1, port) } else { (port, -1) };
        format!(
            "clientPort={plain}\nsecureClientPort={secure}\ndataDir=\ndataDirSize=0\ndataLogDir=\ndataLogSize=0\ntickTime={}\n\
             maxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\nclientPortListenBacklog=-1\nserverId=0\n",
            settings.session_timeouts.start().as_millis() / 2,
            settings.limits.connections_per_address,
            settings.session_timeouts.start().as_millis(),
            settings.session_timeouts.end().as_millis(),
        )
    }
}

/// Each key in a line, and below it what belongs to it.
fn listed(pairs: impl Iterator<Item = (String, String)>) -> String {
    let mut groups = BTreeMap::<String, BTreeSet<String>>::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().insert(value);
    }
    let mut out = String::new();
    for (key, values) in groups {
        out += &format!("{key}\n");
        out.extend(values.iter().map(|value| format!("\t{value}\n")));
    }
    out.push('\n');
    out
}
