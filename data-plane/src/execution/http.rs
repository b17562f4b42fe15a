//! Performs `http` effects.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Map, Value, json};
use signalbox_engine::{AttemptError, Effect, EffectKind, HttpRequest};
use signalbox_model::{execution::Failure, limits};
use signalbox_runtime::telemetry::context;
use tracing::Span;

use super::Performer;
use crate::egress::{BodyError, Denied, Egress, denied, read_body};

/// The header of draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

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

    async fn send(self, effect: Effect) -> Result<Value, AttemptError> {
        let EffectKind::Http(request) = effect.kind;
        let HttpRequest {
            method,
            url,
            headers,
            body,
        } = request;
        let method = reqwest::Method::from_bytes(method.as_str().as_bytes())
            .map_err(|error| fatal("REQUEST", error.to_string()))?;
        let mut map = header_map(headers)?;
        let key = HeaderValue::from_str(&effect.idempotency_key)
            .map_err(|error| fatal("REQUEST", error.to_string()))?;
        map.insert(IDEMPOTENCY_KEY, key);
        context::inject(&Span::current(), &mut map);
        let mut builder = self
            .egress
            .request(method, url)
            .map_err(refused)?
            .headers(map)
            .timeout(effect.timeout);
        if let Some(body) = body {
            builder = builder.body(body);
        }
        let response = builder.send().await.map_err(|error| connection(&error))?;
        let status = response.status();
        Span::current().record("http.response.status_code", status.as_u16());
        let headers = shown_headers(response.headers());
        let body = read_body(response, limits::VALUE_MAX_BYTES / 2)
            .await
            .map_err(|error| match error {
                BodyError::TooLarge(_) => fatal("RESPONSE_TOO_LARGE", error.to_string()),
                BodyError::Broken(error) => connection(&error),
            })?;
        if status.is_success() {
            let text = String::from_utf8_lossy(&body);
            let json: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            return Ok(json!({
                "status": status.as_u16(),
                "headers": headers,
                "body": text,
                "json": json,
            }));
        }
        let mut excerpt: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        if !excerpt.is_empty() {
            excerpt.insert_str(0, ": ");
        }
        Err(AttemptError {
            failure: Failure::new(
                "HTTP_STATUS",
                format!("the service answered {status}{excerpt}"),
            ),
            retriable: matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error(),
        })
    }
}

impl Performer for HttpPerformer {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Result<Value, AttemptError>> {
        self.clone().send(effect).boxed()
    }
}

fn header_map(headers: Vec<(String, String)>) -> Result<HeaderMap, AttemptError> {
    let mut map = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        let wrong = |error: String| fatal("REQUEST", format!("header {name}: {error}"));
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let value = HeaderValue::from_str(&value).map_err(|error| wrong(error.to_string()))?;
        map.append(parsed, value);
    }
    Ok(map)
}

/// The headers of a response, but for cookies: those are credentials of the service.
fn shown_headers(headers: &HeaderMap) -> Value {
    let mut shown = Map::new();
    for (name, value) in headers {
        if name == ::http::header::SET_COOKIE {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match shown.get_mut(name.as_str()) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => {
                shown.insert(name.to_string(), Value::String(value));
            }
        }
    }
    Value::Object(shown)
}

fn refused(denied: Denied) -> AttemptError {
    fatal("EGRESS_DENIED", denied.to_string())
}

fn fatal(code: &str, message: String) -> AttemptError {
    AttemptError {
        failure: Failure::new(code, message),
        retriable: false,
    }
}

fn connection(error: &reqwest::Error) -> AttemptError {
    if let Some(denied) = denied(error) {
        return refused(denied);
    }
    let code = if error.is_timeout() {
        "TIMEOUT"
    } else {
        "CONNECTION"
    };
    AttemptError {
        failure: Failure::new(code, innermost(error)),
        retriable: true,
    }
}

/// The innermost cause: what the matter is. The outer texts repeat the URL, which may hold a credential.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(std::ptr::from_ref(cause), std::ptr::from_ref(error)) {
        return "the request failed".to_owned();
    }
    cause.to_string()
}
