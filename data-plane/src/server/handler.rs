//! One request: route, key, body, ingest, answer.

use std::{fmt::Write as _, net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::Timestamp;
use signalbox_model::ids::ExecutionName;
use signalbox_runtime::shutdown::Shutdown;

use super::{
    bodies::{Bodies, Unread},
    counted::RequestMetrics,
    route::route,
    trace::{Call, Trace},
};
use crate::ingest::{Answer, FILTERED, Head, Ingest, Problem, Turned};

/// What nearly all answers of 200 fit into.
const ACCEPTED_BYTES: usize = 160;

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Address, as far as trusted proxies tell it.
    pub address: IpAddr,
    /// Whether they tell it clearly; if not, `address` is one of theirs.
    pub is_clear: bool,
    /// Address of the socket's other end.
    pub network: IpAddr,
    /// Whether the sender's own connection is TLS.
    pub tls: bool,
}

/// Handles webhooks.
pub struct Handler {
    /// What they go through.
    pub ingest: Ingest,
    /// What their bodies may take.
    pub bodies: Bodies,
    /// While draining, what still comes on open connections is sent elsewhere.
    pub shutdown: Shutdown,
    /// What is counted.
    pub metrics: RequestMetrics,
}

/// What a request came to.
pub(super) struct Answered {
    pub(super) response: Response<Full<Bytes>>,
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
    pub(super) route: &'static str,
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
        let _in_flight = self.metrics.in_flight();
        let mut answered = self.answer(peer, request).await;
        if version <= Version::HTTP_11 && self.shutdown.is_stopping() {
            let close = HeaderValue::from_static("close");
            answered.response.headers_mut().insert(CONNECTION, close);
        }
        self.metrics.answered(&answered, started.elapsed());
        tracing::trace!(
            ?version,
            status = answered.response.status().as_u16(),
            verdict = answered.verdict,
            reason = answered.reason,
            "answered"
        );
        answered.response
    }

    async fn answer(&self, peer: Peer, request: Request<Incoming>) -> Answered {
        let (parts, body) = request.into_parts();
        let (kind, workflow) = match route(&parts.method, &parts.uri) {
            Ok(found) => found,
            Err(problem) => {
                let call = Call::of_parts(peer, &parts);
                return Trace::begin(&call, None, None).refused(&problem, "none");
            }
        };
        let (route, version) = (kind.as_str(), parts.version);
        if !peer.is_clear {
            metrics::counter!("signalbox_ingest_sources_unclear_total").increment(1);
        }
        let head = Head {
            kind,
            workflow,
            uri: parts.uri,
            source: peer.address,
            is_source_clear: peer.is_clear,
            received_at: Timestamp::now(),
            headers: parts.headers,
        };
        let trace = |head: &Head, in_message: Option<&str>| {
            let call = Call::of_head(peer, version, head);
            Trace::begin(&call, Some((head.kind, &head.workflow)), in_message)
        };
        if self.shutdown.is_stopping() {
            let problem = Problem::unavailable("draining", "the node is shutting down; try again");
            return trace(&head, None).refused(&problem, route);
        }
        let authorized = match self.ingest.authorize(head) {
            Ok(authorized) => authorized,
            Err(refusal) => {
                let Turned {
                    head,
                    problem,
                    standing,
                } = *refusal;
                let trace = trace(&head, None);
                self.ingest
                    .refuse(&head, &problem, trace.traceparent(), standing);
                return trace.refused(&problem, route);
            }
        };
        let (usage, head) = (authorized.usage(), authorized.head());
        let (body, _held) = match self.bodies.read(usage, &head.headers, body).await {
            Ok(read) => read,
            Err(Unread { problem, standing }) => {
                let trace = trace(head, None);
                self.ingest
                    .refuse(head, &problem, trace.traceparent(), standing);
                return trace.refused(&problem, route);
            }
        };
        // The parent of the span may stand in the message, so the span is made when the message was read.
        let prepared = self.ingest.prepare(authorized, body);
        let trace = trace(prepared.head(), prepared.traceparent.as_deref());
        // Boxed: all that a message needs on its way would be moved with the request, at each of the layers' hands.
        let handled = Box::pin(self.ingest.handle(prepared, trace.traceparent()));
        match trace.around(handled).await {
            Answer::Accepted {
                execution,
                duplicate,
            } => accepted(&trace, execution.as_ref(), duplicate, route),
            Answer::Filtered => filtered(&trace, route),
            Answer::Problem(problem) => trace.refused(&problem, route),
        }
    }
}

/// 200, with what was accepted.
fn accepted(
    trace: &Trace,
    execution: Option<&ExecutionName>,
    duplicate: bool,
    route: &'static str,
) -> Answered {
    trace.accepted(execution);
    // Names need no escaping.
    let mut body = String::with_capacity(ACCEPTED_BYTES);
    // Writing to a string fails never.
    let _ = match execution {
        Some(name) => write!(
            body,
            "{{\"execution\":\"{name}\",\"duplicate\":{duplicate}}}"
        ),
        None => write!(body, "{{\"execution\":null,\"duplicate\":{duplicate}}}"),
    };
    Answered {
        response: json_response(StatusCode::OK, "application/json", body),
        verdict: if duplicate { "duplicate" } else { "accepted" },
        reason: "",
        route,
    }
}

/// 200, with that nothing comes of it.
fn filtered(trace: &Trace, route: &'static str) -> Answered {
    trace.accepted(None);
    let body = r#"{"execution":null,"duplicate":false,"filtered":true}"#.to_owned();
    Answered {
        response: json_response(StatusCode::OK, "application/json", body),
        verdict: "filtered",
        reason: FILTERED,
        route,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_is_small() {
        // It is moved several times on its way into its task. What waits for rare things is boxed.
        let size = size_of_future(Handler::handle);
        assert!(size <= 4 * 1024, "{size} bytes");
    }
}
