//! Spans over a real OTLP gRPC connection; alone in its file because `init` is once per process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use signalbox_runtime::telemetry::{self, TelemetryArgs, TelemetryError, context};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that hands every request on.
struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).await.unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (String, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(sender)))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (endpoint, receiver)
}

fn attribute(resource: &Resource, key: &str) -> String {
    let found = resource.attributes.iter().find(|pair| pair.key == key);
    let value = found.unwrap_or_else(|| panic!("no {key}")).value.clone();
    match value.unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        other => panic!("{key} is {other:?}"),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("no span {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_as_one_tree_and_nothing_else_does() {
    let (endpoint, mut received) = collector().await;
    let args = TelemetryArgs {
        otlp_endpoint: Some(endpoint),
        log: Some("error".to_owned()),
        ..TelemetryArgs::default()
    };
    let guard = telemetry::init("signalbox-test", &args).unwrap();
    let again = telemetry::init("signalbox-test", &args);
    assert!(matches!(again, Err(TelemetryError::AlreadyInitialised(_))));

    let root = tracing::info_span!("webhook", otel.kind = "server");
    assert!(context::set_parent(&root, PARENT));
    root.in_scope(|| {
        let step = tracing::info_span!("step", step = "charge", attempt = 1);
        step.in_scope(|| tracing::debug_span!("detail").in_scope(|| {}));
    });
    drop(root);
    guard.shutdown().await;

    let mut spans = Vec::new();
    let mut resource = None;
    while spans.len() < 2 {
        let request = tokio::time::timeout(PATIENCE, received.recv()).await;
        for group in request.expect("spans in time").unwrap().resource_spans {
            resource = group.resource;
            spans.extend(group.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names.len(), 2, "no feedback or debug spans: {names:?}");

    let (webhook, step) = (named(&spans, "webhook"), named(&spans, "step"));
    assert_eq!(hex(&webhook.trace_id), &PARENT[3..35]);
    assert_eq!(hex(&webhook.parent_span_id), &PARENT[36..52]);
    assert_eq!(step.trace_id, webhook.trace_id);
    assert_eq!(step.parent_span_id, webhook.span_id);
    assert!(step.attributes.iter().any(|pair| pair.key == "step"));

    let resource = resource.unwrap();
    assert_eq!(attribute(&resource, "service.name"), "signalbox-test");
    assert_eq!(
        attribute(&resource, "service.version"),
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(attribute(&resource, "service.instance.id").len(), 36);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
