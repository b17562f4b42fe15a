//! Logs, spans and trace context of one process.
//!
//! [`init`] is called once per process, by the binary, also when both planes run in it. Logs go to
//! stderr; spans go to an OTLP collector when one is configured. Without a collector spans still
//! get ids, so that logs and error bodies can name the trace.

mod args;
pub mod context;
mod filter;
mod format;
mod otlp;
mod resource;

use std::io::{self, IsTerminal};
use std::time::Duration;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

pub use args::{LogFormat, TelemetryArgs};
pub use filter::REQUEST_SPANS;
use format::WithTraceIds;

/// Longest time that [`TelemetryGuard::shutdown`] waits for the last spans to leave.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Instrumentation scope of every span of this workspace.
const SCOPE: &str = "signalbox";

/// Why telemetry could not start. Every case is one of configuration or of calling order; an
/// unreachable collector is not among them.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `--log` is not a filter in `RUST_LOG` syntax.
    #[error("--log is not a valid filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// `--otlp-endpoint` is not an absolute http or https URL without user information.
    #[error("--otlp-endpoint {reason}")]
    Endpoint {
        /// What is wrong with it. The value itself is not repeated: it may hold credentials.
        reason: &'static str,
    },
    /// The CA file of the collector cannot be used.
    #[error("--otlp-ca-file cannot be used")]
    CaFile(#[source] crate::tls::TlsError),
    /// The exporter refuses its configuration (usually an `OTEL_EXPORTER_OTLP_*` variable).
    #[error("the OTLP exporter cannot be configured")]
    Exporter(#[source] ExporterBuildError),
    /// Exporting needs a Tokio runtime to run the connection on.
    #[error("telemetry::init with an OTLP endpoint must be called inside a Tokio runtime")]
    NoRuntime,
    /// A global subscriber or logger exists already: `init` ran twice.
    #[error("telemetry is already initialised in this process")]
    AlreadyInitialised(#[source] TryInitError),
}

/// Keeps the exporter alive. Shut it down last, after the servers have drained.
#[derive(Debug)]
#[must_use = "dropping the guard ends span export"]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl TelemetryGuard {
    /// Exports the spans still queued and stops the exporter, within [`FLUSH_TIMEOUT`].
    ///
    /// What cannot be delivered in that time is dropped and logged; it never fails the process.
    pub async fn shutdown(mut self) {
        let Some(provider) = self.provider.take() else {
            return;
        };
        // The SDK blocks the calling thread while its own thread exports over this runtime.
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = flushed.await {
            tracing::warn!(%error, "some spans were not exported before the end of the process");
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        // An early return of `main`: give the spans a moment, bounded even where the only runtime
        // thread is the one that waits here.
        if let Some(provider) = self.provider.take() {
            let _best_effort = provider.shutdown_with_timeout(Duration::from_secs(1));
        }
    }
}

/// Installs the process-wide subscriber, tracer provider and W3C trace-context propagator.
///
/// `service_name` becomes the resource attribute `service.name`, unless `OTEL_SERVICE_NAME` or
/// `OTEL_RESOURCE_ATTRIBUTES` say otherwise.
///
/// # Errors
/// See [`TelemetryError`]. An unreachable collector is not an error: the exporter keeps a bounded
/// queue (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048 spans by default), drops what does not fit, and logs.
pub fn init(service_name: &str, args: &TelemetryArgs) -> Result<TelemetryGuard, TelemetryError> {
    let log_filter = filter::logs(args.log.as_deref()).map_err(TelemetryError::Filter)?;
    let provider = provider(service_name, args)?;
    let is_terminal = io::stderr().is_terminal();
    let format = args.log_format.unwrap_or(if is_terminal {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    });
    // https://no-color.org: any non-empty value switches colour off.
    let ansi = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let tracer = provider.tracer(SCOPE);
    let exported = args.exports();
    let subscriber = subscriber(format, ansi, (log_filter, exported), tracer, io::stderr);
    if let Err(error) = subscriber.try_init() {
        let _never_used = provider.shutdown_with_timeout(Duration::ZERO);
        return Err(TelemetryError::AlreadyInitialised(error));
    }
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(provider.clone());
    Ok(TelemetryGuard {
        provider: Some(provider),
    })
}

fn provider(service_name: &str, args: &TelemetryArgs) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource::of(service_name));
    let Some(exporter) = otlp::exporter(args)? else {
        return Ok(builder.build());
    };
    Ok(builder.with_batch_exporter(exporter).build())
}

/// The one stack of layers: span export first, so that a log line finds the span's ids.
fn subscriber<W>(
    format: LogFormat,
    ansi: bool,
    (log_filter, exported): (EnvFilter, bool),
    tracer: SdkTracer,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_threads(false)
        .with_filter(filter::spans(exported));
    let logs = fmt::layer().with_writer(writer).with_ansi(ansi);
    let logs = match format {
        LogFormat::Json => logs
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .map_event_format(WithTraceIds::json)
            .boxed(),
        LogFormat::Pretty => logs
            .compact()
            .map_event_format(|event| WithTraceIds::pretty(event.with_ansi(ansi)))
            .boxed(),
    };
    Registry::default()
        .with(spans)
        .with(logs.with_filter(log_filter))
}

#[cfg(test)]
mod tests;
