//! `herdless-bench-stores DIRECTORY [nodes]`: embedded stores on the work of the embedded server.
//!
//! Groups of changes, each group one transaction with one fsync, to random nodes of a large tree and to the same few; then
//! everything is read as at a start. The directory must be on a disk: what is measured is mostly its fsync.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

mod stores;

use stores::{Appended, Fjall, Redb, Store};

type AnyError = Box<dyn Error + Send + Sync>;

/// For how long each kind of group is written.
const SPELL: Duration = Duration::from_secs(3);

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: herdless-bench-stores DIRECTORY [NODES]")?;
    let nodes = arguments.next().map_or(Ok(1_000_000), |nodes| nodes.parse())?;
    let directory = Path::new(&directory);
    measure::<Redb<false>>("redb", directory, nodes)?;
    measure::<Redb<true>>("redb, quick repair", directory, nodes)?;
    measure::<Appended>("redb, appended", directory, nodes)?;
    measure::<Fjall>("fjall", directory, nodes)
}

fn measure<S: Store>(name: &str, directory: &Path, nodes: u64) -> Result<(), AnyError> {
    let path = directory.join(name.replace([' ', ','], "-"));
    std::fs::create_dir_all(&path)?;
    let mut store = S::open(&path)?;
    let filled = Instant::now();
    for first in (0..nodes).step_by(10_000) {
        let group = (first..(first + 10_000).min(nodes)).map(|node| (key(node), vec![b'x'; 270]));
        store.commit(&group.collect::<Vec<_>>())?;
    }
    println!("{name}: {nodes} nodes of 200 bytes written in {:.1} s", filled.elapsed().as_secs_f64());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for size in [270, 1094] {
        for (what, among) in [("random", nodes), ("same 100", 100)] {
            for count in [1, 16, 256, 1000] {
                let mut times = Vec::new();
                let start = Instant::now();
                while start.elapsed() < SPELL {
                    let group: Vec<_> = (0..count)
                        .map(|_| {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            (key(random % among), vec![random as u8; size])
                        })
                        .collect();
                    let begun = Instant::now();
                    store.commit(&group)?;
                    times.push(begun.elapsed());
                }
                let changes = times.len() * count;
                let rate = changes as f64 / start.elapsed().as_secs_f64();
                times.sort();
                println!(
                    "{name}: {size} B, {what}, groups of {count}: {rate:.0} changes/s, p50 {} us, p99 {} us",
                    times[times.len() / 2].as_micros(),
                    times[times.len() * 99 / 100].as_micros()
                );
            }
        }
    }
    drop(store);
    let bytes: u64 = std::fs::read_dir(&path)?.flatten().flat_map(|file| file.metadata()).map(|file| file.len()).sum();
    let start = Instant::now();
    let store = S::open(&path)?;
    let opened = start.elapsed();
    let (records, sum) = store.read()?;
    println!(
        "{name}: opened in {} ms, {records} records ({} MB) read in {} ms; {} MB of files",
        opened.as_millis(),
        sum >> 20,
        start.elapsed().as_millis(),
        bytes >> 20
    );
    drop(store);
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

fn key(node: u64) -> String {
    format!("/services/group{:03}/member{node:010}", node % 1000)
}
