//! One request: route, key, body, ingest, answer.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST,
        RETRY_AFTER, WWW_AUTHENTICATE,
    },
    uri::Authority,
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::json;
use signalbox_model::ids::WorkflowName;
use signalbox_runtime::{shutdown::Shutdown, telemetry::context};
use tracing::{Instrument as _, Span, field::Empty};

use super::route::route;
use crate::ingest::{Answer, Head, Ingest, Kind, Problem};

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Address, as far as trusted proxies tell it.
    pub address: IpAddr,
    /// Address of the socket's other end.
    pub network: IpAddr,
    /// Whether the sender's own connection is TLS.
    pub tls: bool,
}

/// Handles webhooks.
pub struct Handler {
    /// What they go through.
    pub ingest: Ingest,
    /// Size of a body.
    pub body_max_bytes: usize,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// While draining, what still comes on open connections is sent elsewhere.
    pub shutdown: Shutdown,
}

impl Handler {
    /// Answers one request.
    pub async fn handle(
        self: Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let version = request.version();
        let _in_flight = InFlight::begin();
        let (mut response, verdict, reason, route) = self.answer(peer, request).await;
        if version <= Version::HTTP_11 && self.shutdown.is_stopping() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        metrics::counter!("signalbox_ingest_requests_total", "verdict" => verdict, "reason" => reason).increment(1);
        metrics::histogram!("signalbox_ingest_request_seconds", "route" => route)
            .record(started.elapsed());
        tracing::trace!(
            ?version,
            status = response.status().as_u16(),
            verdict,
            reason,
            "answered"
        );
        response
    }

    async fn answer(
        &self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> (
        Response<Full<Bytes>>,
        &'static str,
        &'static str,
        &'static str,
    ) {
        let refused = |problem: Problem, span: &Span, route| {
            let _entered = span.enter();
            note_problem(span, &problem);
            let trace_id = context::trace_id(span);
            let reason = problem.reason;
            (
                problem_response(&problem, trace_id.as_deref()),
                "rejected",
                reason,
                route,
            )
        };
        let (kind, workflow) = match route(&request) {
            Ok(found) => found,
            Err(problem) => {
                let span = request_span(peer, &request, None);
                context::extract(&span, request.headers());
                return refused(problem, &span, "none");
            }
        };
        let route = kind.as_str();
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts.clone(), ());
        let head = Head {
            kind,
            workflow,
            query: parts.uri.query().map(str::to_owned),
            source: peer.address,
            received_at: Timestamp::now(),
            headers: parts.headers,
        };
        let workflow = head.workflow.clone();
        let headers = head.headers.clone();
        // The parent of the span may stand in the message, so the span is made when the message was read.
        let span_for = |in_message: Option<&str>| {
            let span = request_span(peer, &request, Some((kind, &workflow)));
            if !context::extract(&span, &headers)
                && let Some(traceparent) = in_message
            {
                context::set_parent(&span, traceparent);
            }
            span
        };
        if self.shutdown.is_stopping() {
            let problem = Problem::unavailable("draining", "the node is shutting down; try again");
            return refused(problem, &span_for(None), route);
        }
        let authorized = match self.ingest.authorize(head) {
            Ok(authorized) => authorized,
            Err(refusal) => {
                let (head, problem) = *refusal;
                let span = span_for(None);
                self.ingest
                    .refuse(&head, &problem, context::traceparent(&span), false);
                return refused(problem, &span, route);
            }
        };
        let body = match self.read(&headers, body).await {
            Ok(body) => body,
            Err(problem) => {
                let span = span_for(None);
                self.ingest.refuse(
                    authorized.head(),
                    &problem,
                    context::traceparent(&span),
                    true,
                );
                return refused(problem, &span, route);
            }
        };
        let prepared = self.ingest.prepare(authorized, body);
        let span = span_for(prepared.traceparent.as_deref());
        let traceparent = context::traceparent(&span);
        match self
            .ingest
            .handle(prepared, traceparent)
            .instrument(span.clone())
            .await
        {
            Answer::Accepted {
                execution,
                duplicate,
            } => {
                span.record("http.response.status_code", 200);
                let execution = execution.map(|name| name.to_string());
                if let Some(execution) = &execution {
                    span.record("signalbox.execution", execution.as_str());
                }
                let body = json!({"execution": execution, "duplicate": duplicate});
                let verdict = if duplicate { "duplicate" } else { "accepted" };
                (
                    json_response(StatusCode::OK, "application/json", body.to_string()),
                    verdict,
                    "",
                    route,
                )
            }
            Answer::Problem(problem) => refused(problem, &span, route),
        }
    }

    async fn read(&self, headers: &http::HeaderMap, body: Incoming) -> Result<Bytes, Problem> {
        // Amazon SNS never compresses, and what is not inflated cannot be a bomb.
        let encodings = headers.get_all(CONTENT_ENCODING);
        if encodings
            .iter()
            .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-encoding-unsupported",
                "send the body as it is, without Content-Encoding",
            ));
        }
        let too_large = || {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                format!("the body has more than {} bytes", self.body_max_bytes),
            )
        };
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.body_max_bytes as u64) {
            return Err(too_large());
        }
        let whole = Limited::new(body, self.body_max_bytes).collect();
        match tokio::time::timeout(self.body_timeout, whole).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            // Broken off or too slow: whether the sender means to try again is its to say (invariant I4).
            Ok(Err(_)) => Err(Problem::unavailable(
                "body-broken",
                "the body broke off; try again",
            )),
            Err(_) => Err(Problem::unavailable(
                "body-timeout",
                "the body came too slowly; try again",
            )),
        }
    }
}

/// A span by OpenTelemetry's conventions for HTTP servers. It holds neither the query nor any header's value, and the path
/// only of a route: any other may be a misplaced key (invariant I6).
fn request_span<B>(
    peer: Peer,
    request: &Request<B>,
    target: Option<(Kind, &WorkflowName)>,
) -> Span {
    let method = known(request.method());
    let route = match target {
        Some((Kind::Sns, _)) => "/v1/projects/{project}/workflows/{workflow}/sns",
        Some((Kind::Webhook, _)) => "/v1/projects/{project}/workflows/{workflow}/webhook",
        None => "",
    };
    let span = tracing::info_span!(
        parent: None,
        "webhook",
        otel.name = %format!("{method} {route}").trim_end(),
        otel.kind = "server",
        otel.status_code = Empty,
        error.type = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
        url.scheme = if peer.tls { "https" } else { "http" },
        url.path = Empty,
        server.address = Empty,
        client.address = %peer.address,
        network.peer.address = %peer.network,
        network.protocol.version = protocol(request.version()),
        messaging.system = Empty,
        messaging.operation.type = Empty,
        messaging.destination.name = Empty,
        messaging.message.id = Empty,
        signalbox.workflow = Empty,
        signalbox.execution = Empty,
    );
    if let Some(host) = host(request) {
        span.record("server.address", host);
    }
    if let Some((kind, workflow)) = target {
        span.record("http.route", route);
        span.record("url.path", request.uri().path());
        span.record("signalbox.workflow", tracing::field::display(workflow));
        if kind == Kind::Sns {
            span.record("messaging.system", "aws_sns");
            span.record("messaging.operation.type", "process");
        }
    }
    span
}

/// Other methods are whatever a caller writes.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "_OTHER",
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// The host that the caller called, without user information.
fn host<B>(request: &Request<B>) -> Option<String> {
    let named = request.headers().get(HOST);
    let authority = match (request.uri().authority(), named) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).ok()?,
        (None, None) => return None,
    };
    Some(authority.host().to_owned())
}

/// Counts a request while it lives, also when its caller goes away.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        metrics::gauge!("signalbox_ingest_in_flight_requests").increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!("signalbox_ingest_in_flight_requests").decrement(1);
    }
}

fn note_problem(span: &Span, problem: &Problem) {
    let status = problem.status.as_u16();
    span.record("http.response.status_code", status);
    span.record("error.type", problem.reason);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    // What is refused is shown by deliveries and metrics; a line for each would be for strangers to write.
    tracing::debug!(status, reason = problem.reason, "refused");
}

/// An answer of `application/problem+json`.
#[must_use]
pub fn problem_response(problem: &Problem, trace_id: Option<&str>) -> Response<Full<Bytes>> {
    let body = problem.to_json(trace_id).to_string();
    let mut response = json_response(problem.status, "application/problem+json", body);
    let headers = response.headers_mut();
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.challenges {
        headers.insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"signalbox\""),
        );
    }
    if let Some(allow) = problem.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn json_response(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
