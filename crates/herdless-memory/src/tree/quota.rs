//! Quotas: how many nodes, and bytes of data, there may be in a part of the tree (`Quotas`, `StatsTrack`).
//!
//! Whoever sets a quota on a path creates `/zookeeper/quota` + path + `/zookeeper_limits`, and `/zookeeper_stats` beside it,
//! as zkCli's `setquota` does; from then on the tree keeps the latter up to date. Apache ZooKeeper has an index of the limits
//! in memory; here the nodes are looked for, so that there is nothing to build again after a restart or to take back where a
//! multi fails.

use std::collections::BTreeMap;

use bytes::Bytes;
use herdless_core::{NodeData, NodePath, Refusal};

use super::Tree;
use super::system::QUOTA;

const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The data that a node of figures has had, for a multi that fails further on.
pub(super) struct Figures {
    pub(super) path: NodePath,
    pub(super) data: NodeData,
}

impl Tree {
    /// Whether a change that goes beyond a hard limit is refused (`zookeeper.enforceQuota`). Limits that are not hard, and all
    /// of them where this is off, only tell.
    pub fn enforce_quotas(&mut self, enforces: bool) {
        self.enforces_quotas = enforces;
    }

    /// The longest path that has a limit and is this one or above it (`DataTree.getMaxPrefixWithQuota`).
    fn limited(&self, path: &NodePath) -> Option<NodePath> {
        if !self.has_system_nodes || self.nodes.get(QUOTA).is_none_or(|quota| quota.children.is_empty()) {
            return None;
        }
        let has_limit = |above: &NodePath| self.nodes.get(format!("{QUOTA}{above}/{LIMITS}").as_str()).is_some();
        std::iter::successors(Some(path.clone()), NodePath::parent).filter(|above| !above.is_root()).find(has_limit)
    }

    /// Refuses a change of these numbers of bytes and nodes that would go beyond a hard limit (`ZooKeeperServer.checkQuota`).
    /// The figures are those from before the transaction, of which `earlier` are the oldest.
    pub(super) fn check_quota<'a>(
        &self,
        path: &NodePath,
        bytes: i64,
        nodes: i64,
        mut earlier: impl Iterator<Item = &'a Figures>,
    ) -> Result<(), Refusal> {
        if !self.enforces_quotas {
            return Ok(());
        }
        let Some(limited) = self.limited(path) else {
            return Ok(());
        };
        let data = |name: &str| self.nodes.get(format!("{QUOTA}{limited}/{name}").as_str()).map(|node| &node.data);
        let (Some(limits), Some(stats)) = (data(LIMITS), data(STATS)) else {
            return Ok(());
        };
        let stats = earlier
            .find(|figures| figures.path.parent_str() == Some(&format!("{QUOTA}{limited}")))
            .map_or(stats, |figures| &figures.data);
        let (limits, stats) = (Track::parse(limits), Track::parse(stats));
        let exceeds = |difference: i64, figure: &str, hard: &str| {
            let limit = limits.value(hard);
            difference != 0 && limit > -1 && stats.value(figure).saturating_add(difference) > limit
        };
        match exceeds(nodes, COUNT, "countHardLimit") || exceeds(bytes, BYTES, "byteHardLimit") {
            true => Err(Refusal::QuotaExceeded),
            false => Ok(()),
        }
    }

    /// Adds to the figures of the quota that this path is under; what they were (`DataTree.updateQuotaStat`).
    pub(super) fn account(&mut self, path: &NodePath, bytes: i64, nodes: i64) -> Option<Figures> {
        let limited = self.limited(path)?;
        let path = NodePath::unchecked(&format!("{QUOTA}{limited}/{STATS}"));
        // Nobody has to create it.
        let mut track = Track::parse(&self.nodes.get(path.as_str())?.data);
        track.add(COUNT, nodes);
        track.add(BYTES, bytes);
        let data = self.replace_data(&path, track.bytes().into())?;
        Some(Figures { path, data })
    }

    /// The figures begin with what there is, whatever they were created with (`DataTree.updateQuotaForPath`).
    pub(super) fn begin_figures(&mut self, path: &NodePath) {
        let of = path.as_str().strip_prefix(QUOTA).and_then(|path| path.strip_suffix(STATS)?.strip_suffix('/'));
        let Some(of) = of.filter(|_| self.has_system_nodes) else {
            return;
        };
        let of = NodePath::unchecked(if of.is_empty() { "/" } else { of });
        let (mut nodes, mut bytes) = (0, 0);
        let below = self.nodes.from(&of).take_while(|(path, _)| path.as_str().starts_with(of.as_str()));
        for (_, node) in below.filter(|(path, _)| **path == of || path.is_below(&of)) {
            nodes += 1;
            bytes += node.data.len() as i64;
        }
        let mut track = Track::default();
        track.0.extend([(COUNT.to_owned(), nodes), (BYTES.to_owned(), bytes)]);
        self.replace_data(path, track.bytes().into());
    }
}

const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// Numbers by name, as the nodes of quotas hold them: `count=5,bytes=-1=;countHardLimit=10`.
#[derive(Debug, Default)]
struct Track(BTreeMap<String, i64>);

impl Track {
    /// What is no number is −1, as where there is none: Apache ZooKeeper ends at it.
    fn parse(data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(data);
        let pairs = text.split([',', ';']).filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let mut parts = pair.split('=');
                    let name = parts.next().unwrap_or_default().to_owned();
                    (name, parts.next().and_then(|number| number.parse().ok()).unwrap_or(-1))
                })
                .collect(),
        )
    }

    fn value(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn add(&mut self, name: &str, number: i64) {
        let sum = self.value(name).wrapping_add(number);
        self.0.insert(name.to_owned(), sum);
    }

    /// `StatsTrack.toString`: the two that old releases know come first, and an `=` keeps those from reading on.
    fn bytes(&self) -> Bytes {
        let mut text = format!("{COUNT}={},{BYTES}={}", self.value(COUNT), self.value(BYTES));
        let others: Vec<_> = self.0.iter().filter(|(name, _)| ![COUNT, BYTES].contains(&name.as_str())).collect();
        if !others.is_empty() {
            text.push('=');
        }
        others.iter().for_each(|(name, number)| text += &format!(";{name}={number}"));
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_they_are_read() {
        for (read, written) in [
            ("", "count=-1,bytes=-1"),
            ("count=5,bytes=7", "count=5,bytes=7"),
            ("bytes=7=;countHardLimit=3;byteHardLimit=4", "count=-1,bytes=7=;byteHardLimit=4;countHardLimit=3"),
            ("count=,bytes=x", "count=-1,bytes=-1"),
        ] {
            assert_eq!(Track::parse(read.as_bytes()).bytes(), written, "{read}");
        }
    }
}
