//! The telemetry flags of every binary.

use std::path::PathBuf;

use clap::ValueEnum;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line per event, for people.
    Pretty,
    /// One JSON object per event, for machines.
    Json,
}

/// Telemetry flags; flatten them into a command with `#[command(flatten)]`.
///
/// Beside them the OpenTelemetry SDK reads its standard variables: `OTEL_SERVICE_NAME`,
/// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_HEADERS`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// Format of the log lines on stderr [default: pretty on a terminal, json otherwise]
    #[arg(long, env = "SIGNALBOX_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What to log, in RUST_LOG syntax (RUST_LOG is read when this is absent) [default: info]
    #[arg(long, env = "SIGNALBOX_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// OTLP gRPC collector that receives the spans, as http(s)://host:port; absent or empty: off
    // A collector URL may hold credentials, so `--help` must not show the variable's value.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<String>,

    /// Longest time for one export, in milliseconds
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_TIMEOUT",
        value_name = "MILLISECONDS",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..=60_000)
    )]
    pub otlp_timeout_ms: u64,

    /// PEM file with the CA of an https collector [default: the Mozilla root program]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    pub otlp_ca_file: Option<PathBuf>,
}

impl Default for TelemetryArgs {
    fn default() -> Self {
        Self {
            log_format: None,
            log: None,
            otlp_endpoint: None,
            otlp_timeout_ms: 10_000,
            otlp_ca_file: None,
        }
    }
}

impl TelemetryArgs {
    /// Whether spans are exported.
    pub(super) fn exports(&self) -> bool {
        let endpoint = self.otlp_endpoint.as_deref().map(str::trim);
        endpoint.is_some_and(|endpoint| !endpoint.is_empty())
    }
}
