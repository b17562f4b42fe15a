//! The process-wide metrics recorder, in Prometheus' text format.
//!
//! Code records through the `metrics` facade (`metrics::counter!` and so on). Durations are in
//! seconds and their names end in `_seconds`; sizes are in bytes and their names end in `_bytes`.
//! Label values must come from a small closed set: the recorder keeps every label set it has seen.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::shutdown::Shutdown;

/// Upper bounds of duration histograms, in seconds: half a millisecond (one group commit) to one
/// minute (the longest an HTTP step usually waits).
const SECONDS_BUCKETS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Upper bounds of size histograms, in bytes: up to 4 MiB, beyond SNS's 256 KiB.
const BYTES_BUCKETS: [f64; 9] = [
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    131_072.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];

/// How often samples are folded into buckets. Between two turns the samples of a histogram are
/// kept one by one, so the turn bounds the memory they take.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// Why the recorder could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The histogram buckets are not acceptable to the recorder.
    #[error("the metrics recorder cannot be configured")]
    Configure(#[source] BuildError),
    /// Other code of this process installed a recorder of its own.
    #[error("another metrics recorder is already installed in this process")]
    Foreign,
}

/// Installs the recorder. A second call, as when both planes run in one process, does nothing.
///
/// # Errors
/// [`MetricsError::Foreign`] when another recorder was there first.
pub fn install() -> Result<(), MetricsError> {
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES_BUCKETS)
        })
        .map_err(MetricsError::Configure)?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Foreign)?;
    HANDLE.get_or_init(|| handle);
    Ok(())
}

/// All metrics in Prometheus' text exposition format; empty before [`install`].
#[must_use]
pub fn render() -> String {
    HANDLE
        .get()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Folds samples into buckets every five seconds until `shutdown` begins. Run it once per process.
pub async fn upkeep(shutdown: Shutdown) {
    let mut period = tokio::time::interval(UPKEEP_PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.stopping() => return,
            _ = period.tick() => {
                if let Some(handle) = HANDLE.get() {
                    handle.run_upkeep();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn installs_once_and_renders_buckets() {
        install().unwrap();
        install().unwrap();
        ::metrics::counter!("signalbox_test_total", "outcome" => "accepted").increment(2);
        ::metrics::histogram!("signalbox_test_duration_seconds").record(0.003);
        ::metrics::histogram!("signalbox_test_body_bytes").record(2_000.0);
        let text = render();
        for line in [
            "signalbox_test_total{outcome=\"accepted\"} 2",
            "signalbox_test_duration_seconds_bucket{le=\"0.0025\"} 0",
            "signalbox_test_duration_seconds_bucket{le=\"0.005\"} 1",
            "signalbox_test_body_bytes_bucket{le=\"4096\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn upkeep_ends_with_the_process() {
        let shutdown = Shutdown::new();
        let task = tokio::spawn(upkeep(shutdown.clone()));
        shutdown.stop();
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
    }
}
