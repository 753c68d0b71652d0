//! One change that many sessions watch.

use futures::future::{join_all, try_join_all};
use herdless::{ClientExt, Version};
use serde_json::json;

use crate::AnyError;
use crate::crowd::crowd;
use crate::report::{Measurement, Report, now, resident_of, round};
use crate::sessions::{close_all, connect, fresh_path};
use crate::settings::Settings;

/// Leaves a watch from each of `c` sessions on one node and sets it; `rounds` times. Timed from the write to the moment at which
/// the last client has its event. `server`, the number of the server's process, is for its memory with all watches left.
pub(crate) async fn fan_out(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (c, rounds) = (settings.number("c", 10_000)?, settings.number("rounds", 5)?);
    let server = settings.number("server", usize::MAX)?.to_string();
    let writer = connect(address).await?;
    let path = fresh_path(&writer, "fan-out").await?;
    let clients = crowd(address, c, None).await?;
    let mut measurement = Measurement::start("fan_out", &clients);
    let (mut rss, mut last) = (None, now());
    for at in 0..rounds {
        let watches = try_join_all(clients.iter().map(|client| client.get_and_watch(&path))).await?;
        if at == 0 {
            rss = resident_of(&server);
        }
        let events = watches.into_iter().map(|(_, watch)| tokio::spawn(async move { watch.await.map(|_| now()) }));
        let events: Vec<_> = events.collect();
        // All of them wait, and the sockets are quiet.
        writer.sync(&path).await?;
        let start = now();
        writer.set(&path, "", Version::ANY).await?;
        for event in join_all(events).await {
            last = last.max(event??);
        }
        measurement.took(last - start);
    }
    let mut report = measurement.end(c * rounds);
    report.set("server_mb", json!(rss.map(|bytes| round(bytes as f64 / 1e6, 1))));
    writer.delete(&path, Version::ANY).await?;
    close_all(clients).await?;
    writer.close().await?;
    Ok(report)
}
