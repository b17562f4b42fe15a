//! Performs `http` effects.

mod redirect;

use std::time::{Duration, Instant};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use signalbox_engine::{AttemptFailure, Effect, EffectKind, HttpResponse, Outcome, codes};
use signalbox_model::workflow::HttpMethod;
use signalbox_runtime::telemetry::context;
use tracing::Span;
use url::Url;

use self::redirect::Hop;
use super::{Performer, drive};
use crate::egress::{
    BodyError, Denied, Egress, Route, RouteError, denied, read_beginning, read_body,
};

/// The header of draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How much is read of the body of a response that is no success, in bytes: enough to quote its beginning.
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
        let EffectKind::Http(request) = effect.kind else {
            return Err(invalid("it is none of HTTP"));
        };
        let exchange = request.exchange;
        let route = Route {
            ca_certificate: exchange.ca_certificate,
            proxy: exchange.proxy,
        };
        let clock = Clock::start(effect.timeout);
        let egress = self.egress.by(&route).map_err(|error| no_route(&error))?;
        let mut hop = first_hop(request.method, request.url, request.headers, request.body)?;
        let key = HeaderValue::from_str(&effect.idempotency_key)
            .map_err(|error| invalid(&error.to_string()))?;
        hop.headers.insert(IDEMPOTENCY_KEY, key);
        context::inject(&Span::current(), &mut hop.headers);
        let mut followed = 0;
        loop {
            let response = answer(&egress, &hop, clock).await?;
            let status = response.status();
            Span::current().record("http.response.status_code", status.as_u16());
            let is_success = exchange.success.holds(status.as_u16());
            if !is_success
                && exchange.redirects_max > 0
                && let Some(next) = hop
                    .redirected(status, response.headers())
                    .map_err(|error| not_followed(status, &error.to_string()))?
            {
                if followed == exchange.redirects_max {
                    let often = format!("there were {followed} already");
                    return Err(not_followed(status, &often));
                }
                followed += 1;
                hop = next;
                continue;
            }
            let wanted = is_success.then_some(exchange.response_max_bytes);
            return whole(response, wanted, clock).await;
        }
    }
}

/// How long an attempt may still take.
#[derive(Clone, Copy)]
struct Clock {
    timeout: Duration,
    ends_at: Instant,
}

impl Clock {
    fn start(timeout: Duration) -> Self {
        Self {
            timeout,
            ends_at: Instant::now() + timeout,
        }
    }

    fn left(self) -> Duration {
        self.ends_at.saturating_duration_since(Instant::now())
    }
}

fn first_hop(
    method: HttpMethod,
    url: Url,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
) -> Result<Hop, AttemptFailure> {
    Ok(Hop {
        method: Method::from_bytes(method.as_str().as_bytes())
            .map_err(|error| invalid(&error.to_string()))?,
        url,
        headers: header_map(headers)?,
        body,
    })
}

/// The head of the answer to one request.
async fn answer(
    egress: &Egress,
    hop: &Hop,
    clock: Clock,
) -> Result<reqwest::Response, AttemptFailure> {
    let mut request = egress
        .request(hop.method.clone(), hop.url.clone())
        .map_err(|denied| blocked(&denied))?
        .headers(hop.headers.clone())
        .timeout(clock.left());
    if let Some(body) = &hop.body {
        request = request.body(body.clone());
    }
    let sent = request.send().await;
    sent.map_err(|error| explain(&error, clock.timeout))
}

/// The response with its body: of one that is `wanted`, all of so many bytes at most; of another, what can be quoted.
async fn whole(
    response: reqwest::Response,
    wanted: Option<usize>,
    clock: Clock,
) -> Result<HttpResponse, AttemptFailure> {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), value)
        })
        .collect();
    let body = match wanted {
        Some(max_bytes) => read_body(response, max_bytes)
            .await
            .map_err(|error| match error {
                BodyError::Broken(error) => explain(&error, clock.timeout),
                BodyError::TooLarge(_) => {
                    AttemptFailure::lasting(codes::RESPONSE_TOO_LARGE, error.to_string())
                }
            })?,
        // Its status decides, whatever becomes of the rest.
        None => read_beginning(response, REFUSAL_MAX_BYTES).await,
    };
    Ok(HttpResponse {
        status,
        headers,
        body,
    })
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

fn blocked(denied: &Denied) -> AttemptFailure {
    AttemptFailure::lasting(codes::EGRESS_BLOCKED, denied.to_string())
}

fn no_route(error: &RouteError) -> AttemptFailure {
    match error {
        RouteError::Denied(_) => AttemptFailure::lasting(codes::EGRESS_BLOCKED, error.to_string()),
        RouteError::Client(_) => AttemptFailure::lasting(codes::INTERNAL, error.to_string()),
        RouteError::Proxy
        | RouteError::Pem(_)
        | RouteError::NoCertificate
        | RouteError::Authority(_) => invalid(&error.to_string()),
    }
}

fn not_followed(status: StatusCode, why: &str) -> AttemptFailure {
    let status = status.as_u16();
    AttemptFailure {
        status: Some(status),
        ..AttemptFailure::lasting(
            codes::HTTP_STATUS,
            format!("the server answered {status}, a redirect that is not followed: {why}"),
        )
    }
}

fn invalid(what: &str) -> AttemptFailure {
    AttemptFailure::lasting(
        codes::INVALID_REQUEST,
        format!("the request cannot be sent: {what}"),
    )
}

pub(super) fn explain(error: &reqwest::Error, timeout: Duration) -> AttemptFailure {
    if let Some(denied) = denied(error) {
        blocked(&denied)
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
