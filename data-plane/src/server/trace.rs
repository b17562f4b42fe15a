//! The trace of one request: a span where spans are exported, and a trace context in any case.

use http::{HeaderMap, Method, Uri, Version, header::HOST, request::Parts, uri::Authority};
use signalbox_model::ids::{ExecutionName, WorkflowName};
use signalbox_runtime::telemetry::{REQUEST_SPANS, context};
use tracing::{Instrument as _, Span, field::Empty};

use super::handler::{Answered, Peer, problem_response};
use crate::ingest::{Head, Kind, Problem};

/// What a span tells of a request.
pub(super) struct Call<'a> {
    peer: Peer,
    method: &'a Method,
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> Call<'a> {
    pub(super) fn of_parts(peer: Peer, parts: &'a Parts) -> Self {
        Self {
            peer,
            method: &parts.method,
            version: parts.version,
            uri: &parts.uri,
            headers: &parts.headers,
        }
    }

    /// A head is that of a POST.
    pub(super) fn of_head(peer: Peer, version: Version, head: &'a Head) -> Self {
        Self {
            peer,
            method: &Method::POST,
            version,
            uri: &head.uri,
            headers: &head.headers,
        }
    }
}

/// The trace of a request.
pub(super) struct Trace {
    span: Span,
    traceparent: String,
}

impl Trace {
    /// Goes on with the caller's trace, or else with that `in_message`, or begins one.
    pub(super) fn begin(
        call: &Call<'_>,
        target: Option<(Kind, &WorkflowName)>,
        in_message: Option<&str>,
    ) -> Self {
        let span = request_span(call, target);
        let exported = (!span.is_disabled()).then(|| {
            if !context::extract(&span, call.headers)
                && let Some(traceparent) = in_message
            {
                context::set_parent(&span, traceparent);
            }
            context::traceparent(&span)
        });
        let traceparent = exported
            .flatten()
            .unwrap_or_else(|| context::continued(call.headers, in_message));
        Self { span, traceparent }
    }

    pub(super) fn traceparent(&self) -> Option<String> {
        Some(self.traceparent.clone())
    }

    /// Runs `work` inside the span.
    pub(super) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        if self.span.is_disabled() {
            return work.await;
        }
        work.instrument(self.span.clone()).await
    }

    pub(super) fn accepted(&self, execution: Option<&ExecutionName>) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("http.response.status_code", 200);
        if let Some(execution) = execution {
            let execution = tracing::field::display(execution);
            self.span.record("signalbox.execution", execution);
        }
    }

    pub(super) fn refused(&self, problem: &Problem, route: &'static str) -> Answered {
        let _entered = self.span.enter();
        let status = problem.status.as_u16();
        self.span.record("http.response.status_code", status);
        self.span.record("error.type", problem.reason);
        if status >= 500 {
            self.span.record("otel.status_code", "ERROR");
        }
        let trace_id = context::trace_id_of(&self.traceparent);
        // What is refused is shown by deliveries and metrics; a line for each would be for strangers to write.
        tracing::debug!(status, reason = problem.reason, trace_id, "refused");
        Answered {
            response: problem_response(problem, trace_id.as_deref()),
            verdict: "rejected",
            reason: problem.reason,
            route,
        }
    }
}

/// A span by OpenTelemetry's conventions for HTTP servers. It holds neither the query nor any header's value, and the path
/// only of a route: any other may be a misplaced key (invariant I6).
fn request_span(call: &Call<'_>, target: Option<(Kind, &WorkflowName)>) -> Span {
    let method = known(call.method);
    let route = match target {
        Some((Kind::Sns, _)) => "/v1/projects/{project}/workflows/{workflow}/sns",
        Some((Kind::Webhook, _)) => "/v1/projects/{project}/workflows/{workflow}/webhook",
        None => "",
    };
    let span = tracing::debug_span!(
        target: REQUEST_SPANS,
        parent: None,
        "webhook",
        otel.name = %format!("{method} {route}").trim_end(),
        otel.kind = "server",
        otel.status_code = Empty,
        error.type = Empty,
        http.request.method = method,
        http.route = Empty,
        http.response.status_code = Empty,
        url.scheme = if call.peer.tls { "https" } else { "http" },
        url.path = Empty,
        server.address = Empty,
        client.address = %call.peer.address,
        network.peer.address = %call.peer.network,
        network.protocol.version = protocol(call.version),
        messaging.system = Empty,
        messaging.operation.type = Empty,
        messaging.destination.name = Empty,
        messaging.message.id = Empty,
        signalbox.workflow = Empty,
        signalbox.execution = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(host) = host(call) {
        span.record("server.address", host);
    }
    if let Some((kind, workflow)) = target {
        span.record("http.route", route);
        span.record("url.path", call.uri.path());
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
fn host(call: &Call<'_>) -> Option<String> {
    let authority = match (call.uri.authority(), call.headers.get(HOST)) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).ok()?,
        (None, None) => return None,
    };
    Some(authority.host().to_owned())
}
