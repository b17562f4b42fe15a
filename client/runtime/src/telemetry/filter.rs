//! Which events are logged and which spans are exported.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError, Targets};

/// Log levels of libraries that speak too much at `info` and below. A directive of the operator
/// for the same target wins.
const LIBRARY_LOGS: &str = "h2=warn,hyper=warn,hyper_util=warn,opentelemetry=warn,reqwest=warn,\
    rustls=warn,sea_orm=warn,sea_orm_migration=warn,sqlx=warn,tonic=warn,tower=warn";

/// Libraries that the exporter itself runs on, or that trace their internals: their spans would
/// feed the exporter with its own work, or bury ours.
const LIBRARY_SPANS: [&str; 9] = [
    "h2",
    "hyper",
    "opentelemetry",
    "reqwest",
    "rustls",
    "sea_orm",
    "sqlx",
    "tonic",
    "tower",
];

/// Log filter: the library defaults, then what the operator asked for, then `info`.
pub(super) fn logs(asked: Option<&str>) -> Result<EnvFilter, ParseError> {
    let from_env = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let asked = asked
        .or(from_env.as_deref())
        .map(str::trim)
        .filter(|filter| !filter.is_empty())
        .unwrap_or("info");
    // A directive for a target would outdo the one for all.
    let defaults = if asked == "off" { "" } else { LIBRARY_LOGS };
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(format!("{defaults},{asked}"))
}

/// Target of spans that are made for each request of a busy path, at level `debug`: only where they are exported.
pub const REQUEST_SPANS: &str = "signalbox::request";

/// Span filter: `info` and above. It does not follow `--log`: quieter logs must not cut traces.
pub(super) fn spans(exported: bool) -> Targets {
    let requests = if exported {
        LevelFilter::DEBUG
    } else {
        LevelFilter::OFF
    };
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target(REQUEST_SPANS, requests)
        .with_targets(LIBRARY_SPANS.map(|target| (target, LevelFilter::OFF)))
}
