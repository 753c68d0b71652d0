//! Queues: of each item it is counted how often it arrives.

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use herdless::{Error, Queue, TokioClient};
use serde_json::json;
use tokio::task::JoinSet;

use crate::AnyError;
use crate::report::{Measurement, Report, now, round};
use crate::sessions::{close_all, connect, connect_all, fresh_path};
use crate::settings::Settings;

/// One puts many items, and some one by one; then one takes the many, at most once.
pub(crate) async fn queue(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, size) = (settings.number("n", 3_000)?, settings.number("size", 100)?);
    let (warm_up, prefetch) = (settings.number("warmup", 1_000)?, settings.number("prefetch", 100)?);
    let clients = connect_all(address, 2).await?;
    put_and_take(&clients, warm_up, size, prefetch).await?;
    let awaited = put_awaited(&clients[0], n.min(3_000), size).await?;
    let mut report = put_and_take(&clients, n, size, prefetch).await?;
    report.set("put_awaited_per_s", json!(awaited));
    close_all(clients).await?;
    Ok(report)
}

async fn put_and_take(clients: &[TokioClient], n: usize, size: usize, prefetch: usize) -> Result<Report, AnyError> {
    let path = fresh_path(&clients[0], "queue").await?;
    let (producer, consumer) = (Queue::new(clients[0].clone(), path.clone()), Queue::new(clients[1].clone(), path));
    let items: Vec<_> = (0..n).map(|number| item(number, size)).collect();
    let measurement = Measurement::start("queue", clients);
    let start = now();
    producer.put_all(items).await?;
    let put = start.elapsed();

    let mut tally = Tally::new(n);
    let mut consumer = consumer.at_most_once(prefetch);
    let start = now();
    for _ in 0..n {
        tally.arrived(&consumer.take().await?.data)?;
    }
    let take = start.elapsed();
    let mut report = measurement.end(n);
    if tally.lost() + tally.duplicated() > 0 || !producer.is_empty().await? {
        return Err(format!("{} lost, {} duplicated, or too many", tally.lost(), tally.duplicated()).into());
    }
    report.set("put_per_s", json!(round(n as f64 / put.as_secs_f64(), 1)));
    report.set("take_per_s", json!(round(n as f64 / take.as_secs_f64(), 1)));
    Ok(report)
}

/// Items per second where each put is waited for.
async fn put_awaited(client: &TokioClient, n: usize, size: usize) -> Result<f64, AnyError> {
    let queue = Queue::new(client.clone(), fresh_path(client, "queue").await?);
    let start = now();
    for number in 0..n {
        queue.put(item(number, size)).await?;
    }
    Ok(round(n as f64 / start.elapsed().as_secs_f64(), 1))
}

/// Consumers who take items and acknowledge each, until there are none.
pub(crate) async fn queue_ack(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (n, size) = (settings.number("n", 2_000)?, settings.number("size", 100)?);
    let (warm_up, prefetch) = (settings.number("warmup", 500)?, settings.number("prefetch", 16)?);
    let control = connect(address).await?;
    let mut clients = connect_all(address, settings.number("consumers", 4)?).await?;
    acknowledge(&control, &clients, warm_up, size, prefetch).await?;
    let report = acknowledge(&control, &clients, n, size, prefetch).await?;
    clients.push(control);
    close_all(clients).await?;
    Ok(report)
}

async fn acknowledge(
    control: &TokioClient,
    clients: &[TokioClient],
    n: usize,
    size: usize,
    prefetch: usize,
) -> Result<Report, AnyError> {
    let queue = Queue::new(control.clone(), fresh_path(control, "queue").await?);
    queue.put_all((0..n).map(|number| item(number, size))).await?;
    let mut tally = Tally::new(n);
    let (sender, mut acknowledged) = unbounded();
    let measurement = Measurement::start("queue_ack", clients);
    let consume =
        |client: &TokioClient| consume(Queue::new(client.clone(), queue.path().clone()), prefetch, sender.clone());
    let mut consumers: JoinSet<Result<(), Error>> = clients.iter().map(consume).collect();
    for _ in 0..n {
        tokio::select! {
            data = acknowledged.next() => tally.arrived(&data.ok_or("no consumer is left")?)?,
            Some(ended) = consumers.join_next() => ended??,
        }
    }
    let mut report = measurement.end(n);
    consumers.shutdown().await;
    while let Ok(data) = acknowledged.try_recv() {
        tally.arrived(&data)?;
    }
    report.set("lost", json!(tally.lost()));
    report.set("duplicated", json!(tally.duplicated()));
    Ok(report)
}

/// Goes on until it is dropped.
async fn consume(
    queue: Queue<TokioClient>,
    prefetch: usize,
    acknowledged: UnboundedSender<herdless::Bytes>,
) -> Result<(), Error> {
    let mut consumer = queue.consumer().prefetch(prefetch).build();
    loop {
        let delivery = consumer.take().await?;
        let data = delivery.data().clone();
        delivery.ack().await?;
        // Nobody counts any more when enough have been counted.
        drop(acknowledged.unbounded_send(data));
    }
}

/// The number first, as all drivers have it.
fn item(number: usize, size: usize) -> Vec<u8> {
    let mut item = (number as u32).to_be_bytes().to_vec();
    item.resize(size.max(item.len()), b'x');
    item
}

/// How often each item has arrived.
struct Tally(Vec<u32>);

impl Tally {
    fn new(n: usize) -> Self {
        Self(vec![0; n])
    }

    fn arrived(&mut self, data: &[u8]) -> Result<(), AnyError> {
        let number = data.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize);
        *number.and_then(|number| self.0.get_mut(number)).ok_or("an item that was not put")? += 1;
        Ok(())
    }

    fn lost(&self) -> usize {
        self.0.iter().filter(|times| **times == 0).count()
    }

    fn duplicated(&self) -> usize {
        self.0.iter().filter(|times| **times > 1).count()
    }
}
