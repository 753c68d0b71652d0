//! `herdless-bench SCENARIO --connect HOST:PORT [key=value ..]`: one scenario, one JSON line.
//!
//! The scenarios and the fields are those of the drivers for other clients in `bench/peers`, so that lines of one run
//! can be put side by side.

mod locks;
mod report;
mod settings;
mod traffic;

use std::process::ExitCode;

use clap::Parser;
use herdless::{ClientExt, Connector, TokioClient};

use crate::report::Report;
use crate::settings::{Setting, Settings};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Measures herdless against a ZooKeeper server.
#[derive(Parser)]
struct Arguments {
    /// get1, get, create_delete, lock, lock_awaited, acquire_idle, contend or waiters
    scenario: String,
    /// The server: HOST:PORT
    #[arg(long)]
    connect: String,
    /// n=, c=, window=, waiters=, sessions=, threads=
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
    runtime.block_on(async move {
        match scenario.as_str() {
            "contend" => locks::contend(&address, &settings).await,
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
        "create_delete" => traffic::create_delete(address, settings).await,
        "lock" => locks::cycles(address, settings, locks::Release::Dropped).await,
        "lock_awaited" => locks::cycles(address, settings, locks::Release::Awaited).await,
        "acquire_idle" => locks::acquire_idle(address, settings).await,
        _ => Err("no such scenario".into()),
    }
}

async fn connect(address: &str) -> Result<TokioClient, AnyError> {
    // As long as the other drivers', so that a slow moment of the machine ends nobody's session.
    Ok(Connector::new(address)?.session_timeout(std::time::Duration::from_secs(30)).connect().await?)
}

/// A path of this run alone.
async fn fresh_path(client: &TokioClient, name: &str) -> Result<herdless::NodePath, AnyError> {
    use herdless::{CreateMode, NodePath};
    let prefix = NodePath::parse(&format!("/bench-{name}-"))?;
    Ok(client.create(&prefix, "", CreateMode::PersistentSequential).await?.path)
}
