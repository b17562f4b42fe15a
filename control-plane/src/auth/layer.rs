//! Authenticates every call before any handler sees it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response, header::AUTHORIZATION};
use signalbox_model::error::Error;
use signalbox_proto::convert::status::to_status;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use zeroize::Zeroizing;

use super::{
    Authenticator, Identity, METHODS, Requirement, Target,
    streams::{self, End, WhileCounts},
    token::refused,
};

/// Services that tell nothing of anybody: reflection, and health (which load balancers ask).
const OPEN: [&str; 3] = [
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/grpc.health.v1.Health/",
];

/// Puts an [`super::Identity`] into each request, or refuses it.
#[derive(Clone, Debug)]
pub struct AuthLayer(Arc<Authenticator>);

impl AuthLayer {
    /// By what `authenticator` says of tokens.
    #[must_use]
    pub fn new(authenticator: Arc<Authenticator>) -> Self {
        Self(authenticator)
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService {
            authenticator: self.0.clone(),
            inner,
        }
    }
}

/// See [`AuthLayer`].
#[derive(Clone, Debug)]
pub struct AuthService<S> {
    authenticator: Arc<Authenticator>,
    inner: S,
}

/// Whether a call to `path` needs no token.
fn is_open(path: &str) -> bool {
    let proves_itself = (path, Requirement::Proof);
    METHODS.contains(&proves_itself) || OPEN.iter().any(|prefix| path.starts_with(prefix))
}

/// The token of a call; none where none is needed.
fn token_of<B>(request: &Request<B>) -> Result<Option<Zeroizing<String>>, Error> {
    if is_open(request.uri().path()) {
        return Ok(None);
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
    Ok(Some(Zeroizing::new(token.trim().to_owned())))
}

/// Where a call to `path` goes, when `identity` may call it at all.
fn target_of(path: &str, identity: &Identity) -> Result<Target, Error> {
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
    let roles = || identity.roles.values().copied().map(Some);
    if !roles().any(|role| target.requirement.is_met_by(role)) {
        super::check(identity, target, identity.highest(), "the project")?;
    }
    Ok(target)
}

/// Puts into `request` who calls; gives what ends the answer, when that may last.
async fn authenticate<B>(
    authenticator: &Authenticator,
    request: &mut Request<B>,
) -> Result<Option<End>, Error> {
    let Some(token) = token_of(request)? else {
        return Ok(None);
    };
    let identity = authenticator.identify(&token).await?;
    let target = target_of(request.uri().path(), &identity)?;
    let end = streams::lasts(target.path).then(|| Box::pin(authenticator.end(&identity)) as End);
    request.extensions_mut().insert(identity);
    request.extensions_mut().insert(target);
    Ok(end)
}

impl<S, B> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let authenticator = self.authenticator.clone();
        // The one that said that it is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            match authenticate(&authenticator, &mut request).await {
                Ok(None) => inner.call(request).await,
                Ok(Some(end)) => {
                    let response = inner.call(request).await?;
                    // One that has its status already does not last.
                    match response.headers().contains_key(Status::GRPC_STATUS) {
                        true => Ok(response),
                        false => Ok(response.map(|body| WhileCounts::new(body, end).into_body())),
                    }
                }
                Err(error) => {
                    metrics::counter!("signalbox_grpc_refused_total").increment(1);
                    Ok(to_status(error).into_http())
                }
            }
        })
    }
}
