//! Outbound HTTP: one factory of clients that follow no redirects, use no ambient proxy, and reach no address that the
//! policy does not allow.
//!
//! The policy looks at the address that is really connected to: at the resolver for names, and at the URL for literals
//! (which no resolver sees). That is what keeps a workflow, or whoever controls a name, from reaching the metadata
//! service or the inside of the network (server-side request forgery).

mod address;
mod policy;
mod resolve;
mod route;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::RootCertStore;
use signalbox_runtime::tls::TlsError;

use self::route::Routes;
pub use self::{
    policy::{Denied, EgressPolicy},
    resolve::ResolveError,
    route::{Route, RouteError},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept for each host.
const IDLE_PER_HOST_MAX: usize = 8;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// TLS cannot be set up.
    #[error("TLS of outbound requests cannot be set up")]
    Tls(#[from] TlsError),
    /// The HTTP client refuses its configuration.
    #[error("the outbound HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// An HTTP client under a policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    client: reqwest::Client,
    policy: Arc<EgressPolicy>,
    routes: Routes,
}

impl Egress {
    /// A client under `policy`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(policy: EgressPolicy) -> Result<Self, EgressError> {
        let policy = Arc::new(policy);
        Ok(Self {
            client: client(&policy, None, None)?,
            policy,
            routes: Routes::default(),
        })
    }

    /// The client that takes `route`. A proxy resolves names itself: then the policy sees the proxy's address, and those
    /// that stand in URLs.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn by(&self, route: &Route) -> Result<Self, Arc<RouteError>> {
        if route.is_usual() {
            return Ok(self.clone());
        }
        if let Some(proxy) = &route.proxy {
            self.check(proxy).map_err(RouteError::from)?;
        }
        Ok(Self {
            client: self.routes.client(route, &self.policy)?,
            policy: self.policy.clone(),
            routes: self.routes.clone(),
        })
    }

    /// A request, to be given headers, a body and a timeout.
    ///
    /// # Errors
    /// [`Denied`] when the URL names an address that is not allowed.
    pub fn request(
        &self,
        method: reqwest::Method,
        url: url::Url,
    ) -> Result<reqwest::RequestBuilder, Denied> {
        self.check(&url)?;
        Ok(self.client.request(method, url))
    }

    /// Whether the address that stands in `url`, if one does, may be connected to: no resolver sees it.
    fn check(&self, url: &url::Url) -> Result<(), Denied> {
        match url.host() {
            Some(url::Host::Ipv4(address)) => self.policy.check(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => self.policy.check(IpAddr::V6(address)),
            Some(url::Host::Domain(_)) | None => Ok(()),
        }
    }
}

fn client(
    policy: &Arc<EgressPolicy>,
    roots: Option<RootCertStore>,
    proxy: Option<reqwest::Proxy>,
) -> Result<reqwest::Client, EgressError> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(route::tls_config(roots)?)
        // Who asks knows what may be asked twice.
        .retry(reqwest::retry::never())
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(Guarded(policy.clone())));
    let builder = proxy
        .into_iter()
        .fold(builder, |builder, proxy| builder.proxy(proxy));
    builder.build().map_err(EgressError::Client)
}

/// Resolves names by the system, and keeps back what is not allowed.
struct Guarded(Arc<EgressPolicy>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut denied = None;
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| match policy.check(address.ip()) {
                    Ok(()) => true,
                    Err(why) => {
                        denied.get_or_insert(why);
                        false
                    }
                })
                .collect();
            match denied {
                Some(denied) if allowed.is_empty() => Err(denied.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than allowed.
    #[error("the response has more than {0} bytes")]
    TooLarge(usize),
    /// The connection broke.
    #[error("the response broke off")]
    Broken(#[source] reqwest::Error),
}

/// The body of a response, of at most `max_bytes`.
///
/// # Errors
/// [`BodyError`].
pub async fn read_body(
    mut response: reqwest::Response,
    max_bytes: usize,
) -> Result<Bytes, BodyError> {
    if response
        .content_length()
        .is_some_and(|length| length > max_bytes as u64)
    {
        return Err(BodyError::TooLarge(max_bytes));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(BodyError::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What of a response's body comes within `max_bytes` and before the connection breaks or its time is over: to be quoted.
/// The rest is not read.
pub async fn read_beginning(mut response: reqwest::Response, max_bytes: usize) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < max_bytes
        && let Ok(Some(chunk)) = response.chunk().await
    {
        let left = max_bytes - body.len();
        body.extend_from_slice(chunk.get(..left).unwrap_or(&chunk));
    }
    body.freeze()
}

/// The [`Denied`] among the sources of `error`, if that is why it failed.
#[must_use]
pub fn denied(error: &(dyn std::error::Error + 'static)) -> Option<Denied> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(denied) = error.downcast_ref::<Denied>() {
            return Some(*denied);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
