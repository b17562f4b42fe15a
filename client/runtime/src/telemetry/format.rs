//! Adds the ids of the current OpenTelemetry span to each log line.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Hex digits of the trace id that a pretty line shows: enough to tell traces on a screen apart.
const SHORT_TRACE_ID_CHARS: usize = 8;

#[derive(Clone, Copy)]
enum Style {
    Json,
    Pretty,
}

/// Wraps an event format and appends the trace id (and, in JSON, the span id).
pub(super) struct WithTraceIds<F> {
    inner: F,
    style: Style,
}

impl<F> WithTraceIds<F> {
    /// `inner` must write one JSON object and a line break.
    pub(super) fn json(inner: F) -> Self {
        Self {
            inner,
            style: Style::Json,
        }
    }

    /// `inner` must write one line of text.
    pub(super) fn pretty(inner: F) -> Self {
        Self {
            inner,
            style: Style::Pretty,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTraceIds<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let span = Context::map_current(|context| context.span().span_context().clone());
        if !span.is_valid() {
            return self.inner.format_event(ctx, writer, event);
        }
        let mut line = String::with_capacity(256);
        self.inner
            .format_event(ctx, Writer::new(&mut line), event)?;
        self.append(&mut writer, line.trim_end(), &span)
    }
}

impl<F> WithTraceIds<F> {
    fn append(&self, writer: &mut Writer<'_>, line: &str, span: &SpanContext) -> fmt::Result {
        let trace_id = span.trace_id().to_string();
        match (self.style, line.strip_suffix('}')) {
            (Style::Json, Some(open)) => {
                let span_id = span.span_id();
                writeln!(
                    writer,
                    r#"{open},"trace_id":"{trace_id}","span_id":"{span_id}"}}"#
                )
            }
            (Style::Json, None) => writeln!(writer, "{line}"),
            (Style::Pretty, _) => {
                writeln!(writer, "{line} trace={trace_id:.SHORT_TRACE_ID_CHARS$}")
            }
        }
    }
}
