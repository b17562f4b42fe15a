//! Authenticates every call before any handler sees it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response, header::AUTHORIZATION};
use signalbox_model::error::Error;
use signalbox_proto::convert::status::to_status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{METHODS, Target, TokenKey, token::refused};

/// Services that tell nothing of anybody: reflection, and health (which load balancers ask).
const OPEN: [&str; 3] = [
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/grpc.health.v1.Health/",
];

/// Puts an [`super::Identity`] into each request, or refuses it.
#[derive(Clone, Debug)]
pub struct AuthLayer(Arc<TokenKey>);

impl AuthLayer {
    /// By tokens of `key`.
    #[must_use]
    pub fn new(key: Arc<TokenKey>) -> Self {
        Self(key)
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService {
            key: self.0.clone(),
            inner,
        }
    }
}

/// See [`AuthLayer`].
#[derive(Clone, Debug)]
pub struct AuthService<S> {
    key: Arc<TokenKey>,
    inner: S,
}

impl<S> AuthService<S> {
    fn authenticate<B>(&self, request: &mut Request<B>) -> Result<(), Error> {
        let path = request.uri().path();
        if OPEN.iter().any(|prefix| path.starts_with(prefix)) {
            return Ok(());
        }
        let header = request.headers().get(AUTHORIZATION).ok_or_else(|| {
            refused(
                "TOKEN_MISSING",
                "the call carries no token: expected metadata `authorization: Bearer <token>`",
            )
        })?;
        let malformed = || {
            refused(
                "TOKEN_MALFORMED",
                "authorization is not of the form `Bearer <token>`",
            )
        };
        let text = header.to_str().map_err(|_| malformed())?;
        let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(malformed());
        }
        let identity = self.key.verify(token.trim())?;
        let target = METHODS
            .iter()
            .find(|(method, _)| *method == path)
            .map(|(path, requirement)| Target {
                path,
                requirement: *requirement,
            })
            // Deny by default: what is not in the table is not callable, whoever calls.
            .ok_or_else(|| Error::Denied {
                reason: "METHOD_UNKNOWN",
                message: "there is no such method, or it has no role".to_owned(),
            })?;
        // No project is known yet; whoever has the role nowhere need not get further.
        if !identity
            .roles
            .values()
            .any(|role| target.requirement.is_met_by(Some(*role)))
        {
            return super::check(&identity, target, identity.highest(), "the project").map(|_| ());
        }
        request.extensions_mut().insert(identity);
        request.extensions_mut().insert(target);
        Ok(())
    }
}

impl<S, B> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.authenticate(&mut request) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(error) => {
                metrics::counter!("signalbox_grpc_refused_total").increment(1);
                let response = to_status(error).into_http();
                Box::pin(async move { Ok(response) })
            }
        }
    }
}
