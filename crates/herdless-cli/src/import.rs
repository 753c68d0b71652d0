//! `herdless import`.

use std::path::PathBuf;

use clap::Args;
use herdless_import::{DataDirectory, Import, Report};

use crate::AnyError;

/// Make a data directory of an Apache ZooKeeper server's, which is stopped and stays as it is
#[derive(Args)]
pub(crate) struct Arguments {
    /// Its dataDir, as in its zoo.cfg
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Its dataLogDir, if it has one
    #[arg(long, value_name = "DIR")]
    from_logs: Option<PathBuf>,
    /// The new directory, which is made if it is not there, and must be empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), AnyError> {
    let logs = arguments.from_logs.as_ref().unwrap_or(&arguments.from);
    let import = Import::read(&DataDirectory::with_logs(&arguments.from, logs))?;
    let found = found(&import);
    let sessions = import.sessions.iter().map(|session| (session.id, session.timeout, session.password));
    herdless_server::import(import.tree, sessions, &arguments.to)?;
    println!("{found}\n{}", told(&import.report));
    tracing::info!(data = %arguments.to.display(), "imported");
    Ok(())
}

/// What has come over.
fn found(Import { tree, sessions, .. }: &Import) -> String {
    let (mut nodes, mut ephemeral, mut with_ttl) = (0, 0, 0);
    for record in tree.paths().filter_map(|path| tree.record(path)) {
        nodes += 1;
        ephemeral += usize::from(record.owner != 0);
        with_ttl += usize::from(record.time_to_live.is_some());
    }
    format!(
        "nodes: {nodes}, of which {ephemeral} ephemeral and {with_ttl} with a time to live\n\
         sessions: {}\n\
         last change: 0x{:x}",
        sessions.len(),
        tree.last_zxid().0
    )
}

/// What was read, and what was left out.
fn told(report: &Report) -> String {
    let logs = if report.logs.is_empty() { "none".into() } else { report.logs.join(", ") };
    let mut lines = vec![
        format!("snapshot: {}", report.snapshot),
        format!("logs: {logs}; changes since the snapshot: {}", report.transactions),
    ];
    let compared = report.digests.compared;
    lines.push(match report.digests.differs {
        None if compared == 0 => "digests: none to compare".into(),
        None => format!("digests: {compared} compared, all the same"),
        Some(zxid) => format!(
            "digests: {compared} compared, not the same after change 0x{:x}: either the files are not what the server had, or \
             it noted a wrong one",
            zxid.0
        ),
    });
    lines.extend(report.passed_over.iter().map(|error| format!("passed over: {error}")));
    let torn = report.torn.iter();
    lines.extend(torn.map(|torn| {
        format!("left out: {} from byte {} on, an entry that was never written to its end", torn.file, torn.offset)
    }));
    lines.extend(report.dropped.iter().map(|path| format!("left out: {path}, whose session was over")));
    lines.join("\n")
}
