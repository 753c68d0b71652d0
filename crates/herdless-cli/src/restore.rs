//! `herdless restore`.

use std::path::PathBuf;

use clap::Args;

use crate::AnyError;

/// Make a data directory of a backup
#[derive(Args)]
pub(crate) struct Arguments {
    /// The file that a server has written
    #[arg(value_name = "FILE")]
    backup: PathBuf,
    /// The directory, which is made if it is not there, and must not have a server's data
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), AnyError> {
    herdless_server::restore(&arguments.backup, &arguments.data)?;
    tracing::info!(data = %arguments.data.display(), "restored");
    Ok(())
}
