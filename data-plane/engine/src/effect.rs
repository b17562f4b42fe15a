//! What steps ask of the world.

use std::time::Duration;

use signalbox_model::{
    execution::Failure,
    ids::{ExecutionName, StepId},
    workflow::HttpMethod,
};

/// One attempt to act on the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Step that asks.
    pub step: StepId,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// How long it may take.
    pub timeout: Duration,
    /// The same for every attempt of this step in this execution, also after a crash.
    pub idempotency_key: String,
    /// What.
    pub kind: EffectKind,
}

/// What an attempt does. Each kind has one performer in the data plane.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectKind {
    /// Sends an HTTP request.
    Http(HttpRequest),
}

/// A request, all expressions evaluated.
#[derive(Clone, PartialEq)]
pub struct HttpRequest {
    /// Method.
    pub method: HttpMethod,
    /// Absolute http or https URL.
    pub url: url::Url,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Option<Vec<u8>>,
}

impl std::fmt::Debug for HttpRequest {
    /// Without headers, query and body: they may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("path", &self.url.path())
            .finish_non_exhaustive()
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptError {
    /// What went wrong.
    pub failure: Failure,
    /// Whether another attempt may help.
    pub retriable: bool,
}

/// The key of a step's attempts: a digest, so that it tells nothing of what it was made from.
pub(crate) fn idempotency_key(execution: &ExecutionName, step: &StepId) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("signalbox 2026-11 idempotency key");
    hasher.update(execution.to_string().as_bytes());
    hasher.update(b"\n");
    hasher.update(step.as_str().as_bytes());
    let digest = hasher.finalize();
    data_encoding::BASE32_NOPAD
        .encode(&digest.as_bytes()[..20])
        .to_ascii_lowercase()
}

/// A number in 0..1 that is the same whenever it is asked for: jitter that a replay repeats.
pub(crate) fn jitter(execution: &ExecutionName, step: &StepId, number: u32) -> f64 {
    let mut hasher = blake3::Hasher::new_derive_key("signalbox 2026-11 retry jitter");
    hasher.update(execution.to_string().as_bytes());
    hasher.update(b"\n");
    hasher.update(step.as_str().as_bytes());
    hasher.update(&number.to_le_bytes());
    let digest = hasher.finalize();
    let bytes = digest.as_bytes();
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    f64::from(word) / f64::from(u32::MAX)
}
