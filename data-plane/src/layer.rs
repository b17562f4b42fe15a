//! The stack around the webhooks' handler, outermost first:
//!
//! 1. a panic becomes a 500, so that one request cannot take its connection's others with it;
//! 2. errors of the layers below become answers, so that the service itself cannot fail;
//! 3. more requests than may be under way are shed at once with a 503 ([`tower::load_shed`]): waiting would use up the
//!    15 seconds that Amazon SNS gives us;
//! 4. requests under way are counted ([`tower::limit`]), for all connections together; of those whose bodies are still being
//!    read, one API key has a share ([`crate::server::Bodies`]);
//! 5. a request that takes too long is answered 503 while the sender still listens ([`tower::timeout`]).

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt as _, limit::ConcurrencyLimit,
    load_shed::LoadShed, timeout::Timeout,
};

use crate::{
    ingest::Problem,
    server::{Handler, Peer, Proxies, problem_response},
};

type Limited = LoadShed<ConcurrencyLimit<Timeout<Route>>>;

/// The whole stack around `handler`; clones share its limits.
pub fn stack(handler: Arc<Handler>, in_flight_max: usize, request_timeout: Duration) -> StackMaker {
    let limited = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(in_flight_max)
        .timeout(request_timeout)
        .service(Route(handler));
    StackMaker(limited)
}

/// Makes a connection's stack.
#[derive(Clone)]
pub struct StackMaker(Limited);

impl StackMaker {
    /// For a connection from `peer`, who may be one of the `proxies` that name the senders of their requests.
    #[must_use]
    pub fn for_peer(&self, peer: Peer, proxies: Arc<Proxies>) -> Stack {
        Stack {
            limited: self.0.clone(),
            peer,
            proxies,
        }
    }
}

/// What a connection serves. Its types are known, so that a request costs one allocation for all of it.
pub struct Stack {
    limited: Limited,
    peer: Peer,
    proxies: Arc<Proxies>,
}

impl Stack {
    /// Answers a request, whatever happens.
    pub fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send + 'static {
        let peer = self.proxies.sender(self.peer, request.headers());
        let answered = self.limited.clone().oneshot((peer, request));
        // What a panic leaves half done is the request's own: what requests share is behind channels and snapshots.
        let caught = AssertUnwindSafe(answered).catch_unwind();
        caught.map(|answered| match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => on_error(&error),
            Err(_) => on_panic(),
        })
    }
}

/// The handler as a service.
#[derive(Clone)]
pub struct Route(Arc<Handler>);

impl Service<(Peer, Request<Incoming>)> for Route {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (peer, request): (Peer, Request<Incoming>)) -> Self::Future {
        let handler = self.0.clone();
        Box::pin(async move { Ok(handler.handle(peer, request).await) })
    }
}

fn on_error(error: &BoxError) -> Response<Full<Bytes>> {
    let problem = if error.is::<tower::load_shed::error::Overloaded>() {
        Problem::unavailable("overloaded", "too many requests are under way; try again")
    } else {
        Problem::unavailable("timeout", "the request took too long; try again")
    };
    metrics::counter!("signalbox_ingest_requests_total", "verdict" => "rejected", "reason" => problem.reason)
        .increment(1);
    problem_response(&problem, None)
}

fn on_panic() -> Response<Full<Bytes>> {
    tracing::error!("a request's handler panicked");
    metrics::counter!("signalbox_ingest_requests_total", "verdict" => "rejected", "reason" => "internal").increment(1);
    let problem = Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the request could not be handled; try again",
    );
    problem_response(&problem, None)
}
