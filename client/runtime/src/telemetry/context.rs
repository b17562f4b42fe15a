//! Moves W3C trace context (<https://www.w3.org/TR/trace-context/>) between spans and messages.
//!
//! gRPC metadata is an [`HeaderMap`] too, so one pair of functions serves both transports. Baggage
//! is not carried: it would let callers write into our telemetry.

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Length of a version 00 `traceparent` in bytes (§3.2).
const TRACEPARENT_BYTES: usize = 55;

/// Longest `tracestate` that is carried on, in bytes: what §3.3.1.5 asks for at least. A longer
/// one is left out; the trace itself goes on.
const TRACESTATE_MAX_BYTES: usize = 512;

/// `traceparent` of the current span, to store with a record that outlives it.
///
/// `None` outside a span, or where the subscriber exports no spans.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    traceparent(&Span::current())
}

/// `traceparent` of `span`.
#[must_use]
pub fn traceparent(span: &Span) -> Option<String> {
    let mut carrier = Pair::default();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.traceparent
}

/// Makes `span` a child of the span that `traceparent` names. Call it before `span` is entered.
///
/// Invalid input is ignored, as §4.3 of the specification asks. Returns whether the parent was set.
pub fn set_parent(span: &Span, traceparent: &str) -> bool {
    adopt(
        span,
        &Pair {
            traceparent: Some(traceparent.to_owned()),
            tracestate: None,
        },
    )
}

/// Like [`set_parent`], with the context that [`inject`] wrote into `headers`.
pub fn extract(span: &Span, headers: &HeaderMap) -> bool {
    adopt(span, &Pair::of(headers))
}

/// Writes the context of `span` into `headers`, in place of any that is there.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    let mut carrier = Pair::default();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    for (name, value) in [
        (TRACEPARENT, carrier.traceparent),
        (TRACESTATE, carrier.tracestate),
    ] {
        let value = value.filter(|value| !value.is_empty() && value.len() <= TRACESTATE_MAX_BYTES);
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// A `traceparent` for where no span is made: it goes on with the trace of `headers`, or else of `in_message`, or begins one.
#[must_use]
pub fn continued(headers: &HeaderMap, in_message: Option<&str>) -> String {
    let pair = || {
        headers
            .contains_key(TRACEPARENT)
            .then(|| Pair::of(headers).traceparent)
    };
    let ids = RandomIdGenerator::default();
    let span_id = ids.new_span_id();
    let caller = pair().flatten();
    let parent = [caller.as_deref(), in_message].into_iter().flatten();
    let parent = parent
        .into_iter()
        .find(|parent| is_well_formed(parent) && parent[3..35].bytes().any(|digit| digit != b'0'));
    // Put together by hand: one is made for every message.
    let mut made = String::with_capacity(TRACEPARENT_BYTES);
    made.push_str("00-");
    match parent {
        Some(parent) => made.push_str(&parent[3..35]),
        None => HEXLOWER.encode_append(&ids.new_trace_id().to_bytes(), &mut made),
    }
    made.push('-');
    HEXLOWER.encode_append(&span_id.to_bytes(), &mut made);
    made.push('-');
    made.push_str(parent.map_or("01", |parent| &parent[53..55]));
    made
}

/// The trace id in a `traceparent`.
#[must_use]
pub fn trace_id_of(traceparent: &str) -> Option<String> {
    is_well_formed(traceparent).then(|| traceparent[3..35].to_owned())
}

/// The trace id of `span` as 32 hex digits, for error bodies and records.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    valid(&span.context()).map(|span| span.trace_id().to_string())
}

fn valid(context: &Context) -> Option<SpanContext> {
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

fn adopt(span: &Span, carrier: &Pair) -> bool {
    if !carrier.traceparent.as_deref().is_some_and(is_well_formed) {
        return false;
    }
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), carrier);
    valid(&parent).is_some() && span.set_parent(parent).is_ok()
}

/// The SDK's parser takes ids of any length, so the form of §3.2 is checked here: lower-case hex
/// of 2, 32, 16 and 2 digits; only versions after 00 may carry more.
fn is_well_formed(traceparent: &str) -> bool {
    let bytes = traceparent.as_bytes();
    let Some((head, rest)) = bytes.split_at_checked(TRACEPARENT_BYTES) else {
        return false;
    };
    let digits = head.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let tail = rest.is_empty() || (rest.starts_with(b"-") && !head.starts_with(b"00"));
    digits && tail && !head.starts_with(b"ff") && bytes.len() <= TRACESTATE_MAX_BYTES
}

/// The two headers of a trace context.
#[derive(Default)]
struct Pair {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl Pair {
    fn of(headers: &HeaderMap) -> Self {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let mut parents = headers.get_all(TRACEPARENT).iter();
        // Two `traceparent` headers name two parents: neither can be trusted.
        let traceparent = match (parents.next(), parents.next()) {
            (Some(one), None) => text(one),
            _ => None,
        };
        let states: Vec<String> = headers
            .get_all(TRACESTATE)
            .iter()
            .filter_map(text)
            .collect();
        let tracestate = Some(states.join(","))
            .filter(|state| !state.is_empty() && state.len() <= TRACESTATE_MAX_BYTES);
        Self {
            traceparent,
            tracestate,
        }
    }
}

impl Extractor for Pair {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.traceparent.as_deref(),
            TRACESTATE => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

impl Injector for Pair {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.traceparent = Some(value),
            TRACESTATE => self.tracestate = Some(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
