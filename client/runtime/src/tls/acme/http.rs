//! Requests to the authority: bounded in size and time, not redirected.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::Timestamp;

use super::error::AcmeOpenError;
use crate::data_dir::SECRET_MAX_BYTES;
use crate::tls::client_config;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest answer, in bytes. A chain is one: with its key it must fit into a file of the data folder.
const ANSWER_MAX_BYTES: usize = SECRET_MAX_BYTES as usize / 4 * 3;

/// Longest time that the authority may ask to be left alone: longer is taken for a mistake.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// An answer that is none of the protocol's.
#[derive(Debug, thiserror::Error)]
#[error("the ACME server answered {0}")]
struct Unexpected(StatusCode);

/// The client of [`instant_acme`]; clones share what the authority asked for.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    not_before: Arc<Mutex<Option<Timestamp>>>,
}

impl Http {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, AcmeOpenError> {
        let mut tls = (*client_config(ca_file)?).clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            // A nonce is good for one request: the protocol knows what may be sent again.
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(AcmeOpenError::Http)?;
        Ok(Self {
            client,
            not_before: Arc::default(),
        })
    }

    /// How long the authority, refusing, asked to be left alone since the last look.
    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        let asked = self.not_before.lock();
        let asked = asked.unwrap_or_else(PoisonError::into_inner).take()?;
        let delay = Duration::try_from(asked.duration_since(Timestamp::now())).ok()?;
        Some(delay.min(RETRY_AFTER_MAX))
    }

    fn note(&self, status: StatusCode, headers: &HeaderMap) {
        if (status.is_client_error() || status.is_server_error())
            && let Some(asked) = headers
                .get(RETRY_AFTER)
                .and_then(|value| retry_after(value.to_str().ok()?, Timestamp::now()))
        {
            *self
                .not_before
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(asked);
        }
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        let method = head.method.clone();
        let request = Request::from_parts(head, reqwest::Body::from(body.to_bytes()));
        let request = reqwest::Request::try_from(request).map_err(other)?;
        let answer = self.client.execute(request).await.map_err(other)?;
        let (head, body) = http::Response::from(answer).into_parts();
        self.note(head.status, &head.headers);
        let body = Limited::new(body, ANSWER_MAX_BYTES);
        let body = body.collect().await.map_err(Error::Other)?.to_bytes();
        if !head.status.is_success() {
            // RFC 8555 §6.7. What stands before an authority that is down answers in HTML.
            let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            if !kind.is_some_and(|kind| kind.starts_with(b"application/problem+json")) {
                return Err(other(Unexpected(head.status)));
            }
            // The crate looks at the status of what it signed, not at that of the directory.
            if method == Method::GET {
                return Err(Error::Api(serde_json::from_slice(&body)?));
            }
        }
        Ok(Response::from_parts(head, Full::new(body)).into())
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().exchange(request))
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Timestamp> {
    match value.trim().parse::<u32>() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds.into())).ok(),
        Err(_) => Some(jiff::fmt::rfc2822::parse(value).ok()?.timestamp()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |value| retry_after(value, now).map(Timestamp::as_second);
        assert_eq!(at(" 120 "), Some(120));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for wrong in ["", "soon", "-1", "18446744073709551615"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
