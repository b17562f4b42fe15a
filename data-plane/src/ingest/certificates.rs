//! Signing certificates: fetched once, kept while they may be.

use std::{sync::Arc, time::Duration};

use moka::{future::Cache, sync::Cache as SyncCache};
use reqwest::Method;
use signalbox_sns::{
    CERTIFICATE_PEM_MAX_BYTES, CertLocation, CertOrigin, CertificateError, Refusal as _,
    SigningCertificate,
};
use tokio::sync::Semaphore;

use super::Problem;
use crate::egress::{Egress, EgressError, EgressPolicy, read_body};

/// Certificates kept. AWS has one URL for each region at a time, and a few while it rotates.
const KEPT_MAX: u64 = 256;
/// How long one is kept; its own validity is checked at each use.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long a failure is remembered: long enough to keep a storm off the origin, short enough to lock nobody out.
const FAILURE_KEPT_FOR: Duration = Duration::from_secs(2);
/// Failures remembered.
const FAILURES_MAX: u64 = 1024;
/// How long one fetch may take. Amazon SNS waits 15 s for our answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Fetches under way at once.
const FETCHES_MAX: usize = 8;

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CertificateProblem {
    /// Not to be had now.
    Unavailable(String),
    /// What came is no certificate of Amazon SNS.
    Wrong(CertificateError),
}

impl CertificateProblem {
    fn into_problem(self) -> Problem {
        match self {
            Self::Unavailable(why) => Problem::unavailable(
                "certificate-unavailable",
                format!("the signing certificate cannot be fetched now: {why}"),
            ),
            Self::Wrong(error) => Problem::forbidden(error.reason(), error.to_string()),
        }
    }
}

/// Fetches and keeps signing certificates. One fetch for each URL at a time.
#[derive(Clone)]
pub struct Certificates {
    kept: Cache<String, SigningCertificate>,
    failed: SyncCache<String, CertificateProblem>,
    fetches: Arc<Semaphore>,
    public: Egress,
    trusted: Egress,
}

impl Certificates {
    /// An empty cache. AWS's hosts are fetched from public addresses only; an origin that the operator trusts may be
    /// anywhere.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new() -> Result<Self, EgressError> {
        Ok(Self {
            kept: Cache::builder()
                .max_capacity(KEPT_MAX)
                .time_to_live(KEPT_FOR)
                .build(),
            failed: SyncCache::builder()
                .max_capacity(FAILURES_MAX)
                .time_to_live(FAILURE_KEPT_FOR)
                .build(),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            public: Egress::new(EgressPolicy::default())?,
            trusted: Egress::new(EgressPolicy::anywhere())?,
        })
    }

    /// The client for requests to `origin`.
    #[must_use]
    pub fn egress(&self, origin: &CertOrigin) -> &Egress {
        match origin {
            CertOrigin::Aws => &self.public,
            CertOrigin::Trusted(_) => &self.trusted,
        }
    }

    /// The certificate at `location`.
    ///
    /// # Errors
    /// 503 when it cannot be had now, 403 when what is there is none.
    pub async fn get(&self, location: &CertLocation) -> Result<SigningCertificate, Problem> {
        let key = location.cache_key();
        if let Some(certificate) = self.kept.get(key).await {
            return Ok(certificate);
        }
        if let Some(problem) = self.failed.get(key) {
            return Err(problem.into_problem());
        }
        self.kept
            .try_get_with_by_ref(key, self.fetch(location))
            .await
            .map_err(|problem: Arc<CertificateProblem>| {
                self.failed.insert(key.to_owned(), (*problem).clone());
                (*problem).clone().into_problem()
            })
    }

    async fn fetch(
        &self,
        location: &CertLocation,
    ) -> Result<SigningCertificate, CertificateProblem> {
        let unavailable = |why: &str| CertificateProblem::Unavailable(why.to_owned());
        let fetched = async {
            let _slot = self
                .fetches
                .acquire()
                .await
                .map_err(|_| unavailable("shutting down"))?;
            let url =
                url::Url::parse(location.url()).map_err(|_| unavailable("its URL is unusable"))?;
            let egress = self.egress(&location.expected_name().origin());
            let response = egress
                .request(Method::GET, url)
                .map_err(|denied| CertificateProblem::Unavailable(denied.to_string()))?
                .timeout(FETCH_TIMEOUT)
                .send()
                .await
                .map_err(|_| unavailable("its host does not answer"))?;
            if response.status() != http::StatusCode::OK {
                return Err(CertificateProblem::Unavailable(format!(
                    "its host answered {}",
                    response.status().as_u16()
                )));
            }
            read_body(response, CERTIFICATE_PEM_MAX_BYTES)
                .await
                .map_err(|error| CertificateProblem::Unavailable(error.to_string()))
        };
        let pem = tokio::time::timeout(FETCH_TIMEOUT, fetched)
            .await
            .map_err(|_| unavailable("its host is too slow"))??;
        metrics::counter!("signalbox_ingest_certificate_fetches_total").increment(1);
        SigningCertificate::from_pem(&pem, location.expected_name())
            .map_err(CertificateProblem::Wrong)
    }
}
