//! The lock.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use herdless::{ClientExt, Error, Lock};
use serde_json::json;

use crate::AnyError;
use crate::hand_overs::HandOvers;
use crate::report::{Measurement, Report, now, round};
use crate::sessions::{close_all, connect, connect_all, each, fresh_path};
use crate::settings::Settings;

/// Whether a cycle waits for the release.
#[derive(Clone, Copy)]
pub(crate) enum Release {
    Dropped,
    Awaited,
}

const WARM_UP: usize = 200;

/// Cycles of acquire and release by one client.
pub(crate) async fn cycles(address: &str, settings: &Settings, release: Release) -> Result<Report, AnyError> {
    let n = settings.number("n", 3_000)?;
    let client = connect(address).await?;
    let lock = Lock::new(client.clone(), fresh_path(&client, "lock").await?);
    let cycle = || async {
        let guard = lock.acquire().await?;
        match release {
            Release::Dropped => drop(guard),
            Release::Awaited => guard.release().await?,
        }
        Ok::<(), Error>(())
    };
    for _ in 0..WARM_UP {
        cycle().await?;
    }
    let name = match release {
        Release::Dropped => "lock",
        Release::Awaited => "lock_awaited",
    };
    let mut measurement = Measurement::start(name, std::slice::from_ref(&client));
    for _ in 0..n {
        let start = now();
        cycle().await?;
        measurement.took(start.elapsed());
    }
    let report = measurement.end(n);
    client.close().await?;
    Ok(report)
}

/// One acquire every 2 ms: the time of the acquire alone.
pub(crate) async fn acquire_idle(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let n = settings.number("n", 600)?;
    let client = connect(address).await?;
    let lock = Lock::new(client.clone(), fresh_path(&client, "lock").await?);
    for _ in 0..WARM_UP {
        drop(lock.acquire().await?);
    }
    let mut measurement = Measurement::start("acquire_idle", std::slice::from_ref(&client));
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..n {
        ticks.tick().await;
        let start = now();
        let guard = lock.acquire().await?;
        measurement.took(start.elapsed());
        drop(guard);
    }
    let report = measurement.end(n);
    client.close().await?;
    Ok(report)
}

/// Sessions that pass the lock round; p50 and p99 from the call of the release to the next grant.
pub(crate) async fn contend(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (c, n) = (settings.number("c", 8)?, settings.number("n", 3_000)?);
    let clients = connect_all(address, c).await?;
    let path = fresh_path(&clients[0], "lock").await?;
    let hand_overs = Arc::new(HandOvers::new("contend", &clients, WARM_UP, n));
    let turns = |client| {
        let (lock, hand_overs) = (Lock::new(client, path.clone()), hand_overs.clone());
        async move {
            while !hand_overs.is_over() {
                let guard = lock.acquire().await?;
                hand_overs.granted();
                hand_overs.releasing();
                drop(guard);
            }
            Ok(())
        }
    };
    each(&clients, turns).await?;
    let report = hand_overs.report()?;
    close_all(clients).await?;
    Ok(report)
}

/// Tasks that queue on a held lock, which is then released and drained down the line.
pub(crate) async fn waiters(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (waiters, count) = (settings.number("waiters", 200)?, settings.number("sessions", 4)?);
    let mut clients = connect_all(address, count).await?;
    let holder = connect(address).await?;
    let path = fresh_path(&holder, "lock").await?;
    let guard = Lock::new(holder.clone(), path.clone()).acquire().await?;
    clients.push(holder);
    let hand_overs = HandOvers::new("waiters", &clients, 0, waiters);

    let start = now();
    let locks: Vec<_> = clients[..count].iter().map(|client| Lock::new(client.clone(), path.clone())).collect();
    let tickets = try_join_all((0..waiters).map(|i| locks[i % count].enqueue())).await?;
    let turns = tickets.into_iter().map(async |ticket| {
        let guard = ticket.await?;
        hand_overs.granted();
        hand_overs.releasing();
        drop(guard);
        Ok::<(), Error>(())
    });
    // Polled once each, the tickets look for who is ahead of them; a read behind those says that all watches are left.
    let mut turns = Box::pin(join_all(turns));
    let polled_once = std::future::poll_fn(|cx| std::task::Poll::Ready(turns.as_mut().poll(cx).is_ready())).await;
    assert!(!polled_once, "the lock is held");
    for client in &clients {
        client.exists(&path).await?;
    }
    let enqueue = start.elapsed();

    let start = now();
    hand_overs.releasing();
    drop(guard);
    turns.await.into_iter().collect::<Result<Vec<()>, _>>()?;
    let drain = start.elapsed();

    let mut report = hand_overs.report()?;
    let bytes = report.number("bytes_out") + report.number("bytes_in");
    report.set("per_s", json!(round(waiters as f64 / drain.as_secs_f64(), 1)));
    report.set("enqueue_s", json!(round(enqueue.as_secs_f64(), 6)));
    report.set("drain_s", json!(round(drain.as_secs_f64(), 6)));
    report.set("bytes_per_waiter", json!(round(bytes / waiters as f64, 1)));
    close_all(clients).await?;
    Ok(report)
}
