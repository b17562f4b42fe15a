//! The OTLP gRPC span exporter.

use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};

use super::{TelemetryArgs, TelemetryError};
use crate::tls;

/// The exporter, or nothing when no collector is configured. It connects lazily.
pub(super) fn exporter(args: &TelemetryArgs) -> Result<Option<SpanExporter>, TelemetryError> {
    let endpoint = args.otlp_endpoint.as_deref().map(str::trim);
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(None);
    };
    let uri = parse_endpoint(endpoint)?;
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(TelemetryError::NoRuntime);
    }
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_millis(args.otlp_timeout_ms));
    if uri.scheme() == Some(&Scheme::HTTPS) {
        builder = builder.with_tls_config(client_tls(args)?);
    }
    builder.build().map(Some).map_err(TelemetryError::Exporter)
}

fn parse_endpoint(endpoint: &str) -> Result<Uri, TelemetryError> {
    let refuse = |reason| TelemetryError::Endpoint { reason };
    let uri: Uri = endpoint.parse().map_err(|_| refuse("is not a URL"))?;
    let known = [Scheme::HTTP, Scheme::HTTPS];
    if !uri.scheme().is_some_and(|scheme| known.contains(scheme)) {
        return Err(refuse("must be http://host:port or https://host:port"));
    }
    match uri.authority() {
        None => Err(refuse("names no host")),
        Some(authority) if authority.as_str().contains('@') => Err(refuse(
            "must not hold a user name or password; use OTEL_EXPORTER_OTLP_HEADERS",
        )),
        Some(_) => Ok(uri),
    }
}

fn client_tls(args: &TelemetryArgs) -> Result<ClientTlsConfig, TelemetryError> {
    tls::install_crypto_provider();
    let roots = tls::root_store(args.otlp_ca_file.as_deref()).map_err(TelemetryError::CaFile)?;
    Ok(ClientTlsConfig::new().trust_anchors(roots.roots))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn args(endpoint: &str) -> TelemetryArgs {
        TelemetryArgs {
            otlp_endpoint: Some(endpoint.to_owned()),
            ..TelemetryArgs::default()
        }
    }

    #[test]
    fn an_empty_endpoint_is_off() {
        assert!(exporter(&args("  ")).unwrap().is_none());
        assert!(exporter(&TelemetryArgs::default()).unwrap().is_none());
    }

    #[test]
    fn bad_endpoints_are_refused_without_repeating_them() {
        for bad in [
            "collector:4317",
            "ftp://collector:21",
            "http://user:hunter2@collector:4317",
            "not a url",
        ] {
            let message = exporter(&args(bad)).unwrap_err().to_string();
            assert!(message.starts_with("--otlp-endpoint "), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_good_endpoint_needs_a_runtime() {
        let result = exporter(&args("http://127.0.0.1:4317"));
        assert!(matches!(result, Err(TelemetryError::NoRuntime)));
    }

    #[tokio::test]
    async fn an_https_collector_is_configured_with_roots() {
        assert!(exporter(&args("https://collector:4317")).unwrap().is_some());
        let missing = TelemetryArgs {
            otlp_ca_file: Some("/nowhere/ca.pem".into()),
            ..args("https://collector:4317")
        };
        assert!(matches!(exporter(&missing), Err(TelemetryError::CaFile(_))));
    }
}
