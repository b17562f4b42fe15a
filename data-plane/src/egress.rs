//! Outgoing HTTP: the one client, and the guard that keeps it away from what is not public.
//!
//! Redirects are not followed, proxies of the environment are not used, answers are read up to a bound, and the guard
//! judges the address that is really connected to: literal hosts before the request, names when they are resolved.

mod address;
mod guard;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use ipnet::IpNet;
use signalbox_runtime::tls::{self, TlsError};
use signalbox_sns::TrustedOrigin;
use url::Url;

use guard::{Blocked, Guard};

/// Longest time to connect, TLS included, in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may wait for its next request.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Waiting connections to one host.
const POOL_IDLE_PER_HOST_MAX: usize = 16;
const USER_AGENT: &str = concat!("signalbox/", env!("CARGO_PKG_VERSION"));

/// Which addresses beside public ones may be connected to. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Networks that are allowed although they are not public (`--egress-allow`).
    pub allow: Vec<IpNet>,
}

/// A client for outgoing requests. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Egress {
    client: reqwest::Client,
    guard: Arc<Guard>,
}

/// A request to send.
#[derive(Clone)]
pub struct EgressRequest {
    /// Its method.
    pub method: Method,
    /// An absolute `http` or `https` URL. It may hold secrets: `Debug` shows its origin only.
    pub url: Url,
    /// Its headers, likewise.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// From connecting to the last byte of the answer.
    pub timeout: Duration,
    /// A larger answer is an error.
    pub response_max_bytes: usize,
}

impl EgressRequest {
    /// A GET without headers.
    #[must_use]
    pub fn get(url: Url, timeout: Duration, response_max_bytes: usize) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout,
            response_max_bytes,
        }
    }
}

impl fmt::Debug for EgressRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressRequest")
            .field("method", &self.method)
            .field("origin", &self.url.origin().ascii_serialization())
            .finish_non_exhaustive()
    }
}

/// An answer, of whatever status.
#[derive(Clone, Debug)]
pub struct EgressResponse {
    /// Its status. 3xx is an answer like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, not decompressed.
    pub body: Bytes,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EgressBuildError {
    /// The TLS configuration is not possible.
    #[error("the TLS configuration of outgoing requests is not possible")]
    Tls(#[from] TlsError),
    /// The HTTP client refuses its configuration.
    #[error("the client for outgoing requests cannot be made")]
    Client(#[source] reqwest::Error),
}

/// Why there is no answer. Texts hold no URL, which may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Not an absolute `http` or `https` URL with a host.
    #[error("the URL is not an absolute http or https URL")]
    Url,
    /// The host is, or resolves to, an address that is not public and not allowed.
    #[error("{host} is, or resolves to, an address that is not public and not in --egress-allow")]
    Blocked {
        /// The host.
        host: String,
    },
    /// The host's name has no address.
    #[error("the name {host} cannot be resolved")]
    Resolve {
        /// The host.
        host: String,
    },
    /// The whole answer did not come in time.
    #[error("there was no complete answer within {0:?}")]
    Timeout(Duration),
    /// No connection, or no TLS that can be verified.
    #[error("the connection failed: {0}")]
    Connect(String),
    /// The answer is larger than asked for.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The exchange broke.
    #[error("the exchange broke: {0}")]
    Broken(String),
}

impl Egress {
    /// A client for requests that others choose (steps).
    ///
    /// # Errors
    /// [`EgressBuildError`].
    pub fn new(policy: EgressPolicy) -> Result<Self, EgressBuildError> {
        Self::build(Guard::new(policy, &[]))
    }

    /// A client for the two requests of the SNS protocol, which may also reach `origins`, wherever they are.
    ///
    /// # Errors
    /// [`EgressBuildError`].
    pub fn for_sns(
        policy: EgressPolicy,
        origins: &[TrustedOrigin],
    ) -> Result<Self, EgressBuildError> {
        Self::build(Guard::new(policy, origins))
    }

    fn build(guard: Guard) -> Result<Self, EgressBuildError> {
        let guard = Arc::new(guard);
        let mut tls = (*tls::client_config(None)?).clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // The caller knows what may be repeated.
            .retry(reqwest::retry::never())
            .dns_resolver(Arc::clone(&guard))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_PER_HOST_MAX)
            .user_agent(USER_AGENT)
            .build()
            .map_err(EgressBuildError::Client)?;
        Ok(Self { client, guard })
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// [`EgressError`]; an answer of any status is none.
    pub async fn send(&self, request: EgressRequest) -> Result<EgressResponse, EgressError> {
        let EgressRequest {
            method,
            url,
            headers,
            body,
            timeout,
            response_max_bytes,
        } = request;
        self.guard.check(&url)?;
        let explain = |error| explain(error, timeout);
        let mut answer = self
            .client
            .request(method, url)
            .headers(headers)
            .body(body)
            .timeout(timeout)
            .send()
            .await
            .map_err(explain)?;
        let announced = answer.content_length().unwrap_or(0);
        if usize::try_from(announced).map_or(true, |bytes| bytes > response_max_bytes) {
            return Err(EgressError::TooLarge(response_max_bytes));
        }
        let mut read = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(explain)? {
            if read.len() + chunk.len() > response_max_bytes {
                return Err(EgressError::TooLarge(response_max_bytes));
            }
            read.extend_from_slice(&chunk);
        }
        Ok(EgressResponse {
            status: answer.status(),
            headers: std::mem::take(answer.headers_mut()),
            body: read.into(),
        })
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").finish_non_exhaustive()
    }
}

/// The innermost cause says what happened; the outer ones repeat the URL or say "error sending request".
fn explain(error: reqwest::Error, timeout: Duration) -> EgressError {
    let error = error.without_url();
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    loop {
        if let Some(blocked) = cause.downcast_ref::<Blocked>() {
            return blocked.clone().into();
        }
        match cause.source() {
            Some(source) => cause = source,
            None => break,
        }
    }
    if error.is_timeout() && !error.is_connect() {
        EgressError::Timeout(timeout)
    } else if error.is_builder() {
        EgressError::Url
    } else if error.is_connect() {
        EgressError::Connect(cause.to_string())
    } else {
        EgressError::Broken(cause.to_string())
    }
}

#[cfg(test)]
mod tests;
