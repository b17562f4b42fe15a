//! Performs `http` effects.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use signalbox_engine::{
    AttemptFailure, Effect, EffectKind, HttpRequest, HttpResponse, Outcome, codes,
};
use signalbox_model::limits;
use signalbox_runtime::telemetry::context;
use tracing::Span;

use super::{Performer, drive};
use crate::egress::{BodyError, Egress, denied, read_body};

/// The header of draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Size of a response's body, in bytes.
const BODY_MAX_BYTES: usize = limits::VALUE_MAX_BYTES;
/// How much is read of the body of a response that is no success, in bytes: enough to quote.
const REFUSAL_MAX_BYTES: usize = 16 * 1024;

/// Performs HTTP requests through [`Egress`].
#[derive(Clone, Debug)]
pub struct HttpPerformer {
    egress: Egress,
}

impl HttpPerformer {
    /// Through `egress`.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { egress }
    }

    async fn send(self, effect: Effect) -> Result<HttpResponse, AttemptFailure> {
        let EffectKind::Http(HttpRequest {
            method,
            url,
            headers,
            body,
        }) = effect.kind
        else {
            return Err(invalid("it is none of HTTP"));
        };
        let method = ::http::Method::from_bytes(method.as_str().as_bytes())
            .map_err(|error| invalid(&error.to_string()))?;
        let mut headers = header_map(headers)?;
        let key = HeaderValue::from_str(&effect.idempotency_key)
            .map_err(|error| invalid(&error.to_string()))?;
        headers.insert(IDEMPOTENCY_KEY, key);
        context::inject(&Span::current(), &mut headers);
        let mut request = self
            .egress
            .request(method, url)
            .map_err(|denied| AttemptFailure::lasting(codes::EGRESS_BLOCKED, denied.to_string()))?
            .headers(headers)
            .timeout(effect.timeout);
        if let Some(body) = body {
            request = request.body(body);
        }
        let explain = |error| explain(&error, effect.timeout);
        let response = request.send().await.map_err(explain)?;
        let status = response.status().as_u16();
        Span::current().record("http.response.status_code", status);
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect();
        let body = if response.status().is_success() {
            match read_body(response, BODY_MAX_BYTES).await {
                Ok(body) => body,
                Err(BodyError::Broken(error)) => return Err(explain(error)),
                Err(error @ BodyError::TooLarge(_)) => {
                    return Err(AttemptFailure::lasting(
                        codes::RESPONSE_TOO_LARGE,
                        error.to_string(),
                    ));
                }
            }
        } else {
            // Its status decides, whatever becomes of the rest.
            read_body(response, REFUSAL_MAX_BYTES)
                .await
                .unwrap_or_else(|_| Bytes::new())
        };
        Ok(HttpResponse {
            status,
            headers,
            body,
        })
    }
}

impl Performer for HttpPerformer {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
        let sent = self.clone().send(effect);
        sent.map(|result| match result {
            Ok(response) => Outcome::Http(response),
            Err(failure) => Outcome::Failed(failure),
        })
        .boxed()
    }
}

fn header_map(headers: Vec<(String, String)>) -> Result<HeaderMap, AttemptFailure> {
    let mut map = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(&format!("{name:?} is not the name of a header")))?;
        let mut value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| invalid(&format!("the value of its header {name:?} is none")))?;
        // No log and no compression dictionary of the connection shows it.
        value.set_sensitive(true);
        map.append(parsed, value);
    }
    Ok(map)
}

fn invalid(what: &str) -> AttemptFailure {
    AttemptFailure::lasting(
        codes::INVALID_REQUEST,
        format!("the request cannot be sent: {what}"),
    )
}

pub(super) fn explain(error: &reqwest::Error, timeout: Duration) -> AttemptFailure {
    if let Some(denied) = denied(error) {
        AttemptFailure::lasting(codes::EGRESS_BLOCKED, denied.to_string())
    } else if error.is_timeout() && !error.is_connect() {
        drive::timed_out(timeout)
    } else if error.is_builder() {
        invalid("the HTTP client refuses it")
    } else {
        AttemptFailure::retriable(codes::CONNECTION, innermost(error))
    }
}

/// The innermost cause: what the matter is. The outer texts repeat the URL, which may hold a credential.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}
