//! Measures the `zookeeper-client` crate. The scenarios are described in bench/README.md.

mod baton;
mod report;
mod settings;
mod traffic;

use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton::Baton;
use report::{Report, Stopwatch, round};
use settings::Settings;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use zookeeper_client::{Acls, Client, CreateMode, LockClient, LockPrefix};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let settings = Settings::parse(env::args().skip(1))?;
    // A task of its own, as in a service: the future given to `block_on` itself costs the runtime a system call at each
    // wake-up.
    println!("{}", tokio::spawn(run(settings)).await??);
    Ok(())
}

async fn run(settings: Settings) -> Result<String> {
    let report = match settings.scenario.as_str() {
        "get1" => get1(&settings).await?,
        "get" => get(&settings).await?,
        "create_delete" => create_delete(&settings).await?,
        "lock" => lock(&settings, Release::Dropped).await?,
        "lock_awaited" => lock(&settings, Release::Awaited).await?,
        "acquire_idle" => acquire_idle(&settings).await?,
        "contend" => contend(&settings).await?,
        "waiters" => waiters(&settings).await?,
        other => return Err(format!("no such scenario: {other}").into()),
    };
    Ok(report.into_json(&settings.scenario).to_string())
}

async fn connect(settings: &Settings) -> Result<Client> {
    let connector = Client::connector().with_session_timeout(Duration::from_secs(30));
    Ok(connector.connect(&settings.server).await?)
}

/// A fresh node with 100 bytes: what is read, or the parent of what is created and locked.
async fn create_root(client: &Client) -> Result<String> {
    let options = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let (_, sequence) = client.create("/bench-", &[b'x'; 100], &options).await?;
    Ok(format!("/bench-{sequence}"))
}

async fn children(client: &Client, path: &str) -> Result<usize> {
    let stat = client.check_stat(path).await?.ok_or("no such node")?;
    Ok(stat.num_children.try_into()?)
}

/// Takes the lock in `dir`, in the way that the crate documents for Curator's layout.
async fn acquire<'a>(client: &'a Client, dir: &str) -> Result<LockClient<'a>> {
    let prefix = LockPrefix::new_curator(dir, "lock-")?;
    Ok(client.lock(prefix, b"", Acls::anyone_all()).await?)
}

async fn get1(settings: &Settings) -> Result<Report> {
    let n = settings.get("n", 20_000);
    let client = connect(settings).await?;
    let root = create_root(&client).await?;
    for _ in 0..settings.get("warmup", 200) {
        client.get_data(&root).await?;
    }
    let mut latencies = Vec::with_capacity(n);
    let watch = Stopwatch::start();
    for _ in 0..n {
        let sent = Instant::now();
        client.get_data(&root).await?;
        latencies.push(sent.elapsed());
    }
    Ok(watch.stop(n).with_latencies(latencies))
}

async fn get(settings: &Settings) -> Result<Report> {
    let n = settings.get("n", 400_000);
    let window = settings.get("window", 256);
    let client = connect(settings).await?;
    let root = create_root(&client).await?;
    for _ in 0..settings.get("warmup", 200) {
        client.get_data(&root).await?;
    }
    let watch = Stopwatch::start();
    // A request is sent by the call, not by the first poll, and answers come in order.
    let mut sent = VecDeque::with_capacity(window);
    for _ in 0..n {
        if sent.len() == window
            && let Some(oldest) = sent.pop_front()
        {
            oldest.await?;
        }
        sent.push_back(Box::pin(client.get_data(&root)));
    }
    for read in sent {
        read.await?;
    }
    Ok(watch.stop(n))
}

async fn create_delete(settings: &Settings) -> Result<Report> {
    let n = settings.get("n", 40_000);
    let window = settings.get("window", 128);
    let client = connect(settings).await?;
    let root = create_root(&client).await?;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let paths: Vec<_> = (0..n).map(|i| format!("{root}/{i}")).collect();
    let watch = Stopwatch::start();
    let mut sent = VecDeque::with_capacity(window);
    for path in &paths {
        if sent.len() == window
            && let Some((created, deleted)) = sent.pop_front()
        {
            created.await?;
            deleted.await?;
        }
        let created = Box::pin(client.create(path, b"", &options));
        sent.push_back((created, Box::pin(client.delete(path, None))));
    }
    for (created, deleted) in sent {
        created.await?;
        deleted.await?;
    }
    Ok(watch.stop(2 * n))
}

#[derive(Clone, Copy)]
enum Release {
    Dropped,
    Awaited,
}

impl Release {
    async fn release(self, guard: LockClient<'_>) -> Result<()> {
        match self {
            Self::Dropped => drop(guard),
            // The crate has no release to wait for; deleting the lock's node by hand is what its
            // guard does when dropped, so the guard itself is forgotten.
            Self::Awaited => {
                let guard = ManuallyDrop::new(guard);
                guard.client().delete(guard.lock_path(), None).await?;
            }
        }
        Ok(())
    }
}

async fn lock(settings: &Settings, release: Release) -> Result<Report> {
    let n = settings.get("n", 3_000);
    let client = connect(settings).await?;
    let root = create_root(&client).await?;
    for _ in 0..settings.get("warmup", 200) {
        release.release(acquire(&client, &root).await?).await?;
    }
    let mut latencies = Vec::with_capacity(n);
    let watch = Stopwatch::start();
    for _ in 0..n {
        let began = Instant::now();
        release.release(acquire(&client, &root).await?).await?;
        latencies.push(began.elapsed());
    }
    Ok(watch.stop(n).with_latencies(latencies))
}

async fn acquire_idle(settings: &Settings) -> Result<Report> {
    let n = settings.get("n", 600);
    let client = connect(settings).await?;
    let root = create_root(&client).await?;
    for _ in 0..settings.get("warmup", 200) {
        drop(acquire(&client, &root).await?);
    }
    let mut latencies = Vec::with_capacity(n);
    let mut beat = interval(Duration::from_millis(2));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Stopwatch::start();
    for _ in 0..n {
        beat.tick().await;
        let began = Instant::now();
        let guard = acquire(&client, &root).await?;
        latencies.push(began.elapsed());
        drop(guard);
    }
    Ok(watch.stop(n).with_latencies(latencies))
}

async fn contend(settings: &Settings) -> Result<Report> {
    let baton = Baton::new(settings.get("warmup", 200), settings.get("n", 3_000));
    let baton = Arc::new(Mutex::new(baton));
    let root = create_root(&connect(settings).await?).await?;
    let mut sessions = JoinSet::new();
    for _ in 0..settings.get("c", 8) {
        let client = connect(settings).await?;
        let (root, baton) = (root.clone(), baton.clone());
        sessions.spawn(async move {
            loop {
                let guard = acquire(&client, &root).await?;
                if !pass(&baton, guard) {
                    return Ok(());
                }
            }
        });
    }
    finish(sessions, baton).await
}

/// Notes that the lock is held, and lets it go. Returns whether more hand-overs are wanted.
fn pass(baton: &Mutex<Baton>, guard: LockClient<'_>) -> bool {
    let mut baton = baton.lock().expect("no task panicked");
    let wanted = baton.grant();
    baton.release();
    drop(guard);
    wanted
}

async fn finish(mut tasks: JoinSet<Result<()>>, baton: Arc<Mutex<Baton>>) -> Result<Report> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let baton = Arc::into_inner(baton).ok_or("a task still has the baton")?;
    let baton = baton.into_inner().expect("no task panicked");
    Ok(baton.into_report().ok_or("the hand-overs ended early")?)
}

async fn waiters(settings: &Settings) -> Result<Report> {
    let n = settings.get("waiters", 800);
    let control = connect(settings).await?;
    let root = create_root(&control).await?;
    let mut sessions = Vec::new();
    for _ in 0..settings.get("sessions", 4) {
        sessions.push(connect(settings).await?);
    }
    let held = acquire(&control, &root).await?;
    let baton = Arc::new(Mutex::new(Baton::new(0, n)));
    let bytes_before = traffic::bytes(&settings.server);

    let watch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for i in 0..n {
        let client = sessions[i % sessions.len()].clone();
        let (root, baton) = (root.clone(), baton.clone());
        tasks.spawn(async move {
            let guard = acquire(&client, &root).await?;
            pass(&baton, guard);
            Ok(())
        });
    }
    // Seldom enough to weigh nothing in the bytes and the time.
    while children(&control, &root).await? <= n {
        sleep(Duration::from_millis(10)).await;
    }
    let enqueued = watch.stop(n);
    pass(&baton, held);
    let drained = finish(tasks, baton).await?;
    let bytes =
        traffic::bytes(&settings.server).zip(bytes_before).map(|(after, before)| (after - before) as f64 / n as f64);

    Ok(Report {
        secs: enqueued.secs + drained.secs,
        cpu_s: enqueued.cpu_s + drained.cpu_s,
        more: vec![
            ("enqueue_s", Some(round(enqueued.secs, 6))),
            ("drain_s", Some(round(drained.secs, 6))),
            ("bytes_per_waiter", bytes.map(|bytes| round(bytes, 1))),
        ],
        ..drained
    })
}
