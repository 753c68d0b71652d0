//! What a server says of itself when it starts.

use std::net::SocketAddr;

use herdless_proto::FourLetterWord;

use crate::state::Settings;
use crate::store::Durability;

/// The lines for the log: the address, the mode, the limits, and what is insecure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) lines: Vec<String>,
    /// Warnings, where other machines can reach the server.
    pub(crate) insecure: Vec<String>,
    is_remote: bool,
}

impl Announcement {
    /// `insecurity` is what there is not against whoever reaches the address, `kept` how changes are kept, where they are.
    pub(crate) fn new(
        address: SocketAddr,
        settings: &Settings,
        insecurity: Option<&str>,
        kept: Option<Durability>,
    ) -> Self {
        let is_remote = !address.ip().to_canonical().is_loopback();
        let lines = vec![
            format!("listening on {address}"),
            match kept {
                None => "mode: in memory; the data ends with the process".into(),
                Some(Durability::Durable) => "mode: durable; what is acknowledged is on disk".into(),
                Some(Durability::Relaxed { every }) => {
                    format!("mode: relaxed; a crash loses what was acknowledged in the last {every:?}")
                }
            },
            format!(
                "limits: {}; session timeouts of {:?} to {:?}",
                settings.limits,
                settings.session_timeouts.start(),
                settings.session_timeouts.end()
            ),
        ];
        let who = if is_remote { "everybody who reaches the address" } else { "every program on this machine" };
        let mut insecure = Vec::new();
        if let Some(insecurity) = insecurity {
            insecure.push(format!("{insecurity}: {who} can connect, and may do what `world:anyone` may"));
        }
        let harmless = [FourLetterWord::Ruok, FourLetterWord::Srvr, FourLetterWord::Isro];
        let telling: Vec<_> =
            settings.words.iter().filter(|word| !harmless.contains(word)).map(|word| word.name()).collect();
        if !telling.is_empty() {
            insecure.push(format!("{who} is told more by the four-letter words {}", telling.join(", ")));
        }
        if is_remote && settings.limits.connections_per_address == 0 {
            insecure.push("one address may take all connections".into());
        }
        Self { lines, insecure, is_remote }
    }

    pub(crate) fn log(&self) {
        for line in &self.lines {
            tracing::info!("{line}");
        }
        for line in &self.insecure {
            match self.is_remote {
                true => tracing::warn!("insecure: {line}"),
                false => tracing::info!("insecure: {line}"),
            }
        }
    }
}
