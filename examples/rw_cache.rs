//! A document in two parts, cached by many processes, and changed part by part without anybody seeing half of it.
//!
//! ```text
//! cargo run --example rw_cache
//! cargo run --example rw_cache -- --connect localhost:2181 --readers 8 --writers 3
//! ```
//!
//! A *reader* keeps a copy of the document. When it hears that the document changes, it takes the lock together with the
//! other readers, and copies both parts. A *writer* takes the lock alone, and changes one part after the other; a write is
//! refused if the lock was lost. Then it goes on as a reader, to check in peace what it wrote: the readers right behind it
//! join at once, and no other writer gets in between.
//!
//! How the lock is used is all in [`read`] and [`write`].

use std::time::Duration;

use clap::{Parser, value_parser};
use herdless::{ClientExt, CreateMode, MultiOp, NodePath, RwLock, TokioClient, Version, Watch, WriteGuard};
use herdless_examples::{AnyError, Event, Shared, Stage, Worker, micros, run, until_answered};

/// Processes cache a document in two parts, which others change
#[derive(Parser)]
#[command(args_override_self = true)] // A worker gets the parent's arguments, and what is different for it.
struct Arguments {
    /// How many processes cache the document
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(2..=99))]
    readers: u32,
    /// How many processes change it
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=99))]
    writers: u32,
    /// How often each of those changes it
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(5..=100_000))]
    changes: u32,
    /// How long each step takes, so that there is something to see
    #[arg(long, default_value_t = 40, value_parser = value_parser!(u64).range(..=10_000))]
    pause_ms: u64,
    #[command(flatten)]
    shared: Shared,
}

impl Arguments {
    fn last_version(&self) -> i64 {
        i64::from(self.writers) * i64::from(self.changes)
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(self.pause_ms)).await;
    }
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let work = async |worker: Worker| {
        let lock = RwLock::builder(worker.client.clone(), worker.path.child("lock")?).owner(worker.name()).build();
        let document = Document::new(&worker.client, &worker.path)?;
        match worker.number <= arguments.readers {
            true => read(&worker, &lock, &document, &arguments).await,
            false => write(&worker, &lock, &document, &arguments).await,
        }
    };
    run(&arguments.shared, work, async |stage| supervise(stage, &arguments).await).await;
}

// ----- The workers

async fn read(
    worker: &Worker,
    lock: &RwLock<TokioClient>,
    document: &Document,
    arguments: &Arguments,
) -> Result<(), AnyError> {
    loop {
        worker.tell("waits", &[])?;
        let guard = lock.read().await?;
        let entered = micros();
        worker.tell("reads", &[])?;
        let (first, change) = document.first_and_watch().await?;
        arguments.pause().await;
        let second = document.second().await?;
        let left = micros();
        guard.release().await?;

        worker.tell("cached", &[entered, left, first, second])?;
        if first == arguments.last_version() {
            return Ok(());
        }
        // The copy is good until the first part changes. By the time that we are in line, a writer is in the middle.
        change.await?;
    }
}

async fn write(
    worker: &Worker,
    lock: &RwLock<TokioClient>,
    document: &Document,
    arguments: &Arguments,
) -> Result<(), AnyError> {
    for _ in 0..arguments.changes {
        worker.tell("waits", &[])?;
        let guard = lock.write().await?;
        let (entered, version) = (micros(), document.second().await? + 1);
        worker.tell("writes", &[version])?;
        document.set_first(&guard, version).await?;
        arguments.pause().await;
        document.set_second(&guard, version).await?;

        let published = micros();
        let guard = guard.downgrade().await?;
        worker.tell("checks", &[version])?;
        arguments.pause().await;
        let seen = (document.first().await?, document.second().await?);
        let left = micros();
        guard.release().await?;
        worker.tell("wrote", &[entered, published, left, version, seen.0, seen.1])?;
    }
    Ok(())
}

/// Each part says which version of the document it is of.
struct Document {
    client: TokioClient,
    first: NodePath,
    second: NodePath,
}

impl Document {
    fn new(client: &TokioClient, path: &NodePath) -> Result<Self, AnyError> {
        Ok(Self { client: client.clone(), first: path.child("first")?, second: path.child("second")? })
    }

    async fn create(&self) -> Result<(), AnyError> {
        self.client.create(&self.first, "0", CreateMode::Persistent).await?;
        self.client.create(&self.second, "0", CreateMode::Persistent).await?;
        Ok(())
    }

    async fn first(&self) -> Result<i64, AnyError> {
        number(&until_answered(|| self.client.get(&self.first)).await?.0)
    }

    async fn first_and_watch(&self) -> Result<(i64, Watch), AnyError> {
        let ((data, _), watch) = until_answered(|| self.client.get_and_watch(&self.first)).await?;
        Ok((number(&data)?, watch))
    }

    async fn second(&self) -> Result<i64, AnyError> {
        number(&until_answered(|| self.client.get(&self.second)).await?.0)
    }

    async fn set_first(&self, guard: &WriteGuard<TokioClient>, version: i64) -> Result<(), AnyError> {
        Self::set(&self.first, guard, version).await
    }

    async fn set_second(&self, guard: &WriteGuard<TokioClient>, version: i64) -> Result<(), AnyError> {
        Self::set(&self.second, guard, version).await
    }

    /// Refused once the lock is lost. While it is held nobody else writes, so that to write the same twice does no harm.
    async fn set(part: &NodePath, guard: &WriteGuard<TokioClient>, version: i64) -> Result<(), AnyError> {
        let write = || vec![MultiOp::set(part, version.to_string(), Version::ANY)];
        until_answered(|| guard.multi(write())).await?;
        Ok(())
    }
}

fn number(data: &[u8]) -> Result<i64, AnyError> {
    Ok(std::str::from_utf8(data)?.parse()?)
}

// ----- The parent

/// A copy, when it was made and of which version.
struct Read {
    from: i64,
    to: i64,
    version: i64,
}

/// A change: the writer was alone from the beginning until it published, and read on until it left.
struct Change {
    entered: i64,
    published: i64,
    left: i64,
    version: i64,
    seen: (i64, i64),
}

/// Starts everything, listens until all have ended, and sums up. Whether all went well.
async fn supervise(stage: &mut Stage, arguments: &Arguments) -> Result<bool, AnyError> {
    println!("workers  {} readers, {} writers of {} changes", arguments.readers, arguments.writers, arguments.changes);
    let document = Document::new(&stage.client, &stage.path)?;
    document.create().await?;
    let (readers, last_version) = (arguments.readers as usize, arguments.last_version());
    for _ in 0..arguments.readers {
        stage.start(&[], last_version as u32)?;
    }
    for _ in 0..arguments.writers {
        stage.start(&[], arguments.changes)?;
    }
    let mut faces = vec![Face::default(); readers + arguments.writers as usize];
    let (mut reads, mut changes) = (Vec::new(), Vec::new());
    let (mut torn, mut backwards) = (0, 0);
    while let Some(event) = stage.next().await? {
        let Event::Said(who, word, numbers) = event else {
            draw(stage, &faces, readers);
            continue;
        };
        let face = &mut faces[who];
        (face.state, face.version) = match (word.as_str(), &numbers[..]) {
            ("waits", []) => (State::Waits, face.version),
            ("reads", []) => (State::Reads, face.version),
            ("writes", &[version]) => (State::Writes, version),
            ("checks", &[version]) => (State::Reads, version),
            ("cached", &[from, to, first, second]) => {
                torn += usize::from(first != second);
                backwards += usize::from(first < face.version);
                reads.push(Read { from, to, version: first });
                (State::Idle, first)
            }
            ("wrote", &[entered, published, left, version, first, second]) => {
                changes.push(Change { entered, published, left, version, seen: (first, second) });
                face.changes += 1;
                (State::Idle, version)
            }
            _ => return Err(format!("process {} says {word} {numbers:?}", who + 1).into()),
        };
    }
    draw(stage, &faces, readers);
    changes.sort_by_key(|change| change.version);
    let is_last = document.first().await? == last_version && document.second().await? == last_version;
    let lost = changes.iter().zip(1..).filter(|(change, version)| change.version != *version).count();
    let overtaken = changes.iter().filter(|change| change.seen != (change.version, change.version)).count();
    let alone = changes.iter().zip(changes.iter().skip(1)).filter(|(one, next)| next.entered < one.left).count();
    let meets = |read: &Read, change: &Change| read.from < change.published && change.entered < read.to;
    let intruded = reads.iter().filter(|read| changes.iter().any(|change| meets(read, change))).count();
    let stale =
        |read: &Read| changes.iter().any(|change| change.published <= read.from && read.version < change.version);
    let stale = reads.iter().filter(|read| stale(read)).count();
    let joins = |change: &Change| {
        let joined = reads.iter().map(|read| read.from).filter(|from| (change.published..change.left).contains(from));
        Some(joined.min()? - change.published)
    };
    let joins: Vec<_> = changes.iter().filter_map(joins).collect();
    let together = greatest_crowd(&reads);

    let mut summary = stage.summary(format!("{} changes and {} copies", changes.len(), reads.len()));
    summary.zero("torn", torn, "copies whose parts were of different versions");
    summary.zero("backwards", backwards, "copies older than the one that the reader had");
    summary.zero("stale", stale, "copies older than what was published before they were begun");
    summary.zero("intruders", intruded, "readers inside while a writer was");
    summary.zero("two writers", alone, "entered before the one before had left");
    summary.zero("overtaken", overtaken, "writers that did not find what they had just written");
    summary.check("lost", lost, "changes made to the same version", lost == 0 && is_last);
    summary.check("together", together, "readers inside at the same time, at most", together > 1);
    let remark = format!("of {} writers were joined by readers while they read on", changes.len());
    summary.check("joined", joins.len(), remark, !joins.is_empty());
    summary.times("joined after", joins, "from publishing until the first reader is inside");
    Ok(summary.is_fine())
}

/// How many are inside at the same time, at most.
fn greatest_crowd(reads: &[Read]) -> i64 {
    let mut steps: Vec<_> = reads.iter().flat_map(|read| [(read.from, 1), (read.to, -1)]).collect();
    steps.sort_unstable();
    let (mut inside, mut most) = (0, 0);
    for (_, step) in steps {
        inside += step;
        most = most.max(inside);
    }
    most
}

/// What there is to see of a worker.
#[derive(Clone, Copy, Default)]
struct Face {
    state: State,
    version: i64,
    changes: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Waits,
    Reads,
    Writes,
}

fn draw(stage: &mut Stage, faces: &[Face], readers: usize) {
    for (who, face) in faces.iter().enumerate() {
        let (is_reader, version) = (who < readers, face.version);
        let (color, text) = match face.state {
            State::Idle if is_reader => ("dim", format!("has version {version}")),
            State::Idle => ("dim", "is done".into()),
            State::Waits if is_reader => ("yellow", format!("waits, to read; has version {version}")),
            State::Waits => ("yellow", "waits, to write".into()),
            State::Reads => ("green", "READS, with others".into()),
            State::Writes => ("red.bold", format!("WRITES version {version}, alone")),
        };
        stage.paint(who, if is_reader { version as usize } else { face.changes }, color, text);
    }
    let count = |state| faces.iter().filter(|face| face.state == state).count();
    stage.plain(|| {
        let newest = faces.iter().map(|face| face.version).max().unwrap_or(0);
        let (read, write, wait) = (count(State::Reads), count(State::Writes), count(State::Waits));
        format!("version {newest:>3}: {read} read, {write} writes, {wait} wait")
    });
}
