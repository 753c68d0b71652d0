//! Plain requests: how much the transport costs.

use std::collections::VecDeque;

use herdless::{ClientExt, CreateMode, Error, NodePath, TokioClient, Version};

use crate::AnyError;
use crate::report::{Measurement, Report, now};
use crate::sessions::{connect, fresh_path};
use crate::settings::Settings;

async fn node_of_100_bytes(client: &TokioClient) -> Result<NodePath, AnyError> {
    let path = fresh_path(client, "get").await?;
    client.set(&path, vec![b'x'; 100], Version::ANY).await?;
    Ok(path)
}

/// Serial reads.
pub(crate) async fn get1(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let n = settings.number("n", 20_000)?;
    let client = connect(address).await?;
    let path = node_of_100_bytes(&client).await?;
    for _ in 0..200 {
        client.get(&path).await?;
    }
    let mut measurement = Measurement::start("get1", std::slice::from_ref(&client));
    for _ in 0..n {
        let start = now();
        client.get(&path).await?;
        measurement.took(start.elapsed());
    }
    let report = measurement.end(n);
    client.delete(&path, Version::ANY).await?;
    client.close().await?;
    Ok(report)
}

/// Reads with a window of them under way.
pub(crate) async fn get(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, window) = (settings.number("n", 400_000)?, settings.number("window", 256)?);
    let client = connect(address).await?;
    let path = node_of_100_bytes(&client).await?;
    let measurement = Measurement::start("get", std::slice::from_ref(&client));
    read_all(&client, &path, n, window).await?;
    let report = measurement.end(n);
    client.delete(&path, Version::ANY).await?;
    client.close().await?;
    Ok(report)
}

async fn read_all(client: &TokioClient, path: &NodePath, n: usize, window: usize) -> Result<(), Error> {
    // Answers come in the order of the requests, so the oldest is the one to wait for.
    let mut under_way = VecDeque::with_capacity(window);
    for _ in 0..n {
        if under_way.len() == window
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.await?;
        }
        under_way.push_back(client.get(path));
    }
    for call in under_way {
        call.await?;
    }
    Ok(())
}

/// Pairs of a create and a delete, with a window of pairs under way.
pub(crate) async fn create_delete(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, window) = (settings.number("n", 40_000)?, settings.number("window", 128)?);
    let client = connect(address).await?;
    let parent = fresh_path(&client, "create").await?;
    let measurement = Measurement::start("create_delete", std::slice::from_ref(&client));
    let mut under_way = VecDeque::with_capacity(window);
    for i in 0..n {
        if under_way.len() == window {
            let (create, delete) = under_way.pop_front().ok_or("an empty window")?;
            finish(create, delete).await?;
        }
        // The names of a window, again and again: the delete is carried out before the next create of its name.
        let path = parent.child(&format!("n{}", i % window))?;
        under_way.push_back((client.create(&path, "", CreateMode::Persistent), client.delete(&path, Version::ANY)));
    }
    for (create, delete) in under_way {
        finish(create, delete).await?;
    }
    let report = measurement.end(2 * n);
    client.delete(&parent, Version::ANY).await?;
    client.close().await?;
    Ok(report)
}

async fn finish<C, D>(create: C, delete: D) -> Result<(), Error>
where
    C: Future<Output = Result<herdless::core::Created, Error>>,
    D: Future<Output = Result<(), Error>>,
{
    create.await?;
    delete.await
}
