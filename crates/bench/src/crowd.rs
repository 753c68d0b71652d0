//! Many clients in one process: what they take, and how they come back when their server was away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::try_join_all;
use herdless::{Client, ClientExt, NodePath, SessionState, TokioClient};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::AnyError;
use crate::report::{Measurement, Report, now, round};
use crate::sessions::{close_all, connect};
use crate::settings::Settings;

/// How many connect at a time, so that the server's queue of connections does not run over.
const AT_ONCE: usize = 50;

/// The width of a bin of the histogram.
const BIN: Duration = Duration::from_millis(100);

/// Sessions of one process: its memory and its threads before, with all of them, and once each has asked something.
pub(crate) async fn sessions(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let c = settings.number("c", 1_000)?;
    // What the first client of a process needs, all share.
    let first = connect(address).await?;
    first.exists(&NodePath::root()).await?;
    let (rss_before, threads_before) = process()?;
    let mut measurement = Measurement::start("sessions", &[]);
    let clients = crowd(address, c, Some(&mut measurement)).await?;
    let (rss_connected, threads) = process()?;
    try_join_all(clients.iter().map(|client| client.exists(&NodePath::root()))).await?;
    let (rss, _) = process()?;
    let mut report = measurement.end(c);
    report.set("rss_before_kib", json!(rss_before));
    report.set("rss_connected_kib", json!(rss_connected));
    report.set("rss_kib", json!(rss));
    report.set("growth_mb", json!(round((rss.max(rss_connected) as f64 - rss_before as f64) * 1024.0 / 1e6, 2)));
    report.set("threads_before", json!(threads_before));
    report.set("threads", json!(threads));
    close_all(clients).await?;
    first.close().await?;
    Ok(report)
}

/// Clients whose server goes away, and comes back after `down` milliseconds: when each is accepted, and when its session goes on.
pub(crate) async fn reconnect(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (c, down) = (settings.number("c", 500)?, settings.number("down", 5_000)?);
    let gate = Gate::new(address).await?;
    let clients = crowd(&gate.address, c, None).await?;
    let mut measurement = Measurement::start("reconnect", &clients);
    let mut sessions: JoinSet<Option<Instant>> = clients.iter().map(back).collect();

    let cut = now();
    gate.close();
    tokio::time::sleep(Duration::from_millis(u64::try_from(down)?)).await;
    gate.open();
    let opened = now();
    while let Some(back) = sessions.join_next().await {
        let back = back?.ok_or("a session was lost")?;
        measurement.took(back.saturating_duration_since(opened));
    }
    let all_back = opened.elapsed();
    let mut accepts: Vec<_> = gate.accepts(cut).iter().map(|at| at.saturating_sub(opened - cut)).collect();
    accepts.sort_unstable();
    let spread = accepts.last().copied().ok_or("nobody came")?;
    let bin = |at: Duration| (at.as_nanos() / BIN.as_nanos()) as usize;
    let mut bins = vec![0_usize; 1 + bin(spread)];
    accepts.iter().for_each(|at| bins[bin(*at)] += 1);
    // The mean of nearly all: a few stragglers would make it small, and any burst look large.
    let most = accepts.len() * 99 / 100;
    let most_back = accepts[most.saturating_sub(1)];
    let mean = most as f64 / (most_back.as_secs_f64() / BIN.as_secs_f64()).max(1.0);
    let peak = bins.iter().max().copied().unwrap_or_default();
    let mut report = measurement.end(c);
    report.set("down_ms", json!(down));
    report.set("accepts", json!(accepts.len()));
    report.set("spread_99_s", json!(round(most_back.as_secs_f64(), 3)));
    report.set("spread_s", json!(round(spread.as_secs_f64(), 3)));
    report.set("all_back_s", json!(round(all_back.as_secs_f64(), 3)));
    report.set("accepts_per_100_ms", json!(bins));
    report.set("mean_per_100_ms", json!(round(mean, 1)));
    report.set("peak_per_100_ms", json!(peak));
    report.set("peak_over_mean", json!(round(peak as f64 / mean, 2)));
    close_all(clients).await?;
    Ok(report)
}

/// Clients with a session each.
pub(crate) async fn crowd(
    address: &str,
    count: usize,
    mut measurement: Option<&mut Measurement>,
) -> Result<Vec<TokioClient>, AnyError> {
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let start = now();
        clients.extend(try_join_all((0..AT_ONCE.min(count - clients.len())).map(|_| connect(address))).await?);
        if let Some(measurement) = &mut measurement {
            measurement.took(start.elapsed());
        }
    }
    Ok(clients)
}

/// When the session goes on after it was suspended; `None` if it does not.
fn back(client: &TokioClient) -> impl Future<Output = Option<Instant>> + use<> {
    let mut changes = client.session().changes();
    async move {
        loop {
            match changes.next().await {
                Some(SessionState::Connected) => return Some(now()),
                Some(SessionState::Suspended) => {}
                _ => return None,
            }
        }
    }
}

/// Resident memory in KiB and the number of threads (Linux).
fn process() -> Result<(u64, u64), AnyError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line in /proc/self/status")?;
        Ok::<u64, AnyError>(line.split_whitespace().next().ok_or("an empty line")?.parse()?)
    };
    Ok((field("VmRSS:")?, field("Threads:")?))
}

/// A way to the server that can be closed: nobody listens then, and all connections are cut. It has a thread of its own,
/// so that it notes when who comes, and not when there was time for it.
struct Gate {
    address: String,
    is_open: watch::Sender<bool>,
    accepts: Arc<Mutex<Vec<Instant>>>,
}

impl Gate {
    async fn new(server: &str) -> Result<Self, AnyError> {
        // Found free, and taken again each time that it opens.
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        drop(listener);
        let (is_open, mut changes) = watch::channel(true);
        let gate = Self { address, is_open, accepts: Arc::default() };
        let (address, server, accepts) = (gate.address.clone(), server.to_owned(), gate.accepts.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("gate".into()).spawn(move || {
            runtime.block_on(async move {
                // An error here is that the gate is no more.
                while changes.wait_for(|is_open| *is_open).await.is_ok() {
                    let Ok(listener) = TcpListener::bind(&address).await else {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    };
                    let mut connections = JoinSet::new();
                    let accept = async {
                        loop {
                            if let Ok((client, _)) = listener.accept().await {
                                accepts.lock().unwrap_or_else(PoisonError::into_inner).push(now());
                                connections.spawn(pass(client, server.clone()));
                            }
                        }
                    };
                    tokio::select! {
                        () = accept => {}
                        _ = changes.wait_for(|is_open| !is_open) => {}
                    }
                }
            });
        })?;
        // The first client finds it open.
        while TcpStream::connect(&gate.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(gate)
    }

    fn close(&self) {
        self.is_open.send_replace(false);
    }

    fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Who was accepted after this moment, and how long after it.
    fn accepts(&self, since: Instant) -> Vec<Duration> {
        let accepts = self.accepts.lock().unwrap_or_else(PoisonError::into_inner);
        accepts.iter().filter_map(|at| at.checked_duration_since(since)).collect()
    }
}

async fn pass(mut client: TcpStream, server: String) {
    if let Ok(mut server) = TcpStream::connect(server).await {
        // Both have no more to do with each other when one is gone.
        let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
