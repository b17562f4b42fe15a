//! Requests to an issuer: bounded in size and time, not redirected.

use std::time::Duration;

use reqwest::{Client, StatusCode, header::ACCEPT};
use serde::Deserialize;
use url::Url;

use super::{
    config::{IssuerConfig, OidcConfigError, may_be_fetched},
    keys::KeySet,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Size of an answer, in bytes: the sets of large providers have some tens of thousands.
const ANSWER_MAX_BYTES: usize = 512 * 1024;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{url} cannot be fetched")]
    Request { url: Url, source: reqwest::Error },
    #[error("{url} answered {status}")]
    Status { url: Url, status: StatusCode },
    #[error("the answer of {url} has more than {ANSWER_MAX_BYTES} bytes")]
    TooLarge { url: Url },
    #[error("the answer of {url} is not what it should be")]
    Format { url: Url, source: serde_json::Error },
    /// OpenID Connect Discovery 1.0 §4.3.
    #[error("{url} is of the issuer {found:?}")]
    Issuer { url: Url, found: String },
    #[error("{url} names a jwks_uri that is not used: {problem}")]
    KeysUrl { url: Url, problem: String },
    #[error("{url} has no key that could verify a signature")]
    NoKeys { url: Url },
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// A client of one issuer.
#[derive(Clone, Debug)]
pub(super) struct Http(Client);

impl Http {
    pub(super) fn new(config: &IssuerConfig) -> Result<Self, OidcConfigError> {
        let issuer = || config.issuer.clone();
        let tls = signalbox_runtime::tls::client_config(config.ca_file.as_deref());
        let tls = tls.map_err(|source| OidcConfigError::Tls {
            issuer: issuer(),
            source: Box::new(source),
        })?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build();
        client.map(Self).map_err(|source| OidcConfigError::Http {
            issuer: issuer(),
            source,
        })
    }

    /// The issuer's keys as they are now.
    pub(super) async fn keys(&self, config: &IssuerConfig) -> Result<KeySet, FetchError> {
        let url = config.discovery.clone();
        let document = self.get(&url).await?;
        let metadata: Metadata = match serde_json::from_slice(&document) {
            Ok(metadata) => metadata,
            Err(source) => return Err(FetchError::Format { url, source }),
        };
        if metadata.issuer != config.issuer {
            let found = metadata.issuer.chars().take(256).collect();
            return Err(FetchError::Issuer { url, found });
        }
        let keys = Url::parse(&metadata.jwks_uri).map_err(|error| error.to_string());
        let keys = keys.and_then(|keys| may_be_fetched(&keys).map(|()| keys));
        let url = keys.map_err(|problem| FetchError::KeysUrl { url, problem })?;
        let document = self.get(&url).await?;
        match KeySet::parse(&document) {
            Ok(keys) if keys.len() == 0 => Err(FetchError::NoKeys { url }),
            Ok(keys) => Ok(keys),
            Err(source) => Err(FetchError::Format { url, source }),
        }
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        let failed = |source: reqwest::Error| FetchError::Request {
            url: url.clone(),
            source: source.without_url(),
        };
        let request = self.0.get(url.clone()).header(ACCEPT, "application/json");
        let mut answer = request.send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status {
                url: url.clone(),
                status: answer.status(),
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_MAX_BYTES {
                return Err(FetchError::TooLarge { url: url.clone() });
            }
        }
        Ok(body)
    }
}
