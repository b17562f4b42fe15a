//! A span for each call, continuing the caller's trace. Streams between the planes live for days: they get none.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use signalbox_runtime::telemetry::context;
use tower::{Layer, Service};
use tracing::Instrument as _;

#[derive(Clone, Copy, Debug)]
pub(super) struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService(inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct TraceService<S>(S);

impl<S, B, R> Service<Request<B>> for TraceService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let mut parts = path.split('/').skip(1);
        let (service, method) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if !service.starts_with("signalbox.v1.") {
            return Box::pin(self.0.call(request));
        }
        let span = tracing::info_span!(
            parent: None,
            "rpc",
            otel.name = %format!("{service}/{method}"),
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
        );
        context::extract(&span, request.headers());
        Box::pin(self.0.call(request).instrument(span))
    }
}
