//! `herdless serve`.

mod figures;
mod monitor;
mod options;
mod service;
mod signals;
mod systemd;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use herdless_server::Server;
use tokio::signal::unix::SignalKind;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::AnyError;
use figures::Figures;
use monitor::Monitor;
pub(crate) use options::Arguments;
use service::Service;
use signals::{Signals, Wish};

const HANGUP: &str = "SIGHUP";

pub(crate) fn run(arguments: &Arguments) -> Result<(), AnyError> {
    arguments.check();
    // One thread: the tree is behind one lock, and a wake-up of another thread costs more than most requests.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), AnyError> {
    // From here on a signal ends the server in order, however early it comes.
    let mut signals = Signals::new()?;
    let mut hangup = Wish::hangup(arguments.tls.is_wanted())?;
    let mut back_up = Wish::new(SignalKind::user_defined1())?;
    let tls = arguments.tls.load()?;
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
    let builder = arguments.builder(tls.clone());
    let server = tokio::select! {
        bound = builder.bind(&arguments.listen) => bound.map_err(|error| arguments.explain(error))?,
        signal = signals.next() => {
            tracing::info!(signal, "told to end before the start");
            return Ok(());
        }
        () = hangup.next(), if tls.is_none() => {
            tracing::info!(signal = HANGUP, "told to end before the start");
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
    let mut backup = None;
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
            () = hangup.next() => match tls.as_ref().map(|tls| arguments.tls.reload(tls)) {
                Some(Ok(())) => tracing::info!("the TLS files were read again"),
                Some(Err(error)) => tracing::error!(%error, "the TLS files were not taken: all stays as it was"),
                // Its terminal was closed.
                None => break HANGUP,
            },
            () = back_up.next() => match (&arguments.backups, &backup) {
                (Some(directory), None) => backup = Some(Box::pin(write_backup(&server, directory))),
                (Some(_), Some(_)) => tracing::warn!("no backup is begun: one is being written"),
                (None, _) => tracing::warn!("no backup is written: --backups does not say where"),
            },
            () = written(&mut backup) => backup = None,
        }
    };
    drop(backup);
    drop(server);
    end(signal, &service, &mut signals).await
}

/// Ends the server in order, unless told once more. A SIGHUP is not that: a terminal that is closed may send more than one.
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

/// Writes a backup to a file that is named by the time.
#[expect(clippy::disallowed_methods, reason = "this is the program, and has no other clock")]
async fn write_backup(server: &Server, directory: &Path) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let file = directory.join(format!("herdless-{}.backup", time.as_millis()));
    match server.backup(&file).await {
        Ok(()) => tracing::info!(backup = %file.display(), "backed up"),
        Err(error) => tracing::error!(%error, "not backed up"),
    }
}

/// The end of the backup that is being written; never where none is.
async fn written(backup: &mut Option<Pin<Box<impl Future<Output = ()>>>>) {
    match backup {
        Some(backup) => backup.await,
        None => std::future::pending().await,
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
