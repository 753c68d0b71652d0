//! Clients, and what they do at the same time.

use std::time::Duration;

use futures::future::try_join_all;
use herdless::{ClientExt, Connector, CreateMode, Error, NodePath, TokioClient};
use tokio::task::JoinSet;

use crate::AnyError;

pub(crate) async fn connect(address: &str) -> Result<TokioClient, AnyError> {
    // As long as the other drivers', so that a slow moment of the machine ends nobody's session.
    Ok(Connector::new(address)?.session_timeout(Duration::from_secs(30)).connect().await?)
}

pub(crate) async fn connect_all(address: &str, count: usize) -> Result<Vec<TokioClient>, AnyError> {
    try_join_all((0..count).map(|_| connect(address))).await
}

pub(crate) async fn close_all(clients: Vec<TokioClient>) -> Result<(), AnyError> {
    for client in clients {
        client.close().await?;
    }
    Ok(())
}

/// A path of this run alone.
pub(crate) async fn fresh_path(client: &TokioClient, name: &str) -> Result<NodePath, AnyError> {
    let prefix = NodePath::parse(&format!("/bench-{name}-"))?;
    Ok(client.create(&prefix, "", CreateMode::PersistentSequential).await?.path)
}

/// A task for each client, as in a service; returns when all have ended.
pub(crate) async fn each<F>(clients: &[TokioClient], work: impl Fn(TokioClient) -> F) -> Result<(), AnyError>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut tasks: JoinSet<F::Output> = clients.iter().cloned().map(work).collect();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
