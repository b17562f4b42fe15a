#![allow(clippy::unwrap_used, clippy::expect_used)]
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced() -> DefaultGuard {
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
}

#[test]
fn a_parent_is_continued_and_handed_on() {
    let _guard = traced();
    let span = tracing::info_span!("child");
    assert!(set_parent(&span, PARENT));
    assert_eq!(trace_id(&span).as_deref(), Some(TRACE));
    let handed_on = span.in_scope(current_traceparent).unwrap();
    assert_eq!(&handed_on[..36], &PARENT[..36]);
    assert_ne!(handed_on, PARENT, "the child has a span id of its own");
    assert!(handed_on.ends_with("-01"));
}

#[test]
fn headers_carry_both_fields_there_and_back() {
    let _guard = traced();
    let mut incoming = HeaderMap::new();
    incoming.insert(TRACEPARENT, PARENT.parse().unwrap());
    incoming.append(TRACESTATE, "a=1".parse().unwrap());
    incoming.append(TRACESTATE, "b=2".parse().unwrap());
    let span = tracing::info_span!("server");
    assert!(extract(&span, &incoming));

    let mut outgoing = HeaderMap::new();
    outgoing.append(TRACEPARENT, "stale".parse().unwrap());
    inject(&span, &mut outgoing);
    let value = outgoing[TRACEPARENT].to_str().unwrap();
    assert!(value.contains(TRACE), "{value}");
    assert_eq!(outgoing[TRACESTATE], "a=1,b=2");
}

#[test]
fn an_overlong_tracestate_is_left_out_but_the_trace_goes_on() {
    let _guard = traced();
    let mut incoming = HeaderMap::new();
    incoming.insert(TRACEPARENT, PARENT.parse().unwrap());
    let long = format!("a={}", "x".repeat(TRACESTATE_MAX_BYTES));
    incoming.insert(TRACESTATE, long.parse().unwrap());
    let span = tracing::info_span!("server");
    assert!(extract(&span, &incoming));
    let mut outgoing = HeaderMap::new();
    inject(&span, &mut outgoing);
    assert!(outgoing.contains_key(TRACEPARENT));
    assert!(!outgoing.contains_key(TRACESTATE));
}

#[test]
fn invalid_parents_are_ignored() {
    let _guard = traced();
    for bad in [
        "",
        "nonsense",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-1-2-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
    ] {
        let span = tracing::info_span!("child");
        assert!(!set_parent(&span, bad), "{bad:?} was taken");
        assert_ne!(trace_id(&span).unwrap(), TRACE);
    }
}

#[test]
fn two_parents_are_no_parent() {
    let _guard = traced();
    let mut headers = HeaderMap::new();
    headers.append(TRACEPARENT, PARENT.parse().unwrap());
    headers.append(TRACEPARENT, PARENT.parse().unwrap());
    assert!(!extract(&tracing::info_span!("server"), &headers));
}

#[test]
fn without_span_export_there_is_no_context() {
    let span = tracing::info_span!("nobody listens");
    assert_eq!(trace_id(&span), None);
    assert_eq!(current_traceparent(), None);
    let mut headers = HeaderMap::new();
    inject(&span, &mut headers);
    assert!(headers.is_empty());
}
