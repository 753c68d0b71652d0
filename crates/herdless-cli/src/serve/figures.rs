//! What Prometheus reads.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::AnyError;

#[derive(Clone)]
pub(super) struct Figures(PrometheusHandle);

/// How often samples are added up. Each takes its room until then.
pub(super) const UPKEEP: Duration = Duration::from_secs(1);

/// From a read that waits for nothing to a disk that hangs.
const SECONDS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Figures {
    /// For everything that is counted in this process from now on.
    pub(super) fn install() -> Result<Self, AnyError> {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?;
        Ok(Self(builder.install_recorder()?))
    }

    pub(super) fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// In the text format of Prometheus.
    pub(super) fn text(&self) -> String {
        self.0.render()
    }
}
