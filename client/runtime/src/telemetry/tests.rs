#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::io::Write;
use std::sync::{Arc, Mutex};

use clap::Parser;
use serde_json::Value;

use super::*;

/// Collects what the log layer writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, filter: Option<&str>, work: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let tracer = SdkTracerProvider::builder().build().tracer(SCOPE);
    let filter = filter::logs(filter).unwrap();
    let subscriber = subscriber(format, false, (filter, true), tracer, move || {
        writer.clone()
    });
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_json_line_carries_the_ids_of_its_span() {
    let mut expected = None;
    let lines = logged(LogFormat::Json, Some("info"), || {
        let span = tracing::info_span!("ingest", workflow = "w1");
        span.in_scope(|| {
            expected = context::current_traceparent();
            tracing::info!(size_bytes = 3, "accepted \"it\"}}");
        });
    });
    let traceparent = expected.unwrap();
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "accepted \"it\"}");
    assert_eq!(line["size_bytes"], 3);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["spans"][0]["workflow"], "w1");
    assert_eq!(line["trace_id"], traceparent[3..35]);
    assert_eq!(line["span_id"], traceparent[36..52]);
}

#[test]
fn a_line_outside_a_span_is_whole_and_without_ids() {
    let lines = logged(LogFormat::Json, Some("info"), || tracing::info!("alone"));
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "alone");
    assert!(line.get("trace_id").is_none());
}

#[test]
fn a_pretty_line_carries_a_short_trace_id() {
    let mut expected = None;
    let lines = logged(LogFormat::Pretty, Some("info"), || {
        tracing::info_span!("ingest").in_scope(|| {
            expected = context::trace_id(&tracing::Span::current());
            tracing::info!("accepted");
        });
    });
    let short = format!(" trace={}", &expected.unwrap()[..8]);
    assert!(lines[0].contains("accepted"), "{lines:?}");
    assert!(lines[0].ends_with(&short), "{lines:?}");
}

#[test]
fn libraries_stay_quiet_until_they_are_asked_for() {
    let work = || {
        tracing::debug!(target: "h2::codec", "frame");
        tracing::info!(target: "sqlx::query", "select");
        tracing::warn!(target: "sqlx::query", "slow");
        tracing::debug!(target: "signalbox_data_plane", "ours");
    };
    let messages = |filter| -> Vec<String> {
        let lines = logged(LogFormat::Json, Some(filter), work);
        let parse = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        let message = |line: Value| line["message"].as_str().unwrap().to_owned();
        lines.iter().map(parse).map(message).collect()
    };
    assert_eq!(messages("info"), ["slow"]);
    assert_eq!(messages("trace"), ["slow", "ours"]);
    assert_eq!(messages("info,h2=debug"), ["frame", "slow"]);
}

#[test]
fn quieter_logs_do_not_cut_traces() {
    let lines = logged(LogFormat::Json, Some("error"), || {
        tracing::info_span!("ingest").in_scope(|| {
            assert!(context::current_traceparent().is_some());
            tracing::error!("broken");
        });
    });
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert!(line["trace_id"].is_string());
}

#[test]
fn library_spans_are_not_traced() {
    logged(LogFormat::Json, Some("trace"), || {
        let span = tracing::info_span!(target: "h2::client", "connection");
        assert_eq!(context::trace_id(&span), None);
    });
}

#[test]
fn a_bad_filter_is_refused() {
    assert!(filter::logs(Some("signalbox=loud")).is_err());
}

#[test]
fn the_flags_parse() {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        telemetry: TelemetryArgs,
    }
    let command = Command::try_parse_from([
        "test",
        "--log-format=json",
        "--log=debug",
        "--otlp-endpoint=http://127.0.0.1:4317",
        "--otlp-timeout-ms=250",
    ])
    .unwrap();
    assert_eq!(command.telemetry.log_format, Some(LogFormat::Json));
    assert_eq!(command.telemetry.log.as_deref(), Some("debug"));
    assert_eq!(command.telemetry.otlp_timeout_ms, 250);
    assert!(Command::try_parse_from(["test", "--otlp-timeout-ms=0"]).is_err());
}
