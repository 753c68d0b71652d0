//! `herdless serve`.

mod figures;
mod monitor;
mod options;
mod service;
mod signals;
mod systemd;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::AnyError;
use figures::Figures;
use monitor::Monitor;
pub(crate) use options::Arguments;
use service::Service;
use signals::Signals;

pub(crate) fn run(arguments: &Arguments) -> Result<(), AnyError> {
    arguments.check();
    // One thread: the tree is behind one lock, and a wake-up of another thread costs more than most requests.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), AnyError> {
    // From here on a signal ends the server in order, however early it comes.
    let mut signals = Signals::new()?;
    let service = Arc::new(Service::default());
    // The server takes its figures from what is installed when it begins.
    let figures = match &arguments.metrics {
        Some(address) => {
            let monitor = Monitor::bind(address, arguments.insecure_allow_remote).await?;
            tracing::info!(address = %monitor.address(), "metrics and health");
            let figures = Figures::install()?;
            tokio::spawn(monitor.serve(service.clone(), figures.clone()));
            Some(figures)
        }
        None => None,
    };
    let builder = arguments.builder()?;
    let server = tokio::select! {
        bound = builder.bind(&arguments.listen) => bound.map_err(|error| arguments.explain(error))?,
        signal = signals.next() => {
            tracing::info!(signal, "told to end before the start");
            return Ok(());
        }
    };
    let address = server.address();
    let server = Arc::new(server);
    service.serves(server.clone());
    tracing::info!(%address, "ready");
    systemd::ready(&format!("serving on {address}, {}", arguments.mode()));

    let mut upkeep = ticks(figures.is_some().then_some(figures::UPKEEP));
    let mut watchdog = ticks(systemd::watchdog());
    let signal = loop {
        tokio::select! {
            signal = signals.next() => break signal,
            error = server.failed() => {
                systemd::failed(&error);
                return Err(error.into());
            }
            () = tick(&mut upkeep) => {
                if let Some(figures) = &figures {
                    figures.upkeep();
                }
            }
            () = tick(&mut watchdog) => systemd::alive(),
        }
    };
    drop(server);
    end(signal, &service, &mut signals).await
}

/// Ends the server in order, unless told once more.
async fn end(signal: &str, service: &Service, signals: &mut Signals) -> Result<(), AnyError> {
    tracing::info!(signal, "ending: what has arrived is carried out");
    systemd::stopping();
    tokio::select! {
        ended = service.end() => {
            ended?;
            tracing::info!("ended");
            Ok(())
        }
        signal = signals.next() => {
            eprintln!("herdless: {signal} came while the server was ending: gone at once");
            // A return would wait for the disk.
            std::process::exit(1);
        }
    }
}

fn ticks(every: Option<Duration>) -> Option<Interval> {
    let mut ticks = interval(every?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(ticks)
}

/// The next tick; never where there is none.
async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
