//! What is counted of requests. The handles are got once: looking one up costs more than counting.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::handler::Answered;
use crate::ingest::FILTERED;

const REQUESTS: &str = "signalbox_ingest_requests_total";
const SECONDS: &str = "signalbox_ingest_request_seconds";

/// Metrics of requests.
pub struct RequestMetrics {
    in_flight: Gauge,
    /// Of the verdicts that are the rule, for `/sns`.
    accepted: Counter,
    duplicate: Counter,
    filtered: Counter,
    sns_seconds: Histogram,
}

impl Default for RequestMetrics {
    /// Handles of the recorder that is installed.
    fn default() -> Self {
        Self {
            in_flight: metrics::gauge!("signalbox_ingest_in_flight_requests"),
            accepted: metrics::counter!(REQUESTS, "verdict" => "accepted", "reason" => ""),
            duplicate: metrics::counter!(REQUESTS, "verdict" => "duplicate", "reason" => ""),
            filtered: metrics::counter!(REQUESTS, "verdict" => "filtered", "reason" => FILTERED),
            sns_seconds: metrics::histogram!(SECONDS, "route" => "sns"),
        }
    }
}

impl RequestMetrics {
    /// Counts a request while the returned value lives, also when its caller goes away.
    pub(super) fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.increment(1);
        InFlight(&self.in_flight)
    }

    pub(super) fn answered(&self, answered: &Answered, took: Duration) {
        match (answered.verdict, answered.reason) {
            ("accepted", _) => self.accepted.increment(1),
            ("duplicate", _) => self.duplicate.increment(1),
            ("filtered", _) => self.filtered.increment(1),
            (verdict, reason) => {
                metrics::counter!(REQUESTS, "verdict" => verdict, "reason" => reason).increment(1);
            }
        }
        if answered.route == "sns" {
            self.sns_seconds.record(took);
        } else {
            metrics::histogram!(SECONDS, "route" => answered.route).record(took);
        }
    }
}

pub(super) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
