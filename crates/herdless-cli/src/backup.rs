//! `herdless backup`.

use std::path::PathBuf;

use clap::Args;

use crate::AnyError;

/// Write a data directory, whose server has ended, to one file
#[derive(Args)]
pub(crate) struct Arguments {
    /// The directory, which stays as it is
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file, which must not be there
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), AnyError> {
    herdless_server::backup(&arguments.data, &arguments.to)?;
    tracing::info!(backup = %arguments.to.display(), "backed up");
    Ok(())
}
