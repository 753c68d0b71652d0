//! Peers that do not behave, and how long somebody beside them waits.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use herdless::{Client, ClientExt, CreateMode, NodePath, Version};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::AnyError;
use crate::report::{Measurement, Report, now, round};
use crate::sessions::{close_all, connect};
use crate::settings::Settings;

/// What floods, in this order: the last leaves as many sessions as there may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Nothing, to compare with.
    Quiet,
    /// Connections that are dropped at once.
    Connections,
    /// Handshakes of a byte every tenth of a second.
    Handshakes,
    /// Frames with an operation and anything for its arguments.
    Garbage,
    /// Handshakes for the bystander's session.
    Passwords,
    /// Reads of a large node whose replies nobody takes.
    Deaf,
    /// Reads in a pipeline, taken at once: no attack, and as much work as there can be.
    Reads,
    /// Watches for nodes that are not there.
    Watches,
    /// Sessions that are left at once.
    Sessions,
}

const KINDS: [(Kind, &str); 9] = [
    (Kind::Quiet, "quiet"),
    (Kind::Connections, "connections"),
    (Kind::Handshakes, "handshakes"),
    (Kind::Garbage, "garbage"),
    (Kind::Passwords, "passwords"),
    (Kind::Deaf, "deaf"),
    (Kind::Reads, "reads"),
    (Kind::Watches, "watches"),
    (Kind::Sessions, "sessions"),
];

/// `c` peers for each kind of flood, for `ms` milliseconds, beside one client that writes and reads one node: its latencies.
pub(crate) async fn flood(address: &str, settings: &Settings) -> Result<Report, AnyError> {
    let (c, time) = (settings.number("c", 50)?, settings.number("ms", 2_000)?);
    let time = Duration::from_millis(u64::try_from(time)?);
    let client = connect(address).await?;
    let large = NodePath::parse("/bench-flood")?;
    client.create(&large, vec![b'x'; 1_000_000], CreateMode::Ephemeral).await?;
    let mut measurement = Measurement::start("flood", &[]);
    let (mut lines, mut total) = (Vec::new(), 0);
    for (kind, name) in KINDS {
        let (bystander, session) = Bystander::start(address)?;
        let session = session.await??;
        let done = Arc::new(AtomicUsize::new(0));
        let mut peers = JoinSet::new();
        for number in 0..c {
            let (address, done) = (address.to_owned(), done.clone());
            peers.spawn(async move {
                // Whoever is turned away comes again.
                loop {
                    let _ = once(kind, &address, session, number, &done).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        tokio::time::sleep(time).await;
        let mut micros = bystander.end().await?;
        peers.shutdown().await;
        micros.sort_unstable();
        for took in &micros {
            measurement.took(*took);
        }
        total += micros.len();
        let percentile = |percent: usize| micros.get(micros.len() * percent / 100).map(Duration::as_micros);
        lines.push((format!("{name}_p50_us"), json!(percentile(50).map(|micros| micros as u64))));
        lines.push((format!("{name}_p99_us"), json!(percentile(99).map(|micros| micros as u64))));
        lines.push((format!("{name}_requests"), json!(micros.len())));
        let per_s = done.load(Ordering::Relaxed) as f64 / time.as_secs_f64();
        lines.push((format!("{name}_flood_per_s"), json!(round(per_s, 0))));
    }
    let mut report = measurement.end(total);
    for (key, value) in lines {
        report.set(&key, value);
    }
    close_all(vec![client]).await?;
    Ok(report)
}

/// What one peer does, again and again; `done` is how often.
async fn once(kind: Kind, address: &str, session: i64, number: usize, done: &AtomicUsize) -> Result<(), AnyError> {
    let count = || done.fetch_add(1, Ordering::Relaxed);
    if let Kind::Quiet = kind {
        std::future::pending::<()>().await;
    }
    let mut stream = dial(address, done.load(Ordering::Relaxed)).await?;
    stream.set_nodelay(true)?;
    match kind {
        Kind::Quiet => {}
        Kind::Connections => {
            count();
        }
        Kind::Handshakes => loop {
            stream.write_all(&[0]).await?;
            count();
            tokio::time::sleep(Duration::from_millis(100)).await;
        },
        Kind::Passwords => {
            stream.write_all(&greeting(session)).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            count();
        }
        Kind::Sessions => {
            open(&mut stream).await?;
            count();
        }
        Kind::Garbage => {
            open(&mut stream).await?;
            for opcode in 0..30_u8 {
                let mut body = vec![0, 0, 0, 1, 0, 0, 0, opcode];
                body.extend((0..100_u8).map(|byte| byte.wrapping_mul(opcode)));
                stream.write_all(&frame(&body)).await?;
                count();
            }
        }
        Kind::Deaf => {
            open(&mut stream).await?;
            let read = request(4, "/bench-flood");
            stream.write_all(&read.repeat(500)).await?;
            count();
            // Until it is let go; what has come is not taken.
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.write_all(&read).await?;
            }
        }
        Kind::Reads => {
            open(&mut stream).await?;
            let reads = request(3, "/").repeat(100);
            // A header and a Stat, with its length.
            let mut replies = vec![0; 100 * (4 + 16 + 68)];
            loop {
                stream.write_all(&reads).await?;
                stream.read_exact(&mut replies).await?;
                done.fetch_add(100, Ordering::Relaxed);
            }
        }
        Kind::Watches => {
            open(&mut stream).await?;
            for round in 0_u64.. {
                let paths = (0..100).map(|at| format!("/missing-{number}-{}", round * 100 + at));
                let leaves: Vec<u8> = paths.flat_map(|path| watch(3, &path)).collect();
                stream.write_all(&leaves).await?;
                // No node, or no room: a header either way.
                stream.read_exact(&mut vec![0; 100 * (4 + 16)]).await?;
                done.fetch_add(100, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// From one of many addresses of this machine, as whoever hangs up first cannot use the port for a while, and ports run out.
async fn dial(address: &str, number: usize) -> Result<TcpStream, AnyError> {
    match address.parse::<SocketAddrV4>() {
        Ok(server) if server.ip().is_loopback() => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 1, 1 + (number % 250) as u8], 0)))?;
            Ok(socket.connect(server.into()).await?)
        }
        _ => Ok(TcpStream::connect(address).await?),
    }
}

async fn open(stream: &mut TcpStream) -> Result<(), AnyError> {
    stream.write_all(&greeting(0)).await?;
    stream.read_exact(&mut [0; 41]).await?;
    Ok(())
}

/// A handshake for this session with a password that is wrong, or for a new one.
fn greeting(session: i64) -> Vec<u8> {
    let mut body = vec![0; 12]; // protocol version, last zxid seen
    body.extend(4_000_i32.to_be_bytes());
    body.extend(session.to_be_bytes());
    body.extend(16_i32.to_be_bytes());
    body.extend([7; 16]);
    body.push(0); // not read-only
    frame(&body)
}

fn request(opcode: i32, path: &str) -> Vec<u8> {
    about(opcode, path, 0)
}

fn watch(opcode: i32, path: &str) -> Vec<u8> {
    about(opcode, path, 1)
}

fn about(opcode: i32, path: &str, watches: u8) -> Vec<u8> {
    let mut body = 1_i32.to_be_bytes().to_vec();
    body.extend(opcode.to_be_bytes());
    body.extend((path.len() as i32).to_be_bytes());
    body.extend(path.as_bytes());
    body.push(watches);
    frame(&body)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// Somebody on a thread of his own, so that it is the server that he waits for and not the flood's own work.
struct Bystander {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<Vec<Duration>, AnyError>>,
}

type Ready = oneshot::Receiver<Result<i64, AnyError>>;

impl Bystander {
    /// Also when he is there, with his session.
    fn start(address: &str) -> Result<(Self, Ready), AnyError> {
        let (address, is_over) = (address.to_owned(), Arc::new(AtomicBool::new(false)));
        let (ready, session) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = is_over.clone();
        let work = move || runtime.block_on(stand_by(&address, ready, &until));
        let thread = thread::Builder::new().name("bystander".into()).spawn(work)?;
        Ok((Self { is_over, thread }, session))
    }

    /// How long each of his requests took.
    async fn end(self) -> Result<Vec<Duration>, AnyError> {
        self.is_over.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        joined.map_err(|_| "the bystander panicked")?
    }
}

async fn stand_by(
    address: &str,
    ready: oneshot::Sender<Result<i64, AnyError>>,
    is_over: &AtomicBool,
) -> Result<Vec<Duration>, AnyError> {
    let client = match connect(address).await {
        Ok(client) => client,
        Err(error) => {
            let _ = ready.send(Err(error));
            return Ok(Vec::new());
        }
    };
    let node = NodePath::parse("/bench-bystander")?;
    client.create(&node, "", CreateMode::Ephemeral).await?;
    let _ = ready.send(Ok(client.session().id().0));
    let mut times = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let start = now();
        client.set(&node, "x", Version::ANY).await?;
        times.push(start.elapsed());
        let start = now();
        client.get(&node).await?;
        times.push(start.elapsed());
    }
    if client.counters().connects != 1 {
        return Err("the bystander lost its connection".into());
    }
    client.close().await?;
    Ok(times)
}
