//! Many idle watches of one client: what they take, and how soon they are armed again on a new connection.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use herdless::transport::{Dial, Host, Stream};
use herdless::{ClientExt, Connector, CreateMode, NodePath, TokioClient, Version, Watch};
use serde_json::json;

use crate::AnyError;
use crate::report::{Measurement, Report, now, resident, round};
use crate::sessions::{connect, fresh_path};
use crate::settings::Settings;

/// How many reads are under way at a time.
const WINDOW: usize = 256;
/// How many of the watches are seen to fire.
const PROBES: usize = 100;

/// Leaves watches, cuts the connection, and lets some of them fire on the next.
///
/// The time of re-arming is that from the cut to the answer of a request that was submitted right after it: watches go out
/// first, and answers come in order. Its bytes are those of the handshake and of that request as well.
pub(crate) async fn watches(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let n = settings.number("n", 100_000)?;
    let link = Cuttable::default();
    let connector = Connector::new(address)?.session_timeout(Duration::from_secs(30)).dial(link.clone());
    let (client, other) = (connector.connect().await?, connect(address).await?);
    let parent = fresh_path(&client, "watches").await?;
    let before = resident().ok_or("no /proc/self/status")?;
    let measurement = Measurement::start("watches", std::slice::from_ref(&client));
    let mut watches = leave(&client, &parent, n).await?;
    let taken = resident().ok_or("no /proc/self/status")?.saturating_sub(before);
    let mut report = measurement.end(n);

    let counted = client.counters();
    let start = now();
    link.cut()?;
    let mut asked = 1;
    while client.exists(&parent).await.is_err() {
        asked += 1;
    }
    let (secs, after) = (start.elapsed().as_secs_f64(), client.counters());
    let taken_after = resident().ok_or("no /proc/self/status")?.saturating_sub(before);

    let step = (n / PROBES).max(1);
    for at in (0..n).step_by(step) {
        other.create(&name(&parent, at)?, "", CreateMode::Persistent).await?;
    }
    for at in (0..n).step_by(step).rev() {
        watches.swap_remove(at).await?;
        other.delete(&name(&parent, at)?, Version::ANY).await?;
    }
    report.set("mb", json!(round(taken as f64 / 1e6, 1)));
    report.set("bytes_per_watch", json!(round(taken as f64 / n as f64, 1)));
    report.set("mb_after", json!(round(taken_after as f64 / 1e6, 1)));
    report.set("rearm_s", json!(round(secs, 3)));
    report.set("rearm_connects", json!(after.connects - counted.connects));
    report.set("rearm_frames", json!(after.requests - counted.requests - asked));
    report.set("rearm_bytes", json!(after.bytes_out - counted.bytes_out));
    other.delete(&parent, Version::ANY).await?;
    other.close().await?;
    client.close().await?;
    Ok(report)
}

/// Watches for nodes that are not there, so that none need be made.
async fn leave(client: &TokioClient, parent: &NodePath, n: usize) -> Result<Vec<Watch>, AnyError> {
    let mut watches = Vec::with_capacity(n);
    let mut under_way = VecDeque::with_capacity(WINDOW);
    for at in 0..n {
        if under_way.len() == WINDOW
            && let Some(oldest) = under_way.pop_front()
        {
            let (_, watch) = oldest.await?;
            watches.push(watch);
        }
        under_way.push_back(client.exists_and_watch(&name(parent, at)?));
    }
    for call in under_way {
        watches.push(call.await?.1);
    }
    Ok(watches)
}

fn name(parent: &NodePath, at: usize) -> Result<NodePath, AnyError> {
    Ok(parent.child(&format!("node-{at:07}"))?)
}

/// TCP, with a connection that can be cut.
#[derive(Clone, Debug, Default)]
struct Cuttable(Arc<Mutex<Option<TcpStream>>>);

impl Cuttable {
    fn cut(&self) -> io::Result<()> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.map_or(Ok(()), |stream| stream.shutdown(Shutdown::Both))
    }
}

#[async_trait]
impl Dial for Cuttable {
    async fn dial(&self, host: &Host) -> io::Result<Box<dyn Stream>> {
        let stream = tokio::net::TcpStream::connect((host.name.as_str(), host.port)).await?.into_std()?;
        stream.set_nodelay(true)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.try_clone()?);
        Ok(Box::new(tokio::net::TcpStream::from_std(stream)?))
    }
}
