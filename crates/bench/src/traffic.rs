//! Plain requests: how much the transport, or the server, costs.

use std::collections::VecDeque;

use herdless::{Bytes, ClientExt, CreateMode, Error, NodePath, TokioClient, Version};

use crate::AnyError;
use crate::report::{Measurement, Report, now};
use crate::sessions::{connect, fresh_path};
use crate::settings::Settings;

/// Nodes of one size under a node of their own.
struct Nodes {
    parent: NodePath,
    paths: Vec<NodePath>,
}

impl Nodes {
    async fn create(client: &TokioClient, name: &str, settings: &Settings, count: usize) -> Result<Self, AnyError> {
        let (count, data) = (settings.number("nodes", count)?, data(settings, 100)?);
        let parent = fresh_path(client, name).await?;
        let paths = (0..count).map(|i| parent.child(&format!("n{i:07}"))).collect::<Result<Vec<_>, _>>()?;
        windowed(count, WINDOW, |i| client.create(&paths[i], data.clone(), CreateMode::Persistent)).await?;
        Ok(Self { parent, paths })
    }

    /// One after the other, and from the beginning again.
    fn at(&self, i: usize) -> &NodePath {
        &self.paths[i % self.paths.len()]
    }

    async fn delete(self, client: &TokioClient) -> Result<(), Error> {
        windowed(self.paths.len(), WINDOW, |i| client.delete(&self.paths[i], Version::ANY)).await?;
        client.delete(&self.parent, Version::ANY).await
    }
}

/// How many requests are under way at a time.
const WINDOW: usize = 256;

fn data(settings: &Settings, size: usize) -> Result<Bytes, String> {
    Ok(vec![b'x'; settings.number("size", size)?].into())
}

/// Makes `n` calls, each when there is room for it. Answers come in the order of the requests, so the oldest is the one to
/// wait for.
async fn windowed<T, F>(n: usize, window: usize, call: impl Fn(usize) -> F) -> Result<(), Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut under_way = VecDeque::with_capacity(window);
    for i in 0..n {
        if under_way.len() == window
            && let Some(oldest) = under_way.pop_front()
        {
            oldest.await?;
        }
        under_way.push_back(call(i));
    }
    for call in under_way {
        call.await?;
    }
    Ok(())
}

/// Serial reads.
pub(crate) async fn get1(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let n = settings.number("n", 20_000)?;
    let client = connect(address).await?;
    let nodes = Nodes::create(&client, "get", settings, 1).await?;
    for i in 0..200 {
        client.get(nodes.at(i)).await?;
    }
    let mut measurement = Measurement::start("get1", std::slice::from_ref(&client));
    for i in 0..n {
        let start = now();
        client.get(nodes.at(i)).await?;
        measurement.took(start.elapsed());
    }
    let report = measurement.end(n);
    nodes.delete(&client).await?;
    client.close().await?;
    Ok(report)
}

/// Reads with a window of them under way.
pub(crate) async fn get(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, window) = (settings.number("n", 400_000)?, settings.number("window", WINDOW)?);
    let client = connect(address).await?;
    let nodes = Nodes::create(&client, "get", settings, 1).await?;
    let measurement = Measurement::start("get", std::slice::from_ref(&client));
    windowed(n, window, |i| client.get(nodes.at(i))).await?;
    let report = measurement.end(n);
    nodes.delete(&client).await?;
    client.close().await?;
    Ok(report)
}

/// Serial writes.
pub(crate) async fn set1(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, data) = (settings.number("n", 5_000)?, data(settings, 100)?);
    let client = connect(address).await?;
    let nodes = Nodes::create(&client, "set", settings, 1).await?;
    for i in 0..200 {
        client.set(nodes.at(i), data.clone(), Version::ANY).await?;
    }
    let mut measurement = Measurement::start("set1", std::slice::from_ref(&client));
    for i in 0..n {
        let start = now();
        client.set(nodes.at(i), data.clone(), Version::ANY).await?;
        measurement.took(start.elapsed());
    }
    let report = measurement.end(n);
    nodes.delete(&client).await?;
    client.close().await?;
    Ok(report)
}

/// Writes of many nodes in turn, with a window of them under way.
pub(crate) async fn set(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, window, data) = (settings.number("n", 200_000)?, settings.number("window", WINDOW)?, data(settings, 100)?);
    let client = connect(address).await?;
    let nodes = Nodes::create(&client, "set", settings, 1_000).await?;
    let measurement = Measurement::start("set", std::slice::from_ref(&client));
    windowed(n, window, |i| client.set(nodes.at(i), data.clone(), Version::ANY)).await?;
    let report = measurement.end(n);
    nodes.delete(&client).await?;
    client.close().await?;
    Ok(report)
}

/// Nodes that are left behind, for those who ask what they take.
pub(crate) async fn fill(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, window, data) =
        (settings.number("n", 100_000)?, settings.number("window", WINDOW)?, data(settings, 1_024)?);
    let client = connect(address).await?;
    let parent = fresh_path(&client, "fill").await?;
    let paths = (0..n).map(|i| parent.child(&format!("n{i:07}"))).collect::<Result<Vec<_>, _>>()?;
    let measurement = Measurement::start("fill", std::slice::from_ref(&client));
    windowed(n, window, |i| client.create(&paths[i], data.clone(), CreateMode::Persistent)).await?;
    let report = measurement.end(n);
    client.close().await?;
    Ok(report)
}

/// Pairs of a create and a delete, with a window of pairs under way.
pub(crate) async fn create_delete(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, window) = (settings.number("n", 40_000)?, settings.number("window", 128)?);
    let client = connect(address).await?;
    let parent = fresh_path(&client, "create").await?;
    // The names of a window, again and again: the delete is carried out before the next create of its name.
    let paths = (0..window).map(|i| parent.child(&format!("n{i}"))).collect::<Result<Vec<_>, _>>()?;
    let measurement = Measurement::start("create_delete", std::slice::from_ref(&client));
    let pair = |i: usize| {
        let path = &paths[i % window];
        let (create, delete) = (client.create(path, "", CreateMode::Persistent), client.delete(path, Version::ANY));
        async move {
            create.await?;
            delete.await
        }
    };
    windowed(n, window, pair).await?;
    let report = measurement.end(2 * n);
    client.delete(&parent, Version::ANY).await?;
    client.close().await?;
    Ok(report)
}
