//! Leadership, barriers, permits and shared locks.

use std::sync::Arc;
use std::time::Duration;

use herdless::{ClientExt, DoubleBarrier, Election, NodePath, RwLock, Semaphore, TokioClient};
use serde_json::json;
use tokio::task::JoinSet;

use crate::AnyError;
use crate::hand_overs::HandOvers;
use crate::report::{Measurement, Report, now, round};
use crate::sessions::{close_all, connect, connect_all, each, fresh_path};
use crate::settings::Settings;

/// Candidates who resign as soon as they lead, and stand again at the end of the line.
pub(crate) async fn latch(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (p, rounds, warm_up) =
        (settings.number("p", 8)?, settings.number("rounds", 50)?, settings.number("warmup", 200)?);
    let clients = connect_all(address, p).await?;
    let path = fresh_path(&clients[0], "latch").await?;
    let hand_overs = Arc::new(HandOvers::new("latch", &clients, warm_up, rounds));
    let stand = |client| {
        let (election, hand_overs) = (Election::new(client, path.clone()), hand_overs.clone());
        async move {
            while !hand_overs.is_over() {
                let leadership = election.campaign().await?;
                hand_overs.granted();
                hand_overs.releasing();
                leadership.resign().await?;
            }
            Ok(())
        }
    };
    each(&clients, stand).await?;
    let mut report = hand_overs.report()?;
    report.repeat("p50_us", "handover_p50_us");
    report.repeat("p99_us", "handover_p99_us");
    close_all(clients).await?;
    Ok(report)
}

/// Members who enter and leave a double barrier together, all rounds on one path.
pub(crate) async fn barrier(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (p, rounds, warm_up) =
        (settings.number("p", 16)?, settings.number("rounds", 30)?, settings.number("warmup", 200)?);
    let clients = connect_all(address, p).await?;
    let path = fresh_path(&clients[0], "barrier").await?;
    pass(&clients, &path, warm_up).await?;
    let measurement = Measurement::start("barrier", &clients);
    pass(&clients, &path, rounds).await?;
    let report = measurement.end(rounds);
    close_all(clients).await?;
    Ok(report)
}

async fn pass(clients: &[TokioClient], path: &NodePath, rounds: usize) -> Result<(), AnyError> {
    let size = u32::try_from(clients.len())?;
    let pass = |client| {
        let barrier = DoubleBarrier::new(client, path.clone(), size);
        async move {
            let barrier = barrier?;
            for _ in 0..rounds {
                barrier.enter().await?.leave().await?;
            }
            Ok(())
        }
    };
    each(clients, pass).await
}

/// Contenders who take a permit and give it back.
pub(crate) async fn semaphore(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (p, n, warm_up) = (settings.number("p", 8)?, settings.number("n", 100)?, settings.number("warmup", 200)?);
    let permits = u32::try_from(settings.number("permits", 4)?)?;
    let clients = connect_all(address, p).await?;
    let path = fresh_path(&clients[0], "semaphore").await?;
    share(&clients, &path, permits, warm_up).await?;
    let measurement = Measurement::start("semaphore", &clients);
    share(&clients, &path, permits, n).await?;
    let mut report = measurement.end(p * n);
    report.repeat("per_s", "permits_per_s");
    close_all(clients).await?;
    Ok(report)
}

async fn share(clients: &[TokioClient], path: &NodePath, permits: u32, n: usize) -> Result<(), AnyError> {
    let share = |client| {
        let semaphore = Semaphore::new(client, path.clone(), permits);
        async move {
            let semaphore = semaphore?;
            for _ in 0..n {
                semaphore.acquire(1).await?.release().await?;
            }
            Ok(())
        }
    };
    each(clients, share).await
}

/// Readers who wait behind a writer, which then lets them all in; and cycles of one reader who is alone.
pub(crate) async fn rwlock(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (readers, count) = (settings.number("readers", 1_000)?, settings.number("sessions", 4)?);
    let mut clients = connect_all(address, count).await?;
    let control = connect(address).await?;
    wait_and_read(&clients, &control, readers.min(200)).await?;
    let mut report = wait_and_read(&clients, &control, readers).await?;
    report.set("all_ms", json!(round(report.number("secs") * 1e3, 3)));
    report.repeat("watch_events", "events");
    report.set("read_per_s", json!(reads_per_second(&control, settings.number("n", 3_000)?).await?));
    clients.push(control);
    close_all(clients).await?;
    Ok(report)
}

/// From the release of the writer until the last reader has the lock.
async fn wait_and_read(clients: &[TokioClient], control: &TokioClient, readers: usize) -> Result<Report, AnyError> {
    let path = fresh_path(control, "rwlock").await?;
    let writer = RwLock::new(control.clone(), path.clone()).write().await?;
    let locks: Vec<_> = clients.iter().map(|client| RwLock::new(client.clone(), path.clone())).collect();
    let read = |lock: &RwLock<TokioClient>| {
        let lock = lock.clone();
        async move { lock.read().await }
    };
    let mut waiting: JoinSet<_> = locks.iter().cycle().take(readers).map(read).collect();
    while control.exists(&path).await?.is_none_or(|stat| stat.num_children as usize != readers + 1) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // the last ones still look who is before them

    let measurement = Measurement::start("rwlock", clients);
    drop(writer);
    // Held until all have it, or releases would be measured as well.
    let mut guards = Vec::with_capacity(readers);
    while let Some(granted) = waiting.join_next().await {
        guards.push(granted??);
    }
    Ok(measurement.end(readers))
}

async fn reads_per_second(client: &TokioClient, n: usize) -> Result<f64, AnyError> {
    let lock = RwLock::new(client.clone(), fresh_path(client, "rwlock").await?);
    let start = now();
    for _ in 0..n {
        lock.read().await?.release().await?;
    }
    Ok(round(n as f64 / start.elapsed().as_secs_f64(), 1))
}
