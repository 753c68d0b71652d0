//! `herdless restore`.

use std::path::PathBuf;

use clap::Args;

use crate::AnyError;

/// Make a data directory of a backup
#[derive(Args)]
pub(crate) struct Arguments {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The new directory, which is made if it is not there, and must be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), AnyError> {
    herdless_server::restore(&arguments.from, &arguments.to)?;
    tracing::info!(data = %arguments.to.display(), "restored");
    Ok(())
}
