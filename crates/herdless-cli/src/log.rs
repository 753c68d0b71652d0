//! Lines on standard error.

use std::io;

use clap::Args;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[derive(Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// The lines to log: error, warn, info, debug, trace or off, or as in info,herdless_server=debug [default: $RUST_LOG, or
    /// info]
    #[arg(long, value_name = "FILTER", global = true, display_order = 900)]
    log: Option<Targets>,
}

impl Arguments {
    pub(crate) fn start(&self) {
        let from_environment = || std::env::var("RUST_LOG").ok()?.parse().ok();
        let filter = self.log.clone().or_else(from_environment);
        let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
        // Without colours, whatever else the workspace is built with: it goes to a journal more often than to a terminal.
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false).with_ansi(false);
        // The journal has a time for each line.
        let layer =
            if std::env::var_os("JOURNAL_STREAM").is_some() { lines.without_time().boxed() } else { lines.boxed() };
        tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    }
}
