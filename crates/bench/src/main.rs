//! `herdless-bench SCENARIO --connect HOST:PORT [key=value ..]`: one scenario, one JSON line.
//!
//! The scenarios and the fields are those of the drivers for other clients in `bench/peers`, so that lines of one run
//! can be put side by side.

mod crowd;
mod fan_out;
mod flood;
mod hand_overs;
mod locks;
mod queues;
mod recipes;
mod report;
mod sessions;
mod settings;
mod traffic;
mod watches;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use herdless::server::{Limits, Server};

use crate::report::Report;
use crate::settings::{Setting, Settings};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Measures herdless against a ZooKeeper server.
#[derive(Parser)]
struct Arguments {
    /// get1, get, set1, set, create_delete, fill, lock, lock_awaited, acquire_idle, contend, waiters, latch, barrier, queue,
    /// queue_ack, semaphore, rwlock, watches, sessions, fan_out, flood or reconnect; serve is the embedded server,
    /// serve_limited the same with its default limits
    scenario: String,
    /// The server: HOST:PORT
    #[arg(long)]
    connect: String,
    /// Where `serve` keeps everything; without it in memory
    #[arg(long)]
    data: Option<PathBuf>,
    /// n=, c=, p=, window=, nodes=, size=, waiters=, sessions=, rounds=, consumers=, prefetch=, permits=, readers=, down=, ms=, server=,
    /// warmup=, threads=
    settings: Vec<Setting>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", arguments.scenario);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, AnyError> {
    let settings = Settings::new(arguments.settings.clone());
    let runtime = match settings.number("threads", 1)? {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    let (scenario, address) = (arguments.scenario.clone(), arguments.connect.clone());
    let data = arguments.data.clone();
    runtime.block_on(async move {
        match scenario.as_str() {
            // As many as file descriptors allow: a crowd is to be measured, not turned away.
            "serve" => {
                let limits = Limits { connections: usize::MAX, sessions: usize::MAX, ..Limits::default() };
                tokio::spawn(async move { serve(&address, limits, data).await }).await?
            }
            "serve_limited" => tokio::spawn(async move { serve(&address, Limits::default(), data).await }).await?,
            "waiters" => locks::waiters(&address, &settings).await,
            // A task of its own, as in a service: the future given to `block_on` itself costs the runtime a system call
            // at each wake-up.
            _ => tokio::spawn(async move { alone(&scenario, &address, &settings).await }).await?,
        }
    })
}

/// What one task does.
async fn alone(scenario: &str, address: &str, settings: &Settings) -> Result<Report, AnyError> {
    match scenario {
        "get1" => traffic::get1(address, settings).await,
        "get" => traffic::get(address, settings).await,
        "set1" => traffic::set1(address, settings).await,
        "set" => traffic::set(address, settings).await,
        "fill" => traffic::fill(address, settings).await,
        "fan_out" => fan_out::fan_out(address, settings).await,
        "create_delete" => traffic::create_delete(address, settings).await,
        "lock" => locks::cycles(address, settings, locks::Release::Dropped).await,
        "lock_awaited" => locks::cycles(address, settings, locks::Release::Awaited).await,
        "acquire_idle" => locks::acquire_idle(address, settings).await,
        "contend" => locks::contend(address, settings).await,
        "latch" => recipes::latch(address, settings).await,
        "barrier" => recipes::barrier(address, settings).await,
        "queue" => queues::queue(address, settings).await,
        "queue_ack" => queues::queue_ack(address, settings).await,
        "semaphore" => recipes::semaphore(address, settings).await,
        "sessions" => crowd::sessions(address, settings).await,
        "flood" => flood::flood(address, settings).await,
        "reconnect" => crowd::reconnect(address, settings).await,
        "rwlock" => recipes::rwlock(address, settings).await,
        "watches" => watches::watches(address, settings).await,
        _ => Err("no such scenario".into()),
    }
}

/// The embedded server, in a process of its own: until it is killed.
async fn serve(address: &str, limits: Limits, data: Option<PathBuf>) -> Result<Report, AnyError> {
    let mut builder = Server::builder().limits(limits);
    if let Some(data) = data {
        builder = builder.data_dir(data);
    }
    let server = builder.bind(address).await?;
    eprintln!("{}", server.address());
    std::future::pending().await
}
